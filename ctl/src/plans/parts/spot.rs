//! The keys of a plan and of a group, where a part of them stands, and what is wrong with it there.

use metronome_proto::{
    plan::{FieldError, FieldErrorKind},
    profile::flags::part_of,
};

/// A part of a plan, as a key names it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Spot {
    /// The group, from 0; `None` for a part of the whole plan.
    pub(crate) group: Option<usize>,
    /// Empty for the group as a whole.
    pub(crate) key: &'static str,
    /// The item of a list, from 0.
    pub(crate) item: Option<usize>,
}

/// Parts that make no plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct BadPlan {
    pub(crate) spot: Spot,
    /// The field of the API, below the plan: `groups[0].batch`.
    pub(crate) field: String,
    pub(crate) kind: FieldErrorKind,
    /// A phrase to follow the name of the part: the value, the allowed range and the way out.
    pub(crate) problem: String,
}

impl Spot {
    /// A part of the whole plan.
    pub(crate) fn of_plan(key: &'static str) -> Self {
        Self {
            group: None,
            key,
            item: None,
        }
    }

    /// The part of a field of the API, by its path below the plan.
    pub(super) fn of_field(field: &str) -> Self {
        let (first, rest) = field.split_once('.').unwrap_or((field, ""));
        let (name, index) = indexed(first);
        let known = |keys: &[&'static str], name: &str| {
            let mut keys = keys.iter().copied();
            keys.find(|key| *key == name).unwrap_or_default()
        };
        if name != "groups" || index.is_none() {
            let key = match name {
                "no_default_objectives" => "default_objectives",
                name => known(&PLAN_KEYS, name),
            };
            return Self {
                group: None,
                key,
                item: index,
            };
        }
        let (name, below) = rest.split_once('.').unwrap_or((rest, ""));
        let (name, item) = indexed(name);
        let key = match name {
            "profile" => part_of(below),
            "packet_bytes" => "packet_size",
            name => known(&GROUP_KEYS, name),
        };
        Self {
            group: index,
            key,
            item,
        }
    }
}

/// A part of the path of a field: its name and, of an item of a list, which.
fn indexed(part: &str) -> (&str, Option<usize>) {
    match part.split_once('[') {
        Some((name, index)) => (name, index.trim_end_matches(']').parse().ok()),
        None => (part, None),
    }
}

/// The keys of a plan.
pub(crate) const PLAN_KEYS: [&str; 12] = [
    "requires",
    "duration",
    "warm_up",
    "seed",
    "threads",
    "on_agent_loss",
    "clock_trust",
    "allow",
    "thresholds",
    "default_objectives",
    "abort_on_fail",
    "groups",
];

/// The keys of a group.
pub(crate) const GROUP_KEYS: [&str; 16] = [
    "name",
    "clients",
    "rate",
    "arrivals",
    "burst",
    "every",
    "on",
    "off",
    "packet_size",
    "payload",
    "batch",
    "phase",
    "echo_every",
    "agents",
    "target",
    "thresholds",
];

impl From<FieldError> for BadPlan {
    fn from(error: FieldError) -> Self {
        Self {
            spot: Spot::of_field(&error.field),
            field: error.field,
            kind: error.kind,
            problem: error.problem,
        }
    }
}
