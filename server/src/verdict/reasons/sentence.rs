//! How a reason is put into words.

use metronome_proto::v1::{Reason, VerdictStatus};

pub(super) fn reason(code: &str, status: VerdictStatus, text: String) -> Reason {
    Reason {
        code: code.into(),
        status: status.into(),
        text,
    }
}

/// The first one and how many there are.
pub(super) fn first_of<T>(mut items: impl Iterator<Item = T>) -> Option<(T, usize)> {
    let first = items.next()?;
    Some((first, 1 + items.count()))
}

/// `text` with a full stop.
pub(super) fn ended(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}
