//! What arrives of packets of any size, byte by byte, wherever the kernel cuts a write.

use std::{
    io::Read as _,
    net::TcpStream,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metronome_proto::packet::{FLAG_ECHO, Packet, Start, checksum, digest_with};
use proptest::prelude::*;

use super::{tests::client_with, *};
use crate::payload::{GroupSource, PacketId, Pattern, PayloadSource, Records};

const START_NS: u64 = 1_000;
/// Place n is due n µs after the start.
const SCHEDULE: Schedule = Schedule::constant(START_NS, 1_000_000_000, 1, 10_000_000);
const CLIENT: u32 = 3;
const RECORDS: u64 = 3;

#[derive(Clone, Copy, Debug)]
enum Source {
    Zeros,
    Pattern,
    Records,
}

impl Source {
    fn of(self, size: PacketSize) -> Option<Arc<GroupSource>> {
        let source: Arc<dyn PayloadSource> = match self {
            _ if size == PacketSize::MIN => return None,
            Self::Zeros => return None,
            Self::Pattern => Arc::new(Pattern),
            Self::Records => {
                let record = |n: u64| vec![n as u8 + 1; size.payload_bytes()];
                let data: Vec<u8> = (0..RECORDS).flat_map(record).collect();
                Arc::new(Records::new(data.into(), size.bytes() as u32).unwrap())
            }
        };
        Some(GroupSource::new("default", "source", source).into())
    }

    /// By the plan's own words, without the code above.
    fn byte(self, sequence: u64, at: usize) -> u8 {
        match self {
            Self::Zeros => 0,
            Self::Pattern => ((sequence + at as u64) % 256) as u8,
            Self::Records => ((u64::from(CLIENT) + sequence) % RECORDS) as u8 + 1,
        }
    }
}

fn sizes() -> impl Strategy<Value = PacketSize> {
    let named = prop_oneof![Just(32), Just(33), Just(200), Just(1472)];
    let any = prop_oneof![named, 32..=1472_u32];
    any.prop_map(|bytes| PacketSize::new(bytes).unwrap())
}

fn sources() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Zeros),
        Just(Source::Pattern),
        Just(Source::Records)
    ]
}

/// Reads one packet and checks every byte of it.
fn check_next(
    peer: &mut TcpStream,
    size: PacketSize,
    source: Source,
    echo_every: u64,
    sequence: u64,
) -> Packet {
    let mut bytes = vec![0; size.bytes()];
    peer.read_exact(&mut bytes).unwrap();
    let (header, payload) = bytes.split_first_chunk().unwrap();
    let packet = Packet::decode(header, payload).unwrap();
    assert_eq!((packet.client, packet.sequence), (CLIENT, sequence));
    let asks = echo_every > 0 && sequence.is_multiple_of(echo_every);
    assert_eq!(packet.flags, if asks { FLAG_ECHO } else { 0 });
    for (at, byte) in payload.iter().enumerate() {
        assert_eq!(*byte, source.byte(sequence, at), "byte {at} of {sequence}");
    }
    packet
}

