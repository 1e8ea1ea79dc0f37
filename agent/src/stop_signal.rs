//! What may end the load of a run at any time: an order to stop, or a server that no longer stands
//! behind it.
//!
//! Each run has one signal. The control side sets it, and every thread of the run reads it on its
//! own, so that load ends even when the control side hangs. Times are ns of CLOCK_MONOTONIC.

use std::sync::{
    OnceLock,
    atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

use metronome_os::clock;
use metronome_proto::v1::{Failure, FailureCode};

/// Longest time that a thread may go without checking its stop signal, ns.
pub(crate) const CHECK_EVERY_NS: u64 = 50_000_000;

/// Set once by the control side, read by all threads of a run.
#[derive(Debug)]
pub(crate) struct StopSignal {
    /// 0, or the highest [`StopMode`] that was requested.
    mode: AtomicU8,
    lease_until_ns: AtomicU64,
    /// How long the lease was when it was renewed last, for the sentence.
    lease_ns: AtomicU64,
    /// Set once, by whichever thread finds it first.
    orphaned: OnceLock<Orphaned>,
}

/// For how long a run may go on without a Renew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// When it was made or renewed, ns.
    pub(crate) from_ns: u64,
    pub(crate) length_ns: u64,
}

impl Lease {
    fn until_ns(self) -> u64 {
        self.from_ns.saturating_add(self.length_ns)
    }
}

/// Why a run has no server any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Orphaned {
    /// No Renew came in time.
    LeaseOver,
    /// Renews came and did not list it.
    NotListed,
}

/// How the load of a run ends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub(crate) enum StopMode {
    /// The schedule ends now; packets that are due are still written and the ends are exchanged.
    Drain = 1,
    /// Like Drain, but within 2 s whatever the peers do: this process is about to end, or the run
    /// is orphaned, and then without packets after 0.2 s.
    Abort = 2,
}

impl StopSignal {
    /// A signal that aborts the load at the end of the lease unless that is renewed.
    pub(crate) fn new(lease: Lease) -> Self {
        Self {
            mode: AtomicU8::new(0),
            lease_until_ns: AtomicU64::new(lease.until_ns()),
            lease_ns: AtomicU64::new(lease.length_ns),
            orphaned: OnceLock::new(),
        }
    }

    /// A signal without a lease: only a request ends the load.
    pub(crate) fn without_lease() -> Self {
        Self::new(Lease {
            from_ns: 0,
            length_ns: u64::MAX,
        })
    }

    /// Moves the end of the lease.
    pub(crate) fn renew(&self, lease: Lease) {
        self.lease_ns.store(lease.length_ns, Relaxed);
        self.lease_until_ns.store(lease.until_ns(), Relaxed);
    }

    /// Asks the load to end. A drain becomes an abort, but never the reverse.
    pub(crate) fn request(&self, mode: StopMode) {
        self.mode.fetch_max(mode as u8, Relaxed);
    }

    /// Aborts the load because the run has no server any more. The first reason stays.
    pub(crate) fn orphan(&self, why: Orphaned) {
        let _ = self.orphaned.set(why);
        self.request(StopMode::Abort);
    }

    /// What is requested at `now_ns`; `None` while the load may go on.
    #[inline]
    pub(crate) fn requested(&self, now_ns: u64) -> Option<StopMode> {
        if now_ns >= self.lease_until_ns.load(Relaxed) {
            // For good: a late renewal must not bring back some threads of a run and others not.
            self.orphan(Orphaned::LeaseOver);
        }
        match self.mode.load(Relaxed) {
            0 => None,
            1 => Some(StopMode::Drain),
            _ => Some(StopMode::Abort),
        }
    }

    /// Why the run has no server any more; `None` while it has.
    pub(crate) fn orphaned(&self) -> Option<Orphaned> {
        self.orphaned.get().copied()
    }

    /// Why the load may not go on at `now_ns`, as data; `None` while it may.
    pub(crate) fn failure(&self, now_ns: u64) -> Option<Failure> {
        let mode = self.requested(now_ns)?;
        Some(match (self.orphaned(), mode) {
            (Some(Orphaned::LeaseOver), _) => self.lease_over(),
            (Some(Orphaned::NotListed), _) => Failure::new(
                FailureCode::RunNotListed,
                "the server did not list the run among those of this agent any more",
            ),
            (None, StopMode::Abort) => {
                Failure::new(FailureCode::AgentShutDown, "the agent was shut down")
            }
            (None, StopMode::Drain) => Failure::new(
                FailureCode::Stopped,
                "the run was stopped before its first packet was due",
            ),
        })
    }

