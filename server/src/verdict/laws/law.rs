//! One law, how it came out, and the two forms that most laws have.

use metronome_proto::v1::{self, LawStatus, ReasonCode};

use crate::verdict::{
    rows::Row,
    sentence::{Figures, figures, write},
};

/// A law, with what is written of it. Templates have the names of figures in braces.
#[derive(Debug)]
pub(super) struct Law<'a> {
    /// The code of the reason that breaking it gives.
    pub(super) code: ReasonCode,
    /// The equation, as docs/verdict.md spells it.
    pub(super) law: &'static str,
    /// Template of both sides, for the run.
    pub(super) sides: &'a str,
    /// Template of both sides, for the first client that breaks it: its figures have the names of
    /// the client's figures with `first_` before them.
    pub(super) first: &'static str,
    /// Why it cannot be checked when it cannot.
    pub(super) missing: &'static str,
}

/// One law as it came out.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::verdict) struct Checked {
    pub(in crate::verdict) code: ReasonCode,
    pub(in crate::verdict) law: &'static str,
    pub(in crate::verdict) status: LawStatus,
    /// Both sides, and the first client that breaks it; or why it cannot be checked.
    pub(in crate::verdict) sentence: String,
    /// Empty when it cannot be checked.
    pub(in crate::verdict) figures: Figures,
}

impl Checked {
    pub(in crate::verdict) fn is_broken(&self) -> bool {
        self.status == LawStatus::Broken
    }

    pub(in crate::verdict) fn into_proto(self) -> v1::Law {
        v1::Law {
            code: self.code.into(),
            law: self.law.into(),
            status: self.status.into(),
            sentence: self.sentence,
            figures: self.figures,
        }
    }
}

impl Law<'_> {
    /// What it is checked on is missing.
    pub(super) fn not_checkable(&self) -> Checked {
        self.came_out(LawStatus::NotCheckable, self.missing, Figures::new())
    }

    /// A law of the run as a whole.
    pub(super) fn of_run(&self, holds: bool, figures: Figures) -> Checked {
        self.came_out(status(holds), self.sides, figures)
    }

    /// A law that is broken by a part of the run, with a template of its own for both sides.
    pub(super) fn broken_by_a_part(&self, sides: &str, figures: Figures) -> Checked {
        self.came_out(LawStatus::Broken, sides, figures)
    }

    /// A law that holds when it holds for each client. `sides` are the figures of the run; `holds`
    /// gives `None` for a client of which it cannot be checked; `figures_of` are those of a client.
    pub(super) fn for_every_client(
        &self,
        rows: &[Row<'_>],
        sides: Figures,
        holds: impl Fn(&Row<'_>) -> Option<bool>,
        figures_of: impl Fn(&Row<'_>) -> Figures,
    ) -> Checked {
        let checked = || rows.iter().filter_map(|row| Some((row, holds(row)?)));
        let clients = checked().count();
        if clients == 0 {
            return self.not_checkable();
        }
        let mut broken_by = checked().filter(|(_, holds)| !holds).map(|(row, _)| row);
        let first = broken_by.next();
        let clients_broken = usize::from(first.is_some()) + broken_by.count();
        let mut figures = sides;
        figures.insert("clients".into(), clients.into());
        figures.insert("clients_broken".into(), clients_broken.into());
        let mut template = self.sides.to_owned();
        if clients < rows.len() {
            figures.insert("clients_total".into(), rows.len().into());
            template += "; checked for {clients} of {clients_total} clients";
        }
        if let Some(first) = first {
            figures.insert("first_client".into(), first.client.into());
            for (name, figure) in figures_of(first) {
                figures.insert(format!("first_{name}"), figure);
            }
            template += "; broken by {clients_broken} clients, first client {first_client}: ";
            template += self.first;
        }
        self.came_out(status(first.is_none()), &template, figures)
    }

    /// A law that two figures of each client are equal where both are known.
    pub(super) fn compare(
        &self,
        rows: &[Row<'_>],
        both: impl Fn(&Row<'_>) -> Option<(u64, u64)>,
    ) -> Checked {
        let sum = |pick: fn((u64, u64)) -> u64| {
            let pairs = rows.iter().filter_map(&both);
            pairs.map(|pair| u128::from(pick(pair))).sum::<u128>()
        };
        let sides = sides(sum(|pair| pair.0), sum(|pair| pair.1));
        let same = |row: &Row<'_>| both(row).map(|(left, right)| left == right);
        self.for_every_client(rows, sides, same, |row| {
            both(row).map_or_else(Figures::new, |(left, right)| {
                figures([("left", left.into()), ("right", right.into())])
            })
        })
    }

    fn came_out(&self, status: LawStatus, template: &str, figures: Figures) -> Checked {
        Checked {
            code: self.code,
            law: self.law,
            status,
            sentence: write(template, &figures),
            figures,
        }
    }
}

/// Both sides of an equation.
pub(super) fn sides(left: u128, right: u128) -> Figures {
    figures([("left", left.into()), ("right", right.into())])
}

fn status(holds: bool) -> LawStatus {
    if holds {
        LawStatus::Holds
    } else {
        LawStatus::Broken
    }
}
