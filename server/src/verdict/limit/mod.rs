//! What kept a run from being better: the generator, the receiver, the network between, or nothing,
//! with the figure that shows it.
//!
//! | what was missed | the limit |
//! |---|---|
//! | nothing | none |
//! | the schedule, or an objective that is not judged since the generator was late | generator |
//! | an objective, and what the server did explains it ([`receiver`]) | receiver |
//! | an objective, and both ends were in time | network |
//! | a law, a part of the run, or what one of both ends explains in part | not known |
//!
//! The hosts' own figures name the cause ([`doing`]). They are the processes' own words, so they
//! change no verdict to the better.

mod doing;
mod hosts;
mod named;
mod receiver;

use metronome_proto::v1::{
    Comparison, EnvironmentRole, Limit, LimitKind, Metric, Objective, Outcome, OutcomeStatus,
    Reason, ReasonCode, Verdict, VerdictStatus, figure::Value,
};

pub(super) use doing::{Doing, stolen_share};

use super::{
    evidence::Evidence,
    rows::{Row, sum_of_all},
    sentence::{Figures, figures},
};
use doing::Cause;
use hosts::{load_ns, of_process, series};
use named::limit;

/// A process was seen all the time when no more of it is missing than this share.
const SEEN_UNLESS: f64 = 0.1;

/// The limit of a run with this verdict and outcome.
pub(super) fn find(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    verdict: &Verdict,
    outcome: &Outcome,
) -> Limit {
    if verdict.status() != VerdictStatus::Valid {
        if let Some(asleep) = verdict.reasons.iter().find(|of| is_of_server(of)) {
            let template = "Receiver: the server's host was suspended for {suspended_ns}.";
            return limit(LimitKind::Receiver, template, asleep.figures.clone());
        }
        return match verdict.reasons.iter().all(|of| is_of_generator(of.code())) {
            true => generator(evidence),
            false => limit(
                LimitKind::Unspecified,
                "Not known: the run is not whole, or its counts are not proved.",
                Figures::new(),
            ),
        };
    }
    let missed = outcome.objectives.iter();
    let missed: Vec<_> = missed
        .filter(|of| of.status() == OutcomeStatus::NotHeld)
        .collect();
    if missed.iter().any(|of| asks_for_worse(of)) {
        let template = "Not known: what was missed asks for more than the run had.";
        return limit(LimitKind::Unspecified, template, Figures::new());
    }
    if missed.iter().any(|of| is_about_generator(of, rows)) {
        return generator(evidence);
    }
    let shares = missed
        .iter()
        .filter_map(|of| Some((missed_share(of, rows)?, *of)));
    if let Some((share, of)) = shares.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        return receiver::or_network(evidence, rows, share, &of.group);
    }
    if !missed.is_empty() {
        let template = "Not known: what was missed is no number of packets.";
        return limit(LimitKind::Unspecified, template, Figures::new());
    }
    let is_open =
        |of: &Objective| of.status() == OutcomeStatus::NotJudged && of.figures.contains_key("late");
    if outcome.objectives.iter().any(is_open) {
        return generator(evidence);
    }
    limit(LimitKind::None, "None: nothing was missed.", Figures::new())
}

/// The server's host slept.
fn is_of_server(reason: &Reason) -> bool {
    let host = reason.figures.get("host");
    reason.code() == ReasonCode::Suspended && host == Some(&super::RECEIVER.into())
}

/// What only agents and their hosts can have done.
fn is_of_generator(code: ReasonCode) -> bool {
    use ReasonCode as C;
    matches!(
        code,
        C::Lateness
            | C::ClientLateness
            | C::Saturated
            | C::FloodEndedEarly
            | C::Throttled
            | C::Stolen
            | C::Frozen
            | C::Suspended
    )
}

/// Whether it asks for a time or a loss that is larger than something, or for a smaller share or
/// rate.
fn asks_for_worse(objective: &Objective) -> bool {
    let of = objective.threshold.as_ref();
    let comparison = of.map_or(Comparison::Unspecified, |of| of.comparison());
    match metric(objective) {
        Metric::KeptUp | Metric::Rate | Metric::RateShare => {
            matches!(comparison, Comparison::Less | Comparison::LessOrEqual)
        }
        _ => matches!(comparison, Comparison::Greater | Comparison::GreaterOrEqual),
    }
}

