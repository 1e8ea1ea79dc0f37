//! Recording the times of a batch's packets in the slot's histograms, each exactly once.
//!
//! Histograms need no journal. They are stored in place, packet after packet, before the batch is
//! committed; the counters have how many times each must hold. A process that dies in between
//! leaves some of the batch's packets recorded. How many is known: of each histogram (sum of its
//! buckets) − (times committed). A replay meets the packets in the same order, so it leaves out
//! that many of each histogram and records the rest.

use metronome_proto::{histogram::bucket, packet::Packet};

use super::{commit_writer::CommitWriter, slot::Slot};
use crate::model::{ClockRelation, PerTime, SlowPacket, TIME_KINDS, TimeKind};

/// Records the times of one batch.
pub(super) struct TimeRecorder<'a, W> {
    pub(super) slot: &'a Slot,
    pub(super) writer: &'a W,
    /// Packets of this batch that each histogram already holds.
    recorded: PerTime<u64>,
    /// For each histogram the bucket of the last packets and how many there are, not stored yet:
    /// packets of one write are equally late and cost one store together. They are stored before a
    /// packet of another bucket is counted, so histograms still fill in the order of the packets.
    pending: PerTime<(usize, u64)>,
}

impl<'a, W: CommitWriter> TimeRecorder<'a, W> {
    /// A recorder that leaves out the first packets of the batch, `recorded` of each histogram.
    #[inline]
    pub(super) fn new(slot: &'a Slot, writer: &'a W, recorded: PerTime<u64>) -> Self {
        Self {
            slot,
            writer,
            recorded,
            pending: PerTime::default(),
        }
    }

    /// Records the times of so many packets from this one on, which are the same: lateness and
    /// spread as far as there are any, transit and latency on the same clock.
    #[inline]
    pub(super) fn record(
        &mut self,
        (packet, packets): (&Packet, u64),
        read_ns: u64,
        clock: ClockRelation,
        [recorded_lateness, spread]: [Option<u64>; 2],
    ) {
        let lateness_ns = u64::from(packet.lateness_ns);
        let paced = [
            (TimeKind::Lateness, recorded_lateness),
            (TimeKind::Spread, spread),
        ];
        for (kind, value_ns) in paced {
            if let Some(value_ns) = value_ns {
                self.record_alike(kind, value_ns, packets);
            }
        }
        let mut total_ns = lateness_ns;
        if clock.is_same() {
            let latency_ns = read_ns.saturating_sub(packet.due_ns);
            let transit_ns = latency_ns.saturating_sub(lateness_ns);
            self.record_alike(TimeKind::Transit, transit_ns, packets);
            self.record_alike(TimeKind::Latency, latency_ns, packets);
            total_ns = latency_ns;
        }
        if self.slot.is_slow(total_ns) {
            self.keep_slow(packet, packets, read_ns, total_ns);
        }
    }

    /// Packets are taken apart here only, so that ordinary ones cost no more than the question.
    /// What is kept only ever gets slower, so behind one that is not slow none of them is.
    #[cold]
    fn keep_slow(&self, packet: &Packet, packets: u64, read_ns: u64, total_ns: u64) {
        let mut slow = SlowPacket {
            sequence: packet.sequence,
            due_ns: packet.due_ns,
            lateness_ns: u64::from(packet.lateness_ns),
            read_ns,
            total_ns,
        };
        for _ in 0..packets {
            if !self.slot.is_slow(total_ns) {
                return;
            }
            self.slot.keep_slow(&slow, self.writer);
            slow.sequence = slow.sequence.wrapping_add(1);
        }
    }

    /// Stores the packets that are still pending. Times between clocks, which are the last kinds,
    /// are pending only in a batch that is timed by a line.
    #[inline]
    pub(super) fn flush(&mut self, has_line: bool) {
        let kinds = if has_line {
            TIME_KINDS
        } else {
            TimeKind::OneWay as usize
        };
        for (histogram, pending) in self.pending.0.iter_mut().enumerate().take(kinds) {
            let (bucket, count) = std::mem::take(pending);
            self.slot.record(histogram, bucket, count, self.writer);
        }
    }

