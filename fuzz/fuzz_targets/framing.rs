//! A stream of any frames of any size, cut anywhere, read by workers that die at any store: the
//! ledger agrees with an oracle that has the whole stream at once.
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
    packet::{FLAG_ECHO, FRAME_BYTES, Frame, MAGIC, Packet, Reply, Start, checksum, digest_with},
    packet_size::PacketSize,
    payload::write_pattern,
};
use metronome_server::testing::{Connection, Counted, HELLO, KEY, LOAD, START, WARM_UP_NS};

/// The server's reply queue, less what is kept free for the end-ack, when nothing of it is written.
const REPLIES_END_AT_FRAMES: usize = 254;

/// Bytes of the packets of a connection: the smallest, the largest, and some that are no whole
/// number of words.
const SIZES: [u32; 6] = [32, 33, 200, 1_001, 1_471, 1_472];

/// The period of the load, which has one packet a write.
const PERIOD_NS: u64 = 1_000;

/// The most entries of a stream: 24 × 255 packets fill the buffer three times; more takes time and
/// shows nothing new.
const ENTRIES_MAX: usize = 24;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Which of [`SIZES`] its packets have.
    size: u8,
    opening: Opening,
    frames: Vec<Sent>,
    /// Bytes of a frame that never came whole.
    partial_frame: u16,
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
        has_noise: bool,
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
        bit: u16,
    },
    End {
        sent: u64,
        is_forged: bool,
        has_noise: bool,
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
    static CONNECTIONS: RefCell<[Connection; SIZES.len()]> =
        RefCell::new(SIZES.map(|bytes| {
            Connection::open_for(size_of(bytes)).expect("shared memory")
        }));
}

fuzz_target!(|input: Input| {
    let place = usize::from(input.size) % SIZES.len();
    let size = size_of(SIZES[place]);
    let stream = stream_of(&input, size);
    let counted = CONNECTIONS
        .with_borrow_mut(|connections| receive(&mut connections[place], &stream, &input.cuts));
    compare(&stream, size, &counted);
});

fn size_of(bytes: u32) -> PacketSize {
    PacketSize::new(bytes).expect("a size of packets")
}

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

/// A frame that is no packet: zeros follow its header, or noise at the end of them.
fn filled(header: Frame, size: PacketSize, has_noise: bool) -> Vec<u8> {
    let mut frame = [&header[..], size.zeros()].concat();
    if let Some(last) = frame[FRAME_BYTES..].last_mut() {
        *last = u8::from(has_noise);
    }
    frame
}

/// A packet with a payload that differs from packet to packet.
fn authenticated(packet: Packet, size: PacketSize) -> Vec<u8> {
    let mut payload = vec![0; size.payload_bytes()];
    write_pattern(packet.sequence, &mut payload);
    [&packet.encode(&payload)[..], &payload].concat()
}

/// The packet of these bytes, of a client's size.
fn opened(frame: &[u8]) -> Option<Packet> {
    let (header, payload) = frame.split_first_chunk()?;
    Packet::decode(header, payload).ok()
}

fn stream_of(input: &Input, size: PacketSize) -> Vec<u8> {
    let key = Key::from_bytes(KEY);
    let start = filled(START.encode(size), size, false);
    let mut stream = match input.opening {
        Opening::Hello => [&HELLO.encode(&key)[..], &start].concat(),
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
                has_noise,
            } => stream.extend(if is_good {
                start.clone()
            } else {
                let start = Start {
                    client: START.client + u32::from(client_is_another),
                    offset_ns,
                    start_ns,
                };
                filled(start.encode(size), size, has_noise)
            }),
            Sent::Packets(count) => {
                let sequences = next..next + u64::from(count);
                stream.extend(sequences.flat_map(|sequence| authenticated(packet(sequence), size)));
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
                let packet = Packet {
                    flags,
                    client,
                    sequence,
                    due_ns,
                    lateness_ns,
                };
                stream.extend(authenticated(packet, size));
            }
            Sent::Corrupt { sequence, bit } => {
                let mut frame = authenticated(packet(sequence), size);
                frame[usize::from(bit) / 8 % size.bytes()] ^= 1 << (bit % 8);
                stream.extend(frame);
            }
            Sent::End {
                sent,
                is_forged,
                has_noise,
            } => {
                let key = if is_forged {
                    Key::from_bytes([1; 32])
                } else {
                    key
                };
                stream.extend(filled(HELLO.end(sent, size, &key), size, has_noise));
            }
            Sent::Bytes(bytes) => stream.extend(bytes.iter().cycle().take(size.bytes())),
        }
    }
    let partial = authenticated(packet(next), size);
    let bytes = usize::from(input.partial_frame) % size.bytes();
    stream.extend(&partial[..bytes]);
    stream
}

