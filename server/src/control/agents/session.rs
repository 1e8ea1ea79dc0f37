//! The session of one agent: its stream from Register to its end.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use metronome_os::clock;
use metronome_proto::{
    limits::{CLIENTS_PER_MESSAGE_MAX, LEASE},
    run_id::RunId,
    v1::{
        self, AgentServiceSessionRequest, Failure, FailureCode,
        agent_service_session_request::Message,
    },
};
use metronome_telemetry::rate_limited_log::RateLimit;
use tokio::{
    sync::mpsc::error::TrySendError,
    time::{self, Instant, MissedTickBehavior},
};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::{
    agent_counters::AgentCounters,
    assignment::WhyLost,
    messages::{Addressed, AgentReport, FromAgent, Order, Orders, order},
    registry::Registry,
};
use crate::{
    control::{own_pauses::OwnPauses, status},
    model::{ClockEvent, ClockExchanges, EXCHANGES, from_agent},
};

const RENEW_EVERY: Duration = Duration::from_secs(1);
/// An agent from which nothing came for this long is lost: it sends Alive every second.
const SILENCE_MAX: Duration = LEASE;
/// An agent that has not answered the first probes of its clock by then takes part without.
const PROBES_MAX: Duration = Duration::from_secs(2);
/// For reading all that an agent has sent before it stopped to take orders.
const REST_MAX: Duration = Duration::from_secs(1);

/// At most ten log lines in ten seconds about agents that connect and leave: any peer can cause
/// thousands.
pub(super) static AGENT_CHANGES: RateLimit = RateLimit::new(10, 10_000_000_000);

/// One agent's stream.
pub(super) struct Session {
    pub(super) registry: Arc<Registry>,
    pub(super) counters: Arc<AgentCounters>,
    pub(super) agent: String,
    pub(super) orders: Orders,
    /// Cancelled when the agent has come back on another stream.
    pub(super) replaced: CancellationToken,
    pub(super) clock: ClockExchanges,
    pub(super) pauses: Arc<OwnPauses>,
}

/// Reports for which their runs have no room, in their order: one that a message brought, and at
/// most two on each assignment, of what the exchanges of readings have shown.
type Waiting = VecDeque<Addressed>;

impl Session {
    /// Reads the agent's messages until it leaves, then reports the loss to its runs.
    pub(super) async fn run(mut self, mut messages: Streaming<AgentServiceSessionRequest>) {
        let failure = match self.read(&mut messages).await {
            Ok(()) => self.failure(FailureCode::AgentLost, "it closed its stream"),
            Err(failure) => {
                let _ = self.orders.try_send(Err(status::from_failure(&failure)));
                if failure.code() == FailureCode::AgentLost {
                    self.wait_for_return().await;
                }
                failure
            }
        };
        // An agent that has come back on another stream is not gone.
        let left = self
            .registry
            .leave(&self.agent, &self.orders, &failure)
            .await;
        let Some(had_an_assignment) = left else {
            return;
        };
        if let Some(withheld) = AGENT_CHANGES.admit(clock::now_ns()) {
            tracing::info!(
                agent = self.agent,
                code = failure.code().name(),
                withheld,
                "agent disconnected: {}",
                failure.sentence
            );
        }
        self.counters.agent_left(&self.agent, had_an_assignment);
    }

    /// An agent whose connection broke goes on with its runs while its lease lasts, and dials again
    /// at once: it has its place for as long.
    async fn wait_for_return(&self) {
        if self.registry.keep_place(&self.agent, &self.orders) {
            let _ = time::timeout(LEASE, self.replaced.cancelled()).await;
        }
    }

