use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::scale::Milli;
use crate::units::Span;

/// What is wrong with one field of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The field, from the top of the configuration: `start.retry_cap`.
    pub path: Cow<'static, str>,
    /// Its value and what it must be.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.message)
    }
}

impl core::error::Error for Problem {}

/// Collects all problems there are.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn push(&mut self, path: impl Into<Cow<'static, str>>, message: String) {
        self.0.push(Problem {
            path: path.into(),
            message,
        });
    }

    /// A problem unless `holds`.
    pub(crate) fn unless(&mut self, holds: bool, path: &'static str, message: fmt::Arguments<'_>) {
        if !holds {
            self.push(path, alloc::fmt::format(message));
        }
    }

    pub(crate) fn at_least_one(&mut self, path: &'static str, value: u32) {
        self.unless(value >= 1, path, format_args!("is {value}, must be at least 1"));
    }

    pub(crate) fn lasts(&mut self, path: &'static str, value: Duration, least: Duration) {
        let message = format_args!("is {}, must be at least {}", Span(value), Span(least));
        self.unless(value >= least, path, message);
    }

    pub(crate) fn percent(&mut self, path: &'static str, value: u32, least: u32) {
        let holds = (least..=100).contains(&value);
        self.unless(
            holds,
            path,
            format_args!("is {value} %, must be {least} to 100 %"),
        );
    }

    pub(crate) fn above(&mut self, path: &'static str, value: Milli, bound: Milli) {
        self.unless(
            value > bound,
            path,
            format_args!("is {value}, must be above {bound}"),
        );
    }

    /// `value`, if nothing is wrong.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Vec<Problem>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}