fn packet(sequence: u64) -> Packet {
    let flags = if sequence % 7 == 3 { FLAG_ECHO } else { 0 };
    Packet {
        flags,
        client: u32::from(HELLO.client),
        sequence,
        // Of a corrupt one the sequence is any number.
        due_ns: START
            .start_ns
            .wrapping_add(sequence.wrapping_mul(PERIOD_NS)),
        lateness_ns: sequence as u32,
    }
}

/// Packets off the schedule and places left out: the period is a whole number of ns, so a place is
/// a quotient.
fn places(packets: &[&[u8]], start: &Start) -> Places {
    let packets = packets.iter().filter_map(|frame| opened(frame));
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
fn start_of(frames: &[&[u8]], size: PacketSize) -> Option<(usize, Start)> {
    let is_own = |start: &Start| {
        start.client == START.client && u128::from(start.offset_ns) < DURATION_MAX.as_nanos()
    };
    let starts = frames.iter().enumerate();
    let mut starts = starts.filter_map(|(at, frame)| {
        let (header, rest) = frame.split_first_chunk()?;
        let start = Start::decode(header, size, rest).ok().filter(is_own)?;
        Some((at, start))
    });
    starts.next()
}

fn compare(stream: &[u8], size: PacketSize, counted: &Counted) {
    assert_eq!(counted.bytes, stream.len() as u64);
    if let Some(behind) = stream.strip_prefix(&HELLO.encode(&Key::from_bytes(KEY))) {
        let frames = behind.chunks_exact(size.bytes());
        assert_eq!(counted.partial_frame_bytes, frames.remainder().len());
        return compare_client(&frames.collect::<Vec<_>>(), size, counted);
    }
    let (frames, rest) = stream.as_chunks::<FRAME_BYTES>();
    assert_eq!(counted.partial_frame_bytes, rest.len());
    let first = frames.first().copied().unwrap_or_default();
    if first[..2] == MAGIC {
        assert!(counted.is_refused && counted.counts.received == 0 && counted.counts.corrupt == 0);
        assert!(matches!(counted.replies[..], [reply] if Refused::decode(&reply).is_some()));
    } else {
        assert!(counted.is_raw && counted.replies.is_empty());
        assert_eq!(counted.counts.received, frames.len() as u64);
        assert_eq!(counted.histogram_counts, [0; 6]);
    }
}

/// Each packet once in the sums, in the digest, in the histograms; what is not in order shows.
fn compare_client(frames: &[&[u8]], size: PacketSize, counted: &Counted) {
    let key = Key::from_bytes(KEY);
    let ending = |frame: &&[u8]| {
        let (header, rest) = frame.split_first_chunk()?;
        HELLO.open_end(header, size, rest, &key)
    };
    let end = frames
        .iter()
        .position(|frame| ending(frame).is_some())
        .unwrap_or(frames.len());
    let own = |frame: &&[u8]| {
        opened(frame).is_some_and(|packet| packet.client == u32::from(HELLO.client))
    };
    // A packet before the start is none.
    let start = start_of(&frames[..end], size);
    let first = start.map_or(end, |(at, _)| at + 1);
    let packets: Vec<&[u8]> = frames[first..end].iter().copied().filter(own).collect();
    let decoded: Vec<Packet> = packets.iter().filter_map(|frame| opened(frame)).collect();
    let sequences: Vec<u64> = decoded.iter().map(|packet| packet.sequence).collect();

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
        assert_eq!(
            counted.counts.warm_up,
            Some(decoded.iter().copied().filter(is_warm).count() as u64)
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
        let add = |digest, frame: &&[u8]| {
            let packet = opened(frame).zip(frame.first_chunk());
            packet.map_or(digest, |(packet, header)| {
                digest_with(digest, packet.sequence, checksum(header))
            })
        };
        assert_eq!(counted.digest, packets.iter().fold(0, add));
    }
    compare_replies(&decoded, end < frames.len(), counted);
}

/// The ack, the replies that there is room for, the end-ack. What came twice gets no reply again.
fn compare_replies(packets: &[Packet], has_ended: bool, counted: &Counted) {
    let key = Key::from_bytes(KEY);
    let (mut next, mut gaps, mut wanted) = (0, 0, Vec::new());
    for packet in packets {
        if packet.sequence >= next {
            gaps += packet.sequence - next;
            next = packet.sequence.saturating_add(1);
        } else if gaps > 0 {
            gaps -= 1;
        } else {
            continue;
        }
        if packet.flags & FLAG_ECHO != 0 {
            wanted.push(Reply::to(packet).encode());
        }
    }
    let mut replies = vec![HELLO.ack(&key)];
    let sent = wanted.len().min(REPLIES_END_AT_FRAMES - replies.len());
    assert_eq!(counted.counts.replies_wanted, Some(wanted.len() as u64));
    assert_eq!(counted.counts.replies_dropped, Some((wanted.len() - sent) as u64));
    replies.extend(&wanted[..sent]);
    replies.extend(has_ended.then(|| HELLO.end_ack(counted.counts.received, &key)));
    assert_eq!(counted.replies, replies);
}
