//! What the clients of one agent show of each other: they share one clock and one path, so the
//! least delays of all of them are those of a path without a queue.
//!
//! A client of its own can be compared with its own least only: when all of its packets were held
//! up, none of them shows it. Its least is above that of its agent's clients by as much: where that
//! is more than a packet may be late, it did not keep up, and where it is more than the spread of a
//! packet may be off, the spread of its packets shows less than it was.

use std::collections::BTreeMap;

use super::rows::Row;
use crate::model::{CLOCK_DRIFT_PARTS, ClientCounters, UNCERTAIN_NS, UNDERSTATED_NS};

/// The times of one agent's clients.
struct OfAgent {
    /// A delay that the others are compared with, ns modulo 2^64.
    any_ns: u64,
    /// The least, less that one, ns.
    least_ns: i64,
    first_read_ns: u64,
    last_read_ns: u64,
}

/// Takes a client that was held up as a whole out of those in time, and counts its packets among
/// those whose spread is uncertain, or understated where it was held up for that long.
pub(super) fn find_held_up(rows: &mut [Row<'_>]) {
    let mut agents: BTreeMap<usize, OfAgent> = BTreeMap::new();
    for row in rows.iter() {
        if let Some((counted, delay_ns)) = measured(row) {
            agents
                .entry(row.agent_index)
                .and_modify(|agent| agent.take(counted, delay_ns))
                .or_insert_with(|| OfAgent::new(counted, delay_ns));
        }
    }
    for row in rows {
        let Some((counted, delay_ns)) = measured(row) else {
            continue;
        };
        let agent = &agents[&row.agent_index];
        let behind_ns = i128::from(agent.behind_any_ns(delay_ns));
        // Where the clocks run apart, a least falls or rises while a client is not there.
        let drift_ns = if row.is_on_our_clock() {
            0
        } else {
            agent.absent_ns(counted) / i128::from(CLOCK_DRIFT_PARTS)
        };
        let above_ns = behind_ns - i128::from(agent.least_ns) - drift_ns;
        let allowance_ns = row.group.allowance_ns().unwrap_or(0);
        let Some(counts) = &mut row.receiver else {
            continue;
        };
        if above_ns > i128::from(allowance_ns) {
            counts.in_time = counts.in_time.map(|_| 0);
        }
        if above_ns > i128::from(UNCERTAIN_NS) {
            counts.spread_uncertain = Some(counts.received);
        }
        if above_ns > i128::from(UNDERSTATED_NS) {
            counts.spread_understated = Some(counts.received);
        }
    }
}

/// The workers' figures of a client and its least (read − due), ns modulo 2^64. `None` without a
/// packet of a schedule.
fn measured<'a>(row: &Row<'a>) -> Option<(&'a ClientCounters, u64)> {
    let counted = row.with_packets()?;
    let first_ns = counted.first_read_ns.wrapping_sub(counted.first_due_ns);
    Some((counted, first_ns.wrapping_add_signed(counted.least_ns?)))
}

impl OfAgent {
    fn new(counted: &ClientCounters, delay_ns: u64) -> Self {
        Self {
            any_ns: delay_ns,
            least_ns: 0,
            first_read_ns: counted.first_read_ns,
            last_read_ns: counted.last_read_ns,
        }
    }

    fn take(&mut self, counted: &ClientCounters, delay_ns: u64) {
        self.least_ns = self.least_ns.min(self.behind_any_ns(delay_ns));
        self.first_read_ns = self.first_read_ns.min(counted.first_read_ns);
        self.last_read_ns = self.last_read_ns.max(counted.last_read_ns);
    }

    fn behind_any_ns(&self, delay_ns: u64) -> i64 {
        delay_ns.wrapping_sub(self.any_ns).cast_signed()
    }

