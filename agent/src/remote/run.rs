//! One run on this agent: prepare, wait for the start, measure, drain, report. A plain thread, top
//! to bottom; each step is a span of the run's trace.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use metronome_os::clock;
use metronome_proto::v1::{self, agent_message::Message as Report};
use metronome_telemetry::{
    KeyValue, continue_from_traceparent,
    past::{self, Anchor, Past},
};
use tokio::sync::mpsc;
use tracing::{Span, info_span};

use crate::{
    load::{
        assignment::{Assignment, Load},
        client::Client,
        generator::generate,
        outcome::Measured,
        pacing::Pacing,
        totals::{self, Totals, progress},
    },
    net::{
        connect::{NotConnected, connect_all},
        drain::drain,
        target::Allowed,
    },
    stop_signal::{CHECK_EVERY_NS, StopMode, StopSignal},
};

/// Records in one message: far below 1 MiB, also when every one carries an error.
const RECORDS_PER_MESSAGE_MAX: usize = 1000;

/// So many Renews in a row without the run end it, and what was kept of it.
pub(super) const UNLISTED_MAX: u32 = 2;

/// What a run needs to know and where it reports to.
pub(super) struct Orders {
    pub run_id: String,
    /// Name of this agent.
    pub agent: String,
    /// Parent of the run's spans; may be empty.
    pub traceparent: String,
    pub assignment: Assignment,
    pub allowed: Allowed,
    pub pacing: Pacing,
    /// Never full: what a run has to say is bounded by its clients.
    pub reports: mpsc::UnboundedSender<Said>,
}

/// A word of a run for the server.
#[derive(Debug)]
pub(super) struct Said {
    pub run_id: String,
    pub report: Report,
    /// The run is over with it, and its clients are free.
    pub is_last: bool,
}

/// The control side's hold on a run.
pub(super) struct RunHandle {
    pub stop_signal: Arc<StopSignal>,
    /// How many of this agent's clients it uses.
    pub clients: u32,
    totals: Arc<[Totals]>,
    start: Option<Sender<Go>>,
    /// Renews in a row that did not list it.
    unlisted: u32,
}

/// What a prepared run waits for.
#[derive(Debug)]
enum Go {
    /// The first packet of phase 0 is due then, ns of CLOCK_MONOTONIC.
    At(u64),
    /// It was stopped before.
    Never,
    /// The start cannot be followed: one sentence for the user.
    Impossible(String),
}

impl RunHandle {
    /// Moves the end of the lease. A Renew that was on its way when the run was made does not list
    /// it; when the next one does not either, the server knows nothing of the run any more.
    pub(super) fn renew(&mut self, lease_until_ns: u64, is_listed: bool) {
        self.unlisted = if is_listed {
            0
        } else {
            self.unlisted.saturating_add(1)
        };
        if self.unlisted < UNLISTED_MAX {
            self.stop_signal.renew(lease_until_ns);
        } else {
            self.stop_signal
                .lose_lease("the server knows nothing of the run any more");
        }
    }

    /// Lets the load begin at `start_ns`. Only the first call counts.
    pub(super) fn start(&mut self, start_ns: u64) {
        self.go(Go::At(start_ns));
    }

    /// Ends a run whose start cannot be followed.
    pub(super) fn refuse_start(&mut self, problem: String) {
        self.go(Go::Impossible(problem));
    }

    fn go(&mut self, go: Go) {
        // A run that is over already listens to nothing.
        let _ = self.start.take().map(|start| start.send(go));
    }

    /// Whether the start instant is known.
    pub(super) fn is_started(&self) -> bool {
        self.start.is_none()
    }

    /// How far it is.
    pub(super) fn progress(&self, run_id: &str) -> v1::Progress {
        progress(run_id, &self.totals)
    }
}

/// Starts the run's thread, which begins at once to connect.
pub(super) fn launch(orders: Orders, lease_until_ns: u64) -> io::Result<RunHandle> {
    let stop_signal = Arc::new(StopSignal::new(lease_until_ns));
    let totals: Arc<[Totals]> = totals::of_threads(&orders.assignment);
    let (start, started) = channel();
    let clients = orders.assignment.client_count();
    let run = Run {
        stop_signal: stop_signal.clone(),
        totals: totals.clone(),
        orders,
    };
    thread::Builder::new()
        .name("run".into())
        .spawn(move || run.conduct(&started))?;
    Ok(RunHandle {
        stop_signal,
        clients,
        totals,
        start: Some(start),
        unlisted: 0,
    })
}

