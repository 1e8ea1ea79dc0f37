//! What may be asked of a run: parsed once, with every limit, so that nothing later re-checks it.
//!
//! [`Plan::try_from`] is the only way in; its error names the field as the API spells it, the value
//! and the allowed range. The fields that an order to an agent repeats are checked by the same
//! functions ([`crate::share`]).

mod allowances;
mod clock_trust;
mod field;
mod group;
mod payload;

use std::{ops::Range, time::Duration};

pub use allowances::ALLOWANCES;
pub use clock_trust::{CLOCK_BOUND_NS_MAX, ClockTrust};
pub use field::{FieldError, FieldErrorKind, duration, within};
pub use group::{GROUP_DEFAULT, Group, check_duration, check_total_rate};
pub(crate) use group::{batch, echo_every, packet_size, phase, profile, receivers_address};
pub(crate) use payload::payload;

pub use crate::duration::from_proto;

use crate::{
    features,
    limits::{
        CLIENTS_MAX, DURATION_MAX, DURATION_MIN, GROUPS_MAX, RECORDS_BYTES_MAX, SEED_MAX,
        THREADS_MAX, THRESHOLDS_MAX,
    },
    load::Load,
    names::check_features,
    packet_size::PacketSize,
    payload::Payload,
    threshold::Threshold,
    v1,
};

/// A plan whose every field is within its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// 1 to [`GROUPS_MAX`], each with a name of its own.
    pub groups: Vec<Group>,
    /// How long the schedule lasts: [`DURATION_MIN`] to [`DURATION_MAX`].
    pub duration: Duration,
    /// Packets that are due before this time after the start are in no distribution: less than the
    /// duration, often 0.
    pub warm_up: Duration,
    /// What random arrivals are drawn from, at most [`SEED_MAX`]; 0 as long as none is drawn.
    pub seed: u64,
    /// Whether the run goes on without an agent that it has lost. Never unspecified.
    pub on_agent_loss: v1::AgentLoss,
    /// Pacing threads of each agent: 1 to [`THREADS_MAX`].
    pub threads: u32,
    /// The caller's objectives: at most [`THRESHOLDS_MAX`].
    pub thresholds: Vec<Threshold>,
    /// Whether the run is judged by the default objectives, too.
    pub has_default_objectives: bool,
    /// Features that the plan depends on; this build has them all.
    pub requires: Vec<String>,
    /// What may be assumed of the wall clocks of the hosts.
    pub clock_trust: ClockTrust,
    /// Reasons that leave the run valid, by rising number, none twice.
    pub allow: Vec<v1::Allowance>,
}

impl Plan {
    /// Clients of all groups.
    #[must_use]
    pub fn clients(&self) -> u32 {
        self.groups.iter().map(|group| group.clients).sum()
    }

    /// The indices in the run of the clients of each group, in the order of the groups.
    pub fn clients_of_groups(&self) -> impl Iterator<Item = (Range<u32>, &Group)> {
        let mut next = 0;
        self.groups.iter().map(move |group| {
            let first = next;
            next += group.clients;
            (first..next, group)
        })
    }

    /// The group of the client with this index in the run.
    #[must_use]
    pub fn group_of(&self, client: u32) -> Option<&Group> {
        let mut groups = self.clients_of_groups();
        groups.find_map(|(clients, group)| clients.contains(&client).then_some(group))
    }

    /// The load of each client of a group.
    #[must_use]
    pub fn load(&self, group: &Group) -> Load {
        Load {
            profile: group.profile,
            duration: self.duration,
            batch: group.batch,
            seed: self.seed,
        }
    }

    /// The mean rate of all clients together that is asked for, packets per 1000 s. `None` where a
    /// group is a flood, which has no rate.
    #[must_use]
    pub fn offered_millihertz(&self) -> Option<u64> {
        let offered = self.groups.iter().map(|group| {
            let rate_millihertz = self.load(group).mean_millihertz()?;
            Some(rate_millihertz * u64::from(group.clients))
        });
        offered.sum()
    }

