//! A worker that reads, commits, handles and marks, with a death at every store and in the handler
//! itself: whatever dies when, no packet that was counted is left unhandled.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::atomic::AtomicU64,
    time::Duration,
};

use metronome_proto::{
    handshake::{Challenges, Hello, Key, Nonce, Refusal},
    load::Load,
    packet::{Frame, Packet, Start},
    packet_size::PacketSize,
    profile::Profile,
};
use proptest::prelude::*;

use super::*;
use crate::{
    ledger::{
        AgentLine, Authenticate, Authenticated, ClientLoad, Dimensions, Ledger, ReleaseStore,
        place_partial_frame, process_batch, replay,
    },
    model::ClockRelation,
};

const HELLO: Hello = Hello {
    run: RunId::from_bits(5),
    agent: 0,
    client: 3,
    attempt: 1,
};

fn key() -> Key {
    Key::from_bytes([9; 32])
}

/// Lets the one client in, with packets of this size, and raw ones.
struct Door(PacketSize);

impl Authenticate for Door {
    fn challenge(&self, _: &Frame) -> Result<Nonce, Refusal> {
        Err(Refusal::Protocol)
    }

    fn client(&self, hello: &Frame, _: Option<&Challenges>) -> Result<Authenticated, Refusal> {
        Ok(Authenticated {
            hello: Hello::open(hello, &key()).ok_or(Refusal::Hello)?,
            clock: ClockRelation::Same,
            load: self.load(),
            is_probes: false,
            group: 0,
            row: 0,
        })
    }

    fn line_of(&self, _: &ConnectionCounters) -> Option<&AgentLine> {
        None
    }

    fn raw(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn key_of(&self, _: &ConnectionCounters, _: Option<&Challenges>) -> Option<Key> {
        Some(key())
    }
}

impl Door {
    /// One of 32 bytes has none, as in the static run.
    fn load(&self) -> Option<ClientLoad> {
        let load = Load {
            profile: Profile::constant(1_000_000),
            duration: Duration::from_secs(10),
            batch: 1,
            seed: 1,
        };
        (self.0 > PacketSize::MIN).then_some(ClientLoad {
            packet_size: self.0,
            load,
            warm_up_ns: 0,
        })
    }
}

/// A writer that dies after a number of stores.
struct Mortal(Cell<usize>);

impl CommitWriter for Mortal {
    fn store(&self, cell: &AtomicU64, value: u64) {
        let left = self.0.get().checked_sub(1);
        self.0
            .set(left.unwrap_or_else(|| resume_unwind(Box::new("died"))));
        ReleaseStore.store(cell, value);
    }
}

/// What a handler was given, across the deaths of its workers.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<u64>>>);

/// A handler that keeps the sequences, and dies in front of its packet number `dies_at`.
struct Recorder {
    seen: Seen,
    dies_at: Option<usize>,
    size: PacketSize,
}

impl PacketHandler for Recorder {
    fn handle(&mut self, batch: &PacketBatch<'_>) {
        assert_eq!(
            (batch.run(), batch.client()),
            (HELLO.run, HELLO.client.into())
        );
        assert!(batch.packets().next().is_some(), "no empty batches");
        for packet in batch.packets() {
            if self.dies_at.take_if(|left| *left == 0).is_some() {
                resume_unwind(Box::new("died in the handler"));
            }
            self.dies_at = self.dies_at.map(|left| left - 1);
            assert_eq!(packet.due_ns, due_ns(packet.sequence));
            assert_eq!(packet.payload, payload(packet.sequence, self.size));
            self.seen.0.borrow_mut().push(packet.sequence);
        }
    }
}

fn due_ns(sequence: u64) -> u64 {
    1_000 + sequence
}

fn payload(sequence: u64, size: PacketSize) -> Vec<u8> {
    vec![sequence as u8 + 1; size.payload_bytes()]
}

fn packet(sequence: u64, size: PacketSize) -> Vec<u8> {
    let payload = payload(sequence, size);
    let header = Packet {
        flags: 0,
        client: HELLO.client.into(),
        sequence,
        due_ns: due_ns(sequence),
        lateness_ns: 7,
    }
    .encode(&payload);
    [&header[..], &payload].concat()
}

fn conversation(packets: u64, size: PacketSize) -> Vec<u8> {
    let mut bytes = HELLO.encode(&key()).to_vec();
    if size > PacketSize::MIN {
        let start = Start {
            client: HELLO.client.into(),
            offset_ns: 0,
            start_ns: 1_000,
        };
        bytes.extend(start.encode(size));
        bytes.extend(size.zeros());
    }
    bytes.extend((0..packets).flat_map(|sequence| packet(sequence, size)));
    bytes.extend(HELLO.end(packets, size, &key()));
    bytes.extend(size.zeros());
    bytes
}

/// How one worker after the other ends: after so many stores, or in front of a packet of its
/// handler. The one behind the last of them lives.
#[derive(Clone, Copy, Debug)]
enum Death {
    AfterStores(usize),
    AtPacket(usize),
}

/// A connection whose bytes arrive in pieces, and the kernel's count of what was taken.
struct World<'a> {
    ledger: Ledger,
    pieces: Vec<&'a [u8]>,
    taken: usize,
    seen: Seen,
    size: PacketSize,
}

