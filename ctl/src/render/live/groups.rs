//! The groups of a run: how each stands, the one with the slowest client first.

use std::{cmp::Reverse, ops::Range};

use metronome_proto::{
    layout::{columns, shortened},
    profile::hz,
    v1::ClientTimes,
};

use super::{
    phrases::{Phrase, Tone},
    view::View,
};
use crate::render::text::figures::{self, UNKNOWN, known};

/// A name takes so many columns at most, in the wide form and in the narrow one.
const NAME: usize = 20;
const NAME_NARROW: usize = 8;

/// The slowest of some clients in the last second.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Worst {
    /// This one, or one of these neighbours: they have a row of their own.
    Of(Range<u32>, i64),
    /// A row that other groups have clients in is slower than any of its own, and which of its
    /// clients that was is not known: no more than that.
    AtMost(i64),
}

impl Worst {
    fn p99_ns(&self) -> i64 {
        let (Self::Of(_, p99_ns) | Self::AtMost(p99_ns)) = self;
        *p99_ns
    }

    fn words(&self) -> String {
        match self {
            Self::Of(clients, p99_ns) => {
                let time = figures::time(*p99_ns);
                format!("worst {}, p99 {time}", clients_in_words(clients))
            }
            Self::AtMost(p99_ns) => format!("worst p99 ≤ {}", figures::time(*p99_ns)),
        }
    }

    fn short(&self) -> String {
        match self {
            Self::Of(_, p99_ns) => format!("p99 {}", figures::time(*p99_ns)),
            Self::AtMost(p99_ns) => format!("p99 ≤ {}", figures::time(*p99_ns)),
        }
    }
}

/// `client 7`, `clients 8–11`.
pub(super) fn clients_in_words(clients: &Range<u32>) -> String {
    match clients.len() {
        0 | 1 => format!("client {}", clients.start),
        _ => format!("clients {}–{}", clients.start, clients.end - 1),
    }
}

/// How one group stands.
#[derive(Debug)]
struct GroupFigures<'a> {
    name: &'a str,
    received_millihertz: Option<u64>,
    offered_millihertz: Option<u64>,
    worst: Option<Worst>,
}

/// A line of each group, at most so many: where there are more, the last one has their number. None
/// of a run of one group, which the other rows are about.
pub(super) fn lines(view: &View, lines_max: usize, is_wide: bool) -> Vec<Vec<Phrase>> {
    let groups = by_worst(view);
    if groups.len() < 2 || lines_max == 0 {
        return Vec::new();
    }
    let shown = match groups.len() <= lines_max {
        true => groups.len(),
        false => lines_max - 1,
    };
    let mut lines = match is_wide {
        true => wide(&groups[..shown]),
        false => narrow(&groups[..shown]),
    };
    if let more @ 1.. = groups.len() - shown {
        let what = if shown == 0 { "group" } else { "more group" };
        let more = figures::number_of(more as u64, what);
        lines.push(vec![Phrase::new(0, more).toned(Tone::Faint)]);
    }
    lines
}

fn by_worst(view: &View) -> Vec<GroupFigures<'_>> {
    let snapshot = view.snapshot.as_ref();
    let counted = snapshot.map_or(&[][..], |snapshot| &snapshot.groups);
    let mut groups: Vec<_> = view
        .planned
        .groups
        .iter()
        .map(|group| {
            let counted = counted.iter().find(|of| of.name == group.name);
            GroupFigures {
                name: &group.name,
                received_millihertz: counted.and_then(|of| of.received_millihertz),
                offered_millihertz: group.offered_millihertz,
                worst: view.clients().and_then(|of| worst(of, &group.clients)),
            }
        })
        .collect();
    // Those that are level stay in the order of the plan.
    groups.sort_by_key(|group| Reverse(group.worst.as_ref().map(Worst::p99_ns)));
    groups
}

/// The slowest of these clients. `None` where nothing is known of any.
fn worst(times: &ClientTimes, group: &Range<u32>) -> Option<Worst> {
    let (mut own, mut shared): (Option<(u32, i64)>, Option<i64>) = (None, None);
    for (row, p99_ns) in (0_u32..).zip(times.by_row()) {
        let Some(p99_ns) = p99_ns else {
            continue;
        };
        let of = times.clients_of(row);
        let is_own = group.start <= of.start && of.end <= group.end;
        if is_own && own.is_none_or(|(_, slowest_ns)| p99_ns > slowest_ns) {
            own = Some((row, p99_ns));
        } else if !is_own && of.start < group.end && group.start < of.end {
            shared = shared.max(Some(p99_ns));
        }
    }
    match (own, shared) {
        (Some((row, p99_ns)), shared) if shared.is_none_or(|shared_ns| shared_ns <= p99_ns) => {
            Some(Worst::Of(times.clients_of(row), p99_ns))
        }
        (_, shared) => shared.map(Worst::AtMost),
    }
}

