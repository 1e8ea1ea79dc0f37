//! A stream of any frames, cut anywhere, read by workers that die at any store: the ledger
//! agrees with an oracle that has the whole stream at once.
//!
//! The oracle is a set of sequences and sums over it; it shares no code with the server but the
//! codecs.
#![no_main]

use std::{cell::RefCell, collections::HashSet};

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use metronome_proto::{
    handshake::{Key, Refused},
    limits::DURATION_MAX,
    packet::{FLAG_ECHO, FRAME_BYTES, Frame, MAGIC, Packet, Start, checksum, digest_with},
};
use metronome_server::testing::{Connection, Counted, HELLO, KEY, LOAD, START, WARM_UP_NS};

/// The server's reply queue, less what is kept free for the end-ack, when nothing of it is written.
const ECHOES_END_AT_FRAMES: usize = 254;

/// The period of the load, which has one packet a write.
const PERIOD_NS: u64 = 1_000;

/// The most entries of a stream: 24 × 255 packets fill the buffer three times; more takes time and
/// shows nothing new.
const ENTRIES_MAX: usize = 24;

#[derive(Arbitrary, Debug)]
struct Input {
    opening: Opening,
    frames: Vec<Sent>,
    /// Bytes of a frame that never came whole.
    partial_frame: u8,
    cuts: Vec<Cut>,
}

#[derive(Arbitrary, Debug)]
enum Opening {
    /// With the start behind it.
    Hello,
    HelloAlone,
    Forged([u8; 16]),
    Bytes([u8; 32]),
}

#[derive(Arbitrary, Debug)]
enum Sent {
    /// A start frame, that of the client or another one.
    Start {
        is_good: bool,
        client_is_another: bool,
        offset_ns: u64,
        start_ns: u64,
    },
    /// So many packets in order, from where the last in order ended.
    Packets(u8),
    /// One packet, wherever it belongs.
    Packet {
        client_is_another: bool,
        flags: u8,
        sequence: u64,
        is_near: bool,
        due_ns: u64,
        lateness_ns: u32,
    },
    /// A packet with one bit flipped.
    Corrupt {
        sequence: u64,
        bit: u8,
    },
    End {
        sent: u64,
        is_forged: bool,
    },
    Bytes([u8; 32]),
}

#[derive(Arbitrary, Debug)]
struct Cut {
    bytes: u16,
    /// Stores that the worker makes before it dies, and the one that takes over.
    deaths: Option<(u16, Option<u16>)>,
}

thread_local! {
    static CONNECTION: RefCell<Connection> =
        RefCell::new(Connection::open().expect("shared memory"));
}

fuzz_target!(|input: Input| {
    let stream = stream_of(&input);
    let counted =
        CONNECTION.with_borrow_mut(|connection| receive(connection, &stream, &input.cuts));
    compare(&stream, &counted);
});

fn receive(connection: &mut Connection, stream: &[u8], cuts: &[Cut]) -> Counted {
    connection.open_again().expect("shared memory");
    let (mut left, mut cuts) = (stream, cuts.iter());
    while !left.is_empty() {
        let cut = cuts.next();
        let bytes = cut
            .map_or(left.len(), |cut| usize::from(cut.bytes).max(1))
            .min(left.len())
            .min(60_000);
        let deaths = cut
            .and_then(|cut| cut.deaths)
            .map_or(vec![], |(first, second)| {
                [Some(first), second]
                    .into_iter()
                    .flatten()
                    .map(usize::from)
                    .collect()
            });
        let (batch, behind) = left.split_at(bytes);
        connection.receive(batch, &deaths);
        left = behind;
    }
    connection.counted()
}

