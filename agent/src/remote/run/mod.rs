//! One run on this agent: prepare, wait for the start, measure, drain, report. One plain thread
//! carries out the steps in this order; each step is a span of the run's trace.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use metronome_os::{clock, tcp_info::TcpPath};
use metronome_proto::{
    limits::CLIENTS_PER_MESSAGE_MAX,
    v1::{self, Failure, FailureCode, agent_service_session_request::Message},
};
use metronome_telemetry::{TraceContext, retroactive_span};
use tokio::sync::mpsc;
use tracing::{Span, info_span};

use super::{
    environment,
    run_replies::{self, NotRead},
    run_trace,
    watch::Watch,
};
use crate::{
    connections::{
        connect::{NotConnected, connect_all, resolve_all},
        drain::drain,
        outlook::SharedOutlook,
    },
    load::{
        assignment::Assignment,
        client::Client,
        generator::{NotGenerated, generate},
        live_counters::LiveCounters,
        outcome::GeneratorStats,
        pacing::PacingOptions,
        packets::Packets,
        replies::{
            live_replies::LiveReplies,
            reader::{ReplyLines, ReplyReader},
        },
    },
    net::{target::Allowed, tcp_figures::tcp_figures},
    payload::Payloads,
    probes::{
        log::SharedLog,
        prober::{ProbeOrder, Prober},
    },
    stop_signal::{CHECK_EVERY_NS, StopSignal},
};

/// What one run does, and where it reports to.
pub(super) struct RunSpec {
    pub run_id: String,
    /// Name of this agent.
    pub agent: String,
    /// Parent of the run's spans; may be empty.
    pub parent: TraceContext,
    pub assignment: Assignment,
    pub allowed: Allowed,
    pub payloads: Payloads,
    pub pacing: PacingOptions,
    /// Never full: the reports of a run are bounded by its clients.
    pub reports: mpsc::UnboundedSender<Report>,
}

/// A message of a run for the server.
#[derive(Debug)]
pub(super) struct Report {
    pub run_id: String,
    pub message: Message,
    /// No other message of the run follows, and its clients are free.
    pub is_last: bool,
}

/// What a prepared run waits for.
#[derive(Debug)]
pub(super) enum StartOrder {
    /// When the first packet of phase 0 is due, ns of CLOCK_MONOTONIC.
    At(u64),
    /// The run was stopped before its start.
    Never,
    /// The start cannot be followed.
    Impossible(Failure),
}

/// A run in progress.
pub(super) struct Run {
    pub stop_signal: Arc<StopSignal>,
    pub live_counters: Arc<[LiveCounters]>,
    pub live_replies: Arc<LiveReplies>,
    pub outlook: Arc<SharedOutlook>,
    pub probes: Arc<SharedLog>,
    pub watch: Arc<Watch>,
    pub spec: RunSpec,
}

/// What a run has when it is prepared.
struct Prepared {
    clients: Vec<Client>,
    /// What was read for their payloads.
    payloads: Vec<v1::PayloadRead>,
    prober: Option<Prober>,
}

impl Run {
    /// All steps of the run. Blocks until it is over.
    pub(super) fn execute(self, started: &Receiver<StartOrder>) {
        // Entered throughout, so that every log line of this thread names the run and the trace.
        let _within = self.span().entered();
        match self.prepare() {
            Ok(prepared) => {
                self.report(Message::Prepared(v1::Prepared {
                    payloads: prepared.payloads,
                    run_id: self.run_id(),
                }));
                self.run_load(prepared.clients, prepared.prober, started);
            }
            Err(NotConnected { failure, records }) => {
                self.report_records(records);
                self.fail(failure);
            }
        }
    }

    fn prepare(&self) -> Result<Prepared, NotConnected> {
        let _prepare = info_span!("prepare").entered();
        let RunSpec {
            assignment,
            allowed,
            payloads,
            ..
        } = &self.spec;
        let failed = |failure| NotConnected {
            failure,
            records: Vec::new(),
        };
        let deadline_ns = assignment.connected_by_ns(clock::now_ns());
        let shares = || assignment.shares.iter().map(|of| &of.share);
        let payloads = payloads
            .prepare(shares(), deadline_ns, &self.stop_signal)
            .map_err(failed)?;
        let packets: Vec<Packets> = shares()
            .zip(payloads.sources)
            .map(|(share, source)| Packets::of_share(share, source))
            .collect();
        let addresses = resolve_all(assignment, allowed, &self.outlook)
            .map_err(|error| failed(error.failure()))?;
        let prober = self.probe(&addresses);
        let connect = info_span!("connect", clients = i64::from(assignment.client_count()));
        let connected = connect.in_scope(|| {
            connect_all(
                assignment,
                &packets,
                &addresses,
                deadline_ns,
                &self.outlook,
                &self.stop_signal,
            )
        });
        if let Err(NotConnected { failure, .. }) = &connected {
            retroactive_span::fail(&connect, failure.code().name(), &failure.sentence);
        }
        let clients = connected?;
        if let Some(prober) = &prober {
            prober.wait_for_first(assignment.deadline, deadline_ns, &self.stop_signal);
        }
        Ok(Prepared {
            clients,
            payloads: payloads.read,
            prober,
        })
    }

