//! One group of clients of a plan, and what a share of it repeats.

use std::{num::NonZeroU32, time::Duration};

use super::{
    field::{FieldError, within},
    payload::payload,
    threshold_list,
};
use crate::{
    address::{HostPort, shown},
    features,
    limits::{
        AGENTS_MAX, BATCH_MAX, CLIENTS_MAX, ECHO_EVERY_MAX, TARGET_BYTES_MAX,
        TOTAL_RATE_MILLIHERTZ_MAX, WRITE_BYTES_MAX,
    },
    load::Load,
    names::is_name,
    packet_size::PacketSize,
    payload::Payload,
    profile::{BadProfile, Profile, hz},
    threshold::Threshold,
    v1,
};

/// The name of a group that was given none.
pub const GROUP_DEFAULT: &str = "default";

/// Clients that send in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// See [`is_name`].
    pub name: String,
    /// 1 to [`CLIENTS_MAX`].
    pub clients: u32,
    /// When each client sends.
    pub profile: Profile,
    /// Bytes of each packet.
    pub packet_size: PacketSize,
    /// What follows the header of each packet.
    pub payload: Payload,
    /// Packets per write: 1 to [`BATCH_MAX`], at most [`WRITE_BYTES_MAX`] bytes.
    pub batch: u32,
    /// Never unspecified.
    pub phase: v1::Phase,
    /// Packets whose sequence is a multiple of this ask for a reply; at most [`ECHO_EVERY_MAX`].
    pub echo_every: Option<NonZeroU32>,
    /// Names of agents; empty for all.
    pub agents: Vec<String>,
    /// HOST:PORT, or empty for the server's own.
    pub target: String,
    /// The caller's objectives over the clients of this group.
    pub thresholds: Vec<Threshold>,
}

impl Group {
    pub(super) fn to_proto(&self) -> v1::Group {
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
            packet_bytes: self.packet_size.bytes() as u32,
            payload: self.payload.to_proto(),
            batch: self.batch,
            phase: self.phase.into(),
            echo_every: self.echo_every.map_or(0, NonZeroU32::get),
            agents,
            target,
            thresholds: self.thresholds.iter().map(|one| one.to_proto()).collect(),
        }
    }

    /// The feature that its profile is.
    pub(super) fn profile_feature(&self) -> &'static str {
        match self.profile {
            Profile::Constant { .. } => features::CONSTANT,
            Profile::Poisson { .. } => features::POISSON,
            Profile::Burst { .. } => features::BURST,
            Profile::Ramp { .. } => features::RAMP,
            Profile::Steps(_) => features::STEPS,
            Profile::OnOff { .. } => features::ON_OFF,
            Profile::Flood => features::FLOOD,
        }
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
        let packet_size = packet_size(group.packet_bytes)?;
        Ok(Self {
            name: name.into(),
            clients,
            profile,
            packet_size,
            payload: payload(group.payload.as_ref(), packet_size, false)?,
            batch: batch(group.batch, profile, packet_size)?,
            phase: phase(group.phase)?,
            echo_every: echo_every(group.echo_every)?,
            agents: agents(group.agents.as_ref())?,
            target: target(group.target.as_ref())?,
            thresholds: threshold_list::checked(&group.thresholds)?,
        })
    }
}

/// Checks a profile, which is required.
pub(crate) fn profile(profile: Option<&v1::Profile>) -> Result<Profile, FieldError> {
    let Some(profile) = profile else {
        return Err(FieldError::out_of_range(
            "profile",
            "missing; give a constant rate, for example",
        ));
    };
    Profile::try_from(profile).map_err(|error| match error {
        BadProfile::Unsupported => FieldError::unsupported("profile", error.to_string()),
        BadProfile::Field { field, problem } => {
            FieldError::out_of_range(format!("profile.{field}"), problem)
        }
    })
}