fn stream_of(input: &Input) -> Vec<u8> {
    let key = Key::from_bytes(KEY);
    let mut stream = match input.opening {
        Opening::Hello => [HELLO.encode(&key), START.encode()].concat(),
        Opening::HelloAlone => HELLO.encode(&key).to_vec(),
        Opening::Forged(tag) => [&HELLO.encode(&key)[..16], &tag[..]].concat(),
        Opening::Bytes(bytes) => bytes.to_vec(),
    };
    let mut next = 0;
    for sent in input.frames.iter().take(ENTRIES_MAX) {
        match *sent {
            Sent::Start {
                is_good,
                client_is_another,
                offset_ns,
                start_ns,
            } => stream.extend(if is_good {
                START.encode()
            } else {
                Start {
                    client: START.client + u32::from(client_is_another),
                    offset_ns,
                    start_ns,
                }
                .encode()
            }),
            Sent::Packets(count) => {
                stream.extend(
                    (0..u64::from(count)).flat_map(|offset| packet(next + offset).encode()),
                );
                next += u64::from(count);
            }
            Sent::Packet {
                client_is_another,
                flags,
                sequence,
                is_near,
                due_ns,
                lateness_ns,
            } => {
                let client = u32::from(HELLO.client) + u32::from(client_is_another);
                let sequence = if is_near {
                    next.saturating_sub(2) + sequence % 5
                } else {
                    sequence
                };
                stream.extend(
                    Packet {
                        flags,
                        client,
                        sequence,
                        due_ns,
                        lateness_ns,
                    }
                    .encode(),
                );
            }
            Sent::Corrupt { sequence, bit } => {
                let mut frame = packet(sequence).encode();
                frame[usize::from(bit) / 8] ^= 1 << (bit % 8);
                stream.extend(frame);
            }
            Sent::End { sent, is_forged } => {
                let key = if is_forged {
                    Key::from_bytes([1; 32])
                } else {
                    key
                };
                stream.extend(HELLO.end(sent, &key));
            }
            Sent::Bytes(bytes) => stream.extend(bytes),
        }
    }
    stream.extend(
        packet(next)
            .encode()
            .iter()
            .take(usize::from(input.partial_frame) % FRAME_BYTES),
    );
    stream
}

fn packet(sequence: u64) -> Packet {
    let flags = if sequence % 7 == 3 { FLAG_ECHO } else { 0 };
    Packet {
        flags,
        client: u32::from(HELLO.client),
        sequence,
        due_ns: START.start_ns + sequence * PERIOD_NS,
        lateness_ns: sequence as u32,
    }
}

/// Packets off the schedule and places left out: the period is a whole number of ns, so a place is
/// a quotient.
fn places(packets: &[&Frame], start: &Start) -> Places {
    let packets = packets
        .iter()
        .filter_map(|frame| Packet::decode(frame).ok());
    let mut places = Places::default();
    let (mut place, mut next) = (0, 0);
    let planned = LOAD.packets().unwrap_or(0);
    for packet in packets {
        if packet.sequence < next {
            continue;
        }
        next = packet.sequence.saturating_add(1);
        let since_ns = packet.due_ns.wrapping_sub(start.start_ns);
        let taken = Some(since_ns / PERIOD_NS)
            .filter(|at| since_ns % PERIOD_NS == 0 && (place..planned).contains(at));
        match taken {
            Some(at) => {
                places.left_out += at - place;
                let is_warm = |place: &u64| place * PERIOD_NS + start.offset_ns < WARM_UP_NS;
                let first = place..at.min(place + WARM_UP_NS);
                places.warm_up_left_out += first.filter(is_warm).count() as u64;
                place = at + 1;
            }
            None => places.off_schedule += 1,
        }
    }
    places
}

/// What the due times of packets in order must show.
#[derive(Default)]
struct Places {
    off_schedule: u64,
    left_out: u64,
    warm_up_left_out: u64,
}

/// The one start frame that counts: the first that is one, of this client and of a run within 24 h.
fn start_of(frames: &[Frame]) -> Option<(usize, Start)> {
    let is_own = |start: &Start| {
        start.client == START.client && u128::from(start.offset_ns) < DURATION_MAX.as_nanos()
    };
    let starts = frames.iter().enumerate();
    let mut starts =
        starts.filter_map(|(at, frame)| Some((at, Start::decode(frame).ok().filter(is_own)?)));
    starts.next()
}

fn compare(stream: &[u8], counted: &Counted) {
    let (frames, rest) = stream.as_chunks::<FRAME_BYTES>();
    assert_eq!(
        (counted.bytes, counted.partial_frame_bytes),
        (stream.len() as u64, rest.len())
    );
    let first = frames.first().copied().unwrap_or_default();
    if first == HELLO.encode(&Key::from_bytes(KEY)) {
        compare_client(&frames[1..], counted);
    } else if first[..2] == MAGIC {
        assert!(counted.is_refused && counted.counts.received == 0 && counted.counts.corrupt == 0);
        assert!(matches!(counted.replies[..], [reply] if Refused::decode(&reply).is_some()));
    } else {
        assert!(counted.is_raw && counted.replies.is_empty());
        assert_eq!(counted.counts.received, frames.len() as u64);
        assert_eq!(counted.histogram_counts, [0; 4]);
    }
}