impl<'a> World<'a> {
    /// With packets of 32 bytes.
    fn new(bytes: &'a [u8], cuts: &[usize]) -> Self {
        Self::with(PacketSize::MIN, bytes, cuts)
    }

    fn with(size: PacketSize, bytes: &'a [u8], cuts: &[usize]) -> Self {
        let (mut pieces, mut left) = (Vec::new(), bytes);
        for cut in cuts {
            let (piece, rest) = left.split_at((*cut).min(left.len()));
            pieces.push(piece);
            left = rest;
        }
        pieces.push(left);
        pieces.retain(|piece| !piece.is_empty());
        Self {
            ledger: Ledger::create(Dimensions { slots: 1 }).unwrap(),
            pieces,
            taken: 0,
            seen: Seen::default(),
            size,
        }
    }

    fn slot(&self) -> &Slot {
        &self.ledger.slots()[0]
    }

    fn counters(&self) -> ConnectionCounters {
        self.slot().counters().unwrap()
    }

    /// What is left of the pieces.
    fn next_piece(&self) -> Option<&'a [u8]> {
        let mut start = 0;
        let is_next = |piece: &&&[u8]| {
            let is_next = start == self.taken;
            start += piece.len();
            is_next
        };
        self.pieces.iter().find(is_next).copied()
    }

    fn receive(&mut self, counters: &ConnectionCounters, bytes: &[u8], writer: &impl CommitWriter) {
        let at = place_partial_frame(self.slot(), counters, writer);
        for (position, byte) in (at..).zip(bytes) {
            let word = &self.slot().buffer.0[position / 8];
            let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
            value[position % 8] = *byte;
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
        self.taken += bytes.len();
    }

    /// One worker from its start to its end or to that of the connection.
    fn work(
        &mut self,
        handling: &mut Handling,
        writer: &impl CommitWriter,
    ) -> Result<(), NotHandled> {
        let mut counters = self.counters();
        handling.adopt(self.slot(), &counters, writer)?;
        while let Some(piece) = self.next_piece() {
            self.receive(&counters, piece, writer);
            let read = (piece.len(), self.taken as u64);
            let mut check = self.slot().load_check(&counters);
            process_batch(
                self.slot(),
                &mut counters,
                &mut check,
                read,
                &Door(self.size),
                writer,
            );
            handling.handle(self.slot(), &counters, writer)?;
        }
        Ok(())
    }

    /// The master behind a worker that has died.
    fn recover(&self) {
        let mut counters = self.counters();
        let left = self.taken - counters.bytes as usize;
        if left > 0 {
            let now_ns = self.taken as u64;
            replay(
                self.slot(),
                &mut counters,
                left,
                now_ns,
                &Door(self.size),
                &ReleaseStore,
            );
        }
    }

    /// Workers die one after the other. Returns how many did.
    fn live_through(&mut self, deaths: &[Death]) -> Result<usize, NotHandled> {
        let mut died = 0;
        for death in deaths {
            let (stores, dies_at) = match death {
                Death::AfterStores(stores) => (*stores, None),
                Death::AtPacket(packets) => (usize::MAX, Some(*packets)),
            };
            let seen = self.seen.clone();
            let mut handling = Handling::new(Box::new(Recorder {
                seen,
                dies_at,
                size: self.size,
            }));
            let writer = Mortal(Cell::new(stores));
            let worked = catch_unwind(AssertUnwindSafe(|| self.work(&mut handling, &writer)));
            match worked {
                Ok(Ok(())) => return Ok(died),
                Ok(Err(error)) => return Err(error),
                Err(_) => died += 1,
            }
            self.recover();
        }
        let seen = self.seen.clone();
        let dies_at = None;
        let mut handling = Handling::new(Box::new(Recorder {
            seen,
            dies_at,
            size: self.size,
        }));
        self.work(&mut handling, &ReleaseStore)?;
        Ok(died)
    }

    /// No packet is missing, and in front of a repeat no later one comes than was seen.
    fn assert_handled(&self, packets: u64, died: usize) {
        let counters = self.counters();
        assert_eq!(counters.counts.received, packets);
        let seen = self.seen.0.borrow();
        let (mut next, mut repeats) = (0, 0);
        for sequence in &*seen {
            assert!(*sequence <= next, "{sequence} before {next}: {seen:?}");
            repeats += u64::from(*sequence < next);
            next = next.max(sequence + 1);
        }
        assert_eq!(next, packets, "{seen:?}");
        assert!(died > 0 || repeats == 0, "{seen:?}");
        let mark = Mark::from_word(self.slot().handled()).unwrap();
        assert_eq!((mark.bytes, mark.tries), (counters.bytes, 0));
    }
}

