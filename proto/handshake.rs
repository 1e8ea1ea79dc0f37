//! Frames that carry a tag: hello, hello-ack, end and end-ack; and the refusal, which carries none.
//!
//! | offset | bytes | hello, hello-ack | end, end-ack | refusal |
//! |---|---|---|---|---|
//! | 0 | 3 | magic, version, kind | same | same |
//! | 3 | 1 | attempt, from 1 | 0 | code |
//! | 4 | 2 | agent index | 0 | 0 |
//! | 6 | 2 | client index | 0 | 0 |
//! | 8 | 8 | run id | packets sent / received | 0 |
//! | 16 | 16 | tag | tag | 0 |
//!
//! tag = HMAC-SHA256(key, label ‖ bytes 0..16 of the hello ‖ bytes 0..16 of this frame), first 128
//! bits (RFC 2104 section 5 allows truncation to half; RFC 4868 uses it). The label differs by
//! kind, so no frame can be replayed as another; the hello's bytes are in every tag, so no frame
//! can be moved to another connection. Tags are compared in constant time.
//!
//! Absent on purpose: encryption. What follows the hello is plain TCP, which someone on the path
//! can read and change.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::{
    packet::{self, Frame, Kind, u64_at},
    run_id::RunId,
    v1::FailureCode,
};

/// Bytes of a [`Key`].
pub const KEY_BYTES: usize = 32;

const AUTHENTICATED_BYTES: usize = 16;

/// Attempts to connect that one client may make in a run: the attempt is one byte and must rise.
pub const ATTEMPTS_MAX: u8 = u8::MAX;

/// The key of one agent in one run.
///
/// Derived by the server and given to the agent over the control stream only.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// The key of `agent` in `run`, from the server's secret.
    #[must_use]
    pub fn derive(secret: &[u8; KEY_BYTES], run: RunId, agent: u16) -> Self {
        let parts: [&[u8]; 3] = [
            b"metronome key v1",
            &run.bits().to_le_bytes(),
            &agent.to_le_bytes(),
        ];
        Self(mac(secret, &parts))
    }

    /// A key as it came over the control stream or from another process of the server.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The key itself. Never log it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(…)")
    }
}

/// The identity that a connection claims.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The run it belongs to.
    pub run: RunId,
    /// Index of the agent within the run: whose key made the tag.
    pub agent: u16,
    /// Index of the client within the run.
    pub client: u16,
    /// From 1; each connection of a client must have a higher one than the last.
    pub attempt: u8,
}

impl Hello {
    /// What an unverified frame *claims*, good for one thing: finding the key to verify it with.
    ///
    /// `None` when the frame is no hello.
    #[must_use]
    pub fn claimed(frame: &Frame) -> Option<Self> {
        (packet::kind(frame) == Some(Kind::Hello)).then(|| Self {
            run: RunId::from_bits(u64_at(frame, 8)),
            agent: u16::from_le_bytes([frame[4], frame[5]]),
            client: u16::from_le_bytes([frame[6], frame[7]]),
            attempt: frame[3],
        })
    }

    /// Reads a hello whose tag `key` verifies. `None` for everything else.
    #[must_use]
    pub fn open(frame: &Frame, key: &Key) -> Option<Self> {
        let hello = Self::claimed(frame)?;
        same(&hello.encode(key), frame).then_some(hello)
    }

    /// The frame that opens a connection.
    #[must_use]
    pub fn encode(&self, key: &Key) -> Frame {
        tagged(self.fields(Kind::Hello), Kind::Hello, self, key)
    }

    /// The server's answer: proof that it has the run's key.
    #[must_use]
    pub fn ack(&self, key: &Key) -> Frame {
        tagged(self.fields(Kind::HelloAck), Kind::HelloAck, self, key)
    }

    /// Whether `frame` is the server's answer to this hello.
    #[must_use]
    pub fn is_acked_by(&self, frame: &Frame, key: &Key) -> bool {
        same(&self.ack(key), frame)
    }

