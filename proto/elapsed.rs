//! The time that the packets of a load took, and that by which the achieved rate is divided: one
//! arithmetic for the end that writes and the end that reads. Times are ns.
//!
//! A schedule of N packets takes N periods, also the one after its last packet: from the first
//! packet to the last there are only N − 1. So a load that keeps up has the rate that it asked for,
//! and packets that are missing make it less. The last of these periods may end long after the
//! load: the time that is shown is no longer than its duration, unless the packets took longer.
//!
//! Absent: which packets were due, and when the last one came, which each end finds in its own way.

use crate::{
    load::Load,
    profile::{NS_PER_1000_S, Profile},
};

/// How long a load took.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed {
    /// Rounded up.
    schedule_ns: u128,
    /// Packets of one client that were due, and its rate in millihertz, where the load has one.
    paced: Option<(u64, u64)>,
    taken_ns: u128,
    /// The most that is shown of the schedule: the duration, or until the last packet that was due
    /// before the load was stopped.
    shown_max_ns: u128,
}

impl Elapsed {
    /// `due` are the packets of one client that were due, the most of any; they have a meaning at a
    /// constant rate and of bursts alone. `taken_ns` is from the first packet due until the last
    /// one came or went. `None` when that took no time at all.
    ///
    /// When a load of another shape was stopped is not known here, only when its last packet came
    /// or went, which is no later.
    #[must_use]
    pub fn new(load: &Load, due: u64, is_stopped: bool, taken_ns: u128) -> Option<Self> {
        let duration_ns = load.duration.as_nanos();
        let periods_ns = |periods: u64, rate_millihertz: u64| {
            (u128::from(periods) * NS_PER_1000_S).div_ceil(u128::from(rate_millihertz).max(1))
        };
        let bursts_ns = |bursts: u64, every_ns: u64| u128::from(bursts) * u128::from(every_ns);
        let elapsed = Self {
            schedule_ns: match load.profile {
                Profile::Constant { rate_millihertz } => periods_ns(due, rate_millihertz),
                Profile::Burst { packets, every_ns } if is_stopped => {
                    bursts_ns(due.div_ceil(u64::from(packets).max(1)), every_ns)
                }
                _ if is_stopped => 0,
                _ => duration_ns,
            },
            paced: load.profile.steady_millihertz().map(|rate| (due, rate)),
            taken_ns,
            shown_max_ns: match load.profile {
                Profile::Constant { rate_millihertz } if is_stopped => {
                    periods_ns(due.saturating_sub(1), rate_millihertz).min(duration_ns)
                }
                Profile::Burst { packets, every_ns } if is_stopped => {
                    let bursts = due.div_ceil(u64::from(packets).max(1));
                    bursts_ns(bursts.saturating_sub(1), every_ns).min(duration_ns)
                }
                _ => duration_ns,
            },
        };
        Some(elapsed).filter(|of| of.shown_ns() > 0)
    }

    /// The time of the schedule within the duration of the load, or that until the last packet
    /// where it is longer, ns.
    #[must_use]
    pub fn shown_ns(self) -> u128 {
        self.schedule_ns.min(self.shown_max_ns).max(self.taken_ns)
    }

    /// So many packets of all clients in the time of the schedule, or until the last one where that
    /// is longer, in millihertz, rounded down. `None` for a rate that nothing can have.
    #[must_use]
    pub fn achieved_millihertz(self, packets: u64) -> Option<u64> {
        let (per_1000_s, time_ns) = self.achieved(packets);
        u64::try_from(per_1000_s.checked_div(time_ns)?).ok()
    }

    /// The same rounded down and up, which is one number where it is whole.
    #[must_use]
    pub fn achieved_within_millihertz(self, packets: u64) -> Option<(u64, u64)> {
        let (per_1000_s, time_ns) = self.achieved(packets);
        let least = self.achieved_millihertz(packets)?;
        let is_whole = per_1000_s.is_multiple_of(time_ns);
        Some((least, least.saturating_add(u64::from(!is_whole))))
    }

    /// How many of so many packets were carried in the time of the schedule, had they come at an
    /// even rate until the last one: all where that was no later, rounded down. `None` where it is
    /// not known how long the schedule went on, since the load was stopped.
    #[must_use]
    pub fn within_schedule(self, packets: u64) -> Option<u64> {
        let schedule_ns = self.schedule_ns;
        let carried = u128::from(packets) * schedule_ns / schedule_ns.max(self.taken_ns).max(1);
        (schedule_ns > 0).then(|| u64::try_from(carried).unwrap_or(packets))
    }

