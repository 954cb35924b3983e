//! I/O ports: the serial line and the way to stop.

use core::arch::asm;
use core::fmt;

/// A writer to the serial line. Each byte costs an exit to the VMM.
pub(crate) struct Serial;

/// The serial line.
pub(crate) fn print() -> Serial {
    Serial
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const COM1: u16 = 0x3f8;
        for byte in text.bytes() {
            write(COM1, byte);
        }
        Ok(())
    }
}

/// Stops the VM: by the keyboard controller's reset line, or where there is none, by a triple fault.
pub(crate) fn stop() -> ! {
    const CONTROLLER: u16 = 0x64;
    const RESET: u8 = 0xfe;
    write(CONTROLLER, RESET);
    super::crash()
}

pub(super) fn write(port: u16, value: u8) {
    // SAFETY: ports below 0x400 are open to ring 3, and those used here have no device write to memory. It may be read,
    // so that everything written before has to be there: whoever is told to stop looks at the rings once more.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(readonly, nostack, preserves_flags)) };
}

pub(super) fn read(port: u16) -> u8 {
    let value;
    // SAFETY: as for `write`; what is read here has nothing to do with memory.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}
