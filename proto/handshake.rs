//! Frames that carry a tag: hello, hello-ack, end and end-ack; and those that carry none, the
//! refusal and the challenge.
//!
//! | offset | bytes | hello, hello-ack | end, end-ack | refusal | challenge |
//! |---|---|---|---|---|---|
//! | 0 | 3 | magic, version, kind | same | same | same |
//! | 3 | 1 | attempt, from 1 | 0 | code | [`HANDSHAKE_VERSION`] |
//! | 4 | 2 | agent index | 0 | byte 4: [`HANDSHAKE_VERSION`] | 0 |
//! | 6 | 2 | client index | 0 | 0 | 0 |
//! | 8 | 8 | run id | packets sent / received | 0 | 0 |
//! | 16 | 16 | tag | tag | 0 | nonce, not 0 |
//!
//! tag = HMAC-SHA256(key, label ‖ bytes 0..16 of the hello ‖ bytes 0..16 of this frame ‖ the zeros
//! that fill an end to the size of the client's packets), first 128 bits (RFC 2104 section 5 allows
//! truncation to half; RFC 4868 uses it). The label differs by kind, so no frame can be replayed as
//! another; the hello's bytes are in every tag, so no frame can be moved to another connection.
//! Tags are compared in constant time.
//!
//! In a run that the server has started, a hello is good once by itself: its key is of this run and
//! this agent, and the attempts of a client rise. The *static run* (`--key-file` on both sides) has
//! one key for ever, and any process may begin with attempt 1. So its connections begin with a
//! challenge from each side, the client's first, and the key of all their tags is
//! HMAC-SHA256(key, label ‖ client's nonce ‖ server's nonce): what was recorded on one connection
//! is worth nothing on another, to a client no less than to a server.
//!
//! Absent on purpose: encryption. What follows the hello is plain TCP, which someone on the path
//! can read and change.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::{
    packet::{self, Frame, Kind, u64_at},
    packet_size::PacketSize,
    run_id::RunId,
    v1::FailureCode,
};

/// Bytes of a [`Key`].
pub const KEY_BYTES: usize = 32;

const AUTHENTICATED_BYTES: usize = 16;

/// Bytes of a [`Nonce`].
pub const NONCE_BYTES: usize = 16;

/// Version of how connections begin. Version 1 had no challenges, and its refusals had no version.
pub const HANDSHAKE_VERSION: u8 = 2;

/// Attempts to connect that one client may make in a run: the attempt is one byte and must rise.
pub const ATTEMPTS_MAX: u8 = u8::MAX;

/// The client index in the hello of the connection that carries an agent's probes. No client has
/// it.
pub const PROBE_CLIENT: u16 = u16::MAX;

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

    /// The key of one connection of the static run, whose key this is.
    #[must_use]
    pub fn of_connection(&self, challenges: &Challenges) -> Self {
        let Challenges { client, server } = challenges;
        let parts: [&[u8]; 3] = [b"metronome connection v2", &client.0, &server.0];
        Self(mac(&self.0, &parts))
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

/// Random bytes that one side has drawn for one connection. Never all zero, so that memory that was
/// not written holds none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// These bytes, which the system's generator has drawn. `None` for zeros.
    #[must_use]
    pub fn from_bytes(bytes: [u8; NONCE_BYTES]) -> Option<Self> {
        (bytes != [0; NONCE_BYTES]).then_some(Self(bytes))
    }

    /// The bytes, which are no secret.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; NONCE_BYTES] {
        &self.0
    }

    /// The frame that challenges the other side.
    #[must_use]
    pub fn challenge(&self) -> Frame {
        let mut frame = packet::blank(Kind::Challenge);
        frame[3] = HANDSHAKE_VERSION;
        frame[AUTHENTICATED_BYTES..].copy_from_slice(&self.0);
        frame
    }
}

/// A challenge as it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// Version of the handshake that the other side speaks.
    pub version: u8,
    /// `None` in a version that is not ours, and where the rest of the frame is not as it must be.
    pub nonce: Option<Nonce>,
}

impl Challenge {
    /// Reads a challenge. `None` for a frame of another kind.
    #[must_use]
    pub fn decode(frame: &Frame) -> Option<Self> {
        if packet::kind(frame) != Some(Kind::Challenge) {
            return None;
        }
        let mut bytes = [0; NONCE_BYTES];
        bytes.copy_from_slice(&frame[AUTHENTICATED_BYTES..]);
        Some(Self {
            version: frame[3],
            nonce: Nonce::from_bytes(bytes).filter(|nonce| nonce.challenge() == *frame),
        })
    }
}

