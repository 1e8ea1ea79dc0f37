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

use super::{
    assignment::Assignment,
    client::Client,
    flood::Flood,
    live_counters::LiveCounters,
    outcome::{GeneratorStats, ThreadOutcome},
    pacing::PacingOptions,
    pacing_thread::PacingThread,
};
use crate::stop_signal::{StopMode, StopSignal};

/// Runs the load of `assignment`, from `start_ns` to its end or to a stop request.
///
/// There is one of `live_counters` per thread. Error: the operating system gives no thread, or one
/// panicked; the clients are lost then.
pub(crate) fn generate(
    clients: Vec<Client>,
    assignment: &Assignment,
    start_ns: u64,
    pacing: PacingOptions,
    stop_signal: &StopSignal,
    live_counters: &[LiveCounters],
) -> io::Result<(Vec<Client>, GeneratorStats)> {
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
                assignment.batch,
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
) -> io::Result<Vec<ThreadOutcome>> {
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
            let outcome = thread?.join();
            outcome.map_err(|_| io::Error::other("a pacing thread died"))
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
