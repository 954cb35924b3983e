//! How many client connections the process has descriptors for.

use proxy_buffer::Limits;
use rustix::process::{Resource, getrlimit};
use tracing::info;

/// As many connections as there are descriptors for: one for the client and two for the guest's stream each, beside what is
/// kept for instances and for refusing clients.
pub(crate) fn connections_total() -> usize {
    const RESERVE: u64 = 128;
    let Some(descriptors) = getrlimit(Resource::Nofile).current else {
        return Limits::default().connections_total;
    };
    // Of few descriptors, half are kept.
    let spare = descriptors.saturating_sub(RESERVE.min(descriptors / 2));
    let connections = usize::try_from(spare / 3).unwrap_or(usize::MAX).max(1);
    let connections = connections.min(Limits::default().connections_total);
    info!(
        descriptors,
        connections, "the descriptors bound the client connections open at a time"
    );
    connections
}
