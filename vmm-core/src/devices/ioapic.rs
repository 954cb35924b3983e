//! The I/O APIC of a split irqchip: the guest writes where each pin's interrupt goes, and KVM is told (Intel 82093AA).
//!
//! Every pin is edge triggered, whatever its redirection entry says: our devices pulse (docs/guest-abi.md).

use std::io;
use std::sync::Arc;

use kvm_bindings::{KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::bus::BusDevice;

/// Pins, and so GSIs.
pub(crate) const PINS: usize = 24;
const IOREGSEL: u64 = 0x00;
const IOWIN: u64 = 0x10;
const REG_ID: u8 = 0x00;
const REG_VERSION: u8 = 0x01;
const REG_ARBITRATION: u8 = 0x02;
const REG_REDIRECTION: u8 = 0x10;
/// Version 0x20, and the highest pin in bits 16–23.
const VERSION: u32 = 0x17_0020;
const ENTRY_MASKED: u64 = 1 << 16;
/// Delivery status and remote IRR cannot be written.
const ENTRY_READ_ONLY: u64 = 1 << 12 | 1 << 14;
const MSI_ADDRESS_BASE: u32 = 0xfee0_0000;

/// What the guest has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IoApicState {
    id: u32,
    select: u8,
    entries: [u64; PINS],
}

impl Default for IoApicState {
    fn default() -> Self {
        Self {
            id: 0,
            select: 0,
            entries: [ENTRY_MASKED; PINS],
        }
    }
}

impl IoApicState {
    /// The MSI (address, data) that `pin` sends, unless it is masked.
    fn message(&self, pin: usize) -> Option<(u32, u32)> {
        let entry = *self.entries.get(pin)?;
        if entry & ENTRY_MASKED != 0 {
            return None;
        }
        let [vector, flags, .., destination] = entry.to_le_bytes();
        let (delivery, logical) = (u32::from(flags & 0x7), u32::from(flags >> 3 & 1));
        let address = MSI_ADDRESS_BASE | u32::from(destination) << 12 | logical << 2;
        Some((address, u32::from(vector) | delivery << 8))
    }

    fn routes(&self) -> Vec<kvm_irq_routing_entry> {
        let route = |pin: usize| {
            let (address, data) = self.message(pin)?;
            let gsi = u32::try_from(pin).ok()?;
            let mut entry = kvm_irq_routing_entry {
                gsi,
                type_: KVM_IRQ_ROUTING_MSI,
                ..Default::default()
            };
            entry.u.msi.address_lo = address;
            entry.u.msi.data = data;
            Some(entry)
        };
        (0..PINS).filter_map(route).collect()
    }

    fn read(&self, register: u8) -> u32 {
        match register {
            REG_ID | REG_ARBITRATION => self.id,
            REG_VERSION => VERSION,
            _ => match self.entry_half(register) {
                Some((pin, shift)) => {
                    let entry = self.entries.get(pin).copied().unwrap_or(ENTRY_MASKED);
                    u32::try_from(entry >> shift & 0xffff_ffff).expect("masked to 32 bits")
                }
                None => 0,
            },
        }
    }

    /// Writes a register; says whether a pin's interrupt now goes elsewhere.
    fn write(&mut self, register: u8, value: u32) -> bool {
        if register == REG_ID {
            self.id = value & 0x0f00_0000;
            return false;
        }
        let Some((pin, shift)) = self.entry_half(register) else {
            return false;
        };
        let before = self.message(pin);
        if let Some(entry) = self.entries.get_mut(pin) {
            let kept = *entry & (ENTRY_READ_ONLY | !(0xffff_ffff << shift));
            *entry = kept | (u64::from(value) << shift & !ENTRY_READ_ONLY);
        }
        before != self.message(pin)
    }

    /// The pin that `register` belongs to, and where its half of the entry begins.
    fn entry_half(&self, register: u8) -> Option<(usize, u32)> {
        let index = register.checked_sub(REG_REDIRECTION)?;
        let pin = usize::from(index / 2);
        (pin < self.entries.len()).then_some((pin, u32::from(index % 2) * 32))
    }
}

/// The device.
#[derive(Debug)]
pub(crate) struct IoApic {
    vm: Arc<VmFd>,
    state: IoApicState,
}

impl IoApic {
    pub(crate) fn new(vm: Arc<VmFd>) -> Self {
        Self {
            vm,
            state: IoApicState::default(),
        }
    }

    pub(crate) const fn state(&self) -> &IoApicState {
        &self.state
    }

    /// Becomes the saved device. Costs nothing when the pins already go where the state says.
    pub(crate) fn restore(&mut self, state: &IoApicState) -> io::Result<()> {
        let same = (0..PINS).all(|pin| self.state.message(pin) == state.message(pin));
        self.state = *state;
        if same { Ok(()) } else { self.publish() }
    }

    fn publish(&self) -> io::Result<()> {
        let routing = KvmIrqRouting::from_entries(&self.state.routes()).map_err(io::Error::other)?;
        self.vm.set_gsi_routing(&routing).map_err(io::Error::from)
    }
}

impl BusDevice for IoApic {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let value = match offset {
            IOREGSEL => u32::from(self.state.select),
            IOWIN => self.state.read(self.state.select),
            _ => 0,
        };
        for (byte, value) in data.iter_mut().zip(value.to_le_bytes()) {
            *byte = value;
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        match (offset, data) {
            (IOREGSEL, [register, ..]) => self.state.select = *register,
            (IOWIN, &[a, b, c, d]) => {
                if self
                    .state
                    .write(self.state.select, u32::from_le_bytes([a, b, c, d]))
                    && let Err(error) = self.publish()
                {
                    debug!(%error, "KVM refused the guest's interrupt routes");
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unmasked_pin_sends_its_vector_to_its_destination() {
        let mut state = IoApicState::default();
        assert!(state.routes().is_empty());
        assert!(!state.write(0x10 + 2 * 5 + 1, 0x0300_0000));
        assert!(state.write(0x10 + 2 * 5, 0x31));
        assert_eq!(state.message(5), Some((0xfee0_3000, 0x31)));
        assert_eq!(state.routes().len(), 1);
        assert!(state.write(0x10 + 2 * 5, 0x1_0031));
        assert_eq!(state.message(5), None);
    }

    #[test]
    fn registers_read_back_and_unknown_ones_read_zero() {
        let mut state = IoApicState::default();
        state.write(0x10 + 47, 0xff00_0000);
        assert_eq!(state.read(0x10 + 47), 0xff00_0000);
        assert_eq!(state.read(REG_VERSION), VERSION);
        for register in [0x03, 0x0f, 0x40, 0xff] {
            assert!(!state.write(register, u32::MAX));
            assert_eq!(state.read(register), 0);
        }
    }
}
