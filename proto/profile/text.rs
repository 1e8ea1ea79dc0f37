//! A profile as text: how a user writes its rates, and how it is shown.

use std::{fmt, str::FromStr, time::Duration};

use super::{Profile, Step, Steps, hz};
use crate::{
    duration,
    exact::scaled,
    limits::{RATE_MILLIHERTZ_MAX, RATE_MILLIHERTZ_MIN, STEPS_MAX},
};

/// Rates as a user writes them: one (`10000`, `10k`, `0.5`, `1M`), a ramp (`1k..20k`), steps
/// (`1k:5s,5k:5s,10k`), or `max` for a flood. Ranges are checked where a plan is.
impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Flood);
        }
        if let Some((from, to)) = text.split_once("..") {
            return Ok(Self::Ramp {
                from_millihertz: millihertz(from)?,
                to_millihertz: millihertz(to)?,
            });
        }
        if text.contains([':', ',']) {
            return steps(text).map(Self::Steps);
        }
        millihertz(text).map(Self::constant)
    }
}

fn steps(text: &str) -> Result<Steps, String> {
    let parts: Vec<_> = text.split(',').collect();
    let last = parts.len() - 1;
    let step = |(index, part): (usize, &&str)| match (part.split_once(':'), index == last) {
        (Some((rate, lasts)), false) => Ok(Step {
            rate_millihertz: millihertz(rate)?,
            lasts_ns: span_ns(lasts)?,
        }),
        (None, true) => Ok(Step {
            rate_millihertz: millihertz(part)?,
            lasts_ns: 0,
        }),
        (Some(_), true) => Err(format!(
            "{part:?}: the last rate stays to the end of the run, so it has no time"
        )),
        (None, false) => Err(format!(
            "{part:?} has no time; write RATE:TIME,…,RATE, as in 1k:5s,5k:5s,10k"
        )),
    };
    let all = parts.iter().enumerate().map(step);
    Steps::new(&all.collect::<Result<Vec<_>, String>>()?).ok_or_else(|| {
        format!(
            "{} rates are too many; 1 to {STEPS_MAX} are allowed",
            last + 1
        )
    })
}

fn span_ns(text: &str) -> Result<u64, String> {
    let out_of_range = || format!("{text:?}: a rate lasts more than 0 s, at most 24 h");
    if text.starts_with('-') {
        return Err(out_of_range());
    }
    let span = duration::parse(text).map_err(|bad| format!("{text:?}: {bad}"))?;
    let ns = u64::try_from(span.as_nanos()).ok().filter(|ns| *ns > 0);
    ns.ok_or_else(out_of_range)
}

/// Packets per 1000 s from packets per second as a user writes them.
fn millihertz(text: &str) -> Result<u64, String> {
    let (digits, decimals) = match text.strip_suffix(['k', 'K', 'M']) {
        Some(digits) if text.ends_with('M') => (digits, 9),
        Some(digits) => (digits, 6),
        None => (text, 3),
    };
    if let Some(millihertz) = scaled(digits, decimals) {
        return Ok(millihertz);
    }
    let number: f64 = digits.parse().map_err(|_| {
        "packets per second are a number such as 10000, 10k or 0.5, a ramp such as 1k..20k, steps \
         such as 1k:5s,5k:5s,10k, or the word max"
            .to_owned()
    })?;
    let nearest = (number * 10_f64.powi(decimals.cast_signed())).round();
    // Written so that NaN fails it.
    let allowed = RATE_MILLIHERTZ_MIN as f64..=RATE_MILLIHERTZ_MAX as f64;
    if !allowed.contains(&nearest) {
        return Err("0.001 to 1,000,000 packets/s per client are allowed".into());
    }
    Err(format!(
        "rates are written in full and go in steps of 0.001 packets/s; the nearest one is {}",
        hz(nearest as u64)
    ))
}

/// Rates in the form that [`FromStr`] reads; what else a shape has is behind them.
impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant { rate_millihertz } => write!(formatter, "{}", hz(*rate_millihertz)),
            Self::Poisson { rate_millihertz } => {
                write!(formatter, "{} poisson", hz(*rate_millihertz))
            }
            Self::Burst { packets, every_ns } => {
                write!(formatter, "{packets} every {}", span(*every_ns))
            }
            Self::Ramp {
                from_millihertz,
                to_millihertz,
            } => write!(
                formatter,
                "{}..{}",
                hz(*from_millihertz),
                hz(*to_millihertz)
            ),
            Self::Steps(steps) => write!(formatter, "{steps}"),
            Self::OnOff {
                rate_millihertz,
                on_ns,
                off_ns,
            } => write!(
                formatter,
                "{}, on {}, off {}",
                hz(*rate_millihertz),
                span(*on_ns),
                span(*off_ns)
            ),
            Self::Flood => formatter.write_str("max"),
        }
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.as_slice().len() - 1;
        for (index, step) in self.as_slice().iter().enumerate() {
            write!(formatter, "{}", hz(step.rate_millihertz))?;
            if index < last {
                write!(formatter, ":{},", span(step.lasts_ns))?;
            }
        }
        Ok(())
    }
}

/// A span of time as a flag has it, without a space: `1m30s`.
fn span(ns: u64) -> String {
    let span = humantime::format_duration(Duration::from_nanos(ns)).to_string();
    span.replace(' ', "")
}