    /// The same had the last packet come in the time of the schedule.
    #[must_use]
    pub fn without_delay(self) -> Self {
        Self {
            taken_ns: if self.schedule_ns > 0 {
                0
            } else {
                self.taken_ns
            },
            ..self
        }
    }

    /// Whether it is known how long the schedule went on: it is that of a load that was not
    /// stopped, or of one with a formula.
    #[must_use]
    pub fn has_schedule_time(self) -> bool {
        self.schedule_ns > 0
    }

    /// A rate as a fraction, packets in 1000 s times ns, and ns.
    fn achieved(self, packets: u64) -> (u128, u128) {
        let packets = u128::from(packets);
        match self.paced {
            // Exact, where the time is no whole number of ns.
            Some((due, rate_millihertz)) if self.schedule_ns > self.taken_ns => {
                (packets * u128::from(rate_millihertz), due.into())
            }
            _ => (
                packets.saturating_mul(NS_PER_1000_S),
                self.schedule_ns.max(self.taken_ns),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn load(profile: Profile, duration: Duration) -> Load {
        Load {
            profile,
            duration,
            batch: 1,
            seed: 1,
        }
    }

    fn elapsed(rate_millihertz: u64, duration_ns: u64, taken_ns: u64) -> (u64, Elapsed) {
        let duration = Duration::from_nanos(duration_ns);
        let load = load(Profile::constant(rate_millihertz), duration);
        let due = load.packets().unwrap();
        let elapsed = Elapsed::new(&load, due, false, taken_ns.into());
        (due, elapsed.unwrap())
    }

    #[test]
    fn a_load_that_keeps_up_achieves_what_it_offered() {
        for (clients, rate_millihertz, duration_ms, achieved) in [
            (1, 1_000, 3_000, 1_000),
            (10, 1_400, 1_000, 14_000),
            (3, 1_000_000, 5, 3_000_000),
        ] {
            let (due, elapsed) = elapsed(rate_millihertz, duration_ms * 1_000_000, 50_000);
            assert_eq!(elapsed.achieved_millihertz(clients * due), Some(achieved));
        }
    }

    #[test]
    fn a_flood_takes_its_duration_or_until_its_last_packet_when_it_was_stopped() {
        let duration = Duration::from_millis(200);
        let shown = |is_stopped, taken_ns| {
            let elapsed = Elapsed::new(&load(Profile::Flood, duration), 0, is_stopped, taken_ns);
            elapsed.map(Elapsed::shown_ns)
        };
        assert_eq!(shown(false, 5), Some(200_000_000));
        assert_eq!(shown(true, 5), Some(5));
        assert_eq!(shown(true, 0), None);
    }

    #[test]
    fn a_stopped_load_shows_no_time_after_its_last_packet_and_has_its_rate_all_the_same() {
        let duration = Duration::from_secs(60);
        let shown = |due, taken_ns| {
            let load = load(Profile::constant(100), duration);
            let elapsed = Elapsed::new(&load, due, true, taken_ns)?;
            Some((elapsed.shown_ns(), elapsed.achieved_millihertz(due)))
        };
        // 0.1 Hz, stopped after 2 s and after 12 s.
        assert_eq!(shown(1, 5), Some((5, Some(100))));
        assert_eq!(shown(2, 5), Some((10_000_000_000, Some(100))));
        assert_eq!(shown(1, 0), None);
    }

    #[test]
    fn stopped_bursts_have_the_rate_that_was_asked_for() {
        let profile = Profile::Burst {
            packets: 1_000,
            every_ns: 10_000_000_000,
        };
        let load = load(profile, Duration::from_secs(60));
        for (due, shown_ns) in [(1_000, 50_000), (2_000, 10_000_000_000)] {
            let taken_ns = shown_ns;
            let elapsed = Elapsed::new(&load, due, true, taken_ns).unwrap();
            assert_eq!(elapsed.achieved_millihertz(due), Some(100_000));
            assert_eq!(elapsed.shown_ns(), shown_ns);
        }
    }

    proptest! {
        #[test]
        fn no_load_achieves_more_than_it_offered(
            rate_millihertz in 1..1_000_000_000_u64,
            duration_ns in 1_000_000..100_000_000_000_u64,
            taken_ns in 0..200_000_000_000_u64,
            clients in 1..10_000_u64,
            part in 0.0..=1.0,
        ) {
            let (due, elapsed) = elapsed(rate_millihertz, duration_ns, taken_ns);
            let sent = clients * (due as f64 * part) as u64;
            let achieved = elapsed.achieved_millihertz(sent).unwrap();
            prop_assert!(achieved <= clients * rate_millihertz);
            prop_assert!(elapsed.shown_ns() >= taken_ns.into());
        }
    }
}
