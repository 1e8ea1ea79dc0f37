//! Plans for what is tested beside them: of one second, of which nothing else is asked.

use std::time::Duration;

use metronome_proto::{
    plan::{Group, Plan},
    profile::Profile,
    v1,
};

/// A plan of these groups.
pub(crate) fn plan_of(groups: Vec<Group>) -> Plan {
    Plan {
        groups,
        duration: Duration::from_secs(1),
        warm_up: Duration::ZERO,
        seed: 1,
        on_agent_loss: v1::AgentLoss::Continue,
        threads: 1,
        thresholds: Vec::new(),
        has_default_objectives: true,
        requires: Vec::new(),
        clock_trust: Default::default(),
        allow: Vec::new(),
    }
}

/// Clients that send a packet of 32 bytes every second.
pub(crate) fn group_of(name: &str, clients: u32) -> Group {
    Group {
        name: name.into(),
        clients,
        profile: Profile::constant(1_000),
        packet_size: Default::default(),
        payload: Default::default(),
        batch: 1,
        phase: v1::Phase::Staggered,
        echo_every: None,
        agents: Vec::new(),
        target: String::new(),
    }
}
