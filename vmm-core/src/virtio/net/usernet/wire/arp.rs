//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::Malformed;
use crate::virtio::net::config::MacAddress;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// "Who has `target`? Tell `sender`."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) sender_mac: MacAddress,
    pub(crate) sender: Ipv4Addr,
    pub(crate) target: Ipv4Addr,
}

/// The request in `packet`, or `None` if it is ARP but no request.
pub(crate) fn parse(packet: &[u8]) -> Result<Option<Request>, Malformed> {
    let packet = packet.first_chunk::<28>().ok_or(Malformed::Shape)?;
    let [h0, h1, h2, h3, h4, h5, op0, op1, addresses @ ..] = *packet;
    if [h0, h1, h2, h3, h4, h5] != ETHERNET_IPV4 {
        return Err(Malformed::Shape);
    }
    if [op0, op1] != REQUEST {
        return Ok(None);
    }
    let [
        m0,
        m1,
        m2,
        m3,
        m4,
        m5,
        s0,
        s1,
        s2,
        s3,
        _,
        _,
        _,
        _,
        _,
        _,
        t0,
        t1,
        t2,
        t3,
    ] = addresses;
    Ok(Some(Request {
        sender_mac: MacAddress([m0, m1, m2, m3, m4, m5]),
        sender: Ipv4Addr::new(s0, s1, s2, s3),
        target: Ipv4Addr::new(t0, t1, t2, t3),
    }))
}

/// Appends the answer to `request`: its target is at `mac`.
pub(crate) fn write_reply(out: &mut Vec<u8>, request: &Request, mac: MacAddress) {
    out.extend_from_slice(&ETHERNET_IPV4);
    out.extend_from_slice(&REPLY);
    out.extend_from_slice(&mac.0);
    out.extend_from_slice(&request.target.octets());
    out.extend_from_slice(&request.sender_mac.0);
    out.extend_from_slice(&request.sender.octets());
}

/// Appends `request`, to everybody on the link.
pub(crate) fn write_request(out: &mut Vec<u8>, request: &Request) {
    out.extend_from_slice(&ETHERNET_IPV4);
    out.extend_from_slice(&REQUEST);
    out.extend_from_slice(&request.sender_mac.0);
    out.extend_from_slice(&request.sender.octets());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&request.target.octets());
}
