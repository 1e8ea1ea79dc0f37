//! The grounds for a verdict. Every code and its way out stands in docs/verdict.md.

mod lateness;
mod missing;
mod sending;
mod sentence;

use metronome_proto::v1::{Reason, VerdictStatus};

use self::sentence::reason;
use super::{evidence::Evidence, laws::Checked, rows::Row};

/// Every ground, broken laws first. Empty when the run is valid.
pub(super) fn find(evidence: &Evidence<'_>, rows: &[Row<'_>], laws: &[Checked]) -> Vec<Reason> {
    let broken = laws.iter().filter(|law| !law.holds).map(|law| {
        let text = format!("The law \"{}\" is broken: {}.", law.law, law.figures);
        reason(law.code, VerdictStatus::Invalid, text)
    });
    let others = [
        sending::nothing_sent(evidence, rows),
        sending::schedule_not_sent(rows).or_else(|| sending::client_schedule_not_sent(rows)),
        sending::client_sent_nothing(evidence, rows),
        lateness::lateness(evidence, rows).or_else(|| lateness::client_lateness(evidence, rows)),
        lateness::saturated(evidence),
        missing::agents_lost(evidence),
        missing::clients_lost(evidence, rows),
        missing::worker_record_missing(evidence),
        missing::stopped(evidence),
    ];
    broken.chain(others.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use metronome_proto::{histogram::Histogram, rate::Rate};

    use super::*;
    use crate::{
        model::{AgentRecords, AgentShare, ClientEnd, ClockRelation, Incident},
        verdict::{
            Conclusion,
            evidence::StopCause,
            samples::{PACKETS, Sample, codes, due_ns, times},
        },
    };

    #[track_caller]
    fn judged(sample: &Sample, status: VerdictStatus, expected: &[&str]) -> Conclusion {
        let conclusion = sample.conclude();
        assert_eq!(codes(&conclusion), expected);
        let verdict = conclusion
            .report
            .verdict
            .clone()
            .expect("a report has a verdict");
        assert_eq!(verdict.status(), status);
        let is_sentence = |text: &str| text.ends_with('.') && text.len() > 20;
        assert!(
            verdict
                .reasons
                .iter()
                .all(|reason| is_sentence(&reason.text)),
            "{:?}",
            verdict.reasons
        );
        assert!(
            verdict.notes.iter().all(|note| is_sentence(note)),
            "{:?}",
            verdict.notes
        );
        conclusion
    }

    fn notes(conclusion: &Conclusion) -> Vec<String> {
        conclusion
            .report
            .verdict
            .clone()
            .expect("a report has a verdict")
            .notes
    }

    #[test]
    fn a_clean_run_is_valid_without_reasons_or_notes() {
        let conclusion = judged(&Sample::of(2, 5), VerdictStatus::Valid, &[]);
        assert!(notes(&conclusion).is_empty());
    }

    #[test]
    fn one_percent_of_the_schedule_may_be_skipped_and_is_reported() {
        let mut sample = Sample::of(1, 1);
        skip(&mut sample, 1);
        let conclusion = judged(&sample, VerdictStatus::Valid, &[]);
        assert_eq!(
            notes(&conclusion),
            ["1 of 100 scheduled packets were skipped."]
        );
        skip(&mut sample, 1);
        judged(&sample, VerdictStatus::Invalid, &["SCHEDULE_NOT_SENT"]);
    }

    /// The first client leaves out the last packets of its schedule.
    fn skip(sample: &mut Sample, packets: u64) {
        sample.reported(0, |reported| {
            reported.sent -= packets;
            reported.skipped += packets;
            reported.acknowledged = Some(reported.sent);
            reported.kernel_acknowledged_bytes = Some(reported.sent * 32);
        });
        sample.counted(0, |counted| {
            counted.counts.received -= packets;
            counted.next_sequence = counted.counts.received;
            counted.last_due_ns = due_ns(counted.counts.received.saturating_sub(1));
            counted.reported_sent = Some(counted.counts.received);
            counted.histogram_counts = [counted.counts.received; 3];
        });
        let counters = sample.counters();
        counters.workers[0].packets -= packets;
        let received = counters
            .clients
            .iter()
            .map(|counted| counted.counts.received)
            .sum();
        counters.times = times(received);
    }

    #[test]
    fn one_dead_device_among_a_hundred_does_not_hide() {
        let mut sample = Sample::of(1, 100);
        skip(&mut sample, PACKETS);
        let conclusion = judged(
            &sample,
            VerdictStatus::Invalid,
            &["CLIENT_SCHEDULE_NOT_SENT"],
        );
        let text = &conclusion.report.verdict.unwrap().reasons[0].text;
        assert!(
            text.starts_with("1 of 100 clients")
                && text.contains("client 0 of agent agent-0: 0 of 100"),
            "{text}"
        );
    }

    #[test]
    fn one_client_of_a_flood_that_sent_nothing_does_not_hide() {
        let mut sample = Sample::of(1, 100);
        sample.plan.rate = Rate::Max;
        skip(&mut sample, PACKETS);
        sample.reported(0, |reported| {
            (reported.scheduled, reported.skipped) = (0, 0);
        });
        let conclusion = judged(&sample, VerdictStatus::Invalid, &["CLIENT_SENT_NOTHING"]);
        let text = &conclusion.report.verdict.unwrap().reasons[0].text;
        assert!(
            text.starts_with("1 of 100 clients") && text.contains("client 0 of agent agent-0"),
            "{text}"
        );
    }

    #[test]
    fn one_late_device_among_a_hundred_does_not_hide() {
        let mut sample = Sample::of(1, 100);
        sample.counted(7, |counted| counted.lateness_p99_ns = 1_000_000);
        judged(&sample, VerdictStatus::Valid, &[]);
        sample.counted(7, |counted| counted.lateness_p99_ns = 1_000_001);
        judged(&sample, VerdictStatus::Invalid, &["CLIENT_LATENESS"]);
    }

    #[test]
    fn what_came_late_because_the_connection_was_full_is_not_the_agents_fault() {
        let mut sample = Sample::of(2, 50);
        let mut lateness = Histogram::default();
        lateness.add_count(metronome_proto::histogram::bucket(5_000_000), 100 * PACKETS);
        sample.counters().times.lateness = lateness;
        sample.reported(3, |reported| reported.blocked = 10);
        judged(&sample, VerdictStatus::Invalid, &["LATENESS"]);
        sample.reported(3, |reported| reported.blocked = 11);
        let conclusion = judged(&sample, VerdictStatus::Invalid, &["BACKPRESSURE"]);
        assert_eq!(conclusion.report.packets.unwrap().blocked, 11);
        let text = conclusion.report.verdict.unwrap().reasons[0].text.clone();
        assert!(
            text.starts_with("The server or the path") && !text.contains("agent"),
            "{text}"
        );
        // In time all the same: it changes nothing.
        sample.counters().times = times(100 * PACKETS);
        judged(&sample, VerdictStatus::Valid, &[]);
    }

    #[test]
    fn a_run_that_was_stopped_before_its_first_packet_is_stopped_and_nothing_else() {
        for start_at_ns in [None, Some(1_000_000_000)] {
            let mut sample = Sample::of(1, 1);
            skip(&mut sample, PACKETS);
            sample.reported(0, |reported| {
                (reported.scheduled, reported.skipped) = (0, 0);
            });
            sample.counted(0, |counted| {
                (
                    counted.first_due_ns,
                    counted.last_due_ns,
                    counted.first_read_ns,
                ) = (0, 0, 0);
            });
            sample.start_at_ns = start_at_ns;
            sample.stopped = Some(StopCause::Operator);
            judged(&sample, VerdictStatus::Partial, &["STOPPED"]);
        }
        // While it was still connecting.
        let mut sample = Sample::of(1, 1);
        sample.agents[0] =
            AgentRecords::new("agent-0".into(), AgentShare::new(0, 1, ClockRelation::Same));
        sample.agents[0].fail("the run was stopped while its clients connected");
        sample.counters = Some(Default::default());
        (sample.start_at_ns, sample.stopped) = (None, Some(StopCause::Operator));
        judged(&sample, VerdictStatus::Partial, &["STOPPED"]);
    }

    #[test]
    fn lateness_may_be_a_millisecond_or_one_period_of_the_schedule() {
        let late = |sample: &mut Sample, lateness_ns| {
            let mut lateness = Histogram::default();
            lateness.add_count(metronome_proto::histogram::bucket(lateness_ns), PACKETS);
            sample.counters().times.lateness = lateness;
        };
        let mut sample = Sample::of(1, 1);
        late(&mut sample, 980_000);
        judged(&sample, VerdictStatus::Valid, &[]);
        late(&mut sample, 1_020_000);
        judged(&sample, VerdictStatus::Invalid, &["LATENESS"]);
        // 50 packets a write at 1 kHz: a period of 50 ms.
        sample.plan.batch = 50;
        sample.counted(0, |counted| counted.last_due_ns = due_ns(50));
        judged(&sample, VerdictStatus::Valid, &[]);
        late(&mut sample, 51_000_000);
        judged(&sample, VerdictStatus::Invalid, &["LATENESS"]);
    }

    #[test]
    fn a_saturated_time_makes_the_run_invalid() {
        let mut sample = Sample::of(1, 1);
        let mut transit = Histogram::default();
        transit.record(10_000);
        transit.add_count(metronome_proto::histogram::BUCKETS - 1, PACKETS - 1);
        sample.counters().times.transit = transit;
        judged(&sample, VerdictStatus::Invalid, &["SATURATED"]);
    }

    #[test]
    fn a_broken_connection_makes_the_run_partial() {
        let mut sample = Sample::of(1, 10);
        sample.break_connection(7, 40);
        let conclusion = judged(&sample, VerdictStatus::Partial, &["CLIENT_LOST"]);
        let packets = conclusion.report.packets.unwrap();
        assert_eq!(
            (packets.sent, packets.received, packets.lost),
            (1000, 940, 60)
        );
        assert_eq!((packets.lost_unacknowledged, packets.lost_unread), (60, 0));
        assert_eq!(conclusion.clients[7].error, "the connection broke");
    }

    #[test]
    fn an_agent_that_never_reports_makes_the_run_partial_and_its_packets_still_count() {
        let mut sample = Sample::of(2, 2);
        sample.agents[1] =
            AgentRecords::new("agent-1".into(), AgentShare::new(2, 2, ClockRelation::Same));
        for client in [2, 3] {
            sample.counted(client, |counted| {
                counted.reported_sent = None;
                counted.end = ClientEnd::Broken;
            });
        }
        let conclusion = judged(&sample, VerdictStatus::Partial, &["AGENT_LOST"]);
        assert_eq!(conclusion.report.packets.unwrap().sent, 4 * PACKETS);
        sample.agents[1].fail("its stream broke");
        let conclusion = judged(&sample, VerdictStatus::Partial, &["AGENT_LOST"]);
        assert_eq!(
            conclusion.clients[3].error,
            "its agent agent-1 is missing: its stream broke"
        );
        assert_eq!(conclusion.report.agents[1].error, "its stream broke");
    }

    #[test]
    fn a_run_without_the_workers_record_is_partial() {
        let mut sample = Sample::of(1, 1);
        sample.counters = None;
        judged(
            &sample,
            VerdictStatus::Partial,
            &["CLIENT_LOST", "WORKER_RECORD_MISSING"],
        );
    }

    #[test]
    fn a_stopped_run_is_partial_and_may_have_scheduled_less() {
        let mut sample = Sample::of(1, 1);
        skip(&mut sample, 60);
        sample.reported(0, |reported| {
            reported.scheduled -= 60;
            reported.skipped = 0;
        });
        sample.stopped = Some(StopCause::Operator);
        judged(&sample, VerdictStatus::Partial, &["STOPPED"]);
        sample.stopped = None;
        judged(&sample, VerdictStatus::Invalid, &["PLAN_NOT_SCHEDULED"]);
    }

    #[test]
    fn an_agent_that_is_shut_down_in_mid_run_makes_it_partial_although_its_clients_ended_cleanly() {
        let mut sample = Sample::of(1, 1);
        skip(&mut sample, 60);
        sample.reported(0, |reported| {
            reported.scheduled -= 60;
            reported.skipped = 0;
        });
        sample.agents[0].fail("it was stopped before its schedule was over");
        judged(&sample, VerdictStatus::Partial, &["AGENT_LOST"]);
    }

    #[test]
    fn a_run_in_which_nothing_was_sent_is_invalid() {
        let mut sample = Sample::of(1, 2);
        sample.agents[0] =
            AgentRecords::new("agent-0".into(), AgentShare::new(0, 2, ClockRelation::Same));
        sample.agents[0].fail("cannot connect");
        sample.counters = Some(Default::default());
        sample.start_at_ns = None;
        let conclusion = judged(
            &sample,
            VerdictStatus::Invalid,
            &["NOTHING_SENT", "AGENT_LOST"],
        );
        let report = conclusion.report;
        assert_eq!(
            (report.elapsed_s, report.rate.unwrap().achieved_hz),
            (0.0, 0.0)
        );
        assert_eq!(report.cpu.unwrap(), metronome_proto::v1::Cpu::default());
        assert_eq!(conclusion.clients.len(), 2);
    }

    #[test]
    fn an_agent_with_another_clock_has_no_one_way_times() {
        let mut sample = Sample::of(2, 1);
        sample.forget_clock(1);
        let conclusion = judged(&sample, VerdictStatus::Valid, &[]);
        assert_eq!(
            notes(&conclusion),
            ["One-way times are not shown: the clock of agent-1 is not the server's."]
        );
        assert!(conclusion.report.transit.is_none() && conclusion.report.latency.is_none());
        assert_eq!(conclusion.report.lateness.unwrap().count, 2 * PACKETS);
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
