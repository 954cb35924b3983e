//! Ethernet II framing.

use super::Malformed;
use crate::virtio::net::config::MacAddress;

/// EtherType of IPv4.
pub(crate) const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub(crate) const ARP: u16 = 0x0806;

/// The EtherType of `frame` and what it carries.
pub(crate) fn parse(frame: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let (header, payload) = frame.split_first_chunk::<14>().ok_or(Malformed::Shape)?;
    let [.., high, low] = *header;
    Ok((u16::from_be_bytes([high, low]), payload))
}

/// Starts a frame in `out`, which is emptied first.
pub(crate) fn write(out: &mut Vec<u8>, from: MacAddress, to: MacAddress, ethertype: u16) {
    out.clear();
    out.extend_from_slice(&to.0);
    out.extend_from_slice(&from.0);
    out.extend_from_slice(&ethertype.to_be_bytes());
}