    /// Features that an agent needs for this plan: those that it requires and those that it uses.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        let mut names = self.requires.clone();
        let mut add = |name: &str| {
            if !names.iter().any(|known| known == name) {
                names.push(name.into());
            }
        };
        for group in &self.groups {
            add(group.profile_feature());
            if group.phase == v1::Phase::Auto {
                add(features::PHASE_AUTO);
            }
            if group.packet_size > PacketSize::MIN {
                add(features::PACKET_SIZE);
            }
            if group.payload != Payload::Zeros {
                add(features::PAYLOAD);
            }
            if group.echo_every.is_some() {
                add(features::ECHO);
            }
        }
        if self.groups.len() > 1 {
            add(features::GROUPS);
        }
        names
    }

    /// The first group whose records are only described, so that no run can have them.
    #[must_use]
    pub fn group_without_records(&self) -> Option<usize> {
        let is_only_described = |group: &Group| match &group.payload {
            Payload::Records(records) => records.data.is_empty(),
            _ => false,
        };
        self.groups.iter().position(is_only_described)
    }

    /// The same with its records only described, as a run is stored and shown.
    #[must_use]
    pub fn described(mut self) -> Self {
        for group in &mut self.groups {
            group.payload = group.payload.described();
        }
        self
    }

    /// The form of the API.
    #[must_use]
    pub fn to_proto(&self) -> v1::Plan {
        v1::Plan {
            groups: self.groups.iter().map(Group::to_proto).collect(),
            duration: prost_types::Duration::try_from(self.duration).ok(),
            warm_up: (!self.warm_up.is_zero())
                .then(|| prost_types::Duration::try_from(self.warm_up).ok())
                .flatten(),
            seed: self.seed,
            on_agent_loss: self.on_agent_loss.into(),
            threads: self.threads,
            thresholds: self.thresholds.iter().map(|one| one.to_proto()).collect(),
            no_default_objectives: !self.has_default_objectives,
            requires: self.requires.clone(),
            clock_trust: self.clock_trust.to_proto(),
            allow: self.allow.iter().map(|one| (*one).into()).collect(),
        }
    }
}

impl TryFrom<&v1::Plan> for Plan {
    type Error = FieldError;

    fn try_from(plan: &v1::Plan) -> Result<Self, FieldError> {
        check_features(&plan.requires)
            .map_err(|problem| FieldError::out_of_range("requires", problem))?;
        if let Some(feature) = features::missing(&plan.requires, features::CAPABILITIES) {
            let problem = format!("{feature:?} is no feature of this version");
            return Err(FieldError::unsupported("requires", problem));
        }
        let plan = Self {
            groups: checked_groups(&plan.groups)?,
            duration: duration("duration", plan.duration.as_ref(), DURATION_MIN)?,
            warm_up: warm_up(plan.warm_up.as_ref())?,
            seed: seed(plan.seed)?,
            on_agent_loss: agent_loss(plan.on_agent_loss)?,
            threads: within("threads", plan.threads.max(1), 1, THREADS_MAX)?,
            thresholds: thresholds(&plan.thresholds)?,
            has_default_objectives: !plan.no_default_objectives,
            requires: plan.requires.clone(),
            clock_trust: clock_trust::clock_trust(plan.clock_trust.as_ref())?,
            allow: allowances::allowances(&plan.allow)?,
        };
        plan.check_as_a_whole()?;
        Ok(plan)
    }
}

fn agent_loss(loss: i32) -> Result<v1::AgentLoss, FieldError> {
    match v1::AgentLoss::try_from(loss) {
        Ok(v1::AgentLoss::Unspecified) => Ok(v1::AgentLoss::Continue),
        Ok(loss) => Ok(loss),
        Err(_) => {
            let problem = format!("{loss} is unknown; continue (1) and stop (2) exist");
            Err(FieldError::unsupported("on_agent_loss", problem))
        }
    }
}

