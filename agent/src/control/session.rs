//! One stream with the server: what it orders, what is reported back.
//!
//! This task only passes things on; each run has a plain thread of its own ([`super::run`]), and the
//! lease is kept by every pacing thread itself. So nothing here has to be in time.

use std::{collections::HashMap, time::Duration};

use metronome_proto::{
    telemetry::restraint::Restraint,
    v1::{
        self, agent_message::Message as Report, agent_service_client::AgentServiceClient,
        server_message::Message as Order,
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    Signals,
    run::{self, RunHandle},
};
use crate::{
    assignment::{Assignment, duration},
    clock,
    config::AttendConfig,
    leash::Pull,
};

/// Without a word in the Welcome.
const LEASE_DEFAULT: Duration = Duration::from_secs(3);
/// No server can make a lease longer.
const LEASE_MAX: Duration = Duration::from_secs(10);
/// Between two reports of progress; every second one comes with an Alive.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// From a signal to the end of the process.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(2);
/// For the last reports to leave.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(300);
/// To be answered by a server that took the connection.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Reports that may wait for the network.
const REPORTS_MAX: usize = 64;
/// A start further away than this is a mistake.
const START_IN_MAX: Duration = Duration::from_secs(60);

/// Of orders that cannot be followed, at most ten lines in ten seconds: a server may give them by the thousand.
static REFUSALS: Restraint = Restraint::new(10, 10_000_000_000);

/// An open stream.
pub(super) struct Session<'a> {
    config: &'a AttendConfig,
    orders: Streaming<v1::ServerMessage>,
    reports: mpsc::Sender<v1::AgentMessage>,
    runs: HashMap<String, RunHandle>,
    over: mpsc::UnboundedReceiver<String>,
    over_sender: mpsc::UnboundedSender<String>,
    lease: Duration,
}

impl<'a> Session<'a> {
    /// Registers this agent.
    pub(super) async fn open(
        config: &'a AttendConfig,
        mut client: AgentServiceClient<Channel>,
    ) -> Result<Self, Status> {
        let (reports, outgoing) = mpsc::channel(REPORTS_MAX);
        let (over_sender, over) = mpsc::unbounded_channel();
        let _ = reports.try_send(message(Report::Register(registration(config))));
        let answer = timeout(ANSWER_TIME_MAX, client.attend(ReceiverStream::new(outgoing))).await;
        let orders = answer.map_err(|_| Status::deadline_exceeded("no answer within 5 s"))??.into_inner();
        Ok(Self { config, orders, reports, runs: HashMap::new(), over, over_sender, lease: LEASE_DEFAULT })
    }

