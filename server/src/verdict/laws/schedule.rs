//! The laws of what was to be sent: the schedule is the plan's, and all of it is accounted for.

use metronome_proto::v1::{GeneratorCounts, ReasonCode};

use super::law::{Checked, Law, sides};
use crate::verdict::{
    evidence::Evidence,
    groups::Planned,
    rows::{Row, total},
    sentence::{Figures, figures},
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
/// stopped and whose agent stayed to the end; of any other client at most that many. Where only
/// bounds of the number are known, it lies within them.
pub(super) fn schedule_is_the_plans(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let whole = |row: &Row<'_>| {
        evidence.stopped.is_none() && row.exchanged_ends() && row.agent.missing().is_none()
    };
    let both = |row: &Row<'_>| Some((row.scheduled()?, row.planned?));
    let holds = |row: &Row<'_>| {
        let (scheduled, planned) = both(row)?;
        Some(scheduled <= planned.most && (scheduled >= planned.least || !whole(row)))
    };
    let (mut exact, mut early, mut bounded) = (Sums::default(), Sums::default(), Sums::default());
    for row in rows {
        let Some((scheduled, planned)) = both(row) else {
            continue;
        };
        let sums = match (whole(row), planned.is_exact()) {
            (false, _) => &mut early,
            (true, true) => &mut exact,
            (true, false) => &mut bounded,
        };
        sums.add(scheduled, planned);
    }
    let (of_run, template) = of_all(&exact, &bounded, &early);
    let first_broken = rows.iter().find(|row| holds(row) == Some(false));
    let is_exact = first_broken
        .and_then(|row| row.planned)
        .is_none_or(|of| of.is_exact());
    let law = Law {
        code: ReasonCode::PlanNotScheduled,
        law: "scheduled = planned",
        sides: &template,
        first: if is_exact {
            "{first_scheduled} of {first_planned}"
        } else {
            "{first_scheduled} of {first_planned_least} to {first_planned_most}"
        },
        missing: if rows.iter().any(Row::is_paced) {
            "no agent has reported the packets of a client"
        } else {
            "a flood plans no packets"
        },
    };
    law.for_every_client(rows, of_run, holds, |row| {
        let Some((scheduled, planned)) = both(row) else {
            return Figures::new();
        };
        let scheduled = ("scheduled", scheduled.into());
        if planned.is_exact() {
            return figures([scheduled, ("planned", planned.most.into())]);
        }
        let (least, most) = (planned.least.into(), planned.most.into());
        figures([scheduled, ("planned_least", least), ("planned_most", most)])
    })
}

/// Both sides for the run, with their template.
fn of_all(exact: &Sums, bounded: &Sums, early: &Sums) -> (Figures, String) {
    let mut of_run = sides(exact.scheduled, exact.most);
    let mut parts = Vec::new();
    // Of no client 0 = 0 holds, which is nothing to read.
    if exact.clients > 0 || (bounded.clients == 0 && early.clients == 0) {
        parts.push("{left} = {right}");
    }
    if bounded.clients > 0 {
        of_run.insert("clients_by_bounds".into(), bounded.clients.into());
        of_run.insert("bounded_scheduled".into(), bounded.scheduled.into());
        of_run.insert("bounded_least".into(), bounded.least.into());
        of_run.insert("bounded_most".into(), bounded.most.into());
        parts.push(
            "clients with long random arrivals ({clients_by_bounds}) by bounds: \
             {bounded_scheduled} of {bounded_least} to {bounded_most}",
        );
    }
    if early.clients > 0 {
        of_run.insert("early_scheduled".into(), early.scheduled.into());
        of_run.insert("early_max".into(), early.most.into());
        parts.push("stopped or ended early: {early_scheduled} of at most {early_max}");
    }
    (of_run, parts.join("; "))
}

/// What some clients have scheduled, and the bounds of what they plan.
#[derive(Default)]
struct Sums {
    clients: usize,
    scheduled: u128,
    least: u128,
    most: u128,
}

impl Sums {
    fn add(&mut self, scheduled: u64, planned: Planned) {
        self.clients += 1;
        self.scheduled += u128::from(scheduled);
        self.least += u128::from(planned.least);
        self.most += u128::from(planned.most);
    }
}
