//! The pacing threads: plain threads that sleep, stamp and write, with nothing else in between.
//!
//! A thread serves the clients of its *lane* volley by volley (see [`crate::load::pacing`]). Per packet
//! there is one reading of the clock and one write; no allocation, no lock, no log line. A flood
//! has threads of its own kind ([`crate::load::flood`]). Totals for the progress of the run are plain
//! stores into atomics that only this thread writes.

use std::{
    hint, io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use metronome_os::clock;
use metronome_os::cores::OwnCore;
use metronome_os::precedence::{self, Precedence, Terms};
use metronome_proto::{histogram::Histogram, schedule::Schedule, v1};

use crate::{
    leash::{Leash, Pull},
    load::{
        assignment::Assignment,
        client::{BACKLOG_NS, Client},
        desk::Desk,
        flood::Flood,
        pacing::{NAP_NS_MAX, Volleys, Wait, WaitPolicy, Waiting},
    },
};

/// While a client owes packets, its connection is tried again at least this often.
pub(crate) const RETRY_NS: u64 = 1_000_000;

/// The running totals of one pacing thread, in cache lines of their own. One writer, so a store
/// loses nothing and costs no locked instruction.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Totals {
    sent: AtomicU64,
    skipped: AtomicU64,
    broken: AtomicU32,
}

/// Totals for every pacing thread of `assignment`.
pub(crate) fn totals(assignment: &Assignment) -> Arc<[Totals]> {
    assignment
        .lanes()
        .iter()
        .map(|_| Totals::default())
        .collect()
}

impl Totals {
    #[inline]
    pub(crate) fn publish(&self, desk: &Desk) {
        self.sent.store(desk.sent, Relaxed);
        self.skipped.store(desk.skipped, Relaxed);
        self.broken.store(desk.broken, Relaxed);
    }
}

/// The sum over all threads of a run, as the API tells it.
pub(crate) fn progress(run_id: &str, totals: &[Totals]) -> v1::Progress {
    v1::Progress {
        run_id: run_id.into(),
        sent: totals.iter().map(|totals| totals.sent.load(Relaxed)).sum(),
        skipped: totals
            .iter()
            .map(|totals| totals.skipped.load(Relaxed))
            .sum(),
        clients_broken: totals
            .iter()
            .map(|totals| totals.broken.load(Relaxed))
            .sum(),
    }
}

/// How pacing threads run: flags of the agent, since no server knows its host.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Pacing {
    /// How pacing threads wait for the next packet.
    #[arg(long = "pacing", value_name = "HOW", value_enum, default_value_t = WaitPolicy::Hybrid)]
    wait: WaitPolicy,
    /// Give pacing threads the highest priority that the system grants: real-time where a core is
    /// left for others, else nice -10. Threads that spin get nice -10 only, those of a flood
    /// nothing.
    #[arg(long, value_name = "true|false", env = "METRONOME_HIGH_PRIORITY", default_value_t = true, action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    high_priority: bool,
    /// Keep each pacing thread on a core of its own, while one is free: for hosts that have nothing
    /// else to do.
    #[arg(long, value_name = "true|false", env = "METRONOME_PIN_THREADS", default_value_t = false, action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pin_threads: bool,
}

/// What the pacing threads have measured of themselves.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// CPU of the threads from the start instant on, ns.
    pub cpu_ns: u64,
    /// Writes that took data.
    pub writes: u64,
    /// Longest that a sleep ended late, ns.
    pub oversleep_ns_max: u64,
    /// From due to the write, of every packet.
    pub lateness: Histogram,
    /// Threads that were real-time threads at the end.
    pub real_time_threads: u32,
}