    fn lease_over(&self) -> Failure {
        let seconds = self.lease_ns.load(Relaxed) as f64 / 1e9;
        let sentence = format!("the server did not renew the agent's lease for {seconds} s");
        Failure::new(FailureCode::LeaseOver, sentence)
    }

    /// Whether the load may go on.
    #[inline]
    pub(crate) fn allows_load(&self, now_ns: u64) -> bool {
        self.requested(now_ns).is_none()
    }

    /// Sleeps until `wake_ns`, or less when a stop is requested. Returns whether the load may go
    /// on.
    pub(crate) fn sleep_until(&self, wake_ns: u64) -> bool {
        loop {
            let now_ns = clock::now_ns();
            if !self.allows_load(now_ns) {
                return false;
            }
            if now_ns >= wake_ns {
                return true;
            }
            clock::sleep_until(wake_ns.min(now_ns + CHECK_EVERY_NS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(length_ns: u64) -> Lease {
        Lease {
            from_ns: 0,
            length_ns,
        }
    }

    #[test]
    fn a_lease_ends_by_itself_unless_it_is_renewed() {
        let stop_signal = StopSignal::new(until(50));
        assert!(stop_signal.allows_load(49));
        stop_signal.renew(until(100));
        assert!(stop_signal.allows_load(99));
        assert_eq!(stop_signal.requested(100), Some(StopMode::Abort));
        stop_signal.renew(until(200));
        assert!(
            !stop_signal.allows_load(150),
            "a lease that was seen to have ended is not renewed"
        );
    }

    #[test]
    fn how_long_the_server_did_not_renew_the_lease_is_in_the_sentence() {
        let stop_signal = StopSignal::new(until(50));
        stop_signal.renew(Lease {
            from_ns: 40,
            length_ns: 3_000_000_000,
        });
        let failure = stop_signal.failure(3_000_000_040);
        let sentence = failure.map(|failure| failure.sentence);
        assert!(sentence.is_some_and(|sentence| sentence.ends_with("lease for 3 s")));
    }

    #[test]
    fn an_orphaned_run_keeps_the_first_reason_and_a_request_orphans_none() {
        let stop_signal = StopSignal::new(until(50));
        stop_signal.request(StopMode::Drain);
        assert_eq!(
            (stop_signal.requested(49), stop_signal.orphaned()),
            (Some(StopMode::Drain), None)
        );
        stop_signal.orphan(Orphaned::NotListed);
        assert_eq!(
            (stop_signal.requested(50), stop_signal.orphaned()),
            (Some(StopMode::Abort), Some(Orphaned::NotListed))
        );
    }

    #[test]
    fn each_end_before_the_time_has_a_code_of_its_own() {
        let code = |end: fn(&StopSignal)| {
            let stop_signal = StopSignal::new(until(50));
            assert_eq!(stop_signal.failure(49), None);
            end(&stop_signal);
            stop_signal.failure(49).map(|failure| failure.code())
        };
        assert_eq!(
            code(|s| s.request(StopMode::Drain)),
            Some(FailureCode::Stopped)
        );
        assert_eq!(
            code(|s| s.request(StopMode::Abort)),
            Some(FailureCode::AgentShutDown)
        );
        assert_eq!(
            code(|s| s.orphan(Orphaned::NotListed)),
            Some(FailureCode::RunNotListed)
        );
        let expired = StopSignal::new(until(50))
            .failure(50)
            .map(|failure| failure.code());
        assert_eq!(expired, Some(FailureCode::LeaseOver));
    }

    #[test]
    fn a_drain_becomes_an_abort_but_not_the_reverse() {
        let stop_signal = StopSignal::without_lease();
        assert!(stop_signal.allows_load(u64::MAX - 1));
        stop_signal.request(StopMode::Abort);
        stop_signal.request(StopMode::Drain);
        assert_eq!(stop_signal.requested(0), Some(StopMode::Abort));
    }
}
