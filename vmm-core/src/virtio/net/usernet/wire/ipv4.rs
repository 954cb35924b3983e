//! IPv4 without options or fragments on our side (RFC 791).

use std::net::Ipv4Addr;

use super::Malformed;
use super::checksum::Sum;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
/// Bytes of the header we write.
pub(crate) const HEADER: u16 = 20;

/// A whole packet of the guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) source: Ipv4Addr,
    pub(crate) target: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) payload: &'a [u8],
}

/// Parses and verifies a packet. Fragments are refused: the link carries every packet whole.
pub(crate) fn parse(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let header = bytes.first_chunk::<20>().ok_or(Malformed::Shape)?;
    let [
        first,
        _,
        l0,
        l1,
        _,
        _,
        f0,
        f1,
        _,
        protocol,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        t0,
        t1,
        t2,
        t3,
    ] = *header;
    let header_bytes = usize::from(first & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    // Ethernet may pad behind the packet; the packet's own length counts.
    let (header, payload) = bytes
        .get(..total)
        .and_then(|packet| packet.split_at_checked(header_bytes))
        .ok_or(Malformed::Shape)?;
    let more_fragments_or_offset = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
    if first >> 4 != 4 || header_bytes < usize::from(HEADER) || more_fragments_or_offset {
        return Err(Malformed::Shape);
    }
    if Sum::default().add(header).finish() != 0 {
        return Err(Malformed::Checksum);
    }
    Ok(Packet {
        source: Ipv4Addr::new(s0, s1, s2, s3),
        target: Ipv4Addr::new(t0, t1, t2, t3),
        protocol,
        payload,
    })
}

/// Appends the header of a packet that carries `payload_bytes`.
pub(crate) fn write(out: &mut Vec<u8>, source: Ipv4Addr, target: Ipv4Addr, protocol: u8, payload_bytes: u16) {
    let [l0, l1] = (HEADER + payload_bytes).to_be_bytes();
    let ([s0, s1, s2, s3], [t0, t1, t2, t3]) = (source.octets(), target.octets());
    // Version and length, service, total length, identification, don't fragment, time to live.
    let mut header = [
        0x45, 0, l0, l1, 0, 0, 0x40, 0, 64, protocol, 0, 0, s0, s1, s2, s3, t0, t1, t2, t3,
    ];
    let [c0, c1] = Sum::default().add(&header).finish().to_be_bytes();
    (header[10], header[11]) = (c0, c1);
    out.extend_from_slice(&header);
}

/// The sum over the pseudo header that TCP puts before its segment.
pub(crate) fn pseudo_header(source: Ipv4Addr, target: Ipv4Addr, protocol: u8, length: u16) -> Sum {
    let [l0, l1] = length.to_be_bytes();
    Sum::default()
        .add(&source.octets())
        .add(&target.octets())
        .add(&[0, protocol, l0, l1])
}
