//! When one client sends: the only form that this has, from a flag to a pacing thread to a law.
//!
//! With a duration, a batch and a seed a profile is a [`crate::load::Load`], which gives the
//! [`crate::schedule::Schedule`] of a client, or none: a packet of a flood is due when it is
//! written. Rates are exact integers in millihertz, packets per 1000 seconds; times are ns. Absent:
//! ranges that depend on other fields of a plan, which [`crate::plan`] checks.

pub mod flags;
mod text;

use std::time::Duration;

use crate::{
    duration::from_proto,
    limits::{
        BURST_EVERY_MAX, BURST_PACKETS_MAX, DURATION_MAX, POISSON_MILLIHERTZ_MAX,
        RATE_MILLIHERTZ_MAX, RATE_MILLIHERTZ_MIN, STEPS_MAX,
    },
    v1,
};

/// 1000 s in ns: a rate in millihertz is packets per 1000 s.
pub(crate) const NS_PER_1000_S: u128 = 1_000_000_000_000;

/// Packets per second from packets per 1000 s.
#[must_use]
pub fn hz(millihertz: u64) -> f64 {
    millihertz as f64 / 1e3
}

/// When the packets of one client are due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "a value that is copied a few times a run; a box would take Copy away"
)]
pub enum Profile {
    /// Packet n is due at start + n / rate.
    Constant {
        /// Packets per 1000 s, 1 to 10^9 in a plan that was checked.
        rate_millihertz: u64,
    },
    /// Independent arrivals: the gaps between packets are drawn from the exponential distribution.
    Poisson {
        /// The mean, 1 to 10^8.
        rate_millihertz: u64,
    },
    /// So many packets at once, again and again.
    Burst {
        /// Packets of a burst, 1 to [`BURST_PACKETS_MAX`].
        packets: u32,
        /// From one burst to the next, ns.
        every_ns: u64,
    },
    /// A rate that changes evenly from the start of the run to its end.
    Ramp {
        /// At the start, 0 to 10^9.
        from_millihertz: u64,
        /// At the end, 0 to 10^9; one of the two is above 0.
        to_millihertz: u64,
    },
    /// One constant rate after the other.
    Steps(Steps),
    /// A constant rate for a while, then silence for a while, again and again.
    OnOff {
        /// While it is on, 1 to 10^9.
        rate_millihertz: u64,
        /// How long it is on, ns.
        on_ns: u64,
        /// How long it is silent, ns.
        off_ns: u64,
    },
    /// A packet is due at the moment at which it is written, and the next write follows at once.
    Flood,
}

/// 1 to [`STEPS_MAX`] constant rates, one after the other; the last one stays to the end of the
/// run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Steps {
    steps: [Step; STEPS_MAX],
    len: usize,
}

/// One of several constant rates.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Step {
    /// Packets per 1000 s, 0 to 10^9: 0 is silence.
    pub rate_millihertz: u64,
    /// How long the rate stays, ns; of the last step 0, since that stays to the end.
    pub lasts_ns: u64,
}

/// Why a profile of the API is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadProfile {
    /// No shape, or one that this version does not have.
    #[error(
        "the profile has no shape that this version supports; constant, poisson, burst, ramp, \
         steps, on_off and flood are"
    )]
    Unsupported,
    /// A field of a shape, below the profile, and what is wrong with it.
    #[error("{problem}")]
    Field {
        /// Its path below the profile: `constant.rate_millihertz`, `steps.steps[1].duration`.
        field: String,
        /// The value, the allowed range and the way out.
        problem: String,
    },
}

impl Steps {
    /// Several rates; `None` when there are none or more than [`STEPS_MAX`]. What the last one
    /// lasts is not kept.
    #[must_use]
    pub fn new(steps: &[Step]) -> Option<Self> {
        let len = steps.len();
        if !(1..=STEPS_MAX).contains(&len) {
            return None;
        }
        let mut all = [Step::default(); STEPS_MAX];
        all[..len].copy_from_slice(steps);
        all[len - 1].lasts_ns = 0;
        Some(Self { steps: all, len })
    }

    /// In their order.
    #[must_use]
    pub fn as_slice(&self) -> &[Step] {
        &self.steps[..self.len]
    }

    /// When the last step begins, ns after the start. Saturates.
    #[must_use]
    pub fn last_begins_ns(&self) -> u64 {
        let steps = self.as_slice().iter();
        steps.fold(0, |sum, step| sum.saturating_add(step.lasts_ns))
    }
}

impl Profile {
    /// A steady rate; its range is checked where a plan is.
    #[must_use]
    pub fn constant(rate_millihertz: u64) -> Self {
        Self::Constant { rate_millihertz }
    }