fn wide(groups: &[GroupFigures<'_>]) -> Vec<Vec<Phrase>> {
    let rate = |group: &GroupFigures<'_>| {
        let offered = group.offered_millihertz.map(|of| figures::rate(hz(of)));
        let offered = offered.map_or_else(String::new, |offered| format!(" of {offered}/s"));
        (received(group), offered)
    };
    let cells = groups.iter().map(|group| (name(group, NAME), rate(group)));
    let cells: Vec<_> = cells.collect();
    let (mut name_width, mut received_width, mut offered_width) = (0, 0, 0);
    for (name, (received, offered)) in &cells {
        name_width = name_width.max(columns(name));
        received_width = received_width.max(columns(received));
        offered_width = offered_width.max(columns(offered));
    }
    let line = |((name, (received, offered)), group): (_, &GroupFigures<'_>)| {
        let rate = format!("{received:>received_width$}{offered:offered_width$}");
        let worst = known(group.worst.as_ref(), Worst::words);
        vec![
            Phrase::new(0, format!("{name:name_width$}")),
            Phrase::new(2, rate),
            Phrase::new(1, worst),
        ]
    };
    cells.into_iter().zip(groups).map(line).collect()
}

fn narrow(groups: &[GroupFigures<'_>]) -> Vec<Vec<Phrase>> {
    let names: Vec<_> = groups.iter().map(|of| name(of, NAME_NARROW)).collect();
    let name_width = names.iter().map(|name| columns(name)).max().unwrap_or(0);
    let worst = |group: &GroupFigures<'_>| match &group.worst {
        Some(worst) => worst.short(),
        None => format!("p99 {UNKNOWN}"),
    };
    let worsts: Vec<_> = groups.iter().map(worst).collect();
    let worst_width = worsts.iter().map(|worst| columns(worst)).max().unwrap_or(0);
    // As wide as each other, so that all of them fit or none does.
    let rates: Vec<_> = groups.iter().map(received).collect();
    let rate_width = rates.iter().map(|rate| columns(rate)).max().unwrap_or(0);
    let line = |((name, worst), rate): ((String, String), String)| {
        vec![
            Phrase::new(0, format!("{name:name_width$}")),
            Phrase::new(1, format!("{worst:worst_width$}")),
            Phrase::new(2, format!("{rate:>rate_width$}")),
        ]
    };
    names.into_iter().zip(worsts).zip(rates).map(line).collect()
}

fn name(group: &GroupFigures<'_>, width: usize) -> String {
    shortened(&figures::clean(group.name), width)
}

fn received(group: &GroupFigures<'_>) -> String {
    let rate = |millihertz| figures::rate(hz(millihertz));
    format!("{}/s", known(group.received_millihertz, rate))
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::Metric;
    use proptest::prelude::*;

    use super::*;

    /// 512 clients: two in each row.
    fn times(clients: &[(u32, i64)]) -> ClientTimes {
        let empty = ClientTimes::empty(Metric::Latency, 512);
        empty.with(clients.iter().copied())
    }

    #[test]
    fn a_row_that_two_groups_share_is_a_bound_for_both_where_it_is_the_slowest() {
        let of = times(&[(4, 10), (7, 90), (8, 20)]);
        // Clients 6 and 7 are one row.
        assert_eq!(worst(&of, &(0..7)), Some(Worst::AtMost(90)));
        assert_eq!(worst(&of, &(7..512)), Some(Worst::AtMost(90)));
        assert_eq!(worst(&of, &(0..8)), Some(Worst::Of(6..8, 90)));
        assert_eq!(worst(&of, &(8..512)), Some(Worst::Of(8..10, 20)));
        assert_eq!(worst(&of, &(9..512)), Some(Worst::AtMost(20)));
        assert_eq!(worst(&of, &(10..512)), None);
        assert_eq!(worst(&of, &(0..0)), None);
    }

    proptest! {
        #[test]
        fn no_group_is_shown_faster_than_its_slowest_client_or_slower_without_a_mark(
            clients in prop::collection::btree_map(0..512_u32, 1..1_000_i64, 0..40),
            border in 0..=512_u32,
        ) {
            let list: Vec<_> = clients.iter().map(|(client, ns)| (*client, *ns)).collect();
            let of = times(&list);
            for group in [0..border, border..512] {
                let slowest = clients.range(group.clone()).map(|(_, ns)| *ns).max();
                match worst(&of, &group) {
                    Some(Worst::Of(neighbours, p99_ns)) => {
                        prop_assert_eq!(Some(p99_ns), slowest);
                        let among = clients.range(neighbours).map(|(_, ns)| *ns).max();
                        prop_assert_eq!(among, slowest);
                    }
                    Some(Worst::AtMost(p99_ns)) => prop_assert!(slowest <= Some(p99_ns)),
                    None => prop_assert_eq!(slowest, None),
                }
            }
        }
    }
}
