//! AgentService: one stream per agent, for as long as it lives.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use metronome_os::clock;
use metronome_proto::{
    plan::{CLIENTS_MAX, is_agent_name},
    run_id::RunId,
    v1::{
        self, AgentMessage, ServerMessage, agent_message::Message,
        agent_service_server::AgentService, server_message,
    },
};
use metronome_telemetry::rate_limited_log::RateLimit;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{self, Instant, MissedTickBehavior},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    answer, identity,
    registry::{FromAgent, Identity, News, ORDERS_WAITING_MAX, Orders, order},
    shared::Shared,
};
use crate::text;

/// Load must stop when no Renew came for this long. So long an agent may take to come back to a
/// server that was upgraded.
pub(super) const LEASE: Duration = Duration::from_secs(3);
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// An agent that says nothing for this long is lost: it says Alive every second.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// For the first message.
const REGISTER_MAX: Duration = Duration::from_secs(10);
const VERSION_BYTES_MAX: usize = 64;
const RECORDS_PER_MESSAGE_MAX: usize = 1000;
const RUNS_PER_AGENT_MAX: usize = 100;

/// Of agents that come and go, at most ten lines in ten seconds: a stranger can make them by the
/// thousand.
static COMINGS_AND_GOINGS: RateLimit = RateLimit::new(10, 10_000_000_000);

/// The service.
pub(super) struct Attendance {
    shared: Arc<Shared>,
}