    /// The rate of a client that never changes it, packets per 1000 s. `None` for any other.
    #[must_use]
    pub fn steady_millihertz(self) -> Option<u64> {
        match self {
            Self::Constant { rate_millihertz } => Some(rate_millihertz),
            _ => None,
        }
    }

    /// The highest rate that it ever has, packets per 1000 s, rounded up; of arrivals the mean.
    /// `None` for a flood, which has no rate.
    #[must_use]
    pub fn highest_millihertz(self) -> Option<u64> {
        Some(match self {
            Self::Constant { rate_millihertz }
            | Self::Poisson { rate_millihertz }
            | Self::OnOff {
                rate_millihertz, ..
            } => rate_millihertz,
            Self::Burst { packets, every_ns } => {
                let per_1000_s = u128::from(packets) * NS_PER_1000_S;
                u64::try_from(per_1000_s.div_ceil(every_ns.max(1).into())).unwrap_or(u64::MAX)
            }
            Self::Ramp {
                from_millihertz,
                to_millihertz,
            } => from_millihertz.max(to_millihertz),
            Self::Steps(steps) => {
                let rates = steps.as_slice().iter().map(|step| step.rate_millihertz);
                rates.max().unwrap_or(0)
            }
            Self::Flood => return None,
        })
    }

    /// Whether it has no schedule.
    #[must_use]
    pub fn is_flood(self) -> bool {
        self == Self::Flood
    }

    /// The form of the API.
    #[must_use]
    pub fn to_proto(self) -> v1::Profile {
        use v1::profile::Shape;
        let shape = match self {
            Self::Constant { rate_millihertz } => Shape::Constant(v1::Constant { rate_millihertz }),
            Self::Poisson { rate_millihertz } => Shape::Poisson(v1::Poisson { rate_millihertz }),
            Self::Burst { packets, every_ns } => Shape::Burst(v1::Burst {
                packets,
                every: to_proto(every_ns),
            }),
            Self::Ramp {
                from_millihertz,
                to_millihertz,
            } => Shape::Ramp(v1::Ramp {
                from_millihertz,
                to_millihertz,
            }),
            Self::Steps(steps) => Shape::Steps(v1::Steps {
                steps: steps.to_proto(),
            }),
            Self::OnOff {
                rate_millihertz,
                on_ns,
                off_ns,
            } => Shape::OnOff(v1::OnOff {
                rate_millihertz,
                on: to_proto(on_ns),
                off: to_proto(off_ns),
            }),
            Self::Flood => Shape::Flood(v1::Flood {}),
        };
        v1::Profile { shape: Some(shape) }
    }
}

impl Steps {
    fn to_proto(self) -> Vec<v1::Step> {
        let last = self.len - 1;
        let steps = self.as_slice().iter().enumerate();
        let step = |(index, step): (usize, &Step)| v1::Step {
            rate_millihertz: step.rate_millihertz,
            duration: (index < last).then(|| to_proto(step.lasts_ns)).flatten(),
        };
        steps.map(step).collect()
    }

    fn from_proto(steps: &[v1::Step]) -> Result<Self, BadProfile> {
        let field = "steps.steps";
        if !(1..=STEPS_MAX).contains(&steps.len()) {
            let problem = format!("{} rates; 1 to {STEPS_MAX} are allowed", steps.len());
            return bad(field, problem);
        }
        let last = steps.len() - 1;
        let mut all = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            let of_step = |name: &str| format!("{field}[{index}].{name}");
            all.push(Step {
                rate_millihertz: rate_or_none(&of_step("rate_millihertz"), step.rate_millihertz)?,
                lasts_ns: match &step.duration {
                    None if index == last => 0,
                    Some(_) if index == last => {
                        let problem = "the last rate stays to the end of the run; leave its \
                                       duration out";
                        return bad(&of_step("duration"), problem);
                    }
                    lasts => span(&of_step("duration"), lasts.as_ref())?,
                },
            });
        }
        if all.iter().all(|step| step.rate_millihertz == 0) {
            return bad(field, "no rate is above 0; give one that is");
        }
        Self::new(&all).ok_or(BadProfile::Unsupported)
    }
}

impl TryFrom<&v1::Profile> for Profile {
    type Error = BadProfile;