    /// `Ok` when the agent has closed the stream.
    async fn read(
        &mut self,
        messages: &mut Streaming<AgentServiceSessionRequest>,
    ) -> Result<(), Failure> {
        let mut renewal = time::interval(RENEW_EVERY);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let probes_until = Instant::now() + PROBES_MAX;
        for _ in 0..EXCHANGES {
            self.probe();
        }
        let mut silence = Silence::new();
        // While a report waits no message is read, and renewals and the end of the stream are still
        // handled.
        let mut waiting = Waiting::new();
        loop {
            tokio::select! {
                () = pass_on(&mut waiting), if !waiting.is_empty() => silence = Silence::new(),
                received = messages.message(), if waiting.is_empty() => {
                    let received = received.map_err(|status| protocol_error(&self.agent, &status))?;
                    let Some(received) = received else { return Ok(()) };
                    silence = Silence::new();
                    match received.message {
                        Some(Message::ClockReading(reading)) => {
                            self.take_reading(&reading, &mut waiting);
                        }
                        _ => self.take(received, &mut waiting)?,
                    }
                }
                _ = renewal.tick() => self.renew_if_expected(),
                () = time::sleep_until(probes_until), if self.clock.is_open() => {
                    tracing::warn!(
                        agent = self.agent,
                        "the agent did not answer the probes of its clock within 2 s, or only \
                         after more than 100 ms each, so it is not taken for one on the server's \
                         clock"
                    );
                    let event = self.clock.expire(clock::now_ns());
                    self.follow(event, &mut waiting);
                }
                () = self.orders.closed() => return self.read_rest(messages, waiting).await,
                () = self.replaced.cancelled() => return Err(self.came_back()),
                () = time::sleep_until(silence.until), if waiting.is_empty() => {
                    if !silence.extend(self.pauses.since(silence.since_ns).0) {
                        let sentence = "it was silent for 3 s";
                        return Err(self.failure(FailureCode::AgentSilent, sentence));
                    }
                }
            }
        }
    }

    /// Reads what an agent that takes no orders any more has sent before. `Ok` when it has closed
    /// its stream, too: then it has left. One that sends on is lost all the same, since a run that
    /// it was given now would wait for it in vain.
    async fn read_rest(
        &self,
        messages: &mut (impl Stream<Item = Result<AgentServiceSessionRequest, Status>> + Unpin),
        mut waiting: Waiting,
    ) -> Result<(), Failure> {
        let until = Instant::now() + REST_MAX;
        let read = async {
            loop {
                while !waiting.is_empty() {
                    pass_on(&mut waiting).await;
                }
                if Instant::now() >= until {
                    return Err(broken(&self.agent));
                }
                // The end of one half of a connection comes with that of the other, or not at all.
                match time::timeout_at(until, messages.next()).await {
                    Ok(Some(Ok(received))) => self.take(received, &mut waiting)?,
                    Ok(None) => return Ok(()),
                    Ok(Some(Err(_))) | Err(_) => return Err(broken(&self.agent)),
                }
            }
        };
        tokio::select! {
            ended = read => ended,
            () = self.replaced.cancelled() => Err(self.came_back()),
        }
    }

    /// Asks for a reading of the agent's clock. One for which there is no room is not sent.
    fn probe(&mut self) {
        if let Ok(room) = self.orders.try_reserve() {
            let probe = self.clock.probe(clock::now_ns());
            room.send(order(Order::ClockProbe(probe)));
        }
    }

    fn take_reading(&mut self, reading: &v1::ClockReading, waiting: &mut Waiting) {
        let now_ns = clock::now_ns();
        let event = self.clock.take(reading, now_ns);
        self.follow(event, waiting);
        let (round_trip_ns, clock) = (self.clock.round_trip_ns(), self.clock.as_of(now_ns));
        self.registry.note_exchange(
            &self.agent,
            &self.orders,
            round_trip_ns,
            clock,
            self.clock.history(),
        );
        if self.clock.needs_more() {
            self.probe();
        }
    }

