//! One stream with the server: its orders, and the reports that go back.
//!
//! This task only passes messages on. Each run has a plain thread of its own ([`mod@super::run`]),
//! and every pacing thread checks the lease itself. So nothing here is time-critical.

use std::{collections::VecDeque, time::Duration};

use metronome_os::{clock, host};
use metronome_proto::{
    run_id::RunId,
    v1::{
        self, agent_message::Message, agent_service_client::AgentServiceClient,
        server_message::Message as Order,
    },
};
use metronome_telemetry::rate_limited_log::RateLimit;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    run::{Report, RunSpec},
    runs::Runs,
};
use crate::{
    config::RemoteConfig,
    load::assignment::{Assignment, duration},
    stop_signal::StopMode,
};

/// The lease when the Welcome has none.
const LEASE_DEFAULT: Duration = Duration::from_secs(3);
/// No server can make a lease longer than this.
const LEASE_MAX: Duration = Duration::from_secs(10);
/// Time between two reports of progress; every second one comes with an Alive.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Longest time from a signal to the end of the process.
pub(super) const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest wait for the last reports to leave.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(300);
/// Longest wait for the answer of a server that accepted the connection.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Reports that may wait for the network.
const REPORTS_MAX: usize = 64;
/// A start further away than this is a mistake.
const START_IN_MAX: Duration = Duration::from_secs(60);

/// At most ten log lines in ten seconds about orders that cannot be followed: a server may give
/// thousands of them.
static REFUSALS: RateLimit = RateLimit::new(10, 10_000_000_000);

/// An open stream.
pub(super) struct Session<'a> {
    config: &'a RemoteConfig,
    runs: &'a mut Runs,
    orders: Streaming<v1::ServerMessage>,
    reports: mpsc::Sender<v1::AgentMessage>,
    /// Messages that must not be lost and that the network has no room for yet.
    pending: VecDeque<Message>,
    lease: Duration,
}

impl<'a> Session<'a> {
    /// Registers this agent, and sends again what its runs have reported.
    pub(super) async fn open(
        config: &'a RemoteConfig,
        runs: &'a mut Runs,
        mut client: AgentServiceClient<Channel>,
    ) -> Result<Self, Status> {
        let (reports, outgoing) = mpsc::channel(REPORTS_MAX);
        let _ = reports.try_send(wrapped(Message::Register(registration(config, runs))));
        let answer = timeout(
            ANSWER_TIME_MAX,
            client.session(ReceiverStream::new(outgoing)),
        )
        .await;
        let orders = answer
            .map_err(|_| Status::deadline_exceeded("no answer within 5 s"))??
            .into_inner();
        let pending = runs.retained();
        Ok(Self {
            config,
            runs,
            orders,
            reports,
            pending,
            lease: LEASE_DEFAULT,
        })
    }

