//! A bus: sorted, disjoint ranges, each with its device.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A device that answers accesses to its range.
///
/// Called on a vCPU thread while that vCPU is stopped, so it must neither block nor allocate without bound. What the
/// guest sends is untrusted: an access that makes no sense is ignored.
pub(crate) trait BusDevice: Send {
    /// Fills `data` from `offset` bytes into the range. What is left untouched reads as all ones.
    fn read(&mut self, offset: u64, data: &mut [u8]);

    /// Takes `data` written `offset` bytes into the range.
    fn write(&mut self, offset: u64, data: &[u8]);
}

/// A device that is on a bus and known elsewhere too (event loop, save and restore).
pub(crate) type SharedDevice = Arc<Mutex<dyn BusDevice>>;

/// A range could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The range is empty or runs past the end of the address space.
    #[error("add device at {base:#x}: {len:#x} bytes is not a range")]
    Empty {
        /// First address.
        base: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Another device is already there.
    #[error("add device at {base:#x} ({len:#x} bytes): overlaps the device at {other:#x}")]
    Overlap {
        /// First address.
        base: u64,
        /// Length in bytes.
        len: u64,
        /// First address of the device that is there.
        other: u64,
    },
}

/// Disjoint address ranges and the device behind each. Look-up is a binary search.
#[derive(Clone, Default)]
pub(crate) struct Bus {
    devices: Vec<Slot>,
}

#[derive(Clone)]
struct Slot {
    base: u64,
    len: u64,
    device: SharedDevice,
}

impl Bus {
    /// Puts `device` behind the `len` bytes from `base`.
    ///
    /// # Errors
    /// The range is empty or overlaps one that is there.
    pub(crate) fn insert(&mut self, base: u64, len: u64, device: SharedDevice) -> Result<(), BusError> {
        let end = base
            .checked_add(len)
            .filter(|_| len > 0)
            .ok_or(BusError::Empty { base, len })?;
        if let Some(slot) = self
            .devices
            .iter()
            .find(|slot| slot.base < end && base < slot.base + slot.len)
        {
            return Err(BusError::Overlap {
                base,
                len,
                other: slot.base,
            });
        }
        let at = self.devices.partition_point(|slot| slot.base < base);
        self.devices.insert(at, Slot { base, len, device });
        Ok(())
    }

    /// Reads from the device at `addr`. Where there is none, all ones are read, as on real hardware.
    pub(crate) fn read(&self, addr: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((slot, offset)) = self.find(addr, data.len()) {
            slot.device
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .read(offset, data);
        }
    }

    /// Writes to the device at `addr`. Where there is none, nothing happens.
    pub(crate) fn write(&self, addr: u64, data: &[u8]) {
        if let Some((slot, offset)) = self.find(addr, data.len()) {
            slot.device
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(offset, data);
        }
    }

    fn find(&self, addr: u64, len: usize) -> Option<(&Slot, u64)> {
        let after = self.devices.partition_point(|slot| slot.base <= addr);
        let slot = self.devices.get(after.checked_sub(1)?)?;
        let offset = addr - slot.base;
        let end = offset.checked_add(u64::try_from(len).ok()?)?;
        (end <= slot.len).then_some((slot, offset))
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.devices.iter().map(|slot| (slot.base, slot.len));
        f.debug_map().entries(ranges).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Register(Vec<u8>);

    impl BusDevice for Register {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(u8::try_from(offset).unwrap());
        }
        fn write(&mut self, offset: u64, data: &[u8]) {
            self.0.push(u8::try_from(offset).unwrap());
            self.0.extend(data);
        }
    }

    #[test]
    fn accesses_reach_the_device_at_its_offset() {
        let mut bus = Bus::default();
        let device = Arc::new(Mutex::new(Register::default()));
        bus.insert(0x1000, 0x10, device.clone()).unwrap();
        let mut data = [0; 2];
        bus.read(0x1004, &mut data);
        assert_eq!(data, [4, 4]);
        bus.write(0x100f, &[7]);
        assert_eq!(device.lock().unwrap().0, [0xf, 7]);
    }

    #[test]
    fn accesses_outside_or_across_the_end_read_ones() {
        let mut bus = Bus::default();
        bus.insert(0x1000, 0x10, Arc::new(Mutex::new(Register::default())))
            .unwrap();
        for addr in [0x0, 0xfff, 0x100f, 0x1010, u64::MAX] {
            let mut data = [0; 2];
            bus.read(addr, &mut data);
            assert_eq!(data, [0xff, 0xff], "{addr:#x}");
        }
    }

    #[test]
    fn overlapping_and_empty_ranges_are_refused() {
        let mut bus = Bus::default();
        let device: SharedDevice = Arc::new(Mutex::new(Register::default()));
        bus.insert(0x1000, 0x10, device.clone()).unwrap();
        assert!(matches!(
            bus.insert(0x100f, 1, device.clone()),
            Err(BusError::Overlap { other: 0x1000, .. })
        ));
        assert!(matches!(
            bus.insert(0x2000, 0, device.clone()),
            Err(BusError::Empty { .. })
        ));
        assert!(matches!(
            bus.insert(u64::MAX, 2, device.clone()),
            Err(BusError::Empty { .. })
        ));
        bus.insert(0x1010, 1, device.clone()).unwrap();
        bus.insert(0xfff, 1, device).unwrap();
    }
}
