//! How much earlier than needed a sleep has to end, so that the thread is awake at the instant: as
//! long as most sleeps last too long, learnt from those before. Pure; times in ns.

/// Least and most by which a sleep ends early: what is waited without sleep costs a core.
const LEAD_NS: std::ops::RangeInclusive<u64> = 0..=80_000;

/// A sleep that was too long for the lead raises it by one, and one that was not lowers it by the
/// other: it comes to rest where three of four are not too long.
const UP_NS: u64 = 3_000;
const DOWN_NS: u64 = 1_000;

/// What the sleeps so far have shown.
#[derive(Debug, Default)]
pub(crate) struct Sleep {
    lead_ns: u64,
}

impl Sleep {
    /// When to wake so as to act at `ns`.
    pub(crate) fn wake_ns(&self, ns: u64) -> u64 {
        ns.saturating_sub(self.lead_ns)
    }

    /// A sleep that was to end at `asked_ns` has ended now.
    pub(crate) fn ended(&mut self, asked_ns: u64, now_ns: u64) {
        let was_too_long = now_ns.saturating_sub(asked_ns) > self.lead_ns;
        self.lead_ns = match was_too_long {
            true => self.lead_ns + UP_NS,
            false => self.lead_ns.saturating_sub(DOWN_NS),
        }
        .clamp(*LEAD_NS.start(), *LEAD_NS.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_becomes_what_most_sleeps_last_too_long() {
        let mut sleep = Sleep::default();
        let mut random = fastrand::Rng::with_seed(1);
        // From 20 to 40 µs too long, and one in a hundred by a ms.
        for n in 0..10_000 {
            let late_ns = match n % 100 {
                0 => 1_000_000,
                _ => random.u64(20_000..40_000),
            };
            sleep.ended(5_000_000, 5_000_000 + late_ns);
        }
        let lead_ns = 5_000_000 - sleep.wake_ns(5_000_000);
        assert!((30_000..42_000).contains(&lead_ns), "{lead_ns}");
    }

    #[test]
    fn the_lead_has_a_limit_and_no_instant_is_too_early() {
        let mut sleep = Sleep::default();
        for _ in 0..1_000 {
            sleep.ended(0, 1_000_000_000);
        }
        assert_eq!(sleep.wake_ns(1_000_000), 1_000_000 - LEAD_NS.end());
        assert_eq!(sleep.wake_ns(10), 0);
    }
}
