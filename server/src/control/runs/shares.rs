//! What each agent brings of a run, from the plan and the clients that were assigned to it. Pure.

use std::{net::SocketAddr, ops::Range};

use metronome_proto::{
    plan::{Group, Plan},
    share::Share,
};

use crate::{control::agents::AssignedAgent, model::AgentShare};

/// The share of an agent: its clients of each group, in the order of the groups.
pub(super) fn share_of(agent: &AssignedAgent, plan: &Plan, data_address: SocketAddr) -> AgentShare {
    let groups: Vec<_> = plan.clients_of_groups().collect();
    let shares = agent.parts.iter().filter_map(|part| {
        let (of_group, group) = groups.get(part.group)?;
        let first_in_group = part.clients.start.checked_sub(of_group.start)?;
        let clients = part.clients.clone();
        Some(share(clients, first_in_group, group, data_address))
    });
    AgentShare {
        shares: shares.collect(),
        clock: agent.clock.relation,
        clock_bound_ns: agent.clock.bound_ns,
    }
}

fn share(
    clients: Range<u32>,
    first_in_group: u32,
    group: &Group,
    data_address: SocketAddr,
) -> Share {
    Share {
        group: group.name.clone(),
        clients_total: group.clients,
        first_in_group,
        clients,
        address: address(group, data_address),
        profile: group.profile,
        packet_size: group.packet_size,
        payload: group.payload.clone(),
        batch: group.batch,
        phase: group.phase,
        echo_every: group.echo_every,
    }
}

/// Where agents connect. An empty host lets each use the one at which it reached this server.
fn address(group: &Group, own: SocketAddr) -> String {
    if !group.target.is_empty() {
        group.target.clone()
    } else if own.ip().is_unspecified() || own.ip().is_loopback() {
        format!(":{}", own.port())
    } else {
        own.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use metronome_proto::{
        packet_size::PacketSize,
        payload::{Payload, Records},
        plan::GROUP_DEFAULT,
        profile::Profile,
        v1,
    };

    use super::*;
    use crate::{
        control::agents::GroupPart,
        model::{AgentClock, ClockRelation},
        testing::plan_of,
    };

    fn group(target: &str) -> Group {
        Group {
            name: GROUP_DEFAULT.into(),
            clients: 10,
            profile: Profile::Flood,
            packet_size: PacketSize::new(200).unwrap(),
            payload: Payload::Records(Records::new("readings.bin", vec![7; 2 * 168])),
            batch: 7,
            phase: v1::Phase::Aligned,
            echo_every: NonZeroU32::new(100),
            agents: Vec::new(),
            target: target.into(),
            thresholds: Vec::new(),
        }
    }

    #[test]
    fn a_share_is_one_that_an_agent_accepts_and_has_its_place_in_the_group() {
        let agent = AssignedAgent {
            name: "a".into(),
            parts: vec![
                GroupPart {
                    group: 0,
                    clients: 4..10,
                },
                GroupPart {
                    group: 2,
                    clients: 23..25,
                },
            ],
            clock: AgentClock::same(5),
        };
        let named = |name: &str| Group {
            name: name.into(),
            ..group("")
        };
        let plan = plan_of(vec![named("x"), named("y"), named("z")]);
        let own = ([192, 0, 2, 7], 8888).into();
        let AgentShare {
            shares,
            clock,
            clock_bound_ns,
        } = share_of(&agent, &plan, own);
        for share in &shares {
            assert_eq!(Share::try_from(&share.to_proto()).as_ref(), Ok(share));
            assert_eq!(share.clients_total, 10);
            let of_packets = (share.packet_size.bytes(), share.echo_every);
            assert_eq!(of_packets, (200, NonZeroU32::new(100)));
            assert_eq!(share.payload.data_bytes(), 336);
        }
        let places = shares.iter().map(|share| {
            let group = share.group.as_str();
            (group, share.clients.clone(), share.first_in_group)
        });
        assert!(places.eq([("x", 4..10, 4), ("z", 23..25, 3)]));
        assert_eq!((clock, clock_bound_ns), (ClockRelation::Same, Some(5)));
    }

    #[test]
    fn agents_connect_where_the_plan_asks_or_where_they_reach_the_server() {
        for (own, target, expected) in [
            ("0.0.0.0:8888", "", ":8888"),
            ("127.0.0.1:8888", "", ":8888"),
            ("[::]:8888", "", ":8888"),
            ("192.0.2.7:8888", "", "192.0.2.7:8888"),
            ("192.0.2.7:8888", "nat:1", "nat:1"),
        ] {
            assert_eq!(address(&group(target), own.parse().unwrap()), expected);
        }
    }
}
