//! The laws of the ledger: equations that hold at the end of every run, whatever died on the way.
//! Each is checked for every client and for the sums, and reported with its figures. A broken one
//! means that a packet was miscounted somewhere, by us or by an agent that does not report the
//! truth. One whose figures are missing cannot be checked: it neither holds nor is it broken.

mod both_ends;
mod counting;
mod law;
mod loss;
mod replies;
mod round_trips;
mod schedule;
#[cfg(test)]
mod shapes;
mod time;
mod warm_up;

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
        counting::bytes_are_whole_frames(evidence, rows),
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
    laws.extend([
        replies::asked_is_the_plans(rows),
        replies::asked_is_answered(rows),
        replies::nothing_else_is_read(rows),
        replies::histograms_count_the_round_trips(evidence, rows),
        round_trips::round_trips_can_have_been(evidence, rows),
    ]);
    laws.extend(time::check(evidence, rows));
    laws
}

#[cfg(test)]
mod tests {
    use metronome_proto::packet_size::PacketSize;
    use metronome_proto::v1::{
        ClientRecord, ClientRecords, Failure, FailureCode, Finished, GeneratorCounts, LawStatus,
        ReasonCode, StopCause, VerdictStatus,
    };
    use proptest::prelude::*;

    use crate::{
        model::TimeKind,
        verdict::{
            Conclusion,
            samples::{PACKETS, START_NS, Sample, breaks, due_ns, law, set_timed, times, verdict},
            sentence::Figures,
        },
    };

    #[test]
    fn a_clean_run_keeps_every_law() {
        let conclusion = Sample::of(2, 3).conclude();
        let laws = &verdict(&conclusion).laws;
        assert!(
            laws.iter().all(|law| law.status() == LawStatus::Holds),
            "{laws:?}"
        );
        assert_eq!(laws.len(), 26);
        assert!(
            laws.iter().all(|law| !law.sentence.contains('–')),
            "{laws:?}"
        );
    }

