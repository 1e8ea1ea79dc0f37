//! One stream with the server: its orders, and the reports that go back.
//!
//! This task only passes messages on. Each run has a plain thread of its own ([`mod@super::run`]),
//! and every pacing thread checks the lease itself. So nothing here is time-critical.

use std::{collections::VecDeque, time::Duration};

use metronome_os::{clock, host};
use metronome_proto::{
    features,
    limits::LEASE,
    names::is_name,
    plan,
    rpc_failure::Server,
    run_id::RunId,
    v1::{
        self, AgentServiceSessionRequest as Request, AgentServiceSessionResponse as Response,
        Failure, FailureCode, agent_service_client::AgentServiceClient,
        agent_service_session_request::Message, agent_service_session_response::Message as Order,
        start::At,
    },
};
use metronome_telemetry::{TraceContext, rate_limited_log::RateLimit};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Streaming, transport::Channel};

use super::{
    dial::server,
    resume_token::ResumeToken,
    run::{Report, RunSpec},
    runs::Runs,
    session_failure::speaks_another_version,
};
use crate::{
    config::RemoteConfig,
    load::assignment::Assignment,
    net::error_text::within_sentence,
    stop_signal::{Lease, StopMode},
};

/// No server can make a lease longer than this.
const LEASE_MAX: Duration = Duration::from_secs(10);
/// Time between two reports of progress; every second one comes with an Alive.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Time between two reports of what probes have read.
const PROBE_READINGS_EVERY: Duration = Duration::from_millis(250);
/// Longest time from a signal to the end of the process.
pub(super) const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest wait for the last messages of either side.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(300);
/// Longest wait for the answer of a server that accepted the connection.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Reports that may wait for the network.
const REPORTS_MAX: usize = 64;
/// Answers to probes of the clock that may wait for the network.
const ANSWERS_WAITING_MAX: usize = 32;
/// A start further away than this is a mistake.
const START_IN_MAX: Duration = Duration::from_secs(60);

/// At most ten log lines in ten seconds about orders that cannot be followed: a server may give
/// thousands of them.
static REFUSALS: RateLimit = RateLimit::new(10, 10_000_000_000);

/// How far a stream has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The server has accepted the agent.
    Welcomed,
    /// A Renew has come: the server lists the agent, which takes part in runs from the first on.
    TakesPart,
}

/// An open stream.
pub(super) struct Session<'a> {
    config: &'a RemoteConfig,
    runs: &'a mut Runs,
    resume_token: &'a mut ResumeToken,
    orders: Streaming<Response>,
    reports: mpsc::Sender<Request>,
    /// Messages that must not be lost and that the network has no room for yet.
    pending: VecDeque<Message>,
    /// That of the Welcome; [`LEASE`] where it has none.
    lease: Duration,
}

impl<'a> Session<'a> {
    /// Registers this agent, and sends again what its runs have reported.
    pub(super) async fn open(
        config: &'a RemoteConfig,
        runs: &'a mut Runs,
        resume_token: &'a mut ResumeToken,
        mut client: AgentServiceClient<Channel>,
    ) -> Result<Self, Failure> {
        let (reports, outgoing) = mpsc::channel(REPORTS_MAX);
        let register = registration(config, runs, resume_token);
        let _ = reports.try_send(wrapped(Message::Register(register)));
        let answer = timeout(
            ANSWER_TIME_MAX,
            client.session(ReceiverStream::new(outgoing)),
        )
        .await;
        let orders = answer
            .map_err(|_| server(config).silent(Some(ANSWER_TIME_MAX)))?
            .map_err(|status| server(config).of_status(&status, None))?
            .into_inner();
        let pending = runs.retained();
        Ok(Self {
            config,
            runs,
            resume_token,
            orders,
            reports,
            pending,
            lease: LEASE,
        })
    }

