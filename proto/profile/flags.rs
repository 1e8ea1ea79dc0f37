//! A profile from the parts that a command line or a line of a group gives: rate, arrivals, burst,
//! every, on, off. The parts are named here as they are there, without dashes.

use std::{str::FromStr, time::Duration};

use super::{BadProfile, Profile};

/// The rate of each client when no part is given: 10,000 packets/s, as packets per 1000 s.
pub const RATE_MILLIHERTZ_DEFAULT: u64 = 10_000_000;

/// How packets arrive, where not evenly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrivals {
    /// Independently of each other: the rate is their mean.
    Poisson,
}

/// Parts that make no profile.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct BadParts {
    /// The part, without dashes: `rate`, `arrivals`, `burst`, `every`, `on` or `off`.
    pub part: &'static str,
    /// What is wrong, the allowed range and the way out: a phrase to follow the name of the part.
    pub problem: String,
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "poisson" => Ok(Self::Poisson),
            _ => Err(
                "poisson is the one kind of arrivals; leave it out for packets at even \
                      distances"
                    .into(),
            ),
        }
    }
}

/// The profile of these parts, within the ranges of the API; without any, a constant rate of
/// [`RATE_MILLIHERTZ_DEFAULT`].
///
/// # Errors
///
/// Parts that exclude each other, one without the other that it needs, or out of range.
pub fn from_parts(
    rate: Option<Profile>,
    arrivals: Option<Arrivals>,
    burst: Option<u32>,
    every: Option<Duration>,
    on: Option<Duration>,
    off: Option<Duration>,
) -> Result<Profile, BadParts> {
    let profile = match (burst, every) {
        (Some(packets), Some(every)) => {
            let others = [
                ("rate", rate.is_some()),
                ("arrivals", arrivals.is_some()),
                ("on", on.is_some()),
                ("off", off.is_some()),
            ];
            if let Some((other, _)) = others.iter().find(|(_, is_given)| *is_given) {
                return bad(
                    "burst",
                    format!("bursts do not go with {other}; leave out one of the two"),
                );
            }
            let every_ns = ns(every);
            Profile::Burst { packets, every_ns }
        }
        (Some(packets), None) => {
            let problem = format!(
                "the time from one burst to the next is missing; give every, too, as in burst \
                 {packets}, every 5ms"
            );
            return bad("burst", problem);
        }
        (None, Some(_)) => {
            return bad(
                "every",
                "the packets of a burst are missing; give burst, too, as in burst 50, every 5ms",
            );
        }
        (None, None) => with_rate(rate, arrivals, on, off)?,
    };
    match Profile::try_from(&profile.to_proto()) {
        Ok(profile) => Ok(profile),
        Err(BadProfile::Field { field, problem }) => bad(part_of(&field), problem),
        Err(unsupported @ BadProfile::Unsupported) => bad("rate", unsupported.to_string()),
    }
}

fn with_rate(
    rate: Option<Profile>,
    arrivals: Option<Arrivals>,
    on: Option<Duration>,
    off: Option<Duration>,
) -> Result<Profile, BadParts> {
    let rate = rate.unwrap_or(Profile::constant(RATE_MILLIHERTZ_DEFAULT));
    let one_rate = |part, what: &str| match rate.steady_millihertz() {
        Some(rate_millihertz) => Ok(rate_millihertz),
        None => bad(
            part,
            format!("{what} takes one rate, such as 10k, and not {rate}; leave out one of the two"),
        ),
    };
    match (arrivals, on, off) {
        (None, None, None) => Ok(rate),
        (Some(Arrivals::Poisson), None, None) => Ok(Profile::Poisson {
            rate_millihertz: one_rate("arrivals", "poisson")?,
        }),
        (Some(Arrivals::Poisson), ..) => bad(
            "arrivals",
            "poisson does not go with on and off; leave out one of the two",
        ),
        (None, Some(on), Some(off)) => Ok(Profile::OnOff {
            rate_millihertz: one_rate("on", "a load that is on and off")?,
            on_ns: ns(on),
            off_ns: ns(off),
        }),
        (None, Some(_), None) => bad(
            "on",
            "the time of silence is missing; give off, too, as in on 2s, off 1s",
        ),
        (None, None, Some(_)) => bad(
            "off",
            "the time of load is missing; give on, too, as in on 2s, off 1s",
        ),
    }
}

