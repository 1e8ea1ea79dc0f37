//! The orders of one run to its agents: what each is to prepare, and when it is to start.

use std::time::Duration;

use metronome_proto::{
    handshake::Key,
    plan::Plan,
    run_id::RunId,
    share::Share,
    v1::{self, start::At},
};
use metronome_telemetry::TraceContext;
use tracing::Span;

use crate::{
    config::Secret,
    control::agents::Order,
    model::{AgentRecords, run::PREPARE_NS},
};

/// An agent gives up this much before the server does, so that its reason still arrives.
const PREPARE_MARGIN_NS: u64 = 2_000_000_000;

/// What the orders of one run have in common.
pub(super) struct Orders {
    pub(super) id: RunId,
    pub(super) plan: Plan,
    /// The agents' keys are derived from it.
    pub(super) secret: Secret,
    /// The run's span: the agents' spans are its children.
    pub(super) span: Span,
    /// The time from one probe to the next of an agent on another clock.
    pub(super) probe_every: Duration,
}

impl Orders {
    /// The order to connect all clients of an agent's share.
    pub(super) fn prepare(&self, agent: usize, agent_records: &AgentRecords) -> Order {
        let index = wire_index(agent);
        let plan = &self.plan;
        let context = TraceContext::of(&self.span);
        Order::Prepare(v1::Prepare {
            run_id: self.id.to_string(),
            agent_index: u32::from(index),
            shares: agent_records
                .share
                .shares
                .iter()
                .map(Share::to_proto)
                .collect(),
            duration: prost_types::Duration::try_from(plan.duration).ok(),
            threads: plan.threads,
            seed: plan.seed,
            key: Key::derive(&self.secret.0, self.id, index)
                .as_bytes()
                .to_vec(),
            deadline: duration(PREPARE_NS - PREPARE_MARGIN_NS),
            traceparent: context.traceparent,
            requires: plan.features(),
            warm_up: (!plan.warm_up.is_zero())
                .then(|| prost_types::Duration::try_from(plan.warm_up).ok())
                .flatten(),
            tracestate: context.tracestate,
            probe_every: (agent_records.share.clock.has_lines())
                .then(|| prost_types::Duration::try_from(self.probe_every).ok())
                .flatten(),
        })
    }

    /// The order to send the first packet at `start_at_ns`, when the agent's clock reads
    /// `agents_ns`. An agent with another clock of which that is not known counts from when the
    /// order arrives.
    pub(super) fn start(
        &self,
        agent_records: &AgentRecords,
        (start_at_ns, agents_ns): (u64, Option<u64>),
        now_ns: u64,
    ) -> Order {
        let at = if agent_records.share.clock.is_same() {
            Some(At::StartAtNs(start_at_ns))
        } else if let Some(agents_ns) = agents_ns {
            Some(At::StartAtAgentNs(agents_ns))
        } else {
            duration(start_at_ns.saturating_sub(now_ns)).map(At::StartIn)
        };
        Order::Start(v1::Start {
            run_id: self.id.to_string(),
            at,
        })
    }
}

/// An agent's index in the wire's form; a plan has at most 10,000 clients, so no more agents.
fn wire_index(agent: usize) -> u16 {
    u16::try_from(agent).unwrap_or(u16::MAX)
}

fn duration(nanos: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_nanos(nanos)).ok()
}
