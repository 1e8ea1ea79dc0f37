//! The reasons for which the load was not what was asked for: packets that were not sent.

use metronome_proto::{
    rate::Rate,
    v1::{Reason, VerdictStatus},
};

use super::sentence::{first_of, reason};
use crate::verdict::{
    evidence::Evidence,
    rows::{Row, total},
};

/// Less than this many hundredths of the schedule sent, and the load was not what was asked for.
const SENT_PERCENT_MIN: u128 = 99;

pub(super) fn nothing_sent(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    // A run that was stopped before its first packet is one that was stopped.
    if evidence.stopped.is_some() {
        return None;
    }
    let text = "No packet is known to have been sent, so nothing was measured.";
    (total(rows, Row::sent) == 0)
        .then(|| reason("NOTHING_SENT", VerdictStatus::Invalid, text.into()))
}

/// Only the clients that stayed to the end count here: missing clients are a reason of their own.
pub(super) fn schedule_not_sent(rows: &[Row<'_>]) -> Option<Reason> {
    let stayed = || rows.iter().filter(|row| row.exchanged_ends());
    let scheduled: u128 = stayed().map(|row| u128::from(row.scheduled())).sum();
    let sent: u128 = stayed().map(|row| u128::from(row.sent())).sum();
    (sent * 100 < scheduled * SENT_PERCENT_MIN).then(|| {
        let percent = sent as f64 / scheduled as f64 * 100.0;
        let text = format!(
            "{sent} of {scheduled} scheduled packets were sent ({percent:.2} %); at \
             least {SENT_PERCENT_MIN} % are needed."
        );
        reason("SCHEDULE_NOT_SENT", VerdictStatus::Invalid, text)
    })
}

/// A device that sent nothing must not hide among a hundred that did.
pub(super) fn client_schedule_not_sent(rows: &[Row<'_>]) -> Option<Reason> {
    let is_short = |row: &&Row<'_>| {
        row.exchanged_ends()
            && u128::from(row.sent()) * 100 < u128::from(row.scheduled()) * SENT_PERCENT_MIN
    };
    let (first, count) = first_of(rows.iter().filter(is_short))?;
    let text = format!(
        "{count} of {} clients sent less than {SENT_PERCENT_MIN} % of their schedule; the first is \
         client {} of agent {}: {} of {} packets.",
        rows.len(),
        first.client,
        first.agent.name,
        first.sent(),
        first.scheduled()
    );
    Some(reason(
        "CLIENT_SCHEDULE_NOT_SENT",
        VerdictStatus::Invalid,
        text,
    ))
}

/// A flood has no schedule to fall short of: a client that its time never came to would hide.
pub(super) fn client_sent_nothing(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    let is_judged =
        evidence.plan.rate == Rate::Max && evidence.stopped.is_none() && total(rows, Row::sent) > 0;
    let is_idle = |row: &&Row<'_>| is_judged && row.exchanged_ends() && row.sent() == 0;
    let (first, count) = first_of(rows.iter().filter(is_idle))?;
    let text = format!(
        "{count} of {} clients sent nothing in this flood; the first is client {} of agent {}.",
        rows.len(),
        first.client,
        first.agent.name
    );
    Some(reason("CLIENT_SENT_NOTHING", VerdictStatus::Invalid, text))
}
