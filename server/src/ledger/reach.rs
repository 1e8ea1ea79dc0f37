//! How far a batch looks for the places of random arrivals, from the counters in front of it: so
//! any process that replays the batch looks as far. Times are ns.

use super::{counters::ConnectionCounters, due_times::Reach};

/// A packet may be due so much later than the first one, beyond half as much again as the time
/// between their reads: where the first one waited to be read, that time is too short.
const AHEAD_NS_MAX: u64 = 60_000_000_000;

/// That of a batch read at `read_ns`, behind those that are in the counters. A client that was off
/// its schedule has broken its law, and nothing is looked for any more. Nothing is due long after
/// it is read either: so a client cannot go through its whole schedule at once, and its places
/// never cost a worker more than an honest client's would have until then.
pub(super) fn of_batch(counters: &ConnectionCounters, read_ns: u64) -> Reach {
    let is_off = counters
        .counts
        .off_schedule
        .is_some_and(|packets| packets > 0);
    let steps = if is_off { 0 } else { Reach::MAX.steps };
    let latest_ns = match counters.start {
        Some(start) if counters.counts.received > 0 => {
            let elapsed_ns = read_ns.saturating_sub(counters.first_read_ns);
            let first_ns = counters.first_due_ns.wrapping_sub(start.start_ns);
            first_ns
                .saturating_add(elapsed_ns)
                .saturating_add(elapsed_ns / 2)
                .saturating_add(AHEAD_NS_MAX)
        }
        _ => u64::MAX,
    };
    Reach { steps, latest_ns }
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::ReceiverCounts;

    use super::*;
    use crate::model::ClientStart;

    #[test]
    fn a_batch_looks_as_far_as_packets_can_be_due_and_nowhere_after_one_off_the_schedule() {
        let s = 1_000_000_000;
        let counters = |received, off_schedule| ConnectionCounters {
            start: Some(ClientStart {
                start_ns: u64::MAX - 3,
                offset_ns: 0,
            }),
            counts: ReceiverCounts {
                received,
                off_schedule: Some(off_schedule),
                ..ReceiverCounts::default()
            },
            // Due 2 s after the start.
            first_due_ns: 2 * s - 4,
            first_read_ns: 100 * s,
            ..ConnectionCounters::default()
        };
        assert_eq!(of_batch(&counters(0, 0), 100 * s), Reach::MAX);
        for (elapsed_s, latest_s) in [(0, 62), (10, 77), (1_000, 1_562)] {
            let reach = of_batch(&counters(1, 0), (100 + elapsed_s) * s);
            assert_eq!(reach.steps, Reach::MAX.steps);
            assert_eq!(reach.latest_ns, latest_s * s);
        }
        assert_eq!(of_batch(&counters(5, 1), 101 * s).steps, 0);
    }
}