    /// Carries out orders until the stream ends (an error, whichever side ended it) or `shutdown`
    /// comes (`Ok`). The runs go on either way, for as long as their leases last.
    pub(super) async fn serve(
        mut self,
        shutdown: &CancellationToken,
        on_stage: &mut dyn FnMut(Stage),
    ) -> Result<(), Failure> {
        let server = Server {
            has_responded: true,
            ..server(self.config)
        };
        let mut ticks = interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut probe_ticks = interval(PROBE_READINGS_EVERY);
        probe_ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut reports_made = 0_u64;
        let mut end_at = None;
        while end_at.is_none() || !(self.runs.are_over() && self.pending.is_empty()) {
            let too_late = end_at.unwrap_or_else(Instant::now);
            tokio::select! {
                order = self.orders.message() => match order {
                    Ok(Some(order)) => self.handle(order, on_stage)?,
                    _ if end_at.is_some() => return Ok(()),
                    Ok(None) => return Err(server.lost("the server closed it")),
                    Err(status) => return Err(server.of_status(&status, None)),
                },
                report = self.runs.next_report() => self.take(report),
                sent = send_next(&self.reports, &mut self.pending),
                    if !self.pending.is_empty() => match sent {
                    Some(()) => {}
                    None if end_at.is_some() => return Ok(()),
                    None => return Err(self.why_closed(&server).await),
                },
                _ = ticks.tick() => {
                    self.report(reports_made.is_multiple_of(2));
                    reports_made += 1;
                }
                _ = probe_ticks.tick() => self.report_probes(),
                () = shutdown.cancelled(), if end_at.is_none() => {
                    self.runs.abort();
                    end_at = Some(Instant::now() + SHUTDOWN_TIME_MAX);
                }
                () = sleep_until(too_late), if end_at.is_some() => break,
            }
        }
        self.flush().await;
        Ok(())
    }

