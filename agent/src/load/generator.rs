//! The generator: pacing threads with a part of the clients each ([`super::threads`]), started
//! together and joined.
//!
//! A thread with schedules serves its clients turn by turn ([`super::paced`]), one of floods
//! writes as long as there is room ([`super::flood`]); all else they have in common. Absent on
//! purpose: async; no thread here waits for anything but its schedule or its connections.

use std::{
    io,
    sync::Arc,
    thread::{self, ScopedJoinHandle},
};

use metronome_os::{cores::OwnCore, realtime};
use metronome_proto::v1::{Failure, FailureCode};

use super::{
    assignment::{Assignment, Protocol},
    client::Client,
    flood,
    live_counters::LiveCounters,
    outcome::{GeneratorStats, ThreadOutcome},
    paced,
    pacing::PacingOptions,
    pacing_thread::{PacingThread, RunStart},
    streams::{Member, Streams, schedules},
    threads::ThreadPart,
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
    let run = RunStart {
        start_ns,
        is_announced: matches!(assignment.protocol, Protocol::Authenticated { .. }),
    };
    let (floods, paced): (Vec<Client>, Vec<Client>) = clients
        .into_iter()
        .partition(|client| assignment.is_flood(client.index()));
    let (mut floods, mut paced) = (floods.into_iter(), paced.into_iter());
    let parts = assignment.thread_parts().into_iter();
    let threads = parts.zip(live_counters).map(|(part, live_counters)| {
        let of_kind = if part.is_flood {
            &mut floods
        } else {
            &mut paced
        };
        let mut clients: Vec<Client> = of_kind.take(part.client_count()).collect();
        let work = work_of(&part, &mut clients, assignment, start_ns);
        let is_flood = part.is_flood;
        let thread = PacingThread::new(clients, is_flood, &run, pacing, stop_signal, live_counters);
        (thread, work)
    });
    let threads = threads.collect();
    let outcomes = run_threads(threads, pacing, stop_signal)?;
    let mut stats = GeneratorStats::default();
    let mut clients = Vec::new();
    for outcome in outcomes {
        stats.add(&outcome);
        clients.extend(outcome.clients);
    }
    clients.sort_unstable_by_key(Client::index);
    Ok((clients, stats))
}

/// What a thread does with its clients.
enum Work {
    Paced(Streams),
    Flood {
        /// Packets per write of each client.
        batches: Vec<u32>,
        end_ns: u64,
    },
}

/// The work of a thread with these clients, which get their schedules here.
fn work_of(
    part: &ThreadPart,
    clients: &mut [Client],
    assignment: &Assignment,
    start_ns: u64,
) -> Work {
    let (mut streams, mut batches) = (Streams::default(), Vec::new());
    let mut index_in_thread = 0;
    for (share, range) in &part.clients {
        let group = assignment.place_of_group(*share);
        let share = &assignment.shares[*share].share;
        let load = assignment.load(share);
        let offsets_ns = assignment.offsets_ns(share, range);
        let mut members = Vec::with_capacity(range.len());
        let schedule_of = schedules(&load, start_ns);
        for (client, offset_ns) in range.clone().zip(offsets_ns) {
            batches.push(load.batch);
            let mut own = clients.get_mut(index_in_thread);
            if let Some(own) = &mut own {
                own.group = group;
            }
            if let Some((own, schedule)) = own.zip(schedule_of(client)) {
                own.set_schedule(Arc::clone(&schedule), offset_ns);
                members.push(Member {
                    index_in_thread,
                    schedule,
                    offset_ns,
                });
            }
            index_in_thread += 1;
        }
        streams.add(load.shortest_gap_ns(), members);
    }
    if part.is_flood {
        let end_ns = start_ns.saturating_add(assignment.duration_ns());
        Work::Flood { batches, end_ns }
    } else {
        Work::Paced(streams)
    }
}

/// Carries out the work of one thread, on this one.
fn carry_out(
    thread: PacingThread<'_>,
    work: Work,
    pacing: PacingOptions,
    cores: usize,
) -> ThreadOutcome {
    let core = pacing.pin_threads.then(OwnCore::take);
    if let Some(None) = core {
        tracing::warn!("no core is free for this pacing thread alone: it is not pinned");
    }
    thread.run(cores, |thread| match work {
        Work::Paced(streams) => paced::serve(thread, streams),
        Work::Flood { batches, end_ns } => flood::serve(thread, batches, end_ns),
    })
}

/// Gives each of `threads` a thread of the system, and waits until all are done.
fn run_threads(
    threads: Vec<(PacingThread<'_>, Work)>,
    pacing: PacingOptions,
    stop_signal: &StopSignal,
) -> Result<Vec<ThreadOutcome>, NotGenerated> {
    let cores = realtime::cores();
    thread::scope(|scope| {
        let mut spawned = Vec::with_capacity(threads.len());
        for (number, (thread, work)) in threads.into_iter().enumerate() {
            let builder = thread::Builder::new().name(format!("pacing-{number}"));
            let thread =
                builder.spawn_scoped(scope, move || carry_out(thread, work, pacing, cores));
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
