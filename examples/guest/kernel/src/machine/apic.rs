//! The local APIC, by its memory page: it needs no privilege there, and ending an interrupt is one instruction.

use super::Registers;

/// What can interrupt; the value is the index of its vector and of its pending flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Line {
    /// The network device.
    Net = 0,
    /// The one-shot timer.
    Timer = 1,
    /// The generation device.
    Generation = 2,
}

/// Vectors are those of the gates in `ring0.s`.
const FIRST_VECTOR: u32 = 32;
const SPURIOUS_VECTOR: u32 = 35;

const SPURIOUS: usize = 0xf0;
const ENABLED: u32 = 1 << 8;
const LVT_TIMER: usize = 0x320;
const LVT_LINT0: usize = 0x350;
const MASKED: u32 = 1 << 16;
const INITIAL_COUNT: usize = 0x380;
const DIVIDE: usize = 0x3e0;
const DIVIDE_BY_16: u32 = 0b0011;

/// Interrupt delivery and the one-shot timer.
#[derive(Debug)]
pub(crate) struct Apic {
    local: Registers,
    /// The timer has been started and has neither fired nor been stopped.
    armed: bool,
}

impl Apic {
    /// Takes over the local APIC. The pins of a legacy interrupt controller are shut.
    pub(crate) fn new() -> Self {
        let local = Registers::fixed(0xfee0_0000, 0x1000);
        local.write(SPURIOUS, ENABLED | SPURIOUS_VECTOR);
        local.write(LVT_LINT0, MASKED);
        local.write(LVT_TIMER, vector(Line::Timer));
        local.write(DIVIDE, DIVIDE_BY_16);
        Self { local, armed: false }
    }

    /// Routes the I/O APIC's `pin` to `line`, edge triggered. The upper half of the entry is zero since reset, which is
    /// this CPU.
    pub(crate) fn route(&self, pin: u8, line: Line) {
        const SELECT: usize = 0x00;
        const VALUE: usize = 0x10;
        const REDIRECTION: u32 = 0x10;
        let io = Registers::fixed(0xfec0_0000, 0x20);
        io.write(SELECT, REDIRECTION + 2 * u32::from(pin));
        io.write(VALUE, vector(line));
    }

    /// Has the timer fire in about `ns` nanoseconds, or not at all. It counts at 1 GHz under KVM and QEMU; where it is
    /// slower it fires late, and what is longer than its range makes it fire early.
    pub(crate) fn set_timer(&mut self, ns: Option<u64>) {
        match ns {
            Some(ns) => self
                .local
                .write(INITIAL_COUNT, u32::try_from(ns / 16 + 1).unwrap_or(u32::MAX)),
            None if self.armed => self.local.write(INITIAL_COUNT, 0),
            None => {}
        }
        self.armed = ns.is_some();
    }

    /// Notes that the timer has fired.
    pub(crate) fn timer_fired(&mut self) {
        self.armed = false;
    }
}

fn vector(line: Line) -> u32 {
    FIRST_VECTOR + u32::from(line as u8)
}
