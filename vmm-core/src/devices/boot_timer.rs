//! The boot timer: the guest writes how far it has come, and the host's clock says when.

use std::sync::Arc;
use std::time::Instant;

use crate::bus::BusDevice;
use crate::lifecycle::{Lifecycle, Mark};

/// The guest's mark for "serving" (docs/guest-abi.md).
pub const MARK_SERVING: u32 = 4;
/// The guest's mark for "running again after a restore".
pub const MARK_RESUMED: u32 = 5;

/// The device: one write-only register.
#[derive(Debug)]
pub(crate) struct BootTimer(pub(crate) Arc<Lifecycle>);

impl BusDevice for BootTimer {
    fn read(&mut self, _: u64, _: &mut [u8]) {}

    fn write(&mut self, offset: u64, data: &[u8]) {
        let at = Instant::now();
        if let (0, Ok(number)) = (offset, data.try_into().map(u32::from_le_bytes)) {
            self.0.mark(Mark { number, at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_writes_to_the_register_count() {
        let lifecycle = Arc::new(Lifecycle::new());
        let mut device = BootTimer(Arc::clone(&lifecycle));
        device.write(4, &[1, 0, 0, 0]);
        device.write(0, &[1, 0]);
        device.write(0, &[3, 0, 0, 0]);
        let numbers: Vec<_> = lifecycle.marks().iter().map(|mark| mark.number).collect();
        assert_eq!(numbers, [3]);
    }
}
