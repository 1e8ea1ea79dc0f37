//! The generator: one pacing thread per share of the clients, started together and joined.
//!
//! A thread with a schedule serves its clients tick by tick ([`super::pacing_thread`]): per packet
//! one reading of the clock and one write, no allocation, no lock, no log line. A flood has threads
//! of its own kind ([`super::flood`]). Absent on purpose: async; no thread here waits for anything
//! but its schedule or its connections.

use std::{
    io,
    thread::{self, ScopedJoinHandle},
};

use metronome_os::{cores::OwnCore, realtime};
use metronome_proto::v1::{Failure, FailureCode};

use super::{
    assignment::Assignment,
    client::Client,
    flood::Flood,
    live_counters::LiveCounters,
    outcome::{GeneratorStats, ThreadOutcome},
    pacing::PacingOptions,
    pacing_thread::PacingThread,
};
use crate::{
    net::error_text::within_sentence,
    stop_signal::{StopMode, StopSignal},
};

/// Why the load could not be generated; the clients are lost then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotGenerated {
    /// The operating system gave no thread.
    #[error("this host gave the agent no pacing thread: {}", within_sentence(.0))]
    NoThread(io::Error),
    /// A pacing thread panicked.
    #[error("a pacing thread of the agent died")]
    Died,
}

impl NotGenerated {
    /// The error as data.
    pub(crate) fn failure(&self) -> Failure {
        let code = match self {
            Self::NoThread(_) => FailureCode::AgentThreadsFull,
            Self::Died => FailureCode::Internal,
        };
        Failure::new(code, self.to_string())
    }
}

/// Runs the load of `assignment`, from `start_ns` to its end or to a stop request.
///
/// There is one of `live_counters` per thread.
pub(crate) fn generate(
    clients: Vec<Client>,
    assignment: &Assignment,
    start_ns: u64,
    pacing: PacingOptions,
    stop_signal: &StopSignal,
    live_counters: &[LiveCounters],
) -> Result<(Vec<Client>, GeneratorStats), NotGenerated> {
    let mut clients = clients.into_iter();
    let ranges = assignment.clients_by_thread().into_iter();
    let works = ranges.zip(live_counters).map(|(range, live_counters)| {
        let clients = clients.by_ref().take(range.len()).collect();
        match assignment.schedule(start_ns) {
            Some(schedule) => Work::Paced(Box::new(PacingThread::new(
                clients,
                &range,
                assignment,
                schedule,
                pacing,
                stop_signal,
                live_counters,
            ))),
            None => Work::Flood(Box::new(Flood::new(
                clients,
                start_ns,
                start_ns.saturating_add(assignment.duration_ns()),
                assignment.share.batch,
                stop_signal,
                live_counters,
            ))),
        }
    });
    let outcomes = run_threads(works.collect(), pacing.pin_threads, stop_signal)?;
    let mut stats = GeneratorStats::default();
    let mut clients = Vec::new();
    for outcome in outcomes {
        stats.add(&outcome);
        clients.extend(outcome.clients);
    }
    Ok((clients, stats))
}

/// Gives each of `works` a thread and waits until all are done.
fn run_threads(
    works: Vec<Work<'_>>,
    pin: bool,
    stop_signal: &StopSignal,
) -> Result<Vec<ThreadOutcome>, NotGenerated> {
    let cores = realtime::cores();
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(works.len());
        for (number, work) in works.into_iter().enumerate() {
            let builder = thread::Builder::new().name(format!("pacing-{number}"));
            let thread = builder.spawn_scoped(scope, move || work.run(pin, cores));
            if thread.is_err() {
                // The load of the others alone is not what was asked for.
                stop_signal.request(StopMode::Abort);
            }
            threads.push(thread);
        }
        let join = |thread: io::Result<ScopedJoinHandle<'_, _>>| {
            let outcome = thread.map_err(NotGenerated::NoThread)?.join();
            outcome.map_err(|_| NotGenerated::Died)
        };
        threads.into_iter().map(join).collect()
    })
}

/// What one thread does.
enum Work<'a> {
    Paced(Box<PacingThread<'a>>),
    Flood(Box<Flood<'a>>),
}

impl Work<'_> {
    fn run(self, pin: bool, cores: usize) -> ThreadOutcome {
        let core = pin.then(OwnCore::take);
        if let Some(None) = core {
            tracing::warn!("no core is free for this pacing thread alone: it is not pinned");
        }
        match self {
            Self::Paced(thread) => thread.run(cores),
            Self::Flood(flood) => flood.run(),
        }
    }
}
