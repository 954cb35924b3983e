use super::controller::{Controller, Load};

/// Keeps every idle instance for the same time. With β times the start time: ski rental without learning.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    /// The time, in microseconds.
    pub keep_us: u64,
}

impl Controller for Fixed {
    fn keep_us(&mut self, _: u64, _: Load) -> u64 {
        self.keep_us
    }
}
