//! The way to a guest's port over its private network link.

use std::io;
use std::os::unix::net::UnixStream;

use vmm_core::{ConnectError, UserNetHandle};

use crate::host::GuestLink;

/// One TCP port of one guest.
#[derive(Debug)]
pub(super) struct GuestPort {
    pub(super) net: UserNetHandle,
    pub(super) port: u16,
}

impl GuestLink for GuestPort {
    fn connect(&self) -> io::Result<UnixStream> {
        self.net.connect(self.port).map_err(|error| match error {
            // Another try may find room: the proxy tells its client so.
            ConnectError::Full { .. } => io::Error::new(io::ErrorKind::QuotaExceeded, error),
            error => io::Error::other(error),
        })
    }
}
