//! What goes between the server and its agents: orders to an agent, and an agent's reports to a
//! run.

use metronome_proto::{
    features::CAPABILITIES,
    limits::LEASE,
    run_id::RunId,
    v1::{self, agent_service_session_response::Message},
};
use tokio::sync::mpsc;
use tonic::Status;

use super::agent_info::AgentInfo;
use crate::model::{EXCHANGES, ResumeToken};

/// Orders to an agent that it has not read yet; an agent with more than these is not reading.
pub(super) const ORDERS_WAITING_MAX: usize = 64 + EXCHANGES as usize;

/// What a message to an agent is about.
pub(crate) type Order = Message;

/// The stream of orders to one agent.
pub(super) type Orders = mpsc::Sender<Result<v1::AgentServiceSessionResponse, Status>>;

/// An order in the form in which it goes over the stream.
pub(super) fn order(order: Order) -> Result<v1::AgentServiceSessionResponse, Status> {
    Ok(v1::AgentServiceSessionResponse {
        message: Some(order),
    })
}

/// The first message to an agent.
pub(super) fn welcome(info: &AgentInfo, resume_token: ResumeToken) -> Order {
    Message::Welcome(v1::Welcome {
        name: info.name.clone(),
        lease: prost_types::Duration::try_from(LEASE).ok(),
        protocol_version: info.protocol_version,
        capabilities: CAPABILITIES.iter().map(|name| (*name).into()).collect(),
        resume_token: resume_token.to_bytes(),
    })
}

/// The order to stop a run.
pub(crate) fn stop(run: RunId) -> Order {
    Message::Stop(v1::Stop {
        run_id: run.to_string(),
    })
}

/// A report of one agent, on its way to a run.
#[derive(Debug)]
pub(crate) struct FromAgent {
    /// The agent's index within the run.
    pub(crate) agent: usize,
    pub(crate) report: AgentReport,
}

/// A report with the run that it goes to.
pub(super) type Addressed = (mpsc::Sender<FromAgent>, FromAgent);

/// What has happened to an agent's assignment.
#[derive(Debug)]
pub(crate) enum AgentReport {
    /// All clients are connected; what it has read for their payloads.
    Prepared(Vec<v1::PayloadRead>),
    Progress(v1::Progress),
    Records(v1::ClientRecords),
    Finished(v1::Finished),
    /// What its probes have read.
    Probes(v1::ProbeReadings),
    /// It was on the server's clock, and is not.
    ClockContradicted,
    /// The agent reports that it cannot go on.
    Failed(v1::Failure),
    /// Its stream is gone, or it has come back without the run.
    Lost(v1::Failure),
}

impl AgentReport {
    /// Whether the agent itself answers an order to prepare by it.
    pub(crate) fn answers_prepare(&self) -> bool {
        matches!(self, Self::Prepared(_) | Self::Failed(_))
    }
}
