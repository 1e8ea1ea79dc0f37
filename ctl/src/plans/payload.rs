//! What is given of a payload, and what of the API it is. Pure: who has a file reads it.

use std::str::FromStr;

use metronome_proto::{
    limits::RECORDS_NAME_BYTES_MAX,
    packet_size::PacketSize,
    payload::{SHA256_BYTES, is_file_name, not_records},
    v1::{self, payload::Source},
};

/// What is given of a payload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum PayloadPart {
    Zeros,
    Pattern,
    /// Records of a file that each agent has.
    AgentFile {
        name: String,
        sha256: Option<[u8; SHA256_BYTES]>,
    },
    /// Records of a file of the user, which is still to be read.
    File {
        path: String,
        sha256: Option<[u8; SHA256_BYTES]>,
    },
}

/// Reads the file of that path, or finds why it cannot be the file of a payload: a phrase.
pub(crate) type ReadFile<'a> = dyn FnMut(&str) -> Result<Vec<u8>, String> + 'a;

/// The text of a flag or of a key of `--group`.
impl FromStr for PayloadPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "zeros" => return Ok(Self::Zeros),
            "pattern" => return Ok(Self::Pattern),
            _ => {}
        }
        match text.strip_prefix("agent:") {
            Some(name) => Self::agent_file(name, None),
            None => Self::file(text, None),
        }
    }
}

impl PayloadPart {
    /// Records of a file of the user.
    ///
    /// # Errors
    /// It is no path of a file.
    pub(crate) fn file(path: &str, sha256: Option<[u8; SHA256_BYTES]>) -> Result<Self, String> {
        match path {
            "" => Err("zeros, pattern, agent:NAME or the path of a file is needed".into()),
            "-" => Err(
                "standard input is not taken, since a run that is repeated needs its records \
                 again; write them into a file and give its path"
                    .into(),
            ),
            path => Ok(Self::File {
                path: path.into(),
                sha256,
            }),
        }
    }

    /// Records of a file that each agent has.
    ///
    /// # Errors
    /// It is no name of a file.
    pub(crate) fn agent_file(
        name: &str,
        sha256: Option<[u8; SHA256_BYTES]>,
    ) -> Result<Self, String> {
        if !is_file_name(name) {
            return Err(format!(
                "{name:?} is no name of a file in an agent's --payload-dir; give one of 1 to \
                 {RECORDS_NAME_BYTES_MAX} bytes without a slash"
            ));
        }
        Ok(Self::AgentFile {
            name: name.into(),
            sha256,
        })
    }

    /// Whether packets of a size have room for it.
    ///
    /// # Errors
    /// They have none.
    pub(crate) fn check_room(&self, size: PacketSize) -> Result<(), String> {
        if *self == Self::Zeros || size.payload_bytes() > 0 {
            return Ok(());
        }
        Err(
            "packets of 32 bytes are headers and have no room for it; leave it out, or give a \
             packet size above 32"
                .into(),
        )
    }

    /// The payload of the API, of packets of this size.
    ///
    /// # Errors
    /// There is no room for it, or its file is none of such packets.
    pub(crate) fn to_proto(
        &self,
        size: PacketSize,
        read: &mut ReadFile<'_>,
    ) -> Result<v1::Payload, String> {
        self.check_room(size)?;
        let source = match self {
            Self::Zeros => Source::Zeros(v1::Zeros {}),
            Self::Pattern => Source::Pattern(v1::Pattern {}),
            Self::AgentFile { name, sha256 } => Source::File(v1::AgentFile {
                name: name.clone(),
                sha256: sha256.map(Vec::from).unwrap_or_default(),
            }),
            Self::File { path, sha256 } => {
                let data = records(path, size, read)?;
                Source::Records(v1::Records {
                    name: name_of(path).into(),
                    size: data.len() as u64,
                    data,
                    sha256: sha256.map(Vec::from).unwrap_or_default(),
                })
            }
        };
        Ok(v1::Payload {
            source: Some(source),
        })
    }
}

/// The records of a file, of packets of this size.
///
/// # Errors
/// It cannot be read, is empty, or is no multiple of a record.
pub(crate) fn records(
    path: &str,
    size: PacketSize,
    read: &mut ReadFile<'_>,
) -> Result<Vec<u8>, String> {
    let data = read(path).map_err(|problem| format!("{path}: {problem}"))?;
    match not_records(data.len() as u64, size) {
        None => Ok(data),
        Some(problem) => Err(format!(
            "{path}: {problem}; give a file of whole records, or a packet size of 32 + the bytes \
             of one of them"
        )),
    }
}

/// What records are called: the path as it was given, so that a plan that is written out leads to
/// them again. One that is too long is the name of the file alone.
fn name_of(path: &str) -> &str {
    if path.len() <= RECORDS_NAME_BYTES_MAX {
        return path;
    }
    path.rsplit('/').next().unwrap_or_default()
}

