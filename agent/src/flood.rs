//! A flood: write follows write, as many packets as the connections take.
//!
//! No schedule and no sleep while any connection takes something: every client gets one write a round,
//! and each packet is due at the reading of the clock right before its write. A thread whose
//! connections are all full waits for the first that has room again. Times are ns of CLOCK_MONOTONIC.
//!
//! Absent on purpose: precedence. A thread that never sleeps must leave its core to others.

use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    client::{BACKLOG_NS, Client},
    clock,
    connection::timespec,
    generator::{Outcome, Totals},
    leash::{LOOK_EVERY_NS, Leash, Pull},
};

/// When a connection that took only part of its last packet is tried again, ns.
const MEND_AGAIN_NS: u64 = 1_000_000;

/// One thread's share of a flood.
pub(crate) struct Flood<'a> {
    pub(crate) clients: Vec<Client>,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// Packets per write, 1 to 1024.
    pub(crate) batch: u64,
    pub(crate) leash: &'a Leash,
    pub(crate) totals: &'a Totals,
}

impl Flood<'_> {
    /// Writes from the start instant to the end of the time, or to a pull of the leash.
    pub(crate) fn pour(mut self) -> Outcome {
        let mut outcome = Outcome::new();
        clock::wake_precisely();
        if self.wait_for_start() {
            let cpu_before_ns = clock::thread_cpu_ns();
            while self.round(&mut outcome) {}
            self.settle(&mut outcome);
            outcome.cpu_ns = clock::thread_cpu_ns() - cpu_before_ns;
        }
        outcome.clients = self.clients;
        outcome
    }

    fn wait_for_start(&self) -> bool {
        loop {
            let now_ns = clock::now_ns();
            if !self.leash.holds(now_ns) {
                return false;
            }
            if now_ns >= self.start_ns {
                return true;
            }
            clock::sleep_until(self.start_ns.min(now_ns + LOOK_EVERY_NS));
        }
    }

    /// One write for each client. Whether there is to be another round.
    fn round(&mut self, outcome: &mut Outcome) -> bool {
        let mut has_written = false;
        for client in &mut self.clients {
            let now_ns = clock::now_ns();
            if now_ns >= self.end_ns || !self.leash.holds(now_ns) {
                return false;
            }
            has_written |= client.pour(self.batch, now_ns, &mut outcome.desk);
            self.totals.publish(&outcome.desk);
        }
        has_written || self.wait_for_room()
    }

    /// Waits until a connection takes data again, but not for longer than the leash may go unseen. Whether any
    /// is left that could.
    fn wait_for_room(&self) -> bool {
        let connections = self.clients.iter().filter(|client| !client.is_broken()).map(|client| &client.connection);
        let mut waits: Vec<_> = connections.map(|connection| PollFd::new(connection, PollFlags::OUT)).collect();
        if waits.is_empty() {
            return false;
        }
        let left_ns = self.end_ns.saturating_sub(clock::now_ns());
        // An interrupted wait ends early, and the next round finds out.
        let _ = poll(&mut waits, Some(&timespec(left_ns.min(LOOK_EVERY_NS))));
        true
    }

    /// A packet that was torn gets its rest, if there is room for it soon.
    fn settle(&mut self, outcome: &mut Outcome) {
        let until_ns = clock::now_ns().saturating_add(BACKLOG_NS);
        loop {
            let now_ns = clock::now_ns();
            let torn = self.clients.iter_mut().filter(|client| client.owes());
            let still_torn = torn.filter_map(|client| (!client.finish_torn(&mut outcome.desk)).then_some(())).count();
            self.totals.publish(&outcome.desk);
            if still_torn == 0 || now_ns >= until_ns || self.leash.pulled(now_ns) == Pull::Hurry {
                return;
            }
            clock::sleep_until(now_ns + MEND_AGAIN_NS);
        }
    }
}
