//! What goes between the server and its agents: orders to an agent, and an agent's reports to a
//! run.

use metronome_proto::{
    run_id::RunId,
    v1::{self, server_message},
};
use tokio::sync::mpsc;
use tonic::Status;

/// Orders to an agent that it has not read yet; an agent with more than these is not reading.
pub(super) const ORDERS_WAITING_MAX: usize = 64;

/// The stream of orders to one agent.
pub(super) type Orders = mpsc::Sender<Result<v1::ServerMessage, Status>>;

/// An order in the form in which it goes over the stream.
pub(super) fn order(message: server_message::Message) -> Result<v1::ServerMessage, Status> {
    Ok(v1::ServerMessage {
        message: Some(message),
    })
}

/// The order to stop a run.
pub(crate) fn stop(run: RunId) -> server_message::Message {
    server_message::Message::Stop(v1::Stop {
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

/// What has happened to an agent's assignment.
#[derive(Debug)]
pub(crate) enum AgentReport {
    Prepared,
    Progress(v1::Progress),
    Records(v1::ClientRecords),
    Finished(v1::Finished),
    Failed(String),
    /// The agent's stream is gone, for this reason.
    Lost(String),
}
