//! The sources that every agent has. Zeros need none: a payload is zero before it is filled.

use std::{fmt, sync::Arc};

use metronome_proto::{
    packet_size::PacketSize,
    payload::{not_records, record_of, write_pattern},
};

use super::source::{PacketId, PayloadSource};

/// Bytes that differ from packet to packet: byte i of the packet with sequence n is
/// (n + i) mod 256.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pattern;

impl PayloadSource for Pattern {
    #[inline]
    fn fill(&self, packet: PacketId<'_>, payload: &mut [u8]) {
        write_pattern(packet.sequence, payload);
    }
}

/// Records of one length, one behind the other: the packet with sequence n of client c carries
/// record (c + n) mod number of records.
#[derive(Clone)]
pub struct Records {
    data: Arc<Vec<u8>>,
    record_bytes: usize,
    /// How many there are, at least 1.
    records: u64,
}

impl Records {
    /// Records for packets of `packet_bytes`, 33 to 1472: each has 32 bytes less.
    ///
    /// # Errors
    ///
    /// The packets have no payload, or there is not a whole number of records, at least one.
    /// The sentence states which.
    pub fn new(data: Arc<Vec<u8>>, packet_bytes: u32) -> Result<Self, String> {
        let [min, max] = [PacketSize::MIN, PacketSize::MAX].map(PacketSize::bytes);
        let size = PacketSize::new(packet_bytes).ok_or_else(|| {
            format!("{packet_bytes} bytes are no size of a packet; {min} to {max} are")
        })?;
        if let Some(problem) = not_records(data.len() as u64, size) {
            return Err(problem);
        }
        let record_bytes = size.payload_bytes();
        Ok(Self {
            records: (data.len() / record_bytes) as u64,
            record_bytes,
            data,
        })
    }
}

impl PayloadSource for Records {
    #[inline]
    fn fill(&self, packet: PacketId<'_>, payload: &mut [u8]) {
        let record = record_of(packet.client, packet.sequence, self.records) as usize;
        let begins = record * self.record_bytes;
        payload.copy_from_slice(&self.data[begins..begins + self.record_bytes]);
    }

    fn check(&self, _group: &str, payload_bytes: usize) -> Result<(), String> {
        if payload_bytes == self.record_bytes {
            return Ok(());
        }
        let needed = self.record_bytes + PacketSize::MIN.bytes();
        Err(format!(
            "its records have {} bytes, and the payload of a packet has {payload_bytes}; give a \
             --packet-size of {needed}",
            self.record_bytes
        ))
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Records({} of {} bytes)",
            self.records, self.record_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(client: u32, sequence: u64) -> PacketId<'static> {
        PacketId {
            group: "default",
            client,
            sequence,
        }
    }

    proptest! {
        #[test]
        fn the_packet_n_of_client_c_carries_record_c_plus_n_of_all(
            record_bytes in 1..=1440_usize, records in 1..=5_usize, client in 0..10_000_u32,
            sequence: u64,
        ) {
            let record = |n: usize| vec![n as u8 + 1; record_bytes];
            let data: Vec<u8> = (0..records).flat_map(record).collect();
            let source = Records::new(data.into(), record_bytes as u32 + 32).unwrap();
            prop_assert_eq!(source.check("default", record_bytes), Ok(()));
            prop_assert!(source.check("default", record_bytes + 1).is_err());
            let mut payload = vec![0; record_bytes];
            source.fill(packet(client, sequence), &mut payload);
            let record = sequence.wrapping_add(client.into()) % records as u64;
            prop_assert_eq!(payload, vec![record as u8 + 1; record_bytes]);
        }

        #[test]
        fn byte_i_of_the_pattern_of_packet_n_is_n_plus_i(sequence: u64, bytes in 1..=1440_usize) {
            let mut payload = vec![0; bytes];
            Pattern.fill(packet(7, sequence), &mut payload);
            for (i, byte) in payload.into_iter().enumerate() {
                prop_assert_eq!(u64::from(byte), sequence.wrapping_add(i as u64) % 256);
            }
        }
    }

    #[test]
    fn what_is_no_whole_number_of_records_is_refused() {
        let refused = |bytes: usize, packet_bytes| {
            Records::new(vec![0; bytes].into(), packet_bytes).expect_err("no records")
        };
        assert!(refused(10, 31).contains("32 to 1472"));
        assert!(refused(10, 32).contains("--packet-size"));
        assert!(refused(0, 42).contains("empty"));
        assert!(refused(15, 42).contains("no multiple of 10"));
    }
}