    /// Carries out orders until the stream ends (an error, whichever side ended it) or `shutdown`
    /// comes (`Ok`). The runs go on either way, for as long as their leases last.
    pub(super) async fn serve(
        mut self,
        shutdown: &CancellationToken,
        on_welcome: &mut dyn FnMut(),
    ) -> Result<(), Status> {
        let mut ticks = interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut reports_made = 0_u64;
        let mut end_at = None;
        while end_at.is_none() || !(self.runs.are_over() && self.pending.is_empty()) {
            let too_late = end_at.unwrap_or_else(Instant::now);
            tokio::select! {
                order = self.orders.message() => match order {
                    Ok(Some(order)) => self.handle(order, on_welcome),
                    _ if end_at.is_some() => return Ok(()),
                    Ok(None) => return Err(Status::unavailable("the server closed it")),
                    Err(status) => return Err(status),
                },
                message = self.runs.next_message() => self.pending.push_back(message),
                sent = send_next(&self.reports, &mut self.pending),
                    if !self.pending.is_empty() => match sent {
                    Err(_) if end_at.is_some() => return Ok(()),
                    sent => sent?,
                },
                _ = ticks.tick() => {
                    self.report(reports_made.is_multiple_of(2));
                    reports_made += 1;
                }
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

    fn handle(&mut self, order: v1::ServerMessage, on_welcome: &mut dyn FnMut()) {
        // A newer server may give orders that this agent does not support. They are ignored.
        let Some(order) = order.message else { return };
        match order {
            Order::Welcome(welcome) => {
                self.lease = welcome
                    .lease
                    .as_ref()
                    .and_then(duration)
                    .unwrap_or(LEASE_DEFAULT)
                    .min(LEASE_MAX);
                tracing::info!(
                    "connected to {} as {}",
                    self.config.server,
                    self.config.name
                );
                on_welcome();
            }
            Order::Prepare(prepare) => self.prepare(prepare),
            Order::Start(start) => self.start(&start),
            Order::Stop(stop) => {
                if let Some(run) = self.runs.get(&stop.run_id) {
                    run.stop_signal.request(StopMode::Drain);
                }
            }
            Order::Renew(renew) => self.runs.renew(self.lease_until_ns(), &renew.run_ids),
        }
    }

    fn prepare(&mut self, prepare: v1::Prepare) {
        let run_id = prepare.run_id.clone();
        if let Err(problem) = self.try_prepare(prepare) {
            self.fail(run_id, problem);
        }
    }

    fn try_prepare(&mut self, prepare: v1::Prepare) -> Result<(), String> {
        if self.runs.get(&prepare.run_id).is_some() {
            return Err("this agent has this run already".into());
        }
        let busy = self.runs.clients();
        let free = self.config.clients_max - busy.min(self.config.clients_max);
        if prepare.clients > free && busy > 0 {
            let max = self.config.clients_max;
            return Err(format!(
                "{} clients are too many: {busy} of this agent's {max} are busy with other runs",
                prepare.clients
            ));
        }
        let assignment =
            Assignment::from_prepare(&prepare, &self.config.server_host, self.config.clients_max)
                .map_err(|error| error.to_string())?;
        let spec = RunSpec {
            run_id: prepare.run_id.clone(),
            agent: self.config.name.clone(),
            traceparent: prepare.traceparent,
            assignment,
            allowed: self.config.allowed.clone(),
            pacing: self.config.pacing,
            reports: self.runs.report_sender(),
        };
        let until_ns = self.lease_until_ns();
        self.runs
            .launch(spec, until_ns)
            .map_err(|error| format!("this host gave the agent no thread for the run: {error}"))
    }

    fn start(&mut self, start: &v1::Start) {
        let now_ns = clock::now_ns();
        let start_in = start
            .start_in
            .as_ref()
            .and_then(duration)
            .unwrap_or_default();
        let start_ns = match start.start_at_ns {
            0 => now_ns.saturating_add(u64::try_from(start_in.as_nanos()).unwrap_or(u64::MAX)),
            start_at_ns => start_at_ns,
        };
        // A run that is over by now was reported as such; there is nothing to answer.
        let Some(run) = self.runs.get_mut(&start.run_id) else {
            return;
        };
        if start_ns > now_ns + START_IN_MAX.as_nanos() as u64 {
            run.refuse_start(
                "the start is more than 60 s away; do server and agent share a clock?".into(),
            );
        } else {
            run.start(start_ns);
        }
    }

    /// Drops a report rather than wait: the next one contains the same and more.
    fn report(&self, alive: bool) {
        if alive {
            let _ = self.reports.try_send(wrapped(Message::Alive(v1::Alive {})));
        }
        for progress in self.runs.progress() {
            let _ = self.reports.try_send(wrapped(Message::Progress(progress)));
        }
    }

    fn fail(&mut self, run_id: String, error: String) {
        if let Some(withheld) = REFUSALS.admit(clock::now_ns()) {
            tracing::warn!(run_id, error, withheld, "the run failed here");
        }
        let message = Message::Failed(v1::Failed {
            run_id: run_id.clone(),
            error,
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

    fn lease_until_ns(&self) -> u64 {
        clock::now_ns() + self.lease.as_nanos() as u64
    }

    /// Closes this side and waits a moment for the server to have read it all.
    async fn flush(mut self) {
        drop(std::mem::replace(&mut self.reports, mpsc::channel(1).0));
        let read_out = async { while let Ok(Some(_)) = self.orders.message().await {} };
        let _ = timeout(FLUSH_TIME_MAX, read_out).await;
    }
}

/// Sends the first pending message as soon as there is room. Cancel safe: a message that was not
/// sent stays pending.
async fn send_next(
    reports: &mpsc::Sender<v1::AgentMessage>,
    pending: &mut VecDeque<Message>,
) -> Result<(), Status> {
    let room = reports
        .reserve()
        .await
        .map_err(|_| Status::unavailable("the connection to it broke"))?;
    if let Some(message) = pending.pop_front() {
        room.send(wrapped(message));
    }
    Ok(())
}

/// The message as it goes over the stream.
fn wrapped(message: Message) -> v1::AgentMessage {
    v1::AgentMessage {
        message: Some(message),
    }
}

fn registration(config: &RemoteConfig, runs: &Runs) -> v1::Register {
    v1::Register {
        name: config.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        boot_id: host::boot_id(),
        clients_max: config.clients_max,
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        time_namespace: host::time_namespace(),
        run_ids: runs.ids(),
    }
}