    /// The client's last frame: it has sent this many packets.
    #[must_use]
    pub fn end(&self, sent: u64, key: &Key) -> Frame {
        tagged(count_frame(Kind::End, sent), Kind::End, self, key)
    }

    /// The packets sent, from an end of this connection. `None` for everything else.
    #[must_use]
    pub fn open_end(&self, frame: &Frame, key: &Key) -> Option<u64> {
        let sent = u64_at(frame, 8);
        same(&self.end(sent, key), frame).then_some(sent)
    }

    /// The server's last frame: it has received this many packets.
    #[must_use]
    pub fn end_ack(&self, received: u64, key: &Key) -> Frame {
        tagged(count_frame(Kind::EndAck, received), Kind::EndAck, self, key)
    }

    /// The packets received, from an end-ack of this connection. `None` for everything else.
    #[must_use]
    pub fn open_end_ack(&self, frame: &Frame, key: &Key) -> Option<u64> {
        let received = u64_at(frame, 8);
        same(&self.end_ack(received, key), frame).then_some(received)
    }

    fn fields(&self, kind: Kind) -> Frame {
        let mut frame = packet::blank(kind);
        frame[3] = self.attempt;
        frame[4..6].copy_from_slice(&self.agent.to_le_bytes());
        frame[6..8].copy_from_slice(&self.client.to_le_bytes());
        frame[8..16].copy_from_slice(&self.run.bits().to_le_bytes());
        frame
    }
}

/// Why the server ends a connection. The numbers are the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Refusal {
    /// The server has as many clients as --max-clients allows, or as many unverified connections as
    /// fit.
    Full = 1,
    /// No hello that this server can verify: unknown run, wrong tag, or an attempt seen before.
    Hello = 2,
    /// The hello was not complete within its deadline.
    Late = 3,
    /// Not the protocol, and the server runs without --accept-raw.
    Raw = 4,
    /// A frame that does not belong where it came.
    Protocol = 5,
    /// The run is over or was stopped.
    Ended = 6,
}

impl Refusal {
    /// The frame that carries the code.
    #[must_use]
    pub fn encode(self) -> Frame {
        let mut frame = packet::blank(Kind::Refusal);
        frame[3] = self as u8;
        frame
    }

    /// The reason of a number of the wire. `None` for one that this version does not have.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let all = [
            Self::Full,
            Self::Hello,
            Self::Late,
            Self::Raw,
            Self::Protocol,
            Self::Ended,
        ];
        all.into_iter().find(|refusal| *refusal as u8 == number)
    }

    /// The code of the failure of a client that was refused so.
    #[must_use]
    pub fn code(self) -> FailureCode {
        match self {
            Self::Full => FailureCode::RefusedFull,
            Self::Hello => FailureCode::RefusedHello,
            Self::Late => FailureCode::RefusedLate,
            Self::Raw => FailureCode::RefusedRaw,
            Self::Protocol => FailureCode::RefusedProtocol,
            Self::Ended => FailureCode::RefusedEnded,
        }
    }

    /// Why, as the rest of a sentence that begins with "the server refused the connection: ".
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Full => "all of its --max-clients are in use",
            Self::Hello => "it could not verify the hello",
            Self::Late => "the hello was not complete in time",
            Self::Raw => "it runs without --accept-raw",
            Self::Protocol => "a frame came where it does not belong",
            Self::Ended => "the run is over",
        }
    }
}

/// A refusal as it came. One with a code that this version does not have is one all the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused {
    number: u8,
}

impl Refused {
    /// What a refusal frame states, whatever its code and the rest of it. `None` for a frame of
    /// another kind.
    #[must_use]
    pub fn decode(frame: &Frame) -> Option<Self> {
        (packet::kind(frame) == Some(Kind::Refusal)).then_some(Self { number: frame[3] })
    }

    /// Why. `None` for a code that this version does not have.
    #[must_use]
    pub fn refusal(self) -> Option<Refusal> {
        Refusal::from_number(self.number)
    }

