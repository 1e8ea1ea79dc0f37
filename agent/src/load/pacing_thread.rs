//! One pacing thread: its clients, and all that a load with a schedule ([`super::paced`]) and a
//! flood ([`super::flood`]) have in common: priority, the wait for an instant, packets that the
//! kernel did not take, the end of the load, what the thread has measured about itself.
//!
//! [`super::pacing`] decides how to wait; here are the clock, the sleeps and the clients. Times are
//! ns of CLOCK_MONOTONIC. A connection that takes nothing delays no other client: its packets stay
//! in its backlog, which is tried again after every sleep, at least every [`RETRY_NS`].

use std::hint;

use metronome_os::{
    clock,
    realtime::{self, CpuBudget, Granted, Realtime},
};
use metronome_proto::v1::ThreadPriority;

use crate::{
    load::{
        client::{Client, RETRY_NS},
        client_counters::BACKLOG_NS_MAX,
        live_counters::LiveCounters,
        outcome::ThreadOutcome,
        pacing::{NAP_NS_MAX, Pacer, PacingOptions, Wait, WaitPolicy},
    },
    stop_signal::{StopMode, StopSignal},
};

/// The share of one pacing thread in a run.
pub(crate) struct PacingThread<'a> {
    pub(super) clients: Vec<Client>,
    pub(super) stop_signal: &'a StopSignal,
    pub(super) outcome: ThreadOutcome,
    start_ns: u64,
    is_announced: bool,
    /// The last reading of the clock, ns.
    seen_ns: u64,
    pacer: Pacer,
    priority: Priority,
    realtime: Realtime,
    live_counters: &'a LiveCounters,
    /// Some client has due packets that the kernel did not take.
    has_backlog: bool,
}

/// When a run begins, for all of its threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunStart {
    /// Ns of CLOCK_MONOTONIC.
    pub start_ns: u64,
    /// Whether each client sends from where its due times count, before its first packet.
    pub is_announced: bool,
}

/// What a thread may ask of the scheduler.
#[derive(Clone, Copy, Debug)]
enum Priority {
    /// Nothing: a thread of a flood never sleeps, so it must leave its core to others.
    Ordinary,
    /// nice -10, for a thread that spins: a real-time thread has to sleep.
    Nice,
    /// Real-time, where a core is left for others.
    RealTime,
}

/// What the scheduler grants to the calling thread now.
fn granted() -> ThreadPriority {
    match Granted::of(None) {
        None => ThreadPriority::Unspecified,
        Some(Granted::Ordinary) => ThreadPriority::Ordinary,
        Some(Granted::RaisedNice) => ThreadPriority::RaisedNice,
        Some(Granted::RealTime) => ThreadPriority::RealTime,
    }
}

impl<'a> PacingThread<'a> {
    /// A thread for `clients`, all of them floods or all of them with their schedules.
    pub(crate) fn new(
        clients: Vec<Client>,
        is_flood: bool,
        run: &RunStart,
        pacing: PacingOptions,
        stop_signal: &'a StopSignal,
        live_counters: &'a LiveCounters,
    ) -> Self {
        let priority = match (pacing.high_priority && !is_flood, pacing.wait) {
            (false, _) => Priority::Ordinary,
            (true, WaitPolicy::Spin) => Priority::Nice,
            (true, WaitPolicy::Sleep | WaitPolicy::Hybrid) => Priority::RealTime,
        };
        Self {
            clients,
            stop_signal,
            outcome: ThreadOutcome::new(is_flood),
            start_ns: run.start_ns,
            seen_ns: run.start_ns,
            is_announced: run.is_announced,
            pacer: Pacer::new(pacing.wait),
            priority,
            realtime: Realtime::none(),
            live_counters,
            has_backlog: false,
        }
    }

    /// Lets `serve` carry out the load once the start instant has come, and settles what it leaves.
    /// `cores` are those that this process may use.
    pub(crate) fn run(mut self, cores: usize, serve: impl FnOnce(&mut Self)) -> ThreadOutcome {
        clock::wake_precisely();
        match self.priority {
            Priority::Ordinary => {}
            Priority::Nice => realtime::raise_nice(),
            Priority::RealTime => self.realtime = Realtime::take(CpuBudget::pacer(cores)),
        }
        if self.is_announced {
            for client in &mut self.clients {
                client.send_start(self.start_ns, &mut self.outcome.send_buffer);
            }
        }
        if self.wait_until(self.start_ns).is_some() {
            let cpu_before_ns = clock::thread_cpu_ns();
            let at_first = granted();
            serve(&mut self);
            self.outcome.priority = match self.realtime.has_changed() {
                true => ThreadPriority::Mixed,
                false => at_first.with(granted()),
            };
            self.settle();
            self.outcome.cpu_ns = clock::thread_cpu_ns() - cpu_before_ns;
        }
        self.outcome.is_real_time = self.realtime.is_real_time();
        self.outcome.clients = self.clients;
        self.outcome
    }

