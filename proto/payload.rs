//! The bytes behind the header of each packet of a group: what a plan asks for, and which bytes of
//! it a packet carries. Pure: who reads a file hands its bytes in.

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};

use crate::{
    limits::RECORDS_NAME_BYTES_MAX,
    packet_size::PacketSize,
    v1::{self, payload::Source},
};

/// Bytes of a SHA-256.
pub const SHA256_BYTES: usize = 32;

/// What a plan asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Payload {
    /// Zero bytes.
    #[default]
    Zeros,
    /// Byte i of the packet with sequence n is (n + i) mod 256.
    Pattern,
    /// Records that come with the plan.
    Records(Records),
    /// Records of a file that each agent has.
    AgentFile {
        /// Its name in the agent's directory, without a slash.
        name: String,
        /// What it must have; `None` for any.
        sha256: Option<[u8; SHA256_BYTES]>,
    },
}

/// Records of a payload's length, one behind the other.
#[derive(Clone, Eq, PartialEq)]
pub struct Records {
    /// Where they come from, for people.
    pub name: String,
    /// The records. Empty where a run is only described, as in an answer of the API.
    pub data: Arc<[u8]>,
    /// Bytes of all records, at least one record.
    pub size: u64,
    /// SHA-256 of all records.
    pub sha256: [u8; SHA256_BYTES],
}

impl fmt::Debug for Records {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Records({:?}, {} bytes)", self.name, self.size)
    }
}

impl Records {
    /// These records.
    #[must_use]
    pub fn new(name: impl Into<String>, data: impl Into<Arc<[u8]>>) -> Self {
        let data = data.into();
        Self {
            name: name.into(),
            size: data.len() as u64,
            sha256: sha256(&data),
            data,
        }
    }
}

/// The SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; SHA256_BYTES] {
    Sha256::digest(bytes).into()
}

/// The number of the record, of so many, that the packet with this sequence of this client carries.
/// `records` is at least 1.
#[inline]
#[must_use]
pub fn record_of(client: u32, sequence: u64, records: u64) -> u64 {
    sequence.wrapping_add(u64::from(client)) % records.max(1)
}

/// Writes the pattern of the packet with this sequence.
pub fn write_pattern(sequence: u64, payload: &mut [u8]) {
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte = sequence.wrapping_add(at as u64) as u8;
    }
}

/// Why so many bytes are no records of packets of this size; `None` where they are some.
#[must_use]
pub fn not_records(bytes: u64, size: PacketSize) -> Option<String> {
    let of_one = size.payload_bytes() as u64;
    if of_one == 0 {
        return Some(
            "packets of 32 bytes have no room for a payload; give a --packet-size above 32".into(),
        );
    }
    if bytes == 0 {
        return Some(format!(
            "it is empty; at least one record of {of_one} bytes is needed"
        ));
    }
    (!bytes.is_multiple_of(of_one)).then(|| {
        format!(
            "its {bytes} bytes are no multiple of {of_one}, the payload of a packet of {} bytes",
            size.bytes()
        )
    })
}

/// Whether a text is the name of a file in a directory, and nothing more.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= RECORDS_NAME_BYTES_MAX
        && !name.contains(['/', '\0'])
}

impl Payload {
    /// The form of the API, data included.
    #[must_use]
    pub fn to_proto(&self) -> Option<v1::Payload> {
        let source = match self {
            Self::Zeros => return None,
            Self::Pattern => Source::Pattern(v1::Pattern {}),
            Self::Records(records) => Source::Records(v1::Records {
                name: records.name.clone(),
                data: records.data.to_vec(),
                size: records.size,
                sha256: records.sha256.to_vec(),
            }),
            Self::AgentFile { name, sha256 } => Source::File(v1::AgentFile {
                name: name.clone(),
                sha256: sha256.map(Vec::from).unwrap_or_default(),
            }),
        };
        Some(v1::Payload {
            source: Some(source),
        })
    }

    /// Bytes of records that it carries with it.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        match self {
            Self::Records(records) => records.data.len(),
            _ => 0,
        }
    }

    /// The same without the bytes of its records, as a run is described to others.
    #[must_use]
    pub fn described(&self) -> Self {
        match self {
            Self::Records(records) => Self::Records(Records {
                data: Arc::default(),
                ..records.clone()
            }),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_client_goes_through_all_records_from_one_of_its_own(
            client: u32, records in 1..2_000_u64, from in 0..u64::MAX / 2,
        ) {
            let of = |sequence| record_of(client, sequence, records);
            prop_assert_eq!(of(0), u64::from(client) % records);
            prop_assert_eq!(of(from + 1), (of(from) + 1) % records);
        }

        #[test]
        fn the_pattern_goes_on_from_byte_to_byte_and_from_packet_to_packet(
            sequence: u64, bytes in 0..1441_usize,
        ) {
            let mut payload = vec![0; bytes];
            write_pattern(sequence, &mut payload);
            for (at, byte) in payload.iter().enumerate() {
                prop_assert_eq!(*byte, sequence.wrapping_add(at as u64) as u8);
            }
        }
    }
}