    /// Begins to probe where the server asks for it, to the target of the first share. A run that
    /// cannot is one without times between clocks.
    fn probe(&self, addresses: &[Vec<SocketAddr>]) -> Option<Prober> {
        let RunSpec {
            assignment, pacing, ..
        } = &self.spec;
        let order = ProbeOrder {
            every: assignment.probe_every?,
            protocol: assignment.protocol,
            addresses: addresses.first()?.clone(),
            high_priority: pacing.high_priority,
            stop_signal: self.stop_signal.clone(),
            log: self.probes.clone(),
        };
        let started = Prober::start(order);
        started
            .inspect_err(|error| tracing::warn!(%error, "the agent cannot probe its path"))
            .ok()
    }

    fn run_load(
        &self,
        mut clients: Vec<Client>,
        prober: Option<Prober>,
        started: &Receiver<StartOrder>,
    ) {
        let connected_ns = clock::now_ns();
        let (assignment, live) = (&self.spec.assignment, &self.live_replies);
        let lines = match run_replies::gather(&mut clients, assignment, live) {
            Ok(lines) => lines,
            Err(error) => return self.fail(error.failure()),
        };
        let start = self.await_start(started);
        let replies = match self.read_replies(lines, &mut clients, &start) {
            Ok(replies) => replies,
            Err(error) => return self.fail(error.failure()),
        };
        let measured = match &start {
            StartOrder::At(start_ns) => {
                let sockets = clients.iter().map(|of| of.connection.to_look_at());
                self.watch.begin(*start_ns, sockets.collect());
                self.measure(clients, connected_ns, *start_ns)
            }
            // No pacing thread has measured anything.
            StartOrder::Never | StartOrder::Impossible(_) => Ok((clients, None)),
        };
        let (mut clients, mut measured) = match measured {
            Ok(measured) => measured,
            Err(error) => return self.fail(error.failure()),
        };
        let source_failure = clients.iter().find_map(Client::source_failure).cloned();
        let failure = match start {
            _ if source_failure.is_some() => source_failure,
            StartOrder::Impossible(failure) => Some(failure),
            StartOrder::At(start_ns) => self.cut_short(&clients, start_ns),
            StartOrder::Never => self.cut_short(&clients, u64::MAX),
        };
        let drain_cpu_ns = self.drain(&mut clients, replies.as_ref());
        let probed = self.finish_probes(prober);
        let replies_cpu_ns = match run_replies::finish(replies, &mut clients) {
            Ok(cpu_ns) => cpu_ns,
            Err(error) => return self.fail(error.failure()),
        };
        if let Some(measured) = &mut measured {
            measured.cpu_ns += drain_cpu_ns + replies_cpu_ns;
        }
        info_span!("report")
            .in_scope(|| self.report_records(clients.iter().map(Client::record).collect()));
        match failure {
            Some(failure) => self.fail(failure),
            None => self.conclude(Message::Finished(v1::Finished {
                round_trips: self.live_replies.round_trips(),
                run_id: self.run_id(),
                cpu_ns: measured.as_ref().and_then(|of| signed(of.cpu_ns)),
                writes: Some(measured.as_ref().map_or(0, |of| of.writes)),
                environment: Some(environment::of_this_process(
                    measured.as_ref().map(|of| of.priority).unwrap_or_default(),
                )),
                oversleep_max_ns: measured.and_then(|of| signed(of.oversleep_ns_max)),
                probes_sent: probed.map(|(sent, _)| sent),
                probe_tcp: probed.and_then(|(_, path)| path).map(tcp_figures),
                host_points: self.watch.finish(),
            })),
        }
    }

    /// Ends the probes. How many were sent, and what the kernel has seen of their connection.
    /// `None` where there were none to send.
    fn finish_probes(&self, prober: Option<Prober>) -> Option<(u64, Option<TcpPath>)> {
        let path = prober?.finish();
        Some((self.probes.lock().sent(), path))
    }

