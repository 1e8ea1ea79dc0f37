//! The notes that do not change a verdict: codes, figures, and sentences written from the figures.

use std::collections::{BTreeMap, BTreeSet};

use metronome_proto::{
    histogram::is_known,
    plan::Plan,
    v1::{self, Figure, Note, NoteCode, Reason, ReasonCode},
};
use metronome_telemetry::sanitise;

use super::{
    bounds::{Between, relation},
    evidence::Evidence,
    other_clocks::on_other_clocks,
    punctuality::{Punctualities, Punctuality},
    reasons,
    rows::{Row, by_group, sum_of_all},
    sentence::{figures, write},
    tcp,
};
use crate::model::{Against, AgentRecords, FinalCounters, MissedThreshold, WorkerCounters};

/// A pacing thread that overslept for longer than this is worth a note.
const OVERSLEEP_NS_NOTABLE: i64 = 10_000_000;

/// The quantile of lateness that a note has, millionths.
const P99_PPM: u32 = 990_000;

/// Most notes; a run of 10,000 clients must fit one message.
const NOTES_MAX: usize = 50;

/// A note whose sentence is the template, with its figures in their places.
fn note<const N: usize>(
    code: NoteCode,
    template: &str,
    of: [(&str, metronome_proto::v1::Figure); N],
) -> Note {
    let figures = figures(of);
    Note {
        code: code.into(),
        sentence: write(template, &figures),
        figures,
        ..Note::default()
    }
}

/// The note of a server whose gRPC port takes orders from other hosts without TLS.
pub(crate) fn no_certificate() -> Note {
    let sentence = "The server's gRPC port takes orders from other hosts without a certificate \
                    (--insecure-no-tls).";
    Note {
        code: NoteCode::NoCertificate.into(),
        sentence: sentence.into(),
        ..Note::default()
    }
}

/// The note of a server that did not run for so long while the run was going on, ns.
pub(crate) fn server_paused(pause_ns: u64) -> Note {
    note(
        NoteCode::ServerPaused,
        "The server's own process did not run for {pause_ns}: stopped, or starved of the CPU.",
        [("pause_ns", pause_ns.into())],
    )
}

/// All notes, at most 50.
pub(super) fn find(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    punctuality: &Punctualities,
    reasons: &[Reason],
) -> Vec<Note> {
    let mut notes: Vec<Note> = aborted_on_fail(evidence, reasons).into_iter().collect();
    notes.extend_from_slice(evidence.notes);
    notes.extend(warm_up(evidence, rows));
    notes.extend(of_other_clocks(evidence.agents));
    notes.extend(without_relation(evidence, rows));
    let mut groups = punctuality.groups();
    notes.extend(groups.find_map(|(index, of)| bunched(evidence, index, of)));
    notes.extend(clock_contradicted(evidence.agents));
    notes.extend(tcp::retransmitted(rows));
    notes.extend(evidence.agents.iter().filter_map(overslept));
    notes.extend(no_real_time(evidence, rows));
    notes.extend(reasons::allowed(evidence));
    notes.extend(reasons::stepped(evidence));
    notes.extend(evidence.counters.into_iter().flat_map(of_workers));
    notes.truncate(NOTES_MAX);
    notes
}

/// What keeps agents from having times that one of two clocks took. Each agent is in one of the
/// first two at most.
fn of_other_clocks(agents: &[AgentRecords]) -> impl Iterator<Item = Note> {
    let is_uneven =
        |agent: &AgentRecords| relation(agent).is_some_and(|path| path.contradictions > 0);
    let is_unknown = |agent: &AgentRecords| {
        let has_times = agent.is_recorded_on_our_clock();
        !has_times && !is_uneven(agent) && Between::OneWay.bound_of(agent).is_none()
    };
    let is_dropped = |agent: &AgentRecords| relation(agent).is_some_and(|of| of.is_claim_dropped);
    let note_of = |code, template, is_so: &dyn Fn(&AgentRecords) -> bool| {
        let names = agents.iter().filter(|agent| is_so(agent));
        let names: Vec<_> = names.map(|agent| agent.name.clone()).collect();
        (!names.is_empty()).then(|| note(code, template, [("agent_names", names.into())]))
    };
    [
        note_of(
            NoteCode::ClockUnknown,
            "One-way times are not shown: how the clock of {agent_names} relates to the server's \
             is not known.",
            &is_unknown,
        ),
        note_of(
            NoteCode::ClockUneven,
            "One-way times and queueing are not shown: the exchanges of readings with \
             {agent_names} contradicted each other, since a clock was stepped or does not run \
             evenly.",
            &is_uneven,
        ),
        note_of(
            NoteCode::ClockClaimDropped,
            "What the plan claims of the wall clocks counts for nothing: the exchanges of readings \
             with {agent_names} contradict it.",
            &is_dropped,
        ),
    ]
    .into_iter()
    .flatten()
}

