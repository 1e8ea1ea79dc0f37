//! The load of one client as one value: its profile, and what turns that into a schedule.

use std::time::Duration;

use crate::{
    profile::{NS_PER_1000_S, Profile},
    schedule::Schedule,
};

/// What is asked of each client of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Load {
    /// When it sends.
    pub profile: Profile,
    /// How long: every packet is due within it.
    pub duration: Duration,
    /// Packets per write: 1 to 1024. Packets of one write are due when the first of them is; those
    /// of a burst are due together, however many writes it takes.
    pub batch: u32,
    /// The seed of what is drawn: only random arrivals depend on it.
    pub seed: u64,
}

impl Load {
    /// The schedule of the client with this index in the run, whose place 0 counts from `start_ns`.
    /// `None` for a flood.
    #[must_use]
    pub fn schedule(&self, start_ns: u64, client: u32) -> Option<Schedule> {
        match self.profile {
            Profile::Poisson { rate_millihertz } => {
                let of_client = (self.seed, client);
                Some(Schedule::random(
                    start_ns,
                    self.duration,
                    rate_millihertz,
                    of_client,
                ))
            }
            profile => Schedule::of_formula(start_ns, self.duration, profile, self.batch),
        }
    }

    /// Packets of each client: those of whole periods, at least 1. `None` where only the schedule
    /// of a client has the number, as of random arrivals, and in a flood.
    #[must_use]
    pub fn packets(&self) -> Option<u64> {
        self.schedule(0, 0)?.packets()
    }

    /// Whether a period of the mean rate, or a burst, fits into the duration. A flood has none.
    #[must_use]
    pub fn has_a_period(&self) -> bool {
        let ns = self.duration.as_nanos();
        match self.profile {
            Profile::Flood => true,
            Profile::Poisson { rate_millihertz } => {
                u128::from(rate_millihertz) * ns >= NS_PER_1000_S
            }
            Profile::Burst { every_ns, .. } => u128::from(every_ns) <= ns,
            profile => Schedule::has_packets(profile, self.duration),
        }
    }

    /// The shortest time from one due time of a client to its next, ns, rounded down. 0 where there
    /// is none: random arrivals may be due at one instant, and a flood has no due times.
    #[must_use]
    pub fn shortest_gap_ns(&self) -> u64 {
        let batch = u128::from(self.batch.max(1));
        match (self.profile, self.profile.highest_millihertz()) {
            (Profile::Burst { every_ns, .. }, _) => every_ns,
            (Profile::Poisson { .. } | Profile::Flood, _) | (_, None) => 0,
            (_, Some(rate_millihertz)) => {
                let ns = batch * NS_PER_1000_S / u128::from(rate_millihertz.max(1));
                u64::try_from(ns).unwrap_or(u64::MAX)
            }
        }
    }

    /// The mean rate that is asked for, packets per 1000 s, rounded down: over the duration, unless
    /// there is one rate. `None` for a flood.
    #[must_use]
    pub fn mean_millihertz(&self) -> Option<u64> {
        match self.profile {
            Profile::Constant { rate_millihertz } | Profile::Poisson { rate_millihertz } => {
                Some(rate_millihertz)
            }
            Profile::Flood => None,
            Profile::Burst { .. }
            | Profile::Ramp { .. }
            | Profile::Steps(_)
            | Profile::OnOff { .. } => {
                let packets = u128::from(self.packets()?) * NS_PER_1000_S;
                u64::try_from(packets / self.duration.as_nanos().max(1)).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_that_does_not_fit_is_not_in_the_mean_rate() {
        let load = |duration_ms| Load {
            profile: Profile::Burst {
                packets: 10,
                every_ns: 600_000_000,
            },
            duration: Duration::from_millis(duration_ms),
            batch: 1,
            seed: 1,
        };
        assert_eq!(load(1_000).mean_millihertz(), Some(10_000));
        assert_eq!(load(1_200).mean_millihertz(), Some(16_666));
    }
}
