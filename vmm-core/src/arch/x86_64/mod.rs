//! x86-64: boot protocols, registers, CPUID and MSRs.

pub(crate) mod boot;
pub(crate) mod cpuid;
pub(crate) mod cpuid_check;
pub(crate) mod gdt;
pub(crate) mod msr;
pub(crate) mod regs;
#[expect(unsafe_code, reason = "RDTSC is an intrinsic")]
pub(crate) mod tsc;
