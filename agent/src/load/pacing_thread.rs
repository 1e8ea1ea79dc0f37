//! One pacing thread with a schedule: wait until a client is due, write its packets, go on with the
//! next client.
//!
//! [`super::ticks`] decides when each client is due, [`super::pacing`] how the thread waits for it;
//! here are the clock, the sleeps and the clients. Times are ns of CLOCK_MONOTONIC. A connection
//! that takes nothing delays no other client: its packets stay in its backlog, which is tried again
//! after every sleep, at least every [`RETRY_NS`].

use std::{hint, ops::Range};

use metronome_os::{
    clock,
    realtime::{self, CpuBudget, Realtime},
};
use metronome_proto::schedule::Schedule;

use crate::{
    load::{
        assignment::Assignment,
        client::{Client, RETRY_NS},
        client_counters::BACKLOG_NS_MAX,
        live_counters::LiveCounters,
        outcome::ThreadOutcome,
        pacing::{NAP_NS_MAX, Pacer, PacingOptions, Wait, WaitPolicy},
        ticks::Ticks,
    },
    stop_signal::{StopMode, StopSignal},
};

/// The share of one pacing thread in a run.
pub(crate) struct PacingThread<'a> {
    clients: Vec<Client>,
    /// How long after a tick each client is due, ns; rising, and less than a period.
    offsets_ns: Vec<u64>,
    start_ns: u64,
    ticks: Ticks,
    pacer: Pacer,
    high_priority: bool,
    spins: bool,
    realtime: Realtime,
    stop_signal: &'a StopSignal,
    live_counters: &'a LiveCounters,
    outcome: ThreadOutcome,
    /// Some client has due packets that the kernel did not take.
    has_backlog: bool,
}

impl<'a> PacingThread<'a> {
    /// A thread for `clients`, which have the indices of `range`.
    pub(crate) fn new(
        mut clients: Vec<Client>,
        range: &Range<u32>,
        assignment: &Assignment,
        schedule: Schedule,
        pacing: PacingOptions,
        stop_signal: &'a StopSignal,
        live_counters: &'a LiveCounters,
    ) -> Self {
        let start_ns = schedule.start_ns;
        let offsets_ns: Vec<u64> = clients
            .iter()
            .map(|client| assignment.offset_ns(range, client.index()))
            .collect();
        for (client, offset_ns) in clients.iter_mut().zip(&offsets_ns) {
            client.set_schedule(Schedule {
                start_ns: start_ns.saturating_add(*offset_ns),
                ..schedule
            });
        }
        Self {
            clients,
            offsets_ns,
            start_ns,
            ticks: Ticks::new(schedule),
            pacer: Pacer::new(pacing.wait),
            high_priority: pacing.high_priority,
            spins: pacing.wait == WaitPolicy::Spin,
            realtime: Realtime::none(),
            stop_signal,
            live_counters,
            outcome: ThreadOutcome::new(),
            has_backlog: false,
        }
    }

    /// Carries out the schedule. `cores` are those that this process may use.
    pub(crate) fn run(mut self, cores: usize) -> ThreadOutcome {
        clock::wake_precisely();
        match (self.high_priority, self.spins) {
            (false, _) => {}
            (true, false) => self.realtime = Realtime::take(CpuBudget::pacer(cores)),
            // A real-time thread has to sleep; one that spins gets nice -10 instead.
            (true, true) => realtime::raise_nice(),
        }
        if self.wait_until(self.start_ns).is_some() {
            let cpu_before_ns = clock::thread_cpu_ns();
            self.serve_ticks();
            self.settle();
            self.outcome.cpu_ns = clock::thread_cpu_ns() - cpu_before_ns;
        }
        self.outcome.is_real_time = self.realtime.is_real_time();
        self.outcome.clients = self.clients;
        self.outcome
    }

    /// Serves tick after tick, until the last one or until a stop is requested.
    fn serve_ticks(&mut self) {
        let (mut index, mut now_ns) = (0, clock::now_ns());
        while let Some(tick) = self.ticks.next(index, now_ns) {
            for place in 0..self.clients.len() {
                let due_ns = tick.due_ns.saturating_add(self.offsets_ns[place]);
                let Some(reached_ns) = self.wait_until(due_ns) else {
                    return;
                };
                now_ns = reached_ns;
                let client = &mut self.clients[place];
                client.send_due(tick.packets, now_ns, &mut self.outcome.send_buffer);
                self.has_backlog |= client.has_backlog();
                self.publish();
                self.realtime.review(now_ns);
            }
            index = tick.index + 1;
        }
    }

    /// Waits for an instant and returns the time, never before it. `None`: a stop was requested.
    #[inline]
    fn wait_until(&mut self, due_ns: u64) -> Option<u64> {
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

    /// The schedule is over or cut short: tries for at most [`BACKLOG_NS_MAX`] to write what is
    /// due, then skips the rest.
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

    #[inline]
    fn publish(&self) {
        self.live_counters.publish(&self.outcome.send_buffer);
    }
}
