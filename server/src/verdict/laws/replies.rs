//! The laws of replies: every packet that asks gets one, exactly one, and its round trip is in the
//! distributions once.
//!
//! What a group does not ask for is held against the same laws: there each figure is 0. An agent's
//! record without these figures claims that there is none.

use std::collections::BTreeMap;

use metronome_proto::v1::{LawStatus, ReasonCode};

use super::law::{Checked, Law};
use crate::{
    model::RoundTrips,
    verdict::{
        evidence::Evidence,
        replies::{AgentReplies, WorkerReplies, asking, asking_in_warm_up},
        rows::{Row, by_group, total},
        sentence::{Figures, figures},
    },
};

/// Every echo_every-th packet asks, counted from the client's first: of those sent and, where none
/// is absent, of those received.
pub(super) fn asked_is_the_plans(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::RepliesMissing,
        law: "replies requested = ⌈sent / echo every⌉, owed = ⌈received / echo every⌉",
        sides: "{requested} = {of_sent}, {owed} = {of_received}",
        first: "{first_requested} = {first_of_sent}, {first_owed} = {first_of_received}",
        missing: "neither end has a record of a client",
    };
    let of_agent = |row: &Row<'_>| {
        let requested = AgentReplies::of(row)?.requested;
        Some([requested, asking(row.sent()?, row.group.echo_every)])
    };
    let of_workers = |row: &Row<'_>| {
        let owed = WorkerReplies::of(row)?.owed;
        let counts = row.receiver?;
        // A packet that is absent may be one that asked.
        let is_in_order =
            row.absent() == Some(0) && (counts.duplicated, counts.reordered) == (0, 0);
        let of_received = asking(counts.received, row.group.echo_every);
        (is_in_order || row.group.echo_every.is_none()).then_some([owed, of_received])
    };
    let holds = |row: &Row<'_>| {
        let both = [of_agent(row), of_workers(row)];
        let mut known = both.into_iter().flatten().peekable();
        known.peek()?;
        Some(known.all(|[left, right]| left == right))
    };
    let sums = [
        ("requested", total(rows, |row| Some(of_agent(row)?[0]))),
        ("of_sent", total(rows, |row| Some(of_agent(row)?[1]))),
        ("owed", total(rows, |row| Some(of_workers(row)?[0]))),
        ("of_received", total(rows, |row| Some(of_workers(row)?[1]))),
    ];
    let of_run = figures(sums.map(|(name, sum)| (name, sum.into())));
    law.for_every_client(rows, of_run, holds, |row| {
        let [requested, of_sent] = of_agent(row).unwrap_or_default();
        let [owed, of_received] = of_workers(row).unwrap_or_default();
        figures([
            ("requested", requested.into()),
            ("of_sent", of_sent.into()),
            ("owed", owed.into()),
            ("of_received", of_received.into()),
        ])
    })
}

/// No reply is read that was not owed, and none is owed that was not asked for; after a clean end
/// none is missing but those of packets that are absent: these have laws of their own.
pub(super) fn asked_is_answered(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::RepliesMissing,
        law: "replies requested = owed = read + dropped on a clean end",
        sides: "{requested}, {owed}, {read} + {dropped}, {absent} absent",
        first: "{first_requested}, {first_owed}, {first_read} + {first_dropped}, {first_absent} \
                absent",
        missing: "there is no client of which both ends have reported",
    };
    let counts_of = |row: &Row<'_>| {
        let (of_agent, of_workers) = (AgentReplies::of(row)?, WorkerReplies::of(row)?);
        let requested = of_agent.requested;
        let (owed, dropped) = (of_workers.owed, of_workers.dropped);
        Some([requested, owed, of_agent.read, dropped, row.absent()?])
    };
    let named = |[requested, owed, read, dropped, absent]: [u128; 5]| {
        figures([
            ("requested", requested.into()),
            ("owed", owed.into()),
            ("read", read.into()),
            ("dropped", dropped.into()),
            ("absent", absent.into()),
        ])
    };
    let sums = [0, 1, 2, 3, 4].map(|side| total(rows, |row| Some(counts_of(row)?[side])));
    let holds = |row: &Row<'_>| {
        let [requested, owed, read, dropped, absent] = counts_of(row)?.map(u128::from);
        let is_possible = read + dropped <= owed && owed <= requested;
        let is_whole = read + dropped == owed && requested <= owed + absent;
        Some(is_possible && (is_whole || !row.exchanged_ends()))
    };
    law.for_every_client(rows, named(sums), holds, |row| {
        named(counts_of(row).unwrap_or_default().map(u128::from))
    })
}

