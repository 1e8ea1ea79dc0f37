//! A connection without its worker: what was taken from its socket and not committed is counted.
//!
//! The kernel's count of bytes taken from the socket is the truth, the ledger's count of bytes
//! committed comes behind it, and the difference lies in the slot's buffer: a worker receives into
//! the buffer and commits later. So the difference can be counted here, by the code that the worker
//! runs, and comes to what the worker would have counted. Nothing is read from a socket before that
//! is done: it would overwrite the buffer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use metronome_os::{
    clock::now_ns,
    socket::{bytes_put, bytes_taken, receive_into},
};

use super::connection_table::HeldConnection;
use crate::{
    ipc::{AdmissionKeys, ConnectionAdmission},
    ledger::{
        self, BATCHES_AFTER_CUT, BUFFER_BYTES, ConnectionCounters, Ledger, ReleaseStore, Slot,
        Stage, place_partial_frame, process_batch,
    },
};

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unrecoverable {
    #[error("the kernel does not report what was taken: {0}")]
    Kernel(#[from] std::io::Error),
    #[error("the kernel counts {taken} bytes as taken, the ledger {committed} as committed")]
    Disagreement { taken: u64, committed: u64 },
    #[error("the ledger's figures contradict each other")]
    Impossible,
    #[error("its data has ended its worker and cannot be processed here either")]
    Deadly,
}

/// What a replay reads besides the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) admission_keys: &'a AdmissionKeys,
    pub(super) slot: u32,
}

impl Source<'_> {
    fn admission(&self, generation: u32) -> ConnectionAdmission<'_> {
        ConnectionAdmission {
            admission_keys: self.admission_keys,
            ledger: self.ledger,
            slot: self.slot,
            generation,
        }
    }

    fn record(&self) -> &Slot {
        &self.ledger.slots()[self.slot as usize]
    }
}

/// Adds to the counters what was taken from the socket and not committed.
pub(super) fn replay(
    source: Source<'_>,
    connection: &HeldConnection,
    connection_counters: &mut ConnectionCounters,
) -> Result<(), Unrecoverable> {
    // Its worker had closed it and not yet released it.
    if connection_counters.stage == Stage::Closed {
        return Ok(());
    }
    // The ledger is untrusted: figures that no worker of ours commits are not calculated with.
    if !connection_counters.is_possible() {
        return Err(Unrecoverable::Impossible);
    }
    let taken = bytes_taken(&connection.socket)?;
    let left = uncommitted(taken, connection_counters)?;
    if left > 0 {
        let admission = source.admission(connection.generation);
        // What ended the worker may be a fault of ours in this very code: then it costs this one
        // client, not the server.
        let replayed = catch_unwind(AssertUnwindSafe(|| {
            ledger::replay(
                source.record(),
                connection_counters,
                left,
                now_ns(),
                &admission,
                &ReleaseStore,
            );
        }));
        replayed.map_err(|_| Unrecoverable::Deadly)?;
    }
    // After the replay, which may queue more reply frames: the kernel has also counted how many of
    // the queued bytes the worker had written. Never less than it had committed, and never more
    // than is queued.
    let put = bytes_put(&connection.socket)?.saturating_sub(connection.put_at_start);
    connection_counters.reply_bytes_sent = put.min(connection_counters.reply_bytes_queued).max(
        connection_counters
            .reply_bytes_sent
            .min(connection_counters.reply_bytes_queued),
    );
    Ok(())
}

/// Bytes that lie in the slot's buffer, behind the part of a frame that the counters hold.
fn uncommitted(
    taken: u64,
    connection_counters: &ConnectionCounters,
) -> Result<usize, Unrecoverable> {
    let committed = connection_counters.bytes;
    let room = BUFFER_BYTES - usize::from(connection_counters.partial_frame_bytes);
    taken
        .checked_sub(committed)
        .and_then(|left| usize::try_from(left).ok())
        .filter(|left| *left <= room)
        .ok_or(Unrecoverable::Disagreement { taken, committed })
}

