//! The reasons that have to do with time: packets that were sent late, and times that no
//! distribution can hold.

use metronome_proto::{
    histogram::{Histogram, VALUE_NS_MAX},
    v1::{Reason, ReasonCode, VerdictStatus},
};

use super::reason::{first_of, reason};
use crate::verdict::{
    evidence::Evidence,
    punctuality::{LATE_PERCENT_MAX, Punctuality, is_late},
    rows::Row,
    sentence::figures,
};

pub(super) fn lateness(punctuality: &Punctuality) -> Option<Reason> {
    if !punctuality.is_another_load() {
        return None;
    }
    let template = "{late} of {scheduled} packets ({late_percent} %) were late although their \
                    connections had room: {written_late} were written more than {limit_ns} after \
                    they were due ({limit_periods} periods of the schedule) and {skipped} never, \
                    while {blocked} were blocked; at most {late_percent_max} % may be.";
    let figures = figures([
        ("late", punctuality.late().into()),
        ("late_percent", punctuality.late_percent().into()),
        ("late_percent_max", LATE_PERCENT_MAX.into()),
        ("written_late", punctuality.written_late.into()),
        ("skipped", punctuality.skipped.into()),
        ("blocked", punctuality.blocked.into()),
        ("scheduled", punctuality.scheduled.into()),
        ("limit_ns", punctuality.limit_ns.into()),
        ("limit_periods", punctuality.limit_periods().into()),
    ]);
    let code = ReasonCode::Lateness;
    Some(reason(code, VerdictStatus::Invalid, template, figures))
}

/// The same judgement as [`lateness`], of one client among many that were in time.
pub(super) fn client_lateness(punctuality: &Punctuality, rows: &[Row<'_>]) -> Option<Reason> {
    let limit_ns = punctuality.limit_ns;
    let (first, count) = first_of(rows.iter().filter(|row| is_late(row, limit_ns)))?;
    let counts = first.generator().unwrap_or_default();
    let mut figures = figures([
        ("clients_late", count.into()),
        ("clients", rows.len().into()),
        ("late_percent_max", LATE_PERCENT_MAX.into()),
        ("first_client", first.client.into()),
        ("agent", first.agent.name.as_str().into()),
        ("skipped", counts.skipped.into()),
        ("blocked", counts.blocked.into()),
        ("scheduled", counts.scheduled.into()),
        ("limit_ns", limit_ns.into()),
    ]);
    let mut template = "In {clients_late} of {clients} clients more than {late_percent_max} % of \
                        the packets were late; the first is client {first_client} of agent \
                        {agent}: of {scheduled} packets {skipped} were never written and {blocked} \
                        were blocked"
        .to_owned();
    if let Some(counted) = first.with_packets() {
        figures.insert("lateness_p99_ns".into(), counted.lateness_p99_ns.into());
        template += ", its lateness p99 is {lateness_p99_ns} and the limit is {limit_ns}";
    }
    template += ".";
    let code = ReasonCode::ClientLateness;
    Some(reason(code, VerdictStatus::Invalid, &template, figures))
}

pub(super) fn saturated(evidence: &Evidence<'_>) -> Option<Reason> {
    let times = &evidence.counters?.times;
    let count = [
        &times.lateness,
        &times.transit,
        &times.latency,
        &times.spread,
    ]
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
