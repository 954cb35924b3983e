use std::fmt;

/// An instruction set, by its number in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture(pub u32);

impl Architecture {
    /// 64-bit x86.
    pub const X86_64: Self = Self(1);
    /// 64-bit Arm.
    pub const AARCH64: Self = Self(2);
    /// 64-bit RISC-V.
    pub const RISCV64: Self = Self(3);
    /// The instruction set of this process.
    pub const CURRENT: Self = if cfg!(target_arch = "x86_64") {
        Self::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Self::AARCH64
    } else if cfg!(target_arch = "riscv64") {
        Self::RISCV64
    } else {
        Self(u32::MAX)
    };
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::X86_64 => f.write_str("x86_64"),
            Self::AARCH64 => f.write_str("aarch64"),
            Self::RISCV64 => f.write_str("riscv64"),
            Self(number) => write!(f, "architecture {number}"),
        }
    }
}