    #[test]
    fn each_law_is_broken_by_its_own_lie() {
        breaks(&[ReasonCode::ScheduleMiscounted], |sample| {
            sample.reported_counts(3, |counts| counts.skipped = 1);
        });
        for blocked in [PACKETS + 1, u64::MAX] {
            breaks(&[ReasonCode::ScheduleMiscounted], |sample| {
                sample.reported_counts(3, |counts| counts.blocked = blocked);
            });
        }
        breaks(&[ReasonCode::PlanNotScheduled], |sample| {
            sample.reported_counts(3, |counts| {
                counts.scheduled = PACKETS + 1;
                counts.skipped = 1;
            });
        });
        breaks(
            &[ReasonCode::UnreadBeyondBuffers, ReasonCode::ClientLost],
            lose_more_than_any_buffer_holds,
        );
        breaks(&[ReasonCode::BytesDiffer], |sample| {
            sample.counted(2, |counted| counted.bytes_taken = Some(counted.bytes + 1));
        });
        breaks(&[ReasonCode::EndMiscounted], |sample| {
            sample.counted(2, |counted| counted.next_sequence += 1);
        });
        breaks(&[ReasonCode::SequenceBroken], |sample| {
            sample.counted(0, |counted| counted.counts.gaps = 1);
        });
        breaks(&[ReasonCode::SequenceBroken], |sample| {
            sample.counted(0, |counted| counted.counts.duplicated = 1);
        });
        breaks(&[ReasonCode::SequenceBroken], |sample| {
            sample.counted(0, |counted| counted.counts.reordered = 1);
        });
        breaks(&[ReasonCode::Corrupt], |sample| {
            sample.counted(1, |counted| counted.counts.corrupt = 1);
        });
        for kind in TimeKind::ALL.0 {
            breaks(&[ReasonCode::HistogramMiscounted], |sample| {
                sample.counted(2, |counted| counted.histogram_counts[kind] ^= 1);
            });
            breaks(&[ReasonCode::HistogramMiscounted], |sample| {
                sample.counted(2, |counted| counted.timed[kind] ^= 1);
            });
            // What was counted and what is held agree, but not with the packets.
            breaks(&[ReasonCode::HistogramMiscounted], |sample| {
                sample.counted(2, |counted| {
                    counted.timed[kind] += 1;
                    counted.histogram_counts[kind] += 1;
                });
                let times = &mut sample.counters().times;
                let times = [
                    &mut times.lateness,
                    &mut times.transit,
                    &mut times.latency,
                    &mut times.spread,
                    &mut times.one_way,
                    &mut times.queueing,
                ];
                times
                    .into_iter()
                    .nth(kind as usize)
                    .expect("six kinds")
                    .record(10_000);
            });
        }
        // After a long silence a packet has no spread.
        let mut sample = Sample::of(1, 1);
        set_timed(
            &mut sample.counters().clients[0],
            [PACKETS, PACKETS, PACKETS, PACKETS - 2],
        );
        sample.counters().times.spread = times(PACKETS - 2).spread;
        assert_eq!(verdict(&sample.conclude()).reasons, []);
        breaks(&[ReasonCode::HistogramMiscounted], |sample| {
            sample.counters().times = times(4 * PACKETS - 1);
        });
        breaks(&[ReasonCode::SumsDiffer], |sample| {
            sample.counters().workers[1].packets += 1;
        });
        breaks(&[ReasonCode::SumsDiffer], |sample| {
            sample.counters().recovered_packets = 1;
        });
        breaks(
            &[ReasonCode::EndMiscounted, ReasonCode::EndDiffers],
            |sample| {
                sample.counted(0, |counted| counted.reported_sent = Some(PACKETS + 1));
            },
        );
        breaks(&[ReasonCode::EndAckDiffers], |sample| {
            sample.reported(0, |reported| reported.acknowledged = Some(PACKETS - 1));
        });
        breaks(&[ReasonCode::DigestsDiffer], |sample| {
            sample.reported(0, |reported| reported.digest ^= 1);
        });
        breaks(&[ReasonCode::ReadBeforeStart], |sample| {
            sample.forget_clock(0);
            sample.counted(0, |counted| counted.first_read_ns = START_NS - 1);
        });
        breaks(&[ReasonCode::ReadBeforeWritten], |sample| {
            sample.counted(0, |counted| counted.counts.read_before_written = Some(1));
        });
        breaks(&[ReasonCode::RecordsContradict], |sample| {
            sample.agents[0].take(ClientRecords {
                run_id: String::new(),
                clients: vec![ClientRecord::default()],
            });
        });
    }

    #[test]
    fn times_by_lines_are_of_packets_of_the_client_and_no_more_than_were_counted() {
        let by_lines = |counts: [u64; 2]| {
            let mut sample = Sample::of(1, 1);
            sample.offset_clock(0, 50_000);
            for (kind, count) in [TimeKind::OneWay, TimeKind::Queueing]
                .into_iter()
                .zip(counts)
            {
                sample.counted(0, |counted| {
                    (counted.timed[kind], counted.histogram_counts[kind]) = (count, count);
                });
            }
            let sums = &mut sample.counters().times;
            let [one_way, queueing] = counts.map(times);
            (sums.one_way, sums.queueing) = (one_way.transit, queueing.transit);
            law(&sample.conclude(), ReasonCode::HistogramMiscounted).status()
        };
        // Some or all were read without a relation of the clocks, or without a floor.
        for counts in [
            [PACKETS, PACKETS],
            [PACKETS, PACKETS - 1],
            [PACKETS - 7, PACKETS - 7],
            [7, 0],
            [0, 0],
        ] {
            assert_eq!(by_lines(counts), LawStatus::Holds, "{counts:?}");
        }
        for counts in [
            [PACKETS + 1, PACKETS],
            [PACKETS - 1, PACKETS],
            [0, 1],
            [PACKETS + 1, PACKETS + 1],
        ] {
            assert_eq!(by_lines(counts), LawStatus::Broken, "{counts:?}");
        }
    }

