use core::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

/// Why traces could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// A file or directory cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory holds no file of a format known here.
    NothingFound {
        /// The directory.
        path: PathBuf,
        /// The other `*.csv` there, each with its columns.
        others: Vec<String>,
    },
    /// A file has no such column or no requests, or its partner file is missing.
    Missing {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// A line is no record.
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A field does not say what it should.
    Field {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The name of the column.
        column: String,
        /// What stands there.
        value: String,
        /// What should stand there.
        expected: &'static str,
    },
}

impl TraceError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        Self::Read { path, source }
    }

    pub(super) fn missing(path: &Path, what: impl fmt::Display) -> Self {
        Self::Missing {
            path: path.to_path_buf(),
            what: what.to_string(),
        }
    }

    pub(super) fn line(path: &Path, line: usize, what: impl Into<String>) -> Self {
        Self::Line {
            path: path.to_path_buf(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "read {}", path.display()),
            Self::NothingFound { path, others } => {
                write!(
                    f,
                    "{}: no *_functions.csv with its *_invocations.csv, and no *.csv with a column t_us",
                    path.display()
                )?;
                for other in others {
                    write!(f, "; {other}")?;
                }
                Ok(())
            }
            Self::Missing { path, what } => write!(f, "{}: no {what}", path.display()),
            Self::Line { path, line, what } => write!(f, "{}:{line}: {what}", path.display()),
            Self::Field {
                path,
                line,
                column,
                value,
                expected,
            } => write!(
                f,
                "{}:{line}: column {column} is {value:?}, must be {expected}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}
