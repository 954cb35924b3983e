use std::format;
use std::string::String;
use std::vec::Vec;

/// Decades that have room for their names beside each other.
const MOST_NAMES: i32 = 6;

/// A logarithmic axis over whole decades.
pub(super) struct LogScale {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl LogScale {
    /// The decades that hold the values, drawn from one coordinate to another.
    pub(super) fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (i32::MAX, i32::MIN);
        for value in values {
            low = low.min(whole(value.log10().floor()));
            high = high.max(whole(value.log10().ceil()));
        }
        if low > high {
            (low, high) = (0, 1);
        }
        let high = high.max(low.saturating_add(1));
        Self { low, high, from, to }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + (self.to - self.from) * share
    }

    /// Where each decade is drawn, and what it is called; the names of some are left out if there are many.
    pub(super) fn decades(&self) -> Vec<(f64, String)> {
        let every = 1 + (self.high - self.low) / MOST_NAMES;
        let decade = |exponent: i32| {
            let value = 10_f64.powi(exponent);
            let is_named = (self.high - exponent) % every == 0;
            (
                self.at(value),
                if is_named {
                    format!("{value}")
                } else {
                    String::new()
                },
            )
        };
        (self.low..=self.high).map(decade).collect()
    }
}

fn whole(value: f64) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the logarithm of a finite number is small"
    )]
    let whole = value.clamp(-300.0, 300.0) as i32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_spans_the_decades_of_its_values() {
        let axis = LogScale::over([0.02, 3.0].into_iter(), 0.0, 300.0);
        let names: Vec<_> = axis.decades().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["0.01", "0.1", "1", "10"]);
        assert!((axis.at(0.1) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn names_of_decades_do_not_run_into_each_other() {
        let axis = LogScale::over([0.000_02, 60.0].into_iter(), 0.0, 300.0);
        let names: Vec<_> = axis.decades().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["", "0.0001", "", "0.01", "", "1", "", "100"]);
    }

    #[test]
    fn without_values_there_is_an_axis_all_the_same() {
        assert_eq!(LogScale::over([].into_iter(), 0.0, 1.0).decades().len(), 2);
    }
}