    /// What the exchanges of readings have shown.
    fn follow(&mut self, event: Option<ClockEvent>, waiting: &mut Waiting) {
        match event {
            None => {}
            Some(ClockEvent::Settled(clock)) => {
                let registry = &self.registry;
                for lost in registry.settle_clock(&self.agent, &self.orders, clock) {
                    offer(lost.into_report(WhyLost::OtherClock.failure()), waiting);
                }
                // It is listed now, and takes part in runs.
                self.renew();
            }
            Some(ClockEvent::Contradicted(clock)) => {
                tracing::warn!(
                    agent = self.agent,
                    "the agent's clock is not the server's, although it was taken for it"
                );
                let registry = &self.registry;
                let reports = registry.contradict_clock(&self.agent, &self.orders, clock);
                reports.into_iter().for_each(|it| offer(it, waiting));
            }
        }
    }

    /// Renews the lease, except of an agent that is not listed yet and has brought no run back: its
    /// first Renew is the word that it takes part.
    fn renew_if_expected(&mut self) {
        let has_part = !self.clock.is_open() || !self.registry.runs_of(&self.agent).is_empty();
        if has_part {
            self.renew();
        }
    }

    fn renew(&mut self) {
        self.probe();
        let run_ids = self.registry.runs_of(&self.agent);
        // An agent that does not read its orders is not renewed, and so stops by itself.
        let renew = Order::Renew(v1::Renew { run_ids });
        let _ = self.orders.try_send(order(renew));
    }

    /// Passes one message on to the run that it is about. A report for which that run has no room
    /// waits.
    fn take(
        &self,
        received: AgentServiceSessionRequest,
        waiting: &mut Waiting,
    ) -> Result<(), Failure> {
        let wrong = |sentence| self.failure(FailureCode::AgentProtocol, sentence);
        let Some((run_id, report)) = to_report(received).map_err(wrong)? else {
            return Ok(());
        };
        let id: RunId = run_id
            .parse()
            .map_err(|_| wrong("it sent a message about a run that has no run's id"))?;
        // Reports about a run that is over come late and change nothing.
        if report.answers_prepare() {
            self.registry.note_taken_up(&self.agent, &self.orders, id);
        }
        if let Some((inbox, agent)) = self.registry.inbox(&self.agent, &self.orders, id) {
            offer((inbox, FromAgent { agent, report }), waiting);
        }
        Ok(())
    }

    fn came_back(&self) -> Failure {
        self.failure(FailureCode::AgentLost, "it came back on another stream")
    }

    fn failure(&self, code: FailureCode, sentence: &str) -> Failure {
        Failure::new(code, sentence).with("agent", self.agent.as_str())
    }
}

/// How long an agent has sent nothing, less the time in which this process itself did not run.
struct Silence {
    since_ns: u64,
    until: Instant,
    paused_ns: u64,
}

impl Silence {
    /// A message has just come.
    fn new() -> Self {
        Self {
            since_ns: clock::now_ns(),
            until: Instant::now() + SILENCE_MAX,
            paused_ns: 0,
        }
    }

    /// This process did not run for `paused_ns` of that time. True when the agent gets more time
    /// for that than it had.
    fn extend(&mut self, paused_ns: u64) -> bool {
        let more_ns = paused_ns.saturating_sub(self.paused_ns);
        self.until += Duration::from_nanos(more_ns);
        self.paused_ns += more_ns;
        more_ns > 0
    }
}

