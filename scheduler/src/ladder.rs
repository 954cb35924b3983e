use core::fmt;
use core::time::Duration;

use crate::action::ParkLevel;

/// A place on the sleep ladder below running, the deeper the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rung {
    /// Asleep; can go on where it was.
    Park(ParkLevel),
    /// Ended; its state is lost.
    Stop,
}

impl Rung {
    /// How many rungs there are.
    pub const COUNT: usize = 4;
    /// Every rung, the shallowest first.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Park(ParkLevel::Paused),
        Self::Park(ParkLevel::Ram),
        Self::Park(ParkLevel::Disk),
        Self::Stop,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Park(ParkLevel::Paused) => 0,
            Self::Park(ParkLevel::Ram) => 1,
            Self::Park(ParkLevel::Disk) => 2,
            Self::Stop => 3,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Park(ParkLevel::Paused) => "paused",
            Self::Park(ParkLevel::Ram) => "parked in RAM",
            Self::Park(ParkLevel::Disk) => "parked on disk",
            Self::Stop => "stopped",
        })
    }
}

/// The one dial: β, how many seconds of an idle instance's memory one second of a waiting request is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dial {
    /// β = 20: memory is dear.
    Economy,
    /// β = 200.
    #[default]
    Balanced,
    /// β = 2,000: waiting is dear.
    Latency,
    /// β itself; at most 1,000,000.
    Beta(u32),
}

impl Dial {
    /// The greatest β there may be.
    pub const MAX_BETA: u32 = 1_000_000;

    /// β.
    pub const fn beta(self) -> u32 {
        match self {
            Self::Economy => 20,
            Self::Balanced => 200,
            Self::Latency => 2_000,
            Self::Beta(beta) => beta,
        }
    }
}

/// What a policy weighs: how dear waiting is, which rungs an idle instance may go down to, and what they cost.
///
/// [`ServiceConfig::park_level`](crate::ServiceConfig::park_level) is a rung always; the default has no other. Costs
/// are where a policy begins: what it measures takes their place, unless they are pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LadderConfig {
    /// How dear waiting is. Default balanced.
    pub dial: Dial,
    /// Paused, all memory resident. Default: not used.
    pub paused: Option<RungCost>,
    /// Saved state in host memory. Default: not used, unless it is the `park_level`.
    pub ram: Option<RungCost>,
    /// Saved state on disk. Default: not used, unless it is the `park_level`.
    pub disk: Option<RungCost>,
    /// Ended: only for a service that can do without the state of an instance. Default: never.
    pub stop: Option<RungCost>,
    /// Whether measured times take the place of `wake` and `enter`. Default: they do.
    pub costs: Costs,
}

/// Where the costs of a rung come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Costs {
    /// The configured ones, until some are measured.
    #[default]
    Measured,
    /// The configured ones.
    Pinned,
}

/// What a rung costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RungCost {
    /// What an instance costs there, in thousandths of what it costs while it runs idle. At most 1,000; not more than
    /// the next shallower rung.
    pub rate_permille: u16,
    /// From `Start` to `InstanceReady`. At least that of the next shallower rung, at most [`MAX_WAKE`](Self::MAX_WAKE).
    pub wake: Duration,
    /// What going there costs, as time of a running idle instance: the work of parking. As long as it may be: whoever
    /// never gets back what a rung costs does not go there.
    pub enter: Duration,
}

impl RungCost {
    /// Paused: the memory stays, the vCPUs are free. 900 ‰, awake in 1 ms.
    pub const PAUSED: Self = Self::new(900, Duration::from_millis(1));
    /// In RAM: what the instance wrote since it was restored. 50 ‰, awake in 5 ms.
    pub const RAM: Self = Self::new(50, Duration::from_millis(5));
    /// On disk: 1 ‰, awake in 20 ms.
    pub const DISK: Self = Self::new(1, Duration::from_millis(20));
    /// Ended: nothing, booted in 500 ms.
    pub const STOP: Self = Self::new(0, Duration::from_millis(500));

    /// No instance takes longer to wake.
    pub const MAX_WAKE: Duration = Duration::from_secs(600);

    /// A rung that costs nothing to enter.
    pub const fn new(rate_permille: u16, wake: Duration) -> Self {
        Self {
            rate_permille,
            wake,
            enter: Duration::ZERO,
        }
    }
}

impl LadderConfig {
    /// What a rung costs, if an instance whose `park_level` is this may go there.
    pub fn cost(&self, rung: Rung, park_level: ParkLevel) -> Option<RungCost> {
        let default = match rung {
            Rung::Park(ParkLevel::Paused) => RungCost::PAUSED,
            Rung::Park(ParkLevel::Ram) => RungCost::RAM,
            Rung::Park(ParkLevel::Disk) => RungCost::DISK,
            Rung::Stop => RungCost::STOP,
        };
        let is_used = rung == Rung::Park(park_level);
        self.configured(rung).or_else(|| is_used.then_some(default))
    }

    /// What a rung was said to cost.
    pub(crate) fn configured(&self, rung: Rung) -> Option<RungCost> {
        match rung {
            Rung::Park(ParkLevel::Paused) => self.paused,
            Rung::Park(ParkLevel::Ram) => self.ram,
            Rung::Park(ParkLevel::Disk) => self.disk,
            Rung::Stop => self.stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_to_park_at_is_the_only_rung_by_default() {
        let ladder = LadderConfig::default();
        let rungs = |level| Rung::ALL.map(|rung| ladder.cost(rung, level).is_some());
        assert_eq!(rungs(ParkLevel::Ram), [false, true, false, false]);
        assert_eq!(rungs(ParkLevel::Disk), [false, false, true, false]);
    }

    #[test]
    fn rungs_are_ordered_by_depth() {
        assert!(Rung::ALL.is_sorted());
        assert_eq!(Rung::ALL.map(Rung::index), [0, 1, 2, 3]);
    }
}