/// A SHA-256 of its 64 hexadecimal digits.
///
/// # Errors
/// It is none.
pub(crate) fn sha256_of(text: &str) -> Result<[u8; SHA256_BYTES], String> {
    let problem = || "64 hexadecimal digits are needed, as sha256sum prints them".to_owned();
    let mut sha256 = [0; SHA256_BYTES];
    let digits = text.as_bytes();
    if digits.len() != 2 * SHA256_BYTES {
        return Err(problem());
    }
    for (byte, pair) in sha256.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16).ok_or_else(problem)?;
            *byte = *byte << 4 | value as u8;
        }
    }
    Ok(sha256)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(bytes: u32) -> PacketSize {
        PacketSize::new(bytes).expect("a size")
    }

    #[track_caller]
    fn refused(text: &str, words: &[&str]) {
        let problem = text.parse::<PayloadPart>().expect_err(text);
        for word in words {
            assert!(problem.contains(word), "no {word:?} in {problem}");
        }
    }

    #[test]
    fn a_text_is_a_word_the_name_of_an_agents_file_or_a_path() {
        let file = |path: &str| PayloadPart::File {
            path: path.into(),
            sha256: None,
        };
        let agent_file = PayloadPart::AgentFile {
            name: "day 1.bin".into(),
            sha256: None,
        };
        for (text, part) in [
            ("zeros", PayloadPart::Zeros),
            ("pattern", PayloadPart::Pattern),
            ("agent:day 1.bin", agent_file),
            ("./pattern", file("./pattern")),
            ("./agent:x", file("./agent:x")),
            ("Zeros", file("Zeros")),
            ("/data/day 1.bin", file("/data/day 1.bin")),
        ] {
            assert_eq!(text.parse(), Ok(part), "{text}");
        }
        refused("", &["zeros, pattern, agent:NAME"]);
        refused("-", &["standard input", "write them into a file"]);
        for name in ["", ".", "..", "a/b", "/etc/passwd", &"x".repeat(256)] {
            refused(
                &format!("agent:{name}"),
                &["--payload-dir", "without a slash"],
            );
        }
    }

    #[test]
    fn a_file_is_whole_records_of_the_size_and_called_by_its_path() {
        let part: PayloadPart = "data/day.bin".parse().expect("a path");
        let of = |bytes: usize, size_bytes| {
            let mut paths = Vec::new();
            let mut read = |path: &str| {
                paths.push(path.to_owned());
                Ok(vec![7; bytes])
            };
            let payload = part.to_proto(size(size_bytes), &mut read);
            assert!(payload.is_err() || paths == ["data/day.bin"], "{paths:?}");
            payload
        };
        let payload = of(336, 200).expect("two records");
        let Some(Source::Records(records)) = payload.source else {
            panic!("records are expected");
        };
        assert_eq!((records.size, records.data.len()), (336, 336));
        assert_eq!(records.name, "data/day.bin");
        for (bytes, size_bytes, words) in [
            (0, 200, ["data/day.bin: it is empty", "168 bytes"]),
            (335, 200, ["no multiple of 168", "whole records"]),
            (336, 32, ["no room", "above 32"]),
        ] {
            let problem = of(bytes, size_bytes).expect_err("no records");
            for word in words {
                assert!(problem.contains(word), "no {word:?} in {problem}");
            }
        }
        let mut unreadable = |_: &str| Err("it is a FIFO".to_owned());
        let problem = part.to_proto(size(200), &mut unreadable).expect_err("none");
        assert_eq!(problem, "data/day.bin: it is a FIFO");
        let long = format!("{}/day.bin", "x".repeat(RECORDS_NAME_BYTES_MAX));
        assert_eq!(name_of(&long), "day.bin");
    }

    #[test]
    fn packets_of_32_bytes_have_zeros_alone() {
        let mut unread = |_: &str| panic!("nothing is to be read");
        for part in ["pattern", "agent:a", "a"] {
            let part: PayloadPart = part.parse().expect("a payload");
            assert!(part.to_proto(PacketSize::MIN, &mut unread).is_err());
        }
        assert!(
            PayloadPart::Zeros
                .to_proto(PacketSize::MIN, &mut unread)
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn a_sha256_survives_its_digits(sha256: [u8; SHA256_BYTES]) {
            let digits = hexadecimal(&sha256);
            prop_assert_eq!(sha256_of(&digits), Ok(sha256));
            prop_assert_eq!(sha256_of(&digits.to_uppercase()), Ok(sha256));
            prop_assert!(sha256_of(&digits[1..]).is_err());
            let with_x = digits[1..].to_owned() + "x";
            prop_assert!(sha256_of(&with_x).is_err());
        }

        #[test]
        fn any_text_is_a_payload_or_refused(text: String) {
            let _ = (text.parse::<PayloadPart>(), sha256_of(&text));
        }
    }
}