    /// One packet of the first client came corrupt: the first, one in the middle, or the last.
    fn corrupt(sample: &mut Sample, at: u64) {
        sample.reported(0, |reported| {
            reported.acknowledged = Some(PACKETS - 1);
            reported.digest ^= 1;
        });
        sample.counted(0, |counted| {
            counted.counts.corrupt = 1;
            counted.counts.received -= 1;
            counted.counts.in_time = Some(PACKETS - 1);
            if at == 0 {
                counted.first_due_ns = due_ns(1);
                counted.first_read_ns = due_ns(1) + 10_000;
            }
            if at == PACKETS - 1 {
                counted.next_sequence -= 1;
                counted.last_due_ns = due_ns(PACKETS - 2);
            } else {
                counted.counts.gaps = 1;
                counted.counts.left_out = Some(1);
            }
        });
        sample.counters().workers[0].packets -= 1;
        sample.retime();
    }

    #[test]
    fn a_flipped_bit_is_one_reason_that_names_the_path_wherever_it_was() {
        for at in [0, 1, PACKETS / 2, PACKETS - 1] {
            let mut sample = Sample::of(2, 2);
            corrupt(&mut sample, at);
            let conclusion = sample.conclude();
            let [reason] = &verdict(&conclusion).reasons[..] else {
                panic!("{at}: {:?}", verdict(&conclusion).reasons)
            };
            assert_eq!(reason.code(), ReasonCode::Corrupt);
            assert!(reason.remedy.contains("path"), "{reason:?}");
            assert_eq!(reason.status(), VerdictStatus::Invalid);
        }
    }

    #[test]
    fn a_packet_that_the_path_left_out_is_one_reason_wherever_it_was() {
        for at in [0, 1, PACKETS / 2] {
            breaks(&[ReasonCode::SequenceBroken], |sample| {
                corrupt(sample, at);
                sample.counted(0, |counted| counted.counts.corrupt = 0);
            });
        }
    }

    #[test]
    fn what_corrupt_packets_do_not_explain_is_a_reason_of_its_own_behind_them() {
        let lose = |sample: &mut Sample, client: u32| {
            sample.counted(client, |counted| {
                counted.counts.received -= 1;
                counted.counts.gaps += 1;
                counted.counts.left_out = counted.counts.left_out.map(|of| of + 1);
            });
            sample.reported(client, |reported| {
                reported.acknowledged = reported.acknowledged.map(|of| of - 1);
            });
            sample.counters().workers[0].packets -= 1;
            sample.retime();
        };
        for client in 0..2 {
            breaks(
                &[ReasonCode::Corrupt, ReasonCode::SequenceBroken],
                |sample| {
                    corrupt(sample, 50);
                    lose(sample, client);
                },
            );
        }
    }

    #[test]
    fn a_connection_has_room_for_320_kib_and_not_for_a_packet_more() {
        let mut sample = Sample::of(2, 2);
        lose_more_than_any_buffer_holds(&mut sample);
        let conclusion = sample.conclude();
        let figures = &law(&conclusion, ReasonCode::UnreadBeyondBuffers).figures;
        for (name, figure) in [
            ("clients_broken", 1_u64),
            ("buffers_bytes", 10_240 * 32),
            ("first_unread_bytes", 10_241 * 32),
        ] {
            assert_eq!(figures[name], figure.into(), "{name}");
        }
    }

    #[test]
    fn a_connection_has_room_for_as_many_bytes_whatever_the_size_of_its_packets() {
        for (unread, clients_broken) in [(222, 0_u64), (223, 4)] {
            let mut sample = Sample::of(2, 2);
            lose_more_than_any_buffer_holds(&mut sample);
            sample.plan.groups[0].packet_size = PacketSize::MAX;
            for client in 0..4 {
                sample.reported(client, |reported| {
                    reported.kernel_acknowledged_bytes = Some((PACKETS + unread) * 1472);
                });
            }
            let conclusion = sample.conclude();
            let figures = &law(&conclusion, ReasonCode::UnreadBeyondBuffers).figures;
            assert_eq!(figures["clients_broken"], clients_broken.into(), "{unread}");
            assert_eq!(figures["unread_max_bytes"], (unread * 1472).into());
        }
    }

