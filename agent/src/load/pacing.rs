//! How a pacing thread waits for the instant at which a packet is due. Pure: no clock, no socket;
//! times are ns of CLOCK_MONOTONIC.
//!
//! # Sleep, then spin
//!
//! The simple way is one sleep until the packet is due. But the kernel ends a sleep late: the timer
//! interrupt, an idle core that has to wake up and the scheduler take 10 to 60 µs, even with a
//! timer slack of 1 ns. At 10 kHz the period is 100 µs, so that every packet would be late by a
//! good part of it, and that is a fault of the generator, not of the target. The other way is to
//! read the clock until the instant has come. That is precise to the length of one reading, but
//! takes a whole core, which a server on the same host then lacks, and a thread that never sleeps
//! cannot be a real-time thread.
//!
//! So the default does both. It asks for its wake-up earlier than the packet is due, by a *lead*,
//! and spins what is left of the lead after the wake-up. The lead is not a constant, because
//! wake-ups differ from host to host and with its load: each sleep shows how late it ended, and the
//! lead follows in small steps ([`Pacer::learn`]) to the value at which three wake-ups of four are
//! in time. It is at most [`LEAD_NS_MAX`], so that a host with slow wake-ups costs lateness, which
//! is measured and reported, and not CPU time, which would disturb what is measured. A wait of up
//! to [`SPIN_NS`] is spun without a sleep, because a sleep that short would end late anyway.
//!
//! Measured with ten clients of 10 kHz in one thread, per packet: 7.7 µs of CPU time and a median
//! lateness of 6 µs; with sleeps alone 7.5 µs and 27 µs; with spinning alone 10 µs, which is the
//! whole core, and 5 µs (docs/benchmarks.md, "How to wait").
//!
//! No wait ends early, whatever the policy. The instant itself comes from the schedule, never from
//! the end of the wait before, so delays do not add up.

use crate::stop_signal::CHECK_EVERY_NS;

/// Waits up to this long are spun, ns: a sleep would end later than that.
const SPIN_NS: u64 = 10_000;

/// The hybrid wait asks for its wake-up at most this much early, ns. It is the most that a tick
/// can spin on top of [`SPIN_NS`].
const LEAD_NS_MAX: u64 = 30_000;

/// A thread of the policy `spin` sleeps when it has to wait for longer than this, ns: hardly any
/// wake-up is later than that.
const SPIN_ONLY_NS: u64 = 1_000_000;

/// One sleep at most, ns: a thread checks its stop signal in between.
pub(crate) const NAP_NS_MAX: u64 = CHECK_EVERY_NS;

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

/// How pacing threads run. These are flags of the agent, because a server cannot judge its host.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct PacingOptions {
    /// How pacing threads wait for the next packet.
    #[arg(long = "pacing", value_name = "HOW", value_enum, default_value_t = WaitPolicy::Hybrid)]
    pub(crate) wait: WaitPolicy,
    /// Give pacing threads the highest priority that the system grants: real-time where a core is
    /// left for others, else nice -10. Threads that spin get nice -10 only, those of a flood
    /// nothing.
    #[arg(
        long,
        value_name = "true|false",
        env = "METRONOME_HIGH_PRIORITY",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_parser = clap::builder::BoolishValueParser::new(),
    )]
    pub(crate) high_priority: bool,
    /// Keep each pacing thread on a core of its own, while one is free: for hosts that have nothing
    /// else to do.
    #[arg(
        long,
        value_name = "true|false",
        env = "METRONOME_PIN_THREADS",
        default_value_t = false,
        action = clap::ArgAction::Set,
        value_parser = clap::builder::BoolishValueParser::new(),
    )]
    pub(crate) pin_threads: bool,
}

/// What to do until an instant that is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// The instant has come.
    Over,
    /// The instant is so close that only reading the clock again is precise enough.
    Spin,
    /// Sleep until then, ns, and ask again.
    SleepUntil(u64),
}

/// Decides how one thread waits, and learns how late its wake-ups are.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    policy: WaitPolicy,
    /// How much earlier than the instant the wake-up is asked for, ns.
    lead_ns: u64,
}

impl Pacer {
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

    /// A sleep ended `late_ns` after the instant that was asked for.
    ///
    /// Up by three steps when later than the lead, down by one when not: that settles where three
    /// wake-ups of four are in time. A single long stall moves it no more than any other.
    pub(super) fn learn(&mut self, late_ns: u64) {
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
            now_ns in 0..1_u64 << 50,
            ahead_ns in 0..1_u64 << 40,
            nap_ns_max in 1..NAP_NS_MAX,
            lates in prop::collection::vec(0..100_000_u64, 0..50),
            policy in prop::sample::select(vec![
                WaitPolicy::Sleep,
                WaitPolicy::Hybrid,
                WaitPolicy::Spin,
            ]),
        ) {
            let mut pacer = Pacer::new(policy);
            lates.into_iter().for_each(|late_ns| pacer.learn(late_ns));
            match pacer.next(now_ns, now_ns + ahead_ns, nap_ns_max) {
                Wait::Over => prop_assert_eq!(ahead_ns, 0),
                Wait::Spin => {
                    let spins = policy == WaitPolicy::Spin;
                    let spin_ns_max = if spins { SPIN_ONLY_NS } else { LEAD_NS_MAX };
                    prop_assert!(ahead_ns <= spin_ns_max);
                }
                Wait::SleepUntil(wake_ns) => {
                    prop_assert!(wake_ns > now_ns && wake_ns <= now_ns + ahead_ns);
                    prop_assert!(wake_ns <= now_ns + nap_ns_max);
                }
            }
        }
    }

    #[test]
    fn the_lead_settles_where_wake_ups_usually_come() {
        let mut pacer = Pacer::new(WaitPolicy::Hybrid);
        for round in 0..10_000 {
            pacer.learn(if round % 10 == 0 { 5_000_000 } else { 15_000 });
        }
        assert!(
            (14_500..=18_000).contains(&pacer.lead_ns),
            "{}",
            pacer.lead_ns
        );
    }

    #[test]
    fn plain_sleep_asks_for_the_instant_itself() {
        let mut pacer = Pacer::new(WaitPolicy::Sleep);
        pacer.learn(40_000);
        assert_eq!(pacer.next(0, 50_000, NAP_NS_MAX), Wait::SleepUntil(50_000));
    }
}
