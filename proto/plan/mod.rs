//! What may be asked of a run: parsed once, with every limit, so that nothing later re-checks it.
//!
//! [`Plan::try_from`] is the only way in; its error names the field as the API spells it, the value
//! and the allowed range. The fields that an order to an agent repeats are checked by the same
//! functions ([`crate::share`]).

use std::time::Duration;

use crate::{
    address::{HostPort, shown},
    features,
    limits::{
        AGENTS_MAX, BATCH_MAX, CLIENTS_MAX, DURATION_MAX, DURATION_MIN, GROUPS_MAX,
        TARGET_BYTES_MAX, THREADS_MAX, THRESHOLDS_MAX, TOTAL_RATE_MILLIHERTZ_MAX,
    },
    names::{check_features, is_name},
    profile::{BadProfile, Profile, hz},
    schedule::Schedule,
    threshold::Threshold,
    v1,
};

/// The name of a group that was given none.
pub const GROUP_DEFAULT: &str = "default";

/// A plan whose every field is within its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The one group of the plan.
    pub group: Group,
    /// How long the schedule lasts: [`DURATION_MIN`] to [`DURATION_MAX`].
    pub duration: Duration,
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
}

/// Clients that send in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// See [`is_name`].
    pub name: String,
    /// 1 to [`CLIENTS_MAX`].
    pub clients: u32,
    /// When each client sends.
    pub profile: Profile,
    /// Packets per write: 1 to [`BATCH_MAX`].
    pub batch: u32,
    /// Never unspecified.
    pub phase: v1::Phase,
    /// Names of agents; empty for all.
    pub agents: Vec<String>,
    /// HOST:PORT, or empty for the server's own.
    pub target: String,
}

/// A field of a request that cannot be followed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Path of the field in the API, below the plan: `groups[0].batch`, `duration`, …
    pub field: String,
    /// Whether a later version might follow it.
    pub kind: FieldErrorKind,
    /// The value, the allowed range and the way out.
    pub problem: String,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FieldErrorKind {
    /// It is missing or out of its range.
    OutOfRange,
    /// It asks for what this version does not have.
    Unsupported,
}

impl FieldError {
    /// A field that is missing or out of its range.
    #[must_use]
    pub fn out_of_range(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            kind: FieldErrorKind::OutOfRange,
            problem: problem.into(),
        }
    }

    /// A field that asks for what this version does not have.
    #[must_use]
    pub fn unsupported(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            kind: FieldErrorKind::Unsupported,
            problem: problem.into(),
        }
    }

    /// The error of a field of the message at `path`.
    #[must_use]
    pub fn below(mut self, path: &str) -> Self {
        self.field = format!("{path}.{}", self.field);
        self
    }
}

impl Plan {
    /// Clients of all groups.
    #[must_use]
    pub fn clients(&self) -> u32 {
        self.group.clients
    }

    /// The schedule of a client whose first packet is due at `start_ns`. `None` for a flood.
    #[must_use]
    pub fn schedule(&self, start_ns: u64) -> Option<Schedule> {
        let group = &self.group;
        group.profile.schedule(start_ns, self.duration, group.batch)
    }

    /// Packets of each client: floor(rate × duration), at least 1. `None` for a flood, which plans
    /// none.
    #[must_use]
    pub fn packets_per_client(&self) -> Option<u64> {
        self.schedule(0).map(|schedule| schedule.packets)
    }

    /// Packets per 1000 s of all clients together. `None` for a flood, which has no rate.
    #[must_use]
    pub fn offered_millihertz(&self) -> Option<u64> {
        let rate_millihertz = self.group.profile.rate_millihertz()?;
        Some(rate_millihertz * u64::from(self.group.clients))
    }

    /// Features that an agent needs for this plan: those that it requires and those that it uses.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        let profile = match self.group.profile {
            Profile::Constant { .. } => features::CONSTANT,
            Profile::Flood => features::FLOOD,
        };
        let mut names = self.requires.clone();
        if !names.iter().any(|name| name == profile) {
            names.push(profile.into());
        }
        names
    }

    /// The form of the API.
    #[must_use]
    pub fn to_proto(&self) -> v1::Plan {
        v1::Plan {
            groups: vec![self.group.to_proto()],
            duration: prost_types::Duration::try_from(self.duration).ok(),
            on_agent_loss: self.on_agent_loss.into(),
            threads: self.threads,
            thresholds: self.thresholds.iter().map(|one| one.to_proto()).collect(),
            no_default_objectives: !self.has_default_objectives,
            requires: self.requires.clone(),
        }
    }
}

