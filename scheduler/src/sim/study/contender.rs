use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::boxed::Box;
use std::format;
use std::string::{String, ToString};

use super::ours;
use crate::sim::outcome::Outcome;
use crate::sim::pool::{
    Fixed, Hybrid, Kpa, Staffing, clairvoyant_keep, clairvoyant_start, greedy_dual, mean_footprint_mb,
    run_pool,
};
use crate::sim::trace::Trace;
use crate::time::micros;
use crate::units::Span;

/// A policy that a study compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contender {
    /// The policy of this crate that learns, given only the start time and β: `learned`.
    Learned,
    /// Keeps idle instances for a fixed time: `fixed-10s`.
    Fixed(Duration),
    /// Knative's pod autoscaler with its default parameters: `kpa`.
    Kpa,
    /// The hybrid histogram of "Serverless in the Wild": `hybrid-histogram`.
    Hybrid,
    /// Greedy-dual caching in this percentage of the mean memory of `fixed-10min`: `greedy-dual-25`.
    GreedyDual(u32),
    /// Keeps for β times the start time: `ski-rental`. In the live world that is [`SkiRental`](crate::SkiRental), which
    /// counts the start itself too: 1 + β times.
    SkiRental,
    /// Square-root staffing over a window: `sqrt-staffing-30s`.
    Staffing(Duration),
    /// Knows the future, keeps or parks: `clairvoyant-keep`. The measure of all others.
    ClairvoyantKeep,
    /// Knows the future, starts just in time: `clairvoyant-start`.
    ClairvoyantStart,
}

/// What a contender is run on.
pub(super) struct Course<'a> {
    pub(super) trace: &'a Trace,
    pub(super) cold_start_us: u64,
    /// Fixed 10 min at the same start time.
    pub(super) ten_minutes: &'a Outcome,
}

pub(super) const TEN_MINUTES: Duration = Duration::from_secs(600);

impl Contender {
    /// All that are compared unless others are asked for.
    pub const ALL: [Self; 18] = [
        Self::Learned,
        Self::Fixed(TEN_MINUTES),
        Self::Fixed(Duration::from_secs(60)),
        Self::Fixed(Duration::from_secs(10)),
        Self::Fixed(Duration::from_secs(1)),
        Self::Fixed(Duration::from_millis(100)),
        Self::Fixed(Duration::ZERO),
        Self::Kpa,
        Self::Hybrid,
        Self::GreedyDual(10),
        Self::GreedyDual(25),
        Self::GreedyDual(50),
        Self::GreedyDual(100),
        Self::SkiRental,
        Self::Staffing(Duration::from_secs(30)),
        Self::Staffing(Duration::from_secs(2)),
        Self::ClairvoyantKeep,
        Self::ClairvoyantStart,
    ];

    /// Whether it acts differently for each β.
    pub fn heeds_beta(self) -> bool {
        matches!(self, Self::Learned | Self::SkiRental | Self::ClairvoyantKeep)
    }

    /// The policy without its setting: what one curve of a chart shows.
    pub(crate) fn family(self) -> &'static str {
        match self {
            Self::Learned => "learned (ours)",
            Self::Fixed(_) => "fixed keep-alive",
            Self::Kpa => "Knative KPA, defaults",
            Self::Hybrid => "hybrid histogram",
            Self::GreedyDual(_) => "greedy-dual cache",
            Self::SkiRental => "ski rental, βc",
            Self::Staffing(_) => "square-root staffing",
            Self::ClairvoyantKeep => "clairvoyant keep or park",
            Self::ClairvoyantStart => "clairvoyant start",
        }
    }

    /// Whether it is a policy of this crate, so that a real scheduler can run it.
    pub fn is_policy(self) -> bool {
        matches!(self, Self::Learned | Self::SkiRental | Self::Fixed(_))
    }

    /// Whether it knows the future, so that no policy can be it.
    pub fn is_clairvoyant(self) -> bool {
        matches!(self, Self::ClairvoyantKeep | Self::ClairvoyantStart)
    }

    pub(super) fn run(self, course: &Course<'_>, beta: u32) -> Outcome {
        let trace = course.trace;
        let start_us = course.cold_start_us;
        match self {
            Self::Learned => ours::run(trace, start_us, beta),
            Self::Fixed(TEN_MINUTES) => course.ten_minutes.clone(),
            Self::Fixed(keep) => run_fixed(trace, start_us, keep),
            Self::SkiRental => run_fixed(trace, start_us, Duration::from_micros(start_us) * beta),
            Self::Kpa => run_pool(trace, start_us, |_| Box::new(Kpa::default())),
            Self::Hybrid => run_pool(trace, start_us, |_| Box::new(Hybrid::default())),
            Self::Staffing(window) => {
                let window_us = micros(window);
                run_pool(trace, start_us, |_| Box::new(Staffing::new(window_us, 1.0)))
            }
            Self::GreedyDual(percent) => {
                let whole = mean_footprint_mb(trace, course.ten_minutes);
                greedy_dual(trace, start_us, whole * f64::from(percent) / 100.0)
            }
            Self::ClairvoyantKeep => clairvoyant_keep(trace, start_us, beta),
            Self::ClairvoyantStart => clairvoyant_start(trace, start_us),
        }
    }
}