    /// Why the stream takes no more messages: the server may have sent the cause.
    async fn why_closed(&mut self, server: &Server) -> Failure {
        let end = async {
            loop {
                match self.orders.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return server.lost("the server closed it"),
                    Err(status) => return server.of_status(&status, None),
                }
            }
        };
        let end = timeout(FLUSH_TIME_MAX, end).await;
        end.unwrap_or_else(|_| server.lost("it takes no more messages"))
    }

    /// Carries out one order. An error ends the stream.
    fn handle(&mut self, order: Response, on_stage: &mut dyn FnMut(Stage)) -> Result<(), Failure> {
        let received_ns = clock::now_ns();
        // A newer server may give orders that this agent does not support. They are ignored.
        let Some(order) = order.message else {
            return Ok(());
        };
        match order {
            Order::Welcome(welcome) => {
                self.welcome(&welcome)?;
                on_stage(Stage::Welcomed);
            }
            Order::Prepare(prepare) => self.prepare(prepare),
            Order::Start(start) => self.start(&start),
            Order::Stop(stop) => {
                if let Some(run) = self.runs.get(&stop.run_id) {
                    run.stop_signal.request(StopMode::Drain);
                }
            }
            Order::ClockProbe(probe) => self.answer(probe, received_ns),
            Order::Renew(renew) => {
                self.runs.renew(self.lease(), &renew.run_ids);
                on_stage(Stage::TakesPart);
            }
        }
        Ok(())
    }

    /// Answers at once: what waits proves less. Where there is no room, an answer goes before all
    /// other messages, and those for which there is none either are not given.
    fn answer(&mut self, probe: v1::ClockProbe, received_ns: u64) {
        let reading = wrapped(Message::ClockReading(v1::ClockReading {
            server_ns: probe.server_ns,
            received_ns,
            sent_ns: clock::now_ns(),
        }));
        let Err(TrySendError::Full(Request {
            message: Some(reading),
        })) = self.reports.try_send(reading)
        else {
            return;
        };
        let is_answer = |message: &&Message| matches!(message, Message::ClockReading(_));
        if self.pending.iter().take_while(is_answer).count() < ANSWERS_WAITING_MAX {
            self.pending.push_front(reading);
        }
    }

    fn welcome(&mut self, welcome: &v1::Welcome) -> Result<(), Failure> {
        let versions = features::PROTOCOL_VERSION_MIN..=features::PROTOCOL_VERSION_MAX;
        if !versions.contains(&welcome.protocol_version) {
            let version = welcome.protocol_version;
            return Err(speaks_another_version(&server(self.config), version));
        }
        self.lease = welcome
            .lease
            .as_ref()
            .and_then(plan::from_proto)
            .unwrap_or(LEASE)
            .min(LEASE_MAX);
        self.resume_token.replace(&welcome.resume_token);
        let listed_as = if is_name(&welcome.name) {
            &welcome.name
        } else {
            &self.config.name
        };
        tracing::info!("connected to {} as {listed_as}", self.config.server);
        Ok(())
    }

    fn prepare(&mut self, prepare: v1::Prepare) {
        let run_id = prepare.run_id.clone();
        if let Err(failure) = self.try_prepare(prepare) {
            self.fail(run_id, failure);
        }
    }

    fn try_prepare(&mut self, prepare: v1::Prepare) -> Result<(), Failure> {
        if self.runs.get(&prepare.run_id).is_some() {
            return Err(not_followed("run_id", "this agent has this run already"));
        }
        let assignment = Assignment::from_prepare(&prepare, &self.config.server_host)
            .map_err(|error| error.failure())?;
        self.check_room_for(assignment.client_count())?;
        let spec = RunSpec {
            run_id: prepare.run_id.clone(),
            agent: self.config.name.clone(),
            parent: TraceContext {
                traceparent: prepare.traceparent,
                tracestate: prepare.tracestate,
            },
            assignment,
            allowed: self.config.allowed.clone(),
            payloads: self.config.payloads.clone(),
            pacing: self.config.pacing,
            reports: self.runs.report_sender(),
        };
        let lease = self.lease();
        self.runs
            .launch(spec, lease)
            .map_err(|error| no_thread(&error))
    }

    /// Checks the agent's own limit, which no server can raise.
    fn check_room_for(&self, clients: u32) -> Result<(), Failure> {
        let (busy, max) = (self.runs.clients(), self.config.max_clients);
        if clients <= max.saturating_sub(busy) {
            return Ok(());
        }
        let others = match busy {
            0 => String::new(),
            busy => format!(", of which other runs use {busy}"),
        };
        let sentence =
            format!("{clients} clients are too many for this agent: it takes {max}{others}");
        Err(Failure::new(FailureCode::AgentClientsFull, sentence)
            .with("clients", clients)
            .with("max_clients", max)
            .with("clients_busy", busy))
    }

    fn start(&mut self, start: &v1::Start) {
        // A run that is over by now was reported as such; there is nothing to answer.
        let Some(run) = self.runs.get_mut(&start.run_id) else {
            return;
        };
        match start_ns(start.at.as_ref(), clock::now_ns()) {
            Ok(start_ns) => run.start(start_ns),
            Err(failure) => run.refuse_start(lacked_by(&self.config.name, failure)),
        }
    }

    /// Lets the message of a run follow on what its probes have read until then.
    fn take(&mut self, report: Report) {
        self.pending
            .extend(self.runs.probe_readings(&report.run_id));
        self.pending.push_back(self.runs.retain(report));
    }

    /// Drops a report rather than wait: the next one contains the same and more.
    fn report(&self, alive: bool) {
        if alive {
            let _ = self.reports.try_send(wrapped(Message::Alive(v1::Alive {})));
        }
        // Room first: what the host of a run did is in one message alone.
        let mut all = self.runs.progress();
        while let Ok(room) = self.reports.try_reserve() {
            let Some(progress) = all.next() else {
                return;
            };
            room.send(wrapped(Message::Progress(progress)));
        }
    }

    /// Readings for which the network has no room, or that would overtake others, wait for the next
    /// time, the newest of them.
    fn report_probes(&self) {
        if !self.pending.is_empty() || self.reports.capacity() < REPORTS_MAX / 2 {
            return;
        }
        for readings in self.runs.all_probe_readings() {
            let _ = self.reports.try_send(wrapped(readings));
        }
    }

    fn fail(&mut self, run_id: String, failure: Failure) {
        let failure = lacked_by(&self.config.name, failure);
        if let Some(withheld) = REFUSALS.admit(clock::now_ns()) {
            tracing::warn!(
                run_id,
                code = failure.code().name(),
                error = failure.sentence,
                remedy = failure.remedy,
                withheld,
                "the run failed here"
            );
        }
        let message = Message::Failed(v1::Failed {
            run_id: run_id.clone(),
            failure: Some(failure),
        });
        let message = if run_id.parse::<RunId>().is_ok() {
            // A running run of this id is another one, and not over.
            let is_last = self.runs.get(&run_id).is_none();
            self.runs.retain(Report {
                run_id,
                message,
                is_last,
            })
        } else {
            // A server ends the stream on a report without a valid run id; once is enough.
            message
        };
        self.pending.push_back(message);
    }

    /// The lease when it is renewed now.
    fn lease(&self) -> Lease {
        Lease {
            from_ns: clock::now_ns(),
            length_ns: self.lease.as_nanos() as u64,
        }
    }

    /// Closes this side and waits a moment for the server to have read it all.
    async fn flush(mut self) {
        drop(std::mem::replace(&mut self.reports, mpsc::channel(1).0));
        let read_out = async { while let Ok(Some(_)) = self.orders.message().await {} };
        let _ = timeout(FLUSH_TIME_MAX, read_out).await;
    }
}

