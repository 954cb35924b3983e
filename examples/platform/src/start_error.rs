//! Why a platform could not be started.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use proxy_buffer::InvalidLimits;
use scheduler::Problem;
use vmm_core::{BootError, NotReady};

use crate::config::ConfigError;
use crate::kernel_file::KernelFileError;
use crate::micro_vm::TemplateError;

/// The platform could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration does not fit the scheduler.
    #[error("configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Scaling(Vec<Problem>),
    /// The configuration does not fit the proxy.
    #[error("configuration")]
    Limits(#[from] InvalidLimits),
    /// KVM cannot be used.
    #[error(transparent)]
    Hypervisor(#[from] vmm_core::OpenError),
    /// The configured kernel is of no use.
    #[error(transparent)]
    KernelFile(#[from] KernelFileError),
    /// The guest does not come to serve.
    #[error("boot {guest}")]
    Guest {
        /// Which one.
        guest: String,
        /// Why not.
        #[source]
        source: TemplateError,
    },
    /// A directory or file of the platform's own could not be made.
    #[error("{what} {}", .path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The state directory is another platform's.
    #[error("state directory {} is in use by another platform: end that one, or name another --state-dir", .dir.display())]
    StateDir {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no place for a directory of this run's own.
    #[error("create a directory in {} (TMPDIR names another place for it, --state-dir a lasting one)", .dir.display())]
    TemporaryDir {
        /// Where it was to be.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The service's snapshot could not be made.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// No shells could be made.
    #[error("make VMs ahead")]
    Shells(#[source] NotReady),
    /// The address could not be listened on.
    #[error("listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A task of ours panicked, which it has reported.
    #[error("start the platform: a task panicked")]
    Panicked,
}

impl StartError {
    /// An error of the first boot, with the kernel that it is about.
    pub(crate) fn boot(kernel: Option<PathBuf>, source: TemplateError) -> Self {
        let contract = match &source {
            TemplateError::Boot(BootError::Kernel(_)) => "; docs/guest-abi.md says what a kernel must be",
            TemplateError::NotServing { .. } => "",
            _ => return source.into(),
        };
        let guest = match kernel {
            Some(path) => format!("kernel {}{contract}", path.display()),
            None => "the built-in guest".to_owned(),
        };
        Self::Guest { guest, source }
    }
}
