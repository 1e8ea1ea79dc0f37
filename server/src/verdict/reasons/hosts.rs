//! What the hosts of the agents did to a run: throttled, stolen from, frozen, suspended. The plan
//! may allow each; then it is a note.

use metronome_proto::{
    host_point,
    v1::{
        EnvironmentRole, HostPoint, HostSeries, Note, NoteCode, Reason, ReasonCode, VerdictStatus,
    },
};

use super::reason::reason;
use crate::verdict::{
    evidence::Evidence,
    frozen,
    limit::stolen_share,
    sentence::{Figures, figures, write},
};

/// What its quota may have denied the control group of an agent, percent of one core's time.
const THROTTLED_PERCENT_MAX: f64 = 1.0;
/// The share of the CPU time of an agent's host that the hypervisor may have taken, percent.
const STOLEN_PERCENT_MAX: f64 = 5.0;
/// A host that slept for less was not suspended, ns.
const SUSPENDED_NS_MIN: i64 = 100_000_000;
/// A wall clock that moved by less is steered, ns.
const STEPPED_NS_MIN: u64 = 100_000_000;

/// The reasons that the plan does not allow.
pub(super) fn find(evidence: &Evidence<'_>) -> Vec<Reason> {
    let found = all(evidence).into_iter();
    found
        .filter(|of| !is_allowed(evidence, of.code()))
        .collect()
}

/// What the plan allows and applies, each as a note.
pub(in crate::verdict) fn allowed(evidence: &Evidence<'_>) -> Vec<Note> {
    let found = all(evidence).into_iter();
    let allowed = found.filter(|of| is_allowed(evidence, of.code()));
    let note = |of: Reason| {
        let code = of.code().name();
        let mut figures = of.figures;
        figures.insert("code".into(), code.into());
        Note {
            code: NoteCode::Allowed.into(),
            sentence: format!("{} The plan allows it.", of.sentence),
            remedy: String::new(),
            figures,
        }
    };
    allowed.map(note).collect()
}

/// A wall clock that was set in the run: no time of a run is taken by it.
pub(in crate::verdict) fn stepped(evidence: &Evidence<'_>) -> Option<Note> {
    let mut hosts = evidence.hosts.iter();
    let (host, stepped_ns) = hosts.find_map(|host| {
        let stepped_ns = farthest_step(&host.points)?;
        (stepped_ns.unsigned_abs() >= STEPPED_NS_MIN).then_some((host, stepped_ns))
    })?;
    let figures = figures([
        ("host", host.name.as_str().into()),
        ("stepped_ns", stepped_ns.into()),
    ]);
    let template = "The wall clock of the host of {host} was set by {stepped_ns} in the run: no \
                    time of the run depends on it.";
    Some(Note {
        code: NoteCode::ClockStepped.into(),
        remedy: String::new(),
        sentence: write(template, &figures),
        figures,
    })
}

/// By how much the wall clock was moved in one point or in all, whichever is farther: forth and
/// back is a step as well. `None` where that is not known of all.
fn farthest_step(points: &[HostPoint]) -> Option<i64> {
    let in_all = host_point::sum(points)?.clock_stepped_ns?;
    let in_one = points.iter().filter_map(|of| of.clock_stepped_ns);
    in_one.chain([in_all]).max_by_key(|ns| ns.unsigned_abs())
}

