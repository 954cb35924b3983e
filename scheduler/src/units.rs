use core::fmt;
use core::time::Duration;

/// Writes a span the way people say it: three decimals at most of the largest unit that is not zero.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit_nanos, unit) = match nanos {
            0 => (1_000_000, "ms"),
            1..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let whole = nanos / unit_nanos;
        match (nanos % unit_nanos) * 1_000 / unit_nanos {
            0 => write!(f, "{whole} {unit}"),
            part if part % 100 == 0 => write!(f, "{whole}.{} {unit}", part / 100),
            part if part % 10 == 0 => write!(f, "{whole}.{:02} {unit}", part / 10),
            part => write!(f, "{whole}.{part:03} {unit}"),
        }
    }
}

/// Writes bytes in their largest unit: `512 B`, `1.5 MiB`; one decimal at most.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shift, unit) = match self.0 {
            0..0x400 => return write!(f, "{} B", self.0),
            0x400..0x10_0000 => (10, "KiB"),
            0x10_0000..0x4000_0000 => (20, "MiB"),
            _ => (30, "GiB"),
        };
        let tenths = ((self.0 & ((1 << shift) - 1)) * 10) >> shift;
        match tenths {
            0 => write!(f, "{} {unit}", self.0 >> shift),
            _ => write!(f, "{}.{tenths} {unit}", self.0 >> shift),
        }
    }
}

/// Writes a count with its noun: `1 request`, `3 requests`.
pub(crate) struct Count(pub(crate) u32, pub(crate) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_span_is_written_in_its_largest_unit() {
        for (nanos, text) in [
            (0, "0 ms"),
            (999, "999 ns"),
            (1_500, "1.5 µs"),
            (12_000_000, "12 ms"),
            (12_345_678, "12.345 ms"),
            (1_050_000_000, "1.05 s"),
            (90_000_000_000, "90 s"),
        ] {
            assert_eq!(Span(Duration::from_nanos(nanos)).to_string(), text);
        }
    }

    #[test]
    fn bytes_are_written_in_their_largest_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (128 << 20, "128 MiB"),
            (5 << 29, "2.5 GiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn one_thing_is_singular() {
        assert_eq!(Count(1, "request").to_string(), "1 request");
        assert_eq!(Count(0, "request").to_string(), "0 requests");
    }
}