/// The run that a message is about and its report. `None` for a message that reports nothing. An
/// error is what is wrong with the message.
fn to_report(
    received: AgentServiceSessionRequest,
) -> Result<Option<(String, AgentReport)>, &'static str> {
    Ok(Some(match received.message {
        Some(Message::Register(_)) => return Err("it sent a second Register"),
        // A newer agent may send a message that this server does not know yet.
        None | Some(Message::Alive(_) | Message::ClockReading(_)) => return Ok(None),
        Some(Message::ProbeReadings(readings)) => {
            (readings.run_id.clone(), AgentReport::Probes(readings))
        }
        Some(Message::Prepared(v1::Prepared { run_id, payloads })) => {
            (run_id, AgentReport::Prepared(payloads))
        }
        Some(Message::Progress(progress)) => {
            (progress.run_id.clone(), AgentReport::Progress(progress))
        }
        Some(Message::ClientRecords(records))
            if records.clients.len() > CLIENTS_PER_MESSAGE_MAX =>
        {
            return Err("it sent more than 1000 client records in a message");
        }
        Some(Message::ClientRecords(records)) => {
            (records.run_id.clone(), AgentReport::Records(records))
        }
        Some(Message::Finished(finished)) => {
            (finished.run_id.clone(), AgentReport::Finished(finished))
        }
        Some(Message::Failed(v1::Failed { run_id, failure })) => {
            let failure = failure.ok_or("it failed and gave no reason")?;
            (run_id, AgentReport::Failed(from_agent(failure)))
        }
    }))
}

/// Why no message could be read from a stream: the library's own text is of use to programmers
/// alone.
pub(super) fn protocol_error(agent: &str, status: &Status) -> Failure {
    tracing::debug!(agent, "stream broke: {status}");
    let (code, sentence) = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => (
            FailureCode::AgentProtocol,
            "it sent a message of more than 2 MiB",
        ),
        Code::Internal if std::error::Error::source(status).is_none() => (
            FailureCode::AgentProtocol,
            "it sent a message that cannot be read",
        ),
        _ => return broken(agent),
    };
    Failure::new(code, sentence).with("agent", agent)
}

fn broken(agent: &str) -> Failure {
    let sentence = "its connection to the server broke";
    Failure::new(FailureCode::AgentLost, sentence).with("agent", agent)
}

/// Gives the first report that waits to its run. When this is dropped before it has ended, the
/// report waits on.
async fn pass_on(waiting: &mut Waiting) {
    let Some((inbox, _)) = waiting.front() else {
        return;
    };
    let inbox = inbox.clone();
    let room = inbox.reserve().await;
    if let (Ok(room), Some((_, report))) = (room, waiting.pop_front()) {
        room.send(report);
    }
    // A run that no longer listens has ended.
}

