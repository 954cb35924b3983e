//! The boot timer, which tells the VMM how far the kernel has come.

use guest_kernel::{CommandLine, Timeline};

use super::{Registers, tsc};

/// How far the kernel has come; the value is what the device is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The kernel has been entered.
    Kernel = 1,
    /// The application runs.
    Application = 2,
    /// The network device is ready.
    Network = 3,
    /// Requests are served.
    Serving = 4,
    /// The application runs again after a restore.
    Resumed = 5,
}

/// The device, if there is one, and our own record.
#[derive(Debug)]
pub(crate) struct BootTimer {
    device: Option<Registers>,
    tsc: [u64; 6],
}

impl BootTimer {
    /// The device that the command line names. `entry_tsc` is the counter at the kernel's first instruction.
    pub(crate) fn new(command_line: &CommandLine<'static>, entry_tsc: u64) -> Self {
        let mut timer = Self {
            device: command_line
                .windows("vmm.boot_timer")
                .next()
                .and_then(Registers::new),
            tsc: [0; 6],
        };
        timer.mark(Phase::Kernel);
        timer.tsc[usize::from(Phase::Kernel as u8)] = entry_tsc;
        timer
    }

    /// Tells the VMM of `phase`.
    pub(crate) fn mark(&mut self, phase: Phase) {
        if let Some(device) = &self.device {
            device.write(0, u32::from(phase as u8));
        }
        self.tsc[usize::from(phase as u8)] = tsc();
    }

    /// Nanoseconds from the kernel's first instruction to `phase` of the boot; 0 if it has not come.
    pub(crate) fn since_entry_ns(&self, phase: Phase, timeline: &Timeline) -> u64 {
        timeline.span_ns(
            self.tsc[usize::from(Phase::Kernel as u8)],
            self.tsc[usize::from(phase as u8)],
        )
    }
}
