//! The laws of the ledger: equations that hold at the end of every run, whatever died on the way.
//! Each is checked for every client and for the sums, and reported with its figures. A broken one
//! means that a packet was miscounted somewhere, by us or by an agent that does not report the
//! truth.

mod both_ends;
mod counting;
mod law;
mod loss;
mod schedule;
mod time;

pub(super) use law::Checked;

use super::{evidence::Evidence, rows::Row};

/// Checks every law, in the order of docs/verdict.md.
pub(super) fn check(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Vec<Checked> {
    let mut laws = vec![
        schedule::schedule_is_sent_or_skipped(rows),
        schedule::schedule_is_the_plans(evidence, rows),
        loss::sent_is_received_or_placed(rows),
        loss::unread_fits_the_buffers(rows),
        counting::taken_is_counted(rows),
        both_ends::end_agrees_with_counters(rows),
        loss::clean_end_loses_nothing(rows),
        counting::sequence_is_whole(rows),
        counting::nothing_is_corrupt(rows),
        counting::histograms_count_the_received(evidence, rows),
        counting::clients_and_workers_agree(evidence, rows),
        both_ends::end_agrees_with_agent(rows),
        both_ends::end_ack_agrees_with_counters(rows),
        both_ends::digests_agree(rows),
        both_ends::records_belong(evidence),
    ];
    laws.extend(time::check(evidence, rows));
    laws
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::VerdictStatus;
    use proptest::prelude::*;

    use crate::verdict::samples::{PACKETS, START_NS, Sample, breaks, due_ns, times};

    #[test]
    fn a_clean_run_keeps_every_law() {
        let conclusion = Sample::of(2, 3).conclude();
        assert!(
            conclusion.report.laws.iter().all(|law| law.holds),
            "{:?}",
            conclusion.report.laws
        );
        assert_eq!(conclusion.report.laws.len(), 20);
    }

    #[test]
    fn each_law_is_broken_by_its_own_lie() {
        breaks(&["SCHEDULE_MISCOUNTED"], |sample| {
            sample.reported(3, |reported| reported.skipped = 1);
        });
        breaks(&["PLAN_NOT_SCHEDULED"], |sample| {
            sample.reported(3, |reported| {
                reported.scheduled = PACKETS + 1;
                reported.skipped = 1;
            });
        });
        breaks(
            &["UNREAD_BEYOND_BUFFERS", "CLIENT_LOST"],
            lose_more_than_any_buffer_holds,
        );
        breaks(&["BYTES_DIFFER"], |sample| {
            sample.counted(2, |counted| counted.bytes_taken = Some(counted.bytes + 1));
        });
        breaks(&["END_MISCOUNTED"], |sample| {
            sample.counted(2, |counted| counted.next_sequence += 1);
        });
        breaks(&["SEQUENCE_BROKEN"], |sample| {
            sample.counted(0, |counted| counted.counts.gaps = 1);
        });
        breaks(&["SEQUENCE_BROKEN"], |sample| {
            sample.counted(0, |counted| counted.counts.duplicated = 1);
        });
        breaks(&["SEQUENCE_BROKEN"], |sample| {
            sample.counted(0, |counted| counted.counts.reordered = 1);
        });
        breaks(&["CORRUPT"], |sample| {
            sample.counted(1, |counted| counted.counts.corrupt = 1);
        });
        for kind in 0..3 {
            breaks(&["HISTOGRAM_MISCOUNTED"], |sample| {
                sample.counted(2, |counted| counted.histogram_counts[kind] -= 1);
            });
        }
        breaks(&["HISTOGRAM_MISCOUNTED"], |sample| {
            sample.counters().times = times(4 * PACKETS - 1);
        });
        breaks(&["SUMS_DIFFER"], |sample| {
            sample.counters().workers[1].packets += 1;
        });
        breaks(&["SUMS_DIFFER"], |sample| {
            sample.counters().recovered_packets = 1;
        });
        breaks(&["END_MISCOUNTED", "END_DIFFERS"], |sample| {
            sample.counted(0, |counted| counted.reported_sent = Some(PACKETS + 1));
        });
        breaks(&["END_ACK_DIFFERS"], |sample| {
            sample.reported(0, |reported| reported.acknowledged = Some(PACKETS - 1));
        });
        breaks(&["DIGESTS_DIFFER"], |sample| {
            sample.reported(0, |reported| reported.digest ^= 1);
        });
        breaks(&["READ_BEFORE_START"], |sample| {
            sample.counted(0, |counted| counted.first_read_ns = START_NS - 1);
        });
        breaks(&["READ_BEFORE_WRITTEN"], |sample| {
            sample.counted(0, |counted| counted.counts.read_before_written = 1);
        });
        breaks(&["RECORDS_CONTRADICT"], |sample| {
            let again = metronome_proto::v1::ClientRecord::default();
            sample.agents[0].take(metronome_proto::v1::ClientRecords {
                run_id: String::new(),
                clients: vec![again],
            });
        });
    }

    /// A client of a hundred times the packets, of which the kernel reports nearly all as arrived.
    fn lose_more_than_any_buffer_holds(sample: &mut Sample) {
        let packets = 100 * PACKETS + 1_000;
        sample.plan.duration *= 110;
        for client in 0..4 {
            sample.reported(client, |reported| {
                (reported.scheduled, reported.sent, reported.acknowledged) =
                    (packets, packets, None);
                reported.kernel_acknowledged_bytes =
                    Some((PACKETS + u64::from(client == 0) * 10_241) * 32);
                reported.error = "the connection broke".into();
            });
            sample.counted(client, |counted| counted.reported_sent = None);
        }
    }

    #[test]
    fn a_loss_at_the_tail_is_found_whatever_the_agent_reports_of_it() {
        for error in ["", "the server acknowledges 99 packets of 100 sent"] {
            let mut expected = vec!["END_MISCOUNTED", "LOSS_ON_CLEAN_END", "END_ACK_DIFFERS"];
            expected.extend((!error.is_empty()).then_some("CLIENT_LOST"));
            breaks(&expected, |sample| {
                sample.reported(0, |reported| reported.error = error.into());
                sample.counted(0, |counted| {
                    counted.counts.received -= 1;
                    counted.next_sequence -= 1;
                    counted.last_due_ns = due_ns(PACKETS - 1);
                    counted.histogram_counts = [counted.counts.received; 3];
                });
                let counters = sample.counters();
                counters.workers[0].packets -= 1;
                counters.times = times(4 * PACKETS - 1);
            });
        }
        // All workers' figures agree on the loss, and so does the agent's acknowledgement.
        breaks(&["LOSS_ON_CLEAN_END", "END_DIFFERS"], |sample| {
            sample.reported(0, |reported| reported.acknowledged = Some(PACKETS - 1));
            sample.counted(0, |counted| {
                counted.counts.received -= 1;
                counted.next_sequence -= 1;
                counted.reported_sent = Some(PACKETS - 1);
                counted.histogram_counts = [counted.counts.received; 3];
            });
            let counters = sample.counters();
            counters.workers[0].packets -= 1;
            counters.times = times(4 * PACKETS - 1);
        });
    }

    #[test]
    fn a_lost_packet_must_be_placed() {
        breaks(&["LOSS_NOT_PLACED", "CLIENT_LOST"], |sample| {
            sample.break_connection(0, 40);
            sample.reported(0, |reported| reported.kernel_acknowledged_bytes = None);
        });
        breaks(&["LOSS_NOT_PLACED", "CLIENT_LOST"], |sample| {
            sample.break_connection(0, 40);
            sample.reported(0, |reported| {
                reported.kernel_acknowledged_bytes = Some((PACKETS + 1) * 32);
            });
        });
    }

    #[test]
    fn a_worker_record_of_an_unknown_client_or_of_one_twice_is_a_contradiction() {
        for client in [0, 4, u32::MAX] {
            breaks(&["RECORDS_CONTRADICT"], |sample| {
                let mut stray = sample.counters().clients[0].clone();
                stray.client = client;
                sample.counters().clients.push(stray);
            });
        }
    }

    proptest! {
        #[test]
        fn whatever_an_agent_claims_the_verdict_is_a_value_and_a_lie_is_never_valid(
            scheduled: u64,
            sent: u64,
            skipped: u64,
            digest: u64,
            blocked: u64,
            acknowledged: Option<u64>,
            kernel: Option<u64>,
            cpu_ns: u64,
            error in "\\PC{0,9}",
        ) {
            let mut sample = Sample::of(1, 2);
            let honest = Sample::of(1, 2).conclude();
            sample.reported(1, |reported| {
                *reported = metronome_proto::v1::ClientRecord {
                    client: 1,
                    scheduled,
                    sent,
                    skipped,
                    digest,
                    acknowledged,
                    kernel_acknowledged_bytes: kernel,
                    attempts: u32::MAX,
                    error,
                    blocked,
                };
            });
            sample.agents[0].finish(metronome_proto::v1::Finished {
                cpu_ns,
                writes: u64::MAX,
                ..Default::default()
            });
            let conclusion = sample.conclude();
            let valid =
                conclusion.report.verdict.as_ref().unwrap().status() == VerdictStatus::Valid;
            prop_assert!(!valid || conclusion.report.packets == honest.report.packets);
        }

        #[test]
        fn whatever_times_packets_carry_a_valid_run_has_the_planned_rate_and_phase(
            first_due in times_near_the_start(),
            span in times_near_the_start(),
            last_read in times_near_the_start(),
            read_before_written in 0..=1_u64,
            received in 0..=PACKETS,
            is_honest: [bool; 5],
        ) {
            let mut sample = Sample::of(1, 1);
            let pick =
                |field: usize, lie: u64, truth: u64| if is_honest[field] { truth } else { lie };
            let received = pick(4, received, PACKETS);
            sample.reported(0, |reported| {
                (reported.sent, reported.skipped, reported.acknowledged) =
                    (received, PACKETS - received, Some(received));
                reported.kernel_acknowledged_bytes = Some(received * 32);
            });
            sample.counted(0, |counted| {
                counted.first_due_ns = pick(0, first_due, due_ns(0));
                counted.last_due_ns = counted
                    .first_due_ns
                    .saturating_add(pick(1, span, 99_000_000));
                counted.last_read_ns = pick(2, last_read, START_NS + 100_000_000);
                counted.counts.read_before_written = pick(3, read_before_written, 0);
                (
                    counted.counts.received,
                    counted.next_sequence,
                    counted.reported_sent,
                ) = (received, received, Some(received));
                counted.histogram_counts = [received; 3];
            });
            let counters = sample.counters();
            counters.workers[0].packets = received;
            counters.times = times(received);
            let report = sample.conclude().report;
            if report.verdict.as_ref().unwrap().status() == VerdictStatus::Valid {
                let counted = &sample.counters().clients[0];
                let phase_ns = counted.first_due_ns - START_NS;
                let span_ns = counted.last_due_ns - counted.first_due_ns;
                prop_assert!(
                    counted.counts.read_before_written == 0
                        && report.packets.unwrap().received >= PACKETS - 1
                );
                prop_assert!(
                    phase_ns + span_ns <= 100_001_000,
                    "all is due within the run's 100 ms"
                );
                prop_assert!(span_ns >= 98_000_000 - 1_000);
                let rate = report.rate.unwrap();
                prop_assert!(
                    rate.achieved_hz <= 1.04 * rate.offered_hz.unwrap(),
                    "{rate:?}"
                );
            }
        }
    }

    fn times_near_the_start() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0..200_000_000_u64,
            (0..200_000_000_u64).prop_map(|ns| START_NS + ns)
        ]
    }
}
