//! How many bytes the packets of a client have on the wire: 32 to 1472, the header of 32 included.
//!
//! After the hello every frame that a client sends has the size of its group's packets, its start
//! and its end too, so that framing stays arithmetic. What the server sends is always 32 bytes.

/// Bytes of the header of every frame, and of the whole frame where nothing follows.
pub const FRAME_BYTES: usize = 32;

/// The size of the packets of a group.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PacketSize(u16);

/// Bytes of the largest packet: what a datagram of an Ethernet frame carries, so that devices which
/// send datagrams elsewhere can be measured; of TCP a segment carries some bytes less.
const BYTES_MAX: u16 = 1472;

/// What follows the header of a frame that is no packet, as far as its packets have it.
static ZEROS: [u8; BYTES_MAX as usize - FRAME_BYTES] = [0; BYTES_MAX as usize - FRAME_BYTES];

impl PacketSize {
    /// 32 bytes: a header and nothing else.
    pub const MIN: Self = Self(FRAME_BYTES as u16);
    /// 1472 bytes.
    pub const MAX: Self = Self(BYTES_MAX);

    /// A size of so many bytes. `None` outside 32 to 1472.
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes >= Self::MIN.0 as u32 && bytes <= BYTES_MAX as u32 {
            Some(Self(bytes as u16))
        } else {
            None
        }
    }

    /// Bytes of a packet on the wire, 32 to 1472.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// Bytes of its payload, 0 to 1440.
    #[inline]
    #[must_use]
    pub const fn payload_bytes(self) -> usize {
        self.bytes() - FRAME_BYTES
    }

    /// The zeros that fill a frame of this size which is no packet.
    #[must_use]
    pub fn zeros(self) -> &'static [u8] {
        &ZEROS[..self.payload_bytes()]
    }
}

impl Default for PacketSize {
    fn default() -> Self {
        Self::MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_from_32_to_1472_bytes_and_has_the_rest_as_payload() {
        for (bytes, payload_bytes) in [(32, 0), (33, 1), (1471, 1439), (1472, 1440)] {
            let size = PacketSize::new(bytes).unwrap();
            assert_eq!(size.bytes(), bytes as usize);
            assert_eq!(size.payload_bytes(), payload_bytes);
            assert_eq!(size.zeros().len(), payload_bytes);
        }
        for bytes in [0, 31, 1473, u32::MAX] {
            assert_eq!(PacketSize::new(bytes), None, "{bytes}");
        }
    }
}