/// Each packet once in the sums, in the digest, in the histograms; what is not in order shows.
fn compare_client(frames: &[Frame], counted: &Counted) {
    let key = Key::from_bytes(KEY);
    let ending = |frame: &Frame| HELLO.open_end(frame, &key);
    let end = frames
        .iter()
        .position(|frame| ending(frame).is_some())
        .unwrap_or(frames.len());
    let own = |frame: &&Frame| {
        Packet::decode(frame).is_ok_and(|packet| packet.client == u32::from(HELLO.client))
    };
    // A packet before the start is none.
    let start = start_of(&frames[..end]);
    let first = start.map_or(end, |(at, _)| at + 1);
    let packets: Vec<&Frame> = frames[first..end].iter().filter(own).collect();
    let sequences: Vec<u64> = packets
        .iter()
        .filter_map(|frame| Packet::decode(frame).ok())
        .map(|p| p.sequence)
        .collect();

    let start_frame = start.map_or(START, |(_, start)| start);
    let places = places(&packets, &start_frame);

    assert_eq!(
        counted.counts.received + counted.counts.duplicated,
        packets.len() as u64
    );
    assert_eq!(
        counted.counts.corrupt,
        (frames.len()
            - packets.len()
            - usize::from(start.is_some())
            - usize::from(end < frames.len())) as u64
    );
    // The histogram of the spread has no packet that is the first in 5 to 10 s.
    let recorded = counted.counts.received - counted.counts.warm_up.unwrap_or(0);
    assert_eq!(counted.timed[..3], [recorded; 3]);
    assert!(counted.timed[3] <= recorded && counted.timed[3] + 1 >= recorded);
    if counted.counts.duplicated == 0 {
        let run_start_ns = start_frame.start_ns.wrapping_sub(start_frame.offset_ns);
        let is_warm = |packet: &Packet| packet.due_ns.wrapping_sub(run_start_ns) < WARM_UP_NS;
        let decoded = packets.iter().flat_map(|frame| Packet::decode(frame));
        assert_eq!(
            counted.counts.warm_up,
            Some(decoded.filter(is_warm).count() as u64)
        );
    }
    assert_eq!(counted.histogram_counts, counted.timed);
    assert_eq!(
        [
            counted.counts.off_schedule,
            counted.counts.left_out,
            counted.counts.warm_up_left_out
        ],
        [places.off_schedule, places.left_out, places.warm_up_left_out].map(Some)
    );
    assert_eq!(counted.reported_sent, frames.get(end).and_then(ending));
    let is_in_order = sequences.iter().copied().eq(0..sequences.len() as u64);
    assert_eq!(
        (
            counted.counts.gaps,
            counted.counts.duplicated,
            counted.counts.reordered
        ) == (0, 0, 0),
        is_in_order
    );
    assert_eq!(
        counted.next_sequence,
        sequences
            .iter()
            .max()
            .map_or(0, |last| last.saturating_add(1))
    );
    let distinct = sequences.iter().collect::<HashSet<_>>().len() as u64;
    assert!(
        counted.counts.received >= distinct,
        "a packet that came for the first time was called a duplicate"
    );
    if counted.counts.duplicated == 0 {
        let add = |digest, frame: &&Frame| {
            Packet::decode(frame).map_or(digest, |packet| {
                digest_with(digest, packet.sequence, checksum(frame))
            })
        };
        assert_eq!(counted.digest, packets.iter().fold(0, add));
    }
    compare_replies(&packets, end < frames.len(), counted);
}

/// The ack, the echoes that there is room for, the end-ack.
fn compare_replies(packets: &[&Frame], has_ended: bool, counted: &Counted) {
    let key = Key::from_bytes(KEY);
    let echoes = packets
        .iter()
        .copied()
        .copied()
        .filter(|frame| frame[3] & FLAG_ECHO != 0);
    let mut replies: Vec<Frame> = [HELLO.ack(&key)]
        .into_iter()
        .chain(echoes)
        .take(ECHOES_END_AT_FRAMES)
        .collect();
    replies.extend(has_ended.then(|| HELLO.end_ack(counted.counts.received, &key)));
    assert_eq!(counted.replies, replies);
}
