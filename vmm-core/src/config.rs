//! What a VM is made of.

use crate::kernel::Entry;
use crate::virtio::UserNetConfig;

/// A VM's shape and devices. Two VMs of equal configuration can take each other's saved state.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VmConfig {
    /// RAM in bytes: a multiple of 4 KiB, from 2 MiB to 512 GiB. Default: 64 MiB. Pages are allocated as they are touched.
    pub memory_bytes: u64,
    /// Kernel command line; the devices' part is appended. Default: empty.
    pub cmdline: String,
    /// Which entry point of the kernel to use. Default: [`Entry::Auto`].
    pub entry: Entry,
    /// The network link, if any. Default: a [`UserNet`](crate::UserNet) link.
    pub net: Option<UserNetConfig>,
}

impl Default for VmConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            cmdline: String::new(),
            entry: Entry::default(),
            net: Some(UserNetConfig::default()),
        }
    }
}

impl VmConfig {
    /// Sets the size of RAM.
    #[must_use]
    pub const fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Sets the caller's part of the kernel command line.
    #[must_use]
    pub fn cmdline(mut self, text: impl Into<String>) -> Self {
        self.cmdline = text.into();
        self
    }

    /// Chooses the kernel's entry point.
    #[must_use]
    pub const fn entry(mut self, entry: Entry) -> Self {
        self.entry = entry;
        self
    }

    /// Sets the network link; `None` for a VM without network.
    #[must_use]
    pub fn net(mut self, net: Option<UserNetConfig>) -> Self {
        self.net = net;
        self
    }
}
