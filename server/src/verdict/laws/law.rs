//! One law as it came out, and the two forms that most laws have.

use metronome_proto::v1;

use crate::verdict::rows::Row;

/// One law as it came out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::verdict) struct Checked {
    /// The equation, as docs/verdict.md spells it.
    pub(in crate::verdict) law: &'static str,
    /// Code of the reason that breaking it gives.
    pub(in crate::verdict) code: &'static str,
    pub(in crate::verdict) holds: bool,
    /// Both sides of the equation, and the first client that breaks it.
    pub(in crate::verdict) figures: String,
}

impl Checked {
    pub(in crate::verdict) fn into_proto(self) -> v1::Law {
        v1::Law {
            law: self.law.into(),
            holds: self.holds,
            figures: self.figures,
        }
    }
}

/// A law that holds when it holds for each client. `figures` are those of the run;
/// `figures_of_client` gives those of the first client that breaks it.
pub(super) fn for_every_client(
    law: &'static str,
    code: &'static str,
    mut figures: String,
    rows: &[Row<'_>],
    holds: impl Fn(&Row<'_>) -> bool,
    figures_of_client: impl Fn(&Row<'_>) -> String,
) -> Checked {
    let mut breakers = rows.iter().filter(|row| !holds(row));
    let first = breakers.next();
    if let Some(row) = first {
        figures += &format!(
            "; broken by {} clients, first client {}: {}",
            1 + breakers.count(),
            row.client,
            figures_of_client(row)
        );
    }
    Checked {
        law,
        code,
        holds: first.is_none(),
        figures,
    }
}

/// A law that two figures of each client are equal where both are known.
pub(super) fn compare(
    law: &'static str,
    code: &'static str,
    rows: &[Row<'_>],
    both: impl Fn(&Row<'_>) -> Option<(u64, u64)>,
) -> Checked {
    let sum = |pick: fn((u64, u64)) -> u64| {
        rows.iter()
            .filter_map(&both)
            .map(|pair| u128::from(pick(pair)))
            .sum::<u128>()
    };
    let figures = format!("{} = {}", sum(|pair| pair.0), sum(|pair| pair.1));
    let same = |row: &Row<'_>| both(row).is_none_or(|(one, other)| one == other);
    for_every_client(law, code, figures, rows, same, |row| {
        both(row).map_or(String::new(), |(one, other)| format!("{one} and {other}"))
    })
}