/// Runs the schedule of `assignment`, from `start_ns` to its end or to a pull of the leash.
///
/// One of `totals` per lane. Errors: the operating system gives no thread; the clients are lost
/// then.
pub(crate) fn generate(
    clients: Vec<Client>,
    assignment: &Assignment,
    start_ns: u64,
    pacing: Pacing,
    leash: &Leash,
    totals: &[Totals],
) -> io::Result<(Vec<Client>, Measured)> {
    let mut waiting_clients = clients.into_iter();
    let works = assignment
        .lanes()
        .into_iter()
        .zip(totals)
        .map(|(range, totals)| {
            let clients = waiting_clients.by_ref().take(range.len()).collect();
            match assignment.schedule(start_ns) {
                Some(schedule) => Work::Lane(Box::new(Lane::new(
                    clients, &range, assignment, schedule, pacing, leash, totals,
                ))),
                None => {
                    let end_ns = start_ns.saturating_add(assignment.duration_ns());
                    Work::Flood(Box::new(Flood::new(
                        clients,
                        start_ns,
                        end_ns,
                        assignment.batch,
                        leash,
                        totals,
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
                leash.pull(Pull::Hurry);
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

impl Measured {
    fn add(&mut self, outcome: &Outcome) {
        self.cpu_ns += outcome.cpu_ns;
        self.writes += outcome.desk.writes;
        self.oversleep_ns_max = self.oversleep_ns_max.max(outcome.oversleep_ns_max);
        self.lateness.merge(&outcome.desk.lateness);
        self.real_time_threads += u32::from(outcome.is_real_time);
    }
}

/// What one thread has to do.
enum Work<'a> {
    Lane(Box<Lane<'a>>),
    Flood(Box<Flood<'a>>),
}

impl Work<'_> {
    fn carry_out(self, pin: bool, cores: usize) -> Outcome {
        let core = pin.then(OwnCore::take);
        if let Some(None) = core {
            tracing::warn!("no core is free for this pacing thread alone: it is not pinned");
        }
        match self {
            Self::Lane(lane) => lane.pace(cores),
            Self::Flood(flood) => flood.pour(),
        }
    }
}

/// What came of one thread's share of a run.
pub(crate) struct Outcome {
    pub(crate) clients: Vec<Client>,
    pub(crate) desk: Desk,
    pub(crate) cpu_ns: u64,
    pub(crate) oversleep_ns_max: u64,
    is_real_time: bool,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            clients: Vec::new(),
            desk: Desk::new(),
            cpu_ns: 0,
            oversleep_ns_max: 0,
            is_real_time: false,
        }
    }
}

/// One pacing thread's share of a run.
struct Lane<'a> {
    clients: Vec<Client>,
    /// Of each client, ns after the start; rising, and at most a period.
    offsets_ns: Vec<u64>,
    start_ns: u64,
    volleys: Volleys,
    waiting: Waiting,
    high_priority: bool,
    spins: bool,
    precedence: Precedence,
    leash: &'a Leash,
    totals: &'a Totals,
    outcome: Outcome,
    /// Some client owes packets that the kernel did not take.
    owing: bool,
}

impl<'a> Lane<'a> {
    fn new(
        mut clients: Vec<Client>,
        range: &Range<u32>,
        assignment: &Assignment,
        schedule: Schedule,
        pacing: Pacing,
        leash: &'a Leash,
        totals: &'a Totals,
    ) -> Self {
        let start_ns = schedule.start_ns;
        let offsets_ns: Vec<u64> = clients
            .iter()
            .map(|client| assignment.offset_ns(range, client.index()))
            .collect();
        for (client, offset_ns) in clients.iter_mut().zip(&offsets_ns) {
            client.follow(Schedule {
                start_ns: start_ns.saturating_add(*offset_ns),
                ..schedule
            });
        }
        Self {
            clients,
            offsets_ns,
            start_ns,
            volleys: Volleys::new(schedule),
            waiting: Waiting::new(pacing.wait),
            high_priority: pacing.high_priority,
            spins: pacing.wait == WaitPolicy::Spin,
            precedence: Precedence::none(),
            leash,
            totals,
            outcome: Outcome::new(),
            owing: false,
        }
    }

    fn pace(mut self, cores: usize) -> Outcome {
        clock::wake_precisely();
        match (self.high_priority, self.spins) {
            (false, _) => {}
            (true, false) => self.precedence = Precedence::take(Terms::of_pacer(cores)),
            // A real-time thread has to sleep; before most others it may run all the same.
            (true, true) => precedence::run_first(),
        }
        if self.wait_until(self.start_ns).is_some() {
            let cpu_before_ns = clock::thread_cpu_ns();
            self.serve_volleys();
            self.settle();
            self.outcome.cpu_ns = clock::thread_cpu_ns() - cpu_before_ns;
        }
        self.outcome.is_real_time = self.precedence.is_real_time();
        self.outcome.clients = self.clients;
        self.outcome
    }

    /// Volley after volley, until the last one or until the leash is pulled.
    fn serve_volleys(&mut self) {
        let (mut slot, mut now_ns) = (0, clock::now_ns());
        while let Some(volley) = self.volleys.next(slot, now_ns) {
            for place in 0..self.clients.len() {
                let due_ns = volley.due_ns.saturating_add(self.offsets_ns[place]);
                let Some(come_ns) = self.wait_until(due_ns) else {
                    return;
                };
                now_ns = come_ns;
                let client = &mut self.clients[place];
                client.offer(volley.packets, now_ns, &mut self.outcome.desk);
                self.owing |= client.owes();
                self.publish();
                self.precedence.review(now_ns);
            }
            slot = volley.slot + 1;
        }
    }

    /// Waits for an instant and returns the time, never before it. `None`: the leash was pulled.
    #[inline]
    fn wait_until(&mut self, due_ns: u64) -> Option<u64> {
        loop {
            let now_ns = clock::now_ns();
            if !self.leash.holds(now_ns) {
                return None;
            }
            let nap_ns_max = if self.owing { RETRY_NS } else { NAP_NS_MAX };
            match self.waiting.next(now_ns, due_ns, nap_ns_max) {
                Wait::Over => return Some(now_ns),
                Wait::Spin => hint::spin_loop(),
                Wait::SleepUntil(wake_ns) => self.sleep_until(wake_ns),
            }
        }
    }

    fn sleep_until(&mut self, wake_ns: u64) {
        clock::sleep_until(wake_ns);
        let woken_ns = clock::now_ns();
        let late_ns = woken_ns.saturating_sub(wake_ns);
        self.outcome.oversleep_ns_max = self.outcome.oversleep_ns_max.max(late_ns);
        self.waiting.learn(late_ns);
        if self.owing {
            self.retry(woken_ns);
        }
    }

    /// Tries again with every client that owes.
    fn retry(&mut self, now_ns: u64) {
        self.owing = false;
        for client in self.clients.iter_mut().filter(|client| client.owes()) {
            client.write_owed(now_ns, &mut self.outcome.desk);
            self.owing |= client.owes();
        }
        self.publish();
    }

    /// The schedule is over or cut short: a last chance for what is due, then it is given up.
    fn settle(&mut self) {
        let mut now_ns = clock::now_ns();
        let until_ns = now_ns.saturating_add(BACKLOG_NS);
        for client in &mut self.clients {
            client.offer_due(now_ns, &mut self.outcome.desk);
            self.owing |= client.owes();
        }
        while self.owing && now_ns < until_ns && self.leash.pulled(now_ns) < Pull::Hurry {
            clock::sleep_until(now_ns + RETRY_NS);
            now_ns = clock::now_ns();
            self.retry(now_ns);
        }
        for client in &mut self.clients {
            client.give_up(&mut self.outcome.desk);
        }
        self.publish();
    }

    #[inline]
    fn publish(&self) {
        self.totals.publish(&self.outcome.desk);
    }
}
