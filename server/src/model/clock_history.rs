//! What the exchanges between runs prove of the offset of an agent's clock, for the runs that come.
//! Pure; times in ns.
//!
//! Server and agent exchange readings once a second over their control connection, of the same two
//! clocks that the probes of a run read. Each exchange proves two inequalities as a probe does,
//! whatever the path. They are a second apart and so show the rate of the clocks well, which the
//! probes of a run's first seconds do not. Since they are older than the run, its rate may be
//! another one by now: each inequality is taken wider by [`RATE_CHANGE_MAX`] of its age.
//!
//! Absent: what contradicts them ([`super::clock_window`]).

use std::collections::VecDeque;

/// Exchanges are kept for so long.
const HISTORY_NS: u64 = 180_000_000_000;
/// Those that are kept: one a second, and a session's first ones.
const EXCHANGES_MAX: usize = 256;
/// The clocks may run apart by so much more or less in a run than in the history before it, as a
/// fraction.
const RATE_CHANGE_MAX: f64 = 2e-6;

/// The readings of an exchange that the server began, in the order in which they were taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FourReadings {
    /// The server's.
    pub(crate) asked_ns: u64,
    /// The agent's.
    pub(crate) received_ns: u64,
    /// The agent's.
    pub(crate) sent_ns: u64,
    /// The server's.
    pub(crate) answered_ns: u64,
}

/// The exchanges of the last [`HISTORY_NS`], by the time of sending.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClockHistory {
    exchanges: VecDeque<FourReadings>,
}

/// The server's reading less the agent's is at most, or at least, `server_ns − at_ns`, when the
/// agent's is `at_ns`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) at_ns: u64,
    pub(super) server_ns: u64,
    /// So much wider, ns.
    pub(super) wider_ns: f64,
}

impl ClockHistory {
    /// Takes an exchange. One that an agent has sent before another that has come is of a clock
    /// that went back: the history begins anew with it.
    pub(super) fn add(&mut self, exchange: FourReadings) {
        let went_back = |last: &FourReadings| exchange.sent_ns < last.sent_ns;
        if self.exchanges.back().is_some_and(went_back) {
            self.exchanges.clear();
        }
        let from_ns = exchange.sent_ns.saturating_sub(HISTORY_NS);
        while self.exchanges.len() == EXCHANGES_MAX
            || (self.exchanges.front()).is_some_and(|oldest| oldest.sent_ns < from_ns)
        {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(exchange);
    }

    /// The agent's clock at the newest exchange. `None` without one.
    pub(super) fn newest_ns(&self) -> Option<u64> {
        Some(self.exchanges.back()?.sent_ns)
    }

    /// What the offset was at most, for a run whose first probe was sent at `run_ns` of the agent's
    /// clock.
    pub(super) fn most(&self, run_ns: u64) -> impl Iterator<Item = Limit> {
        let exchanges = self.exchanges.iter();
        exchanges.map(move |of| limit(of.sent_ns, of.answered_ns, run_ns))
    }

    /// What it was at least.
    pub(super) fn least(&self, run_ns: u64) -> impl Iterator<Item = Limit> {
        let exchanges = self.exchanges.iter();
        exchanges.map(move |of| limit(of.received_ns, of.asked_ns, run_ns))
    }
}

fn limit(at_ns: u64, server_ns: u64, run_ns: u64) -> Limit {
    Limit {
        at_ns,
        server_ns,
        wider_ns: run_ns.saturating_sub(at_ns) as f64 * RATE_CHANGE_MAX,
    }
}
