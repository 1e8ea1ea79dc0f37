//! The generator: one pacing thread per share of the clients, started together and joined.
//!
//! A thread with a schedule serves its clients tick by tick ([`super::paced`]), one of a flood
//! writes as long as there is room ([`super::flood`]); all else they have in common. Absent on
//! purpose: async; no thread here waits for anything but its schedule or its connections.

use std::{
    io,
    thread::{self, ScopedJoinHandle},
};

use metronome_os::{cores::OwnCore, realtime};
use metronome_proto::v1::{Failure, FailureCode};

use super::{
    assignment::Assignment,
    client::Client,
    flood,
    live_counters::LiveCounters,
    outcome::{GeneratorStats, ThreadOutcome},
    paced,
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
    let schedule = assignment.schedule(start_ns);
    let ranges = assignment.clients_by_thread().into_iter();
    let threads = ranges.zip(live_counters).map(|(range, live_counters)| {
        PacingThread::new(
            clients.by_ref().take(range.len()).collect(),
            &range,
            assignment,
            (start_ns, schedule),
            pacing,
            stop_signal,
            live_counters,
        )
    });
    let cores = realtime::cores();
    let work = |thread: PacingThread<'_>| {
        let core = pacing.pin_threads.then(OwnCore::take);
        if let Some(None) = core {
            tracing::warn!("no core is free for this pacing thread alone: it is not pinned");
        }
        match schedule {
            Some(schedule) => thread.run(cores, |thread| paced::serve(thread, schedule)),
            None => {
                let end_ns = start_ns.saturating_add(assignment.duration_ns());
                thread.run(cores, |thread| {
                    flood::serve(thread, assignment.share.batch, end_ns);
                })
            }
        }
    };
    let outcomes = run_threads(threads.collect(), work, stop_signal)?;
    let mut stats = GeneratorStats::default();
    let mut clients = Vec::new();
    for outcome in outcomes {
        stats.add(&outcome);
        clients.extend(outcome.clients);
    }
    Ok((clients, stats))
}

/// Gives each of `threads` a thread of the system, and waits until all are done.
fn run_threads<'a>(
    threads: Vec<PacingThread<'a>>,
    work: impl Fn(PacingThread<'a>) -> ThreadOutcome + Copy + Send,
    stop_signal: &StopSignal,
) -> Result<Vec<ThreadOutcome>, NotGenerated> {
    thread::scope(|scope| {
        let mut spawned = Vec::with_capacity(threads.len());
        for (number, thread) in threads.into_iter().enumerate() {
            let builder = thread::Builder::new().name(format!("pacing-{number}"));
            let thread = builder.spawn_scoped(scope, move || work(thread));
            if thread.is_err() {
                // The load of the others alone is not what was asked for.
                stop_signal.request(StopMode::Abort);
            }
            spawned.push(thread);
        }
        let join = |thread: io::Result<ScopedJoinHandle<'_, _>>| {
            let outcome = thread.map_err(NotGenerated::NoThread)?.join();
            outcome.map_err(|_| NotGenerated::Died)
        };
        spawned.into_iter().map(join).collect()
    })
}
