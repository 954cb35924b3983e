//! What a link has seen, readable from any thread.

use crate::virtio::counters::Counter;

/// The live counters of a link.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames_from_guest: Counter,
    pub(crate) frames_to_guest: Counter,
    pub(crate) malformed_frames: Counter,
    pub(crate) checksum_errors: Counter,
    pub(crate) ignored_frames: Counter,
    pub(crate) dropped_replies: Counter,
    pub(crate) egress_denied: Counter,
    pub(crate) connections_opened: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) connections_reset: Counter,
    pub(crate) connections_timed_out: Counter,
    pub(crate) spares_used: Counter,
    pub(crate) spares_lost: Counter,
}

/// The counters of a user-mode link at one moment, each since the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserNetCounts {
    /// Ethernet frames the guest sent.
    pub frames_from_guest: u64,
    /// Ethernet frames the guest was sent.
    pub frames_to_guest: u64,
    /// Frames of the guest that did not parse.
    pub malformed_frames: u64,
    /// Frames of the guest with a wrong checksum.
    pub checksum_errors: u64,
    /// Frames of the guest in protocols that the link does not speak.
    pub ignored_frames: u64,
    /// Answers (ARP, echo, reset) dropped because the guest took none for too long.
    pub dropped_replies: u64,
    /// Connections and datagrams of the guest that the egress policy refused.
    pub egress_denied: u64,
    /// Connections the guest accepted, spares included.
    pub connections_opened: u64,
    /// Connections the guest refused.
    pub connections_refused: u64,
    /// Connections the guest reset.
    pub connections_reset: u64,
    /// Connections given up before they were open because the guest did not answer.
    pub connections_timed_out: u64,
    /// Connections served from a spare.
    pub spares_used: u64,
    /// Spares the guest ended before their use, or would not open.
    pub spares_lost: u64,
}

impl Counters {
    pub(crate) fn counts(&self) -> UserNetCounts {
        UserNetCounts {
            frames_from_guest: self.frames_from_guest.value(),
            frames_to_guest: self.frames_to_guest.value(),
            malformed_frames: self.malformed_frames.value(),
            checksum_errors: self.checksum_errors.value(),
            ignored_frames: self.ignored_frames.value(),
            dropped_replies: self.dropped_replies.value(),
            egress_denied: self.egress_denied.value(),
            connections_opened: self.connections_opened.value(),
            connections_refused: self.connections_refused.value(),
            connections_reset: self.connections_reset.value(),
            connections_timed_out: self.connections_timed_out.value(),
            spares_used: self.spares_used.value(),
            spares_lost: self.spares_lost.value(),
        }
    }
}
