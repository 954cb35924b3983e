//! TCP segments (RFC 9293, section 3.1).

use std::net::Ipv4Addr;

use super::{Malformed, ipv4};
use crate::virtio::net::usernet::tcp::Seq;

/// Bytes of a header without options, and of the one option we send.
pub(crate) const HEADER: u16 = 20;
const MSS_OPTION: u16 = 4;

/// The flags of a segment that mean something to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    pub(crate) const FIN: Flags = Flags(0x01);
    pub(crate) const SYN: Flags = Flags(0x02);
    pub(crate) const RST: Flags = Flags(0x04);
    pub(crate) const PSH: Flags = Flags(0x08);
    pub(crate) const ACK: Flags = Flags(0x10);

    /// The flags of a fuzzer.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) const fn from_bits(bits: u8) -> Flags {
        Flags(bits)
    }

    pub(crate) const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub(crate) const fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }
}

/// A segment without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source_port: u16,
    pub(crate) target_port: u16,
    pub(crate) seq: Seq,
    /// Only means something with [`Flags::ACK`].
    pub(crate) ack: Seq,
    pub(crate) flags: Flags,
    /// Never scaled: we do not offer the option.
    pub(crate) window: u16,
    /// The largest segment the sender takes, if it said so.
    pub(crate) mss: Option<u16>,
}

/// Parses and verifies the segment in `packet`.
pub(crate) fn parse<'a>(packet: &ipv4::Packet<'a>) -> Result<(Segment, &'a [u8]), Malformed> {
    let bytes = packet.payload;
    let header = bytes.first_chunk::<20>().ok_or(Malformed::Shape)?;
    let [
        sp0,
        sp1,
        tp0,
        tp1,
        s0,
        s1,
        s2,
        s3,
        a0,
        a1,
        a2,
        a3,
        offset,
        flags,
        w0,
        w1,
        ..,
    ] = *header;
    let header_bytes = usize::from(offset >> 4) * 4;
    let (header, payload) = bytes.split_at_checked(header_bytes).ok_or(Malformed::Shape)?;
    let options = header.get(usize::from(HEADER)..).ok_or(Malformed::Shape)?;
    let length = u16::try_from(bytes.len()).map_err(|_| Malformed::Shape)?;
    if ipv4::pseudo_header(packet.source, packet.target, ipv4::TCP, length)
        .add(bytes)
        .finish()
        != 0
    {
        return Err(Malformed::Checksum);
    }
    let segment = Segment {
        source_port: u16::from_be_bytes([sp0, sp1]),
        target_port: u16::from_be_bytes([tp0, tp1]),
        seq: Seq(u32::from_be_bytes([s0, s1, s2, s3])),
        ack: Seq(u32::from_be_bytes([a0, a1, a2, a3])),
        flags: Flags(flags),
        window: u16::from_be_bytes([w0, w1]),
        mss: mss(options),
    };
    Ok((segment, payload))
}

/// The maximum segment size among `options`; options after a malformed one are not looked at.
fn mss(mut options: &[u8]) -> Option<u16> {
    loop {
        options = match *options {
            [] | [0, ..] => return None,
            [1, ref rest @ ..] => rest,
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([high, low])),
            [_, length, ..] if length >= 2 => options.get(usize::from(length)..)?,
            _ => return None,
        };
    }
}

/// Appends an IPv4 packet with `segment` and the sum of its `body`, which follows separately.
pub(crate) fn write(
    out: &mut Vec<u8>,
    source: Ipv4Addr,
    target: Ipv4Addr,
    segment: &Segment,
    body: [&[u8]; 2],
) {
    let body_bytes = body.iter().map(|part| part.len()).sum::<usize>();
    let header_bytes = HEADER + if segment.mss.is_some() { MSS_OPTION } else { 0 };
    let length = header_bytes + u16::try_from(body_bytes).expect("a segment is cut to the MTU");
    ipv4::write(out, source, target, ipv4::TCP, length);

    let ([sp0, sp1], [tp0, tp1]) = (
        segment.source_port.to_be_bytes(),
        segment.target_port.to_be_bytes(),
    );
    let ([s0, s1, s2, s3], [a0, a1, a2, a3]) = (segment.seq.0.to_be_bytes(), segment.ack.0.to_be_bytes());
    let ([w0, w1], Flags(flags)) = (segment.window.to_be_bytes(), segment.flags);
    let offset = if segment.mss.is_some() { 0x60 } else { 0x50 };
    let mut header = [
        sp0, sp1, tp0, tp1, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w0, w1, 0, 0, 0, 0, //
        2, 4, 0, 0,
    ];
    if let Some(mss) = segment.mss {
        [header[22], header[23]] = mss.to_be_bytes();
    }
    let without_option = usize::from(HEADER);
    let used = if segment.mss.is_some() {
        header.len()
    } else {
        without_option
    };
    let [first, second] = body;
    let sum = ipv4::pseudo_header(source, target, ipv4::TCP, length)
        .add(&header[..used])
        .add(first)
        .add(second);
    [header[16], header[17]] = sum.finish().to_be_bytes();
    out.extend_from_slice(&header[..used]);
}

/// The reset that answers a segment no connection expects (RFC 9293, section 3.10.7.1), or `None` if it is one itself.
pub(crate) fn reset_for(segment: &Segment, payload_bytes: usize) -> Option<Segment> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    let (seq, ack, flags) = if segment.flags.has(Flags::ACK) {
        (segment.ack, Seq(0), Flags::RST)
    } else {
        let occupied = u32::from(segment.flags.has(Flags::SYN)) + u32::from(segment.flags.has(Flags::FIN));
        let end = segment.seq.plus(payload_bytes).plus_u32(occupied);
        (Seq(0), end, Flags::RST.and(Flags::ACK))
    };
    Some(Segment {
        source_port: segment.target_port,
        target_port: segment.source_port,
        seq,
        ack,
        flags,
        window: 0,
        mss: None,
    })
}