    /// The last reading of the clock, ns.
    #[inline]
    pub(super) fn seen_ns(&self) -> u64 {
        self.seen_ns
    }

    /// Waits for an instant and returns the time, never before it. `None`: a stop was requested.
    #[inline]
    pub(super) fn wait_until(&mut self, due_ns: u64) -> Option<u64> {
        loop {
            let now_ns = clock::now_ns();
            if !self.stop_signal.allows_load(now_ns) {
                return None;
            }
            let nap_ns_max = if self.has_backlog {
                RETRY_NS
            } else {
                NAP_NS_MAX
            };
            match self.pacer.next(now_ns, due_ns, nap_ns_max) {
                Wait::Over => {
                    self.seen_ns = now_ns;
                    return Some(now_ns);
                }
                Wait::Spin => hint::spin_loop(),
                Wait::SleepUntil(wake_ns) => self.sleep_until(wake_ns),
            }
        }
    }

    /// The time, ns. A thread that did not get here within `waited_ns` of its last reading of the
    /// clock was held up, which counts like a sleep that ends late.
    #[inline]
    pub(super) fn read_clock(&mut self, waited_ns: u64) -> u64 {
        let now_ns = clock::now_ns();
        let late_ns = now_ns
            .saturating_sub(self.seen_ns)
            .saturating_sub(waited_ns);
        self.outcome.oversleep_ns_max = self.outcome.oversleep_ns_max.max(late_ns);
        self.seen_ns = now_ns;
        now_ns
    }

    /// The first `packets` of the schedule of the client at `index` are due at `now_ns`: writes
    /// those that are not settled.
    #[inline]
    pub(super) fn send_due(&mut self, index: usize, packets: u64, now_ns: u64) {
        let client = &mut self.clients[index];
        client.send_due(packets, now_ns, &mut self.outcome.send_buffer);
        self.has_backlog |= client.has_backlog();
        self.publish();
        self.realtime.review(now_ns);
    }

    /// Makes the counters of this thread visible to others; ends the load of the run where a
    /// payload source has failed.
    #[inline]
    pub(super) fn publish(&self) {
        self.live_counters.publish(&self.outcome.send_buffer);
        if self.outcome.send_buffer.has_failed_source {
            // The load of the other clients alone is not what was asked for.
            self.stop_signal.request(StopMode::Drain);
        }
    }

    fn sleep_until(&mut self, wake_ns: u64) {
        clock::sleep_until(wake_ns);
        let woken_ns = clock::now_ns();
        let late_ns = woken_ns.saturating_sub(wake_ns);
        self.outcome.oversleep_ns_max = self.outcome.oversleep_ns_max.max(late_ns);
        self.pacer.learn(late_ns);
        if self.has_backlog {
            self.retry(woken_ns);
        }
    }

    /// Tries again with every client that has a backlog.
    fn retry(&mut self, now_ns: u64) {
        self.has_backlog = false;
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.has_backlog())
        {
            client.write_backlog(now_ns, &mut self.outcome.send_buffer);
            self.has_backlog |= client.has_backlog();
        }
        self.publish();
    }

    /// The load is over or cut short: tries for at most [`BACKLOG_NS_MAX`] to write what is due,
    /// the rest of partly written packets included, then skips what is left.
    fn settle(&mut self) {
        let mut now_ns = clock::now_ns();
        let until_ns = now_ns.saturating_add(BACKLOG_NS_MAX);
        for client in &mut self.clients {
            client.send_due_by(now_ns, &mut self.outcome.send_buffer);
            self.has_backlog |= client.has_backlog();
        }
        while self.has_backlog
            && now_ns < until_ns
            && self.stop_signal.requested(now_ns) != Some(StopMode::Abort)
        {
            clock::sleep_until(now_ns + RETRY_NS);
            now_ns = clock::now_ns();
            self.retry(now_ns);
        }
        for client in &mut self.clients {
            client.skip_backlog(&mut self.outcome.send_buffer);
        }
        self.publish();
    }
}
