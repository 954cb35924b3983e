use core::fmt;

/// Saved bytes that a policy cannot take back. It stays as it was; starting without them is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreError {
    /// Not saved by this kind of policy.
    Foreign,
    /// Saved by a version that this one does not know.
    Version {
        /// The version it says.
        version: u16,
    },
    /// The bytes end too early.
    Truncated {
        /// Where more were expected, in bytes from the beginning.
        at: usize,
    },
    /// A value that is never saved.
    Damaged {
        /// What it should be.
        what: &'static str,
        /// Where it ends, in bytes from the beginning.
        at: usize,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("restore what a policy learned: the bytes are of another kind"),
            Self::Version { version } => {
                write!(f, "restore what a policy learned: version {version} is not known")
            }
            Self::Truncated { at } => write!(f, "restore what a policy learned: the bytes end at {at}"),
            Self::Damaged { what, at } => {
                write!(f, "restore what a policy learned: {what} is wrong, at {at}")
            }
        }
    }
}

impl core::error::Error for RestoreError {}
