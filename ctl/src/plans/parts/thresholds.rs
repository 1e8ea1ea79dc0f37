//! The thresholds of a plan, which may name a group: each where the plan has it, and back to where
//! it was given.

use metronome_proto::{
    plan::{FieldErrorKind, GROUP_DEFAULT},
    threshold::text::AskedThreshold,
    v1,
};

use super::spot::{BadPlan, Spot};

/// The key of thresholds, in a plan and in a group.
pub(super) const KEY: &str = "thresholds";

/// The thresholds of a plan in their places.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Those of the whole run, each with the item of the list of the plan that it was.
    run: Vec<(usize, v1::Threshold)>,
    /// Those that the list of the plan has of a group, by the groups.
    groups: Vec<Vec<(usize, v1::Threshold)>>,
    /// How many each group has in its own list, which stand before those.
    own: Vec<usize>,
}

impl Placed {
    /// Those of the list of a plan, whose groups have these names, each with so many of its own.
    ///
    /// # Errors
    /// One is of a group that is not there.
    pub(super) fn of<'a>(
        thresholds: &[AskedThreshold],
        groups: impl Iterator<Item = (Option<&'a str>, usize)>,
    ) -> Result<Self, BadPlan> {
        let groups = groups.map(|(name, own)| (name.unwrap_or(GROUP_DEFAULT), own));
        let (names, own): (Vec<&str>, Vec<usize>) = groups.unzip();
        let mut placed = Self {
            groups: vec![Vec::new(); names.len()],
            own,
            ..Self::default()
        };
        for (item, AskedThreshold { group, threshold }) in thresholds.iter().enumerate() {
            let threshold = (item, threshold.to_proto());
            let Some(group) = group else {
                placed.run.push(threshold);
                continue;
            };
            let Some(index) = names.iter().position(|name| name == group) else {
                return Err(no_group(item, group, &names));
            };
            placed.groups[index].push(threshold);
        }
        Ok(placed)
    }

    /// Those of the whole run.
    pub(super) fn of_run(&self) -> Vec<v1::Threshold> {
        self.run.iter().map(|(_, threshold)| *threshold).collect()
    }

    /// Those that the list of the plan has of a group.
    pub(super) fn of_group(&self, group: usize) -> impl Iterator<Item = v1::Threshold> {
        let of = self.groups.get(group).into_iter().flatten();
        of.map(|(_, threshold)| *threshold)
    }

    /// Where the threshold of a spot in the plan was given.
    pub(super) fn given_at(&self, spot: Spot) -> Spot {
        let Some(item) = spot.item.filter(|_| spot.key == KEY) else {
            return spot;
        };
        let given = match spot.group {
            None => self.run.get(item),
            Some(group) => {
                let own = self.own.get(group).copied().unwrap_or_default();
                let groups = self.groups.get(group).zip(item.checked_sub(own));
                groups.and_then(|(of, item)| of.get(item))
            }
        };
        match given {
            Some((item, _)) => Spot {
                item: Some(*item),
                ..Spot::of_plan(KEY)
            },
            None => spot,
        }
    }
}

fn no_group(item: usize, group: &str, names: &[&str]) -> BadPlan {
    BadPlan {
        spot: Spot {
            item: Some(item),
            ..Spot::of_plan(KEY)
        },
        field: KEY.into(),
        kind: FieldErrorKind::OutOfRange,
        problem: format!(
            "no group is called {group:?}; the groups are {}",
            names.join(", ")
        ),
    }
}
