//! What an IPv4 packet is, as far as a path looks into it. Pure.

/// TCP in the header of IPv4.
const TCP: u8 = 6;

/// Part of a TCP connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    /// Bytes behind the headers.
    pub(crate) payload_bytes: usize,
}

impl Segment {
    /// `None`: it is no whole TCP segment in an IPv4 packet.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        let header_bytes = usize::from(first & 15) * 4;
        let total_bytes = usize::from(u16_at(packet, 2)?);
        // Of a fragment only the first has the ports; TCP here sends none.
        let is_fragment = u16_at(packet, 6)? & 0x3fff != 0;
        if first >> 4 != 4 || header_bytes < 20 || is_fragment || *packet.get(9)? != TCP {
            return None;
        }
        let tcp_bytes = usize::from(*packet.get(header_bytes + 12)? >> 4) * 4;
        let payload_bytes = total_bytes
            .min(packet.len())
            .checked_sub(header_bytes + tcp_bytes)?;
        Some(Self {
            from_port: u16_at(packet, header_bytes)?,
            to_port: u16_at(packet, header_bytes + 2)?,
            payload_bytes,
        })
    }
}

fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(payload_bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; 52 + payload_bytes];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(52 + payload_bytes as u16).to_be_bytes());
        packet[9] = TCP;
        packet[20..24].copy_from_slice(&[0x12, 0x34, 0x22, 0xb8]);
        packet[32] = 8 << 4;
        packet
    }

    #[test]
    fn ports_and_payload_are_read() {
        let expected = Segment {
            from_port: 0x1234,
            to_port: 8888,
            payload_bytes: 32,
        };
        assert_eq!(Segment::read(&segment(32)), Some(expected));
        assert_eq!(Segment::read(&segment(0)).unwrap().payload_bytes, 0);
    }

    #[test]
    fn what_is_no_tcp_segment_of_ipv4_is_none() {
        for (at, byte) in [(0, 0x65), (0, 0x41), (9, 17), (7, 1), (6, 0x20)] {
            let mut packet = segment(32);
            packet[at] = byte;
            assert_eq!(Segment::read(&packet), None, "{at}: {byte}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(mut packet: Vec<u8>) {
            Segment::read(&packet);
            if let Some(first) = packet.first_mut() {
                *first = 0x45;
            }
            Segment::read(&packet);
        }
    }
}
