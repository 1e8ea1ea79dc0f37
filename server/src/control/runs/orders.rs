//! The orders of one run to its agents: what each is to prepare, and when it is to start.

use std::{net::SocketAddr, time::Duration};

use metronome_proto::{
    handshake::Key,
    plan::Plan,
    rate::Rate,
    run_id::RunId,
    v1::{self, server_message::Message},
};
use metronome_telemetry as telemetry;
use tracing::Span;

use crate::{
    config::Secret,
    model::{AgentRecords, run::PREPARE_NS},
};

/// An agent gives up this much before the server does, so that its reason still arrives.
const PREPARE_MARGIN_NS: u64 = 2_000_000_000;

/// What the orders of one run have in common.
pub(super) struct Orders {
    pub(super) id: RunId,
    pub(super) plan: Plan,
    /// The server's data port.
    pub(super) data_address: SocketAddr,
    /// The agents' keys are derived from it.
    pub(super) secret: Secret,
    /// The run's span: the agents' spans are its children.
    pub(super) span: Span,
}

impl Orders {
    /// The order to connect all clients of an agent's share.
    pub(super) fn prepare(&self, agent: usize, agent_records: &AgentRecords) -> Message {
        let index = wire_index(agent);
        let plan = &self.plan;
        Message::Prepare(v1::Prepare {
            run_id: self.id.to_string(),
            target: self.target(),
            agent_index: u32::from(index),
            first_client: agent_records.share.first_client,
            clients: agent_records.share.clients,
            packets_per_client: plan.packets_per_client().unwrap_or(0),
            rate_millihertz: if let Rate::Millihertz(millihertz) = plan.rate {
                millihertz
            } else {
                0
            },
            flood: plan.rate == Rate::Max,
            batch: plan.batch,
            phase: plan.phase.into(),
            threads: plan.threads,
            key: Key::derive(&self.secret.0, self.id, index)
                .as_bytes()
                .to_vec(),
            deadline: duration(PREPARE_NS - PREPARE_MARGIN_NS),
            traceparent: telemetry::traceparent(&self.span),
            clients_total: plan.clients,
            duration: prost_types::Duration::try_from(plan.duration).ok(),
        })
    }

    /// The order to send the first packet at `start_at_ns`. An agent with another clock counts from
    /// when the order arrives.
    pub(super) fn start(
        &self,
        agent_records: &AgentRecords,
        start_at_ns: u64,
        now_ns: u64,
    ) -> Message {
        Message::Start(v1::Start {
            run_id: self.id.to_string(),
            start_at_ns: if agent_records.share.clock.is_same() {
                start_at_ns
            } else {
                0
            },
            start_in: duration(start_at_ns.saturating_sub(now_ns)),
        })
    }

    /// Where agents connect. An empty host lets each use the one at which it reached this server.
    fn target(&self) -> String {
        let own = self.data_address;
        if !self.plan.target.is_empty() {
            self.plan.target.clone()
        } else if own.ip().is_unspecified() || own.ip().is_loopback() {
            format!(":{}", own.port())
        } else {
            own.to_string()
        }
    }
}

/// An agent's index in the wire's form; a plan has at most 10,000 clients, so no more agents.
fn wire_index(agent: usize) -> u16 {
    u16::try_from(agent).unwrap_or(u16::MAX)
}

fn duration(nanos: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_nanos(nanos)).ok()
}