    /// A client of a hundred times the packets, of which the kernel reports nearly all as arrived.
    fn lose_more_than_any_buffer_holds(sample: &mut Sample) {
        let packets = 100 * PACKETS + 1_000;
        sample.plan.duration *= 110;
        for client in 0..4 {
            sample.reported_counts(client, |counts| {
                (counts.scheduled, counts.sent) = (packets, packets);
            });
            sample.reported(client, |reported| {
                reported.acknowledged = None;
                reported.kernel_acknowledged_bytes =
                    Some((PACKETS + 10_240 + u64::from(client == 0)) * 32);
                let sentence = "the connection broke";
                reported.failure = Some(Failure::new(FailureCode::ConnectionBroken, sentence));
            });
            sample.counted(client, |counted| counted.reported_sent = None);
        }
    }

    #[test]
    fn a_loss_at_the_tail_is_found_whatever_the_agent_reports_of_it() {
        for code in [None, Some(FailureCode::EndNotAcknowledged)] {
            let failure = code.map(|code| Failure::new(code, "99 of 100 are acknowledged"));
            let mut expected = vec![
                ReasonCode::EndMiscounted,
                ReasonCode::LossOnCleanEnd,
                ReasonCode::EndAckDiffers,
            ];
            expected.extend(code.map(|_| ReasonCode::ClientLost));
            breaks(&expected, |sample| {
                sample.reported(0, |reported| reported.failure = failure);
                sample.counted(0, |counted| {
                    counted.counts.received -= 1;
                    counted.next_sequence -= 1;
                    counted.last_due_ns = due_ns(PACKETS - 2);
                });
                sample.counters().workers[0].packets -= 1;
                sample.retime();
            });
        }
        // All workers' figures agree on the loss, and so does the agent's acknowledgement.
        breaks(
            &[ReasonCode::LossOnCleanEnd, ReasonCode::EndDiffers],
            |sample| {
                sample.reported(0, |reported| reported.acknowledged = Some(PACKETS - 1));
                sample.counted(0, |counted| {
                    counted.counts.received -= 1;
                    counted.next_sequence -= 1;
                    counted.last_due_ns = due_ns(PACKETS - 2);
                    counted.reported_sent = Some(PACKETS - 1);
                });
                sample.counters().workers[0].packets -= 1;
                sample.retime();
            },
        );
    }

    #[test]
    fn a_lost_packet_must_be_placed() {
        breaks(
            &[ReasonCode::LossNotPlaced, ReasonCode::ClientLost],
            |sample| {
                sample.break_connection(0, 40);
                sample.reported(0, |reported| reported.kernel_acknowledged_bytes = None);
            },
        );
        breaks(
            &[ReasonCode::LossNotPlaced, ReasonCode::ClientLost],
            |sample| {
                sample.break_connection(0, 40);
                sample.reported(0, |reported| {
                    reported.kernel_acknowledged_bytes = Some((PACKETS + 1) * 32);
                });
            },
        );
    }

    #[test]
    fn a_worker_record_of_an_unknown_client_or_of_one_twice_is_a_contradiction() {
        for client in [0, 4, u32::MAX] {
            breaks(&[ReasonCode::RecordsContradict], |sample| {
                let mut stray = sample.counters().clients[0].clone();
                stray.client = client;
                sample.counters().clients.push(stray);
            });
        }
        breaks(&[ReasonCode::RecordsContradict], |sample| {
            sample.counters().second_records = 1;
        });
    }