struct Run {
    stop_signal: Arc<StopSignal>,
    totals: Arc<[Totals]>,
    orders: Orders,
}

impl Run {
    fn conduct(self, started: &Receiver<Go>) {
        // Entered throughout, so that every line this thread logs tells the run and the trace.
        let _within = self.span().entered();
        match self.prepare() {
            Ok(clients) => {
                let attempts = clients.iter().map(Client::attempts).sum();
                self.report(Report::Prepared(v1::Prepared {
                    run_id: self.run_id(),
                    attempts,
                }));
                self.carry_out(clients, started);
            }
            Err(NotConnected { error, records }) => {
                self.report_records(records);
                self.fail(error);
            }
        }
    }

    fn prepare(&self) -> Result<Vec<Client>, NotConnected> {
        let _prepare = info_span!("prepare").entered();
        let addresses = self.resolve().map_err(|error| NotConnected {
            error,
            records: Vec::new(),
        })?;
        let connect = info_span!(
            "connect",
            clients = i64::from(self.orders.assignment.client_count())
        );
        let connected = connect
            .in_scope(|| connect_all(&self.orders.assignment, &addresses, &self.stop_signal));
        if let Err(NotConnected { error, .. }) = &connected {
            past::fail(&connect, error);
        }
        connected
    }

    fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        self.orders
            .assignment
            .target
            .resolve(&self.orders.allowed)
            .map_err(|error| error.to_string())
    }

    fn carry_out(&self, clients: Vec<Client>, started: &Receiver<Go>) {
        let connected_ns = clock::now_ns();
        let go = self.await_start(started);
        let measured = match &go {
            Go::At(start_ns) => self.measure(clients, connected_ns, *start_ns),
            Go::Never | Go::Impossible(_) => Ok((clients, Measured::default())),
        };
        let (mut clients, mut measured) = match measured {
            Ok(measured) => measured,
            Err(error) => return self.fail(format!("the load could not be generated: {error}")),
        };
        let problem = match go {
            Go::Impossible(problem) => Some(problem),
            Go::At(start_ns) => self.cut_short(&clients, start_ns),
            Go::Never => self.cut_short(&clients, u64::MAX),
        };
        measured.cpu_ns += self.drain(&mut clients);
        info_span!("report")
            .in_scope(|| self.report_records(clients.iter().map(Client::record).collect()));
        match problem {
            Some(problem) => self.fail(problem),
            None => self.conclude(Report::Finished(v1::Finished {
                run_id: self.run_id(),
                cpu_ns: measured.cpu_ns,
                writes: measured.writes,
                oversleep_max_ns: measured.oversleep_ns_max,
            })),
        }
    }

    /// Why the load ended before its time although nobody asked the run to stop: one sentence.
    fn cut_short(&self, clients: &[Client], start_ns: u64) -> Option<String> {
        let assignment = &self.orders.assignment;
        let why_lost = self.stop_signal.lease_lost();
        let is_whole = match assignment.load {
            Load::Paced {
                packets_per_client, ..
            } => clients
                .iter()
                .all(|client| client.record().scheduled == packets_per_client),
            // A flood has no schedule that could tell: a thread that stood still to its end sent
            // nothing.
            Load::Flood => {
                why_lost.is_none()
                    && clock::now_ns() >= start_ns.saturating_add(assignment.duration_ns())
            }
        };
        if is_whole {
            return None;
        }
        if let Some(why) = why_lost {
            tracing::warn!(why, "lease lost");
            return Some(format!("lease lost: {why}"));
        }
        let is_aborted = self.stop_signal.requested(clock::now_ns()) == Some(StopMode::Abort);
        is_aborted.then(|| "it was stopped before its schedule was over".into())
    }

    fn await_start(&self, started: &Receiver<Go>) -> Go {
        loop {
            match started.recv_timeout(Duration::from_nanos(CHECK_EVERY_NS)) {
                Ok(go) => return go,
                Err(RecvTimeoutError::Timeout) if self.stop_signal.allows_load(clock::now_ns()) => {
                }
                Err(_) => return Go::Never,
            }
        }
    }

    /// Exchanges the ends; returns the CPU that it took, ns.
    fn drain(&self, clients: &mut [Client]) -> u64 {
        let cpu_before_ns = clock::thread_cpu_ns();
        info_span!("drain").in_scope(|| drain(clients, &self.stop_signal));
        clock::thread_cpu_ns() - cpu_before_ns
    }

    fn measure(
        &self,
        clients: Vec<Client>,
        connected_ns: u64,
        start_ns: u64,
    ) -> io::Result<(Vec<Client>, Measured)> {
        let Orders {
            assignment, pacing, ..
        } = &self.orders;
        let generated = generate(
            clients,
            assignment,
            start_ns,
            *pacing,
            &self.stop_signal,
            &self.totals,
        )?;
        trace_load(&generated.1, connected_ns, start_ns);
        let measured = &generated.1;
        // Signed: of other whole numbers a trace would make text.
        let at_us = |quantile| (measured.lateness.quantile_ns(quantile) / 1000).cast_signed();
        tracing::info!(
            packets = measured.lateness.count().cast_signed(),
            writes = measured.writes.cast_signed(),
            real_time_threads = measured.real_time_threads,
            lateness_p50_us = at_us(0.5),
            lateness_p99_us = at_us(0.99),
            lateness_max_us = at_us(1.0),
            "load generated"
        );
        Ok(generated)
    }

    /// Of this agent's part, a child of the run's.
    fn span(&self) -> Span {
        let Orders {
            run_id,
            agent,
            assignment,
            traceparent,
            ..
        } = &self.orders;
        let clients = i64::from(assignment.client_count());
        let span = info_span!(
            "agent",
            otel.name = format!("agent {agent}"),
            run_id,
            agent,
            clients
        );
        continue_from_traceparent(&span, traceparent);
        span
    }

    fn report_records(&self, records: Vec<v1::ClientRecord>) {
        for clients in records.chunks(RECORDS_PER_MESSAGE_MAX) {
            let records = v1::ClientRecords {
                run_id: self.run_id(),
                clients: clients.to_vec(),
            };
            self.report(Report::ClientRecords(records));
        }
    }

    fn fail(&self, error: String) {
        tracing::warn!(error, "the run failed here");
        past::fail(&Span::current(), &error);
        self.conclude(Report::Failed(v1::Failed {
            run_id: self.run_id(),
            error,
        }));
    }

    /// The last word of a run.
    fn conclude(&self, last: Report) {
        self.say(last, true);
    }

    fn report(&self, report: Report) {
        self.say(report, false);
    }

    fn say(&self, report: Report, is_last: bool) {
        // Nobody listens any more when the process ends; the run ends all the same.
        let _ = self.orders.reports.send(Said {
            run_id: self.run_id(),
            report,
            is_last,
        });
    }

    fn run_id(&self) -> String {
        self.orders.run_id.clone()
    }
}

/// The wait for the first packet and the load itself: what begins on time is told afterwards, since
/// the pacing threads wait for nobody.
fn trace_load(measured: &Measured, connected_ns: u64, start_ns: u64) {
    let now_ns = clock::now_ns();
    let anchor = Anchor::at(now_ns);
    let at_us = |quantile| measured.lateness.quantile_ns(quantile) as f64 / 1e3;
    let past = |name, from_ns, until_ns, attributes| Past {
        name,
        from_ns,
        until_ns,
        attributes,
        events: Vec::new(),
    };
    let figures = vec![
        KeyValue::new(
            "metronome.packets.sent",
            measured.lateness.count().cast_signed(),
        ),
        KeyValue::new("metronome.writes", measured.writes.cast_signed()),
        KeyValue::new("metronome.lateness.p50_us", at_us(0.5)),
        KeyValue::new("metronome.lateness.p99_us", at_us(0.99)),
        KeyValue::new("metronome.lateness.max_us", at_us(1.0)),
    ];
    let begun_ns = start_ns.clamp(connected_ns, now_ns);
    past::record(
        &Span::current(),
        &anchor,
        past("warm-up", connected_ns, begun_ns, Vec::new()),
    );
    past::record(
        &Span::current(),
        &anchor,
        past("measure", begun_ns, now_ns, figures),
    );
}