/// The part that gives a field of a profile of the API; the path may have more in front of it.
#[must_use]
pub fn part_of(field: &str) -> &'static str {
    const PARTS: [(&str, &str); 4] = [
        ("burst.packets", "burst"),
        ("burst.every", "every"),
        ("on_off.on", "on"),
        ("on_off.off", "off"),
    ];
    let part = PARTS.iter().find(|(path, _)| field.ends_with(path));
    part.map_or("rate", |(_, part)| part)
}

fn bad<T>(part: &'static str, problem: impl Into<String>) -> Result<T, BadParts> {
    let problem = problem.into();
    Err(BadParts { part, problem })
}

fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rate(text: &str) -> Option<Profile> {
        Some(text.parse().unwrap())
    }

    #[track_caller]
    fn refused(part: &str, result: Result<Profile, BadParts>) {
        let error = result.unwrap_err();
        assert_eq!(error.part, part, "{error}");
    }

    #[test]
    fn each_shape_has_its_parts() {
        let poisson = Some(Arrivals::Poisson);
        for (profile, shown) in [
            (from_parts(None, None, None, None, None, None), "10000"),
            (from_parts(rate("max"), None, None, None, None, None), "max"),
            (
                from_parts(rate("1k..20k"), None, None, None, None, None),
                "1000..20000",
            ),
            (
                from_parts(rate("1k:5s,10k"), None, None, None, None, None),
                "1000:5s,10000",
            ),
            (
                from_parts(rate("5k"), poisson, None, None, None, None),
                "5000 poisson",
            ),
            (
                from_parts(None, poisson, None, None, None, None),
                "10000 poisson",
            ),
            (
                from_parts(None, None, Some(50), Some(5 * MS), None, None),
                "50 every 5ms",
            ),
            (
                from_parts(rate("1k"), None, None, None, Some(2 * MS), Some(MS)),
                "1000, on 2ms, off 1ms",
            ),
        ] {
            assert_eq!(profile.unwrap().to_string(), shown);
        }
    }

    #[test]
    fn parts_that_exclude_or_lack_each_other_are_refused_by_name() {
        let (poisson, ms) = (Some(Arrivals::Poisson), Some(MS));
        refused(
            "burst",
            from_parts(rate("1k"), None, Some(5), ms, None, None),
        );
        refused("burst", from_parts(None, poisson, Some(5), ms, None, None));
        refused("burst", from_parts(None, None, Some(5), ms, ms, ms));
        refused("burst", from_parts(None, None, Some(5), None, None, None));
        refused("every", from_parts(None, None, None, ms, None, None));
        refused(
            "arrivals",
            from_parts(rate("max"), poisson, None, None, None, None),
        );
        refused(
            "arrivals",
            from_parts(rate("1..2"), poisson, None, None, None, None),
        );
        refused(
            "arrivals",
            from_parts(rate("1k"), poisson, None, None, ms, ms),
        );
        refused("on", from_parts(rate("1:1s,2"), None, None, None, ms, ms));
        refused("on", from_parts(rate("1k"), None, None, None, ms, None));
        refused("off", from_parts(None, None, None, None, None, ms));
    }

    #[test]
    fn a_part_out_of_its_range_is_refused_by_name() {
        let (none, ms) = (Some(Duration::ZERO), Some(MS));
        refused("burst", from_parts(None, None, Some(0), ms, None, None));
        refused("every", from_parts(None, None, Some(1), none, None, None));
        refused("every", from_parts(None, None, Some(1001), ms, None, None));
        refused("on", from_parts(None, None, None, None, none, ms));
        refused("off", from_parts(None, None, None, None, ms, none));
        refused(
            "rate",
            from_parts(rate("0.001..1M"), None, None, None, None, None).and_then(|_| {
                from_parts(
                    rate("200k"),
                    Some(Arrivals::Poisson),
                    None,
                    None,
                    None,
                    None,
                )
            }),
        );
    }
}
