//! The connection of an agent's probes: each probe is answered with the time of the batch that it
//! came in. A part of the processing of a batch, with the same law.
//!
//! That time was read after the bytes had come and is stored before they are looked at, and the
//! answer is sent after it. So it lies between the sending of the probe and the reading of the
//! answer, whichever process answers; one that takes over without a stored time has a later one,
//! which lies there as well. Such a connection is no client: nothing of it is counted.

use metronome_proto::{
    handshake::{Hello, Refusal},
    packet::{Frame, Probe, ProbeReply},
};

use super::{
    batch::Batch, commit_writer::CommitWriter, counters::Stage, replies::has_room_for_reply,
};

/// Probes that one connection may send in a second: an agent sends 50.
const PROBES_PER_SECOND_MAX: u64 = 1_000;

const SECOND_NS: u64 = 1_000_000_000;

impl<W: CommitWriter> Batch<'_, W> {
    /// The connection's hello was verified.
    pub(super) fn begin_probes(&mut self, hello: &Hello, row: u16) {
        let counters = &mut *self.counters;
        (counters.stage, counters.is_probes) = (Stage::Probes, true);
        (counters.run, counters.row) = (hello.run.bits(), row);
        (counters.agent, counters.client) = (hello.agent, hello.client);
    }

    /// Answers a probe. What is no probe, or one too many in a second, ends the connection. While
    /// as many answers are unsent as fit, further ones are left out.
    pub(super) fn take_probe(&mut self, frame: &Frame) {
        let Ok(probe) = Probe::decode(frame) else {
            return self.refuse(Refusal::Protocol);
        };
        let counters = &mut *self.counters;
        // When the second began, and how many have come in it, in the places that packets would
        // have. The ledger may hold anything.
        if self.read_ns.saturating_sub(counters.first_read_ns) >= SECOND_NS {
            (counters.first_read_ns, counters.next_sequence) = (self.read_ns, 0);
        }
        if counters.next_sequence >= PROBES_PER_SECOND_MAX {
            return self.refuse(Refusal::Protocol);
        }
        counters.next_sequence += 1;
        if has_room_for_reply(counters) {
            let answer = ProbeReply {
                sequence: probe.sequence,
                server_ns: self.read_ns,
            };
            self.queue_reply(&answer.encode());
        }
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::{handshake::PROBE_CLIENT, packet_size::PacketSize, v1::ReceiverCounts};

    use super::*;
    use crate::{
        ledger::{
            HISTOGRAMS, REPLY_QUEUE_FRAMES,
            commit_writer::ReleaseStore,
            counters::ConnectionCounters,
            deaths::{die_at_every_store, die_at_every_store_with, receive},
            world::{World, hello, key, packet, start},
        },
        model::ClockRelation,
    };

    fn probes_hello() -> Hello {
        Hello {
            client: PROBE_CLIENT,
            ..hello()
        }
    }

    fn probe(sequence: u64) -> Frame {
        Probe { sequence }.encode()
    }

    fn answer(sequence: u64, server_ns: u64) -> Frame {
        ProbeReply {
            sequence,
            server_ns,
        }
        .encode()
    }

    /// A connection of probes whose hello has come.
    fn opened() -> (World, ConnectionCounters) {
        let world = World::new();
        let counters = opened_on(&world);
        (world, counters)
    }

    fn opened_on(world: &World) -> ConnectionCounters {
        let mut counters = ConnectionCounters::default();
        let hello = probes_hello().encode(&key());
        world.batch(&mut counters, &hello, 1, &ReleaseStore);
        assert_eq!(counters.stage, Stage::Probes);
        counters
    }

    /// The kernel has taken all that waits.
    fn send_all(counters: &mut ConnectionCounters) {
        counters.reply_bytes_sent = counters.reply_bytes_queued;
    }

    #[test]
    fn a_death_at_any_store_leaves_each_answer_the_time_at_which_its_probe_was_read() {
        let mut bytes = probes_hello().encode(&key()).to_vec();
        bytes.extend((0..6).flat_map(probe));
        // Two of the batches end in the middle of a probe.
        let (one, rest) = bytes.split_at(77);
        let (other, last) = rest.split_at(40);
        let batches = [(2_000, one), (7_000, other), (12_000, last)];
        let world = || World::on(ClockRelation::Offset);
        let counted = die_at_every_store(world, |_| ConnectionCounters::default(), &batches);
        assert!(counted.is_probes && !counted.is_client());
        assert_eq!(counted.stage, Stage::Probes);
        let (world, mut counters) = (world(), ConnectionCounters::default());
        receive(&world, &mut counters, &batches);
        let times = [2_000, 7_000, 12_000, 12_000, 12_000, 12_000];
        let answers = (0..).zip(times).map(|(probe, at_ns)| answer(probe, at_ns));
        let expected: Vec<_> = [probes_hello().ack(&key())]
            .into_iter()
            .chain(answers)
            .collect();
        assert_eq!(world.replies(&counters), expected);
    }

    #[test]
    fn a_death_at_any_store_of_a_flood_or_of_garbage_leaves_the_same_end() {
        let garbage = [probe(0), packet(0), probe(1)].concat();
        let flood = [probe(0), probe(1), probe(2)].concat();
        for (bytes, come_before, answered) in [(&garbage, 0, 1), (&flood, 998, 2)] {
            let begin = |world: &World| {
                let mut counters = opened_on(world);
                (counters.first_read_ns, counters.next_sequence) = (SECOND_NS, come_before);
                world.slot().commit(&counters, &ReleaseStore);
                counters
            };
            let batches: [(u64, &[u8]); 1] = [(SECOND_NS + 9, bytes)];
            let (counted, deaths) = die_at_every_store_with(World::new, begin, &batches, &[], None);
            assert!(deaths > 100, "only {deaths} deaths were tried");
            assert_eq!(counted.stage, Stage::Refused);
            // The answer to the hello, those to probes and the refusal.
            assert_eq!(counted.reply_bytes_queued / 32, 1 + answered + 1);
        }
    }

    #[test]
    fn what_is_no_probe_ends_the_connection_and_nothing_of_it_is_counted() {
        for garbage in [
            packet(0),
            start(),
            answer(0, 5),
            [7; 32],
            probes_hello().encode(&key()),
            probes_hello().end(0, PacketSize::MIN, &key()),
        ] {
            let (world, mut counters) = opened();
            let bytes = [probe(0), garbage, probe(1)].concat();
            world.batch(&mut counters, &bytes, 5, &ReleaseStore);
            assert_eq!(counters.stage, Stage::Refused, "{garbage:?}");
            let refusal = Refusal::Protocol.encode();
            let expected = [probes_hello().ack(&key()), answer(0, 5), refusal];
            assert_eq!(world.replies(&counters), expected);
            assert_eq!(counters.counts, ReceiverCounts::default());
            assert_eq!(counters.timed.0, [0; HISTOGRAMS]);
            assert_eq!((counters.attempt, counters.digest), (0, 0));
        }
    }

    #[test]
    fn a_thousand_probes_a_second_are_answered_and_one_more_ends_the_connection() {
        let (world, mut counters) = opened();
        for second in 1..3 {
            for batch in 0..10 {
                let bytes: Vec<u8> = (0..100).flat_map(probe).collect();
                let read_ns = second * SECOND_NS + batch;
                let queued = counters.reply_bytes_queued;
                send_all(&mut counters);
                world.batch(&mut counters, &bytes, read_ns, &ReleaseStore);
                assert_eq!(counters.stage, Stage::Probes);
                assert_eq!(counters.reply_bytes_queued - queued, 100 * 32);
            }
        }
        world.batch(&mut counters, &probe(0), 3 * SECOND_NS - 1, &ReleaseStore);
        assert_eq!(counters.stage, Stage::Refused);
        assert!(counters.is_possible());
    }

    #[test]
    fn answers_that_are_not_taken_are_left_out_and_never_put_over_others() {
        let (world, mut counters) = opened();
        let bytes: Vec<u8> = (0..200).flat_map(probe).collect();
        for read_ns in 2..6 {
            world.batch(&mut counters, &bytes, read_ns, &ReleaseStore);
        }
        assert_eq!(counters.stage, Stage::Probes);
        let frames = counters.reply_bytes_queued / 32;
        assert!(frames < REPLY_QUEUE_FRAMES as u64, "room for a refusal");
        let replies = world.replies(&counters);
        assert_eq!(replies[1], answer(0, 2));
        assert_eq!(replies[201], answer(0, 3));
        send_all(&mut counters);
        world.batch(&mut counters, &probe(9), 7, &ReleaseStore);
        assert_eq!(world.replies(&counters).last(), Some(&answer(9, 7)));
    }

    #[test]
    fn whatever_a_damaged_ledger_has_of_the_second_no_figure_runs_over() {
        for next_sequence in [u64::MAX, u64::MAX - 1, 1_000] {
            let (world, mut counters) = opened();
            (counters.next_sequence, counters.first_read_ns) = (next_sequence, u64::MAX);
            world.batch(&mut counters, &probe(0), 5, &ReleaseStore);
            assert_eq!(counters.stage, Stage::Refused);
        }
    }
}
