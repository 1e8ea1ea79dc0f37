//! When the worker was away: it should have come round and did not, since it was stopped, got no
//! core, or was busy with one thing. Times in ns of CLOCK_MONOTONIC. Pure.

/// How much later than it should it comes round at least to count as away, ns. A turn that serves
/// many connections takes less.
const LATE_NS_MIN: u64 = 10_000_000;

/// From one turn of the loop to the next.
#[derive(Debug)]
pub(super) struct Absence {
    /// When it was here last.
    here_ns: u64,
    /// Up to when it may wait.
    due_ns: u64,
}

impl Absence {
    /// It is here, and waits for nothing.
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            here_ns: now_ns,
            due_ns: now_ns,
        }
    }

    /// It may wait for so long from when it was here last.
    #[inline]
    pub(super) fn may_wait(&mut self, wait_ns: u64) {
        self.due_ns = self.here_ns.saturating_add(wait_ns);
    }

    /// It is here again, whatever it did meanwhile. For how long it was away: at most as long as it
    /// really was, since the wait may have been shorter. `None` when it was in time.
    #[inline]
    pub(super) fn here(&mut self, now_ns: u64) -> Option<u64> {
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