/// The law of the packet handler.
#[test]
fn a_death_at_any_store_leaves_no_packet_unhandled() {
    let size = PacketSize::new(44).unwrap();
    let of_44 = conversation(9, size);
    let of_32 = conversation(9, PacketSize::MIN);
    let mut deaths = 0;
    for (size, bytes, cuts) in [
        (PacketSize::MIN, &of_32, &[77, 55][..]),
        (PacketSize::MIN, &of_32, &[32, 64, 1, 31]),
        (PacketSize::MIN, &of_32, &[]),
        (size, &of_44, &[77, 55]),
        (size, &of_44, &[32 + 44 + 2, 40, 7, 88]),
    ] {
        for first in 0..400 {
            let mut has_died = false;
            for second in [0, 1, 2, 17, 40, usize::MAX] {
                let mut world = World::with(size, bytes, cuts);
                let plan = [first, second].map(Death::AfterStores);
                let died = world.live_through(&plan).unwrap();
                world.assert_handled(9, died);
                has_died |= died > 0;
                deaths += died;
            }
            if !has_died {
                break;
            }
        }
    }
    assert!(deaths > 500, "only {deaths} deaths were tried");
}

#[test]
fn a_death_in_the_handler_repeats_the_batch_and_nothing_before_it() {
    let bytes = conversation(9, PacketSize::MIN);
    for at in 0..9 {
        let mut world = World::new(&bytes, &[32 + 3 * 32, 3 * 32]);
        assert_eq!(world.live_through(&[Death::AtPacket(at)]), Ok(1));
        world.assert_handled(9, 1);
        let repeats = world.seen.0.borrow().len() - 9;
        assert_eq!(
            repeats,
            at % 3,
            "packets of the same batch that came before"
        );
    }
}

#[test]
fn the_third_death_in_one_batch_is_the_last_one() {
    let bytes = conversation(9, PacketSize::MIN);
    let cuts = [32 + 3 * 32, 3 * 32];
    let dies = [Death::AtPacket(4), Death::AtPacket(1), Death::AtPacket(1)];
    let mut world = World::new(&bytes, &cuts);
    assert_eq!(world.live_through(&dies), Err(NotHandled::Failed));
    assert_eq!(*world.seen.0.borrow(), [0, 1, 2, 3, 3, 3]);
    // Two in a row, and the third in the next batch: all goes on.
    let mut world = World::new(&bytes, &cuts);
    let dies = [4, 1, 4].map(Death::AtPacket);
    assert_eq!(world.live_through(&dies), Ok(3));
    world.assert_handled(9, 3);
}