/// When the first packet is due, ns of CLOCK_MONOTONIC.
fn start_ns(at: Option<&At>, now_ns: u64) -> Result<u64, Failure> {
    let (start_ns, field) = match at {
        Some(At::StartAtNs(start_at_ns)) => (Some(*start_at_ns), "start_at_ns"),
        Some(At::StartAtAgentNs(start_at_ns)) => (Some(*start_at_ns), "start_at_agent_ns"),
        Some(At::StartIn(start_in)) => {
            let start_in = plan::from_proto(start_in).map(|start_in| start_in.as_nanos());
            let start_in_ns = start_in.and_then(|nanos| u64::try_from(nanos).ok());
            (
                start_in_ns.map(|start_in_ns| now_ns.saturating_add(start_in_ns)),
                "start_in",
            )
        }
        // Not "now": the others have begun, or a newer server asks for another kind of instant.
        None => {
            let sentence = "the run began while its connection was broken: the order to start has \
                            no instant that it can begin at";
            return Err(Failure::new(FailureCode::AgentLost, sentence));
        }
    };
    start_ns
        .filter(|start_ns| start_ns.abs_diff(now_ns) <= START_IN_MAX.as_nanos() as u64)
        .ok_or_else(|| {
            not_followed(
                field,
                "the start is more than 60 s away; do server and agent share a clock?",
            )
        })
}

/// The failure with the name of the agent, where that is what lacks something.
fn lacked_by(agent: &str, failure: Failure) -> Failure {
    match failure.code() {
        FailureCode::Unsupported => failure.with("agent", agent),
        _ => failure,
    }
}

fn not_followed(field: &str, problem: &str) -> Failure {
    let sentence = format!("{field}: {problem}");
    Failure::new(FailureCode::OrderNotFollowed, sentence).with("field", field)
}

fn no_thread(error: &std::io::Error) -> Failure {
    let error = within_sentence(error);
    Failure::new(
        FailureCode::AgentThreadsFull,
        format!("this host gave the agent no thread for the run: {error}"),
    )
}

/// Sends the first pending message as soon as there is room. Cancel safe: a message that was not
/// sent stays pending. `None` when the stream takes no more.
async fn send_next(reports: &mpsc::Sender<Request>, pending: &mut VecDeque<Message>) -> Option<()> {
    let room = reports.reserve().await.ok()?;
    if let Some(message) = pending.pop_front() {
        room.send(wrapped(message));
    }
    Some(())
}

/// The message as it goes over the stream.
fn wrapped(message: Message) -> Request {
    Request {
        message: Some(message),
    }
}

fn registration(config: &RemoteConfig, runs: &Runs, resume_token: &ResumeToken) -> v1::Register {
    v1::Register {
        protocol_version_min: features::PROTOCOL_VERSION_MIN,
        protocol_version_max: features::PROTOCOL_VERSION_MAX,
        capabilities: features::CAPABILITIES
            .iter()
            .map(ToString::to_string)
            .collect(),
        name: config.name.clone(),
        resume_token: resume_token.bytes(),
        capacity: Some(v1::Capacity {
            max_clients: config.max_clients,
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        }),
        clock: Some(v1::ClockIdentity {
            boot_id: host::boot_id(),
            time_namespace: host::time_namespace(),
        }),
        run_ids: runs.ids(),
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: u64 = 1_000_000_000_000;

    #[track_caller]
    fn refused(at: Option<&At>, code: FailureCode) {
        assert_eq!(start_ns(at, NOW_NS).unwrap_err().code(), code, "{at:?}");
    }

    #[test]
    fn a_start_is_an_instant_or_a_delay_and_never_an_unset_one() {
        assert_eq!(
            start_ns(Some(&At::StartAtNs(NOW_NS + 7)), NOW_NS),
            Ok(NOW_NS + 7)
        );
        let delay = |seconds, nanos| At::StartIn(prost_types::Duration { seconds, nanos });
        assert_eq!(start_ns(Some(&delay(0, 7)), NOW_NS), Ok(NOW_NS + 7));
        assert_eq!(start_ns(Some(&delay(0, 0)), NOW_NS), Ok(NOW_NS));
        refused(None, FailureCode::AgentLost);
        for at in [
            At::StartAtNs(0),
            At::StartAtNs(u64::MAX),
            delay(-1, 0),
            delay(61, 0),
            delay(0, 1_000_000_000),
            delay(i64::MAX, 0),
            delay(i64::MIN, i32::MIN),
        ] {
            refused(Some(&at), FailureCode::OrderNotFollowed);
        }
    }
}