    /// The code of the failure of a client that was refused so. What gives a code that we do not
    /// have speaks another version of the protocol.
    #[must_use]
    pub fn code(self) -> FailureCode {
        self.refusal()
            .map_or(FailureCode::RefusedProtocol, Refusal::code)
    }
}

/// Why, as [`Refusal::reason`] has it.
impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refusal() {
            Some(refusal) => formatter.write_str(refusal.reason()),
            None => write!(
                formatter,
                "refused, code {}, which this version does not have",
                self.number
            ),
        }
    }
}

fn count_frame(kind: Kind, count: u64) -> Frame {
    let mut frame = packet::blank(kind);
    frame[8..16].copy_from_slice(&count.to_le_bytes());
    frame
}

fn tagged(mut frame: Frame, kind: Kind, hello: &Hello, key: &Key) -> Frame {
    let label: &[u8] = match kind {
        Kind::Hello => b"metronome hello v1",
        Kind::HelloAck => b"metronome hello-ack v1",
        Kind::End => b"metronome end v1",
        _ => b"metronome end-ack v1",
    };
    let hello_fields = hello.fields(Kind::Hello);
    let parts = [
        label,
        &hello_fields[..AUTHENTICATED_BYTES],
        &frame[..AUTHENTICATED_BYTES],
    ];
    let tag = mac(key.as_bytes(), &parts);
    frame[AUTHENTICATED_BYTES..].copy_from_slice(&tag[..packet::FRAME_BYTES - AUTHENTICATED_BYTES]);
    frame
}