/// Checks that the profile has its place in a run so long: a period, and the last of its steps.
///
/// # Errors
///
/// It has not; the field is below that of a group or a share.
pub fn check_duration(load: &Load) -> Result<(), FieldError> {
    let duration = load.duration;
    if let Profile::Steps(steps) = load.profile {
        let last_begins = Duration::from_nanos(steps.last_begins_ns());
        if last_begins >= duration {
            let problem = format!(
                "the last rate begins after {last_begins:?}, and the run lasts {duration:?}; \
                 lengthen it or shorten the steps"
            );
            return Err(FieldError::out_of_range("profile.steps.steps", problem));
        }
    }
    if load.has_a_period() {
        return Ok(());
    }
    let problem = format!(
        "no period of {} fits into the duration of {duration:?}, so no packet would be sent; \
         lengthen the run or raise the rate",
        load.profile
    );
    Err(FieldError::out_of_range("profile", problem))
}

/// Checks that all clients together are not too fast, each at its highest rate.
///
/// # Errors
///
/// They are; the sentence has the sum.
pub fn check_total_rate(groups: impl Iterator<Item = (Profile, u32)>) -> Result<(), String> {
    let highest = |(profile, clients): (Profile, u32)| {
        u128::from(profile.highest_millihertz().unwrap_or(0)) * u128::from(clients)
    };
    let total: u128 = groups.map(highest).sum();
    if total <= u128::from(TOTAL_RATE_MILLIHERTZ_MAX) {
        return Ok(());
    }
    Err(format!(
        "all clients together are {} packets/s at their highest rates; at most {} are allowed, so \
         lower a rate or a number of clients",
        total / 1000,
        hz(TOTAL_RATE_MILLIHERTZ_MAX)
    ))
}

/// Checks the bytes of a packet; 0 stands for 32.
pub(crate) fn packet_size(bytes: u32) -> Result<PacketSize, FieldError> {
    let [min, max] = [PacketSize::MIN, PacketSize::MAX].map(|size| size.bytes() as u32);
    let bytes = within(
        "packet_bytes",
        if bytes == 0 { min } else { bytes },
        min,
        max,
    )?;
    Ok(PacketSize::new(bytes).unwrap_or_default())
}

/// Checks how often a packet asks for a reply; 0 stands for never.
pub(crate) fn echo_every(packets: u32) -> Result<Option<NonZeroU32>, FieldError> {
    within("echo_every", packets, 0, ECHO_EVERY_MAX).map(NonZeroU32::new)
}

/// Checks the packets of a write; 0 stands for what is usual for the profile.
pub(crate) fn batch(
    batch: u32,
    profile: Profile,
    packet_size: PacketSize,
) -> Result<u32, FieldError> {
    let most = (WRITE_BYTES_MAX / packet_size.bytes() as u32).min(BATCH_MAX);
    let batch = match (batch, profile) {
        (0, Profile::Flood) => most,
        (0, _) => 1,
        (batch, _) => batch,
    };
    if batch > 1 && matches!(profile, Profile::Poisson { .. }) {
        let problem = format!(
            "{batch} packets a write do not go with random arrivals, which come one by one; leave \
             the batch out"
        );
        return Err(FieldError::out_of_range("batch", problem));
    }
    if let Profile::Burst { packets, .. } = profile
        && batch > packets
    {
        let problem = format!(
            "{batch} packets a write are more than a burst has, and a write ends with its burst; \
             give at most {packets}"
        );
        return Err(FieldError::out_of_range("batch", problem));
    }
    let batch = within("batch", batch, 1, BATCH_MAX)?;
    if batch > most {
        let problem = format!(
            "{batch} packets of {} bytes are more than the {WRITE_BYTES_MAX} bytes that a write \
             takes; give at most {most}",
            packet_size.bytes()
        );
        return Err(FieldError::out_of_range("batch", problem));
    }
    Ok(batch)
}

/// Checks a phase; unspecified is auto.
pub(crate) fn phase(phase: i32) -> Result<v1::Phase, FieldError> {
    match v1::Phase::try_from(phase) {
        Ok(v1::Phase::Unspecified) => Ok(v1::Phase::Auto),
        Ok(phase) => Ok(phase),
        Err(_) => {
            let problem = format!(
                "{phase} is unknown; staggered (1), spread (2), aligned (3) and auto (4) exist"
            );
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
