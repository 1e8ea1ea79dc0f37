//! How a reason is made from its figures, and from the failure that is its cause.

use metronome_proto::v1::{Failure, Reason, ReasonCode, VerdictStatus};

use crate::verdict::sentence::{Figures, write};

pub(super) fn reason(
    code: ReasonCode,
    status: VerdictStatus,
    template: &str,
    figures: Figures,
) -> Reason {
    Reason {
        code: code.into(),
        status: status.into(),
        sentence: write(template, &figures),
        remedy: code.remedy().into(),
        figures,
        failure: None,
    }
}

/// The reason with its cause: the sentence ends with that one's, and the remedy is that one's.
pub(super) fn caused_by(reason: Reason, failure: Failure) -> Reason {
    Reason {
        sentence: format!("{}: {}.", reason.sentence, failure.sentence),
        remedy: failure.remedy.clone(),
        failure: Some(failure),
        ..reason
    }
}

/// The first one and how many there are.
pub(super) fn first_of<T>(mut items: impl Iterator<Item = T>) -> Option<(T, usize)> {
    let first = items.next()?;
    Some((first, 1 + items.count()))
}
