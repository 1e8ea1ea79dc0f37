//! AgentService: an agent registers, and its stream begins.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use metronome_os::clock;
use metronome_proto::{
    features::{PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN},
    limits::{CLIENTS_MAX, FEATURE_BYTES_MAX, RESUME_TOKEN_BYTES, RUNS_PER_AGENT_MAX},
    names::{check_features, is_name},
    run_id::RunId,
    v1::{
        self, AgentServiceSessionRequest, AgentServiceSessionResponse, Failure, FailureCode,
        agent_service_server, agent_service_session_request::Message,
    },
};
use metronome_telemetry::sanitise;
use tokio::{sync::mpsc, time};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    agent_counters::AgentCounters,
    agent_info::AgentInfo,
    clock_identity,
    messages::ORDERS_WAITING_MAX,
    registry::{Arrival, Joined, Registry},
    session::{AGENT_CHANGES, Session, protocol_error},
};
use crate::{
    control::own_pauses::OwnPauses,
    control::status,
    model::{ClockExchanges, ClockIdentity, ResumeToken},
    wall_clock,
};

/// For the first message.
const REGISTER_MAX: Duration = Duration::from_secs(10);
const VERSION_BYTES_MAX: usize = 64;

/// The service.
pub(crate) struct AgentService {
    registry: Arc<Registry>,
    counters: Arc<AgentCounters>,
    clock: ClockIdentity,
    pauses: Arc<OwnPauses>,
}

impl AgentService {
    pub(crate) fn new(
        registry: Arc<Registry>,
        counters: Arc<AgentCounters>,
        pauses: Arc<OwnPauses>,
    ) -> Self {
        Self {
            registry,
            counters,
            clock: clock_identity::of_this_process(),
            pauses,
        }
    }

    /// Lists the agent that registers on this stream, and begins its session.
    async fn begin(
        &self,
        peer: Option<SocketAddr>,
        messages: &mut Streaming<AgentServiceSessionRequest>,
    ) -> Result<
        (
            Session,
            ReceiverStream<Result<AgentServiceSessionResponse, Status>>,
        ),
        Failure,
    > {
        let register = registration(messages).await?;
        let info = self.identify(&register, peer)?;
        let runs = runs_of(&register)?;
        let (orders, stream) = mpsc::channel(ORDERS_WAITING_MAX);
        let Joined { lost, replaced } = self.registry.join(Arrival {
            info: info.clone(),
            orders: orders.clone(),
            runs: &runs,
            shown: &register.resume_token,
            fresh: fresh_token()?,
        })?;
        for (assignment, why) in lost {
            assignment.report(why.failure()).await;
        }
        self.counters.agent_connected(&info.name);
        if let Some(withheld) = AGENT_CHANGES.admit(clock::now_ns()) {
            tracing::info!(
                agent = info.name,
                max_clients = info.capacity.max_clients,
                withheld,
                "agent connected"
            );
        }
        let claimed = register.clock.as_ref();
        let claimed = claimed.map(|clock| self.clock.relation_to(clock));
        let session = Session {
            registry: Arc::clone(&self.registry),
            counters: Arc::clone(&self.counters),
            clock: ClockExchanges::new(claimed.unwrap_or_default(), info.can_probe()),
            agent: info.name,
            orders,
            replaced,
            pauses: Arc::clone(&self.pauses),
        };
        Ok((session, ReceiverStream::new(stream)))
    }

