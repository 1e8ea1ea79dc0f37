//! Whether the server's end explains what was missed, or what lies between both ends.
//!
//! The share of the time in which packets were due that its worker lost is compared with the share
//! of the packets that were slow: a worker that is away for so long makes so many wait.
//!
//! | lost, of the share that was slow | the limit |
//! |---|---|
//! | half of it and more | receiver |
//! | a fifth of it at most, also with what no point covers, and no worker died | network |
//! | something between | not known |

use std::collections::BTreeSet;

use metronome_proto::v1::{EnvironmentRole, Limit, LimitKind};

use super::{
    doing::{Cause, Doing},
    hosts::{load_ns, of_process, series},
    named::limit,
};
use crate::{
    model::{INCIDENTS_MAX, WORKER_DIED},
    verdict::{
        evidence::Evidence,
        rows::{Row, sum_of_all},
        sentence::Figures,
        tcp,
    },
};

/// What lost this share of what was slow explains it.
const EXPLAINS: f64 = 0.5;

/// What lost no more than this share of it does not explain it.
const EXPLAINS_NOT: f64 = 0.2;

/// A shorter absence of a worker is not seen, ns (`away_ns` of evidence.proto).
const SEEN_NS_MIN: f64 = 30e6;

/// The limit where this share of the packets of a group was slow, 0 to 1; the group is empty for
/// all of them.
pub(super) fn or_network(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    share: f64,
    group: &str,
) -> Limit {
    let mut servers = series(evidence, EnvironmentRole::Server);
    let readers = readers(evidence, rows, group);
    let is_reader = |thread: &str| match &readers {
        Some(readers) => readers.contains(thread),
        None => thread.starts_with("worker-"),
    };
    let doing =
        servers.find_map(|(_, points)| Doing::of(points, load_ns(evidence, points), is_reader));
    let Some(doing) = doing else {
        let template = "Not known: what the server's host did is not known.";
        return limit(LimitKind::Unspecified, template, Figures::new());
    };
    let mut figures = of_process(&doing);
    figures.insert("slow_percent".into(), (share * 100.0).into());
    if doing.lost_share() >= share * EXPLAINS
        && let Some(cause) = doing.cause
    {
        let words = in_words(cause);
        let template = format!("Receiver: {words}; {{slow_percent}} % of the packets were slow.");
        return limit(LimitKind::Receiver, &template, figures);
    }
    let open = if has_death(evidence) {
        "a worker died in the run"
    } else if doing.unseen_share() > share * EXPLAINS_NOT {
        "what the server did in {unseen_ns} of the load is not known"
    } else if doing.lost_share() + doing.unseen_share() > share * EXPLAINS_NOT {
        "{thread} lost {lost_ns}, which explains a part of it"
    } else if share * EXPLAINS * (doing.load_ns as f64) < SEEN_NS_MIN {
        "a worker that was away for as short a time is not seen"
    } else {
        return network(rows, figures);
    };
    let template = format!("Not known: {{slow_percent}} % of the packets were slow, and {open}.");
    limit(LimitKind::Unspecified, &template, figures)
}

/// The names of the workers that read the clients of a group. `None` for every worker: where one
/// took another's clients over it is not known who read them before.
fn readers(evidence: &Evidence<'_>, rows: &[Row<'_>], group: &str) -> Option<BTreeSet<String>> {
    if group.is_empty() || !evidence.counters?.incidents.is_empty() {
        return None;
    }
    let of_group = |row: &&Row<'_>| {
        let own = evidence.plan.groups.get(row.group.index);
        own.is_some_and(|own| own.name == group)
    };
    let counted = rows.iter().filter(of_group).filter_map(|row| row.counted);
    let readers: BTreeSet<_> = counted.map(|of| format!("worker-{}", of.worker)).collect();
    (!readers.is_empty()).then_some(readers)
}

/// Whether a worker died, or may have: not every incident is kept.
fn has_death(evidence: &Evidence<'_>) -> bool {
    evidence.counters.is_some_and(|of| {
        let mut incidents = of.incidents.iter();
        of.incidents.len() >= INCIDENTS_MAX || incidents.any(|of| of.what == WORKER_DIED)
    })
}

fn in_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Throttled => "its CPU quota denied the server's control group {lost_ns}",
        Cause::Stolen => "the hypervisor took {lost_ns} from each core of the server's host",
        Cause::Queued => "{thread} waited {lost_ns} for a core while others ran",
        Cause::Away => "{thread} neither read nor waited for {lost_ns}",
        Cause::Busy => "{thread} used its core fully for {lost_ns}",
    }
}

fn network(rows: &[Row<'_>], mut figures: Figures) -> Limit {
    let mut template =
        "Network: {slow_percent} % of the packets were slow although both ends were \
                        in time ({thread} lost {lost_ns})"
            .to_owned();
    if let Some(note) = tcp::retransmitted(rows) {
        figures.extend(note.figures);
        template += "; segments of {connections} connections were sent again";
    }
    let blocked = sum_of_all(rows, Row::blocked).filter(|packets| *packets > 0);
    if let Some(packets) = blocked {
        figures.insert("blocked".into(), packets.into());
        template += "; {blocked} packets waited for room in a send buffer";
    }
    limit(LimitKind::Network, &(template + "."), figures)
}