    fn try_from(profile: &v1::Profile) -> Result<Self, BadProfile> {
        use v1::profile::Shape;
        Ok(match &profile.shape {
            Some(Shape::Constant(constant)) => Self::Constant {
                rate_millihertz: rate("constant.rate_millihertz", constant.rate_millihertz)?,
            },
            Some(Shape::Poisson(v1::Poisson { rate_millihertz })) => poisson(*rate_millihertz)?,
            Some(Shape::Burst(of)) => burst(of)?,
            Some(Shape::Ramp(of)) => ramp(*of)?,
            Some(Shape::Steps(v1::Steps { steps })) => Self::Steps(Steps::from_proto(steps)?),
            Some(Shape::OnOff(of)) => Self::OnOff {
                rate_millihertz: rate("on_off.rate_millihertz", of.rate_millihertz)?,
                on_ns: span("on_off.on", of.on.as_ref())?,
                off_ns: span("on_off.off", of.off.as_ref())?,
            },
            Some(Shape::Flood(v1::Flood {})) => Self::Flood,
            None => return Err(BadProfile::Unsupported),
        })
    }
}

fn poisson(rate_millihertz: u64) -> Result<Profile, BadProfile> {
    let field = "poisson.rate_millihertz";
    if rate_millihertz > POISSON_MILLIHERTZ_MAX {
        let problem = format!(
            "{} packets/s are out of range; 0.001 to {} per client are allowed for random \
             arrivals, so use more clients",
            hz(rate_millihertz),
            hz(POISSON_MILLIHERTZ_MAX)
        );
        return bad(field, problem);
    }
    Ok(Profile::Poisson {
        rate_millihertz: rate(field, rate_millihertz)?,
    })
}

fn burst(burst: &v1::Burst) -> Result<Profile, BadProfile> {
    let packets = burst.packets;
    if !(1..=BURST_PACKETS_MAX).contains(&packets) {
        let problem =
            format!("{packets} is out of range; 1 to {BURST_PACKETS_MAX} packets are allowed");
        return bad("burst.packets", problem);
    }
    let every_ns = span("burst.every", burst.every.as_ref())?;
    if u128::from(every_ns) > BURST_EVERY_MAX.as_nanos() {
        let problem = format!(
            "{:?} is out of range; at most {BURST_EVERY_MAX:?} from burst to burst are allowed",
            Duration::from_nanos(every_ns)
        );
        return bad("burst.every", problem);
    }
    let profile = Profile::Burst { packets, every_ns };
    if profile
        .highest_millihertz()
        .is_none_or(|rate| rate > RATE_MILLIHERTZ_MAX)
    {
        let problem = format!(
            "bursts of {packets} packets every {:?} overlap; allow 1 µs for each packet, so at \
             least {:?}, or send fewer packets",
            Duration::from_nanos(every_ns),
            Duration::from_micros(packets.into())
        );
        return bad("burst.every", problem);
    }
    Ok(profile)
}

fn ramp(ramp: v1::Ramp) -> Result<Profile, BadProfile> {
    let from_millihertz = rate_or_none("ramp.from_millihertz", ramp.from_millihertz)?;
    let to_millihertz = rate_or_none("ramp.to_millihertz", ramp.to_millihertz)?;
    if from_millihertz == 0 && to_millihertz == 0 {
        return bad(
            "ramp",
            "from 0 to 0 is no load; give a rate above 0 at one end",
        );
    }
    Ok(Profile::Ramp {
        from_millihertz,
        to_millihertz,
    })
}

fn bad<T>(field: &str, problem: impl Into<String>) -> Result<T, BadProfile> {
    Err(BadProfile::Field {
        field: field.into(),
        problem: problem.into(),
    })
}

fn rate(field: &str, millihertz: u64) -> Result<u64, BadProfile> {
    if (RATE_MILLIHERTZ_MIN..=RATE_MILLIHERTZ_MAX).contains(&millihertz) {
        return Ok(millihertz);
    }
    let problem = format!(
        "{} packets/s are out of range; 0.001 to 1,000,000 per client are allowed",
        hz(millihertz)
    );
    bad(field, problem)
}

fn rate_or_none(field: &str, millihertz: u64) -> Result<u64, BadProfile> {
    if millihertz == 0 {
        return Ok(0);
    }
    rate(field, millihertz)
}

/// A span of time of a shape, ns: above 0, at most that of the longest run.
fn span(field: &str, span: Option<&prost_types::Duration>) -> Result<u64, BadProfile> {
    let range = "more than 0 s, at most 24 h";
    let Some(span) = span else {
        return bad(field, format!("missing; give {range}"));
    };
    let ns = from_proto(span)
        .filter(|span| !span.is_zero() && *span <= DURATION_MAX)
        .and_then(|span| u64::try_from(span.as_nanos()).ok());
    match ns {
        Some(ns) => Ok(ns),
        None => {
            let seconds = span.seconds as f64 + f64::from(span.nanos) / 1e9;
            bad(
                field,
                format!("{seconds} s is out of range; {range} are allowed"),
            )
        }
    }
}

fn to_proto(ns: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_nanos(ns)).ok()
}

#[cfg(test)]
mod tests;
