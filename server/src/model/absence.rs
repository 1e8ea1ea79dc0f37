//! When a worker was away: it should have come round and did not, since it was stopped, got no
//! core, or was busy with one thing. Times in ns of CLOCK_MONOTONIC. Pure.

/// How much later than it should it comes round at least to count as away, ns. A turn that serves
/// many connections takes less.
const LATE_NS_MIN: u64 = 10_000_000;

/// A worker that has clients comes round at least this often, ns, so that it sees how long it was
/// away.
pub(crate) const WAIT_WITH_CLIENTS_MAX_NS: u64 = 20_000_000;

/// How much later than it was the server may hear of an absence, ns: it asks twice a second, and
/// the worker counts when it comes round.
pub(crate) const HEARD_OF_NS_MAX: i64 = 2_000_000_000;

/// For how long a worker that had clients was away when it died, after so long without a sign of
/// life, ns: at most as long as it really was.
pub(crate) fn away_at_death_ns(silent_ns: u64) -> u64 {
    let late_ns = silent_ns.saturating_sub(WAIT_WITH_CLIENTS_MAX_NS);
    if late_ns >= LATE_NS_MIN { late_ns } else { 0 }
}

/// From one turn of the loop to the next.
#[derive(Debug)]
pub(crate) struct Absence {
    /// When it was here last.
    here_ns: u64,
    /// Up to when it may wait.
    due_ns: u64,
}

impl Absence {
    /// It is here, and waits for nothing.
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            here_ns: now_ns,
            due_ns: now_ns,
        }
    }

    /// It may wait for so long from when it was here last.
    #[inline]
    pub(crate) fn may_wait(&mut self, wait_ns: u64) {
        self.due_ns = self.here_ns.saturating_add(wait_ns);
    }

    /// It is here again, whatever it did meanwhile. For how long it was away: at most as long as it
    /// really was, since the wait may have been shorter. `None` when it was in time.
    #[inline]
    pub(crate) fn here(&mut self, now_ns: u64) -> Option<u64> {
        let late_ns = now_ns.saturating_sub(self.due_ns);
        // A time of a read may be earlier than what was read of the clock since.
        self.here_ns = self.here_ns.max(now_ns);
        self.due_ns = self.here_ns;
        (late_ns >= LATE_NS_MIN).then_some(late_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_dies_was_away_since_it_should_have_come_round() {
        for (silent_ns, away_ns) in [
            (29_999_999, 0),
            (30_000_000, 10_000_000),
            (u64::MAX, u64::MAX - 20_000_000),
        ] {
            assert_eq!(away_at_death_ns(silent_ns), away_ns);
        }
    }

    #[test]
    fn a_wait_that_was_allowed_is_no_absence_and_what_comes_on_top_is() {
        let mut absence = Absence::new(1_000);
        absence.may_wait(20_000_000);
        assert_eq!(absence.here(25_000_000), None, "it waited");
        absence.may_wait(0);
        assert_eq!(
            absence.here(125_000_000),
            Some(100_000_000),
            "it was stopped"
        );
        absence.may_wait(20_000_000);
        assert_eq!(absence.here(100_000_000), None, "no time runs backwards");
        assert_eq!(absence.here(135_000_000), Some(10_000_000));
    }
}
