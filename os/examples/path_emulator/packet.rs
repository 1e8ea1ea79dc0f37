//! What an IPv4 packet is, as far as a path looks into it. Pure.

/// TCP in the header of IPv4.
const TCP: u8 = 6;

/// The TCP ports of a packet, from and to. `None`: it is no TCP segment in an IPv4 packet.
pub(crate) fn ports(packet: &[u8]) -> Option<(u16, u16)> {
    let first = *packet.first()?;
    let header_bytes = usize::from(first & 15) * 4;
    // Of a fragment only the first has the ports; TCP here sends none.
    let is_fragment = u16_at(packet, 6)? & 0x3fff != 0;
    if first >> 4 != 4 || header_bytes < 20 || is_fragment || *packet.get(9)? != TCP {
        return None;
    }
    Some((
        u16_at(packet, header_bytes)?,
        u16_at(packet, header_bytes + 2)?,
    ))
}

fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment() -> Vec<u8> {
        let mut packet = vec![0; 52];
        packet[0] = 0x45;
        packet[9] = TCP;
        packet[20..24].copy_from_slice(&[0x12, 0x34, 0x22, 0xb8]);
        packet
    }

    #[test]
    fn ports_are_read() {
        assert_eq!(ports(&segment()), Some((0x1234, 8888)));
    }

    #[test]
    fn what_is_no_tcp_segment_of_ipv4_has_none() {
        for (at, byte) in [(0, 0x65), (0, 0x41), (9, 17), (7, 1), (6, 0x20)] {
            let mut packet = segment();
            packet[at] = byte;
            assert_eq!(ports(&packet), None, "{at}: {byte}");
        }
        assert_eq!(ports(&segment()[..23]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(mut packet: Vec<u8>) {
            ports(&packet);
            if let Some(first) = packet.first_mut() {
                *first = 0x45;
            }
            ports(&packet);
        }
    }
}
