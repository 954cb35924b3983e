//! The way to a guest's port over its private network link.

use std::io;
use std::os::unix::net::UnixStream;

use vmm_core::{ConnectError, UserNetHandle};

use crate::causes::causes;
use crate::host::GuestLink;

/// One TCP port of one guest.
#[derive(Debug)]
pub(super) struct GuestPort {
    pub(super) net: UserNetHandle,
    pub(super) port: u16,
}

impl GuestLink for GuestPort {
    fn connect(&self) -> io::Result<UnixStream> {
        self.net.connect(self.port).map_err(told)
    }
}

/// The error with its cause, which whoever answers the client shows as one text, with what helps, and of a kind that says
/// whether another try may.
fn told(error: ConnectError) -> io::Error {
    use io::ErrorKind::{ConnectionRefused, QuotaExceeded};
    let text = causes(&error);
    match error {
        ConnectError::Stream { source, .. } if lacks_descriptors(&source) => io::Error::new(
            QuotaExceeded,
            format!("{text}; the platform has run out of open files, raise `ulimit -n`"),
        ),
        ConnectError::Stream { source, .. } => io::Error::new(source.kind(), text),
        ConnectError::Full { .. } => io::Error::new(ConnectionRefused, text),
        _ => io::Error::other(text),
    }
}

fn lacks_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error
        .raw_os_error()
        .is_some_and(|errno| [Errno::MFILE, Errno::NFILE].contains(&Errno::from_raw_os_error(errno)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_descriptors_is_told_with_its_cause_and_with_what_helps() {
        let source = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        let error = told(ConnectError::Stream { port: 80, source });
        let text = error.to_string();
        for part in ["guest port 80", "Too many open files", "ulimit -n"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
