//! The guest's time stamp counter as seen from the host: frequency, and distance to the host's own.

use kvm_ioctls::VcpuFd;

use super::msr;

/// How a guest's TSC relates to the host's, and how its ticks become nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TscClock {
    /// Guest TSC minus host TSC, modulo 2⁶⁴.
    pub(crate) offset: u64,
    /// `ns = ticks * mult >> shift`.
    pub(crate) mult: u32,
    pub(crate) shift: u32,
}

impl TscClock {
    /// Measures `vcpu`. The offset is exact to about the length of one ioctl.
    pub(crate) fn measure(vcpu: &VcpuFd) -> Result<Self, kvm_ioctls::Error> {
        let khz = vcpu.get_tsc_khz()?;
        let before = host_tsc();
        let guest = msr::read(vcpu, std::iter::once(msr::IA32_TSC))?;
        let after = host_tsc();
        let guest = guest.first().map_or(before, |entry| entry.data);
        let host = before.wrapping_add(after.wrapping_sub(before) / 2);
        let (mult, shift) = scale(khz);
        Ok(Self {
            offset: guest.wrapping_sub(host),
            mult,
            shift,
        })
    }

    /// The guest's TSC now.
    pub(crate) fn guest_now(&self) -> u64 {
        host_tsc().wrapping_add(self.offset)
    }
}

/// The multiplier and shift that turn ticks of a `khz` counter into nanoseconds, as precise as 32 bits allow.
fn scale(khz: u32) -> (u32, u32) {
    let khz = u64::from(khz.max(1));
    let mut shift = 32;
    loop {
        let mult = (1_000_000_u64 << shift) / khz;
        if let Ok(mult) = u32::try_from(mult) {
            return (mult, shift);
        }
        shift -= 1;
    }
}

fn host_tsc() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and Linux allows it in user mode unless a process asked otherwise.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_is_exact_to_a_millionth() {
        for khz in [1_000, 999_999, 2_300_000, 5_000_000] {
            let (mult, shift) = scale(khz);
            let second = (u128::from(khz) * 1000 * u128::from(mult)) >> shift;
            assert!(second.abs_diff(1_000_000_000) < 1_000, "{khz} kHz: {second} ns");
        }
    }
}
