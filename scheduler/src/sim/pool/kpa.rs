use core::time::Duration;

use super::controller::{Controller, Load, OnDemand, Scale};
use crate::scale::{KpaConfig, KpaInput, KpaState, Meter, Milli, Window};
use crate::time::Timestamp;

/// Knative's pod autoscaler with its default parameters and a hard limit of one request per instance: the algorithm of
/// [`ScaleMode::Kpa`](crate::ScaleMode::Kpa).
///
/// Left out: scrape delay and the 30 s grace before the last instance goes.
#[derive(Debug)]
pub struct Kpa {
    config: KpaConfig,
    /// Between the first request of a service that sleeps and its falling asleep.
    awake: Option<Awake>,
}

#[derive(Debug)]
struct Awake {
    next_us: u64,
    load: Meter,
    window: Window,
    state: KpaState,
}

impl Default for Kpa {
    fn default() -> Self {
        let config = KpaConfig {
            capacity: Milli::from_units(1),
            zero_grace: Duration::ZERO,
            ..KpaConfig::default()
        };
        Self { config, awake: None }
    }
}

impl Kpa {
    /// Every autoscaler looks at the same moments.
    fn next_tick(&self, now_us: u64) -> u64 {
        let tick_us = u64::try_from(self.config.tick.as_micros()).unwrap_or(u64::MAX);
        (now_us / tick_us + 1) * tick_us
    }
}

fn at(us: u64) -> Timestamp {
    Timestamp::from_nanos(us.saturating_mul(1_000))
}

impl Controller for Kpa {
    fn on_demand(&self) -> OnDemand {
        OnDemand::Waits
    }

    fn arrived(&mut self, now_us: u64, load: Load) {
        let next_us = self.next_tick(now_us);
        let awake = self.awake.get_or_insert_with(|| Awake {
            next_us,
            load: Meter::new(at(now_us), 0),
            window: Window::default(),
            state: KpaState::default(),
        });
        awake.load.set(at(now_us), load.in_system + 1);
    }

    fn left(&mut self, now_us: u64, load: Load) {
        if let Some(awake) = &mut self.awake {
            awake.load.set(at(now_us), load.in_system);
        }
    }

    /// Scales down only by the clock.
    fn keep_us(&mut self, _: u64, _: Load) -> u64 {
        u64::MAX
    }

    fn next_us(&self) -> Option<u64> {
        self.awake.as_ref().map(|awake| awake.next_us)
    }

    fn scale(&mut self, now_us: u64, load: Load) -> Scale {
        let next_us = self.next_tick(now_us);
        let Some(awake) = &mut self.awake else {
            return Scale::Stay;
        };
        if now_us < awake.next_us {
            // Poked: a request found nothing awake.
            return Scale::Exactly(1);
        }
        awake.next_us = next_us;
        awake
            .window
            .push(awake.load.take(at(now_us)), self.config.stable_window);
        let ready = load.awake - load.starting;
        let input = KpaInput {
            stable: awake.window.last(self.config.stable_window).average(),
            panic: awake.window.last(self.config.panic_window()).average(),
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
        };
        let desired = awake.state.tick(&self.config, at(now_us), &input).desired;
        if desired == 0 && load.in_system == 0 {
            self.awake = None;
            return Scale::Exactly(0);
        }
        Scale::Exactly(u64::from(desired.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// Worked out by hand: 1 / 0.7 asks for two instances, twice the one that is ready, which is a panic; it ends a stable
    /// window later.
    #[test]
    fn one_request_on_one_instance_is_a_panic_and_keeps_two_for_a_minute() {
        let load = |in_system, awake| Load {
            in_system,
            awake,
            starting: 0,
        };
        let mut kpa = Kpa::default();
        kpa.arrived(0, load(0, 0));
        assert_eq!(kpa.scale(0, load(1, 0)), Scale::Exactly(1), "poked");
        let mut wanted = Vec::new();
        let mut awake = 1;
        for tick_us in (2_000_000..).step_by(2_000_000).take(35) {
            assert_eq!(kpa.next_us(), Some(tick_us));
            let Scale::Exactly(count) = kpa.scale(tick_us, load(1, awake)) else {
                panic!("every tick wants a count");
            };
            wanted.push(count);
            awake = count;
            if tick_us == 2_000_000 {
                kpa.left(tick_us, load(0, awake));
            }
        }
        // At 4 s the panic window has half of it: ⌈0.5 / 0.7⌉ is one, of two ready.
        assert_eq!(wanted[..31], [2; 31], "until 62 s");
        assert_eq!(wanted[31..], [1; 4]);
    }
}
