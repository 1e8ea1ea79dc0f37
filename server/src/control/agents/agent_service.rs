//! AgentService: an agent registers, and its stream begins.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use metronome_os::clock;
use metronome_proto::{
    plan::{CLIENTS_MAX, is_agent_name},
    run_id::RunId,
    v1::{
        self, AgentMessage, ServerMessage, agent_message::Message, agent_service_server,
        server_message,
    },
};
use metronome_telemetry::sanitise;
use tokio::{sync::mpsc, time};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    agent_counters::AgentCounters,
    assignment::AgentInfo,
    clock_identity,
    messages::{ORDERS_WAITING_MAX, order},
    registry::Registry,
    session::{AGENT_CHANGES, LEASE, Session},
};
use crate::{control::status, model::ClockIdentity, wall_clock};

/// For the first message.
const REGISTER_MAX: Duration = Duration::from_secs(10);
const VERSION_BYTES_MAX: usize = 64;
const RUNS_PER_AGENT_MAX: usize = 100;

/// The service.
pub(crate) struct AgentService {
    registry: Arc<Registry>,
    counters: Arc<AgentCounters>,
    clock: ClockIdentity,
}

impl AgentService {
    pub(crate) fn new(registry: Arc<Registry>, counters: Arc<AgentCounters>) -> Self {
        Self {
            registry,
            counters,
            clock: clock_identity::of_this_process(),
        }
    }

    /// The agent that registers, if its fields are within their limits.
    fn identify(
        &self,
        register: &v1::Register,
        peer: Option<SocketAddr>,
    ) -> Result<AgentInfo, Status> {
        if !is_agent_name(&register.name) {
            return Err(status::bad_field(
                "register.name",
                "1 to 63 characters of a-z, 0-9 and - are allowed",
            ));
        }
        if !(1..=CLIENTS_MAX).contains(&register.clients_max) {
            let problem = format!(
                "{} is out of range; 1 to {CLIENTS_MAX} are allowed",
                register.clients_max
            );
            return Err(status::bad_field("register.clients_max", &problem));
        }
        Ok(AgentInfo {
            name: register.name.clone(),
            version: sanitise::printable(&register.version, VERSION_BYTES_MAX),
            peer,
            connected_unix_ms: wall_clock::unix_ms(),
            clock: self.clock.relation_to(register),
            clients_max: register.clients_max,
            cores: register.cores,
        })
    }
}

#[tonic::async_trait]
impl agent_service_server::AgentService for AgentService {
    type SessionStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = request.remote_addr();
        let mut messages = request.into_inner();
        let registration = time::timeout(REGISTER_MAX, messages.message());
        let first = registration
            .await
            .map_err(|_| Status::deadline_exceeded("Register did not come within 10 s"))??;
        let Some(Message::Register(register)) = first.and_then(|first| first.message) else {
            return Err(status::bad_field(
                "message",
                "the first message must be a Register",
            ));
        };
        let info = self.identify(&register, peer)?;
        let (orders, stream) = mpsc::channel(ORDERS_WAITING_MAX);
        let welcome = v1::Welcome {
            name: info.name.clone(),
            lease: prost_types::Duration::try_from(LEASE).ok(),
        };
        // Before the agent is listed, so that it is the first thing the agent reads.
        let _ = orders.try_send(order(server_message::Message::Welcome(welcome)));
        let runs = runs_of(&register)?;
        let Some(lost) = self.registry.join(info.clone(), orders.clone(), &runs) else {
            let sentence = format!(
                "an agent named {} is connected already; give this one another --name",
                info.name
            );
            return Err(status::plain(
                Code::AlreadyExists,
                "AGENT_NAME_TAKEN",
                &sentence,
            ));
        };
        for assignment in lost {
            assignment
                .report("it came back without the run after the server was upgraded")
                .await;
        }
        self.counters.agent_connected(&info.name);
        if let Some(withheld) = AGENT_CHANGES.admit(clock::now_ns()) {
            tracing::info!(
                agent = info.name,
                clients_max = info.clients_max,
                withheld,
                "agent connected"
            );
        }
        let session = Session::new(
            Arc::clone(&self.registry),
            Arc::clone(&self.counters),
            info.name,
            orders,
        );
        tokio::spawn(session.run(messages));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// The runs that an agent names as going on.
fn runs_of(register: &v1::Register) -> Result<Vec<RunId>, Status> {
    if register.run_ids.len() > RUNS_PER_AGENT_MAX {
        let problem = format!("at most {RUNS_PER_AGENT_MAX} are allowed");
        return Err(status::bad_field("register.run_ids", &problem));
    }
    register
        .run_ids
        .iter()
        .map(|run_id| status::parse_run_id(run_id))
        .collect()
}