    /// The agent that registers, if its fields are within their limits.
    fn identify(
        &self,
        register: &v1::Register,
        peer: Option<SocketAddr>,
    ) -> Result<AgentInfo, Failure> {
        check_features(&register.capabilities)
            .map_err(|problem| status::out_of_range("register.capabilities", problem))?;
        if !is_name(&register.name) {
            return Err(status::out_of_range(
                "register.name",
                "1 to 63 characters of a-z, 0-9 and - are allowed",
            ));
        }
        let protocol_version = session_version(register)?;
        let capacity = register.capacity.unwrap_or_default();
        if !(1..=CLIENTS_MAX).contains(&capacity.max_clients) {
            let problem = format!(
                "{} is out of range; 1 to {CLIENTS_MAX} are allowed",
                capacity.max_clients
            );
            return Err(status::out_of_range(
                "register.capacity.max_clients",
                problem,
            ));
        }
        let capabilities = register.capabilities.iter();
        Ok(AgentInfo {
            name: register.name.clone(),
            version: sanitise::printable(&register.version, VERSION_BYTES_MAX),
            protocol_version,
            capabilities: capabilities
                .map(|name| sanitise::printable(name, FEATURE_BYTES_MAX))
                .collect(),
            peer,
            connected_unix_ms: wall_clock::unix_ms(),
            capacity,
        })
    }
}

#[tonic::async_trait]
impl agent_service_server::AgentService for AgentService {
    type SessionStream = ReceiverStream<Result<AgentServiceSessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentServiceSessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = request.remote_addr();
        let mut messages = request.into_inner();
        let (session, stream) = self
            .begin(peer, &mut messages)
            .await
            .map_err(|failure| status::from_failure(&failure))?;
        tokio::spawn(session.run(messages));
        Ok(Response::new(stream))
    }
}

async fn registration(
    messages: &mut Streaming<AgentServiceSessionRequest>,
) -> Result<v1::Register, Failure> {
    let Ok(first) = time::timeout(REGISTER_MAX, messages.message()).await else {
        let sentence = "no Register came within 10 s";
        return Err(Failure::new(FailureCode::AgentSilent, sentence));
    };
    let first = first.map_err(|status| protocol_error("", &status))?;
    match first.and_then(|first| first.message) {
        Some(Message::Register(register)) => Ok(register),
        _ => Err(Failure::new(
            FailureCode::AgentProtocol,
            "the first message must be a Register",
        )),
    }
}

/// The version of a session: the highest that both sides speak.
fn session_version(register: &v1::Register) -> Result<u32, Failure> {
    let (min, max) = (register.protocol_version_min, register.protocol_version_max);
    if min == 0 || min > max {
        let problem = format!("{min} to {max} is no range of versions; the lowest is 1");
        return Err(status::out_of_range(
            "register.protocol_version_min",
            problem,
        ));
    }
    let version = max.min(PROTOCOL_VERSION_MAX);
    if version >= min.max(PROTOCOL_VERSION_MIN) {
        return Ok(version);
    }
    let sentence = format!(
        "the agent speaks versions {min} to {max} of the protocol, and this server versions \
         {PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION_MAX}"
    );
    Err(Failure::new(FailureCode::Unsupported, sentence)
        .with("agent", register.name.as_str())
        .with("protocol_version_min", PROTOCOL_VERSION_MIN)
        .with("protocol_version_max", PROTOCOL_VERSION_MAX))
}

fn fresh_token() -> Result<ResumeToken, Failure> {
    let mut random = [0; RESUME_TOKEN_BYTES];
    getrandom::fill(&mut random)
        .map_err(|_| status::internal("the system gives no random bytes for a resume token"))?;
    Ok(ResumeToken::new(random))
}

/// The runs that an agent names as going on.
fn runs_of(register: &v1::Register) -> Result<Vec<RunId>, Failure> {
    const FIELD: &str = "register.run_ids";
    if register.run_ids.len() > RUNS_PER_AGENT_MAX {
        let problem = format!("at most {RUNS_PER_AGENT_MAX} are allowed");
        return Err(status::out_of_range(FIELD, problem));
    }
    let run_ids = register.run_ids.iter();
    run_ids
        .map(|run_id| {
            let id: Result<RunId, metronome_proto::run_id::BadRunId> = run_id.parse();
            id.map_err(|error| status::out_of_range(FIELD, error.to_string()))
        })
        .collect()
}
