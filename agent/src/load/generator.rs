//! The pacing threads: plain threads that sleep, stamp and write, with nothing else in between.
//!
//! A thread serves the clients of its share tick by tick (see [`crate::load::ticks`]). Per packet
//! there is one reading of the clock and one write; no allocation, no lock, no log line. A flood
//! has threads of its own kind ([`crate::load::flood`]). LiveCounters for the progress of the run are plain
//! stores into atomics that only this thread writes.

use std::{io, thread};

use metronome_os::cores::OwnCore;
use metronome_os::precedence;

use crate::{
    load::{
        assignment::Assignment,
        client::Client,
        flood::Flood,
        live_counters::LiveCounters,
        outcome::{Measured, Outcome},
        pacing::Pacing,
        pacing_thread::PacingThread,
    },
    stop_signal::{StopMode, StopSignal},
};

/// Runs the schedule of `assignment`, from `start_ns` to its end or to a stop request.
///
/// One of `live_counters` per thread. Errors: the operating system gives no thread; the clients are lost
/// then.
pub(crate) fn generate(
    clients: Vec<Client>,
    assignment: &Assignment,
    start_ns: u64,
    pacing: Pacing,
    stop_signal: &StopSignal,
    live_counters: &[LiveCounters],
) -> io::Result<(Vec<Client>, Measured)> {
    let mut waiting_clients = clients.into_iter();
    let works = assignment
        .clients_by_thread()
        .into_iter()
        .zip(live_counters)
        .map(|(range, live_counters)| {
            let clients = waiting_clients.by_ref().take(range.len()).collect();
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
                None => {
                    let end_ns = start_ns.saturating_add(assignment.duration_ns());
                    Work::Flood(Box::new(Flood::new(
                        clients,
                        start_ns,
                        end_ns,
                        assignment.batch,
                        stop_signal,
                        live_counters,
                    )))
                }
            }
        });
    let works: Vec<Work<'_>> = works.collect();
    let cores = precedence::cores();
    let outcomes = thread::scope(|scope| {
        let mut threads = Vec::with_capacity(works.len());
        for (number, work) in works.into_iter().enumerate() {
            let builder = thread::Builder::new().name(format!("pacing-{number}"));
            let thread =
                builder.spawn_scoped(scope, move || work.carry_out(pacing.pin_threads, cores));
            if thread.is_err() {
                // The load of the others alone is not what was asked for.
                stop_signal.request(StopMode::Abort);
            }
            threads.push(thread);
        }
        let join = |thread: io::Result<thread::ScopedJoinHandle<'_, _>>| {
            thread?
                .join()
                .map_err(|_| io::Error::other("a pacing thread died"))
        };
        threads
            .into_iter()
            .map(join)
            .collect::<io::Result<Vec<Outcome>>>()
    })?;
    let mut measured = Measured::default();
    let mut clients = Vec::new();
    for outcome in outcomes {
        measured.add(&outcome);
        clients.extend(outcome.clients);
    }
    Ok((clients, measured))
}

/// What one thread has to do.
enum Work<'a> {
    Paced(Box<PacingThread<'a>>),
    Flood(Box<Flood<'a>>),
}

impl Work<'_> {
    fn carry_out(self, pin: bool, cores: usize) -> Outcome {
        let core = pin.then(OwnCore::take);
        if let Some(None) = core {
            tracing::warn!("no core is free for this pacing thread alone: it is not pinned");
        }
        match self {
            Self::Paced(thread) => thread.pace(cores),
            Self::Flood(flood) => flood.run(),
        }
    }
}