    proptest! {
        #[test]
        fn whatever_an_agent_claims_the_verdict_is_a_value_and_a_lie_is_never_valid(
            counts: Option<[u64; 4]>,
            digest: u64,
            acknowledged: Option<u64>,
            kernel: Option<u64>,
            cpu_ns: Option<i64>,
            code: Option<i32>,
        ) {
            let mut sample = Sample::of(1, 2);
            let honest = Sample::of(1, 2).conclude();
            let counts = counts.map(|[scheduled, sent, skipped, blocked]| GeneratorCounts {
                scheduled,
                sent,
                skipped,
                blocked,
                ..GeneratorCounts::default()
            });
            sample.reported(1, |reported| {
                *reported = ClientRecord {
                    client: 1,
                    counts,
                    digest,
                    acknowledged,
                    kernel_acknowledged_bytes: kernel,
                    attempts: u32::MAX,
                    failure: code.map(|code| Failure { code, ..Failure::default() }),
                    ..ClientRecord::default()
                };
            });
            sample.agents[0].finish(Finished {
                cpu_ns,
                writes: Some(u64::MAX),
                ..Default::default()
            });
            let conclusion = sample.conclude();
            let valid = verdict(&conclusion).status() == VerdictStatus::Valid;
            prop_assert!(!valid || conclusion.report.counts == honest.report.counts);
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
            sample.reported_counts(0, |counts| {
                (counts.sent, counts.skipped) = (received, PACKETS - received);
            });
            sample.reported(0, |reported| {
                reported.acknowledged = Some(received);
                reported.kernel_acknowledged_bytes = Some(received * 32);
            });
            sample.counted(0, |counted| {
                counted.first_due_ns = pick(0, first_due, due_ns(0));
                counted.last_due_ns = counted
                    .first_due_ns
                    .saturating_add(pick(1, span, 99_000_000));
                counted.last_read_ns = pick(2, last_read, START_NS + 100_000_000);
                counted.counts.read_before_written = Some(pick(3, read_before_written, 0));
                (
                    counted.counts.received,
                    counted.next_sequence,
                    counted.reported_sent,
                ) = (received, received, Some(received));
            });
            sample.counters().workers[0].packets = received;
            sample.retime();
            let conclusion = sample.conclude();
            if verdict(&conclusion).status() == VerdictStatus::Valid {
                let counted = &sample.counters().clients[0];
                let phase_ns = counted.first_due_ns - START_NS;
                let span_ns = counted.last_due_ns - counted.first_due_ns;
                prop_assert!(
                    counted.counts.read_before_written == Some(0)
                        && counted.counts.received >= PACKETS - 1
                );
                prop_assert!(
                    phase_ns + span_ns <= 100_001_000,
                    "all is due within the run's 100 ms"
                );
                prop_assert!(span_ns >= 98_000_000 - 1_000);
                let rate = conclusion.report.rate.unwrap();
                let (achieved, offered) = (rate.achieved_millihertz, rate.offered_millihertz);
                prop_assert!(achieved.unwrap() * 100 <= 104 * offered.unwrap(), "{rate:?}");
            }
        }
    }

    /// The codes of the laws that could not be checked; the others hold.
    fn not_checkable(conclusion: &Conclusion) -> Vec<ReasonCode> {
        let laws = verdict(conclusion).laws.iter();
        let others = laws.filter(|law| law.status() != LawStatus::Holds);
        let code = |law: &metronome_proto::v1::Law| {
            assert_eq!(law.status(), LawStatus::NotCheckable, "{law:?}");
            assert!(law.figures.is_empty() && law.sentence.len() > 10, "{law:?}");
            law.code()
        };
        others.map(code).collect()
    }

