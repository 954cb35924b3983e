//! Segment descriptors for the two entry states (Intel SDM volume 3, 3.4.5).

use kvm_bindings::kvm_segment;

/// A segment as the boot protocols want it: base 0, limit 4 GiB, ring 0.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Segment {
    Code64,
    Code32,
    Data,
    Tss,
}

impl Segment {
    /// `type_`, `l`, `db`, `s` of the descriptor.
    const fn bits(self) -> (u8, u8, u8, u8) {
        match self {
            Self::Code64 => (0xb, 1, 0, 1),
            Self::Code32 => (0xb, 0, 1, 1),
            Self::Data => (0x3, 0, 1, 1),
            Self::Tss => (0xb, 0, 0, 0),
        }
    }

    pub(crate) const fn register(self, selector: u16) -> kvm_segment {
        let (type_, l, db, s) = self.bits();
        let is_tss = matches!(self, Self::Tss);
        kvm_segment {
            base: 0,
            limit: if is_tss { 0x67 } else { 0xffff_ffff },
            selector,
            type_,
            present: 1,
            dpl: 0,
            db,
            s,
            l,
            g: if is_tss { 0 } else { 1 },
            avl: 0,
            unusable: 0,
            padding: 0,
        }
    }

    /// The descriptor as it stands in a GDT. The limit field counts 4 KiB units where the segment has granularity.
    pub(crate) const fn descriptor(self) -> u64 {
        let (type_, l, db, s) = self.bits();
        let access = (type_ as u64) | (s as u64) << 4 | 1 << 7;
        match self {
            Self::Tss => 0x67 | access << 40,
            _ => 0xffff | access << 40 | 0xf << 48 | (l as u64) << 53 | (db as u64) << 54 | 1 << 55,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_the_customary_flat_ones() {
        assert_eq!(Segment::Code64.descriptor(), 0x00af_9b00_0000_ffff);
        assert_eq!(Segment::Code32.descriptor(), 0x00cf_9b00_0000_ffff);
        assert_eq!(Segment::Data.descriptor(), 0x00cf_9300_0000_ffff);
        assert_eq!(Segment::Tss.descriptor(), 0x0000_8b00_0000_0067);
    }
}