    /// Records one time of so many packets.
    #[inline]
    pub(super) fn record_alike(&mut self, kind: TimeKind, value_ns: u64, packets: u64) {
        let still_recorded = self.recorded[kind].min(packets);
        self.recorded[kind] -= still_recorded;
        if still_recorded < packets {
            self.add(kind, bucket(value_ns), packets - still_recorded);
        }
    }

    #[inline]
    fn add(&mut self, kind: TimeKind, bucket: usize, packets: u64) {
        let (last_bucket, count) = &mut self.pending[kind];
        if *last_bucket != bucket {
            self.slot
                .record(kind as usize, *last_bucket, *count, self.writer);
            (*last_bucket, *count) = (bucket, 0);
        }
        *count += packets;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{
        super::{Dimensions, Ledger, ReleaseStore, counters::HISTOGRAMS},
        *,
    };

    proptest! {
        #[test]
        fn each_histogram_holds_every_time_in_its_bucket_once_whatever_it_held_before(
            times in prop::collection::vec(
                (0..4_u32, 0..4_u64, 0..4_u64).prop_map(|(late, latency, spread)| {
                    [u64::from(late) * 900_000, latency * 7_000_000, spread * 50_000_000]
                }),
                0..40,
            ),
            recorded in 0..40_usize,
        ) {
            let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
            let slot = &ledger.slots()[0];
            let mut expected = [const { BTreeMap::new() }; HISTOGRAMS];
            let recorded = recorded.min(times.len());
            // A process that died had recorded the first of them.
            for (times, left_out) in [(&times[..recorded], 0), (&times[..], recorded as u64)] {
                let left_out = PerTime([left_out; HISTOGRAMS]);
                let mut recorder = TimeRecorder::new(slot, &ReleaseStore, left_out);
                for [lateness_ns, latency_ns, spread_ns] in times {
                    let packet = Packet {
                        flags: 0,
                        client: 0,
                        sequence: 0,
                        due_ns: 1_000,
                        lateness_ns: *lateness_ns as u32,
                    };
                    let read_ns = 1_000 + latency_ns;
                    let paced = [Some(*lateness_ns), Some(*spread_ns)];
                    recorder.record((&packet, 1), read_ns, ClockRelation::Same, paced);
                }
                recorder.flush(false);
            }
            for [lateness_ns, latency_ns, spread_ns] in times {
                let transit_ns = latency_ns.saturating_sub(lateness_ns);
                let each = [lateness_ns, transit_ns, latency_ns, spread_ns];
                for (expected, time_ns) in expected.iter_mut().zip(each) {
                    *expected.entry(bucket(time_ns)).or_insert(0) += 1;
                }
            }
            let held = std::array::from_fn(|histogram| {
                let counts = slot.counts(histogram);
                counts.filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>()
            });
            prop_assert_eq!(held, expected);
        }
    }

    #[test]
    fn a_slow_packet_is_kept_with_its_latency_or_on_another_clock_with_its_lateness() {
        for (clock, total_ns) in [(ClockRelation::Same, 900), (ClockRelation::Unknown, 20)] {
            let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
            let slot = &ledger.slots()[0];
            let mut recorder = TimeRecorder::new(slot, &ReleaseStore, PerTime([0; HISTOGRAMS]));
            let packet = Packet {
                flags: 0,
                client: 0,
                sequence: 7,
                due_ns: 1_000,
                lateness_ns: 20,
            };
            recorder.record((&packet, 1), 1_900, clock, [None; 2]);
            let kept = SlowPacket {
                sequence: 7,
                due_ns: 1_000,
                lateness_ns: 20,
                read_ns: 1_900,
                total_ns,
            };
            assert_eq!(slot.slowest().collect::<Vec<_>>(), [kept]);
        }
    }
}
