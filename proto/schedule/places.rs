//! The schedule of one client: its places and their due times, as far as they are formulas.
//!
//! Times are ns; rates are packets per 1000 s. Absent: going from place to place, which is
//! [`super::cursor`]'s.

use std::{num::NonZeroU64, time::Duration};

use super::{curve::Curve, gaps::Gaps};
use crate::profile::{NS_PER_1000_S, Profile};

/// The schedule of one client, from [`crate::load::Load::schedule`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule {
    pub(super) start_ns: u64,
    duration_ns: u64,
    /// Packets per write, 1 to 1024.
    pub(super) batch: u32,
    pub(super) shape: Shape,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "part of a schedule, which is a value that many hold"
)]
pub(super) enum Shape {
    Formula {
        curve: Curve,
        /// Packets that are due together: those of a write or of a burst.
        together: u32,
        packets: NonZeroU64,
        period_ns: u64,
    },
    Random(Gaps),
}

impl Schedule {
    /// That of random arrivals of a mean rate, which are drawn for this client.
    pub(crate) fn random(
        start_ns: u64,
        duration: Duration,
        rate_millihertz: u64,
        (seed, client): (u64, u32),
    ) -> Self {
        Self {
            start_ns,
            duration_ns: ns(duration),
            batch: 1,
            shape: Shape::Random(Gaps::new(seed, client, rate_millihertz)),
        }
    }

    /// That of a profile with a formula; `None` for any other.
    pub(crate) fn of_formula(
        start_ns: u64,
        duration: Duration,
        profile: Profile,
        batch: u32,
    ) -> Option<Self> {
        let duration_ns = ns(duration);
        Some(Self {
            start_ns,
            duration_ns,
            batch: batch.max(1),
            shape: formula(profile, duration_ns, batch)?,
        })
    }

    /// So many packets at a constant rate of 1 to 10^9 millihertz; at least 1.
    #[must_use]
    pub const fn constant(start_ns: u64, rate_millihertz: u64, batch: u32, packets: u64) -> Self {
        let packets = match NonZeroU64::new(packets) {
            Some(packets) => packets,
            None => NonZeroU64::MIN,
        };
        Self {
            start_ns,
            duration_ns: ns_of(packets.get(), rate_millihertz),
            batch,
            shape: Shape::Formula {
                curve: Curve::constant(rate_millihertz),
                together: batch,
                packets,
                period_ns: ns_of(batch as u64, rate_millihertz),
            },
        }
    }

    /// Whether a whole packet of a profile with a formula fits into the duration.
    pub(crate) fn has_packets(profile: Profile, duration: Duration) -> bool {
        let duration_ns = ns(duration);
        Curve::of(profile, duration_ns).is_some_and(|curve| curve.packets(duration_ns) > 0)
    }

    /// The same, from another start on.
    #[must_use]
    pub fn starting_at(self, start_ns: u64) -> Self {
        Self { start_ns, ..self }
    }

    /// From where the times of its places count, the client's phase included: place 0 is due then
    /// or, where the load begins with silence or a drawn gap, later.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Packets per write.
    #[must_use]
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// How many packets in all, at least 1. `None` for random arrivals: a cursor finds it out, and
    /// it may be 0.
    #[must_use]
    pub fn packets(&self) -> Option<u64> {
        match self.shape {
            Shape::Formula { packets, .. } => Some(packets.get()),
            Shape::Random(_) => None,
        }
    }

    /// More packets than this it cannot have: those of a formula, and of random arrivals far more
    /// than 24 h at the highest mean rate have, which are 2^33. For places from another process.
    #[must_use]
    pub fn packets_max(&self) -> u64 {
        self.packets().unwrap_or(1 << 40)
    }

    /// When packet `n` is due. Saturates at the end of the clock. `None` for random arrivals.
    #[must_use]
    pub fn due_at(&self, n: u64) -> Option<u64> {
        match self.shape {
            Shape::Formula {
                curve, together, ..
            } => Some(
                self.start_ns
                    .saturating_add(curve.time_of(n - n % u64::from(together))),
            ),
            Shape::Random(_) => None,
        }
    }