impl Attendance {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl AgentService for Attendance {
    type AttendStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn attend(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let peer = request.remote_addr();
        let mut messages = request.into_inner();
        let registration = time::timeout(REGISTER_MAX, messages.message());
        let first = registration
            .await
            .map_err(|_| Status::deadline_exceeded("Register did not come within 10 s"))??;
        let Some(Message::Register(register)) = first.and_then(|first| first.message) else {
            return Err(answer::bad_field(
                "message",
                "the first message must be a Register",
            ));
        };
        let identity = identify(&self.shared, &register, peer)?;
        let (orders, stream) = mpsc::channel(ORDERS_WAITING_MAX);
        let welcome = v1::Welcome {
            name: identity.name.clone(),
            lease: prost_types::Duration::try_from(LEASE).ok(),
        };
        // Before the agent is listed, so that it is the first thing the agent reads.
        let _ = orders.try_send(order(server_message::Message::Welcome(welcome)));
        let runs = runs_of(&register)?;
        let Some(lost) = self
            .shared
            .registry
            .join(identity.clone(), orders.clone(), &runs)
        else {
            let sentence = format!(
                "an agent named {} is connected already; give this one another --name",
                identity.name
            );
            return Err(answer::plain(
                Code::AlreadyExists,
                "AGENT_NAME_TAKEN",
                &sentence,
            ));
        };
        for part in lost {
            part.tell("it came back without the run after the server was upgraded")
                .await;
        }
        self.shared.tally.agent_attends(&identity.name);
        if let Some(withheld) = COMINGS_AND_GOINGS.admit(clock::now_ns()) {
            tracing::info!(
                agent = identity.name,
                clients_max = identity.clients_max,
                withheld,
                "agent attends"
            );
        }
        tokio::spawn(attend(
            Arc::clone(&self.shared),
            identity.name,
            messages,
            orders,
        ));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn identify(
    shared: &Shared,
    register: &v1::Register,
    peer: Option<SocketAddr>,
) -> Result<Identity, Status> {
    if !is_agent_name(&register.name) {
        return Err(answer::bad_field(
            "register.name",
            "1 to 63 characters of a-z, 0-9 and - are allowed",
        ));
    }
    if !(1..=CLIENTS_MAX).contains(&register.clients_max) {
        let problem = format!(
            "{} is out of range; 1 to {CLIENTS_MAX} are allowed",
            register.clients_max
        );
        return Err(answer::bad_field("register.clients_max", &problem));
    }
    Ok(Identity {
        name: register.name.clone(),
        version: text::printable(&register.version, VERSION_BYTES_MAX),
        peer,
        connected_unix_ms: identity::unix_ms(),
        shares_clock: shared.about.clock.is_shared_by(register),
        clients_max: register.clients_max,
        cores: register.cores,
    })
}

/// The runs that an agent says it still has.
fn runs_of(register: &v1::Register) -> Result<Vec<RunId>, Status> {
    if register.run_ids.len() > RUNS_PER_AGENT_MAX {
        let problem = format!("at most {RUNS_PER_AGENT_MAX} are allowed");
        return Err(answer::bad_field("register.run_ids", &problem));
    }
    register
        .run_ids
        .iter()
        .map(|run_id| answer::parse_run_id(run_id))
        .collect()
}

/// Listens to one agent until it goes, then tells its runs.
async fn attend(
    shared: Arc<Shared>,
    name: String,
    mut messages: Streaming<AgentMessage>,
    orders: Orders,
) {
    let why = match listen(&shared, &name, &mut messages, &orders).await {
        Ok(()) => "it closed its stream".to_owned(),
        Err(status) => {
            let why = text::sentence(status.message());
            let _ = orders.try_send(Err(status));
            why
        }
    };
    if let Some(withheld) = COMINGS_AND_GOINGS.admit(clock::now_ns()) {
        tracing::info!(agent = name, withheld, "agent leaves: {why}");
    }
    let had_a_part = shared.registry.leave(&name, &why).await;
    shared.tally.agent_leaves(&name, had_a_part);
}

/// `Ok` when the agent has closed the stream.
async fn listen(
    shared: &Shared,
    name: &str,
    messages: &mut Streaming<AgentMessage>,
    orders: &Orders,
) -> Result<(), Status> {
    let mut renewal = time::interval(RENEW_EVERY);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    // News that its run has no room for yet: nothing more is read meanwhile, and all else goes on.
    let mut waiting: Option<Waiting> = None;
    loop {
        tokio::select! {
            () = pass_on(&mut waiting), if waiting.is_some() => heard_at = Instant::now(),
            received = messages.message(), if waiting.is_none() => {
                let Some(received) = received.map_err(|status| broken(name, &status))? else { return Ok(()) };
                heard_at = Instant::now();
                waiting = take(shared, name, received)?;
            }
            _ = renewal.tick() => {
                // An agent that does not read its orders is not renewed, and so stops by itself.
                let _ = orders.try_send(order(server_message::Message::Renew(v1::Renew { run_ids: shared.registry.runs_of(name) })));
            }
            () = orders.closed() => return Ok(()),
            () = time::sleep_until(heard_at + SILENCE_MAX), if waiting.is_none() => {
                return Err(Status::deadline_exceeded("it was silent for 3 s"));
            }
        }
    }
}

/// Why a stream broke, for people: what the library says of it is of use to programmers alone.
fn broken(name: &str, status: &Status) -> Status {
    tracing::debug!(agent = name, "stream broke: {status}");
    match status.code() {
        Code::OutOfRange => Status::out_of_range("it sent a message of more than 1 MiB"),
        Code::Internal if std::error::Error::source(status).is_none() => {
            Status::invalid_argument("it sent a message that cannot be read")
        }
        _ => Status::unavailable("its connection to the server broke"),
    }
}

/// News and the run that has no room for them.
type Waiting = (mpsc::Sender<FromAgent>, FromAgent);

/// Hands over what waits. When this is dropped before it has ended, it waits on.
async fn pass_on(waiting: &mut Option<Waiting>) {
    let Some((inbox, _)) = waiting else { return };
    let inbox = inbox.clone();
    let room = inbox.reserve().await;
    if let (Ok(room), Some((_, news))) = (room, waiting.take()) {
        room.send(news);
    }
    // A run that no longer listens has ended.
}

/// Passes one message on to the run that it is about. What that run has no room for is returned.
fn take(shared: &Shared, name: &str, received: AgentMessage) -> Result<Option<Waiting>, Status> {
    let (run_id, news) = match received.message {
        Some(Message::Register(_)) => {
            return Err(answer::bad_field(
                "message",
                "only the first may be a Register",
            ));
        }
        // A newer agent may say what this server does not know yet.
        None | Some(Message::Alive(_)) => return Ok(None),
        Some(Message::Prepared(prepared)) => (prepared.run_id, News::Prepared),
        Some(Message::Progress(progress)) => (progress.run_id.clone(), News::Progress(progress)),
        Some(Message::ClientRecords(records))
            if records.clients.len() > RECORDS_PER_MESSAGE_MAX =>
        {
            return Err(answer::bad_field(
                "client_records.clients",
                "at most 1000 a message are allowed",
            ));
        }
        Some(Message::ClientRecords(records)) => (records.run_id.clone(), News::Records(records)),
        Some(Message::Finished(finished)) => (finished.run_id.clone(), News::Finished(finished)),
        Some(Message::Failed(failed)) => (failed.run_id, News::Failed(failed.error)),
    };
    let id: RunId = answer::parse_run_id(&run_id)?;
    // News of a run that is over come late and change nothing.
    let Some((inbox, agent)) = shared.registry.inbox(name, id) else {
        return Ok(None);
    };
    Ok(offer(inbox, FromAgent { agent, news }))
}

/// Gives news to a run. What it has no room for is returned.
fn offer(inbox: mpsc::Sender<FromAgent>, news: FromAgent) -> Option<Waiting> {
    match inbox.try_send(news) {
        Ok(()) | Err(TrySendError::Closed(_)) => None,
        // The next progress says the same and more.
        Err(TrySendError::Full(FromAgent {
            news: News::Progress(_),
            ..
        })) => None,
        Err(TrySendError::Full(news)) => Some((inbox, news)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(news: News) -> FromAgent {
        FromAgent { agent: 0, news }
    }

    #[tokio::test]
    async fn news_that_a_run_has_no_room_for_wait_and_progress_is_left_out() {
        let (inbox, mut run) = mpsc::channel(1);
        assert!(offer(inbox.clone(), news(News::Prepared)).is_none());
        assert!(offer(inbox.clone(), news(News::Progress(v1::Progress::default()))).is_none());
        let mut waiting = offer(inbox.clone(), news(News::Finished(v1::Finished::default())));
        // The stream's loop turns to something else and comes back.
        assert!(
            time::timeout(Duration::ZERO, pass_on(&mut waiting))
                .await
                .is_err()
                && waiting.is_some()
        );
        assert!(matches!(
            run.recv().await.map(|from| from.news),
            Some(News::Prepared)
        ));
        pass_on(&mut waiting).await;
        assert!(waiting.is_none());
        assert!(matches!(
            run.recv().await.map(|from| from.news),
            Some(News::Finished(_))
        ));
        // A run that has ended is waited for no longer.
        let _ = inbox.try_send(news(News::Prepared));
        let mut waiting = offer(inbox, news(News::Failed(String::new())));
        drop(run);
        pass_on(&mut waiting).await;
        assert!(waiting.is_none());
    }

    #[test]
    fn a_stream_that_breaks_is_told_in_words_for_people() {
        for (status, words) in [
            (
                Status::unknown("h2 protocol error: error reading a body from connection"),
                "connection",
            ),
            (
                Status::internal("failed to decode Protobuf message: invalid tag"),
                "cannot be read",
            ),
            (
                Status::out_of_range("decoded message length too large"),
                "1 MiB",
            ),
        ] {
            let told = broken("a1", &status);
            assert!(
                told.message().contains(words) && !told.message().contains("protocol"),
                "{told}"
            );
        }
    }
}
