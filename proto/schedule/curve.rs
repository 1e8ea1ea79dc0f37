//! How many packets of a client are due by when, where that is a formula; and when each of them is.
//!
//! [`Curve::amount`] is the number of packets up to an instant, in whole *parts* of a packet: an
//! integer, however long the run is, where a quotient would be rounded. Packet n is due at the last
//! instant up to which no more than n packets are: in a silence at its end. Every result is exact.

use crate::profile::{NS_PER_1000_S, Profile, Step, Steps};

/// A load as a function of the time since its start, ns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "part of a schedule, which is a value that many hold"
)]
pub(super) enum Curve {
    /// A constant rate: so many parts a ns, of so many that a packet has.
    Even { parts_per_ns: u64, parts: u64 },
    /// A rate that changes evenly from the first to the second within `over_ns`.
    Ramp {
        from_millihertz: u64,
        to_millihertz: u64,
        over_ns: u64,
    },
    /// One rate after the other.
    Steps(Steps),
    /// A rate and silence by turns.
    OnOff {
        rate_millihertz: u64,
        on_ns: u64,
        off_ns: u64,
    },
}

/// A stretch of a curve with a constant rate, above 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// When it begins, and the parts up to there.
    from_ns: u64,
    before: u128,
    pub(super) parts_per_ns: u64,
    /// When it ends.
    pub(super) until_ns: u64,
}

impl Curve {
    pub(super) const fn constant(rate_millihertz: u64) -> Self {
        Self::Even {
            parts_per_ns: rate_millihertz,
            parts: NS_PER_1000_S as u64,
        }
    }

    /// The curve of a profile with a formula.
    pub(super) fn of(profile: Profile, duration_ns: u64) -> Option<Self> {
        Some(match profile {
            Profile::Constant { rate_millihertz } => Self::constant(rate_millihertz),
            Profile::Burst { packets, every_ns } => Self::Even {
                parts_per_ns: packets.into(),
                parts: every_ns,
            },
            Profile::Ramp {
                from_millihertz,
                to_millihertz,
            } => Self::Ramp {
                from_millihertz,
                to_millihertz,
                over_ns: duration_ns,
            },
            Profile::Steps(steps) => Self::Steps(steps),
            Profile::OnOff {
                rate_millihertz,
                on_ns,
                off_ns,
            } => Self::OnOff {
                rate_millihertz,
                on_ns,
                off_ns,
            },
            Profile::Poisson { .. } | Profile::Flood => return None,
        })
    }

    /// Parts of a packet.
    fn parts(&self) -> u128 {
        match *self {
            Self::Even { parts, .. } => parts.into(),
            // Twice the area below the rate is an integer, the area need not be one.
            Self::Ramp { over_ns, .. } => 2 * u128::from(over_ns) * NS_PER_1000_S,
            Self::Steps(_) | Self::OnOff { .. } => NS_PER_1000_S,
        }
    }

    /// Parts of so many packets. Saturates: a place may come from another process.
    fn parts_of(&self, packets: u64) -> u128 {
        u128::from(packets).saturating_mul(self.parts())
    }

    /// Parts up to `time_ns`. At most 24 h at 10^9 millihertz: below 2^124.
    fn amount(&self, time_ns: u64) -> u128 {
        match *self {
            Self::Even { parts_per_ns, .. } => u128::from(parts_per_ns) * u128::from(time_ns),
            Self::Ramp {
                from_millihertz,
                to_millihertz,
                over_ns,
            } => {
                let time_ns = u128::from(time_ns.min(over_ns));
                let even = 2 * u128::from(over_ns) * u128::from(from_millihertz) * time_ns;
                let more = u128::from(from_millihertz.abs_diff(to_millihertz)) * time_ns * time_ns;
                if to_millihertz >= from_millihertz {
                    even + more
                } else {
                    even - more
                }
            }
            Self::Steps(steps) => {
                let (mut from_ns, mut amount) = (0_u64, 0);
                for (until_ns, step) in stretches(&steps) {
                    let within_ns = time_ns.min(until_ns).saturating_sub(from_ns);
                    amount += u128::from(step.rate_millihertz) * u128::from(within_ns);
                    from_ns = until_ns;
                }
                amount
            }
            Self::OnOff {
                rate_millihertz,
                on_ns,
                off_ns,
            } => {
                let cycle_ns = u128::from(on_ns) + u128::from(off_ns);
                let (whole, within_ns) = (
                    u128::from(time_ns) / cycle_ns,
                    u128::from(time_ns) % cycle_ns,
                );
                let on_time_ns = whole * u128::from(on_ns) + within_ns.min(on_ns.into());
                u128::from(rate_millihertz) * on_time_ns
            }
        }
    }

