//! An idle timer: a thread that does nothing but sleep 10 ms at a time. How late it wakes is how
//! long the process, or its host, did not run. Times in ns of CLOCK_MONOTONIC. Pure.

use metronome_proto::host_point;

/// How long it sleeps, ns.
pub(crate) const PERIOD_NS: u64 = 10_000_000;

/// From this lateness on the process counts as away, ns. A busy host wakes a thread of ordinary
/// priority later than that only when something keeps it from running.
const AWAY_NS_MIN: u64 = host_point::AWAY_NS_MIN.cast_unsigned();

/// How late it fired since the last point.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Lateness {
    pub(crate) max_ns: u64,
    /// When the latest was due.
    pub(crate) from_ns: u64,
    /// The sum of those of 10 ms and more.
    pub(crate) away_ns: u64,
}

#[derive(Debug)]
pub(crate) struct IdleTimer {
    due_ns: u64,
    lateness: Lateness,
}

impl IdleTimer {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            due_ns: now_ns + PERIOD_NS,
            lateness: Lateness {
                from_ns: now_ns,
                ..Lateness::default()
            },
        }
    }

    /// When it fires next.
    pub(crate) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// It has fired, however late. A period that passed meanwhile is not made up for.
    pub(crate) fn fired(&mut self, now_ns: u64) {
        let late_ns = now_ns.saturating_sub(self.due_ns);
        if late_ns >= self.lateness.max_ns {
            (self.lateness.max_ns, self.lateness.from_ns) = (late_ns, self.due_ns);
        }
        if late_ns >= AWAY_NS_MIN {
            self.lateness.away_ns += late_ns;
        }
        self.due_ns = now_ns + PERIOD_NS;
    }

    /// The lateness since this was asked last.
    pub(crate) fn take(&mut self) -> Lateness {
        std::mem::take(&mut self.lateness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_kept_with_its_instant_and_only_long_absences_are_summed() {
        let mut timer = IdleTimer::new(0);
        let mut fire = |late_ns| {
            let due_ns = timer.due_ns();
            timer.fired(due_ns + late_ns);
            due_ns
        };
        fire(100_000);
        let stopped_ns = fire(50_000_000);
        fire(9_999_999);
        fire(10_000_000);
        let lateness = Lateness {
            max_ns: 50_000_000,
            from_ns: stopped_ns,
            away_ns: 60_000_000,
        };
        assert_eq!(timer.take(), lateness);
        assert_eq!(timer.take(), Lateness::default());
    }
}
