use crate::sim::random::Random;

/// How often things go wrong, as probabilities from 0 to 1. Default: never.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// A notification to the scheduler, or a command from it, is lost.
    pub lost: f64,
    /// One arrives twice.
    pub doubled: f64,
    /// A notification is late, so that others overtake it.
    pub late: f64,
    /// A start fails.
    pub failed_start: f64,
    /// A running instance dies, at the end of a request.
    pub death: f64,
    /// A node is lost with all that is on it, at an inventory; two seconds later it is back.
    pub node_loss: f64,
    /// The clock that the scheduler is told goes back for one reading, or ahead for good.
    pub clock_jump: f64,
}

impl Faults {
    /// Everything goes wrong this often.
    pub const fn all(probability: f64) -> Self {
        Self {
            lost: probability,
            doubled: probability,
            late: probability,
            failed_start: probability,
            death: probability,
            node_loss: probability,
            clock_jump: probability,
        }
    }

    /// Whether anything goes wrong at all.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    pub(super) fn fate(&self, random: &mut Random) -> Fate {
        if !self.any() {
            return Fate::Arrives;
        }
        let draw = random.unit();
        if draw < self.lost {
            Fate::IsLost
        } else if draw < self.lost + self.doubled {
            Fate::ArrivesTwice
        } else if draw < self.lost + self.doubled + self.late {
            Fate::IsLate
        } else {
            Fate::Arrives
        }
    }
}

/// What becomes of a message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives,
    IsLost,
    ArrivesTwice,
    IsLate,
}

/// The clock as the scheduler is told it.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead_ns: u64,
}

/// The longest jump ahead: a loop that hung.
const AHEAD_NS: u64 = 1_000_000_000;
/// The longest step back: somebody set the time.
const BACK_NS: u64 = 3_600_000_000_000;

impl Clock {
    pub(super) fn read(&mut self, now_ns: u64, faults: &Faults, random: &mut Random) -> u64 {
        let now = now_ns.saturating_add(self.ahead_ns);
        if !random.chance(faults.clock_jump) {
            return now;
        }
        if random.chance(0.5) {
            return now.saturating_sub(random.below(BACK_NS));
        }
        // Rarely, so that time does not mostly jump.
        if random.chance(0.01) {
            self.ahead_ns += random.below(AHEAD_NS);
        }
        now_ns.saturating_add(self.ahead_ns)
    }

    /// When something happens that the scheduler wants at this time.
    pub(super) fn world_ns(&self, told_ns: u64) -> u64 {
        told_ns.saturating_sub(self.ahead_ns)
    }
}
