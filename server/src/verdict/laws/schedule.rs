//! The laws of what was to be sent: the schedule is the plan's, and all of it is accounted for.

use std::cmp::Ordering;

use metronome_proto::v1::{GeneratorCounts, ReasonCode};

use super::law::{Checked, Law, sides};
use crate::verdict::{
    evidence::Evidence,
    rows::{Row, total},
    sentence::figures,
};

/// A blocked packet is one of the schedule, so there are at most as many.
pub(super) fn schedule_is_sent_or_skipped(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::ScheduleMiscounted,
        law: "scheduled = sent + skipped",
        sides: "{left} = {sent} + {skipped}, of which {blocked} were blocked",
        first: "{first_scheduled} and {first_sent} + {first_skipped}, {first_blocked} blocked",
        missing: "no agent has reported the packets of a client",
    };
    let used = |of: &GeneratorCounts| u128::from(of.sent) + u128::from(of.skipped);
    let (sent, skipped) = (total(rows, Row::sent), total(rows, Row::skipped));
    let mut of_run = sides(total(rows, Row::scheduled), sent + skipped);
    of_run.insert("sent".into(), sent.into());
    of_run.insert("skipped".into(), skipped.into());
    of_run.insert("blocked".into(), total(rows, Row::blocked).into());
    let adds_up = |row: &Row<'_>| {
        let counts = row.generator()?;
        let adds_up = u128::from(counts.scheduled) == used(&counts);
        Some(adds_up && counts.blocked <= counts.scheduled)
    };
    law.for_every_client(rows, of_run, adds_up, |row| {
        let counts = row.generator().unwrap_or_default();
        figures([
            ("scheduled", counts.scheduled.into()),
            ("sent", counts.sent.into()),
            ("skipped", counts.skipped.into()),
            ("blocked", counts.blocked.into()),
        ])
    })
}

/// Every packet of the plan was scheduled, of a client that exchanged ends in a run that was not
/// stopped and whose agent stayed to the end; of any other client at most that many. A client of
/// which it is not known how many it plans is not checked.
pub(super) fn schedule_is_the_plans(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let mut law = Law {
        code: ReasonCode::PlanNotScheduled,
        law: "scheduled = planned",
        sides: "{left} = {right}",
        first: "{first_scheduled} of {first_planned}",
        missing: why_not_planned(rows),
    };
    let whole = |row: &Row<'_>| {
        evidence.stopped.is_none() && row.exchanged_ends() && row.agent.missing().is_none()
    };
    let both = |row: &Row<'_>| Some((row.scheduled()?, row.planned?));
    let holds = |row: &Row<'_>| {
        let (scheduled, planned) = both(row)?;
        Some(match scheduled.cmp(&planned) {
            Ordering::Equal => true,
            Ordering::Less => !whole(row),
            Ordering::Greater => false,
        })
    };
    let scheduled_and_planned = |of_whole: bool| {
        let rows = rows.iter().filter(|row| whole(row) == of_whole);
        rows.filter_map(both)
            .fold((0, 0), |(sum, sum_planned), (scheduled, planned)| {
                (
                    sum + u128::from(scheduled),
                    sum_planned + u128::from(planned),
                )
            })
    };
    let (left, right) = scheduled_and_planned(true);
    let (early_scheduled, early_max) = scheduled_and_planned(false);
    let mut of_run = sides(left, right);
    if early_max > 0 {
        of_run.insert("early_scheduled".into(), early_scheduled.into());
        of_run.insert("early_max".into(), early_max.into());
        law.sides =
            "{left} = {right}; stopped or ended early: {early_scheduled} of at most {early_max}";
    }
    law.for_every_client(rows, of_run, holds, |row| {
        let (scheduled, planned) = both(row).unwrap_or_default();
        figures([("scheduled", scheduled.into()), ("planned", planned.into())])
    })
}

/// Why the number of packets that are planned can be compared for no client.
fn why_not_planned(rows: &[Row<'_>]) -> &'static str {
    if !rows.iter().any(Row::is_paced) {
        "a flood plans no packets"
    } else if rows.iter().any(|row| row.planned.is_some()) {
        "no agent has reported the packets of a client"
    } else {
        "the schedules of random arrivals are too long to be followed to their ends"
    }
}