/// Packets that were read and have no one-way time, although their clients have such times.
fn without_relation(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Note> {
    let of_group = |rows: &[Row<'_>]| {
        Between::OneWay.bound(rows)?;
        let others: Vec<_> = on_other_clocks(rows).cloned().collect();
        let received = sum_of_all(&others, Row::measured_received)?;
        let times = evidence.times_of(rows[0].group.index)?;
        Some(received.saturating_sub(times.one_way.count()))
    };
    let packets = by_group(rows)
        .filter_map(of_group)
        .fold(0, u64::saturating_add);
    (packets > 0).then(|| {
        note(
            NoteCode::WithoutRelation,
            "{packets} packets were read while there was no relation of the clocks: they are \
             missing from one-way times and queueing.",
            [("packets", packets.into())],
        )
    })
}

/// The threshold that has stopped the run. A reason has it where the records do not show the miss.
fn aborted_on_fail(evidence: &Evidence<'_>, reasons: &[Reason]) -> Option<Note> {
    let is_stopped = reasons.iter().any(|of| of.code() == ReasonCode::Stopped);
    let missed = evidence.missed.filter(|_| !is_stopped)?;
    let (why, figures) = why_missed(evidence.plan, &missed);
    let template = format!(
        "The run ended {{elapsed_ns}} after its start instead of after {{duration_ns}}, since \
         {why}. It is judged over what was scheduled until then."
    );
    Some(Note {
        code: NoteCode::AbortedOnFail.into(),
        sentence: write(&template, &figures),
        figures,
        remedy: "for the figures of the whole schedule do without --abort-on-fail".into(),
    })
}

/// The threshold that ends a run, at the moment at which it does.
pub(crate) fn failed_threshold(plan: &Plan, missed: &MissedThreshold) -> v1::Objective {
    let (why, figures) = why_missed(plan, missed);
    let group = missed.group.and_then(|index| plan.groups.get(index));
    v1::Objective {
        threshold: Some(missed.threshold.to_proto()),
        source: v1::ObjectiveSource::User.into(),
        status: v1::OutcomeStatus::NotHeld.into(),
        observed: None,
        sentence: write(&format!("The run ends, since {why}."), &figures),
        figures,
        group: group.map(|group| group.name.clone()).unwrap_or_default(),
    }
}

/// Why a threshold cannot hold any more, as a part of a sentence, with its figures.
fn why_missed(plan: &Plan, missed: &MissedThreshold) -> (String, BTreeMap<String, Figure>) {
    let mut figures = figures([
        ("threshold", missed.threshold.to_string().into()),
        ("elapsed_ns", missed.elapsed_ns.into()),
        ("duration_ns", plan.duration.as_nanos().into()),
    ]);
    let (observed, allowed) = match missed.against {
        Against::MeanNs => ("observed_ns", "allowed_ns"),
        Against::Packets | Against::Connections => ("observed", "allowed"),
    };
    figures.insert(observed.into(), missed.observed.into());
    figures.insert(allowed.into(), missed.allowed.into());
    let group = missed.group.and_then(|index| plan.groups.get(index));
    if let Some(group) = group {
        figures.insert("group".into(), group.name.as_str().into());
    }
    if let Some(planned) = missed.planned {
        figures.insert("planned".into(), planned.into());
    }
    let whose = if group.is_some() {
        " of group {group}"
    } else {
        ""
    };
    let grounds = match (missed.against, missed.planned) {
        (Against::Connections, _) => "{observed} connections had broken with packets on their way",
        (Against::MeanNs, _) => {
            "over all {planned} packets that are planned the mean is {observed_ns} at least, had \
             the rest taken no time"
        }
        (Against::Packets, Some(_)) => {
            "{observed} packets were against it, and of all {planned} that are planned it allows \
             {allowed}"
        }
        (Against::Packets, None) => "{observed} packets were against it, and it allows {allowed}",
    };
    let why = format!("{{threshold}}{whose} could not hold any more: {grounds}");
    (why, figures)
}

/// What no distribution has.
fn warm_up(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Note> {
    let warm_up = evidence.plan.warm_up;
    if warm_up.is_zero() {
        return None;
    }
    let received = sum_of_all(rows, |row| row.receiver?.warm_up);
    let mut figures = figures([("warm_up_ns", warm_up.as_nanos().into())]);
    let mut template = "The packets that were due in the first {warm_up_ns} are in no \
                        distribution of times, but in every count"
        .to_owned();
    if let Some(packets) = received {
        figures.insert("packets".into(), packets.into());
        template += ": {packets} of them were received";
    }
    template += ".";
    Some(Note {
        code: NoteCode::WarmUp.into(),
        sentence: write(&template, &figures),
        figures,
        ..Note::default()
    })
}

/// In time by the limit, and yet not the even load that a period asks for.
fn bunched(evidence: &Evidence<'_>, index: usize, punctuality: &Punctuality) -> Option<Note> {
    let times = evidence.times_of(index)?;
    let lateness = &times.lateness;
    if !is_known(500_000, lateness.count()) || !punctuality.is_bunched(times) {
        return None;
    }
    let lateness_p50_ns = lateness.quantile_ns(0.5);
    let mut figures = figures([
        ("lateness_p50_ns", lateness_p50_ns.into()),
        ("period_ns", punctuality.period_ns.into()),
    ]);
    let mut of_group = "";
    if evidence.has_several_groups() {
        let name = evidence.plan.groups[index].name.as_str();
        figures.insert("group".into(), name.into());
        of_group = " of group {group}";
    }
    let template = format!(
        "The generator sent in bunches: more than half of the packets{of_group} were written over \
         a period late. Lateness p50 is {{lateness_p50_ns|period_ns}}, the period is {{period_ns}}."
    );
    Some(Note {
        code: NoteCode::Bunched.into(),
        sentence: write(&template, &figures),
        figures,
        ..Note::default()
    })
}

fn clock_contradicted(agents: &[AgentRecords]) -> Option<Note> {
    let of = |agent: &&AgentRecords| agent.is_clock_contradicted();
    let names: Vec<_> = agents
        .iter()
        .filter(of)
        .map(|agent| agent.name.clone())
        .collect();
    (!names.is_empty()).then(|| {
        note(
            NoteCode::ClockContradicted,
            "One-way times are not shown: {agent_names} began the run on the server's clock, and \
             a later exchange of readings showed another one.",
            [("agent_names", names.into())],
        )
    })
}

fn overslept(agent: &AgentRecords) -> Option<Note> {
    let overslept_ns = agent.finished()?.oversleep_max_ns?;
    (overslept_ns > OVERSLEEP_NS_NOTABLE).then(|| {
        note(
            NoteCode::Overslept,
            "A pacing thread of {agent} once overslept by {oversleep_max_ns}.",
            [
                ("agent", agent.name.as_str().into()),
                ("oversleep_max_ns", overslept_ns.into()),
            ],
        )
    })
}

/// Agents whose pacing threads were ordinary ones. In a flood none is meant to be more.
fn no_real_time(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Note> {
    let is_without = |agent: &&AgentRecords| {
        let environment = agent.finished().and_then(|it| it.environment.as_ref());
        environment.is_some_and(|of| of.priority().is_without_real_time())
    };
    let paced = rows.iter().filter(|row| row.is_paced());
    let agents: BTreeSet<usize> = paced.map(|row| row.agent_index).collect();
    let agents = agents.into_iter().map(|index| &evidence.agents[index]);
    let names: Vec<_> = agents
        .filter(is_without)
        .map(|agent| agent.name.clone())
        .collect();
    if names.is_empty() {
        return None;
    }
    let lateness = evidence.counters.map(|counters| &counters.times.lateness);
    let p99_ns = lateness
        .filter(|it| is_known(P99_PPM, it.count()))
        .map(|it| it.quantile_ns(0.99));
    Some(match p99_ns {
        Some(p99_ns) => note(
            NoteCode::NoRealTime,
            "The pacing threads of {agent_names} had no real-time priority, so other programs can \
             make them late; lateness p99 was {lateness_p99_ns} (docs/tuning.md).",
            [
                ("agent_names", names.into()),
                ("lateness_p99_ns", p99_ns.into()),
            ],
        ),
        None => note(
            NoteCode::NoRealTime,
            "The pacing threads of {agent_names} had no real-time priority, so other programs can \
             make them late (docs/tuning.md).",
            [("agent_names", names.into())],
        ),
    })
}

/// What the workers' record is worth a note for.
fn of_workers(counters: &FinalCounters) -> Vec<Note> {
    let mut notes = Vec::new();
    if counters.recovered_packets > 0 {
        notes.push(note(
            NoteCode::Recovered,
            "{recovered} packets were recovered after a worker crash; each is counted once.",
            [("recovered", counters.recovered_packets.into())],
        ));
    }
    notes.extend(counters.incidents.iter().map(|incident| Note {
        code: NoteCode::Incident.into(),
        sentence: sanitise::sentence(&incident.text),
        figures: figures([("incident", incident.what.to_string().into())]),
        ..Note::default()
    }));
    notes.extend(shared_workers(&counters.workers));
    notes.extend(pauses(counters));
    let is_partial = |count: &&crate::model::ClientCounters| count.partial_frame_bytes > 0;
    let clients = counters.clients.iter().filter(is_partial).count();
    if clients > 0 {
        notes.push(note(
            NoteCode::PartialPackets,
            "{clients} clients left a packet of which not all bytes came.",
            [("clients", clients.into())],
        ));
    }
    notes
}

/// Figures that the workers have only for all that they read.
fn shared_workers(workers: &[WorkerCounters]) -> Option<Note> {
    let is_shared = workers.iter().any(|worker| worker.cpu_ns.is_none());
    is_shared.then(|| {
        note(
            NoteCode::SharedWorkers,
            "Other runs or raw clients were read at the same time: the workers' CPU time, wake-ups \
             and pauses for this run are not known.",
            [],
        )
    })
}

/// The pauses of batched reads, which make read times late on purpose.
fn pauses(counters: &FinalCounters) -> Option<Note> {
    let sum = |figure: fn(&WorkerCounters) -> Option<u64>| {
        let figures = counters.workers.iter().filter_map(figure);
        figures.map(u128::from).sum::<u128>()
    };
    let pauses = sum(|worker| worker.pauses);
    let mean_ns = sum(|worker| worker.paused_ns).checked_div(pauses)?;
    let template = if counters.pauses_are_asked_for {
        "Workers let packets gather in {pauses} pauses of {pause_mean_ns} on average, as the \
         server's --rx-coalesce asks for; a packet's transit and latency may hold one of them."
    } else {
        "Workers that could not read each packet by itself let packets gather in {pauses} pauses \
         of {pause_mean_ns} on average; a packet's transit and latency may hold one of them."
    };
    let figures = [("pauses", pauses.into()), ("pause_mean_ns", mean_ns.into())];
    Some(note(NoteCode::Pauses, template, figures))
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        profile::Profile,
        v1::{Environment, Finished, ThreadPriority},
    };

    use super::*;
    use crate::{
        model::Incident,
        verdict::samples::{Sample, verdict},
    };

    fn notes(spoil: impl FnOnce(&mut Sample)) -> Vec<Note> {
        let mut sample = Sample::of(2, 2);
        spoil(&mut sample);
        verdict(&sample.conclude()).notes.clone()
    }

    /// Agent 1's last report has this.
    fn state_priority(sample: &mut Sample, priority: ThreadPriority) {
        sample.last_report(1, |finished| {
            finished.environment = Some(Environment {
                priority: priority.into(),
                ..Environment::default()
            });
        });
    }

    #[test]
    fn only_threads_that_are_known_to_have_had_no_real_time_priority_are_noted() {
        use ThreadPriority as P;
        for priority in [P::Unspecified, P::RealTime, P::Mixed] {
            assert_eq!(
                notes(|sample| state_priority(sample, priority)),
                [],
                "{priority:?}"
            );
        }
        let with = |spoil: fn(&mut Sample)| {
            notes(|sample| {
                state_priority(sample, P::Ordinary);
                spoil(sample);
            })
        };
        let is_noted = |notes: Vec<Note>| {
            let mut codes = notes.iter().map(Note::code);
            codes.any(|code| code == NoteCode::NoRealTime)
        };
        assert!(is_noted(with(|_| {})));
        let flood = |sample: &mut Sample| sample.plan.groups[0].profile = Profile::Flood;
        assert!(!is_noted(with(flood)));
    }

    #[test]
    fn a_clean_run_has_no_notes() {
        assert_eq!(notes(|_| {}), []);
    }

    #[test]
    fn a_note_has_its_code_and_its_figures_and_shows_them() {
        let check = |spoil: fn(&mut Sample), code, names: &[&str], words: &str| {
            let [note] = &notes(spoil)[..] else {
                panic!("{code:?}: not one note")
            };
            assert_eq!(note.code(), code);
            assert!(note.figures.keys().eq(names), "{note:?}");
            assert!(note.sentence.contains(words), "{note:?}");
        };
        check(
            |sample| sample.notes.push(no_certificate()),
            NoteCode::NoCertificate,
            &[],
            "without a certificate",
        );
        check(
            |sample| (0..2).for_each(|agent| sample.forget_clock(agent)),
            NoteCode::ClockUnknown,
            &["agent_names"],
            "agent-0, agent-1",
        );
        check(
            |sample| sample.agents[1].contradict_clock(),
            NoteCode::ClockContradicted,
            &["agent_names"],
            "agent-1",
        );
        check(
            |sample| sample.notes.push(server_paused(3_500_000_000)),
            NoteCode::ServerPaused,
            &["pause_ns"],
            "3.5 s",
        );
        check(
            |sample| {
                sample.forget_agent(0);
                sample.agents[0].finish(metronome_proto::v1::Finished {
                    oversleep_max_ns: Some(11_000_000),
                    ..Default::default()
                });
            },
            NoteCode::Overslept,
            &["agent", "oversleep_max_ns"],
            "overslept by 11 ms",
        );
        check(
            |sample| state_priority(sample, ThreadPriority::RaisedNice),
            NoteCode::NoRealTime,
            &["agent_names"],
            "of agent-1 had no real-time priority, so other programs can make them late (",
        );
        check(
            |sample| sample.counters().recovered_packets = 3,
            NoteCode::Recovered,
            &["recovered"],
            "3 packets",
        );
        check(
            |sample| {
                sample.counters().workers[0].pauses = Some(2);
                sample.counters().workers[0].paused_ns = Some(100_000);
            },
            NoteCode::Pauses,
            &["pause_mean_ns", "pauses"],
            "could not read each packet by itself let packets gather in 2 pauses of 50 µs",
        );
        check(
            |sample| {
                sample.counters().workers[0].pauses = Some(2);
                sample.counters().workers[0].paused_ns = Some(100_000);
                sample.counters().pauses_are_asked_for = true;
            },
            NoteCode::Pauses,
            &["pause_mean_ns", "pauses"],
            "as the server's --rx-coalesce asks for",
        );
        check(
            |sample| sample.counters().workers[1].cpu_ns = None,
            NoteCode::SharedWorkers,
            &[],
            "not known",
        );
        check(
            |sample| sample.counted(1, |counted| counted.partial_frame_bytes = 5),
            NoteCode::PartialPackets,
            &["clients"],
            "1 clients",
        );
        check(
            |sample| {
                sample.counters().incidents.push(Incident {
                    at_ns: 1,
                    what: "worker died".into(),
                    text: "worker 1 died\x1b".into(),
                });
            },
            NoteCode::Incident,
            &["incident"],
            "worker 1 died",
        );
    }

    #[test]
    fn a_load_that_went_out_in_bunches_is_a_note_unless_it_was_blocked() {
        // 400 packets, 10 µs late each, of a period of 5 µs.
        let bunched = |spoil: &dyn Fn(&mut Sample)| {
            notes(|sample| {
                sample.plan.groups[0].profile = Profile::constant(200_000_000);
                sample.retime();
                spoil(sample);
            })
            .into_iter()
            .find(|note| note.code() == NoteCode::Bunched)
        };
        let note = bunched(&|_| {}).expect("a note");
        assert_eq!(note.figures["period_ns"], 5_000_u64.into());
        assert_eq!(note.figures["lateness_p50_ns"], 10_047_u64.into());
        assert!(note.sentence.ends_with("the period is 5 µs."), "{note:?}");
        let block = |sample: &mut Sample, packets| {
            sample.reported_counts(0, |counts| counts.blocked = packets);
            sample.reported_counts(1, |counts| counts.blocked = 100);
        };
        assert_eq!(bunched(&|sample| sample.forget_agent(0)), None);
        // Which leaves 201 of 400, and 200.
        assert!(bunched(&|sample| block(sample, 99)).is_some());
        assert_eq!(bunched(&|sample| block(sample, 100)), None);
    }

    #[test]
    fn there_are_at_most_fifty_notes() {
        let many = notes(|sample| sample.notes = vec![no_certificate(); 60]);
        assert_eq!(many.len(), NOTES_MAX);
    }

    #[test]
    fn a_thread_that_overslept_is_noted_above_the_notable_time() {
        let overslept = |oversleep_max_ns| {
            let mut sample = Sample::of(1, 1);
            sample.forget_agent(0);
            sample.agents[0].finish(Finished {
                oversleep_max_ns: Some(oversleep_max_ns),
                ..Finished::default()
            });
            overslept(&sample.agents[0]).is_some()
        };
        assert!(overslept(OVERSLEEP_NS_NOTABLE + 1));
        assert!(!overslept(OVERSLEEP_NS_NOTABLE));
    }
}
