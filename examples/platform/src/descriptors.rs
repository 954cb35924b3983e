//! How many client connections the process has descriptors for.

use proxy_buffer::Limits;
use rustix::process::{Resource, getrlimit};
use tracing::{info, warn};

/// The client's socket, and both ends of the guest's stream.
const PER_CONNECTION: u64 = 3;
/// KVM's two, event loops, events and a timer.
const PER_VM: u64 = 14;
/// Standard streams, the runtime, listener, timer and state directory, and files while they are written.
const OWN: u64 = 32;
/// Clients that are being refused, and the one that waits for its turn.
const REFUSALS: u64 = 33;

/// As many connections as there are descriptors for, beside what the VMs of a service with so many `shells` take at most: one
/// that was let in and then had no stream to the guest would be refused, where a newcomer just waits.
pub(crate) fn connections_total(shells: usize) -> usize {
    let most = Limits::default().connections_total;
    let Some(descriptors) = getrlimit(Resource::Nofile).current else {
        return most;
    };
    let reserve = reserve(shells);
    let connections = connections(descriptors, reserve).min(most);
    if descriptors < 2 * reserve {
        warn!(
            descriptors,
            connections, "few descriptors bound the client connections open at a time; raise `ulimit -n`"
        );
    } else {
        info!(
            descriptors,
            connections, "the descriptors bound the client connections open at a time"
        );
    }
    connections
}

/// What is not for connections.
fn reserve(shells: usize) -> u64 {
    // Beside a full stock there may be as many used VMs, which are destroyed when nothing is more urgent; one runs and one is
    // being made.
    let vms = u64::try_from(shells).unwrap_or(u64::MAX).saturating_mul(2);
    vms.saturating_add(2)
        .saturating_mul(PER_VM)
        .saturating_add(OWN + REFUSALS)
}

/// Of too few descriptors an eighth is for connections all the same: the VMs' most is rare, and they wait for more.
fn connections(descriptors: u64, reserve: u64) -> usize {
    let spare = descriptors.saturating_sub(reserve).max(descriptors / 8);
    usize::try_from(spare / PER_CONNECTION)
        .unwrap_or(usize::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_vms_leave_and_an_eighth_of_little() {
        assert_eq!(reserve(2), 149);
        let of = |descriptors, shells| connections(descriptors, reserve(shells));
        assert_eq!([8, 100, 128, 160, 1024].map(|all| of(all, 2)), [1, 4, 5, 6, 291]);
        assert_eq!(of(1024, 16), 161);
        assert_eq!(of(1024, 1024), 42);
        assert!(of(u64::MAX, usize::MAX) > 1_000_000);
    }
}