/// Lateness is the generator's alone, and so are packets that were skipped although the connection
/// had room.
fn is_about_generator(missed: &Objective, rows: &[Row<'_>]) -> bool {
    match metric(missed) {
        Metric::Lateness => true,
        Metric::Skipped if missed.group.is_empty() => {
            let skipped = sum_of_all(rows, Row::skipped);
            let blocked = sum_of_all(rows, Row::blocked);
            skipped
                .zip(blocked)
                .is_some_and(|(skipped, blocked)| skipped > blocked)
        }
        _ => false,
    }
}

fn metric(objective: &Objective) -> Metric {
    objective
        .threshold
        .as_ref()
        .map_or(Metric::Unspecified, |of| of.metric())
}

/// The share of the scheduled packets that were slow, skipped or lost, 0 to 1.
fn missed_share(missed: &Objective, rows: &[Row<'_>]) -> Option<f64> {
    let number = |name: &str| match missed.figures.get(name)?.value {
        Some(Value::Integer(number)) => Some(number as f64),
        _ => None,
    };
    // Of a rate that was missed: what came after the time of the schedule, or never.
    let carried = || number("in_time").or_else(|| number("received"));
    let not_carried = || Some(number("scheduled")? - carried()?);
    let is_share = metric(missed) == Metric::RateShare;
    let packets = number("above")
        .or_else(|| is_share.then(not_carried).flatten())
        .or_else(|| number("behind"))
        .or_else(|| number("packets"))?;
    // The packets of all groups are none of one group's.
    let of_all = || Some(sum_of_all(rows, Row::scheduled)? as f64);
    let of_run = || missed.group.is_empty().then(of_all).flatten();
    let scheduled = number("scheduled").or_else(of_run)?;
    (scheduled > 0.0).then(|| (packets / scheduled).min(1.0))
}

/// The agent that lost the most time, and what it did.
fn generator(evidence: &Evidence<'_>) -> Limit {
    let kind = LimitKind::Generator;
    if let Some(frozen) = super::frozen::longest(evidence.hosts, evidence.agents.len()) {
        let template =
            "Generator: every process of the run was away at the same time for {frozen_ns}.";
        return limit(
            kind,
            template,
            figures([("frozen_ns", frozen.span_ns.into())]),
        );
    }
    let Some((doing_of_agent, figures)) = slowest_agent(evidence) else {
        let template = "Generator: packets were late; what the agents' hosts did is not known.";
        return limit(kind, template, Figures::new());
    };
    limit(kind, &format!("Generator: {doing_of_agent}."), figures)
}

/// What the agent did that lost the most time, as a part of a sentence with its figures. `None`
/// where that is not known of any.
pub(super) fn slowest_agent(evidence: &Evidence<'_>) -> Option<(&'static str, Figures)> {
    let agents = series(evidence, EnvironmentRole::Agent);
    let is_pacing = |thread: &str| thread.starts_with("pacing-");
    let doing = |points| Doing::of(points, load_ns(evidence, points), is_pacing);
    let doings = agents.filter_map(|(name, points)| Some((name, doing(points)?)));
    let (agent, doing) = doings.max_by_key(|(_, of)| of.lost_ns)?;
    let mut figures = of_process(&doing);
    figures.insert("agent".into(), agent.into());
    Some((agent_in_words(&doing), figures))
}

/// What an agent did while packets were late, as a part of a sentence.
fn agent_in_words(doing: &Doing) -> &'static str {
    match doing.cause {
        Some(Cause::Throttled) => {
            "its CPU quota denied the control group of agent {agent} {lost_ns}"
        }
        Some(Cause::Stolen) => {
            "the hypervisor took {lost_ns} from each core of the host of agent {agent}"
        }
        Some(Cause::Queued) => {
            "{thread} of agent {agent} waited {lost_ns} for a core while others ran"
        }
        Some(Cause::Away) => {
            "agent {agent}, or its whole host, did not run for {lost_ns}: an idle timer of its own \
             was as late"
        }
        Some(Cause::Busy) => "{thread} of agent {agent} used its core fully for {lost_ns}",
        // Its last point may be missing.
        None if doing.unseen_share() > SEEN_UNLESS => {
            "what agent {agent} did in {unseen_ns} of the load is not known"
        }
        None => {
            "agent {agent} ran all the time: an idle timer of its own was at most \
             {timer_late_max_ns} late"
        }
    }
}

#[cfg(test)]
mod tests;
