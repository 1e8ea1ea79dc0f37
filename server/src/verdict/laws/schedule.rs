//! The laws of what was to be sent: the schedule is the plan's, and all of it is accounted for.

use super::law::{Checked, for_every_client};
use crate::verdict::{
    evidence::Evidence,
    rows::{Row, total},
};

pub(super) fn schedule_is_sent_or_skipped(rows: &[Row<'_>]) -> Checked {
    let law = "scheduled = sent + skipped";
    let adds_up = |row: &Row<'_>| {
        u128::from(row.scheduled()) == u128::from(row.sent()) + u128::from(row.skipped())
    };
    let figures = format!(
        "{} = {} + {}",
        total(rows, Row::scheduled),
        total(rows, Row::sent),
        total(rows, Row::skipped)
    );
    for_every_client(law, "SCHEDULE_MISCOUNTED", figures, rows, adds_up, |row| {
        format!("{} and {} + {}", row.scheduled(), row.sent(), row.skipped())
    })
}

/// Every packet of the plan was scheduled, of a client that exchanged ends in a run that was not
/// stopped and whose agent stayed to the end; of any other client at most that many.
pub(super) fn schedule_is_the_plans(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = "scheduled = planned";
    let Some(planned) = evidence.plan.packets_per_client() else {
        let figures = format!("{}, as a flood plans none", total(rows, Row::scheduled));
        return Checked {
            law,
            code: "PLAN_NOT_SCHEDULED",
            holds: true,
            figures,
        };
    };
    let whole = |row: &Row<'_>| {
        evidence.stopped.is_none() && row.exchanged_ends() && row.agent.missing().is_none()
    };
    let holds = |row: &Row<'_>| {
        if whole(row) {
            row.scheduled() == planned
        } else {
            row.scheduled() <= planned
        }
    };
    let (clean, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| whole(row));
    let mut figures = format!(
        "{} = {}",
        clean
            .iter()
            .map(|row| u128::from(row.scheduled()))
            .sum::<u128>(),
        clean.len() as u128 * u128::from(planned)
    );
    if !others.is_empty() {
        let sum: u128 = others.iter().map(|row| u128::from(row.scheduled())).sum();
        let limit = others.len() as u128 * u128::from(planned);
        figures += &format!("; stopped or ended early: {sum} of at most {limit}");
    }
    for_every_client(law, "PLAN_NOT_SCHEDULED", figures, rows, holds, |row| {
        format!("{} of {planned}", row.scheduled())
    })
}
