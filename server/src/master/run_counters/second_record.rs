//! Two records of one client, which sent packets on two connections: no agent does that, but a peer
//! can. Each figure is that of both connections together. Times are ns.

use metronome_proto::counters::CounterList as _;

use crate::model::{ClientCounters, PerTime, TimeKind};

/// Whether anything was counted of the packets of a connection.
pub(super) fn has_packets(counted: &ClientCounters) -> bool {
    counted.counts.to_words().iter().any(|word| *word > 0)
}

/// The record of both. What has no sum is that of the later connection; of a quantile the longer
/// time, which is at least that of all packets.
pub(super) fn together(older: &ClientCounters, newer: &ClientCounters) -> ClientCounters {
    let sums = |sides: fn(&ClientCounters) -> PerTime<u64>| {
        let (older, newer) = (sides(older), sides(newer));
        TimeKind::ALL.map(|kind| older[kind].saturating_add(newer[kind]))
    };
    let sum = |side: fn(&ClientCounters) -> u64| side(older).saturating_add(side(newer));
    let known_sum = |side: fn(&ClientCounters) -> Option<u64>| {
        let sides = side(older).zip(side(newer));
        sides.map(|(older, newer)| older.saturating_add(newer))
    };
    let most = |side: fn(&ClientCounters) -> u64| side(older).max(side(newer));
    // 0 without a packet.
    let first = |side: fn(&ClientCounters) -> u64| match (side(older), side(newer)) {
        (0, only) | (only, 0) => only,
        (older, newer) => older.min(newer),
    };
    ClientCounters {
        client: newer.client,
        worker: newer.worker,
        counts: older.counts.plus(&newer.counts),
        digest: older.digest.wrapping_add(newer.digest),
        reported_sent: known_sum(|of| of.reported_sent),
        first_read_ns: first(|of| of.first_read_ns),
        last_read_ns: most(|of| of.last_read_ns),
        first_due_ns: first(|of| of.first_due_ns),
        last_due_ns: most(|of| of.last_due_ns),
        start: newer.start,
        next_sequence: sum(|of| of.next_sequence),
        bytes: sum(|of| of.bytes),
        bytes_taken: known_sum(|of| of.bytes_taken),
        least_ns: older.least_ns.into_iter().chain(newer.least_ns).min(),
        timed: sums(|of| of.timed),
        histogram_counts: sums(|of| of.histogram_counts),
        lateness_p99_ns: most(|of| of.lateness_p99_ns),
        lateness_p99_9_ns: most(|of| of.lateness_p99_9_ns),
        transit_p99_ns: most(|of| of.transit_p99_ns),
        latency_p99_ns: most(|of| of.latency_p99_ns),
        latency_max_ns: most(|of| of.latency_max_ns),
        spread_p99_ns: most(|of| of.spread_p99_ns),
        one_way_p99_ns: most(|of| of.one_way_p99_ns),
        queueing_p99_ns: most(|of| of.queueing_p99_ns),
        partial_frame_bytes: older
            .partial_frame_bytes
            .saturating_add(newer.partial_frame_bytes),
        tcp: newer.tcp,
        end: newer.end,
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::ReceiverCounts;

    use super::*;

    fn counted(received: u64) -> ClientCounters {
        ClientCounters {
            counts: ReceiverCounts {
                received,
                ..ReceiverCounts::default()
            },
            first_read_ns: 1_000 * received,
            last_read_ns: 2_000 * received,
            reported_sent: Some(received),
            bytes_taken: Some(received * 32),
            least_ns: (received > 0).then_some(-5),
            timed: PerTime([received; 6]),
            histogram_counts: PerTime([received; 6]),
            latency_p99_ns: received,
            ..ClientCounters::default()
        }
    }

    #[test]
    fn two_records_are_one_of_all_packets() {
        let both = together(&counted(3), &counted(4));
        assert_eq!((both.counts.received, both.reported_sent), (7, Some(7)));
        assert_eq!((both.first_read_ns, both.last_read_ns), (3_000, 8_000));
        assert_eq!((both.timed.0, both.histogram_counts.0), ([7; 6], [7; 6]));
        assert_eq!((both.bytes_taken, both.latency_p99_ns), (Some(224), 4));
        assert_eq!(both.least_ns, Some(-5));
        let unknown = ClientCounters {
            bytes_taken: None,
            ..counted(0)
        };
        let both = together(&counted(3), &unknown);
        assert_eq!((both.bytes_taken, both.first_read_ns), (None, 3_000));
    }

    #[test]
    fn a_connection_without_a_packet_has_none() {
        assert!(has_packets(&counted(1)) && !has_packets(&counted(0)));
    }
}
