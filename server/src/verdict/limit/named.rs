//! A limit with its sentence.

use metronome_proto::v1::{Limit, LimitKind};

use crate::verdict::sentence::{Figures, write};

/// One whose sentence is this template with these figures.
pub(super) fn limit(kind: LimitKind, template: &str, figures: Figures) -> Limit {
    Limit {
        kind: kind.into(),
        sentence: write(template, &figures),
        figures,
    }
}