    /// How long others of the agent's clients were read and this one was not, ns.
    fn absent_ns(&self, counted: &ClientCounters) -> i128 {
        let before_ns = counted.first_read_ns.saturating_sub(self.first_read_ns);
        let after_ns = self.last_read_ns.saturating_sub(counted.last_read_ns);
        i128::from(before_ns) + i128::from(after_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{
        profile::Profile,
        v1::{Metric, Objective, Outcome, OutcomeStatus, ReceiverCounts},
    };

    use super::*;
    use crate::{
        model::ClockRelation,
        verdict::{
            rows::pair,
            samples::{PACKETS, START_NS, Sample, verdict},
        },
    };

    const MS: u64 = 1_000_000;

    fn receivers(sample: &Sample) -> Vec<ReceiverCounts> {
        let evidence = sample.evidence();
        let mut rows = pair(&evidence);
        find_held_up(&mut rows);
        rows.iter().map(|row| row.receiver.unwrap()).collect()
    }

    /// Packets in time, uncertain and understated of each client.
    fn found(sample: &Sample) -> Vec<[u64; 3]> {
        let figures = |of: &ReceiverCounts| {
            [of.in_time, of.spread_uncertain, of.spread_understated].map(Option::unwrap)
        };
        receivers(sample).iter().map(figures).collect()
    }

    #[test]
    fn a_client_that_was_held_up_as_a_whole_is_found_by_its_agents_others() {
        // The first agent is on the server's clock, the second on one with any zero.
        for zero_ns in [0, START_NS, (1 << 63) - 1, u64::MAX - 5] {
            for (held_ms, expected) in [
                (10, [PACKETS, 0, 0]),
                (11, [0, PACKETS, 0]),
                (100, [0, PACKETS, 0]),
                (102, [0, PACKETS, PACKETS]),
            ] {
                let mut sample = Sample::of(2, 2);
                sample.forget_clock(1);
                for client in [2, 3] {
                    sample.counted(client, |counted| {
                        counted.first_due_ns =
                            (counted.first_due_ns - START_NS).wrapping_add(zero_ns);
                    });
                }
                for client in [1, 3] {
                    sample.counted(client, |counted| counted.first_read_ns += held_ms * MS);
                }
                let intact = [PACKETS, 0, 0];
                let both = [intact, expected, intact, expected];
                assert_eq!(found(&sample), both, "{zero_ns} {held_ms}");
            }
        }
    }

    #[test]
    fn a_least_that_falls_later_is_that_of_the_client() {
        let mut sample = Sample::of(1, 2);
        sample.counted(1, |counted| {
            counted.first_read_ns += 50 * MS;
            counted.least_ns = Some(-50 * MS.cast_signed());
        });
        assert_eq!(found(&sample), [[PACKETS, 0, 0]; 2]);
        sample.counted(1, |counted| counted.least_ns = Some(-30 * MS.cast_signed()));
        assert_eq!(found(&sample), [[PACKETS, 0, 0], [0, PACKETS, 0]]);
    }

    #[test]
    fn a_least_on_another_clock_may_have_drifted_while_the_client_was_not_there() {
        // The second client begins 3 s after the first one and ends 2 s before it: 5 ms of drift.
        for (zero, late_ns, is_found) in [
            (ClockRelation::Unknown, 15 * MS, false),
            (ClockRelation::Unknown, 15 * MS + 1, true),
            (ClockRelation::Same, 10 * MS, false),
            (ClockRelation::Same, 10 * MS + 1, true),
        ] {
            let mut sample = Sample::of(1, 2);
            if zero == ClockRelation::Unknown {
                sample.forget_clock(0);
            }
            sample.counted(0, |counted| counted.last_read_ns = START_NS + 9_000 * MS);
            sample.counted(1, |counted| {
                counted.first_due_ns += 3_000 * MS - late_ns;
                counted.first_read_ns += 3_000 * MS;
                counted.last_read_ns = START_NS + 7_000 * MS;
            });
            let [_, [in_time, uncertain, _]] = found(&sample)[..] else {
                panic!("two clients");
            };
            let expected = if is_found { (0, PACKETS) } else { (PACKETS, 0) };
            assert_eq!((in_time, uncertain), expected, "{zero:?} {late_ns}");
        }
    }

    #[test]
    fn a_client_may_be_late_by_a_long_period_and_its_spread_shows_less_all_the_same() {
        let mut sample = Sample::of(1, 2);
        sample.plan.groups[0].profile = Profile::constant(1_000);
        sample.counted(1, |counted| counted.first_read_ns += 150 * MS);
        let held_up = [PACKETS, PACKETS, PACKETS];
        assert_eq!(found(&sample), [[PACKETS, 0, 0], held_up]);
    }

    #[test]
    fn agents_and_floods_are_not_compared() {
        let mut sample = Sample::of(2, 1);
        sample.counted(1, |counted| counted.first_read_ns += 500 * MS);
        assert_eq!(found(&sample), [[PACKETS, 0, 0]; 2]);
        let mut sample = Sample::of(1, 2);
        sample.counted(1, |counted| counted.first_read_ns += 500 * MS);
        sample.flood();
        let in_time = receivers(&sample).into_iter().map(|of| of.in_time);
        assert_eq!(in_time.collect::<Vec<_>>(), [None, None]);
    }

    fn outcome(sample: &Sample) -> Outcome {
        sample.conclude().report.outcome.unwrap()
    }

    fn objective(sample: &Sample, metric: Metric) -> Objective {
        let mut objectives = outcome(sample).objectives.into_iter();
        let is_on = |of: &Objective| of.threshold.as_ref().unwrap().metric() == metric;
        objectives.find(is_on).unwrap()
    }

    /// One agent on another clock, whose clients have a packet each, due within 3 s.
    fn one_packet_each(clients: u32) -> Sample {
        let mut sample = Sample::of(1, clients);
        sample.plan.groups[0].profile = Profile::constant(333);
        sample.plan.duration = Duration::from_secs(3);
        for client in 0..clients {
            sample.send(client, 1);
            sample.counted(client, |counted| {
                counted.last_due_ns = counted.first_due_ns;
                counted.last_read_ns = counted.first_read_ns;
            });
        }
        sample.forget_clock(0);
        sample
    }

    #[test]
    fn clients_of_a_packet_each_that_come_ever_later_do_not_hold() {
        let mut sample = one_packet_each(20);
        assert_eq!(verdict(&sample.conclude()).reasons, []);
        // That all came equally late is not known.
        let spread = objective(&sample, Metric::Spread);
        assert_eq!(spread.status(), OutcomeStatus::NotJudged);
        assert_eq!(outcome(&sample).status(), OutcomeStatus::NotJudged);
        for client in 0..20 {
            sample.counted(client, |counted| {
                let late_ns = u64::from(client) * 150_000_000;
                counted.first_read_ns += late_ns;
                counted.last_read_ns += late_ns;
            });
        }
        assert_eq!(verdict(&sample.conclude()).reasons, []);
        assert_eq!(
            objective(&sample, Metric::Spread).status(),
            OutcomeStatus::NotHeld
        );
        assert_eq!(outcome(&sample).status(), OutcomeStatus::NotHeld);
    }

    #[test]
    fn a_client_that_was_held_up_as_a_whole_has_not_kept_up() {
        let mut sample = Sample::of(2, 150);
        sample.forget_clock(0);
        sample.counted(0, |counted| counted.first_read_ns += 11_000_000);
        assert_eq!(
            objective(&sample, Metric::KeptUp).status(),
            OutcomeStatus::NotHeld
        );
        let spread = objective(&sample, Metric::Spread);
        assert_eq!(spread.status(), OutcomeStatus::NotJudged);
        assert_eq!(spread.figures["uncertain"], PACKETS.into());
    }
}
