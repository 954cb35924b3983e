//! A byte queue that grows with its use up to a bound and keeps nothing while it is idle.

use std::ops::Range;

/// Storage of a ring in use starts at this size and doubles.
const FIRST: usize = 2 * 1024;
/// Storage up to this size is kept when the ring runs empty, for the next use.
const KEEP: usize = 8 * 1024;

/// First in, first out; at most `limit` bytes.
#[derive(Clone, Debug)]
pub(crate) struct ByteRing {
    /// Its length is zero or a power of two.
    storage: Box<[u8]>,
    start: usize,
    len: usize,
    limit: usize,
}

impl ByteRing {
    pub(crate) fn new(limit: usize) -> Self {
        ByteRing {
            storage: Box::default(),
            start: 0,
            len: 0,
            limit,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more bytes fit.
    pub(crate) fn free(&self) -> usize {
        self.limit - self.len
    }

    /// The bytes of `range`, counted from the oldest, in up to two pieces. Empty where the range leaves the ring.
    pub(crate) fn slices(&self, range: Range<usize>) -> [&[u8]; 2] {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        let (older, newer) = self.pieces();
        let cut = older.len();
        let piece = |bytes: &'_ [u8], from: usize, to: usize| -> Range<usize> {
            from.min(bytes.len())..to.min(bytes.len())
        };
        let first = piece(older, start, end);
        let second = piece(newer, start.saturating_sub(cut), end.saturating_sub(cut));
        [
            older.get(first).unwrap_or_default(),
            newer.get(second).unwrap_or_default(),
        ]
    }

    /// The oldest bytes that lie in one piece.
    pub(crate) fn front(&self) -> &[u8] {
        self.pieces().0
    }

    fn pieces(&self) -> (&[u8], &[u8]) {
        let (wrapped, linear) = self.storage.split_at_checked(self.start).unwrap_or_default();
        let older = self.len.min(linear.len());
        (
            linear.get(..older).unwrap_or_default(),
            wrapped.get(..self.len - older).unwrap_or_default(),
        )
    }

    /// Space behind the newest byte, in one piece, to be filled and [committed](Self::commit). Empty when the ring is
    /// full, and only then.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.len == self.storage.len() && self.free() > 0 {
            self.grow();
        }
        let (free, capacity) = (self.free(), self.storage.len());
        let end = self.start + self.len;
        let range = if end < capacity {
            end..capacity
        } else {
            end - capacity..self.start
        };
        let space = self.storage.get_mut(range).unwrap_or_default();
        let usable = space.len().min(free);
        space.get_mut(..usable).unwrap_or_default()
    }

    /// Takes the first `count` bytes of [`space`](Self::space) in.
    pub(crate) fn commit(&mut self, count: usize) {
        self.len = (self.len + count).min(self.storage.len());
    }

    /// Appends what fits of `bytes` and answers how many that were.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = self.space();
            let count = space.len().min(rest.len());
            if count == 0 {
                break;
            }
            let (now, later) = rest.split_at(count);
            for (to, from) in space.chunks_mut(count).zip([now]) {
                to.copy_from_slice(from);
            }
            self.commit(count);
            rest = later;
        }
        bytes.len() - rest.len()
    }

    /// Drops the oldest `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.len -= count;
        self.start += count;
        if self.start >= self.storage.len() {
            self.start -= self.storage.len();
        }
        if self.len == 0 {
            self.start = 0;
            if self.storage.len() > KEEP {
                self.storage = Box::default();
            }
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.slices(0..self.len).concat()
    }

    fn grow(&mut self) {
        let capacity = (self.storage.len() * 2).max(FIRST);
        let mut storage = self.to_vec();
        storage.resize(capacity, 0);
        (self.storage, self.start) = (storage.into_boxed_slice(), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_bounded_deque(steps: Vec<(bool, u16)>) {
            let mut ring = ByteRing::new(20_000);
            let mut model = VecDeque::new();
            let mut next = 0u8;
            for (push, count) in steps {
                let count = usize::from(count);
                if push {
                    let bytes: Vec<u8> = (0..count).map(|_| { next = next.wrapping_add(1); next }).collect();
                    let taken = ring.extend(&bytes);
                    prop_assert_eq!(taken, count.min(20_000 - model.len()));
                    model.extend(&bytes[..taken]);
                } else {
                    ring.consume(count);
                    model.drain(..count.min(model.len()));
                }
                prop_assert_eq!(ring.len(), model.len());
                let range = count / 3..count;
                let part: Vec<u8> = model.iter().copied().skip(range.start).take(range.len()).collect();
                prop_assert_eq!(ring.slices(range).concat(), part);
                prop_assert_eq!(ring.space().is_empty(), model.len() == 20_000);
            }
            prop_assert_eq!(ring.to_vec(), Vec::from(model));
        }
    }
}
