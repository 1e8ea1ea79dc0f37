//! The reasons that have to do with time: packets that were sent late, and times that no
//! distribution can hold.

use metronome_proto::{
    histogram::Histogram,
    v1::{Reason, VerdictStatus},
};

use super::sentence::{first_of, reason};
use crate::verdict::{
    evidence::Evidence,
    rows::{Row, millis, total},
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
    let limit = "one period of the schedule, or 1 ms if that is longer";
    let figures = format!(
        "p99.9 is {} ms and at most {} ms are allowed ({limit})",
        millis(lateness_ns),
        millis(limit_ns)
    );
    Some(if is_held_up(blocked, scheduled) {
        let text = format!(
            "The server or the path took packets too slowly: {blocked} of {scheduled} \
             were blocked by a full send buffer when they were due, and so lateness {figures}."
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

/// The same judgement as [`lateness`], of one client among many that were in time.
pub(super) fn client_lateness(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    let limit_ns = lateness_limit_ns(evidence);
    let lateness_ns = |row: &Row<'_>| row.counted.map_or(0, |counted| counted.lateness_p99_ns);
    let (first, count) = first_of(rows.iter().filter(|row| lateness_ns(row) > limit_ns))?;
    let cause = if is_held_up(first.blocked().into(), first.scheduled().into()) {
        "held up by the server or the path on its way from"
    } else {
        "sent late by agent"
    };
    let text = format!(
        "{count} of {} clients were late; the first is client {}, {cause} {}: its lateness \
         p99 is {} ms (p99.9 {} ms) and at most {} ms are allowed.",
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
    (count > 0).then(|| {
        let text = format!(
            "{count} packets took 68 s or longer, which the distributions cannot distinguish."
        );
        reason("SATURATED", VerdictStatus::Invalid, text)
    })
}
