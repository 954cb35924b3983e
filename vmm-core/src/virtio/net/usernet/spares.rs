//! Which spare connections there are and when to open the next one. Pure.

use super::config::Spare;
use super::time::{Millis, earliest};

/// A used spare is replaced this long after its use and after the last traffic: not in the way of the request.
pub(crate) const REFILL_DELAY_MS: u64 = 2;
/// First pause after the guest refused or ended a spare; it doubles every time up to the longest.
const FIRST_PAUSE_MS: u64 = 5;
const LONGEST_PAUSE_MS: u64 = 1_280;

#[derive(Debug)]
struct Port {
    spare: Spare,
    /// Our ports of the established ones, oldest first.
    ready: Vec<u16>,
    opening: usize,
    failures: u32,
    /// None is opened before.
    not_before: Millis,
}

impl Port {
    fn lacks(&self) -> bool {
        self.ready.len() + self.opening < self.spare.count
    }

    fn failed(&mut self, now: Millis) {
        let pause = FIRST_PAUSE_MS
            .checked_shl(self.failures)
            .unwrap_or(LONGEST_PAUSE_MS)
            .min(LONGEST_PAUSE_MS);
        self.failures = (self.failures + 1).min(16);
        self.not_before = now.plus(pause);
    }
}

/// The spare connections of a link.
#[derive(Debug)]
pub(crate) struct SparePool {
    ports: Vec<Port>,
}

impl SparePool {
    pub(crate) fn new(spares: &[Spare], now: Millis) -> Self {
        let port = |&spare| Port {
            spare,
            ready: Vec::new(),
            opening: 0,
            failures: 0,
            not_before: now,
        };
        SparePool {
            ports: spares.iter().map(port).collect(),
        }
    }

    fn port(&mut self, port: u16) -> Option<&mut Port> {
        self.ports
            .iter_mut()
            .find(|candidate| candidate.spare.port == port)
    }

    /// Takes a spare to `port`, if there is one.
    pub(crate) fn take(&mut self, now: Millis, port: u16) -> Option<u16> {
        let port = self.port(port).filter(|port| !port.ready.is_empty())?;
        port.failures = 0;
        port.not_before = now.plus(REFILL_DELAY_MS);
        Some(port.ready.remove(0))
    }

    /// The port to which a spare is to be opened now, if any. It counts as being opened.
    pub(crate) fn next_to_open(&mut self, now: Millis) -> Option<u16> {
        let port = self
            .ports
            .iter_mut()
            .find(|port| port.lacks() && port.not_before <= now)?;
        port.opening += 1;
        Some(port.spare.port)
    }

    /// A spare that was being opened is established, or was found so.
    pub(crate) fn opened(&mut self, port: u16, connection: u16) {
        if let Some(port) = self.port(port) {
            port.opening = port.opening.saturating_sub(1);
            port.ready.push(connection);
        }
    }

    /// The guest did not accept a spare that was being opened.
    pub(crate) fn refused(&mut self, now: Millis, port: u16) {
        if let Some(port) = self.port(port) {
            port.opening = port.opening.saturating_sub(1);
            port.failed(now);
        }
    }

    /// The guest ended a spare. `false` if it was none any more.
    pub(crate) fn lost(&mut self, now: Millis, port: u16, connection: u16) -> bool {
        let Some(port) = self.port(port) else { return false };
        let ready = port.ready.len();
        port.ready.retain(|spare| *spare != connection);
        let lost = port.ready.len() < ready;
        if lost {
            port.failed(now);
        }
        lost
    }

    /// Takes over a restored spare; `false` if it is not wanted.
    pub(crate) fn adopt(&mut self, port: u16, connection: u16) -> bool {
        let Some(port) = self.port(port).filter(|port| port.lacks()) else {
            return false;
        };
        port.ready.push(connection);
        true
    }

    /// The guest is known to serve now: forget what it refused before.
    pub(crate) fn try_now(&mut self, now: Millis) {
        for port in &mut self.ports {
            (port.failures, port.not_before) = (0, now);
        }
    }

    /// When there may be one to open.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let lacking = self.ports.iter().filter(|port| port.lacks());
        lacking.fold(None, |deadline, port| earliest(deadline, Some(port.not_before)))
    }

    /// All that are wanted are there.
    pub(crate) fn is_full(&self) -> bool {
        self.ports.iter().all(|port| port.ready.len() >= port.spare.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 80;

    fn pool(count: usize) -> SparePool {
        SparePool::new(&[Spare { port: PORT, count }], Millis(0))
    }

    #[test]
    fn opens_as_many_as_wanted() {
        let mut pool = pool(2);
        assert_eq!(
            [(); 3].map(|()| pool.next_to_open(Millis(0))),
            [Some(PORT), Some(PORT), None]
        );
        pool.opened(PORT, 1);
        assert!(!pool.is_full());
        pool.opened(PORT, 2);
        assert!(pool.is_full());
        assert_eq!(pool.deadline(), None);
    }

    #[test]
    fn a_used_spare_is_replaced_after_the_request() {
        let mut pool = pool(1);
        pool.next_to_open(Millis(0));
        pool.opened(PORT, 7);
        assert_eq!(pool.take(Millis(10), PORT), Some(7));
        assert_eq!(pool.take(Millis(10), PORT), None);
        assert_eq!(pool.next_to_open(Millis(10)), None);
        assert_eq!(pool.next_to_open(Millis(10 + REFILL_DELAY_MS)), Some(PORT));
    }

    #[test]
    fn a_guest_that_ends_its_spares_at_once_is_asked_ever_less_often() {
        let mut pool = pool(1);
        let (mut now, mut opened) = (Millis(0), 0);
        while now < Millis(60_000) {
            if pool.next_to_open(now).is_some() {
                opened += 1;
                pool.opened(PORT, 7);
                assert!(pool.lost(now, PORT, 7));
            }
            now = now.plus(1);
        }
        assert!(opened < 60, "{opened} in a minute");
        pool.try_now(now);
        assert_eq!(pool.next_to_open(now), Some(PORT));
    }

    #[test]
    fn refusals_pause_too() {
        let mut pool = pool(1);
        pool.next_to_open(Millis(0));
        pool.refused(Millis(0), PORT);
        assert_eq!(pool.deadline(), Some(Millis(FIRST_PAUSE_MS)));
    }
}
