//! The grounds for a verdict, and the remarks that do not change it. Every code and its way out
//! stands in docs/verdict.md.

use std::time::Duration;

use metronome_proto::{
    histogram::Histogram,
    rate::Rate,
    v1::{Reason, VerdictStatus},
};

use super::{
    Evidence, StopCause,
    laws::Checked,
    rows::{Row, total},
};
use crate::{model::WorkerCounters, text};

/// Less than this many hundredths of the schedule sent, and the load was not what was asked for.
const SENT_PERCENT_MIN: u128 = 99;
/// Lateness below this does not count, however short the period of the schedule.
const LATENESS_NS_MIN: u64 = 1_000_000;
/// More than one packet in this many that had to wait for room in its connection, and it is not the
/// generator that was late.
const BLOCKED_PARTS: u128 = 1_000;
/// A pacing thread that overslept for this long is worth a remark.
const OVERSLEEP_NS_REMARKABLE: u64 = 10_000_000;
/// Most remarks; a run of 10,000 clients must fit one message.
const NOTES_MAX: usize = 50;

/// Every ground, broken laws first. Empty when the run is valid.
pub(super) fn find(evidence: &Evidence<'_>, rows: &[Row<'_>], laws: &[Checked]) -> Vec<Reason> {
    let broken = laws.iter().filter(|law| !law.holds).map(|law| {
        let text = format!("The law \"{}\" is broken: {}.", law.law, law.figures);
        reason(law.code, VerdictStatus::Invalid, text)
    });
    let others = [
        nothing_sent(evidence, rows),
        schedule_not_sent(rows).or_else(|| client_schedule_not_sent(rows)),
        client_sent_nothing(evidence, rows),
        lateness(evidence, rows).or_else(|| client_lateness(evidence, rows)),
        saturated(evidence),
        agents_lost(evidence),
        clients_lost(evidence, rows),
        worker_record_missing(evidence),
        stopped(evidence),
    ];
    broken.chain(others.into_iter().flatten()).collect()
}

