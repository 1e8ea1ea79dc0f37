//! One stream with the server: what it orders, what is reported back.
//!
//! This task only passes things on; each run has a plain thread of its own ([`super::run`]), and
//! the lease is kept by every pacing thread itself. So nothing here has to be in time.

use std::{collections::VecDeque, time::Duration};

use metronome_os::clock;
use metronome_proto::{
    run_id::RunId,
    v1::{
        self, agent_message::Message as Report, agent_service_client::AgentServiceClient,
        server_message::Message as Order,
    },
};
use metronome_telemetry::restraint::Restraint;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    run::{self, Said},
    runs::Runs,
};
use crate::{
    config::RemoteConfig,
    load::assignment::{Assignment, duration},
    signals::Signals,
    stop_signal::StopMode,
};

/// Without a word in the Welcome.
const LEASE_DEFAULT: Duration = Duration::from_secs(3);
/// No server can make a lease longer.
const LEASE_MAX: Duration = Duration::from_secs(10);
/// Between two reports of progress; every second one comes with an Alive.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// From a signal to the end of the process.
pub(super) const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(2);
/// For the last reports to leave.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(300);
/// To be answered by a server that took the connection.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Reports that may wait for the network.
const REPORTS_MAX: usize = 64;
/// A start further away than this is a mistake.
const START_IN_MAX: Duration = Duration::from_secs(60);

/// Of orders that cannot be followed, at most ten lines in ten seconds: a server may give them by
/// the thousand.
static REFUSALS: Restraint = Restraint::new(10, 10_000_000_000);

/// An open stream.
pub(super) struct Session<'a> {
    config: &'a RemoteConfig,
    runs: &'a mut Runs,
    orders: Streaming<v1::ServerMessage>,
    reports: mpsc::Sender<v1::AgentMessage>,
    /// What must not be lost and the network has no room for yet.
    unsaid: VecDeque<Report>,
    lease: Duration,
}

impl<'a> Session<'a> {
    /// Registers this agent, and says again what its runs have said.
    pub(super) async fn open(
        config: &'a RemoteConfig,
        runs: &'a mut Runs,
        mut client: AgentServiceClient<Channel>,
    ) -> Result<Self, Status> {
        let (reports, outgoing) = mpsc::channel(REPORTS_MAX);
        let _ = reports.try_send(message(Report::Register(registration(config, runs))));
        let answer = timeout(
            ANSWER_TIME_MAX,
            client.attend(ReceiverStream::new(outgoing)),
        )
        .await;
        let orders = answer
            .map_err(|_| Status::deadline_exceeded("no answer within 5 s"))??
            .into_inner();
        let unsaid = runs.kept();
        Ok(Self {
            config,
            runs,
            orders,
            reports,
            unsaid,
            lease: LEASE_DEFAULT,
        })
    }

    /// Obeys until the stream ends (an error, whoever ended it) or a signal comes (`Ok`). The runs
    /// go on either way, for as long as their leases last.
    pub(super) async fn hold(
        mut self,
        signals: &mut Signals,
        welcomed: &mut dyn FnMut(),
    ) -> Result<(), Status> {
        let mut ticks = interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut beat = 0_u64;
        let mut end_at = None;
        while end_at.is_none() || !(self.runs.are_over() && self.unsaid.is_empty()) {
            let too_late = end_at.unwrap_or_else(Instant::now);
            tokio::select! {
                order = self.orders.message() => match order {
                    Ok(Some(order)) => self.obey(order, welcomed),
                    // The signal is spent: whoever dialled again now would stay for good.
                    _ if end_at.is_some() => return Ok(()),
                    Ok(None) => return Err(Status::unavailable("the server closed it")),
                    Err(status) => return Err(status),
                },
                report = self.runs.hear() => self.unsaid.push_back(report),
                said = say_next(&self.reports, &mut self.unsaid), if !self.unsaid.is_empty() => match said {
                    Err(_) if end_at.is_some() => return Ok(()),
                    said => said?,
                },
                _ = ticks.tick() => { self.report(beat.is_multiple_of(2)); beat += 1; }
                () = signals.next(), if end_at.is_none() => {
                    self.runs.abort();
                    end_at = Some(Instant::now() + SHUTDOWN_TIME_MAX);
                }
                () = sleep_until(too_late), if end_at.is_some() => break,
            }
        }
        self.flush().await;
        Ok(())
    }

    fn obey(&mut self, order: v1::ServerMessage, welcomed: &mut dyn FnMut()) {
        // A newer server may order what this agent does not know; that is its business to notice.
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
                welcomed();
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
        let orders = run::Orders {
            run_id: prepare.run_id.clone(),
            agent: self.config.name.clone(),
            traceparent: prepare.traceparent,
            assignment,
            allowed: self.config.allowed.clone(),
            pacing: self.config.pacing,
            reports: self.runs.mouth(),
        };
        let until_ns = self.lease_until_ns();
        self.runs
            .launch(orders, until_ns)
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
        // A run that is over by now was told so; there is nothing to answer.
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

    /// Drops a report rather than wait: the next one says the same and more.
    fn report(&self, alive: bool) {
        if alive {
            let _ = self.reports.try_send(message(Report::Alive(v1::Alive {})));
        }
        for progress in self.runs.progress() {
            let _ = self.reports.try_send(message(Report::Progress(progress)));
        }
    }

    fn fail(&mut self, run_id: String, error: String) {
        if let Some(withheld) = REFUSALS.admit(clock::now_ns()) {
            tracing::warn!(run_id, error, withheld, "the run failed here");
        }
        let report = Report::Failed(v1::Failed {
            run_id: run_id.clone(),
            error,
        });
        let report = if run_id.parse::<RunId>().is_ok() {
            // A run of this id that goes on is another one, and not over.
            let is_last = self.runs.get(&run_id).is_none();
            self.runs.keep(Said {
                run_id,
                report,
                is_last,
            })
        } else {
            // A server that is told of no run at all ends the stream; once is enough.
            report
        };
        self.unsaid.push_back(report);
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

/// Says the first of what waits as soon as there is room. When this is dropped before, it waits on.
async fn say_next(
    reports: &mpsc::Sender<v1::AgentMessage>,
    unsaid: &mut VecDeque<Report>,
) -> Result<(), Status> {
    let room = reports
        .reserve()
        .await
        .map_err(|_| Status::unavailable("the connection to it broke"))?;
    if let Some(report) = unsaid.pop_front() {
        room.send(message(report));
    }
    Ok(())
}

/// Wraps a report for the stream.
fn message(report: Report) -> v1::AgentMessage {
    v1::AgentMessage {
        message: Some(report),
    }
}

fn registration(config: &RemoteConfig, runs: &Runs) -> v1::Register {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let time_namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    v1::Register {
        name: config.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        boot_id: boot_id.trim().into(),
        clients_max: config.clients_max,
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        time_namespace: time_namespace.to_string_lossy().into_owned(),
        run_ids: runs.ids(),
    }
}
