use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// Cores that starts and requests share: while there is more work than cores, all of it goes on equally slower.
///
/// Kept as one clock that runs slower the more there is to do: work that needs so much time ends when that clock has
/// moved by as much. Every operation is O(log n).
#[derive(Debug)]
pub(super) struct Cores {
    cores: u64,
    /// Where the clock of work stands, and when that was.
    worked_ns: u64,
    at_ns: u64,
    /// When on the clock of work a piece ends, and which one it is.
    ends: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Cores {
    pub(super) fn new(cores: u32) -> Self {
        Self {
            cores: u64::from(cores),
            worked_ns: 0,
            at_ns: 0,
            ends: BinaryHeap::new(),
        }
    }

    /// A piece of work begins that takes so long on a core of its own.
    pub(super) fn begin(&mut self, now_ns: u64, piece: u64, work_ns: u64) {
        self.advance(now_ns);
        self.ends.push(Reverse((self.worked_ns + work_ns, piece)));
    }

    /// When the next piece ends if nothing else begins.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let Reverse((end, _)) = self.ends.peek()?;
        let left = u128::from(end.saturating_sub(self.worked_ns));
        let waits = (left * u128::from(self.pieces())).div_ceil(u128::from(self.pieces().min(self.cores)));
        Some(
            self.at_ns
                .saturating_add(u64::try_from(waits).unwrap_or(u64::MAX)),
        )
    }

    /// The piece that ends now.
    pub(super) fn pop(&mut self, now_ns: u64) -> Option<u64> {
        self.advance(now_ns);
        self.ends.pop().map(|Reverse((end, piece))| {
            self.worked_ns = self.worked_ns.max(end);
            piece
        })
    }

    fn pieces(&self) -> u64 {
        self.ends.len() as u64
    }

    fn advance(&mut self, now_ns: u64) {
        let passed = u128::from(now_ns.saturating_sub(self.at_ns));
        self.at_ns = now_ns;
        if self.pieces() > 0 {
            let worked = passed * u128::from(self.pieces().min(self.cores)) / u128::from(self.pieces());
            self.worked_ns = self
                .worked_ns
                .saturating_add(u64::try_from(worked).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_work_than_cores_goes_on_equally_slower() {
        let mut cores = Cores::new(2);
        cores.begin(0, 1, 100);
        cores.begin(0, 2, 100);
        assert_eq!(cores.next_ns(), Some(100), "each has a core");
        cores.begin(50, 3, 100);
        cores.begin(50, 4, 100);
        // Four pieces on two cores: the 50 left of the first two take 100.
        assert_eq!(cores.next_ns(), Some(150));
        assert_eq!((cores.pop(150), cores.pop(150)), (Some(1), Some(2)));
        assert_eq!(cores.next_ns(), Some(200));
        assert_eq!(
            (cores.pop(200), cores.pop(200), cores.next_ns()),
            (Some(3), Some(4), None)
        );
    }
}
