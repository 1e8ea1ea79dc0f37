//! What may end the load of a run at any time: an order to stop, or a lease that nobody renews.
//!
//! One leash per run, held by the control side and looked at by every thread of the run on its own,
//! so that load ends even when the control side hangs. Times are ns of CLOCK_MONOTONIC.

use std::sync::{
    OnceLock,
    atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

use metronome_os::clock;

/// Longest that a thread may go without looking at its leash.
pub(crate) const LOOK_EVERY_NS: u64 = 50_000_000;

/// Set once by the control side, read by all threads of a run.
#[derive(Debug)]
pub(crate) struct Leash {
    pull: AtomicU8,
    lease_until_ns: AtomicU64,
    /// Set by the first who finds that nobody holds the lease any more.
    why_lost: OnceLock<&'static str>,
}

/// How hard the leash is pulled.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub(crate) enum Pull {
    /// Carry on.
    None = 0,
    /// The schedule ends now; what is due is still written and the ends are exchanged.
    Stop = 1,
    /// As Stop, but within 2 s whatever the peers do: this process is about to end, or nobody
    /// renews the lease.
    Hurry = 2,
}

impl Leash {
    /// A leash that gives way at `lease_until_ns` unless it is renewed.
    pub(crate) fn new(lease_until_ns: u64) -> Self {
        Self {
            pull: AtomicU8::new(Pull::None as u8),
            lease_until_ns: AtomicU64::new(lease_until_ns),
            why_lost: OnceLock::new(),
        }
    }

    /// A leash without a lease: only an order ends the load.
    pub(crate) fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Moves the end of the lease.
    pub(crate) fn renew(&self, lease_until_ns: u64) {
        self.lease_until_ns.store(lease_until_ns, Relaxed);
    }

    /// Pulls; a harder pull than this stays.
    pub(crate) fn pull(&self, pull: Pull) {
        self.pull.fetch_max(pull as u8, Relaxed);
    }

    /// Pulls hard, since nobody holds the lease any more, for this reason. The first reason stays.
    pub(crate) fn lose(&self, why: &'static str) {
        let _ = self.why_lost.set(why);
        self.pull(Pull::Hurry);
    }

    /// How it stands at `now_ns`.
    #[inline]
    pub(crate) fn pulled(&self, now_ns: u64) -> Pull {
        if now_ns >= self.lease_until_ns.load(Relaxed) {
            // For good: a late renewal must not bring back some threads of a run and others not.
            self.lose("the server did not renew it in time");
        }
        match self.pull.load(Relaxed) {
            0 => Pull::None,
            1 => Pull::Stop,
            _ => Pull::Hurry,
        }
    }

    /// Why the lease is lost, if it is.
    pub(crate) fn why_lost(&self) -> Option<&'static str> {
        self.why_lost.get().copied()
    }

    /// Whether the load may go on.
    #[inline]
    pub(crate) fn holds(&self, now_ns: u64) -> bool {
        self.pulled(now_ns) == Pull::None
    }

    /// Sleeps until `wake_ns`, or less when the leash is pulled. Returns whether it still holds.
    pub(crate) fn sleep_until(&self, wake_ns: u64) -> bool {
        loop {
            let now_ns = clock::now_ns();
            if !self.holds(now_ns) {
                return false;
            }
            if now_ns >= wake_ns {
                return true;
            }
            clock::sleep_until(wake_ns.min(now_ns + LOOK_EVERY_NS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_by_itself_unless_it_is_renewed() {
        let leash = Leash::new(50);
        assert!(leash.holds(49));
        leash.renew(100);
        assert!(leash.holds(99));
        assert_eq!(leash.pulled(100), Pull::Hurry);
        leash.renew(200);
        assert!(
            !leash.holds(150),
            "a lease that was seen to have ended is not renewed"
        );
    }

    #[test]
    fn a_lost_lease_keeps_the_first_reason_and_a_pull_is_no_loss() {
        let leash = Leash::new(50);
        leash.pull(Pull::Stop);
        assert_eq!((leash.pulled(49), leash.why_lost()), (Pull::Stop, None));
        leash.lose("the stream ended");
        assert_eq!(
            (leash.pulled(50), leash.why_lost()),
            (Pull::Hurry, Some("the stream ended"))
        );
    }

    #[test]
    fn a_pull_only_gets_harder() {
        let leash = Leash::unlimited();
        assert!(leash.holds(u64::MAX - 1));
        leash.pull(Pull::Hurry);
        leash.pull(Pull::Stop);
        assert_eq!(leash.pulled(0), Pull::Hurry);
    }
}
