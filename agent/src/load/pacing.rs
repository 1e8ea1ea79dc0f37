//! How a pacing thread waits for the instant at which a packet is due. Pure: no clock, no socket;
//! times are ns of CLOCK_MONOTONIC.

/// Waits up to this long are spun, ns: a sleep would end later than that.
const SPIN_NS: u64 = 10_000;

/// The hybrid wait asks for its wake-up at most this much early, ns. It is the most that a tick
/// can spin on top of [`SPIN_NS`].
const LEAD_NS_MAX: u64 = 30_000;

/// Who only spins sleeps for longer waits than this, ns: hardly anything wakes later than that.
const SPIN_ONLY_NS: u64 = 1_000_000;

/// One nap at most, ns: a thread checks its stop signal in between.
pub(crate) const NAP_NS_MAX: u64 = crate::stop_signal::CHECK_EVERY_NS;

/// How a thread waits for an instant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum WaitPolicy {
    /// Sleep until the instant: the least CPU, late by what the kernel needs to wake a thread.
    Sleep,
    /// Ask for the wake-up as much earlier as wake-ups usually come late, and spin the rest.
    Hybrid,
    /// Spin for the last millisecond: the most precise, at the price of a whole core per thread
    /// from 1 kHz on.
    Spin,
}

/// How pacing threads run: flags of the agent, since no server knows its host.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Pacing {
    /// How pacing threads wait for the next packet.
    #[arg(long = "pacing", value_name = "HOW", value_enum, default_value_t = WaitPolicy::Hybrid)]
    pub(crate) wait: WaitPolicy,
    /// Give pacing threads the highest priority that the system grants: real-time where a core is
    /// left for others, else nice -10. Threads that spin get nice -10 only, those of a flood
    /// nothing.
    #[arg(long, value_name = "true|false", env = "METRONOME_HIGH_PRIORITY", default_value_t = true, action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) high_priority: bool,
    /// Keep each pacing thread on a core of its own, while one is free: for hosts that have nothing
    /// else to do.
    #[arg(long, value_name = "true|false", env = "METRONOME_PIN_THREADS", default_value_t = false, action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) pin_threads: bool,
}

/// What to do until an instant that is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// It has come.
    Over,
    /// It is so close that only reading the clock again is precise enough.
    Spin,
    /// Sleep until then, ns, and ask again.
    SleepUntil(u64),
}

/// Decides how to wait, and learns how late the kernel's wake-ups are.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    policy: WaitPolicy,
    lead_ns: u64,
}

impl Waiting {
    /// A thread that has not slept yet.
    pub(crate) fn new(policy: WaitPolicy) -> Self {
        Self { policy, lead_ns: 0 }
    }

    /// What to do at `now_ns` until `due_ns`, napping at most `nap_ns_max` at a time.
    #[inline]
    pub(crate) fn next(&self, now_ns: u64, due_ns: u64, nap_ns_max: u64) -> Wait {
        let left_ns = due_ns.saturating_sub(now_ns);
        if left_ns == 0 {
            return Wait::Over;
        }
        if left_ns <= self.spin_ns() {
            return Wait::Spin;
        }
        let lead_ns = if self.policy == WaitPolicy::Spin {
            SPIN_ONLY_NS
        } else {
            self.lead_ns
        };
        Wait::SleepUntil(
            due_ns
                .saturating_sub(lead_ns)
                .min(now_ns.saturating_add(nap_ns_max)),
        )
    }

    #[inline]
    fn spin_ns(&self) -> u64 {
        match self.policy {
            WaitPolicy::Spin => SPIN_ONLY_NS,
            WaitPolicy::Sleep | WaitPolicy::Hybrid => SPIN_NS.max(self.lead_ns),
        }
    }

    /// Takes note that a sleep ended `late_ns` after the instant that was asked for.
    ///
    /// Up by three steps when later than the lead, down by one when not: that settles where three
    /// wake-ups of four come in time. A single long stall moves it no more than any other.
    pub(crate) fn learn(&mut self, late_ns: u64) {
        const STEP_NS: u64 = 100;
        if self.policy != WaitPolicy::Hybrid {
            return;
        }
        self.lead_ns = if late_ns > self.lead_ns {
            (self.lead_ns + 3 * STEP_NS).min(LEAD_NS_MAX)
        } else {
            self.lead_ns.saturating_sub(STEP_NS)
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_never_ends_early_and_no_nap_is_longer_than_allowed(
            now_ns in 0..1_u64 << 50, ahead_ns in 0..1_u64 << 40, nap_ns_max in 1..NAP_NS_MAX, lates in prop::collection::vec(0..100_000_u64, 0..50),
            policy in prop::sample::select(vec![WaitPolicy::Sleep, WaitPolicy::Hybrid, WaitPolicy::Spin]),
        ) {
            let mut waiting = Waiting::new(policy);
            lates.into_iter().for_each(|late_ns| waiting.learn(late_ns));
            match waiting.next(now_ns, now_ns + ahead_ns, nap_ns_max) {
                Wait::Over => prop_assert_eq!(ahead_ns, 0),
                Wait::Spin => {
                    let spin_ns_max = if policy == WaitPolicy::Spin { SPIN_ONLY_NS } else { LEAD_NS_MAX };
                    prop_assert!(ahead_ns <= spin_ns_max);
                }
                Wait::SleepUntil(wake_ns) => {
                    prop_assert!(wake_ns > now_ns && wake_ns <= now_ns + ahead_ns && wake_ns <= now_ns + nap_ns_max);
                }
            }
        }
    }

    #[test]
    fn the_lead_settles_where_wake_ups_usually_come() {
        let mut waiting = Waiting::new(WaitPolicy::Hybrid);
        for round in 0..10_000 {
            waiting.learn(if round % 10 == 0 { 5_000_000 } else { 15_000 });
        }
        assert!(
            (14_500..=18_000).contains(&waiting.lead_ns),
            "{}",
            waiting.lead_ns
        );
    }

    #[test]
    fn plain_sleep_asks_for_the_instant_itself() {
        let mut waiting = Waiting::new(WaitPolicy::Sleep);
        waiting.learn(40_000);
        assert_eq!(
            waiting.next(0, 50_000, NAP_NS_MAX),
            Wait::SleepUntil(50_000)
        );
    }
}