/// The first of each kind.
fn all(evidence: &Evidence<'_>) -> Vec<Reason> {
    let agents = || {
        let agents = evidence.hosts.iter();
        let agents = agents.filter(|of| of.role() == EnvironmentRole::Agent);
        agents.filter_map(|of| Some((of, host_point::sum(&within_load(evidence, of))?)))
    };
    let hosts = || {
        evidence
            .hosts
            .iter()
            .filter_map(|of| Some((of, host_point::sum(&of.points)?)))
    };
    [
        frozen(evidence),
        hosts().find_map(|(of, total)| suspended(of, &total)),
        agents().find_map(|(of, total)| throttled(of, &total)),
        agents().find_map(|(of, total)| stolen(of, &total)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The points of a process in which packets were due: what was before or came later held up none.
fn within_load(evidence: &Evidence<'_>, host: &HostSeries) -> Vec<HostPoint> {
    let load_ns = i64::try_from(evidence.plan.duration.as_nanos()).unwrap_or(i64::MAX);
    let is_within = |of: &&HostPoint| of.from_ns < load_ns && host_point::end_ns(of) > 0;
    host.points.iter().filter(is_within).cloned().collect()
}

fn is_allowed(evidence: &Evidence<'_>, code: ReasonCode) -> bool {
    let mut allow = evidence.plan.allow.iter();
    allow.any(|of| of.reason() == Some(code))
}

fn frozen(evidence: &Evidence<'_>) -> Option<Reason> {
    let frozen = frozen::longest(evidence.hosts, evidence.agents.len())?;
    let figures = figures([
        ("frozen_ns", frozen.span_ns.into()),
        ("at_ns", frozen.from_ns.into()),
    ]);
    let template = "Every process of the run was away at the same time for {frozen_ns}, {at_ns} \
                    after the start: it was frozen.";
    Some(invalid(ReasonCode::Frozen, template, figures))
}

fn suspended(host: &HostSeries, total: &HostPoint) -> Option<Reason> {
    let suspended_ns = total.suspended_ns.filter(|ns| *ns >= SUSPENDED_NS_MIN)?;
    let figures = figures([
        ("host", host.name.as_str().into()),
        ("suspended_ns", suspended_ns.into()),
    ]);
    let template = "The host of {host} was suspended for {suspended_ns} in the run.";
    Some(invalid(ReasonCode::Suspended, template, figures))
}

fn throttled(agent: &HostSeries, total: &HostPoint) -> Option<Reason> {
    let throttled_ns = total.throttled_ns?;
    let percent = throttled_ns as f64 * 100.0 / total.span_ns.max(1) as f64;
    let figures = figures([
        ("agent", agent.name.as_str().into()),
        ("throttled_ns", throttled_ns.into()),
        ("throttled_percent", percent.into()),
        ("limit_percent", THROTTLED_PERCENT_MAX.into()),
    ]);
    let template = "Its CPU quota denied the control group of agent {agent} {throttled_ns}, all \
                    cores together: {throttled_percent|limit_percent} % of one core's time; at \
                    most {limit_percent} % may be.";
    (percent > THROTTLED_PERCENT_MAX).then(|| invalid(ReasonCode::Throttled, template, figures))
}

fn stolen(agent: &HostSeries, total: &HostPoint) -> Option<Reason> {
    let percent = stolen_share(total)? * 100.0;
    let figures = figures([
        ("agent", agent.name.as_str().into()),
        ("stolen_percent", percent.into()),
        ("limit_percent", STOLEN_PERCENT_MAX.into()),
    ]);
    let template = "The hypervisor took {stolen_percent|limit_percent} % of the CPU time of the \
                    host of agent {agent}; at most {limit_percent} % may be.";
    (percent > STOLEN_PERCENT_MAX).then(|| invalid(ReasonCode::Stolen, template, figures))
}

fn invalid(code: ReasonCode, template: &str, figures: Figures) -> Reason {
    reason(code, VerdictStatus::Invalid, template, figures)
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::Allowance;

    use super::*;
    use crate::verdict::samples::{Sample, codes, verdict};

    const SECOND_NS: i64 = 1_000_000_000;

    /// A run whose agent's host did this from its start on, and nothing before.
    fn with_host(change: impl Fn(&mut HostPoint)) -> Sample {
        let mut sample = Sample::of(1, 1);
        let point = |from_s: i64| HostPoint {
            from_ns: from_s * SECOND_NS,
            span_ns: SECOND_NS,
            throttled_ns: Some(0),
            stolen_ns: Some(0),
            cores_ns: Some(2 * SECOND_NS),
            suspended_ns: Some(0),
            clock_stepped_ns: Some(0),
            ..HostPoint::default()
        };
        let mut changed = point(0);
        change(&mut changed);
        let host = |role: EnvironmentRole, name: &str, second| HostSeries {
            role: role.into(),
            name: name.into(),
            points: vec![point(-1), second],
        };
        sample.hosts = vec![
            host(EnvironmentRole::Server, "server", point(0)),
            host(EnvironmentRole::Agent, "agent-0", changed),
        ];
        sample
    }

    #[test]
    fn what_a_host_did_makes_a_run_invalid_unless_the_plan_allows_it() {
        type Change = fn(&mut HostPoint);
        let cases: [(Allowance, Change, Change); 3] = [
            (
                Allowance::Throttled,
                |of| of.throttled_ns = Some(10_000_000),
                |of| of.throttled_ns = Some(10_000_001),
            ),
            (
                Allowance::Stolen,
                |of| of.stolen_ns = Some(100_000_000),
                |of| of.stolen_ns = Some(110_000_000),
            ),
            (
                Allowance::Suspended,
                |of| of.suspended_ns = Some(99_999_999),
                |of| of.suspended_ns = Some(100_000_000),
            ),
        ];
        for (allowance, allowed, not_allowed) in cases {
            assert_eq!(codes(&with_host(allowed).conclude()), [], "{allowance}");
            let mut sample = with_host(not_allowed);
            let code = allowance.reason().unwrap();
            assert_eq!(codes(&sample.conclude()), [code]);
            sample.plan.allow = vec![allowance];
            let conclusion = sample.conclude();
            assert_eq!(codes(&conclusion), [], "{allowance}");
            let [note] = &verdict(&conclusion).notes[..] else {
                panic!("{conclusion:?}");
            };
            assert_eq!(note.code(), NoteCode::Allowed);
            assert_eq!(note.figures["code"], code.name().into());
        }
    }

    #[test]
    fn a_figure_that_a_host_does_not_have_is_no_reason() {
        let unknown = with_host(|of| {
            (of.throttled_ns, of.stolen_ns, of.suspended_ns) = (None, None, None);
            of.clock_stepped_ns = None;
        });
        assert_eq!(codes(&unknown.conclude()), []);
        assert!(verdict(&unknown.conclude()).notes.is_empty());
    }

    #[test]
    fn a_wall_clock_that_is_set_is_a_note_and_one_that_is_steered_is_none() {
        for (ns, is_noted) in [(-100_000_000, true), (99_999_999, false), (SECOND_NS, true)] {
            let conclusion = with_host(|of| of.clock_stepped_ns = Some(ns)).conclude();
            let codes: Vec<_> = verdict(&conclusion).notes.iter().map(Note::code).collect();
            let expected = [NoteCode::ClockStepped];
            assert_eq!(codes, &expected[..usize::from(is_noted)], "{ns}");
        }
        let mut set_back = with_host(|of| of.clock_stepped_ns = Some(SECOND_NS));
        set_back.hosts[1].points[0].clock_stepped_ns = Some(-SECOND_NS);
        let conclusion = set_back.conclude();
        assert_eq!(verdict(&conclusion).notes.len(), 1, "forth and back");
    }
}
