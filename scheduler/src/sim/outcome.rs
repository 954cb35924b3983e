use std::boxed::Box;
use std::collections::BTreeMap;

use super::histogram::Histogram;

/// What came of running a trace under a policy, in the units of the cost model.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests that came.
    pub requests: u64,
    /// Requests that found no idle instance.
    pub delayed: u64,
    /// Instances started, for requests or ahead of them.
    pub starts: u64,
    /// Requests refused.
    pub shed: u64,
    /// Sum over services of the share of their requests that were delayed.
    service_delayed: f64,
    services: u64,
    /// Memory × time awake without a request, starting included: MB·µs.
    pub idle_cost: f64,
    /// Memory × time that requests waited: MB·µs.
    pub wait_cost: f64,
    /// What each request waited, in microseconds.
    pub waits: Histogram,
    /// Memory of the instance that each request needed, summed.
    request_memory: f64,
    /// Memory that holds what the policy learned, in bytes, over all services.
    learned_bytes: u64,
    peaks: Peaks,
}

/// What came of it for one service.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServiceOutcome {
    pub(crate) requests: u64,
    pub(crate) delayed: u64,
    pub(crate) starts: u64,
    pub(crate) shed: u64,
    /// Time of all its instances without a request, starting included.
    pub(crate) idle_us: u64,
    pub(crate) wait_us: u64,
}

impl Outcome {
    pub(crate) fn add_service(&mut self, memory_mb: f64, service: &ServiceOutcome) {
        self.requests += service.requests;
        self.delayed += service.delayed;
        self.starts += service.starts;
        self.shed += service.shed;
        if service.requests > 0 {
            self.service_delayed += service.delayed as f64 / service.requests as f64;
            self.services += 1;
        }
        self.request_memory += memory_mb * service.requests as f64;
        self.idle_cost += memory_mb * service.idle_us as f64;
        self.wait_cost += memory_mb * service.wait_us as f64;
    }

    pub(crate) fn add_learned(&mut self, bytes: usize) {
        self.learned_bytes += bytes as u64;
    }

    /// What the policy remembers of a service at the end, in bytes of memory, on average.
    pub fn mean_learned_bytes(&self) -> f64 {
        share(self.learned_bytes as f64, self.services as f64)
    }

    pub(crate) fn add_start(&mut self, at_us: u64) {
        self.peaks.add(at_us);
    }

    /// Share of requests that found no idle instance.
    pub fn delayed_share(&self) -> f64 {
        share(self.delayed as f64, self.requests as f64)
    }

    /// Starts per request.
    pub fn start_share(&self) -> f64 {
        share(self.starts as f64, self.requests as f64)
    }

    /// The mean over services of their share of delayed requests: small services count as much as large ones.
    pub fn service_mean_delayed(&self) -> f64 {
        share(self.service_delayed, self.services as f64)
    }

    /// Services that were asked at all.
    pub fn services(&self) -> u64 {
        self.services
    }

    /// The mean wait of a request in microseconds, weighted by the memory of its instance as in the cost.
    pub fn mean_wait_us(&self) -> f64 {
        share(self.wait_cost, self.request_memory)
    }

    /// Idle memory plus `beta` times waiting, in MB·µs.
    pub fn cost(&self, beta: u32) -> f64 {
        self.idle_cost + f64::from(beta) * self.wait_cost
    }

    /// No start will be added any more.
    pub(crate) fn settle(mut self) -> Self {
        self.peaks.settle();
        self
    }

    /// Most starts within a tenth of a second and within a second, on the clock.
    pub fn start_peaks(&self) -> (u64, u64) {
        self.peaks.most
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Starts per tenth of a second while a run lasts, in pages of 100 s for those in which anything starts; only the most
/// of them afterwards. So a year of silence takes no memory, and a finished run none at all.
#[derive(Clone, Debug, Default)]
struct Peaks {
    pages: BTreeMap<u64, Box<[u32; PAGE]>>,
    most: (u64, u64),
}

/// Tenths in a page; of whole seconds.
const PAGE: usize = 1_000;

impl Peaks {
    fn add(&mut self, at_us: u64) {
        let tenth = at_us / 100_000;
        let (page, place) = (tenth / PAGE as u64, tenth % PAGE as u64);
        let tenths = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
        let place = usize::try_from(place).expect("below the size of a page");
        tenths[place] += 1;
    }

    fn settle(&mut self) {
        let sum = |tenths: &[u32]| tenths.iter().copied().map(u64::from).sum();
        for tenths in std::mem::take(&mut self.pages).values() {
            let tenth = tenths.iter().copied().max().unwrap_or(0);
            let second = tenths.chunks(10).map(sum).max().unwrap_or(0);
            self.most = (self.most.0.max(u64::from(tenth)), self.most.1.max(second));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_the_fullest_tenth_and_second() {
        let mut outcome = Outcome::default();
        for at_us in [0, 50_000, 99_999, 100_000, 950_000, 1_000_000, 1_000_001] {
            outcome.add_start(at_us);
        }
        assert_eq!(outcome.settle().start_peaks(), (3, 5));
    }

    #[test]
    fn memory_does_not_grow_with_the_length_of_a_trace() {
        let mut outcome = Outcome::default();
        for year in 0..10 {
            outcome.add_start(year * 366 * 86_400_000_000);
        }
        assert_eq!(outcome.peaks.pages.len(), 10);
        let outcome = outcome.settle();
        assert_eq!((outcome.peaks.pages.len(), outcome.start_peaks()), (0, (1, 1)));
    }

    #[test]
    fn small_services_count_as_much_as_large_ones_in_the_mean() {
        let mut outcome = Outcome::default();
        for (requests, delayed) in [(1, 1), (1_000, 0)] {
            let service = ServiceOutcome {
                requests,
                delayed,
                ..ServiceOutcome::default()
            };
            outcome.add_service(1.0, &service);
        }
        assert!((outcome.service_mean_delayed() - 0.5).abs() < 1e-9);
        assert!((outcome.delayed_share() - 1.0 / 1_001.0).abs() < 1e-9);
    }
}