    /// Whole packets up to `time_ns`.
    pub(super) fn packets(&self, time_ns: u64) -> u64 {
        u64::try_from(self.amount(time_ns) / self.parts().max(1)).unwrap_or(u64::MAX)
    }

    /// When packet `n` is due, ns after the start. Saturates where it never is.
    pub(super) fn time_of(&self, n: u64) -> u64 {
        match self.stretch_of(n) {
            Some(stretch) => self.time_on(&stretch, n).0,
            None => self.time_on_a_ramp(self.parts_of(n)),
        }
    }

    /// How many packets are due at `elapsed_ns` after the start, when so many are due `together`:
    /// those of which fewer than the amount of the next ns lie before.
    pub(super) fn due_by(&self, elapsed_ns: u64, together: u32) -> u64 {
        let together = u128::from(together);
        let amount = self.amount(elapsed_ns.saturating_add(1));
        let due = amount.div_ceil(self.parts() * together) * together;
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// The time between so many packets at the lowest rate above 0, ns; at least 1, and of a rate
    /// that changes at most the duration.
    pub(super) fn period_ns(&self, together: u32, duration_ns: u64) -> u64 {
        let period_ns = |rate_millihertz: u64| {
            let ns = u128::from(together) * NS_PER_1000_S / u128::from(rate_millihertz.max(1));
            u64::try_from(ns).unwrap_or(u64::MAX)
        };
        let changing_ns = match *self {
            Self::Even { .. } => return self.time_of(together.into()).max(1),
            Self::Ramp {
                from_millihertz,
                to_millihertz,
                ..
            } => period_ns(from_millihertz.min(to_millihertz)),
            Self::OnOff {
                rate_millihertz, ..
            } => period_ns(rate_millihertz),
            Self::Steps(steps) => {
                let rates = steps.as_slice().iter().map(|step| step.rate_millihertz);
                period_ns(rates.filter(|rate| *rate > 0).min().unwrap_or(0))
            }
        };
        changing_ns.clamp(1, duration_ns.max(1))
    }

    /// The stretch that packet `n` is on; `None` on a ramp, which has none.
    pub(super) fn stretch_of(&self, n: u64) -> Option<Stretch> {
        let at = self.parts_of(n);
        match *self {
            Self::Even { parts_per_ns, .. } => Some(Stretch {
                from_ns: 0,
                before: 0,
                parts_per_ns,
                until_ns: u64::MAX,
            }),
            Self::Ramp { .. } => None,
            Self::Steps(steps) => Some(stretch_of_steps(&steps, at)),
            Self::OnOff {
                rate_millihertz,
                on_ns,
                off_ns,
            } => {
                let each = u128::from(rate_millihertz) * u128::from(on_ns);
                let whole = at / each.max(1);
                let cycle_ns = u128::from(on_ns) + u128::from(off_ns);
                let from_ns = whole.saturating_mul(cycle_ns);
                let from_ns = u64::try_from(from_ns).unwrap_or(u64::MAX);
                Some(Stretch {
                    from_ns,
                    before: whole * each,
                    parts_per_ns: rate_millihertz,
                    until_ns: from_ns.saturating_add(on_ns),
                })
            }
        }
    }

    /// When packet `n` is due, which is on `stretch`, ns after the start, and the parts of a ns
    /// that are left.
    pub(super) fn time_on(&self, stretch: &Stretch, n: u64) -> (u64, u64) {
        stretch.time_of(self.parts_of(n))
    }

    /// Nanoseconds between so many packets on a stretch, and the parts of a ns that are left.
    pub(super) fn step(&self, packets: u32, parts_per_ns: u64) -> (u64, u64) {
        let (parts, per_ns) = (u128::from(packets) * self.parts(), u128::from(parts_per_ns));
        ((parts / per_ns) as u64, (parts % per_ns) as u64)
    }

    /// The last instant up to which there are at most `parts`. A float finds about where that is,
    /// and integers decide: so the result does not depend on how a host computes floats.
    fn time_on_a_ramp(&self, parts: u128) -> u64 {
        let Self::Ramp {
            from_millihertz,
            to_millihertz,
            over_ns,
        } = *self
        else {
            return u64::MAX;
        };
        if parts >= self.amount(over_ns) {
            return over_ns;
        }
        // 2 × over × from × t + (to − from) × t² = parts, in the form that cancels nothing.
        let slope = to_millihertz as f64 - from_millihertz as f64;
        let half = over_ns as f64 * from_millihertz as f64;
        let root = (half * half + slope * parts as f64).max(0.0).sqrt();
        let guess_ns = (parts as f64 / (half + root)) as u64;
        self.last_within(parts, guess_ns.min(over_ns), over_ns)
    }

    /// The last instant in 0..=`max_ns` whose amount is at most `parts`, found from a guess in
    /// steps that double, then by halves. The amount at `max_ns` is above `parts`.
    fn last_within(&self, parts: u128, guess_ns: u64, max_ns: u64) -> u64 {
        let fits = |time_ns: u64| self.amount(time_ns) <= parts;
        let (mut low, mut high, mut step) = (guess_ns, guess_ns, 1);
        while !fits(low) {
            high = low;
            low = low.saturating_sub(step);
            step *= 2;
        }
        if high == low {
            step = 1;
            loop {
                high = low.saturating_add(step).min(max_ns);
                if !fits(high) {
                    break;
                }
                low = high;
                step *= 2;
            }
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Stretch {
    /// When so many parts are reached, ns after the start, and the parts that are left then.
    fn time_of(&self, parts: u128) -> (u64, u64) {
        let (beyond, per_ns) = (parts - self.before, u128::from(self.parts_per_ns));
        if per_ns == 0 {
            return (u64::MAX, 0);
        }
        let ns = u64::try_from(beyond / per_ns).unwrap_or(u64::MAX);
        (self.from_ns.saturating_add(ns), (beyond % per_ns) as u64)
    }
}

/// Each step with the time at which it ends.
fn stretches(steps: &Steps) -> impl Iterator<Item = (u64, Step)> {
    let steps = steps.as_slice();
    let mut until_ns = 0_u64;
    steps.iter().enumerate().map(move |(index, step)| {
        until_ns = if index + 1 == steps.len() {
            u64::MAX
        } else {
            until_ns.saturating_add(step.lasts_ns)
        };
        (until_ns, *step)
    })
}

/// The step on which so many parts are reached: the last one that begins with no more.
fn stretch_of_steps(steps: &Steps, at: u128) -> Stretch {
    let mut stretch = Stretch {
        from_ns: 0,
        before: 0,
        parts_per_ns: 0,
        until_ns: u64::MAX,
    };
    let (mut from_ns, mut before) = (0, 0);
    for (until_ns, step) in stretches(steps) {
        if before > at {
            break;
        }
        stretch = Stretch {
            from_ns,
            before,
            parts_per_ns: step.rate_millihertz,
            until_ns,
        };
        before += u128::from(step.rate_millihertz) * u128::from(until_ns - from_ns);
        from_ns = until_ns;
    }
    stretch
}