    #[test]
    fn a_law_is_not_checkable_when_what_it_compares_is_missing() {
        use ReasonCode as C;
        let mut sample = Sample::of(1, 2);
        sample.counters = None;
        assert_eq!(
            not_checkable(&sample.conclude()),
            [
                C::LossNotPlaced,
                C::UnreadBeyondBuffers,
                C::BytesDiffer,
                C::BytesDiffer,
                C::EndMiscounted,
                C::LossOnCleanEnd,
                C::SequenceBroken,
                C::Corrupt,
                C::HistogramMiscounted,
                C::SumsDiffer,
                C::EndDiffers,
                C::EndAckDiffers,
                C::DigestsDiffer,
                C::RepliesMissing,
                C::ReadBeforeStart,
                C::ReadBeforeWritten,
                C::ReadBeforeDue,
                C::ScheduleNotFollowed,
                C::StartedElsewhen,
            ]
        );
        sample.forget_agent(0);
        assert_eq!(not_checkable(&sample.conclude()).len(), 26);
        let mut sample = Sample::of(1, 2);
        sample.forget_agent(0);
        assert_eq!(
            not_checkable(&sample.conclude()),
            [
                C::ScheduleMiscounted,
                C::PlanNotScheduled,
                C::LossNotPlaced,
                C::UnreadBeyondBuffers,
                C::LossOnCleanEnd,
                C::EndDiffers,
                C::EndAckDiffers,
                C::DigestsDiffer,
                C::RepliesMissing,
                C::RepliesUnexpected,
                C::HistogramMiscounted,
                C::HistogramMiscounted,
            ]
        );
        let mut sample = Sample::of(1, 2);
        sample.forget_clock(0);
        assert_eq!(not_checkable(&sample.conclude()), [C::ReadBeforeWritten]);
        let mut sample = Sample::of(1, 2);
        sample.flood();
        assert_eq!(not_checkable(&sample.conclude()), [C::PlanNotScheduled]);
        let mut sample = Sample::of(1, 2);
        (0..2).for_each(|client| sample.counted(client, |counted| counted.bytes_taken = None));
        assert_eq!(not_checkable(&sample.conclude()), [C::BytesDiffer]);
        let mut sample = Sample::of(1, 2);
        sample.start_at_ns = None;
        let conclusion = sample.conclude();
        assert_eq!(
            law(&conclusion, C::ReadBeforeStart).status(),
            LawStatus::Broken
        );
        for code in [C::ReadBeforeDue, C::StartedElsewhen] {
            assert_eq!(law(&conclusion, code).status(), LawStatus::NotCheckable);
        }
    }

    #[test]
    fn a_law_is_checked_for_the_clients_whose_figures_are_there() {
        let mut sample = Sample::of(2, 2);
        sample.forget_agent(1);
        let conclusion = sample.conclude();
        let law = law(&conclusion, ReasonCode::EndDiffers);
        assert_eq!(law.status(), LawStatus::Holds);
        for (name, figure) in [
            ("left", 2 * PACKETS),
            ("right", 2 * PACKETS),
            ("clients", 2),
            ("clients_broken", 0),
            ("clients_total", 4),
        ] {
            assert_eq!(law.figures[name], figure.into(), "{law:?}");
        }
        assert_eq!(law.sentence, "200 = 200; checked for 2 of 4 clients");
    }

    #[test]
    fn a_broken_law_gives_both_sides_and_the_first_client_as_data() {
        let mut sample = Sample::of(2, 2);
        sample.counted(2, |counted| counted.counts.corrupt = 7);
        sample.counted(3, |counted| counted.counts.corrupt = 1);
        let conclusion = sample.conclude();
        let law = law(&conclusion, ReasonCode::Corrupt);
        for (name, figure) in [
            ("left", 8_u64),
            ("right", 0),
            ("clients", 4),
            ("clients_broken", 2),
            ("first_client", 2),
            ("first_left", 7),
        ] {
            assert_eq!(law.figures[name], figure.into(), "{law:?}");
        }
        assert_eq!(law.sentence, "8; broken by 2 clients, first client 2: 7");
        assert_eq!(verdict(&conclusion).reasons[0].figures, law.figures);
    }

    #[test]
    fn a_stopped_run_may_have_scheduled_less_and_shows_how_much() {
        let mut sample = Sample::of(1, 2);
        sample.stopped = Some(StopCause::Operator);
        let conclusion = sample.conclude();
        let law = law(&conclusion, ReasonCode::PlanNotScheduled);
        assert_eq!(law.status(), LawStatus::Holds);
        assert_eq!(law.sentence, "stopped or ended early: 200 of at most 200");
    }