/// Counts what still lies in the socket of a connection that no worker reads, and closes it in
/// the ledger. What had been taken before has to be replayed first.
pub(super) fn read_to_the_end(
    source: Source<'_>,
    connection: &HeldConnection,
    connection_counters: &mut ConnectionCounters,
) {
    let record = source.record();
    let admission = source.admission(connection.generation);
    let mut check = record.load_check(connection_counters);
    for _ in 0..BATCHES_AFTER_CUT {
        let at = place_partial_frame(record, connection_counters, &ReleaseStore);
        match receive_into(&connection.socket, &record.buffer.0, at) {
            Ok(taken) if taken > 0 => process_batch(
                record,
                connection_counters,
                &mut check,
                (taken, now_ns()),
                &admission,
                &ReleaseStore,
            ),
            _ => break,
        }
    }
    connection_counters.end = connection_counters.end_of_cut();
    connection_counters.stage = Stage::Closed;
    record.commit(connection_counters, &ReleaseStore);
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        sync::atomic::Ordering,
        time::Duration,
    };

    use metronome_proto::{
        handshake::{Hello, Key},
        packet::{FLAG_ECHO, FRAME_BYTES, Packet, Reply, Start},
        packet_size::PacketSize,
        v1::ReceiverCounts,
    };
    use proptest::prelude::*;
    use rustix::{
        event::{PollFd, PollFlags, poll},
        net::{RecvFlags, SendFlags, recv, send},
    };

    use super::*;
    use crate::{
        ledger::Dimensions,
        master::example::agent_key,
        model::{ClientEnd, Work},
    };

    struct World {
        ledger: Ledger,
        admission_keys: AdmissionKeys,
        connection: HeldConnection,
        /// `None` once it has closed its end.
        client: Option<TcpStream>,
    }

    impl World {
        /// A raw client that is connected and has sent nothing.
        fn new() -> Self {
            let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
            ledger.raw_client_limit().store(1, Ordering::Release);
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, peer) = listener.accept().unwrap();
            socket.set_nonblocking(true).unwrap();
            let connection = HeldConnection {
                put_at_start: bytes_put(&socket).unwrap(),
                socket: socket.into(),
                peer,
                generation: 1,
                worker: Some(0),
                credited: Work::default(),
                unread: None,
                is_cut: false,
            };
            Self {
                ledger,
                admission_keys: AdmissionKeys::new(true),
                connection,
                client: Some(client),
            }
        }

        fn send(&self, bytes: usize) {
            self.send_all(&vec![b'X'; bytes]);
        }

        fn send_all(&self, bytes: &[u8]) {
            self.client.as_ref().unwrap().write_all(bytes).unwrap();
        }

        fn source(&self) -> Source<'_> {
            Source {
                ledger: &self.ledger,
                admission_keys: &self.admission_keys,
                slot: 0,
            }
        }

        /// The client sends, and a worker dies after it has taken it.
        fn send_and_take(&mut self, bytes: usize, at: usize) {
            self.send(bytes);
            self.take(bytes, at);
        }

        /// A worker takes what has come and dies.
        fn take(&self, bytes: usize, at: usize) {
            let buffer = &self.ledger.slots()[0].buffer.0;
            let mut taken = 0;
            while taken < bytes {
                taken += receive_into(&self.connection.socket, buffer, at + taken).unwrap_or(0);
            }
        }

        /// A worker takes some of what has come, which it would not leave behind but for its death,
        /// and dies.
        fn take_exactly(&self, bytes: usize, at: usize) {
            let mut taken = vec![0; bytes];
            let mut rest = &mut taken[..];
            while !rest.is_empty() {
                let (_, read) =
                    recv(&self.connection.socket, &mut *rest, RecvFlags::DONTWAIT).unwrap();
                rest = &mut rest[read..];
            }
            let record = &self.ledger.slots()[0].buffer.0;
            for (index, byte) in taken.iter().enumerate() {
                let (word, shift) = ((at + index) / 8, (at + index) % 8 * 8);
                let kept = record[word].load(Ordering::Relaxed) & !(0xFF << shift);
                record[word].store(kept | u64::from(*byte) << shift, Ordering::Relaxed);
            }
        }

        /// The client ends the connection, and our kernel has noticed.
        fn end(&mut self, by_reset: bool) {
            let client = self.client.take().unwrap();
            if by_reset {
                rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
            }
            drop(client);
            let mut polled = [PollFd::new(&self.connection.socket, PollFlags::RDHUP)];
            poll(&mut polled, None).unwrap();
        }

        fn replay(
            &self,
            connection_counters: &mut ConnectionCounters,
        ) -> Result<(), Unrecoverable> {
            replay(self.source(), &self.connection, connection_counters)
        }
    }

    #[test]
    fn what_was_taken_and_not_committed_is_counted_once() {
        let mut world = World::new();
        let mut connection_counters = ConnectionCounters::default();
        world.send_and_take(100, 0);
        for _ in 0..2 {
            world.replay(&mut connection_counters).unwrap();
            let counted = (
                connection_counters.counts.received,
                connection_counters.bytes,
                connection_counters.partial_frame_bytes,
            );
            assert_eq!(counted, (3, 100, 4));
        }
        assert_eq!(
            world.ledger.slots()[0].counters().unwrap().counts.received,
            3
        );
    }

    #[test]
    fn figures_that_contradict_each_other_or_the_kernel_are_not_calculated_with() {
        let mut world = World::new();
        world.send_and_take(100, 0);
        let mut impossible = ConnectionCounters {
            counts: ReceiverCounts {
                received: 9,
                ..ReceiverCounts::default()
            },
            ..ConnectionCounters::default()
        };
        let error = world.replay(&mut impossible).unwrap_err();
        assert!(matches!(error, Unrecoverable::Impossible), "{error}");
        let mut ahead = ConnectionCounters {
            stage: Stage::Raw,
            bytes: 224,
            ..ConnectionCounters::default()
        };
        let error = world.replay(&mut ahead).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel counts 100 bytes as taken, the ledger 224 as committed"
        );
    }

    #[test]
    fn the_buffer_holds_no_more_than_the_buffer() {
        let connection_counters = ConnectionCounters::default();
        assert_eq!(uncommitted(5, &connection_counters).unwrap(), 5);
        let most = BUFFER_BYTES as u64;
        assert_eq!(
            uncommitted(most, &connection_counters).unwrap(),
            BUFFER_BYTES
        );
        assert!(uncommitted(most + 1, &connection_counters).is_err());
        let part_of_a_frame = ConnectionCounters {
            partial_frame_bytes: 1,
            bytes: 1,
            ..connection_counters
        };
        assert!(uncommitted(most + 1, &part_of_a_frame).is_err());
        assert!(uncommitted(0, &part_of_a_frame).is_err());
    }

    #[test]
    fn what_still_lies_in_the_socket_of_a_cut_connection_is_counted() {
        let mut world = World::new();
        let mut connection_counters = ConnectionCounters::default();
        world.send_and_take(64, 0);
        world.replay(&mut connection_counters).unwrap();
        world.send(96);
        while bytes_unread(&world.connection) < 96 {}
        read_to_the_end(world.source(), &world.connection, &mut connection_counters);
        assert_eq!(
            (
                connection_counters.counts.received,
                connection_counters.stage
            ),
            (5, Stage::Closed)
        );
        assert_eq!(connection_counters.end, ClientEnd::Cut);
        assert_eq!(
            world.ledger.slots()[0].counters().unwrap().counts.received,
            5
        );
    }

    /// What a client of a run sends: its hello, its start, and so many packets of this size, each
    /// of which asks for a reply. Also what it is sent for that.
    fn asking(size: PacketSize, packets: u64) -> (Vec<u8>, Vec<u8>) {
        let key = Key::from_bytes([9; 32]);
        let hello = Hello {
            run: agent_key(1).run,
            agent: 1,
            client: 3,
            attempt: 1,
        };
        let start = Start {
            client: 3,
            offset_ns: 0,
            start_ns: 1,
        };
        let mut bytes = hello.encode(&key).to_vec();
        let mut replies = hello.ack(&key).to_vec();
        bytes.extend([&start.encode(size)[..], size.zeros()].concat());
        for sequence in 0..packets {
            let packet = Packet {
                flags: FLAG_ECHO,
                client: 3,
                sequence,
                due_ns: 1 + sequence * 500_000,
                lateness_ns: 0,
            };
            bytes.extend([&packet.encode(size.zeros())[..], size.zeros()].concat());
            replies.extend(Reply::to(&packet).encode());
        }
        (bytes, replies)
    }

    /// Each worker has replied as far as it came, at any byte of a reply, and dies before it
    /// commits that: the kernel's count has it.
    #[test]
    fn replies_that_a_worker_had_sent_when_it_died_are_sent_once_whatever_the_packets_size() {
        for packet_bytes in [32, 33, 200, 1472] {
            let size = PacketSize::new(packet_bytes).unwrap();
            let mut world = World::new();
            let mut agent = agent_key(1);
            agent.load.as_mut().unwrap().packet_size = size;
            world.admission_keys.admit(agent);
            let (bytes, expected) = asking(size, 30);
            let mut counters = ConnectionCounters::default();
            for part in bytes.chunks(5 * size.bytes() + 40) {
                let at = place_partial_frame(world.source().record(), &counters, &ReleaseStore);
                world.send_all(part);
                world.take(part.len(), at);
                world.replay(&mut counters).unwrap();
                let record = &world.ledger.slots()[0];
                assert_eq!(record.counters(), Some(counters));
                // The next worker sends of what is pending and dies.
                let from = counters.reply_bytes_sent;
                let to = counters.reply_bytes_queued.min(from + 77);
                let byte = |at: u64| record.reply(at)[at as usize % FRAME_BYTES];
                let sent: Vec<u8> = (from..to).map(byte).collect();
                let socket = &world.connection.socket;
                assert_eq!(
                    send(socket, &sent, SendFlags::DONTWAIT).unwrap(),
                    sent.len()
                );
                world.replay(&mut counters).unwrap();
                assert_eq!(counters.reply_bytes_sent, to);
                assert!(counters.is_possible());
            }
            let counts = counters.counts;
            let of_replies = (counts.replies_wanted, counts.replies_dropped);
            assert_eq!((counts.received, of_replies), (30, (Some(30), Some(0))));
            let mut got = vec![0; counters.reply_bytes_sent as usize];
            let client = world.client.as_mut().unwrap();
            std::io::Read::read_exact(client, &mut got).unwrap();
            assert_eq!(got, expected[..got.len()], "{packet_bytes}");
            assert!(got.len() > 5 * 77, "{}", got.len());
        }
    }

    proptest! {
        #[test]
        fn a_client_that_ends_anywhere_while_its_worker_dies_is_counted_to_the_byte(
            parts in prop::collection::vec((1..200_usize, any::<bool>()), 1..6),
            unread in 0..100_usize,
            by_reset: bool,
            ends_before_the_last_death: bool,
        ) {
            let mut world = World::new();
            let mut connection_counters = ConnectionCounters::default();
            let mut sent = 0;
            for (bytes, dies) in &parts {
                let at = place_partial_frame(
                    world.source().record(), &connection_counters, &ReleaseStore,
                );
                world.send_and_take(*bytes, at);
                sent += bytes;
                // Every death is followed by another worker, or by the same replay once more.
                (0..=u8::from(*dies)).for_each(|_| world.replay(&mut connection_counters).unwrap());
            }
            let at = place_partial_frame(
                world.source().record(), &connection_counters, &ReleaseStore,
            );
            world.send(2 * unread);
            while bytes_unread(&world.connection) < 2 * unread as u64 {}
            if ends_before_the_last_death {
                world.end(by_reset);
                world.take_exactly(unread, at);
            } else {
                world.take_exactly(unread, at);
                world.end(by_reset);
            }
            sent += 2 * unread;
            world.replay(&mut connection_counters).unwrap();
            read_to_the_end(world.source(), &world.connection, &mut connection_counters);
            let counted = (
                connection_counters.bytes,
                connection_counters.counts.received,
                usize::from(connection_counters.partial_frame_bytes),
            );
            prop_assert_eq!(counted, (sent as u64, sent as u64 / 32, sent % 32));
            prop_assert_eq!(bytes_taken(&world.connection.socket).unwrap(), sent as u64);
        }
    }

    fn bytes_unread(connection: &HeldConnection) -> u64 {
        rustix::io::ioctl_fionread(&connection.socket).unwrap()
    }
}