    /// Why the load ended before its time without an order to stop.
    fn cut_short(&self, clients: &[Client], start_ns: u64) -> Option<Failure> {
        let assignment = &self.spec.assignment;
        // A flood has no schedule to compare with: a thread that was held up to the end of the
        // flood has sent nothing.
        let end_ns = start_ns.saturating_add(assignment.duration_ns());
        let floods_are_whole = self.stop_signal.orphaned().is_none() && clock::now_ns() >= end_ns;
        let is_whole = |client: &Client| match assignment.is_flood(client.index()) {
            true => floods_are_whole,
            false => client.is_over(),
        };
        if clients.iter().all(is_whole) {
            return None;
        }
        let failure = self.stop_signal.failure(clock::now_ns())?;
        (failure.code() != FailureCode::Stopped).then_some(failure)
    }

    fn await_start(&self, started: &Receiver<StartOrder>) -> StartOrder {
        loop {
            match started.recv_timeout(Duration::from_nanos(CHECK_EVERY_NS)) {
                Ok(order) => return order,
                Err(RecvTimeoutError::Timeout) if self.stop_signal.allows_load(clock::now_ns()) => {
                }
                Err(_) => return StartOrder::Never,
            }
        }
    }

    /// Lets replies be read in a run that starts. `None` when no packet asks for one.
    fn read_replies(
        &self,
        lines: Option<ReplyLines>,
        clients: &mut [Client],
        start: &StartOrder,
    ) -> Result<Option<ReplyReader>, NotRead> {
        let (Some(lines), StartOrder::At(start_ns)) = (lines, start) else {
            return Ok(None);
        };
        let RunSpec {
            assignment, pacing, ..
        } = &self.spec;
        let (warm_up, high_priority) = (assignment.warm_up, pacing.high_priority);
        run_replies::start(lines, clients, warm_up, *start_ns, high_priority).map(Some)
    }

    /// Exchanges the ends; returns the CPU time that it took, ns.
    fn drain(&self, clients: &mut [Client], replies: Option<&ReplyReader>) -> u64 {
        let cpu_before_ns = clock::thread_cpu_ns();
        info_span!("drain").in_scope(|| drain(clients, &self.stop_signal, replies));
        clock::thread_cpu_ns() - cpu_before_ns
    }

    fn measure(
        &self,
        clients: Vec<Client>,
        connected_ns: u64,
        start_ns: u64,
    ) -> Result<(Vec<Client>, Option<GeneratorStats>), NotGenerated> {
        let RunSpec {
            assignment, pacing, ..
        } = &self.spec;
        let generated = generate(
            clients,
            assignment,
            start_ns,
            *pacing,
            &self.stop_signal,
            &self.live_counters,
        );
        let (clients, measured) = generated?;
        run_trace::trace_load(&measured, connected_ns, start_ns);
        run_trace::log_load(&measured);
        Ok((clients, Some(measured)))
    }

    /// The span of this agent's part, a child of the run's span.
    fn span(&self) -> Span {
        let RunSpec {
            run_id,
            agent,
            assignment,
            parent,
            ..
        } = &self.spec;
        let clients = i64::from(assignment.client_count());
        let span = info_span!(
            "agent",
            otel.name = format!("agent {agent}"),
            run_id,
            agent,
            clients
        );
        parent.continue_in(&span);
        span
    }

    fn report_records(&self, records: Vec<v1::ClientRecord>) {
        for clients in records.chunks(CLIENTS_PER_MESSAGE_MAX) {
            let records = v1::ClientRecords {
                run_id: self.run_id(),
                clients: clients.to_vec(),
            };
            self.report(Message::ClientRecords(records));
        }
    }

    fn fail(&self, failure: Failure) {
        tracing::warn!(
            code = failure.code().name(),
            error = failure.sentence,
            remedy = failure.remedy,
            "the run failed here"
        );
        retroactive_span::fail(&Span::current(), failure.code().name(), &failure.sentence);
        self.conclude(Message::Failed(v1::Failed {
            run_id: self.run_id(),
            failure: Some(failure),
        }));
    }

    /// Reports the last message of the run.
    fn conclude(&self, last: Message) {
        self.send(last, true);
    }

    fn report(&self, message: Message) {
        self.send(message, false);
    }

    fn send(&self, message: Message, is_last: bool) {
        // When the process ends the receiver is gone; the run ends all the same.
        let _ = self.spec.reports.send(Report {
            run_id: self.run_id(),
            message,
            is_last,
        });
    }

    fn run_id(&self) -> String {
        self.spec.run_id.clone()
    }
}

/// A figure of the API. `None` when it is above what that can hold.
fn signed(ns: u64) -> Option<i64> {
    i64::try_from(ns).ok()
}

#[cfg(test)]
mod tests;
