//! What one agent brings of one group, checked with the limits of a plan, so that no server makes
//! an agent send more, or for longer, than a plan may ask for.

use std::{num::NonZeroU32, ops::Range, time::Duration};

use crate::{
    limits::{BATCH_MAX, CLIENTS_MAX, TARGET_BYTES_MAX},
    load::Load,
    names::is_name,
    packet_size::PacketSize,
    payload::Payload,
    plan::{self, FieldError, within},
    profile::Profile,
    v1,
};

/// A share whose every field is within its limits. Whether the address is one, and allowed, is the
/// agent's to check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Share {
    /// Name of the group.
    pub group: String,
    /// Indices of the clients within the run; never empty.
    pub clients: Range<u32>,
    /// Clients of the group, those of other agents included.
    pub clients_total: u32,
    /// The place of the first of `clients` in the group.
    pub first_in_group: u32,
    /// HOST:PORT of the data port; an empty host is the one at which the agent reached the server.
    pub address: String,
    /// When each client sends.
    pub profile: Profile,
    /// Bytes of each packet.
    pub packet_size: PacketSize,
    /// What follows the header of each packet; records with their bytes.
    pub payload: Payload,
    /// Packets per write: 1 to 1024.
    pub batch: u32,
    /// Never unspecified.
    pub phase: v1::Phase,
    /// Packets whose sequence is a multiple of this ask for a reply.
    pub echo_every: Option<NonZeroU32>,
}

impl Share {
    /// The load of each of its clients in a run so long, with this seed.
    #[must_use]
    pub fn load(&self, duration: Duration, seed: u64) -> Load {
        Load {
            profile: self.profile,
            duration,
            batch: self.batch,
            seed,
        }
    }

    /// The form of the API.
    #[must_use]
    pub fn to_proto(&self) -> v1::AgentShare {
        let receivers = v1::Receivers {
            address: self.address.clone(),
        };
        v1::AgentShare {
            group: self.group.clone(),
            first_client: self.clients.start,
            clients: self.clients.end - self.clients.start,
            clients_total: self.clients_total,
            profile: Some(self.profile.to_proto()),
            batch: self.batch,
            phase: self.phase.into(),
            target: Some(v1::Target {
                kind: Some(v1::target::Kind::Receivers(receivers)),
            }),
            first_in_group: self.first_in_group,
            packet_bytes: self.packet_size.bytes() as u32,
            payload: self.payload.to_proto(),
            echo_every: self.echo_every.map_or(0, NonZeroU32::get),
        }
    }
}

impl TryFrom<&v1::AgentShare> for Share {
    type Error = FieldError;

    fn try_from(share: &v1::AgentShare) -> Result<Self, FieldError> {
        if !is_name(&share.group) {
            return Err(FieldError::out_of_range("group", "no name of a group"));
        }
        let clients = within("clients", share.clients, 1, CLIENTS_MAX)?;
        let first = within("first_client", share.first_client, 0, CLIENTS_MAX - clients)?;
        let end = first + clients;
        let clients_total = within("clients_total", share.clients_total, clients, CLIENTS_MAX)?;
        let first_in_group = within(
            "first_in_group",
            share.first_in_group,
            0,
            clients_total - clients,
        )?;
        let profile = plan::profile(share.profile.as_ref())?;
        plan::check_total_rate([(profile, clients_total)].into_iter())
            .map_err(|problem| FieldError::out_of_range("profile", problem))?;
        let packet_size = plan::packet_size(share.packet_bytes)?;
        let batch = within("batch", share.batch, 1, BATCH_MAX)?;
        Ok(Self {
            group: share.group.clone(),
            clients: first..end,
            clients_total,
            first_in_group,
            address: address(share.target.as_ref())?.to_owned(),
            profile,
            packet_size,
            payload: plan::payload(share.payload.as_ref(), packet_size, true)?,
            batch: plan::batch(batch, profile, packet_size)?,
            phase: phase(share.phase)?,
            echo_every: plan::echo_every(share.echo_every)?,
        })
    }
}

fn address(target: Option<&v1::Target>) -> Result<&str, FieldError> {
    let address = plan::receivers_address(target)?;
    if (1..=TARGET_BYTES_MAX).contains(&address.len()) {
        return Ok(address);
    }
    let problem = format!(
        "{} bytes; 1 to {TARGET_BYTES_MAX} are allowed",
        address.len()
    );
    Err(FieldError::out_of_range(
        "target.receivers.address",
        problem,
    ))
}

