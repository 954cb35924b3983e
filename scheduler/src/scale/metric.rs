use core::fmt;

/// A quantity in thousandths of its unit: `Milli(1_500)` is 1.5 requests, or one and a half vCPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Milli(pub u64);

impl Milli {
    /// So many whole units, at most the greatest that can be told.
    pub const fn from_units(units: u64) -> Self {
        Self(units.saturating_mul(1_000))
    }

    /// `total / parts`, rounded down; zero for no parts.
    pub(crate) fn ratio(total: u128, parts: u128) -> Self {
        let thousandths = total.saturating_mul(1_000).checked_div(parts).unwrap_or(0);
        Self(u64::try_from(thousandths).unwrap_or(u64::MAX))
    }

    /// How often `target` fits in, rounded up. For a target of zero as often as can be told.
    pub(crate) fn div_ceil(self, target: Self) -> u32 {
        match (self.0, target.0) {
            (0, _) => 0,
            (_, 0) => u32::MAX,
            (value, target) => u32::try_from(value.div_ceil(target)).unwrap_or(u32::MAX),
        }
    }
}

/// `1.5`, `12`, `0.25`.
impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0 / 1_000;
        match self.0 % 1_000 {
            0 => write!(f, "{whole}"),
            part if part % 100 == 0 => write!(f, "{whole}.{}", part / 100),
            part if part % 10 == 0 => write!(f, "{whole}.{:02}", part / 10),
            part => write!(f, "{whole}.{part:03}"),
        }
    }
}

/// What a count of instances follows. Each is an average over the instances that are counted: those that run and whose
/// warm-up is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metric {
    /// vCPU use as [`Event::Usage`](crate::Event::Usage) reports it. Told in thousandths of a vCPU: 600 is 60 % of one.
    #[default]
    Cpu,
    /// Requests in flight, time-weighted over the last interval; those that wait are shared out evenly.
    InFlight,
    /// Requests per second that were admitted during the last interval.
    RequestRate,
}

impl Metric {
    /// What a bound that is written as a whole number means: vCPU use is written in thousandths, the rest in units.
    pub(crate) const fn bound(self, number: u64) -> Milli {
        match self {
            Self::Cpu => Milli(number),
            Self::InFlight | Self::RequestRate => Milli::from_units(number),
        }
    }

    /// The value in the unit in which its bounds are written, with its name.
    pub(crate) fn describe(self, value: Milli) -> Described {
        Described(self, value)
    }
}

/// A metric and its value, for people.
pub(crate) struct Described(Metric, Milli);

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.1;
        match self.0 {
            Metric::Cpu => write!(f, "{} mvCPU", value.0),
            Metric::InFlight => write!(f, "{value} in flight"),
            Metric::RequestRate => write!(f, "{value} requests/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn thousandths_are_written_as_a_decimal_number() {
        for (value, text) in [
            (0, "0"),
            (1_500, "1.5"),
            (250, "0.25"),
            (1, "0.001"),
            (12_000, "12"),
        ] {
            assert_eq!(Milli(value).to_string(), text);
        }
    }

    #[test]
    fn a_division_rounds_up_and_never_overflows() {
        assert_eq!(Milli(2_100).div_ceil(Milli(700)), 3);
        assert_eq!(Milli(2_101).div_ceil(Milli(700)), 4);
        assert_eq!(Milli(0).div_ceil(Milli(0)), 0);
        assert_eq!(Milli(1).div_ceil(Milli(0)), u32::MAX);
        assert_eq!(Milli(u64::MAX).div_ceil(Milli(1)), u32::MAX);
    }

    #[test]
    fn a_ratio_is_in_thousandths_and_zero_without_parts() {
        assert_eq!(Milli::ratio(3, 2), Milli(1_500));
        assert_eq!(Milli::ratio(3, 0), Milli(0));
        assert_eq!(Milli::ratio(u128::MAX, 1), Milli(u64::MAX));
    }
}