/// Gives a report to a run. It waits where the run has no room, and behind those that wait already:
/// reports to a run stay in their order.
fn offer((inbox, report): Addressed, waiting: &mut Waiting) {
    if !waiting.is_empty() {
        return waiting.push_back((inbox, report));
    }
    match inbox.try_send(report) {
        Ok(()) | Err(TrySendError::Closed(_)) => {}
        // The next progress report contains this one's figures.
        Err(TrySendError::Full(FromAgent {
            report: AgentReport::Progress(_),
            ..
        })) => {}
        Err(TrySendError::Full(report)) => waiting.push_back((inbox, report)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::model::ClockRelation;

    fn report(report: AgentReport) -> FromAgent {
        FromAgent { agent: 0, report }
    }

    #[tokio::test]
    async fn reports_that_a_run_has_no_room_for_wait_in_order_and_progress_is_dropped() {
        let (inbox, mut run) = mpsc::channel(1);
        let mut waiting = Waiting::new();
        let give = |waiting: &mut Waiting, of| offer((inbox.clone(), report(of)), waiting);
        give(&mut waiting, AgentReport::Prepared(Vec::new()));
        give(&mut waiting, AgentReport::Progress(v1::Progress::default()));
        assert!(waiting.is_empty());
        give(&mut waiting, AgentReport::Finished(v1::Finished::default()));
        // Nothing awaits a run without room, and the stream's loop goes on.
        give(&mut waiting, AgentReport::ClockContradicted);
        assert_eq!(waiting.len(), 2);
        // The stream's loop turns to something else and comes back.
        let is_over = time::timeout(Duration::ZERO, pass_on(&mut waiting)).await;
        assert!(is_over.is_err() && waiting.len() == 2);
        let mut heard = async || run.recv().await.map(|from| from.report);
        assert!(matches!(heard().await, Some(AgentReport::Prepared(_))));
        // One that would have room now does not go before those that wait.
        give(&mut waiting, AgentReport::Failed(Failure::default()));
        pass_on(&mut waiting).await;
        assert!(matches!(heard().await, Some(AgentReport::Finished(_))));
        pass_on(&mut waiting).await;
        assert!(matches!(
            heard().await,
            Some(AgentReport::ClockContradicted)
        ));
        pass_on(&mut waiting).await;
        assert!(matches!(heard().await, Some(AgentReport::Failed(_))));
        assert!(waiting.is_empty());
        // A report to a run that has ended waits no longer.
        give(&mut waiting, AgentReport::Prepared(Vec::new()));
        give(&mut waiting, AgentReport::Failed(Failure::default()));
        drop(run);
        pass_on(&mut waiting).await;
        assert!(waiting.is_empty());
    }

    /// The session of an agent whose stream of orders has closed.
    fn session(replaced: &CancellationToken) -> Session {
        Session {
            registry: Arc::default(),
            counters: Arc::default(),
            agent: "a".into(),
            orders: mpsc::channel(1).0,
            replaced: replaced.clone(),
            clock: ClockExchanges::new(ClockRelation::default(), false),
            pauses: Arc::default(),
        }
    }

    /// The rest of a stream on which a message comes every `every`, and no end.
    async fn rest_of(every: Duration, replaced: &CancellationToken, waiting: Waiting) -> String {
        let alive = || Ok(AgentServiceSessionRequest::default());
        let endless = tokio_stream::iter(std::iter::repeat_with(alive));
        let mut messages = Box::pin(endless.then(async |message| {
            if !every.is_zero() {
                time::sleep(every).await;
            }
            message
        }));
        let session = session(replaced);
        let rest = session.read_rest(&mut messages, waiting);
        // A reading that had no end would not end then either.
        let ended = time::timeout(Duration::from_secs(20), rest).await;
        ended.expect("it ends").unwrap_err().sentence
    }

    #[tokio::test]
    async fn an_agent_that_takes_no_orders_and_sends_on_and_on_is_lost_all_the_same() {
        let replaced = CancellationToken::new();
        for every in [Duration::ZERO, Duration::from_millis(10)] {
            let why = rest_of(every, &replaced, Waiting::new()).await;
            assert_eq!(why, "its connection to the server broke");
        }
        // Nor does one that has come back wait for a run without room.
        let (inbox, _run) = mpsc::channel(1);
        inbox
            .try_send(report(AgentReport::Prepared(Vec::new())))
            .unwrap();
        let waiting = Waiting::from([(inbox, report(AgentReport::Prepared(Vec::new())))]);
        replaced.cancel();
        let why = rest_of(Duration::from_millis(10), &replaced, waiting).await;
        assert_eq!(why, "it came back on another stream");
    }

    #[test]
    fn why_a_stream_broke_is_a_code_and_plain_words() {
        for (status, code) in [
            (
                Status::unknown("h2 protocol error: error reading a body from connection"),
                FailureCode::AgentLost,
            ),
            (
                Status::internal("failed to decode Protobuf message: invalid tag"),
                FailureCode::AgentProtocol,
            ),
            (
                Status::out_of_range("decoded message length too large"),
                FailureCode::AgentProtocol,
            ),
            (
                Status::resource_exhausted("size limit exceeded while decompressing"),
                FailureCode::AgentProtocol,
            ),
        ] {
            let failure = protocol_error("a1", &status);
            assert_eq!(failure.code(), code);
            assert!(!failure.sentence.contains(status.message()), "{failure:?}");
            assert!(
                metronome_proto::failure::is_phrase(&failure.sentence),
                "{failure:?}"
            );
        }
    }
}