/// The server has chosen one, where a plan left it open.
fn phase(phase: i32) -> Result<v1::Phase, FieldError> {
    if phase == i32::from(v1::Phase::Unspecified) {
        return Err(FieldError::out_of_range(
            "phase",
            "missing; a share has one",
        ));
    }
    plan::phase(phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str) -> Option<v1::Target> {
        let address = address.into();
        Some(v1::Target {
            kind: Some(v1::target::Kind::Receivers(v1::Receivers { address })),
        })
    }

    fn share() -> v1::AgentShare {
        v1::AgentShare {
            group: "default".into(),
            first_client: 10,
            clients: 10,
            clients_total: 20,
            profile: Some(Profile::constant(10_000_000).to_proto()),
            batch: 1,
            phase: v1::Phase::Spread.into(),
            target: target(":8888"),
            first_in_group: 10,
            packet_bytes: 200,
            payload: Payload::Pattern.to_proto(),
            echo_every: 100,
        }
    }

    #[test]
    fn a_share_survives_the_api() {
        let checked = Share::try_from(&share()).unwrap();
        assert_eq!(checked.clients, 10..20);
        assert_eq!(checked.to_proto(), share());
    }

    #[test]
    fn the_clients_of_a_share_may_be_the_last_ones_and_none_behind_them() {
        let at_the_end = v1::AgentShare {
            first_client: CLIENTS_MAX - share().clients,
            ..share()
        };
        assert_eq!(
            Share::try_from(&at_the_end).unwrap().clients.end,
            CLIENTS_MAX
        );
        let behind = v1::AgentShare {
            first_client: at_the_end.first_client + 1,
            ..share()
        };
        assert_eq!(Share::try_from(&behind).unwrap_err().field, "first_client");
    }

    #[test]
    fn a_share_has_the_schedule_of_its_profile_and_a_flood_none() {
        let share = Share::try_from(&share()).unwrap();
        let schedule = share
            .load(Duration::from_secs(2), 7)
            .schedule(5, 0)
            .unwrap();
        assert_eq!((schedule.start_ns(), schedule.packets()), (5, Some(20_000)));
        assert_eq!(schedule.batch(), share.batch);
        let flood = Share {
            profile: Profile::Flood,
            ..share
        };
        assert_eq!(flood.load(Duration::from_secs(2), 7).schedule(5, 0), None);
    }

    #[test]
    fn what_no_plan_may_ask_for_is_refused_by_the_name_of_its_field() {
        let refused = |field: &str, change: fn(&mut v1::AgentShare)| {
            let mut share = share();
            change(&mut share);
            let error = Share::try_from(&share).expect_err(field);
            assert_eq!(error.field, field);
        };
        refused("group", |s| s.group = "\x1b".into());
        refused("clients", |s| s.clients = 0);
        refused("clients", |s| s.clients = u32::MAX);
        refused("first_client", |s| s.first_client = u32::MAX);
        refused("clients_total", |s| s.clients_total = 9);
        refused("first_in_group", |s| s.first_in_group = 11);
        refused("target", |s| s.target = None);
        refused("target", |s| s.target = Some(v1::Target { kind: None }));
        refused("batch", |s| s.batch = 0);
        refused("batch", |s| s.batch = BATCH_MAX + 1);
        let no_batch = v1::AgentShare {
            batch: 0,
            ..share()
        };
        let problem = Share::try_from(&no_batch).unwrap_err().to_string();
        assert!(problem.contains("1 to 1024"), "{problem}");
        refused("phase", |s| s.phase = -1);
        refused("phase", |s| s.phase = 0);
        refused("target.receivers.address", |s| s.target = target(""));
        refused("target.receivers.address", |s| {
            s.target = target(&format!("{}:1", "x".repeat(600_000)));
        });
        refused("profile", |s| s.profile = None);
        refused("profile", |s| s.profile = Some(v1::Profile { shape: None }));
        refused("profile.constant.rate_millihertz", |s| {
            s.profile = Some(Profile::constant(0).to_proto());
        });
        // Each is allowed, all clients together are too fast.
        refused("profile", |s| {
            s.profile = Some(Profile::constant(1_000_000_000).to_proto());
        });
        refused("batch", |s| {
            s.batch = 2;
            let rate_millihertz = 1_000;
            s.profile = Some(Profile::Poisson { rate_millihertz }.to_proto());
        });
    }
}