    fn times_near_the_start() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0..200_000_000_u64,
            (0..200_000_000_u64).prop_map(|ns| START_NS + ns)
        ]
    }

    /// The figures of a law by its code, as its sentence gives them.
    fn figures_of(sample: &Sample, code: ReasonCode) -> Figures {
        law(&sample.conclude(), code).figures.clone()
    }

    #[test]
    fn both_sides_of_a_law_that_holds_are_the_sums_of_their_parts() {
        let sides = |sample: &Sample, code| {
            let figures = figures_of(sample, code);
            assert_eq!(figures["left"], figures["right"], "{code:?}: {figures:?}");
            figures["left"].clone()
        };
        let mut sample = Sample::of(2, 3);
        let counters = sample.counters();
        (counters.workers[0].packets, counters.recovered_packets) = (6 * PACKETS - 7, 7);
        for (code, expected) in [
            (ReasonCode::SumsDiffer, 6 * PACKETS),
            (ReasonCode::HistogramMiscounted, 4 * 6 * PACKETS - 6),
            (ReasonCode::ScheduleMiscounted, 6 * PACKETS),
            (ReasonCode::PlanNotScheduled, 6 * PACKETS),
            (ReasonCode::LossNotPlaced, 6 * PACKETS),
        ] {
            assert_eq!(sides(&sample, code), expected.into(), "{code:?}");
        }
        let of_plan = figures_of(&sample, ReasonCode::PlanNotScheduled);
        assert!(
            !of_plan.contains_key("early_max"),
            "none was early: {of_plan:?}"
        );
        let digests = figures_of(&sample, ReasonCode::DigestsDiffer);
        assert_eq!(digests["clients_equal"], 6_u32.into());
        sample.reported_counts(0, |counts| {
            (counts.sent, counts.skipped, counts.blocked) = (PACKETS - 3, 3, 2);
        });
        let schedule = figures_of(&sample, ReasonCode::ScheduleMiscounted);
        assert_eq!(schedule["blocked"], 2_u32.into());
        assert_eq!(
            sides(&sample, ReasonCode::ScheduleMiscounted),
            (6 * PACKETS).into()
        );
        // A client on another clock has no transit and no latency; each first packet has no spread.
        sample.forget_clock(1);
        let histograms = sides(&sample, ReasonCode::HistogramMiscounted);
        assert_eq!(histograms, (3 * 6 * PACKETS - 6).into());
        let mut sample = Sample::of(2, 2);
        sample.break_connection(0, 40);
        sample.reported(0, |reported| {
            reported.kernel_acknowledged_bytes = Some(50 * 32);
        });
        assert_eq!(
            sides(&sample, ReasonCode::LossNotPlaced),
            (4 * PACKETS).into()
        );
        let loss = figures_of(&sample, ReasonCode::LossNotPlaced);
        for (name, packets) in [("lost_unacknowledged", 50_u32), ("lost_unread", 10)] {
            assert_eq!(loss[name], packets.into(), "{name}");
        }
    }

    #[test]
    fn a_stray_record_is_put_down_to_the_agent_that_sent_it() {
        let mut sample = Sample::of(2, 1);
        let clean = figures_of(&sample, ReasonCode::RecordsContradict);
        assert!(!clean.contains_key("agent"), "{clean:?}");
        sample.agents[1].take(ClientRecords {
            run_id: String::new(),
            clients: vec![ClientRecord::default()],
        });
        let strays = figures_of(&sample, ReasonCode::RecordsContradict);
        assert_eq!(strays["agent"], "agent-1".into());
        assert_eq!(strays["strays_agents"], 1_u32.into());
        let conclusion = sample.conclude();
        let sentence = &law(&conclusion, ReasonCode::RecordsContradict).sentence;
        assert!(sentence.contains("first agent-1"), "{sentence}");
    }

    #[test]
    fn a_law_that_cannot_be_checked_gives_the_reason_that_applies() {
        let sentence = |sample: &Sample| {
            let conclusion = sample.conclude();
            law(&conclusion, ReasonCode::PlanNotScheduled)
                .sentence
                .clone()
        };
        let mut sample = Sample::of(1, 1);
        sample.flood();
        assert!(sentence(&sample).contains("a flood plans no packets"));
        let mut sample = Sample::of(1, 1);
        sample.forget_agent(0);
        assert!(sentence(&sample).contains("no agent has reported the packets of a client"));
    }
}
