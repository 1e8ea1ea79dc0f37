//! The payload of a group or a share, checked: the same for both.

use std::sync::Arc;

use super::field::FieldError;
use crate::{
    limits::{RECORDS_BYTES_MAX, RECORDS_NAME_BYTES_MAX},
    packet_size::PacketSize,
    payload::{Payload, Records, SHA256_BYTES, is_file_name, not_records},
    v1::{self, payload::Source},
};

/// Checks the payload of packets of a size. `needs_data`: records without their bytes, as in an
/// answer of the API, are refused.
///
/// # Errors
///
/// It is none of such packets; the field is below that of the group or share.
pub(crate) fn payload(
    payload: Option<&v1::Payload>,
    size: PacketSize,
    needs_data: bool,
) -> Result<Payload, FieldError> {
    let Some(v1::Payload { source }) = payload else {
        return Ok(Payload::Zeros);
    };
    let Some(source) = source else {
        let problem = "a source that this version does not have; zeros, pattern, records and file \
                       exist";
        return Err(FieldError::unsupported("payload", problem));
    };
    let without_room = size.payload_bytes() == 0;
    match source {
        Source::Zeros(v1::Zeros {}) => Ok(Payload::Zeros),
        _ if without_room => {
            let problem = "packets of 32 bytes have no room for it; leave it out, or make \
                           packet_bytes more than 32";
            Err(FieldError::out_of_range("payload", problem))
        }
        Source::Pattern(v1::Pattern {}) => Ok(Payload::Pattern),
        Source::Records(of) => records(of, size, needs_data).map(Payload::Records),
        Source::File(v1::AgentFile { name, sha256 }) => {
            if !is_file_name(name) {
                let problem = format!(
                    "{name:?} is no name of a file; 1 to {RECORDS_NAME_BYTES_MAX} bytes without a \
                     slash are"
                );
                return Err(FieldError::out_of_range("payload.file.name", problem));
            }
            Ok(Payload::AgentFile {
                name: name.clone(),
                sha256: sha256_field("payload.file.sha256", sha256)?,
            })
        }
    }
}

fn records(of: &v1::Records, size: PacketSize, needs_data: bool) -> Result<Records, FieldError> {
    let error = |field: &str, problem: String| {
        Err(FieldError::out_of_range(
            format!("payload.records.{field}"),
            problem,
        ))
    };
    if of.name.len() > RECORDS_NAME_BYTES_MAX {
        let problem = format!(
            "{} bytes are too long; at most {RECORDS_NAME_BYTES_MAX} are allowed",
            of.name.len()
        );
        return error("name", problem);
    }
    let claimed = sha256_field("payload.records.sha256", &of.sha256)?;
    let is_described = of.data.is_empty() && !needs_data;
    let bytes = if is_described {
        of.size
    } else {
        of.data.len() as u64
    };
    if let Some(problem) = not_records(bytes, size) {
        return error("data", problem);
    }
    if bytes > RECORDS_BYTES_MAX as u64 {
        let problem =
            format!("{bytes} bytes are too many; at most {RECORDS_BYTES_MAX} are allowed");
        return error("data", problem);
    }
    if is_described {
        let Some(sha256) = claimed else {
            return error("sha256", "missing; records without data have one".into());
        };
        return Ok(Records {
            name: of.name.clone(),
            data: Arc::default(),
            size: bytes,
            sha256,
        });
    }
    let records = Records::new(of.name.as_str(), of.data.as_slice());
    if claimed.is_some_and(|claimed| claimed != records.sha256) {
        let problem =
            "the data have another SHA-256 than this one; give the file that it is of".into();
        return error("sha256", problem);
    }
    Ok(records)
}

fn sha256_field(field: &str, bytes: &[u8]) -> Result<Option<[u8; SHA256_BYTES]>, FieldError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let sha256 = bytes.try_into().map_err(|_| {
        let problem = format!("{} bytes; {SHA256_BYTES} are needed", bytes.len());
        FieldError::out_of_range(field, problem)
    })?;
    Ok(Some(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(bytes: u32) -> PacketSize {
        PacketSize::new(bytes).unwrap()
    }

    fn checked(of: &Payload, bytes: u32, needs_data: bool) -> Result<Payload, FieldError> {
        payload(of.to_proto().as_ref(), size(bytes), needs_data)
    }

    #[test]
    fn a_payload_survives_the_api_where_its_packets_have_room_for_it() {
        let records = Records::new("readings.bin", vec![7; 2 * 168]);
        let file = |sha256| Payload::AgentFile {
            name: "readings.bin".into(),
            sha256,
        };
        for of in [
            Payload::Zeros,
            Payload::Pattern,
            Payload::Records(records),
            file(None),
            file(Some([9; SHA256_BYTES])),
        ] {
            assert_eq!(checked(&of, 200, true).as_ref(), Ok(&of));
            let of_32_bytes = checked(&of, 32, true);
            assert_eq!(of_32_bytes.is_ok(), of == Payload::Zeros, "{of:?}");
        }
    }

    #[test]
    fn records_without_their_bytes_describe_a_run_and_make_none() {
        let whole = Payload::Records(Records::new("r", vec![1; 3 * 168]));
        let described = whole.described();
        assert_eq!(described.data_bytes(), 0);
        assert_eq!(checked(&described, 200, false).as_ref(), Ok(&described));
        let refused = checked(&described, 200, true).unwrap_err();
        assert_eq!(refused.field, "payload.records.data");
    }

    #[test]
    fn what_is_no_payload_is_refused_by_the_name_of_its_field() {
        let records = |data: Vec<u8>, sha256: Vec<u8>, name: &str| {
            Source::Records(v1::Records {
                name: name.into(),
                data,
                size: 0,
                sha256,
            })
        };
        let file = |name: &str, sha256: Vec<u8>| {
            let name = name.into();
            Source::File(v1::AgentFile { name, sha256 })
        };
        let long = "x".repeat(RECORDS_NAME_BYTES_MAX + 1);
        for (source, field) in [
            (records(Vec::new(), Vec::new(), "r"), "payload.records.data"),
            (
                records(vec![1; 167], Vec::new(), "r"),
                "payload.records.data",
            ),
            (
                records(
                    vec![1; RECORDS_BYTES_MAX / 168 * 168 + 168],
                    Vec::new(),
                    "r",
                ),
                "payload.records.data",
            ),
            (
                records(vec![1; 168], vec![1; 32], "r"),
                "payload.records.sha256",
            ),
            (
                records(vec![1; 168], vec![1; 31], "r"),
                "payload.records.sha256",
            ),
            (
                records(vec![1; 168], Vec::new(), &long),
                "payload.records.name",
            ),
            (file("", Vec::new()), "payload.file.name"),
            (file("..", Vec::new()), "payload.file.name"),
            (file("a/b", Vec::new()), "payload.file.name"),
            (file(&long, Vec::new()), "payload.file.name"),
            (file("a", vec![1; 33]), "payload.file.sha256"),
        ] {
            let source = Some(source);
            let error = payload(Some(&v1::Payload { source }), size(200), true).unwrap_err();
            assert_eq!(error.field, field);
        }
        let none = payload(Some(&v1::Payload { source: None }), size(200), true);
        assert_eq!(none.unwrap_err().field, "payload");
    }
}