/// The next write ends after so many bytes.
fn limit(client: &Client, room: usize) {
    client.connection.room.store(room, Relaxed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exactly_the_bytes_of_the_plan_arrive_wherever_writes_are_cut(
        size in sizes(), source in sources(), echo_every in 0..5_u32, is_flood: bool,
        // Packets that get due, and where the kernel cuts the writes, in thousandths of a packet.
        steps in prop::collection::vec((1..6_u64, 0..3_000_usize), 1..30),
    ) {
        let packets = Packets::new(size, NonZeroU32::new(echo_every), source.of(size));
        let (mut client, mut peer) = client_with(packets);
        if is_flood {
            client.due_times = None;
        } else {
            client.set_schedule(SCHEDULE.into(), 0);
        }
        let mut send_buffer = SendBuffer::new();
        client.send_start(START_NS, &mut send_buffer);
        let mut start = vec![0; size.bytes()];
        peer.read_exact(&mut start).unwrap();
        let (header, zeros) = start.split_first_chunk().unwrap();
        prop_assert!(Start::decode(header, size, zeros).is_ok());

        let (mut due, mut checked, mut digest, mut requests) = (0, 0, 0, 0);
        let mut check = |client: &Client, peer: &mut TcpStream| {
            while checked < client.sent() {
                let packet = check_next(peer, size, source, echo_every.into(), checked);
                let header = header_of(&packet, size, source);
                digest = digest_with(digest, checked, checksum(&header));
                requests += u64::from(packet.flags & FLAG_ECHO);
                checked += 1;
            }
        };
        for (more, cut) in steps {
            let now_ns = START_NS + due * 1_000;
            due += more;
            limit(&client, cut * size.bytes() / 1_000);
            if is_flood {
                client.flood_send(more, now_ns, &mut send_buffer);
            } else {
                client.send_due(due, now_ns, &mut send_buffer);
            }
            // What was written whole has arrived, whatever was written in part.
            check(&client, &mut peer);
        }
        if !is_flood {
            while client.has_backlog() {
                client.write_backlog(START_NS + due * 1_000, &mut send_buffer);
            }
        }
        prop_assert!(client.finish_partial(&mut send_buffer).unwrap());
        check(&client, &mut peer);
        let record = client.record();
        let counts = record.counts.unwrap();
        prop_assert_eq!(record.digest, digest);
        prop_assert_eq!(counts.replies_requested, Some(requests));
        prop_assert_eq!(client.replies_requested(), requests);
        prop_assert_eq!(send_buffer.replies_requested, requests);
        prop_assert_eq!(counts.scheduled, counts.sent + counts.skipped);
        prop_assert_eq!(send_buffer.sent, counts.sent);
        if !is_flood {
            prop_assert_eq!((counts.sent, counts.skipped), (due, 0));
        }
        drop(client);
        prop_assert_eq!(peer.read(&mut [0]).unwrap(), 0, "nothing else arrives");
    }
}

/// The header once more, from its fields and the payload of the plan.
fn header_of(packet: &Packet, size: PacketSize, source: Source) -> Frame {
    let byte = |at| source.byte(packet.sequence, at);
    let payload: Vec<u8> = (0..size.payload_bytes()).map(byte).collect();
    packet.encode(&payload)
}

#[test]
fn a_packet_that_is_cut_at_any_byte_arrives_whole_and_counts_once_it_has() {
    for bytes in [32, 33, 200, 1472] {
        let size = PacketSize::new(bytes).unwrap();
        let packets = Packets::new(size, NonZeroU32::new(2), Source::Pattern.of(size));
        let (mut client, mut peer) = client_with(packets);
        let mut send_buffer = SendBuffer::new();
        for (place, cut) in (1..size.bytes()).enumerate() {
            let now_ns = START_NS + place as u64 * 1_000;
            limit(&client, cut);
            client.send_due(place as u64 + 1, now_ns, &mut send_buffer);
            assert_eq!(
                client.sent(),
                place as u64,
                "{cut} of {bytes} bytes are no packet"
            );
            assert!(client.has_backlog());
            client.write_backlog(now_ns + 5_000, &mut send_buffer);
            assert_eq!(client.sent(), place as u64 + 1);
            let packet = check_next(&mut peer, size, Source::Pattern, 2, place as u64);
            assert_eq!(
                (packet.due_ns, packet.lateness_ns),
                (now_ns, 0),
                "its first stamp"
            );
        }
        let counts = client.record().counts.unwrap();
        assert_eq!(counts.replies_requested, Some(counts.sent.div_ceil(2)));
        assert_eq!(counts.blocked, counts.sent);
    }
}

#[test]
fn the_kernel_acknowledges_whole_packets_of_the_size_and_neither_start_nor_end() {
    let size = PacketSize::new(200).unwrap();
    let (mut client, mut peer) = client_with(Packets::new(size, None, None));
    let mut send_buffer = SendBuffer::new();
    client.send_start(START_NS, &mut send_buffer);
    client.send_due(10, START_NS + 9_000, &mut send_buffer);
    client.note_closing(client.connection.send(&[0; 200]).unwrap());
    peer.read_exact(&mut [0; 12 * 200]).unwrap();
    let deadline_ns = metronome_os::clock::now_ns() + 10_000_000_000;
    while !client.has_arrived() && metronome_os::clock::now_ns() < deadline_ns {
        std::thread::yield_now();
    }
    let bytes = client.record().kernel_acknowledged_bytes;
    assert!(bytes.is_none_or(|bytes| bytes == 10 * 200), "{bytes:?}");
}

/// Panics at the packet of this sequence.
struct PanicsAt(AtomicU64);

impl PayloadSource for PanicsAt {
    fn fill(&self, packet: PacketId<'_>, payload: &mut [u8]) {
        assert_ne!(packet.sequence, self.0.load(Relaxed), "no reading");
        payload.fill(1);
    }
}

#[test]
fn a_source_that_panics_ends_the_packets_of_its_client_and_nothing_is_lost() {
    let size = PacketSize::new(40).unwrap();
    for is_flood in [false, true] {
        let source = GroupSource::new("pumps", "readings", Arc::new(PanicsAt(25.into())));
        let packets = Packets::new(size, None, Some(source.into()));
        let (mut client, mut peer) = client_with(packets);
        if is_flood {
            client.due_times = None;
        }
        let mut send_buffer = SendBuffer::new();
        for due in 1..=5_u64 {
            let now_ns = START_NS + due * 10_000;
            if is_flood {
                client.flood_send(10, now_ns, &mut send_buffer);
            } else {
                client.send_due(due * 10, now_ns, &mut send_buffer);
            }
        }
        // Not even those that were stamped in the write of the panic.
        assert_eq!(client.sent(), 20);
        assert!(send_buffer.has_failed_source);
        assert!(!client.is_broken() && !client.has_backlog());
        let record = client.record();
        let counts = record.counts.unwrap();
        assert_eq!(counts.scheduled, if is_flood { 20 } else { 50 });
        assert_eq!(counts.scheduled, counts.sent + counts.skipped);
        assert_eq!(
            send_buffer.scheduled,
            send_buffer.sent + send_buffer.skipped
        );
        let failure = record.failure.unwrap();
        assert_eq!(failure.code(), FailureCode::PayloadNotUsable);
        assert_eq!(client.source_failure(), Some(&failure));
        drop(client);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), 20 * 40);
    }
}
