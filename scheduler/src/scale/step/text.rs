use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::scale::Metric;
use crate::scale::step::{Adjustment, Step, StepPolicy};

/// Why a text is no step, metric or adjustment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepError {
    /// Not of the form `LOWER:UPPER/ADJUSTMENT`, where either bound may be missing.
    Form {
        /// What was given.
        text: String,
    },
    /// A bound that is no whole number from 0, or an amount that is no whole number.
    Number {
        /// The step it is in.
        text: String,
        /// What was given as a number.
        number: String,
    },
    /// Not a metric: `cpu`, `in-flight`, `requests`.
    Metric {
        /// What was given.
        text: String,
    },
    /// Not an adjustment: `change`, `absolute` or `exact`, `percent`.
    Adjustment {
        /// What was given.
        text: String,
    },
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { text } => write!(f, "read step {text:?}: must be LOWER:UPPER/ADJUSTMENT"),
            Self::Number { text, number } => write!(
                f,
                "read step {text:?}: {number:?} must be a whole number, from 0 if it is a bound"
            ),
            Self::Metric { text } => write!(f, "read metric {text:?}: must be cpu, in-flight or requests"),
            Self::Adjustment { text } => {
                write!(
                    f,
                    "read adjustment {text:?}: must be change, absolute, exact or percent"
                )
            }
        }
    }
}

impl core::error::Error for StepError {}

/// `LOWER:UPPER/ADJUSTMENT`: `0:10/1`, `:30/-1`, `800:/100`.
impl FromStr for Step {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, StepError> {
        let form = || StepError::Form {
            text: text.to_string(),
        };
        let (bounds, amount) = text.trim().split_once('/').ok_or_else(form)?;
        let (lower, upper) = bounds.split_once(':').ok_or_else(form)?;
        let number = |number: &str| StepError::Number {
            text: text.to_string(),
            number: number.to_string(),
        };
        let bound = |given: &str| match given {
            "" => Ok(None),
            _ => given.parse().map(Some).map_err(|_| number(given)),
        };
        Ok(Self {
            lower: bound(lower)?,
            upper: bound(upper)?,
            amount: amount.parse().map_err(|_| number(amount))?,
        })
    }
}

/// As it is read: `600:800/50`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lower) = self.lower {
            write!(f, "{lower}")?;
        }
        f.write_str(":")?;
        if let Some(upper) = self.upper {
            write!(f, "{upper}")?;
        }
        write!(f, "/{}", self.amount)
    }
}

impl FromStr for Metric {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, StepError> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "in-flight" => Ok(Self::InFlight),
            "requests" => Ok(Self::RequestRate),
            _ => Err(StepError::Metric {
                text: text.to_string(),
            }),
        }
    }
}

impl FromStr for Adjustment {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, StepError> {
        match text {
            "change" => Ok(Self::Change),
            "absolute" | "exact" => Ok(Self::Exact),
            "percent" => Ok(Self::Percent),
            _ => Err(StepError::Adjustment {
                text: text.to_string(),
            }),
        }
    }
}

impl StepPolicy {
    /// A policy from its text, as on a command line: `parse("cpu", "percent", ["600:800/50", "800:/100"])`. The steps may
    /// come in any order.
    ///
    /// # Errors
    /// The first text that is not understood. Whether the steps fit together is checked with the whole configuration.
    pub fn parse<'a>(
        metric: &str,
        adjustment: &str,
        steps: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, StepError> {
        let mut steps = steps
            .into_iter()
            .map(str::parse)
            .collect::<Result<Vec<Step>, _>>()?;
        steps.sort_by_key(|step| (step.lower, step.upper.is_none(), step.upper));
        Ok(Self {
            metric: metric.parse()?,
            adjustment: adjustment.parse()?,
            steps,
            ..Self::default()
        })
    }
}
