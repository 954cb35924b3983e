//! The link as both ends see it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_HEADER: usize = 14;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What the guest is told about its network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetConfig {
    /// The guest's own address; `52:54:00:12:34:56` unless told otherwise.
    pub mac: MacAddress,
    /// Largest IP packet in bytes, 576 to 9,000; 1,500 unless told otherwise.
    pub mtu: u16,
    /// Entries of each of the two rings, a power of two up to 1,024; 256 unless told otherwise.
    pub queue_size: u16,
}

impl Default for NetConfig {
    fn default() -> Self {
        NetConfig {
            mac: MacAddress([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]),
            mtu: 1500,
            queue_size: 256,
        }
    }
}

impl NetConfig {
    /// Sets the guest's address.
    #[must_use]
    pub const fn mac(mut self, mac: MacAddress) -> Self {
        self.mac = mac;
        self
    }

    /// Sets the largest IP packet in bytes.
    #[must_use]
    pub const fn mtu(mut self, bytes: u16) -> Self {
        self.mtu = bytes;
        self
    }

    /// Sets the entries of each ring.
    #[must_use]
    pub const fn queue_size(mut self, entries: u16) -> Self {
        self.queue_size = entries;
        self
    }

    /// Bytes of the longest Ethernet frame on the link, without checksum trailer.
    #[must_use]
    pub fn max_frame_bytes(&self) -> usize {
        ETHERNET_HEADER + usize::from(self.mtu)
    }

    pub(crate) fn check(&self) -> Result<(), NetConfigError> {
        if self.mac.0[0] & 1 != 0 {
            return Err(NetConfigError::Mac { mac: self.mac });
        }
        if !(576..=9000).contains(&self.mtu) {
            return Err(NetConfigError::Mtu { mtu: self.mtu });
        }
        if !self.queue_size.is_power_of_two() || self.queue_size > 1024 {
            return Err(NetConfigError::QueueSize {
                queue_size: self.queue_size,
            });
        }
        Ok(())
    }
}

/// A [`NetConfig`] that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetConfigError {
    /// The address belongs to a group, not to one device.
    #[error("network device: {mac} is a group address")]
    Mac {
        /// The address.
        mac: MacAddress,
    },
    /// The packet size is out of range.
    #[error("network device: MTU {mtu} is not between 576 and 9,000")]
    Mtu {
        /// The packet size in bytes.
        mtu: u16,
    },
    /// The ring size is out of range.
    #[error("network device: {queue_size} is not a power of two up to 1,024 entries")]
    QueueSize {
        /// The number of entries.
        queue_size: u16,
    },
}