/// Remarks as full sentences, at most 50.
pub(super) fn notes(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Vec<String> {
    let mut notes = evidence.notes.to_vec();
    let foreign: Vec<_> = evidence
        .agents
        .iter()
        .filter(|agent| !agent.share.shares_clock)
        .map(|agent| agent.name.as_str())
        .collect();
    if !foreign.is_empty() {
        let names = foreign.join(", ");
        notes.push(format!(
            "One-way times are not shown: the clock of {names} is not the server's."
        ));
    }
    let skipped = total(rows, Row::skipped);
    if skipped > 0 {
        let scheduled = total(rows, Row::scheduled);
        notes.push(format!(
            "{skipped} of {scheduled} scheduled packets were skipped."
        ));
    }
    for agent in evidence.agents {
        let overslept_ns = agent
            .finished()
            .map_or(0, |finished| finished.oversleep_max_ns);
        if overslept_ns > OVERSLEEP_NS_REMARKABLE {
            notes.push(format!(
                "A pacing thread of {} once overslept by {} ms.",
                agent.name,
                millis(overslept_ns)
            ));
        }
    }
    if let Some(record) = evidence.record {
        if record.recovered_packets > 0 {
            let recovered = record.recovered_packets;
            notes.push(format!(
                "{recovered} packets were recovered after workers had died; each is counted once."
            ));
        }
        notes.extend(
            record
                .incidents
                .iter()
                .map(|incident| text::sentence(&incident.text)),
        );
        notes.extend(pauses(&record.workers));
        let halves = record
            .clients
            .iter()
            .filter(|count| count.rest_bytes > 0)
            .count();
        if halves > 0 {
            notes.push(format!(
                "{halves} clients left a packet of which not all 32 bytes came."
            ));
        }
    }
    notes.truncate(NOTES_MAX);
    notes
}

/// Times of reading that were late on purpose, and how late.
fn pauses(workers: &[WorkerCounters]) -> Option<String> {
    let sum = |figure: fn(&WorkerCounters) -> u64| {
        workers
            .iter()
            .map(|worker| u128::from(figure(worker)))
            .sum::<u128>()
    };
    let pauses = sum(|worker| worker.pauses);
    let mean_us = sum(|worker| worker.paused_ns) as f64 / 1e3 / pauses as f64;
    (pauses > 0).then(|| {
        format!(
            "Workers let packets gather in {pauses} pauses of {mean_us:.0} µs on average (--rx-coalesce); a packet's transit and latency may hold one of them."
        )
    })
}

fn nothing_sent(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    // A run that was stopped before its first packet is one that was stopped.
    if evidence.stopped.is_some() {
        return None;
    }
    let text = "No packet is known to have been sent, so nothing was measured.";
    (total(rows, Row::sent) == 0)
        .then(|| reason("NOTHING_SENT", VerdictStatus::Invalid, text.into()))
}

/// Of the clients that stayed to the end: those that went missing are a ground of their own.
fn schedule_not_sent(rows: &[Row<'_>]) -> Option<Reason> {
    let stayed = || rows.iter().filter(|row| row.exchanged_ends());
    let scheduled: u128 = stayed().map(|row| u128::from(row.scheduled())).sum();
    let sent: u128 = stayed().map(|row| u128::from(row.sent())).sum();
    (sent * 100 < scheduled * SENT_PERCENT_MIN).then(|| {
        let percent = sent as f64 / scheduled as f64 * 100.0;
        let text = format!(
            "{sent} of {scheduled} scheduled packets were sent ({percent:.2} %); at least {SENT_PERCENT_MIN} % are needed."
        );
        reason("SCHEDULE_NOT_SENT", VerdictStatus::Invalid, text)
    })
}

/// A device that sent nothing must not hide among a hundred that did.
fn client_schedule_not_sent(rows: &[Row<'_>]) -> Option<Reason> {
    let is_short = |row: &&Row<'_>| {
        row.exchanged_ends()
            && u128::from(row.sent()) * 100 < u128::from(row.scheduled()) * SENT_PERCENT_MIN
    };
    let (first, count) = first_of(rows.iter().filter(is_short))?;
    let text = format!(
        "{count} of {} clients sent less than {SENT_PERCENT_MIN} % of their schedule; the first is client {} of agent {}: {} of {} packets.",
        rows.len(),
        first.client,
        first.agent.name,
        first.sent(),
        first.scheduled()
    );
    Some(reason(
        "CLIENT_SCHEDULE_NOT_SENT",
        VerdictStatus::Invalid,
        text,
    ))
}

/// A flood has no schedule to fall short of: a client that its time never came to would hide.
fn client_sent_nothing(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    let is_judged =
        evidence.plan.rate == Rate::Max && evidence.stopped.is_none() && total(rows, Row::sent) > 0;
    let is_idle = |row: &&Row<'_>| is_judged && row.exchanged_ends() && row.sent() == 0;
    let (first, count) = first_of(rows.iter().filter(is_idle))?;
    let text = format!(
        "{count} of {} clients sent nothing in this flood; the first is client {} of agent {}.",
        rows.len(),
        first.client,
        first.agent.name
    );
    Some(reason("CLIENT_SENT_NOTHING", VerdictStatus::Invalid, text))
}

fn lateness(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    let limit_ns = lateness_limit_ns(evidence);
    let lateness_ns = evidence.record?.times.lateness.quantile_ns(0.999);
    if lateness_ns <= limit_ns {
        return None;
    }
    let (blocked, scheduled) = (total(rows, Row::blocked), total(rows, Row::scheduled));
    let limit = "one period of the schedule, or 1 ms if that is longer";
    let figures = format!(
        "p99.9 is {} ms and at most {} ms are allowed ({limit})",
        millis(lateness_ns),
        millis(limit_ns)
    );
    Some(if is_held_up(blocked, scheduled) {
        let text = format!(
            "The server or the path took packets too slowly: {blocked} of {scheduled} found no room in their connection when they were due, and so lateness {figures}."
        );
        reason("BACKPRESSURE", VerdictStatus::Invalid, text)
    } else {
        reason(
            "LATENESS",
            VerdictStatus::Invalid,
            format!("The agents sent late: lateness {figures}."),
        )
    })
}

/// As [`lateness`] of one client among many that were in time.
fn client_lateness(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    let limit_ns = lateness_limit_ns(evidence);
    let lateness_ns = |row: &Row<'_>| row.counted.map_or(0, |counted| counted.lateness_p99_ns);
    let (first, count) = first_of(rows.iter().filter(|row| lateness_ns(row) > limit_ns))?;
    let cause = if is_held_up(first.blocked().into(), first.scheduled().into()) {
        "held up by the server or the path on its way from"
    } else {
        "sent late by agent"
    };
    let text = format!(
        "{count} of {} clients were late; the first is client {}, {cause} {}: its lateness p99 is {} ms (p99.9 {} ms) and at most {} ms are allowed.",
        rows.len(),
        first.client,
        first.agent.name,
        millis(lateness_ns(first)),
        millis(first.counted.map_or(0, |counted| counted.lateness_p99_9_ns)),
        millis(limit_ns)
    );
    Some(reason("CLIENT_LATENESS", VerdictStatus::Invalid, text))
}

fn lateness_limit_ns(evidence: &Evidence<'_>) -> u64 {
    evidence
        .plan
        .schedule(0)
        .map_or(0, |schedule| schedule.period_ns())
        .max(LATENESS_NS_MIN)
}

/// So many packets were refused by the kernel that what came late waited for the peer.
fn is_held_up(blocked: u128, scheduled: u128) -> bool {
    blocked * BLOCKED_PARTS > scheduled
}

/// The first one and how many there are.
fn first_of<T>(mut items: impl Iterator<Item = T>) -> Option<(T, usize)> {
    let first = items.next()?;
    Some((first, 1 + items.count()))
}

fn saturated(evidence: &Evidence<'_>) -> Option<Reason> {
    let times = &evidence.record?.times;
    let count = [&times.lateness, &times.transit, &times.latency]
        .map(Histogram::saturated)
        .into_iter()
        .max()?;
    (count > 0).then(|| {
        let text = format!(
            "{count} packets took 68 s or longer, which the distributions cannot tell apart."
        );
        reason("SATURATED", VerdictStatus::Invalid, text)
    })
}

fn agents_lost(evidence: &Evidence<'_>) -> Option<Reason> {
    if was_stopped_before_the_start(evidence) {
        return None;
    }
    let mut lost = evidence
        .agents
        .iter()
        .filter_map(|agent| Some((agent, agent.missing()?)));
    let (first, why) = lost.next()?;
    let others = lost.count();
    let mut text = format!(
        "Agent {} with {} clients went missing: {}",
        first.name,
        first.share.clients,
        ended(why)
    );
    if others > 0 {
        text += &format!(" So did {others} other agents.");
    }
    Some(reason("AGENT_LOST", VerdictStatus::Partial, text))
}

/// Clients of agents that did report; those of lost agents are lost with them.
fn clients_lost(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    // A run that never started has nobody to lose on the way.
    evidence.start_at_ns?;
    let mut lost = rows
        .iter()
        .filter(|row| row.agent.missing().is_none() && !row.ended_cleanly());
    let first = lost.next()?;
    let count = 1 + lost.count();
    let of = rows.len();
    let text = format!(
        "{count} of {of} clients did not end cleanly; the first is client {} of agent {}: {}",
        first.client,
        first.agent.name,
        ended(&first.error())
    );
    Some(reason("CLIENT_LOST", VerdictStatus::Partial, text))
}

fn worker_record_missing(evidence: &Evidence<'_>) -> Option<Reason> {
    let text =
        "The workers' record of the run is missing: the server's master did not give it in time.";
    evidence
        .record
        .is_none()
        .then(|| reason("WORKER_RECORD_MISSING", VerdictStatus::Partial, text.into()))
}

/// Agents that were still connecting have failed then, as they were told to.
fn was_stopped_before_the_start(evidence: &Evidence<'_>) -> bool {
    evidence.stopped.is_some() && evidence.start_at_ns.is_none()
}

fn stopped(evidence: &Evidence<'_>) -> Option<Reason> {
    let by = match evidence.stopped? {
        StopCause::Operator => "on request",
        StopCause::Shutdown => "because the server was shut down",
    };
    let planned = Duration::as_secs_f64(&evidence.plan.duration);
    let text = format!("The run was stopped {by} before its {planned} s were over.");
    Some(reason("STOPPED", VerdictStatus::Partial, text))
}

fn reason(code: &str, status: VerdictStatus, text: String) -> Reason {
    Reason {
        code: code.into(),
        status: status.into(),
        text,
    }
}

/// `text` with a full stop.
fn ended(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

fn millis(nanos: u64) -> f64 {
    (nanos / 1_000) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            AgentAccount, Conclusion,
            samples::{PACKETS, Sample, codes, due_ns, times},
        },
        *,
    };
    use crate::model::{AgentShare, Incident};

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
    fn one_percent_of_the_schedule_may_be_skipped_and_is_told() {
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
        sample.told(0, |told| {
            told.sent -= packets;
            told.skipped += packets;
            told.acknowledged = Some(told.sent);
            told.kernel_acknowledged_bytes = Some(told.sent * 32);
        });
        sample.counted(0, |counted| {
            counted.received -= packets;
            counted.next_sequence = counted.received;
            counted.last_due_ns = due_ns(counted.received.saturating_sub(1));
            counted.told_sent = Some(counted.received);
            counted.histogram_counts = [counted.received; 3];
        });
        let record = sample.record();
        record.workers[0].packets -= packets;
        let received = record.clients.iter().map(|counted| counted.received).sum();
        record.times = times(received);
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
        sample.told(0, |told| (told.scheduled, told.skipped) = (0, 0));
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
        sample.record().times.lateness = lateness;
        sample.told(3, |told| told.blocked = 10);
        judged(&sample, VerdictStatus::Invalid, &["LATENESS"]);
        sample.told(3, |told| told.blocked = 11);
        let conclusion = judged(&sample, VerdictStatus::Invalid, &["BACKPRESSURE"]);
        assert_eq!(conclusion.report.packets.unwrap().blocked, 11);
        let text = conclusion.report.verdict.unwrap().reasons[0].text.clone();
        assert!(
            text.starts_with("The server or the path") && !text.contains("agent"),
            "{text}"
        );
        // In time all the same: it changes nothing.
        sample.record().times = times(100 * PACKETS);
        judged(&sample, VerdictStatus::Valid, &[]);
    }

    #[test]
    fn a_run_that_was_stopped_before_its_first_packet_is_stopped_and_nothing_else() {
        for start_at_ns in [None, Some(1_000_000_000)] {
            let mut sample = Sample::of(1, 1);
            skip(&mut sample, PACKETS);
            sample.told(0, |told| (told.scheduled, told.skipped) = (0, 0));
            sample.counted(0, |counted| {
                (
                    counted.first_due_ns,
                    counted.last_due_ns,
                    counted.first_read_ns,
                ) = (0, 0, 0)
            });
            sample.start_at_ns = start_at_ns;
            sample.stopped = Some(StopCause::Operator);
            judged(&sample, VerdictStatus::Partial, &["STOPPED"]);
        }
        // While it was still connecting.
        let mut sample = Sample::of(1, 1);
        sample.agents[0] = AgentAccount::new("agent-0".into(), AgentShare::new(0, 1, true));
        sample.agents[0].fail("the run was stopped while its clients connected");
        sample.record = Some(Default::default());
        (sample.start_at_ns, sample.stopped) = (None, Some(StopCause::Operator));
        judged(&sample, VerdictStatus::Partial, &["STOPPED"]);
    }

    #[test]
    fn lateness_may_be_a_millisecond_or_one_period_of_the_schedule() {
        let late = |sample: &mut Sample, lateness_ns| {
            let mut lateness = Histogram::default();
            lateness.add_count(metronome_proto::histogram::bucket(lateness_ns), PACKETS);
            sample.record().times.lateness = lateness;
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
        sample.record().times.transit = transit;
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
        sample.agents[1] = AgentAccount::new("agent-1".into(), AgentShare::new(2, 2, true));
        for client in [2, 3] {
            sample.counted(client, |counted| {
                counted.told_sent = None;
                counted.error = Some("the connection was reset".into());
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
        sample.record = None;
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
        sample.told(0, |told| {
            told.scheduled -= 60;
            told.skipped = 0;
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
        sample.told(0, |told| {
            told.scheduled -= 60;
            told.skipped = 0;
        });
        sample.agents[0].fail("it was told to end before its schedule was over");
        judged(&sample, VerdictStatus::Partial, &["AGENT_LOST"]);
    }

    #[test]
    fn a_run_in_which_nothing_was_sent_is_invalid() {
        let mut sample = Sample::of(1, 2);
        sample.agents[0] = AgentAccount::new("agent-0".into(), AgentShare::new(0, 2, true));
        sample.agents[0].fail("cannot connect");
        sample.record = Some(Default::default());
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
        let record = sample.record();
        record.workers[0].packets -= 10;
        record.recovered_packets = 10;
        let text = "Worker 0 died\x1b and was started anew.".into();
        record.incidents.push(Incident {
            at_ns: 1,
            what: "worker died".into(),
            text,
        });
        record.clients[0].rest_bytes = 7;
        let conclusion = judged(&sample, VerdictStatus::Valid, &[]);
        assert_eq!(notes(&conclusion).len(), 3);
        assert_eq!(notes(&conclusion)[1], "Worker 0 died and was started anew.");
    }
}