impl Group {
    fn to_proto(&self) -> v1::Group {
        let agents = (!self.agents.is_empty()).then(|| v1::AgentSelector {
            names: self.agents.clone(),
        });
        let target = (!self.target.is_empty()).then(|| v1::Target {
            kind: Some(v1::target::Kind::Receivers(v1::Receivers {
                address: self.target.clone(),
            })),
        });
        v1::Group {
            name: self.name.clone(),
            clients: self.clients,
            profile: Some(self.profile.to_proto()),
            batch: self.batch,
            phase: self.phase.into(),
            agents,
            target,
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
        Ok(Self {
            group: the_group(&plan.groups)?,
            duration: duration("duration", plan.duration.as_ref(), DURATION_MIN)?,
            on_agent_loss: agent_loss(plan.on_agent_loss)?,
            threads: within("threads", plan.threads.max(1), 1, THREADS_MAX)?,
            thresholds: thresholds(&plan.thresholds)?,
            has_default_objectives: !plan.no_default_objectives,
            requires: plan.requires.clone(),
        })
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

fn the_group(groups: &[v1::Group]) -> Result<Group, FieldError> {
    match groups {
        [] => Err(FieldError::out_of_range(
            "groups",
            "missing; 1 group of clients is needed",
        )),
        [one] => Group::try_from(one).map_err(|error| error.below("groups[0]")),
        several => Err(FieldError::unsupported(
            "groups",
            format!("{} groups; this version takes {GROUPS_MAX}", several.len()),
        )),
    }
}

impl TryFrom<&v1::Group> for Group {
    type Error = FieldError;

    fn try_from(group: &v1::Group) -> Result<Self, FieldError> {
        let name = match group.name.as_str() {
            "" => GROUP_DEFAULT,
            name if is_name(name) => name,
            name => {
                let problem = format!(
                    "{name:?} is no name of a group; 1 to 63 characters of a-z, 0-9 and - are"
                );
                return Err(FieldError::out_of_range("name", problem));
            }
        };
        let clients = within("clients", group.clients, 1, CLIENTS_MAX)?;
        let profile = profile(group.profile.as_ref())?;
        check_total_rate(profile, clients)?;
        Ok(Self {
            name: name.into(),
            clients,
            profile,
            batch: batch(group.batch, profile)?,
            phase: phase(group.phase)?,
            agents: agents(group.agents.as_ref())?,
            target: target(group.target.as_ref())?,
        })
    }
}

/// Checks a number's range: `min` to `max`.
///
/// # Errors
///
/// It is out of its range.
pub fn within(field: &str, value: u32, min: u32, max: u32) -> Result<u32, FieldError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let problem = format!("{value} is out of range; {min} to {max} are allowed");
    Err(FieldError::out_of_range(field, problem))
}

/// Checks a profile, which is required.
pub(crate) fn profile(profile: Option<&v1::Profile>) -> Result<Profile, FieldError> {
    let Some(profile) = profile else {
        return Err(FieldError::out_of_range(
            "profile",
            "missing; give a constant rate or a flood",
        ));
    };
    Profile::try_from(profile).map_err(|error| match error {
        BadProfile::Unsupported => FieldError::unsupported("profile", error.to_string()),
        BadProfile::Rate(_) => {
            FieldError::out_of_range("profile.constant.rate_millihertz", error.to_string())
        }
    })
}

/// Checks that all clients together are not too fast.
pub(crate) fn check_total_rate(profile: Profile, clients: u32) -> Result<(), FieldError> {
    let Some(rate_millihertz) = profile.rate_millihertz() else {
        return Ok(());
    };
    let total = u128::from(rate_millihertz) * u128::from(clients);
    if total <= u128::from(TOTAL_RATE_MILLIHERTZ_MAX) {
        return Ok(());
    }
    let problem = format!(
        "{clients} clients of {profile} packets/s are {} packets/s together; at most {} are \
         allowed, so lower one of the two",
        total / 1000,
        hz(TOTAL_RATE_MILLIHERTZ_MAX)
    );
    Err(FieldError::out_of_range(
        "profile.constant.rate_millihertz",
        problem,
    ))
}

fn batch(batch: u32, profile: Profile) -> Result<u32, FieldError> {
    let batch = match (batch, profile) {
        (0, Profile::Flood) => BATCH_MAX,
        (0, Profile::Constant { .. }) => 1,
        (batch, _) => batch,
    };
    within("batch", batch, 1, BATCH_MAX)
}

/// Checks a duration from the wire, which may hold anything: `min` to [`DURATION_MAX`].
///
/// # Errors
///
/// It is missing, malformed or out of its range.
pub fn duration(
    field: &str,
    duration: Option<&prost_types::Duration>,
    min: Duration,
) -> Result<Duration, FieldError> {
    let min_ms = min.as_secs_f64() * 1e3;
    let Some(duration) = duration else {
        let problem = format!("missing; {min_ms} ms to 24 h are allowed");
        return Err(FieldError::out_of_range(field, problem));
    };
    from_proto(duration)
        .filter(|duration| (min..=DURATION_MAX).contains(duration))
        .ok_or_else(|| {
            let seconds = duration.seconds as f64 + f64::from(duration.nanos) / 1e9;
            let problem = format!("{seconds} s is out of range; {min_ms} ms to 24 h are allowed");
            FieldError::out_of_range(field, problem)
        })
}

/// A duration from the wire. `None` when it is negative or malformed.
#[must_use]
pub fn from_proto(wire: &prost_types::Duration) -> Option<Duration> {
    // Not Duration::try_from: prost-types 0.14.6 overflows on the lowest i64, which a peer may
    // send.
    let seconds = u64::try_from(wire.seconds).ok()?;
    let nanos = u32::try_from(wire.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

/// Checks a phase; unspecified is staggered.
pub(crate) fn phase(phase: i32) -> Result<v1::Phase, FieldError> {
    match v1::Phase::try_from(phase) {
        Ok(v1::Phase::Unspecified) => Ok(v1::Phase::Staggered),
        Ok(phase) => Ok(phase),
        Err(_) => {
            let problem =
                format!("{phase} is unknown; staggered (1), spread (2) and aligned (3) exist");
            Err(FieldError::unsupported("phase", problem))
        }
    }
}

fn agents(selector: Option<&v1::AgentSelector>) -> Result<Vec<String>, FieldError> {
    let Some(v1::AgentSelector { names }) = selector else {
        return Ok(Vec::new());
    };
    let error = |problem: String| Err(FieldError::out_of_range("agents.names", problem));
    if names.len() > AGENTS_MAX {
        return error(format!(
            "{} names are too many; at most {AGENTS_MAX} are allowed",
            names.len()
        ));
    }
    if let Some(bad) = names.iter().find(|name| !is_name(name)) {
        return error(format!(
            "{bad:?} is no agent name; 1 to 63 characters of a-z, 0-9 and - are"
        ));
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < names.len() {
        return error("a name stands there twice; name each agent once".into());
    }
    Ok(sorted)
}

fn target(target: Option<&v1::Target>) -> Result<String, FieldError> {
    if target.is_none() {
        return Ok(String::new());
    }
    let address = receivers_address(target)?;
    let error = |problem: String| {
        Err(FieldError::out_of_range(
            "target.receivers.address",
            problem,
        ))
    };
    if address.len() > TARGET_BYTES_MAX {
        return error(format!(
            "{} bytes are too long; at most {TARGET_BYTES_MAX} are allowed",
            address.len()
        ));
    }
    if address.is_empty() {
        return Ok(String::new());
    }
    match address.parse::<HostPort>() {
        Ok(_) => Ok(address.to_owned()),
        Err(not) => error(format!("{:?} is no address; {not}", shown(address))),
    }
}

/// The address in a target, which must be one of receivers.
pub(crate) fn receivers_address(target: Option<&v1::Target>) -> Result<&str, FieldError> {
    match target.map(|target| &target.kind) {
        Some(Some(v1::target::Kind::Receivers(v1::Receivers { address }))) => Ok(address),
        Some(None) => {
            let problem = "a target of a kind that this version does not support; receivers is";
            Err(FieldError::unsupported("target", problem))
        }
        None => Err(FieldError::out_of_range(
            "target",
            "missing; receivers with an address are needed",
        )),
    }
}

#[cfg(test)]
mod tests;