    /// Obeys until the stream ends (an error, whoever ended it) or a signal comes (`Ok`).
    pub(super) async fn hold(mut self, signals: &mut Signals, welcomed: &mut dyn FnMut()) -> Result<(), Status> {
        let mut ticks = interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut beat = 0_u64;
        let mut end_at = None;
        while end_at.is_none() || !self.runs.is_empty() {
            let too_late = end_at.unwrap_or_else(Instant::now);
            tokio::select! {
                order = self.orders.message() => match order {
                    Ok(Some(order)) => self.obey(order, welcomed),
                    Ok(None) => return Err(Status::unavailable("the server closed it")),
                    Err(status) => return Err(status),
                },
                Some(run_id) = self.over.recv() => { self.runs.remove(&run_id); }
                _ = ticks.tick() => { self.report(beat.is_multiple_of(2)); beat += 1; }
                () = signals.next(), if end_at.is_none() => {
                    self.runs.values().for_each(|run| run.leash.pull(Pull::Hurry));
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
                self.lease = welcome.lease.as_ref().and_then(duration).unwrap_or(LEASE_DEFAULT).min(LEASE_MAX);
                tracing::info!("attending {} as {}", self.config.server, self.config.name);
                welcomed();
            }
            Order::Prepare(prepare) => self.prepare(prepare),
            Order::Start(start) => self.start(&start),
            Order::Stop(stop) => {
                if let Some(run) = self.runs.get(&stop.run_id) {
                    run.leash.pull(Pull::Stop);
                }
            }
            Order::Renew(renew) => self.renew(&renew.run_ids),
        }
    }

    fn renew(&mut self, listed: &[String]) {
        let until_ns = self.lease_until_ns();
        for (run_id, run) in &mut self.runs {
            run.renew(until_ns, listed.contains(run_id));
        }
    }

    fn prepare(&mut self, prepare: v1::Prepare) {
        let run_id = prepare.run_id.clone();
        if let Err(problem) = self.try_prepare(prepare) {
            self.fail(run_id, problem);
        }
    }

    fn try_prepare(&mut self, prepare: v1::Prepare) -> Result<(), String> {
        // The select may take up an order before the end of the run that it follows.
        while let Ok(run_id) = self.over.try_recv() {
            self.runs.remove(&run_id);
        }
        if self.runs.contains_key(&prepare.run_id) {
            return Err("this agent has this run already".into());
        }
        let busy: u32 = self.runs.values().map(|run| run.clients).sum();
        let free = self.config.clients_max - busy.min(self.config.clients_max);
        if prepare.clients > free && busy > 0 {
            let max = self.config.clients_max;
            return Err(format!(
                "{} clients are too many: {busy} of this agent's {max} are busy with other runs",
                prepare.clients
            ));
        }
        let assignment = Assignment::from_prepare(&prepare, &self.config.server_host, self.config.clients_max)
            .map_err(|error| error.to_string())?;
        let orders = run::Orders {
            run_id: prepare.run_id.clone(),
            agent: self.config.name.clone(),
            traceparent: prepare.traceparent,
            assignment,
            allowed: self.config.allowed.clone(),
            pacing: self.config.pacing,
            reports: self.reports.clone(),
            over: self.over_sender.clone(),
        };
        let handle = run::launch(orders, self.lease_until_ns())
            .map_err(|error| format!("this host gave the agent no thread for the run: {error}"))?;
        self.runs.insert(prepare.run_id, handle);
        Ok(())
    }

    fn start(&mut self, start: &v1::Start) {
        let now_ns = clock::now_ns();
        let start_in = start.start_in.as_ref().and_then(duration).unwrap_or_default();
        let start_ns = match start.start_at_ns {
            0 => now_ns.saturating_add(u64::try_from(start_in.as_nanos()).unwrap_or(u64::MAX)),
            start_at_ns => start_at_ns,
        };
        // A run that is over by now was told so; there is nothing to answer.
        let Some(run) = self.runs.get_mut(&start.run_id) else { return };
        if start_ns > now_ns + START_IN_MAX.as_nanos() as u64 {
            run.refuse_start("the start is more than 60 s away; do server and agent share a clock?".into());
        } else {
            run.start(start_ns);
        }
    }

    /// Drops a report rather than wait: the next one says the same and more.
    fn report(&self, alive: bool) {
        if alive {
            let _ = self.reports.try_send(message(Report::Alive(v1::Alive {})));
        }
        for (run_id, run) in self.runs.iter().filter(|(_, run)| run.is_started()) {
            let _ = self.reports.try_send(message(Report::Progress(run.progress(run_id))));
        }
    }

    fn fail(&self, run_id: String, error: String) {
        if let Some(withheld) = REFUSALS.admit(clock::now_ns()) {
            tracing::warn!(run_id, error, withheld, "the run failed here");
        }
        let _ = self.reports.try_send(message(Report::Failed(v1::Failed { run_id, error })));
    }

    fn lease_until_ns(&self) -> u64 {
        clock::now_ns() + self.lease.as_nanos() as u64
    }

    /// Closes this side and waits a moment for the server to have read it all.
    async fn flush(mut self) {
        drop(std::mem::replace(&mut self.reports, mpsc::channel(1).0));
        self.runs.clear();
        let read_out = async { while let Ok(Some(_)) = self.orders.message().await {} };
        let _ = timeout(FLUSH_TIME_MAX, read_out).await;
    }
}

impl Drop for Session<'_> {
    /// Without the stream nobody can stop the load any more.
    fn drop(&mut self) {
        self.runs.values().for_each(|run| run.leash.lose("the stream to the server ended"));
    }
}

/// Wraps a report for the stream.
pub(super) fn message(report: Report) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(report) }
}

fn registration(config: &AttendConfig) -> v1::Register {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let time_namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    v1::Register {
        name: config.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        boot_id: boot_id.trim().into(),
        clients_max: config.clients_max,
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        time_namespace: time_namespace.to_string_lossy().into_owned(),
    }
}