pub(super) fn run_fixed(trace: &Trace, cold_start_us: u64, keep: Duration) -> Outcome {
    let keep_us = micros(keep);
    run_pool(trace, cold_start_us, |_| Box::new(Fixed { keep_us }))
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Learned => f.write_str("learned"),
            Self::Fixed(keep) => write!(f, "fixed-{}", Short(*keep)),
            Self::Kpa => f.write_str("kpa"),
            Self::Hybrid => f.write_str("hybrid-histogram"),
            Self::GreedyDual(percent) => write!(f, "greedy-dual-{percent}"),
            Self::SkiRental => f.write_str("ski-rental"),
            Self::Staffing(window) => write!(f, "sqrt-staffing-{}", Short(*window)),
            Self::ClairvoyantKeep => f.write_str("clairvoyant-keep"),
            Self::ClairvoyantStart => f.write_str("clairvoyant-start"),
        }
    }
}

/// A text that names no [`Contender`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownContender {
    /// What was given.
    pub text: String,
}

impl fmt::Display for UnknownContender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "read policy {:?}: must be learned, fixed-<span>, kpa, hybrid-histogram, greedy-dual-<percent>, \
             ski-rental, sqrt-staffing-<span>, clairvoyant-keep or clairvoyant-start; a span is like 100ms, 10s or \
             10min",
            self.text
        )
    }
}

impl core::error::Error for UnknownContender {}

impl FromStr for Contender {
    type Err = UnknownContender;

    fn from_str(text: &str) -> Result<Self, UnknownContender> {
        let plain = [
            Self::Learned,
            Self::Kpa,
            Self::Hybrid,
            Self::SkiRental,
            Self::ClairvoyantKeep,
            Self::ClairvoyantStart,
        ];
        let found = plain.into_iter().find(|contender| format!("{contender}") == text);
        let with_span = |prefix| text.strip_prefix(prefix).and_then(parse_span);
        let percent = text
            .strip_prefix("greedy-dual-")
            .and_then(|text| text.parse().ok());
        found
            .or_else(|| Some(Self::Fixed(with_span("fixed-")?)))
            .or_else(|| {
                Some(Self::Staffing(
                    with_span("sqrt-staffing-").filter(|span| !span.is_zero())?,
                ))
            })
            .or_else(|| Some(Self::GreedyDual(percent.filter(|percent| *percent >= 1)?)))
            .ok_or_else(|| UnknownContender {
                text: text.to_string(),
            })
    }
}

const UNITS: [(&str, Duration); 4] = [
    ("min", Duration::from_secs(60)),
    ("ms", Duration::from_millis(1)),
    ("us", Duration::from_micros(1)),
    ("s", Duration::from_secs(1)),
];

fn parse_span(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    UNITS.iter().find_map(|(name, unit)| {
        let count: u32 = text.strip_suffix(name)?.parse().ok()?;
        unit.checked_mul(count)
    })
}

/// A span as part of a name.
struct Short(Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match nanos {
            0 => f.write_str("0"),
            _ if nanos.is_multiple_of(60_000_000_000) => write!(f, "{}min", nanos / 60_000_000_000),
            _ => {
                let text = format!("{}", Span(self.0));
                f.write_str(&text.replace([' '], "").replace('µ', "u"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_is_found_by_its_name() {
        for contender in Contender::ALL {
            assert_eq!(contender.to_string().parse(), Ok(contender));
        }
        assert_eq!(
            "fixed-250us".parse(),
            Ok(Contender::Fixed(Duration::from_micros(250)))
        );
    }

    #[test]
    fn an_unknown_name_is_repeated_and_answered_with_the_known_ones() {
        for name in ["", "fixed", "fixed-ten", "greedy-dual-0", "sqrt-staffing-0"] {
            let told = name.parse::<Contender>().unwrap_err().to_string();
            let expected = format!("read policy {name:?}: must be learned, fixed-<span>, kpa");
            assert!(told.starts_with(&expected), "{told}");
        }
    }
}