    /// How many packets are due by `now_ns`. `None` for random arrivals.
    #[must_use]
    pub fn due_by(&self, now_ns: u64) -> Option<u64> {
        let Shape::Formula {
            curve,
            together,
            packets,
            ..
        } = self.shape
        else {
            return None;
        };
        let Some(elapsed_ns) = now_ns.checked_sub(self.start_ns) else {
            return Some(0);
        };
        Some(curve.due_by(elapsed_ns, together).min(packets.get()))
    }

    /// The period that rules use, ns, at least 1: the time between two writes of a constant rate
    /// and between two bursts, the mean gap of random arrivals, and of a rate that changes the time
    /// between two writes at its lowest rate above 0, at most the duration.
    #[must_use]
    pub fn period_ns(&self) -> u64 {
        match self.shape {
            Shape::Formula { period_ns, .. } => period_ns,
            Shape::Random(gaps) => gaps.mean_ns(),
        }
    }

    /// The time from the due time before the last one to the last one, ns: how long after the last
    /// packet the next one would be due at the rate at which the load ends. The period of a
    /// constant rate and of bursts, the mean gap of random arrivals; of a rate that changes at most
    /// the period, so that no silence counts, and 0 where there is but one due time.
    #[must_use]
    pub fn last_gap_ns(&self) -> u64 {
        let Shape::Formula {
            curve,
            together,
            packets,
            period_ns,
        } = self.shape
        else {
            return self.period_ns();
        };
        if matches!(curve, Curve::Even { .. }) {
            return period_ns;
        }
        let last = packets.get() - 1;
        let before = (last - last % u64::from(together)).checked_sub(1);
        let due_at = |n: u64| self.due_at(n).unwrap_or_default();
        before
            .map_or(0, |before| due_at(last) - due_at(before))
            .min(period_ns)
    }

    /// When the last packet is due; of random arrivals the last instant at which one may be.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        match self.packets() {
            Some(packets) => self.due_at(packets - 1),
            None => None,
        }
        .unwrap_or_else(|| self.over_ns() - 1)
    }

    /// How much later than the run's start a client may start: less than a period, and so little
    /// that its last packet is due within `duration_ns`. A phase is below this, or 0. Random
    /// arrivals have no phase.
    #[must_use]
    pub fn room_ns(&self, duration_ns: u64) -> u64 {
        if self.packets().is_none() {
            return 0;
        }
        let last_ns = self.end_ns().saturating_sub(self.start_ns);
        self.period_ns().min(duration_ns.saturating_sub(last_ns))
    }

    /// Packets of a burst, which are due together however many writes they take; else those of a
    /// write.
    #[must_use]
    pub fn due_together(&self) -> u32 {
        match self.shape {
            Shape::Formula { together, .. } => together,
            Shape::Random(_) => 1,
        }
    }

    /// The end of the time in which packets of random arrivals are due.
    pub(super) fn over_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.duration_ns.max(1))
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of so many packets at a constant rate, ns, rounded down, at least 1. Saturates.
const fn ns_of(packets: u64, rate_millihertz: u64) -> u64 {
    let ns = packets as u128 * NS_PER_1000_S / rate_millihertz as u128;
    match ns {
        0 => 1,
        _ if ns > u64::MAX as u128 => u64::MAX,
        _ => ns as u64,
    }
}

fn formula(profile: Profile, duration_ns: u64, batch: u32) -> Option<Shape> {
    let curve = Curve::of(profile, duration_ns)?;
    let whole = curve.packets(duration_ns);
    let (together, packets) = match profile {
        // A burst that the duration would cut is left out.
        Profile::Burst { packets, .. } => (packets, whole - whole % u64::from(packets.max(1))),
        _ => (batch, whole),
    };
    let together = together.max(1);
    Some(Shape::Formula {
        curve,
        together,
        packets: NonZeroU64::new(packets).unwrap_or(NonZeroU64::MIN),
        period_ns: curve.period_ns(together, duration_ns),
    })
}