/// The nonces of both sides of a connection of the static run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Challenges {
    /// What the client has drawn.
    pub client: Nonce,
    /// What the server has drawn.
    pub server: Nonce,
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
        tagged(self.fields(Kind::Hello), Kind::Hello, self, &[], key)
    }

    /// The server's answer: proof that it has the run's key.
    #[must_use]
    pub fn ack(&self, key: &Key) -> Frame {
        tagged(self.fields(Kind::HelloAck), Kind::HelloAck, self, &[], key)
    }

    /// Whether `frame` is the server's answer to this hello.
    #[must_use]
    pub fn is_acked_by(&self, frame: &Frame, key: &Key) -> bool {
        same(&self.ack(key), frame)
    }

    /// The header of the client's last frame: it has sent this many packets, of this size.
    /// [`PacketSize::zeros`] follow it on the wire.
    #[must_use]
    pub fn end(&self, sent: u64, size: PacketSize, key: &Key) -> Frame {
        let frame = count_frame(Kind::End, sent);
        tagged(frame, Kind::End, self, size.zeros(), key)
    }

    /// The packets sent, from an end of this connection, with the bytes that follow its header:
    /// those of the client's size. `None` for everything else.
    #[must_use]
    pub fn open_end(&self, frame: &Frame, size: PacketSize, rest: &[u8], key: &Key) -> Option<u64> {
        let sent = u64_at(frame, 8);
        (same(&self.end(sent, size, key), frame) && rest == size.zeros()).then_some(sent)
    }

    /// The server's last frame: it has received this many packets.
    #[must_use]
    pub fn end_ack(&self, received: u64, key: &Key) -> Frame {
        let frame = count_frame(Kind::EndAck, received);
        tagged(frame, Kind::EndAck, self, &[], key)
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
    /// The connection begins as another version of the handshake has it.
    Version = 7,
}

impl Refusal {
    /// The frame that carries the code.
    #[must_use]
    pub fn encode(self) -> Frame {
        let mut frame = packet::blank(Kind::Refusal);
        (frame[3], frame[4]) = (self as u8, HANDSHAKE_VERSION);
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
            Self::Version,
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
            Self::Protocol | Self::Version => FailureCode::RefusedProtocol,
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
            Self::Version => "connections begin otherwise in its version",
        }
    }
}

/// A refusal as it came. One with a code that this version does not have is one all the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused {
    number: u8,
    /// Version of the handshake that the server speaks.
    version: u8,
}

impl Refused {
    /// What a refusal frame states, whatever its code and the rest of it. `None` for a frame of
    /// another kind.
    #[must_use]
    pub fn decode(frame: &Frame) -> Option<Self> {
        (packet::kind(frame) == Some(Kind::Refusal)).then(|| Self {
            number: frame[3],
            version: frame[4].max(1),
        })
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

/// Why, as [`Refusal::reason`] has it, with both versions where their difference may be the cause.
impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refusal() {
            Some(refusal) => formatter.write_str(refusal.reason())?,
            None => write!(
                formatter,
                "refused, code {}, which this version does not have",
                self.number
            )?,
        }
        let can_be_the_cause = self.code() == FailureCode::RefusedProtocol;
        if !can_be_the_cause || self.version == HANDSHAKE_VERSION {
            return Ok(());
        }
        write!(
            formatter,
            " (it speaks version {} of the handshake and this side version {HANDSHAKE_VERSION}; \
             install one release on both hosts)",
            self.version
        )
    }
}

fn count_frame(kind: Kind, count: u64) -> Frame {
    let mut frame = packet::blank(kind);
    frame[8..16].copy_from_slice(&count.to_le_bytes());
    frame
}

