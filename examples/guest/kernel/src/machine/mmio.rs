//! Device registers in memory.

use guest_kernel::Window;

/// A window of 32-bit registers.
#[derive(Debug)]
pub(crate) struct Registers {
    base: usize,
    len: usize,
}

impl Registers {
    /// The registers of `window`, as the command line names it.
    pub(crate) fn new(window: Window) -> Option<Self> {
        Some(Self {
            base: usize::try_from(window.base).ok()?,
            len: usize::try_from(window.len).ok()?,
        })
    }

    /// The `len` bytes of registers at an architectural address.
    pub(super) const fn fixed(base: usize, len: usize) -> Self {
        Self { base, len }
    }

    /// Reads the register at `offset`; all ones behind the end of the window, as a bus without a device.
    pub(crate) fn read(&self, offset: usize) -> u32 {
        match self.address(offset) {
            // SAFETY: aligned, and within the window, which is mapped and holds no memory that Rust uses: a `Window` is
            // above all RAM that the kernel takes, as the APICs of `fixed` are.
            Some(address) => unsafe { address.read_volatile() },
            None => u32::MAX,
        }
    }

    /// Writes the register at `offset`; nothing happens behind the end of the window.
    pub(crate) fn write(&self, offset: usize, value: u32) {
        if let Some(address) = self.address(offset) {
            // SAFETY: as for `read`.
            unsafe { address.write_volatile(value) };
        }
    }

    fn address(&self, offset: usize) -> Option<*mut u32> {
        let inside = offset.is_multiple_of(4) && offset.checked_add(4)? <= self.len;
        inside.then(|| core::ptr::with_exposed_provenance_mut(self.base + offset))
    }
}