/// What is read in the place of a reply is one, of a packet that asked and had none yet.
pub(super) fn nothing_else_is_read(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::RepliesUnexpected,
        law: "replies unexpected = 0",
        sides: "{left}",
        first: "{first_left}",
        missing: "no agent has reported a client",
    };
    law.compare(rows, |row| Some((AgentReplies::of(row)?.unexpected, 0)))
}

/// The distributions that an agent reports have the replies that its clients read, but those of the
/// warm-up, and no others.
pub(super) fn histograms_count_the_round_trips(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
) -> Checked {
    let law = Law {
        code: ReasonCode::HistogramMiscounted,
        law: "round trip counts = replies read − warm-up",
        sides: "{round_trips} of {read} read",
        first: "{first_round_trips} of {first_read} read, and {first_in_warm_up} asked in the \
                warm-up",
        missing: "no agent has reported a client",
    };
    let has_warm_up = !evidence.plan.warm_up.is_zero();
    let of = |row: &Row<'_>| AgentReplies::of(row).map(|of| [of.round_trips, of.read]);
    let holds = |row: &Row<'_>| {
        let [round_trips, read] = of(row)?.map(u128::from);
        if !has_warm_up {
            return Some(round_trips == read);
        }
        let is_whole = row.is_paced() && row.absent() == Some(0);
        let in_warm_up = asking_in_warm_up(row).filter(|_| is_whole).map(u128::from);
        let owed = WorkerReplies::of(row).map_or(0, |of| u128::from(of.owed));
        let is_cut_by_the_plan = |in_warm_up: u128| {
            let both = round_trips + in_warm_up;
            read <= both && both <= owed
        };
        Some(round_trips <= read && in_warm_up.is_none_or(is_cut_by_the_plan))
    };
    let sums = figures([
        ("round_trips", total(rows, |row| Some(of(row)?[0])).into()),
        ("read", total(rows, |row| Some(of(row)?[1])).into()),
    ]);
    let checked = law.for_every_client(rows, sums, holds, |row| {
        let [round_trips, read] = of(row).unwrap_or_default();
        figures([
            ("round_trips", round_trips.into()),
            ("read", read.into()),
            ("in_warm_up", asking_in_warm_up(row).unwrap_or(0).into()),
        ])
    });
    if checked.status == LawStatus::Broken {
        return checked;
    }
    // Each agent's clients of a group are held against its own distributions.
    let mut held = by_group(rows).flat_map(Held::of_agents);
    let broken = held.find(|held| !held.agrees());
    broken.map_or(checked, |held| {
        let figures = held.figures();
        let sides = "{from_due} and {from_write} in the distributions of agent {agent} in group \
                     {group}, {round_trips} of its clients";
        law.broken_by_a_part(sides, figures)
    })
}

/// How many round trips an agent's distributions of a group hold, and its clients have.
struct Held<'r> {
    agent: &'r str,
    group: &'r str,
    from_due: u64,
    from_write: u64,
    round_trips: u128,
}

impl<'r> Held<'r> {
    /// Those of each agent that has finished, of one group; none where the group asks for none.
    fn of_agents(rows: &'r [Row<'_>]) -> impl Iterator<Item = Self> {
        let mut of_agents: BTreeMap<usize, (&Row<'_>, u128)> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.group.echo_every.is_some()) {
            let (_, sum) = of_agents.entry(row.agent_index).or_insert((row, 0));
            *sum += AgentReplies::of(row).map_or(0, |of| u128::from(of.round_trips));
        }
        of_agents.into_values().filter_map(|(row, round_trips)| {
            let group = row.group.name.as_str();
            let held = row.agent.add_round_trips(RoundTrips::default(), group)?;
            Some(Self {
                agent: row.agent.name.as_str(),
                group,
                from_due: held.from_due.count(),
                from_write: held.from_write.count(),
                round_trips,
            })
        })
    }

    fn agrees(&self) -> bool {
        [self.from_due, self.from_write].map(u128::from) == [self.round_trips; 2]
    }

    fn figures(&self) -> Figures {
        figures([
            ("from_due", self.from_due.into()),
            ("from_write", self.from_write.into()),
            ("round_trips", self.round_trips.into()),
            ("agent", self.agent.into()),
            ("group", self.group.into()),
        ])
    }
}