fn tagged(mut frame: Frame, kind: Kind, hello: &Hello, rest: &[u8], key: &Key) -> Frame {
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
        rest,
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

    fn nonce(number: u128) -> Nonce {
        Nonce::from_bytes(number.to_le_bytes()).unwrap()
    }

    /// Both sides of one connection of the static run: what each has drawn and how far it is.
    #[derive(Clone, Copy)]
    struct Sides {
        key: Key,
        hello: Hello,
        client: Nonce,
        server: Nonce,
    }

    /// How far one side has come with the frames that the other side, or somebody on the path, has
    /// sent it. Everything that does not belong there ends the connection, as it does in the
    /// product.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Step {
        Begun,
        Challenged(Key),
        Trusts(Key),
        Ended(u64),
        Over,
    }

    type Takes<'a> = dyn Fn(Step, &Frame) -> Step + 'a;

    impl Sides {
        fn key_with(&self, client: Nonce, server: Nonce) -> Key {
            self.key.of_connection(&Challenges { client, server })
        }

        /// What the server becomes with this frame of a client.
        fn server_takes(&self, step: Step, frame: &Frame) -> Step {
            let next = match step {
                Step::Begun => Challenge::decode(frame)
                    .and_then(|challenge| challenge.nonce)
                    .map(|client| Step::Challenged(self.key_with(client, self.server))),
                Step::Challenged(key) => Hello::open(frame, &key).map(|_| Step::Trusts(key)),
                Step::Trusts(key) => self
                    .hello
                    .open_end(frame, PacketSize::MIN, &[], &key)
                    .map(Step::Ended),
                Step::Ended(_) | Step::Over => None,
            };
            next.unwrap_or(Step::Over)
        }

        /// What the client becomes with this frame of a server.
        fn client_takes(&self, step: Step, frame: &Frame) -> Step {
            let next = match step {
                Step::Begun => Challenge::decode(frame)
                    .and_then(|challenge| challenge.nonce)
                    .map(|server| Step::Challenged(self.key_with(self.client, server))),
                Step::Challenged(key) => self
                    .hello
                    .is_acked_by(frame, &key)
                    .then_some(Step::Trusts(key)),
                Step::Trusts(key) => self.hello.open_end_ack(frame, &key).map(Step::Ended),
                Step::Ended(_) | Step::Over => None,
            };
            next.unwrap_or(Step::Over)
        }

        /// Every frame that passes when no other comes, the client's and the server's by turns.
        fn frames(&self) -> [Frame; 6] {
            let key = self.key_with(self.client, self.server);
            [
                self.client.challenge(),
                self.server.challenge(),
                self.hello.encode(&key),
                self.hello.ack(&key),
                self.hello.end(9, PacketSize::MIN, &key),
                self.hello.end_ack(9, &key),
            ]
        }
    }

    proptest! {
        /// The same client with the same attempt, as every process of the static run has it.
        #[test]
        fn no_frames_recorded_on_other_connections_are_accepted_in_any_order(
            hello in hellos(),
            secret: [u8; 32],
            nonces in prop::collection::btree_set(1..u128::MAX, 8..=8),
            others in 1..4_usize,
            replayed in prop::collection::vec((0..3_usize, 0..6_usize), 0..40),
            own_until in 0..4_usize,
        ) {
            let nonces: Vec<u128> = nonces.into_iter().collect();
            let sides: Vec<Sides> = nonces
                .chunks_exact(2)
                .map(|pair| Sides {
                    key: Key::from_bytes(secret),
                    hello,
                    client: nonce(pair[0]),
                    server: nonce(pair[1]),
                })
                .collect();
            let (own, recorded) = (sides[0], &sides[1..=others]);
            let frames = own.frames();
            let whole = |takes: &Takes, first: usize| {
                frames.iter().skip(first).step_by(2).fold(Step::Begun, takes)
            };
            let server: &Takes = &|step, frame| own.server_takes(step, frame);
            let client: &Takes = &|step, frame| own.client_takes(step, frame);
            prop_assert_eq!(
                (whole(server, 0), whole(client, 1)),
                (Step::Ended(9), Step::Ended(9)),
                "left alone, both come to the end"
            );
            for (takes, first) in [(server, 0), (client, 1)] {
                let own_frames = frames.iter().skip(first).step_by(2).take(own_until);
                let begun = own_frames.fold(Step::Begun, takes);
                let mut step = begun;
                for (from, frame) in &replayed {
                    step = takes(step, &recorded[from % others].frames()[*frame]);
                    // A challenge is no proof: with a recorded one, the side is as far as the
                    // other side's challenge brings it, and no further.
                    let is_further = match begun {
                        Step::Begun | Step::Challenged(_) => {
                            matches!(step, Step::Trusts(_) | Step::Ended(_))
                        }
                        Step::Trusts(_) => matches!(step, Step::Ended(_)),
                        Step::Ended(_) | Step::Over => false,
                    };
                    prop_assert!(!is_further, "{begun:?} became {step:?}");
                }
            }
        }

        #[test]
        fn a_challenge_is_its_version_and_a_nonce_that_is_not_zero_and_nothing_else(
            bytes: [u8; 16],
            bit in 0..256_usize,
        ) {
            let Some(drawn) = Nonce::from_bytes(bytes) else { return Ok(()) };
            let frame = drawn.challenge();
            let expected = Challenge { version: HANDSHAKE_VERSION, nonce: Some(drawn) };
            prop_assert_eq!(Challenge::decode(&frame), Some(expected));
            let mut bent = frame;
            bent[bit / 8] ^= 1 << (bit % 8);
            let decoded = Challenge::decode(&bent).and_then(|challenge| challenge.nonce);
            let is_other = decoded.is_some_and(|decoded| decoded != drawn);
            prop_assert!(decoded.is_none() || (bit >= 128 && is_other));
        }
    }

    #[test]
    fn a_nonce_of_zeros_is_none() {
        let mut frame = nonce(1).challenge();
        frame[AUTHENTICATED_BYTES] = 0;
        let decoded = Challenge::decode(&frame).unwrap();
        assert_eq!((decoded.version, decoded.nonce), (2, None));
    }

    proptest! {
        #[test]
        fn an_end_of_any_size_opens_with_its_zeros_and_no_other_bytes(
            hello in hellos(), secret: [u8; 32], count: u64,
            bytes in 33..1473_u32, other in 32..1473_u32,
            at in any::<prop::sample::Index>(), byte in 1..=255_u8,
        ) {
            let (key, size) = (Key::from_bytes(secret), PacketSize::new(bytes).unwrap());
            let (end, mut rest) = (hello.end(count, size, &key), size.zeros().to_vec());
            prop_assert_eq!(hello.open_end(&end, size, &rest, &key), Some(count));
            let other = PacketSize::new(other).unwrap();
            if other != size {
                prop_assert_eq!(hello.open_end(&end, other, other.zeros(), &key), None);
                prop_assert_eq!(hello.open_end(&end, size, other.zeros(), &key), None);
            }
            let at = at.index(rest.len());
            rest[at] = byte;
            prop_assert_eq!(hello.open_end(&end, size, &rest, &key), None);
        }
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
            let of = |other: &Key| hello.end(count, PacketSize::MIN, other);
            let open = |frame| hello.open_end(&frame, PacketSize::MIN, &[], &key);
            prop_assert_eq!(open(of(&key)), Some(count));
            prop_assert_eq!(open(of(&other)), None);
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
                (hello.end(9, PacketSize::MIN, &key), |h, f, k| {
                    h.open_end(f, PacketSize::MIN, &[], k).is_some()
                }),
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
            let open = |frame| hello.open_end(&frame, PacketSize::MIN, &[], &key);
            prop_assert_eq!(open(hello.end_ack(5, &key)), None);
            prop_assert_eq!(open(other.end(5, PacketSize::MIN, &key)), None);
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
        let (client, server) = (nonce(0x11 << 120 | 1), nonce(0x22 << 120 | 2));
        let connection = key.of_connection(&Challenges { client, server });
        // From Python's hmac and hashlib, by the description at the top.
        for (frame, tag) in [
            (
                hello.encode(&key),
                0x4f50_f8d7_6d6c_31b3_1972_df5c_9ef4_ade1,
            ),
            (hello.ack(&key), 0xdd3e_4ae2_8def_1fdc_27a0_3684_b38b_efd4),
            (
                hello.end(42, PacketSize::MIN, &key),
                0xd55f_0dc6_d83a_67d4_0f4a_af15_c9b4_3999,
            ),
            (
                hello.end_ack(41, &key),
                0xcaf3_3105_e12d_8307_9a9a_e507_df28_7b24,
            ),
            (
                hello.encode(&connection),
                0xb190_3998_ce91_af2d_3500_eab0_1734_b751,
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
            Refusal::Version,
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
            let is_of_versions = refusal == Refusal::Version;
            let name = if is_of_versions {
                "REFUSED_PROTOCOL"
            } else {
                &name
            };
            assert_eq!(refusal.code().name(), name);
        }
        assert_eq!([0, 8, 0xFE].map(Refusal::from_number), [None; 3]);
        let hello = packet::blank(Kind::Hello);
        assert_eq!(
            [hello, *b"HTTP/1.1 400 Bad Request\r\n\r\n....", [0; 32]]
                .map(|frame| Refused::decode(&frame)),
            [None; 3]
        );
    }

    #[test]
    fn a_refusal_from_another_version_names_both() {
        for (refusal, version, named) in [
            (Refusal::Protocol, 0, "version 1 of the handshake"),
            (Refusal::Version, 3, "version 3 of the handshake"),
        ] {
            let mut frame = refusal.encode();
            frame[4] = version;
            let text = Refused::decode(&frame).unwrap().to_string();
            assert!(text.starts_with(refusal.reason()), "{text}");
            assert!(
                text.contains(named) && text.contains("this side version 2"),
                "{text}"
            );
        }
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
