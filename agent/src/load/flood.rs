//! A flood: write follows write, as many packets as the connections take.
//!
//! There is no schedule, and no sleep while any connection takes packets: every client with room
//! gets one write a round, and each packet is due at the reading of the clock right before its
//! write. A connection that is full is left alone until the kernel reports room; when all are full,
//! the thread waits for the first. Times are ns of CLOCK_MONOTONIC.
//!
//! Absent on purpose: real-time priority. A thread that never sleeps must leave its core to others.

use metronome_os::clock::{self, timespec};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    load::{
        client::{Client, FloodSend, RETRY_NS},
        client_counters::BACKLOG_NS_MAX,
        live_counters::LiveCounters,
        outcome::ThreadOutcome,
    },
    stop_signal::{CHECK_EVERY_NS, StopMode, StopSignal},
};

/// The share of one thread in a flood.
pub(crate) struct Flood<'a> {
    clients: Vec<Client>,
    /// Which clients took less than they were given, and had no room since.
    is_full: Vec<bool>,
    start_ns: u64,
    end_ns: u64,
    batch: u64,
    stop_signal: &'a StopSignal,
    live_counters: &'a LiveCounters,
    outcome: ThreadOutcome,
    /// The last reading of the clock, ns.
    seen_ns: u64,
}

impl<'a> Flood<'a> {
    /// A flood from `start_ns` to `end_ns` with 1 to 1024 packets per write.
    pub(crate) fn new(
        clients: Vec<Client>,
        start_ns: u64,
        end_ns: u64,
        batch: u32,
        stop_signal: &'a StopSignal,
        live_counters: &'a LiveCounters,
    ) -> Self {
        let is_full = vec![false; clients.len()];
        let outcome = ThreadOutcome::new();
        Self {
            clients,
            is_full,
            start_ns,
            end_ns,
            batch: batch.into(),
            stop_signal,
            live_counters,
            outcome,
            seen_ns: start_ns,
        }
    }

    /// Writes from the start instant to the end of the time, or to a stop request.
    pub(crate) fn run(mut self) -> ThreadOutcome {
        clock::wake_precisely();
        if self.stop_signal.sleep_until(self.start_ns) {
            let cpu_before_ns = clock::thread_cpu_ns();
            while self.round() && self.find_room() {}
            self.settle();
            self.outcome.cpu_ns = clock::thread_cpu_ns() - cpu_before_ns;
        }
        self.outcome.clients = self.clients;
        self.outcome
    }

    /// One write for each client that has room. Returns whether the flood goes on.
    fn round(&mut self) -> bool {
        for place in 0..self.clients.len() {
            if self.is_full[place] {
                continue;
            }
            let Some(now_ns) = self.read_clock(0) else {
                return false;
            };
            let sent =
                self.clients[place].flood_send(self.batch, now_ns, &mut self.outcome.send_buffer);
            self.is_full[place] = sent == FloodSend::Full;
            self.live_counters.publish(&self.outcome.send_buffer);
        }
        true
    }

    /// The time, ns; `None` when the flood is over. A thread that did not get here within
    /// `waited_ns` of its last reading of the clock was held up, which counts like a sleep that
    /// ends late.
    fn read_clock(&mut self, waited_ns: u64) -> Option<u64> {
        let now_ns = clock::now_ns();
        let late_ns = now_ns
            .saturating_sub(self.seen_ns)
            .saturating_sub(waited_ns);
        self.outcome.oversleep_ns_max = self.outcome.oversleep_ns_max.max(late_ns);
        self.seen_ns = now_ns;
        (now_ns < self.end_ns && self.stop_signal.allows_load(now_ns)).then_some(now_ns)
    }

    /// Asks the kernel which of the full connections have room again: without a wait while others
    /// go on, else it waits for the first, but not for longer than the stop signal may go
    /// unchecked. Returns whether any connection is left.
    fn find_room(&mut self) -> bool {
        let is_waiting =
            |(place, client): &(usize, &Client)| self.is_full[*place] && !client.is_broken();
        let (places, mut waits): (Vec<usize>, Vec<PollFd<'_>>) = (self.clients.iter().enumerate())
            .filter(is_waiting)
            .map(|(place, client)| (place, PollFd::new(&client.connection, PollFlags::OUT)))
            .unzip();
        let all_full = self.is_full.iter().all(|is_full| *is_full);
        if waits.is_empty() {
            return !all_full;
        }
        let left_ns = self.end_ns.saturating_sub(self.seen_ns).min(CHECK_EVERY_NS);
        let wait_ns = if all_full { left_ns } else { 0 };
        // An interrupted wait ends early, and the next look finds out.
        let _ = poll(&mut waits, Some(&timespec(wait_ns)));
        let has_room: Vec<bool> = waits
            .iter()
            .map(|wait| !wait.revents().is_empty())
            .collect();
        for (place, has_room) in places.into_iter().zip(has_room) {
            self.is_full[place] = !has_room;
        }
        self.read_clock(wait_ns).is_some()
    }

    /// Finishes packets that were written in part, if there is room for their rest soon.
    fn settle(&mut self) {
        let until_ns = clock::now_ns().saturating_add(BACKLOG_NS_MAX);
        loop {
            let now_ns = clock::now_ns();
            let mut is_unfinished = false;
            for client in self
                .clients
                .iter_mut()
                .filter(|client| client.has_backlog())
            {
                is_unfinished |= client.retry_partial(&mut self.outcome.send_buffer);
            }
            self.live_counters.publish(&self.outcome.send_buffer);
            if !is_unfinished
                || now_ns >= until_ns
                || self.stop_signal.requested(now_ns) == Some(StopMode::Abort)
            {
                return;
            }
            clock::sleep_until(now_ns + RETRY_NS);
        }
    }
}
