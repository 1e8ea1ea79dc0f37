//! The processes of a run with their points, and the time in which its packets were due.

use metronome_proto::{
    host_point::end_ns,
    v1::{EnvironmentRole, HostPoint},
};

use super::doing::Doing;
use crate::verdict::{
    evidence::Evidence,
    sentence::{Figures, figures},
};

/// The time in which packets were due, ns. That of a stopped run is not over when its points are.
pub(super) fn load_ns(evidence: &Evidence<'_>, points: &[HostPoint]) -> i64 {
    let planned_ns = i64::try_from(evidence.plan.duration.as_nanos()).unwrap_or(i64::MAX);
    let seen_ns = points.last().map_or(0, end_ns).max(0);
    match evidence.stopped {
        Some(_) => planned_ns.min(seen_ns),
        None => planned_ns,
    }
}

/// What one did, as figures.
pub(super) fn of_process(doing: &Doing) -> Figures {
    figures([
        ("thread", doing.thread.as_str().into()),
        ("lost_ns", doing.lost_ns.into()),
        ("timer_late_max_ns", doing.timer_late_max_ns.into()),
        ("unseen_ns", doing.unseen_ns.into()),
    ])
}

/// The processes of a role, with their points.
pub(super) fn series<'a>(
    evidence: &Evidence<'a>,
    role: EnvironmentRole,
) -> impl Iterator<Item = (&'a str, &'a [HostPoint])> {
    let hosts = evidence.hosts.iter().filter(move |of| of.role() == role);
    hosts.map(|of| (&of.name[..], &of.points[..]))
}
