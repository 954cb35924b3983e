use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

/// When a service may fall asleep, as Unikraft Cloud names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScaleToZero {
    /// `off`: never; one instance is awake always.
    Off,
    /// `on`: once no request is in flight and no connection is open.
    OnDemand,
    /// `idle`: once no request is in flight and nothing moves on the connections; bytes on one of them wake it.
    Idle,
}

/// A text that names no [`ScaleToZero`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownScaleToZero {
    /// What was given.
    pub text: String,
}

impl fmt::Display for UnknownScaleToZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read scale to zero {:?}: must be off, on or idle", self.text)
    }
}

impl core::error::Error for UnknownScaleToZero {}

impl FromStr for ScaleToZero {
    type Err = UnknownScaleToZero;

    fn from_str(text: &str) -> Result<Self, UnknownScaleToZero> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::OnDemand),
            "idle" => Ok(Self::Idle),
            _ => Err(UnknownScaleToZero {
                text: text.to_string(),
            }),
        }
    }
}

impl fmt::Display for ScaleToZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::OnDemand => "on",
            Self::Idle => "idle",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_written() {
        for mode in [ScaleToZero::Off, ScaleToZero::OnDemand, ScaleToZero::Idle] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let unknown = "yes".parse::<ScaleToZero>().map_err(|error| error.to_string());
        assert_eq!(
            unknown,
            Err("read scale to zero \"yes\": must be off, on or idle".into())
        );
    }
}
