//! Which connection an Ethernet frame belongs to.

/// A TCP segment over IPv4, as far as it decides which connection gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The sender's address and port: its key among the connections to our one port.
    pub peer: u64,
    /// What the segment wants.
    pub kind: SegmentKind,
}

/// What a segment wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// To open a connection (SYN without ACK).
    Open,
    /// Anything else.
    Other,
}

impl Segment {
    /// Reads the headers of `frame` if it is an unfragmented TCP segment over IPv4 to `port`. Lengths beyond these
    /// headers and checksums are left to the TCP/IP stack.
    pub fn parse(frame: &[u8], port: u16) -> Option<Self> {
        const ETHERNET_LEN: usize = 14;
        const IPV4: [u8; 2] = [0x08, 0x00];
        const TCP: u8 = 6;
        const FRAGMENT: u16 = 0x3fff;
        const SYN_ACK: u8 = 0x12;
        const SYN: u8 = 0x02;
        if frame.get(12..14)? != IPV4 {
            return None;
        }
        let ip = frame.get(ETHERNET_LEN..)?;
        let header_len = usize::from(ip.first()? & 0x0f) * 4;
        if ip.first()? >> 4 != 4 || header_len < 20 || *ip.get(9)? != TCP || u16_at(ip, 6)? & FRAGMENT != 0 {
            return None;
        }
        let source = u32::from_be_bytes(*ip.get(12..)?.first_chunk()?);
        let tcp = ip.get(header_len..)?;
        if u16_at(tcp, 2)? != port {
            return None;
        }
        let flags = tcp.get(13)? & SYN_ACK;
        Some(Self {
            peer: u64::from(source) << 16 | u64::from(u16_at(tcp, 0)?),
            kind: if flags == SYN {
                SegmentKind::Open
            } else {
                SegmentKind::Other
            },
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(flags: u8) -> Vec<u8> {
        let mut frame = vec![0; 54];
        frame[12] = 0x08;
        frame[14] = 0x45;
        frame[23] = 6;
        frame[26..30].copy_from_slice(&[10, 0, 2, 2]);
        frame[34..38].copy_from_slice(&[0x12, 0x34, 0, 80]);
        frame[47] = flags;
        frame
    }

    #[test]
    fn the_peer_is_address_and_port() {
        let peer = 0x0a00_0202_1234;
        assert_eq!(
            Segment::parse(&frame(0x02), 80),
            Some(Segment {
                peer,
                kind: SegmentKind::Open
            })
        );
        assert_eq!(
            Segment::parse(&frame(0x12), 80),
            Some(Segment {
                peer,
                kind: SegmentKind::Other
            })
        );
        assert_eq!(
            Segment::parse(&frame(0x18), 80),
            Some(Segment {
                peer,
                kind: SegmentKind::Other
            })
        );
    }

    #[test]
    fn other_frames_have_no_segment() {
        assert_eq!(Segment::parse(&frame(0x02), 81), None);
        for (at, byte) in [(13, 6), (14, 0x65), (14, 0x44), (20, 0x20), (21, 1), (23, 17)] {
            let mut frame = frame(0x02);
            frame[at] = byte;
            assert_eq!(Segment::parse(&frame, 80), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_frame_is_read_within_bounds(mut frame in proptest::collection::vec(any::<u8>(), 0..80), cut in 0_usize..54) {
            let _ = Segment::parse(&frame, 80);
            frame.splice(.., self::frame(2)[..cut].iter().copied());
            prop_assert_eq!(Segment::parse(&frame, 80).is_some(), cut >= 48);
        }
    }
}
