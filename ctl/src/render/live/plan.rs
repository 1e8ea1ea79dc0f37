//! What is known of a run before it begins.

use std::ops::Range;

use metronome_proto::{
    json::values,
    plan::{Group, Plan},
    profile::Profile,
    v1,
};

use crate::render::text::figures;

/// The plan of a run in what the view needs of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Planned {
    /// The load in a few words: `10 × 10 kHz`. Empty where it is not known.
    pub(super) load: String,
    /// How long the schedule lasts, s. `None`: not known.
    pub(super) duration_s: Option<f64>,
    /// Clients of all groups. `None`: not known.
    pub(super) clients: Option<u64>,
    /// What all clients together are to send, packets per 1000 s. `None` where that changes in the
    /// course of the run, of a flood, and where it is not known.
    pub(super) offered_millihertz: Option<u64>,
    /// Empty where they are not known.
    pub(super) groups: Vec<PlannedGroup>,
}

/// A group of the plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PlannedGroup {
    pub(super) name: String,
    /// Their indices in the run.
    pub(super) clients: Range<u32>,
    /// What its clients together are to send, where [`Planned::offered_millihertz`] would be known.
    pub(super) offered_millihertz: Option<u64>,
}

impl Planned {
    pub(super) fn of(run: &v1::Run) -> Self {
        let Some(plan) = &run.plan else {
            return Self::default();
        };
        let clients = plan.groups.iter().map(|group| u64::from(group.clients));
        let checked = Plan::try_from(plan).ok();
        Self {
            load: figures::load(plan),
            duration_s: values::seconds(plan.duration.as_ref()).filter(|seconds| *seconds > 0.0),
            clients: Some(clients.sum()),
            offered_millihertz: checked.as_ref().and_then(steady),
            groups: checked.as_ref().map_or_else(Vec::new, groups),
        }
    }
}

fn groups(plan: &Plan) -> Vec<PlannedGroup> {
    let groups = plan.clients_of_groups();
    let planned = groups.map(|(clients, group)| PlannedGroup {
        name: group.name.clone(),
        clients,
        offered_millihertz: steady_of(plan, group),
    });
    planned.collect()
}

/// The rate of a plan of which every second is like the others.
fn steady(plan: &Plan) -> Option<u64> {
    let groups = plan.groups.iter();
    groups.map(|group| steady_of(plan, group)).sum()
}

fn steady_of(plan: &Plan, group: &Group) -> Option<u64> {
    let is_steady = match group.profile {
        Profile::Constant { .. } | Profile::Poisson { .. } => true,
        // Of longer ones a second has more than another.
        Profile::Burst { every_ns, .. } => every_ns <= 100_000_000,
        _ => false,
    };
    let mean_millihertz = plan.load(group).mean_millihertz().filter(|_| is_steady)?;
    Some(mean_millihertz.saturating_mul(group.clients.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(profile: Profile) -> Planned {
        let plan = v1::Plan {
            groups: vec![v1::Group {
                name: "default".into(),
                clients: 10,
                packet_bytes: 32,
                profile: Some(profile.to_proto()),
                ..v1::Group::default()
            }],
            duration: Some(prost_types::Duration {
                seconds: 10,
                nanos: 0,
            }),
            threads: 1,
            seed: 1,
            ..v1::Plan::default()
        };
        Planned::of(&v1::Run {
            plan: Some(plan),
            ..v1::Run::default()
        })
    }

    #[test]
    fn what_is_offered_is_known_of_a_load_that_does_not_change() {
        let steady = planned(Profile::constant(10_000_000));
        assert_eq!(steady.offered_millihertz, Some(100_000_000));
        assert_eq!(steady.load, "10 × 10 kHz");
        assert_eq!((steady.duration_s, steady.clients), (Some(10.0), Some(10)));
        let bursts = |every_ns| Profile::Burst {
            packets: 50,
            every_ns,
        };
        assert_eq!(
            planned(bursts(5_000_000)).offered_millihertz,
            Some(100_000_000)
        );
        let ramp = Profile::Ramp {
            from_millihertz: 1_000_000,
            to_millihertz: 20_000_000,
        };
        for changing in [bursts(1_000_000_000), ramp, Profile::Flood] {
            assert_eq!(planned(changing).offered_millihertz, None, "{changing:?}");
        }
    }

    #[test]
    fn nothing_is_known_of_a_run_without_a_plan() {
        let unknown = Planned::of(&v1::Run::default());
        assert_eq!((unknown.duration_s, unknown.clients), (None, None));
        assert_eq!(unknown.load, "");
    }
}
