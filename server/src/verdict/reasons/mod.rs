//! The grounds for a verdict. Every code and its way out stands in docs/verdict.md.

mod hosts;
mod lateness;
mod missing;
mod reason;
mod sending;

use metronome_proto::v1::{Reason, ReasonCode, VerdictStatus};

pub(super) use hosts::{allowed, stepped};

use super::{evidence::Evidence, laws::Checked, punctuality::Punctualities, rows::Row};

/// Every ground, broken laws first, and of these that packets were changed, then that the order of
/// packets was: the others may follow from it. Empty when the run is valid.
pub(super) fn find(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    laws: &[Checked],
    punctuality: &Punctualities,
) -> Vec<Reason> {
    let mut broken: Vec<_> = laws.iter().filter(|law| law.is_broken()).collect();
    broken.sort_by_key(|law| match law.code {
        ReasonCode::Corrupt => 0,
        ReasonCode::SequenceBroken => 1,
        _ => 2,
    });
    let late = || {
        punctuality.whole()?;
        let late = lateness::lateness(evidence, punctuality);
        let late = late.or_else(|| lateness::client_lateness(rows))?;
        Some(lateness::with_doing(evidence, late))
    };
    let others = [
        sending::nothing_sent(evidence, rows),
        sending::flood_ended_early(evidence, rows),
        sending::client_sent_nothing(evidence, rows),
        late(),
        lateness::saturated(evidence, rows),
        missing::agents_lost(evidence),
        missing::clients_lost(rows),
        missing::worker_record_missing(evidence),
        missing::stopped(evidence, rows, punctuality),
    ];
    let broken = broken.into_iter().map(broken_law);
    let others = others.into_iter().flatten();
    broken.chain(others).chain(hosts::find(evidence)).collect()
}

