//! The reasons that have to do with time: packets that were sent late, and times that no
//! distribution can hold.

use metronome_proto::{
    histogram::{Histogram, VALUE_NS_MAX},
    v1::{Reason, ReasonCode, VerdictStatus},
};

use super::reason::{first_of, reason};
use crate::verdict::{
    evidence::Evidence,
    rows::{Row, total},
    sentence::figures,
};

/// Lateness below this does not count, however short the period of the schedule.
const LATENESS_NS_MIN: u64 = 1_000_000;

/// More than one packet in this many that had to wait for room in its connection, and it is not the
/// generator that was late.
const BLOCKED_PARTS: u128 = 1_000;

pub(super) fn lateness(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    let limit_ns = lateness_limit_ns(evidence);
    let lateness_ns = evidence.counters?.times.lateness.quantile_ns(0.999);
    if lateness_ns <= limit_ns {
        return None;
    }
    let (blocked, scheduled) = (total(rows, Row::blocked), total(rows, Row::scheduled));
    let (code, cause) = if is_held_up(blocked, scheduled) {
        (
            ReasonCode::Lateness,
            "The server or the path took packets too slowly: {blocked} of {scheduled} were blocked \
             by a full send buffer when they were due, and so lateness",
        )
    } else {
        (ReasonCode::Lateness, "The agents sent late: lateness")
    };
    let template = format!(
        "{cause} p99.9 is {{lateness_p99_9_ns}} and at most {{lateness_limit_ns}} are allowed (one \
         period of the schedule, or {{lateness_limit_min_ns}} if that is longer)."
    );
    let figures = figures([
        ("lateness_p99_9_ns", lateness_ns.into()),
        ("lateness_limit_ns", limit_ns.into()),
        ("lateness_limit_min_ns", LATENESS_NS_MIN.into()),
        ("blocked", blocked.into()),
        ("scheduled", scheduled.into()),
    ]);
    Some(reason(code, VerdictStatus::Invalid, &template, figures))
}

/// The same judgement as [`lateness`], of one client among many that were in time.
pub(super) fn client_lateness(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    let limit_ns = lateness_limit_ns(evidence);
    let lateness_ns = |row: &Row<'_>| row.counted.map_or(0, |counted| counted.lateness_p99_ns);
    let (first, count) = first_of(rows.iter().filter(|row| lateness_ns(row) > limit_ns))?;
    let cause = match first.generator() {
        Some(counts) if is_held_up(counts.blocked.into(), counts.scheduled.into()) => {
            "held up by the server or the path on its way from"
        }
        Some(_) => "sent late by agent",
        None => "of agent",
    };
    let template = format!(
        "{{clients_late}} of {{clients}} clients were late; the first is client {{first_client}}, \
         {cause} {{agent}}: its lateness p99 is {{lateness_p99_ns}} (p99.9 {{lateness_p99_9_ns}}) \
         and at most {{lateness_limit_ns}} are allowed."
    );
    let lateness_p99_9_ns = first.counted.map_or(0, |counted| counted.lateness_p99_9_ns);
    let mut figures = figures([
        ("clients_late", count.into()),
        ("clients", rows.len().into()),
        ("first_client", first.client.into()),
        ("agent", first.agent.name.as_str().into()),
        ("lateness_p99_ns", lateness_ns(first).into()),
        ("lateness_p99_9_ns", lateness_p99_9_ns.into()),
        ("lateness_limit_ns", limit_ns.into()),
    ]);
    if let Some(counts) = first.generator() {
        figures.insert("blocked".into(), counts.blocked.into());
        figures.insert("scheduled".into(), counts.scheduled.into());
    }
    let code = ReasonCode::ClientLateness;
    Some(reason(code, VerdictStatus::Invalid, &template, figures))
}

fn lateness_limit_ns(evidence: &Evidence<'_>) -> u64 {
    evidence
        .plan
        .schedule(0)
        .map_or(0, |schedule| schedule.period_ns())
        .max(LATENESS_NS_MIN)
}

/// The kernel refused so many packets that the late ones had to wait for the peer.
fn is_held_up(blocked: u128, scheduled: u128) -> bool {
    blocked * BLOCKED_PARTS > scheduled
}

pub(super) fn saturated(evidence: &Evidence<'_>) -> Option<Reason> {
    let times = &evidence.counters?.times;
    let count = [&times.lateness, &times.transit, &times.latency]
        .map(Histogram::saturated)
        .into_iter()
        .max()?;
    let template = "{packets} packets took {value_max_ns} or longer, which the distributions \
                    cannot distinguish.";
    let figures = figures([
        ("packets", count.into()),
        ("value_max_ns", VALUE_NS_MAX.into()),
    ]);
    let code = ReasonCode::Saturated;
    (count > 0).then(|| reason(code, VerdictStatus::Invalid, template, figures))
}