fn mac(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn same(expected: &Frame, frame: &Frame) -> bool {
    expected.ct_eq(frame).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::failure::is_phrase;

    fn hellos() -> impl Strategy<Value = Hello> {
        (any::<u64>(), any::<u16>(), any::<u16>(), any::<u8>()).prop_map(
            |(run, agent, client, attempt)| Hello {
                run: RunId::from_bits(run),
                agent,
                client,
                attempt,
            },
        )
    }

    /// Whether a frame opens as the part of the handshake that it is.
    type Opens = fn(&Hello, &Frame, &Key) -> bool;

    proptest! {
        #[test]
        fn a_tagged_frame_opens_with_its_key_and_no_other(
            hello in hellos(),
            a: [u8; 32],
            b: [u8; 32],
            count: u64,
        ) {
            let (key, other) = (Key::from_bytes(a), Key::from_bytes(b));
            prop_assume!(a != b);
            prop_assert_eq!(Hello::open(&hello.encode(&key), &key), Some(hello));
            prop_assert_eq!(Hello::open(&hello.encode(&key), &other), None);
            prop_assert!(hello.is_acked_by(&hello.ack(&key), &key));
            prop_assert!(!hello.is_acked_by(&hello.ack(&other), &key));
            prop_assert_eq!(hello.open_end(&hello.end(count, &key), &key), Some(count));
            prop_assert_eq!(hello.open_end(&hello.end(count, &other), &key), None);
            prop_assert_eq!(hello.open_end_ack(&hello.end_ack(count, &key), &key), Some(count));
        }

        #[test]
        fn one_flipped_bit_breaks_the_tag(
            hello in hellos(),
            secret: [u8; 32],
            bit in 0..256_usize,
        ) {
            let key = Key::from_bytes(secret);
            let frames: [(Frame, Opens); 4] = [
                (hello.encode(&key), |h, f, k| Hello::open(f, k) == Some(*h)),
                (hello.ack(&key), |h, f, k| h.is_acked_by(f, k)),
                (hello.end(9, &key), |h, f, k| h.open_end(f, k).is_some()),
                (hello.end_ack(9, &key), |h, f, k| h.open_end_ack(f, k).is_some()),
            ];
            for (frame, opens) in frames {
                let mut bent = frame;
                bent[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(opens(&hello, &frame, &key));
                prop_assert!(!opens(&hello, &bent, &key));
            }
        }

        #[test]
        fn no_tagged_frame_passes_as_another_kind_or_on_another_connection(
            hello in hellos(),
            secret: [u8; 32],
        ) {
            let key = Key::from_bytes(secret);
            let other = Hello { client: hello.client.wrapping_add(1), ..hello };
            prop_assert!(!hello.is_acked_by(&hello.encode(&key), &key));
            prop_assert_eq!(Hello::open(&hello.ack(&key), &key), None);
            prop_assert_eq!(hello.open_end(&hello.end_ack(5, &key), &key), None);
            prop_assert_eq!(hello.open_end(&other.end(5, &key), &key), None);
        }
    }

    #[test]
    fn the_tags_are_those_that_another_implementation_computes() {
        let mut bytes = [0; KEY_BYTES];
        (0..).zip(&mut bytes).for_each(|(byte, of)| *of = byte);
        let key = Key::from_bytes(bytes);
        let hello = Hello {
            run: RunId::from_bits(0x0807_0605_0403_0201),
            agent: 0x1211,
            client: 0x2221,
            attempt: 3,
        };
        // From Python's hmac and hashlib, by the description at the top.
        for (frame, tag) in [
            (
                hello.encode(&key),
                0x4f50_f8d7_6d6c_31b3_1972_df5c_9ef4_ade1,
            ),
            (hello.ack(&key), 0xdd3e_4ae2_8def_1fdc_27a0_3684_b38b_efd4),
            (
                hello.end(42, &key),
                0xd55f_0dc6_d83a_67d4_0f4a_af15_c9b4_3999,
            ),
            (
                hello.end_ack(41, &key),
                0xcaf3_3105_e12d_8307_9a9a_e507_df28_7b24,
            ),
        ] {
            let carried: [u8; 16] = frame[AUTHENTICATED_BYTES..].try_into().unwrap();
            assert_eq!(u128::from_be_bytes(carried), tag);
        }
    }

    #[test]
    fn each_agent_of_each_run_has_a_key_of_its_own() {
        let secret = [7; 32];
        let key = |run, agent| Key::derive(&secret, RunId::from_bits(run), agent);
        assert_ne!(key(1, 0), key(1, 1));
        assert_ne!(key(1, 0), key(2, 0));
        assert_eq!(key(1, 0), key(1, 0));
        assert_eq!(format!("{:?}", key(1, 0)), "Key(…)");
    }

    #[test]
    fn a_refusal_survives_the_wire_and_nothing_else_is_one() {
        let mut reasons = BTreeSet::new();
        for refusal in [
            Refusal::Full,
            Refusal::Hello,
            Refusal::Late,
            Refusal::Raw,
            Refusal::Protocol,
            Refusal::Ended,
        ] {
            assert!(is_phrase(refusal.reason()), "{refusal:?}");
            assert!(reasons.insert(refusal.reason()), "{refusal:?}");
            let refused = Refused::decode(&refusal.encode()).unwrap();
            assert_eq!(refused.refusal(), Some(refusal));
            assert_eq!(
                (refused.code(), refused.to_string().as_str()),
                (refusal.code(), refusal.reason())
            );
            assert_eq!(Refusal::from_number(refusal as u8), Some(refusal));
            let name = format!("REFUSED_{refusal:?}").to_uppercase();
            assert_eq!(refusal.code().name(), name);
        }
        assert_eq!([0, 7, 0xFE].map(Refusal::from_number), [None; 3]);
        let hello = packet::blank(Kind::Hello);
        assert_eq!(
            [hello, *b"HTTP/1.1 400 Bad Request\r\n\r\n....", [0; 32]]
                .map(|frame| Refused::decode(&frame)),
            [None; 3]
        );
    }

    #[test]
    fn a_refusal_with_a_code_of_a_later_version_is_one() {
        let mut unknown = Refusal::Full.encode();
        (unknown[3], unknown[20]) = (99, 7);
        let refused = Refused::decode(&unknown).unwrap();
        assert_eq!(
            (refused.refusal(), refused.code()),
            (None, FailureCode::RefusedProtocol)
        );
        assert!(
            refused.to_string().contains("refused, code 99"),
            "{refused}"
        );
    }
}
