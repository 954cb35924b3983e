use core::fmt;

use crate::ids::ServiceId;

/// A rule that the scheduler broke: a bug in it, or in its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Where; `None` for what concerns all services.
    pub service: Option<ServiceId>,
    /// The rule.
    pub rule: &'static str,
}

impl Violation {
    /// `Ok` if the rule holds.
    pub(crate) fn unless(holds: bool, service: Option<ServiceId>, rule: &'static str) -> Result<(), Self> {
        if holds {
            Ok(())
        } else {
            Err(Self { service, rule })
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.service {
            Some(service) => write!(f, "service {service} broke the rule: {}", self.rule),
            None => write!(f, "broke the rule: {}", self.rule),
        }
    }
}

impl core::error::Error for Violation {}