fn broken_law(law: &Checked) -> Reason {
    Reason {
        code: law.code.into(),
        status: VerdictStatus::Invalid.into(),
        sentence: format!("The law \"{}\" is broken: {}.", law.law, law.sentence),
        remedy: law.code.remedy().into(),
        figures: law.figures.clone(),
        failure: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use metronome_proto::{
        counters::CounterList as _,
        histogram::{Histogram, bucket},
        v1::{Failure, FailureCode, LawStatus, ReasonCode, ReceiverCounts, StopCause},
    };

    use super::*;
    use crate::{
        model::{ClientEnd, Incident, Times},
        verdict::{
            Conclusion,
            samples::{PACKETS, Sample, codes, due_ns, late, verdict},
            sentence::write,
        },
    };

    #[track_caller]
    fn judged(sample: &Sample, status: VerdictStatus, expected: &[ReasonCode]) -> Conclusion {
        let conclusion = sample.conclude();
        assert_eq!(codes(&conclusion), expected);
        let verdict = verdict(&conclusion);
        assert_eq!(verdict.status(), status);
        let is_sentence = |text: &str| text.ends_with('.') && text.len() > 20;
        for reason in &verdict.reasons {
            assert!(is_sentence(&reason.sentence), "{reason:?}");
            assert!(!reason.sentence.contains('–'), "{reason:?}");
            assert_numbers_are_figures(reason);
            let remedy = reason
                .failure
                .as_ref()
                .map_or(reason.code().remedy(), |failure| failure.code().remedy());
            assert_eq!(reason.remedy, remedy);
        }
        assert!(
            verdict.notes.iter().all(|note| is_sentence(&note.sentence)),
            "{:?}",
            verdict.notes
        );
        conclusion
    }

    /// Takes out the names of quantiles and laws, the sentence of the cause, and every figure as it
    /// is shown; then no digit may be left.
    #[track_caller]
    fn assert_numbers_are_figures(reason: &Reason) {
        let mut sentence = reason.sentence.replace("p99.9", "").replace("p99", "");
        if let Some(failure) = &reason.failure {
            sentence = sentence.replace(&failure.sentence, "");
        }
        if let Some((_, figures)) = sentence.split_once("\" is broken: ") {
            sentence = figures.into();
        }
        let names = || reason.figures.keys();
        let apart = |name| names().map(move |other| format!("{{{name}|{other}}}"));
        let templates = names().flat_map(|name| apart(name).chain([format!("{{{name}}}")]));
        let mut shown: Vec<_> = templates.map(|of| write(&of, &reason.figures)).collect();
        shown.sort_by_key(|text| std::cmp::Reverse(text.len()));
        for text in shown {
            sentence = sentence.replace(&text, "");
        }
        assert!(
            !sentence.contains(|letter: char| letter.is_ascii_digit()),
            "{sentence}: {reason:?}"
        );
    }

    /// The sentences of the notes.
    fn notes(conclusion: &Conclusion) -> Vec<&str> {
        let notes = verdict(conclusion).notes.iter();
        notes.map(|note| note.sentence.as_str()).collect()
    }

    fn failure(code: FailureCode) -> Failure {
        Failure::new(code, "something went wrong")
    }

    #[test]
    fn a_clean_run_is_valid_without_reasons_or_notes() {
        let conclusion = judged(&Sample::of(2, 5), VerdictStatus::Valid, &[]);
        assert!(notes(&conclusion).is_empty());
    }

    #[test]
    fn a_broken_law_from_which_others_may_follow_comes_first() {
        use ReasonCode as C;
        let sample = Sample::of(1, 1);
        let broken = |code| Checked {
            code,
            law: "left = right",
            status: LawStatus::Broken,
            sentence: "1 = 0".into(),
            figures: BTreeMap::new(),
        };
        let laws = [C::SumsDiffer, C::SequenceBroken, C::BytesDiffer, C::Corrupt].map(broken);
        let evidence = sample.evidence();
        let punctuality = Punctualities::of(&evidence, &[]);
        let reasons = find(&evidence, &[], &laws, &punctuality);
        let codes: Vec<_> = reasons.iter().map(Reason::code).collect();
        let expected = [C::Corrupt, C::SequenceBroken, C::SumsDiffer, C::BytesDiffer];
        assert_eq!(codes[..4], expected);
    }

    #[test]
    fn more_late_packets_than_were_scheduled_have_no_share_in_any_sentence() {
        let mut sample = Sample::of(1, 1);
        sample.reported_counts(0, |counts| counts.skipped = 1 << 63);
        let conclusion = sample.conclude();
        let verdict = verdict(&conclusion);
        assert_eq!(verdict.punctuality, None);
        let mut reasons = verdict.reasons.iter();
        let late = reasons.find(|of| of.code() == ReasonCode::Lateness);
        let late = late.expect("it was late all the same");
        assert!(!late.figures.contains_key("late_percent"), "{late:?}");
        assert!(
            !late.sentence.contains(" %)") && !late.sentence.contains('–'),
            "{late:?}"
        );
    }

    #[test]
    fn one_percent_of_the_schedule_may_be_skipped_by_the_generator() {
        let mut sample = Sample::of(1, 1);
        skip(&mut sample, 1);
        let conclusion = judged(&sample, VerdictStatus::Valid, &[]);
        let punctuality = verdict(&conclusion).punctuality.unwrap();
        assert_eq!((punctuality.late, punctuality.late_percent), (1, 1.0));
        skip(&mut sample, 1);
        let conclusion = judged(&sample, VerdictStatus::Invalid, &[ReasonCode::Lateness]);
        let reason = &verdict(&conclusion).reasons[0];
        assert_eq!(
            reason.sentence,
            "2 of 100 packets (2.00 %) were late although their connections had room: 0 were \
             written more than 1 ms after they were due (1 period of the schedule) and 2 \
             never, while 0 were blocked; at most 1 % may be."
        );
        for (name, figure) in [
            ("late", 2_u64),
            ("skipped", 2),
            ("blocked", 0),
            ("scheduled", PACKETS),
            ("limit_ns", 1_000_000),
        ] {
            assert_eq!(reason.figures[name], figure.into(), "{name}");
        }
        assert_eq!(reason.figures["limit_periods"], 1.0.into());
        // The path or the receiver took no more: that is a result, and the outcome's.
        sample.reported_counts(0, |counts| counts.blocked = 2);
        judged(&sample, VerdictStatus::Valid, &[]);
    }

    /// The first client leaves out the last packets of its schedule.
    fn skip(sample: &mut Sample, packets: u64) {
        sample.reported(0, |reported| {
            let counts = reported.counts.as_mut().expect("the sample has counts");
            counts.sent -= packets;
            counts.skipped += packets;
            reported.acknowledged = Some(counts.sent);
            reported.kernel_acknowledged_bytes = Some(counts.sent * 32);
        });
        sample.counted(0, |counted| {
            counted.counts.received -= packets;
            counted.next_sequence = counted.counts.received;
            counted.last_due_ns = due_ns(counted.counts.received.saturating_sub(1));
            counted.reported_sent = Some(counted.counts.received);
            counted.counts.in_time = counted.counts.in_time.map(|of| of - packets);
        });
        sample.counters().workers[0].packets -= packets;
        sample.retime();
    }

    #[test]
    fn one_dead_device_among_a_hundred_does_not_hide() {
        let mut sample = Sample::of(1, 100);
        skip(&mut sample, PACKETS);
        let conclusion = judged(
            &sample,
            VerdictStatus::Invalid,
            &[ReasonCode::ClientLateness],
        );
        let reason = &verdict(&conclusion).reasons[0];
        assert_eq!(
            reason.sentence,
            "In 1 of 100 clients more than 1 % of the packets were late; the first is client 0 of \
             agent agent-0: of 100 packets 100 were never written and 0 were blocked."
        );
        assert_eq!(reason.figures["agent"], "agent-0".into());
    }

    #[test]
    fn one_client_of_a_flood_that_sent_nothing_does_not_hide() {
        let mut sample = Sample::of(1, 100);
        sample.flood();
        skip(&mut sample, PACKETS);
        sample.reported_counts(0, |counts| (counts.scheduled, counts.skipped) = (0, 0));
        let conclusion = judged(
            &sample,
            VerdictStatus::Invalid,
            &[ReasonCode::ClientSentNothing],
        );
        let sentence = &verdict(&conclusion).reasons[0].sentence;
        assert!(
            sentence.starts_with("1 of 100 clients")
                && sentence.contains("client 0 of agent agent-0"),
            "{sentence}"
        );
    }

    #[test]
    fn a_flood_that_an_agent_ended_by_itself_was_not_the_load_that_was_asked_for() {
        let mut sample = Sample::of(2, 2);
        sample.flood();
        let duration_ns = PACKETS * 1_000_000;
        // A clock of another host may run this much ahead.
        sample
            .finished_early
            .insert(1, duration_ns - duration_ns / 1_000);
        judged(&sample, VerdictStatus::Valid, &[]);
        sample
            .finished_early
            .insert(1, duration_ns - duration_ns / 1_000 - 1);
        judged(
            &sample,
            VerdictStatus::Invalid,
            &[ReasonCode::FloodEndedEarly],
        );
        sample.finished_early.insert(1, 1_000_000);
        let conclusion = judged(
            &sample,
            VerdictStatus::Invalid,
            &[ReasonCode::FloodEndedEarly],
        );
        let reason = &verdict(&conclusion).reasons[0];
        for (name, figure) in [
            ("agents_early", 1),
            ("agents", 2),
            ("elapsed_ns", 1_000_000),
            ("duration_ns", duration_ns),
        ] {
            assert_eq!(reason.figures[name], figure.into(), "{name}");
        }
        assert_eq!(reason.figures["agent"], "agent-1".into());
        // The laws find what is missing of a schedule.
        let mut paced = Sample::of(2, 2);
        paced.finished_early = sample.finished_early.clone();
        judged(&paced, VerdictStatus::Valid, &[]);
        // An agent may end when it has lost all its clients; that is a reason of its own.
        let mut broken = Sample::of(2, 1);
        broken.flood();
        broken.finished_early = sample.finished_early;
        broken.break_connection(1, 40);
        judged(&broken, VerdictStatus::Partial, &[ReasonCode::ClientLost]);
    }

    #[test]
    fn one_late_device_among_a_hundred_does_not_hide() {
        let mut sample = Sample::of(1, 100);
        sample.counted(7, |counted| counted.lateness_p99_ns = 1_000_000);
        judged(&sample, VerdictStatus::Valid, &[]);
        sample.counted(7, |counted| counted.lateness_p99_ns = 1_020_000);
        judged(
            &sample,
            VerdictStatus::Invalid,
            &[ReasonCode::ClientLateness],
        );
        // One in a hundred packets may be late, and the path may be why.
        sample.reported_counts(7, |counts| counts.blocked = 1);
        judged(
            &sample,
            VerdictStatus::Invalid,
            &[ReasonCode::ClientLateness],
        );
        sample.reported_counts(7, |counts| counts.blocked = 2);
        judged(&sample, VerdictStatus::Valid, &[]);
    }

    #[test]
    fn what_came_late_because_the_connection_was_full_is_not_the_generators_fault() {
        let mut sample = Sample::of(2, 50);
        late(&mut sample, 400);
        judged(&sample, VerdictStatus::Invalid, &[ReasonCode::Lateness]);
        for client in 0..3 {
            sample.reported_counts(client, |counts| counts.blocked = 100);
        }
        let conclusion = judged(&sample, VerdictStatus::Valid, &[]);
        let punctuality = verdict(&conclusion).punctuality.unwrap();
        assert_eq!((punctuality.late, punctuality.late_percent), (100, 1.0));
        assert_eq!(verdict(&conclusion).valid_to_ppm, Some(900_000));
        sample.reported_counts(4, |counts| counts.blocked = 100);
        let conclusion = judged(&sample, VerdictStatus::Valid, &[]);
        assert_eq!(verdict(&conclusion).valid_to_ppm, None);
    }

    #[test]
    fn what_a_lost_client_skipped_and_what_it_was_blocked_for_count_for_nothing() {
        let mut sample = Sample::of(2, 50);
        skip(&mut sample, 60);
        late(&mut sample, 101);
        sample.reported(0, |reported| reported.acknowledged = None);
        let late_and_lost = [ReasonCode::Lateness, ReasonCode::ClientLost];
        let conclusion = judged(&sample, VerdictStatus::Invalid, &late_and_lost);
        assert_eq!(verdict(&conclusion).punctuality.unwrap().late, 101);
        sample.reported_counts(0, |counts| counts.blocked = 60);
        judged(&sample, VerdictStatus::Invalid, &late_and_lost);
        sample.reported_counts(0, |counts| counts.blocked = 61);
        judged(&sample, VerdictStatus::Partial, &[ReasonCode::ClientLost]);
    }

    #[test]
    fn a_run_that_was_stopped_before_its_first_packet_is_stopped_and_nothing_else() {
        for start_at_ns in [None, Some(1_000_000_000)] {
            let mut sample = Sample::of(1, 1);
            skip(&mut sample, PACKETS);
            sample.reported_counts(0, |counts| (counts.scheduled, counts.skipped) = (0, 0));
            sample.counted(0, |counted| {
                (
                    counted.first_due_ns,
                    counted.last_due_ns,
                    counted.first_read_ns,
                ) = (0, 0, 0);
            });
            sample.start_at_ns = start_at_ns;
            sample.stopped = Some(StopCause::Operator);
            judged(&sample, VerdictStatus::Partial, &[ReasonCode::Stopped]);
        }
    }

    #[test]
    fn lateness_may_be_a_period_of_the_schedule_within_one_and_ten_milliseconds() {
        let late_by = |sample: &mut Sample, lateness_ns| {
            let mut lateness = Histogram::default();
            lateness.add_count(metronome_proto::histogram::bucket(lateness_ns), PACKETS);
            sample.counters().times.lateness = lateness;
        };
        let mut sample = Sample::of(1, 1);
        late_by(&mut sample, 980_000);
        judged(&sample, VerdictStatus::Valid, &[]);
        late_by(&mut sample, 1_020_000);
        judged(&sample, VerdictStatus::Invalid, &[ReasonCode::Lateness]);
        // 5 packets a write at 1 kHz: a period of 5 ms; 50 packets a write: 50 ms.
        for (batch, last, limit_ns) in [(5, 95, 5_000_000), (50, 50, 10_000_000)] {
            sample.plan.groups[0].batch = batch;
            sample.counted(0, |counted| counted.last_due_ns = due_ns(last));
            late_by(&mut sample, limit_ns);
            let conclusion = judged(&sample, VerdictStatus::Valid, &[]);
            let punctuality = verdict(&conclusion).punctuality.unwrap();
            assert_eq!(punctuality.limit_ns, limit_ns as i64);
            let periods = limit_ns as f64 / (f64::from(batch) * 1e6);
            assert_eq!(punctuality.limit_periods, periods);
            late_by(&mut sample, limit_ns + limit_ns / 50);
            judged(&sample, VerdictStatus::Invalid, &[ReasonCode::Lateness]);
        }
    }

    #[test]
    fn a_lateness_that_no_packet_can_carry_is_a_reason_and_what_a_path_can_have_caused_is_none() {
        let top = |value: u64, at: fn(&mut Times) -> &mut Histogram| {
            let mut sample = Sample::of(3, 100);
            let histogram = at(&mut sample.counters().times);
            let mut times = Histogram::default();
            times.add_count(bucket(10_000), histogram.count() - 2);
            times.add_count(bucket(value), 2);
            *histogram = times;
            sample
        };
        let mut sample = top(u32::MAX.into(), |times| &mut times.lateness);
        let conclusion = judged(&sample, VerdictStatus::Invalid, &[ReasonCode::Saturated]);
        let saturated = |conclusion: &Conclusion| {
            let times = conclusion.report.times.clone().expect("times");
            [times.lateness, times.transit, times.latency, times.spread]
                .map(|of| of.expect("a distribution").saturated)
        };
        assert_eq!(saturated(&conclusion), [2, 0, 0, 0]);
        assert_eq!(
            verdict(&conclusion).reasons[0].sentence,
            "2 packets were written 4.28 s or longer after they were due, which a packet cannot \
             carry, while 0 were blocked."
        );
        sample.reported_counts(0, |counts| counts.blocked = 2);
        judged(&sample, VerdictStatus::Valid, &[]);
        for (kind, at) in [
            (
                1,
                (|times| &mut times.transit) as fn(&mut Times) -> &mut Histogram,
            ),
            (2, |times| &mut times.latency),
            (3, |times| &mut times.spread),
        ] {
            let conclusion = judged(&top(u64::MAX, at), VerdictStatus::Valid, &[]);
            assert_eq!(saturated(&conclusion)[kind], 2);
        }
    }

    #[test]
    fn a_broken_connection_makes_the_run_partial() {
        let mut sample = Sample::of(1, 10);
        sample.break_connection(7, 40);
        let conclusion = judged(&sample, VerdictStatus::Partial, &[ReasonCode::ClientLost]);
        let counts = conclusion.report.counts.unwrap();
        let (sent, received) = (
            counts.generator.unwrap().sent,
            counts.receiver.unwrap().received,
        );
        assert_eq!((sent, received, counts.lost), (1000, 940, Some(60)));
        assert_eq!(
            (counts.lost_unacknowledged, counts.lost_unread),
            (Some(60), Some(0))
        );
        let code = |failure: &Option<Failure>| failure.as_ref().map(Failure::code);
        let broken = Some(FailureCode::ConnectionBroken);
        assert_eq!(code(&conclusion.clients[7].failure), broken);
        assert_eq!(code(&verdict(&conclusion).reasons[0].failure), broken);
    }

    #[test]
    fn an_agent_that_never_reports_makes_the_run_partial_and_what_it_sent_is_not_known() {
        let mut sample = Sample::of(2, 2);
        sample.forget_agent(1);
        for client in [2, 3] {
            sample.counted(client, |counted| {
                counted.reported_sent = None;
                counted.end = ClientEnd::Broken;
            });
        }
        let conclusion = judged(&sample, VerdictStatus::Partial, &[ReasonCode::AgentLost]);
        let counts = conclusion.report.counts.unwrap();
        assert_eq!((counts.generator, counts.lost), (None, None));
        assert_eq!(counts.receiver.unwrap().received, 4 * PACKETS);
        sample.agents[1].fail(failure(FailureCode::AgentLost));
        let conclusion = judged(&sample, VerdictStatus::Partial, &[ReasonCode::AgentLost]);
        let reason = &verdict(&conclusion).reasons[0];
        let named = failure(FailureCode::AgentLost).with("agent", "agent-1");
        assert_eq!(reason.failure, Some(named));
        assert_eq!(conclusion.report.agents[1].failure, reason.failure);
        assert_eq!(
            reason.sentence,
            "1 of 2 agents did not take the run to its end; the first is agent agent-1 with 2 \
             clients: something went wrong."
        );
        let failure = conclusion.clients[3].failure.as_ref().unwrap();
        assert_eq!(failure.code(), FailureCode::AgentLost);
    }

    #[test]
    fn an_agent_that_withholds_the_packets_of_a_client_makes_the_run_partial() {
        let mut sample = Sample::of(1, 2);
        sample.reported(1, |reported| reported.counts = None);
        let conclusion = judged(&sample, VerdictStatus::Partial, &[ReasonCode::ClientLost]);
        assert_eq!(conclusion.report.counts.unwrap().generator, None);
    }

    #[test]
    fn a_run_without_the_workers_record_is_partial() {
        let mut sample = Sample::of(1, 1);
        sample.counters = None;
        judged(
            &sample,
            VerdictStatus::Partial,
            &[ReasonCode::ClientLost, ReasonCode::WorkerRecordMissing],
        );
    }

    #[test]
    fn a_stopped_run_is_partial_and_may_have_scheduled_less() {
        let mut sample = Sample::of(1, 1);
        skip(&mut sample, 60);
        sample.reported_counts(0, |counts| (counts.scheduled, counts.skipped) = (40, 0));
        sample.stopped = Some(StopCause::Operator);
        judged(&sample, VerdictStatus::Partial, &[ReasonCode::Stopped]);
        sample.stopped = None;
        judged(
            &sample,
            VerdictStatus::Invalid,
            &[ReasonCode::PlanNotScheduled],
        );
    }

    #[test]
    fn an_agent_that_is_shut_down_in_mid_run_makes_it_partial_although_its_clients_ended_cleanly() {
        let mut sample = Sample::of(1, 1);
        skip(&mut sample, 60);
        sample.reported_counts(0, |counts| (counts.scheduled, counts.skipped) = (40, 0));
        sample.agents[0].fail(failure(FailureCode::AgentShutDown));
        judged(&sample, VerdictStatus::Partial, &[ReasonCode::AgentLost]);
    }

    #[test]
    fn a_run_of_which_both_ends_have_counted_nothing_is_invalid() {
        let mut sample = Sample::of(1, 2);
        for client in 0..2 {
            sample.reported(client, |reported| {
                (reported.counts, reported.acknowledged) = (Some(Default::default()), None);
                reported.kernel_acknowledged_bytes = None;
            });
        }
        sample.counters = Some(Default::default());
        let reasons = [ReasonCode::NothingSent, ReasonCode::ClientLost];
        let conclusion = judged(&sample, VerdictStatus::Invalid, &reasons);
        let report = conclusion.report;
        assert_eq!(report.elapsed, None);
        assert_eq!(report.rate.unwrap().achieved_millihertz, None);
        let none = ReceiverCounts {
            below_floor: None,
            ..ReceiverCounts::zero()
        };
        assert_eq!(report.counts.unwrap().receiver, Some(none));
        assert_eq!(conclusion.clients.len(), 2);
    }

    #[test]
    fn a_flood_of_which_nothing_was_sent_has_no_client_that_sent_less_than_others() {
        let mut sample = Sample::of(1, 1);
        sample.flood();
        skip(&mut sample, PACKETS);
        sample.reported_counts(0, |counts| (counts.scheduled, counts.skipped) = (0, 0));
        judged(&sample, VerdictStatus::Invalid, &[ReasonCode::NothingSent]);
    }

    #[test]
    fn one_end_that_reports_in_whole_is_enough_to_know_that_nothing_was_sent() {
        let nothing_counted = |counts| {
            let mut sample = Sample::of(1, 1);
            sample.reported(0, |reported| {
                (reported.counts, reported.acknowledged) = (counts, None);
                reported.kernel_acknowledged_bytes = None;
            });
            sample
        };
        let mut sample = nothing_counted(Some(Default::default()));
        sample.counters = None;
        judged(
            &sample,
            VerdictStatus::Invalid,
            &[
                ReasonCode::NothingSent,
                ReasonCode::ClientLost,
                ReasonCode::WorkerRecordMissing,
            ],
        );
        let mut sample = nothing_counted(None);
        sample.counters = Some(Default::default());
        judged(
            &sample,
            VerdictStatus::Invalid,
            &[ReasonCode::NothingSent, ReasonCode::ClientLost],
        );
    }

    #[test]
    fn a_run_of_which_it_is_not_known_whether_anything_was_sent_is_partial() {
        let mut sample = Sample::of(1, 2);
        sample.forget_agent(0);
        // The workers have read nothing, but packets may have been lost with the agent.
        sample.counters = Some(Default::default());
        judged(&sample, VerdictStatus::Partial, &[ReasonCode::AgentLost]);
        sample.counters = None;
        judged(
            &sample,
            VerdictStatus::Partial,
            &[ReasonCode::AgentLost, ReasonCode::WorkerRecordMissing],
        );
        let mut sample = Sample::of(1, 2);
        sample.reported(1, |reported| reported.counts = None);
        sample.reported_counts(0, |counts| (counts.sent, counts.skipped) = (0, PACKETS));
        sample.counters = None;
        judged(
            &sample,
            VerdictStatus::Partial,
            &[ReasonCode::ClientLost, ReasonCode::WorkerRecordMissing],
        );
    }

    #[test]
    fn an_agent_with_another_clock_has_no_one_way_times() {
        let mut sample = Sample::of(2, 1);
        sample.forget_clock(1);
        let conclusion = judged(&sample, VerdictStatus::Valid, &[]);
        assert_eq!(
            notes(&conclusion),
            [
                "One-way times are not shown: how the clock of agent-1 relates to the server's is \
                 not known."
            ]
        );
        let lateness = conclusion.report.times.unwrap().lateness.unwrap();
        assert_eq!(lateness.count, 2 * PACKETS);
    }

    #[test]
    fn what_a_recovery_did_is_a_note() {
        let mut sample = Sample::of(1, 1);
        let counters = sample.counters();
        counters.workers[0].packets -= 10;
        counters.recovered_packets = 10;
        let text = "Worker 0 died\x1b and was started anew.".into();
        counters.incidents.push(Incident {
            at_ns: 1,
            what: "worker died".into(),
            text,
        });
        counters.clients[0].partial_frame_bytes = 7;
        let conclusion = judged(&sample, VerdictStatus::Valid, &[]);
        assert_eq!(notes(&conclusion).len(), 3);
        assert_eq!(notes(&conclusion)[1], "Worker 0 died and was started anew.");
    }
}