fn thresholds(thresholds: &[v1::Threshold]) -> Result<Vec<Threshold>, FieldError> {
    if thresholds.len() > THRESHOLDS_MAX {
        let problem = format!(
            "{} thresholds; at most {THRESHOLDS_MAX} are allowed",
            thresholds.len()
        );
        return Err(FieldError::out_of_range("thresholds", problem));
    }
    let checked = thresholds.iter().enumerate().map(|(index, threshold)| {
        Threshold::try_from(threshold)
            .map_err(|problem| FieldError::out_of_range(format!("thresholds[{index}]"), problem))
    });
    checked.collect()
}

fn checked_groups(groups: &[v1::Group]) -> Result<Vec<Group>, FieldError> {
    if !(1..=GROUPS_MAX).contains(&groups.len()) {
        let problem = format!("{} groups; 1 to {GROUPS_MAX} are allowed", groups.len());
        return Err(FieldError::out_of_range("groups", problem));
    }
    let checked = groups.iter().enumerate().map(|(index, group)| {
        Group::try_from(group).map_err(|error| error.below(&format!("groups[{index}]")))
    });
    let groups: Vec<Group> = checked.collect::<Result<_, _>>()?;
    for (index, group) in groups.iter().enumerate() {
        if groups[..index].iter().any(|other| other.name == group.name) {
            let problem = format!(
                "{:?} is the name of two groups; give each group a name of its own",
                group.name
            );
            return Err(FieldError::out_of_range(
                format!("groups[{index}].name"),
                problem,
            ));
        }
    }
    Ok(groups)
}

impl Plan {
    /// What only all fields together show.
    fn check_as_a_whole(&self) -> Result<(), FieldError> {
        let clients: u64 = self
            .groups
            .iter()
            .map(|group| u64::from(group.clients))
            .sum();
        if clients > u64::from(CLIENTS_MAX) {
            let problem = format!(
                "{clients} clients of all groups together are too many; at most {CLIENTS_MAX} are \
                 allowed"
            );
            return Err(FieldError::out_of_range("groups", problem));
        }
        check_total_rate(
            self.groups
                .iter()
                .map(|group| (group.profile, group.clients)),
        )
        .map_err(|problem| FieldError::out_of_range("groups", problem))?;
        let records: usize = self
            .groups
            .iter()
            .map(|group| group.payload.data_bytes())
            .sum();
        if records > RECORDS_BYTES_MAX {
            let problem = format!(
                "{records} bytes of records of all groups together are too many; at most \
                 {RECORDS_BYTES_MAX} are allowed, and agents can have larger files"
            );
            return Err(FieldError::out_of_range("groups", problem));
        }
        if self.warm_up >= self.duration {
            let problem = format!(
                "{:?} is not less than the duration of {:?}; shorten it or lengthen the run",
                self.warm_up, self.duration
            );
            return Err(FieldError::out_of_range("warm_up", problem));
        }
        for (index, group) in self.groups.iter().enumerate() {
            check_duration(&self.load(group))
                .map_err(|error| error.below(&format!("groups[{index}]")))?;
        }
        Ok(())
    }
}

/// A span that may be left out, which is none then.
fn warm_up(span: Option<&prost_types::Duration>) -> Result<Duration, FieldError> {
    let Some(span) = span else {
        return Ok(Duration::ZERO);
    };
    from_proto(span)
        .filter(|span| *span <= DURATION_MAX)
        .ok_or_else(|| {
            let seconds = span.seconds as f64 + f64::from(span.nanos) / 1e9;
            let problem = format!("{seconds} s is out of range; 0 s to 24 h are allowed");
            FieldError::out_of_range("warm_up", problem)
        })
}

/// Checks a seed; 0 stands for one that is still to be drawn.
///
/// # Errors
///
/// It is above [`SEED_MAX`].
pub fn seed(seed: u64) -> Result<u64, FieldError> {
    if seed <= SEED_MAX {
        return Ok(seed);
    }
    let problem = format!("{seed} is out of range; 1 to {SEED_MAX} are allowed");
    Err(FieldError::out_of_range("seed", problem))
}

#[cfg(test)]
mod tests;
