use super::controller::{Controller, Load, Scale};
use crate::sim::random::micros;

/// Square-root staffing: keeps ρ + √ρ instances, ρ being the mean number of requests in the system over a window, and
/// starts one for each request that finds none idle. Every half second those beyond are parked.
#[derive(Debug)]
pub struct Staffing {
    window_us: f64,
    factor: f64,
    rho: f64,
    in_system: u64,
    changed_us: u64,
    next_us: Option<u64>,
}

const REVIEW_US: u64 = 500_000;

impl Staffing {
    /// ρ is averaged over a window that forgets by 1/e in `window_us`; `factor` is that of the square root.
    pub fn new(window_us: u64, factor: f64) -> Self {
        Self {
            window_us: window_us as f64,
            factor,
            rho: 0.0,
            in_system: 0,
            changed_us: 0,
            next_us: None,
        }
    }

    fn advance(&mut self, now_us: u64, in_system: u64) {
        let forgotten = 1.0 - (-((now_us - self.changed_us) as f64) / self.window_us).exp();
        self.rho += (self.in_system as f64 - self.rho) * forgotten;
        self.changed_us = now_us;
        self.in_system = in_system;
    }

    fn wanted(&self) -> u64 {
        micros((self.rho + self.factor * self.rho.sqrt()).round())
    }
}

impl Controller for Staffing {
    fn arrived(&mut self, now_us: u64, load: Load) {
        self.advance(now_us, load.in_system + 1);
        self.next_us.get_or_insert(now_us + REVIEW_US);
    }

    fn left(&mut self, now_us: u64, load: Load) {
        self.advance(now_us, load.in_system);
    }

    /// Until the next review.
    fn keep_us(&mut self, _: u64, _: Load) -> u64 {
        u64::MAX
    }

    fn next_us(&self) -> Option<u64> {
        self.next_us
    }

    fn scale(&mut self, now_us: u64, load: Load) -> Scale {
        self.advance(now_us, load.in_system);
        let wanted = self.wanted();
        let done = load.awake == 0;
        self.next_us = (!done).then(|| now_us + REVIEW_US);
        if load.awake > wanted {
            Scale::Exactly(wanted)
        } else {
            Scale::Stay
        }
    }
}
