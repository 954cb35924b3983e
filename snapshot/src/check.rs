use std::fmt;

use crate::fingerprint::Fingerprint;
use crate::format::{Architecture, Header};

/// What this host offers to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Host {
    /// Instruction set of the host.
    pub architecture: Architecture,
    /// Size of a base page in bytes.
    pub page_size_bytes: u32,
    /// Pairs that the fingerprint of a snapshot is compared with. More pairs than it asks for do no harm.
    pub fingerprint: Fingerprint,
}

impl Host {
    /// The host this process runs on, with the caller's pairs about it.
    pub fn current(fingerprint: Fingerprint) -> Self {
        let page_size_bytes =
            u32::try_from(rustix::param::page_size()).expect("no page of any architecture has 4 GiB");
        Self {
            architecture: Architecture::CURRENT,
            page_size_bytes,
            fingerprint,
        }
    }
}

/// One reason why a host cannot restore a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The guest's instruction set is not the host's.
    #[error("architecture: snapshot has {snapshot}, host has {host}")]
    Architecture {
        /// Saved on this.
        snapshot: Architecture,
        /// To be restored on this.
        host: Architecture,
    },
    /// Memory is saved in pages that the host cannot map.
    #[error("page size: snapshot has {snapshot} bytes, host has {host} bytes")]
    PageSize {
        /// Saved with this, in bytes.
        snapshot: u32,
        /// To be restored with this, in bytes.
        host: u32,
    },
    /// The snapshot requires a value that the host does not have.
    #[error("{key}: snapshot needs {snapshot:?}, host has {}", Shown(.host))]
    Fingerprint {
        /// Key of the pair.
        key: String,
        /// Value recorded in the snapshot.
        snapshot: String,
        /// The host's value, if it has one.
        host: Option<String>,
    },
}

struct Shown<'a>(&'a Option<String>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value:?}"),
            None => f.write_str("none"),
        }
    }
}

/// Says before a wake whether `host` can restore the snapshot, so that the caller can boot instead.
///
/// Every pair of the snapshot's fingerprint must be on the host with the same value. Needs only the header
/// ([`Header::read`]), which takes one read of 4 KiB.
///
/// # Errors
/// Every reason against it, not just the first.
pub fn check(header: &Header, host: &Host) -> Result<(), Vec<Mismatch>> {
    let mut mismatches = Vec::new();
    if header.architecture != host.architecture {
        mismatches.push(Mismatch::Architecture {
            snapshot: header.architecture,
            host: host.architecture,
        });
    }
    if header.page_size_bytes != host.page_size_bytes {
        mismatches.push(Mismatch::PageSize {
            snapshot: header.page_size_bytes,
            host: host.page_size_bytes,
        });
    }
    for (key, needed) in header.fingerprint.iter() {
        let offered = host.fingerprint.value(key);
        if offered != Some(needed) {
            mismatches.push(Mismatch::Fingerprint {
                key: key.to_owned(),
                snapshot: needed.to_owned(),
                host: offered.map(str::to_owned),
            });
        }
    }
    if mismatches.is_empty() {
        Ok(())
    } else {
        Err(mismatches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::header;

    #[test]
    fn every_reason_is_given_at_once() {
        let mut snapshot = header();
        snapshot.architecture = Architecture::RISCV64;
        snapshot.page_size_bytes = 65_536;
        snapshot.fingerprint = Fingerprint::from_pairs([("cpu", "A"), ("kvm", "12")]).unwrap();
        let host = Host {
            architecture: Architecture::X86_64,
            page_size_bytes: 4096,
            fingerprint: Fingerprint::from_pairs([("cpu", "B"), ("more", "x")]).unwrap(),
        };
        let said: Vec<String> = check(&snapshot, &host)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "architecture: snapshot has riscv64, host has x86_64",
                "page size: snapshot has 65536 bytes, host has 4096 bytes",
                "cpu: snapshot needs \"A\", host has \"B\"",
                "kvm: snapshot needs \"12\", host has none",
            ]
        );
    }

    #[test]
    fn a_host_that_offers_more_than_is_needed_will_do() {
        let mut snapshot = header();
        snapshot.fingerprint = Fingerprint::from_pairs([("cpu", "A")]).unwrap();
        let offered = Fingerprint::from_pairs([("cpu", "A"), ("more", "x")]).unwrap();
        let host = Host {
            architecture: snapshot.architecture,
            page_size_bytes: 4096,
            fingerprint: offered,
        };
        assert_eq!(check(&snapshot, &host), Ok(()));
    }
}