#[test]
fn of_a_connection_that_others_have_read_what_comes_from_here_on_is_handled() {
    let bytes = conversation(9, PacketSize::MIN);
    let mut world = World::new(&bytes, &[32 + 3 * 32 + 5]);
    let piece = world.next_piece().unwrap();
    let mut counters = world.counters();
    forget(world.slot(), &ReleaseStore);
    world.receive(&counters, piece, &ReleaseStore);
    let mut check = world.slot().load_check(&counters);
    let read = (piece.len(), 1);
    process_batch(
        world.slot(),
        &mut counters,
        &mut check,
        read,
        &Door(world.size),
        &ReleaseStore,
    );
    assert_eq!(world.slot().handled(), 0);
    assert_eq!(world.live_through(&[]), Ok(0));
    assert_eq!(*world.seen.0.borrow(), [3, 4, 5, 6, 7, 8]);
    forget(world.slot(), &ReleaseStore);
    assert_eq!(world.slot().handled(), 0);
}

#[test]
fn a_mark_that_does_not_fit_the_counters_is_refused_and_hands_on_nothing() {
    let bytes = conversation(9, PacketSize::MIN);
    for bytes_marked in [1 << 50, bytes.len() as u64 + 1] {
        let mut world = World::new(&bytes, &[]);
        world.live_through(&[]).unwrap();
        world.seen.0.borrow_mut().clear();
        let mark = Mark::at(bytes_marked).to_word();
        world.slot().set_handled(mark, &ReleaseStore);
        assert_eq!(world.live_through(&[]), Err(NotHandled::Impossible));
        assert!(world.seen.0.borrow().is_empty());
    }
    let far_behind = ConnectionCounters {
        bytes: 1 << 20,
        ..ConnectionCounters::default()
    };
    let world = World::new(&bytes, &[]);
    world
        .slot()
        .set_handled(Mark::at(5).to_word(), &ReleaseStore);
    let seen = world.seen.clone();
    let mut handling = Handling::new(Box::new(Recorder {
        seen,
        dies_at: None,
        size: world.size,
    }));
    let handled = handling.adopt(world.slot(), &far_behind, &ReleaseStore);
    assert_eq!(handled, Err(NotHandled::Impossible));
}

#[test]
fn what_is_no_packet_of_a_client_is_not_handed_on() {
    let foreign = Packet {
        flags: 0,
        client: 4,
        sequence: 0,
        due_ns: due_ns(0),
        lateness_ns: 0,
    }
    .encode(&[]);
    let mut damaged = packet(0, PacketSize::MIN);
    damaged[9] ^= 1;
    let hello = HELLO.encode(&key()).to_vec();
    let client = [&hello[..], &foreign, &damaged, &packet(0, PacketSize::MIN)].concat();
    for (bytes, handled) in [
        (client, vec![0]),
        (packet(0, PacketSize::MIN), vec![]),
        (vec![b'x'; 96], vec![]),
    ] {
        let mut world = World::new(&bytes, &[]);
        assert_eq!(world.live_through(&[]), Ok(0));
        assert_eq!(*world.seen.0.borrow(), handled);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_a_stream_is_split_and_whoever_dies_each_packet_is_handled(
        bytes in 32..300_u32,
        cuts in prop::collection::vec(1..150_usize, 0..12),
        deaths in prop::collection::vec(
            prop_oneof![
                (0..120_usize).prop_map(Death::AfterStores),
                (0..12_usize).prop_map(Death::AtPacket),
            ],
            0..3,
        ),
    ) {
        let size = PacketSize::new(bytes).unwrap();
        let bytes = conversation(12, size);
        let mut world = World::with(size, &bytes, &cuts);
        let died = world.live_through(&deaths).unwrap();
        world.assert_handled(12, died);
    }
}
