//! What may be asked of a run: parsed once, with every limit, so that nothing later re-checks it.
//!
//! [`Plan::try_from`] is the only way in; its error names the field as the API spells it, the value
//! and the allowed range.

use std::time::Duration;

use crate::{address::HostPort, rate::Rate, schedule::Schedule, v1};

/// Most clients of one run; a client's index must fit two bytes of the hello.
pub const CLIENTS_MAX: u32 = 10_000;
/// Highest rate of one client: a packet every µs.
pub const RATE_HZ_MAX: f64 = 1_000_000.0;
/// Lowest rate of one client, and the step between rates.
pub const RATE_HZ_MIN: f64 = 0.001;
/// Most packets per second of all clients together: more than any host of today takes one by one.
pub const TOTAL_RATE_HZ_MAX: f64 = 10_000_000.0;
/// Shortest run.
pub const DURATION_MIN: Duration = Duration::from_millis(1);
/// Longest run.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Most packets per write: 32 KiB, which fits every socket buffer.
pub const BATCH_MAX: u32 = 1024;
/// Most pacing threads of one agent.
pub const THREADS_MAX: u32 = 64;
/// Most agents named in a plan.
pub const AGENTS_MAX: usize = 256;
/// Longest target, bytes.
pub const TARGET_BYTES_MAX: usize = 255;
/// Longest agent name, bytes.
pub const AGENT_NAME_BYTES_MAX: usize = 63;

/// A plan whose every field is within its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// 1 to [`CLIENTS_MAX`].
    pub clients: u32,
    /// How fast each client sends.
    pub rate: Rate,
    /// [`DURATION_MIN`] to [`DURATION_MAX`].
    pub duration: Duration,
    /// 1 to [`BATCH_MAX`].
    pub batch: u32,
    /// Never unspecified.
    pub phase: v1::Phase,
    /// 1 to [`THREADS_MAX`].
    pub threads: u32,
    /// Names of agents; empty for all.
    pub agents: Vec<String>,
    /// HOST:PORT, or empty for the server's own.
    pub target: String,
}

/// A field of a plan that is out of its range.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PlanError {
    /// Name of the field in the API: `clients`, `rate_hz`, …
    pub field: &'static str,
    /// The value, the allowed range and the way out.
    pub problem: String,
}

impl Plan {
    /// Packets of each client: floor(rate × duration), at least 1. `None` for a flood, which plans
    /// none.
    #[must_use]
    pub fn packets_per_client(&self) -> Option<u64> {
        self.schedule(0).map(|schedule| schedule.packets)
    }

    /// Packets per second of one client; 0 for a flood.
    #[must_use]
    pub fn rate_hz(&self) -> f64 {
        self.rate.hz()
    }

    /// The schedule of a client whose first packet is due at `start_ns`. `None` for a flood.
    #[must_use]
    pub fn schedule(&self, start_ns: u64) -> Option<Schedule> {
        let Rate::Millihertz(rate_millihertz) = self.rate else {
            return None;
        };
        let packets = u128::from(rate_millihertz) * self.duration.as_nanos() / 1_000_000_000_000;
        let packets = u64::try_from(packets).unwrap_or(u64::MAX).max(1);
        Some(Schedule {
            start_ns,
            rate_millihertz,
            batch: self.batch,
            packets,
        })
    }

    /// The form of the API.
    #[must_use]
    pub fn to_proto(&self) -> v1::Plan {
        v1::Plan {
            clients: self.clients,
            rate_hz: self.rate_hz(),
            duration: prost_types::Duration::try_from(self.duration).ok(),
            batch: self.batch,
            phase: self.phase.into(),
            threads: self.threads,
            agents: self.agents.clone(),
            target: self.target.clone(),
            flood: self.rate == Rate::Max,
        }
    }
}

impl TryFrom<&v1::Plan> for Plan {
    type Error = PlanError;

    fn try_from(asked: &v1::Plan) -> Result<Self, PlanError> {
        let clients = within("clients", asked.clients, 1, CLIENTS_MAX)?;
        let rate = rate(asked)?;
        let duration = duration(asked.duration.as_ref())?;
        let total_hz = f64::from(clients) * asked.rate_hz;
        if total_hz > TOTAL_RATE_HZ_MAX {
            let problem = format!(
                "{clients} clients of {} Hz are {total_hz} packets/s together; at most \
                 {TOTAL_RATE_HZ_MAX} are allowed, so lower one of the two",
                asked.rate_hz
            );
            return Err(PlanError {
                field: "rate_hz",
                problem,
            });
        }
        Ok(Self {
            clients,
            rate,
            duration,
            batch: batch(asked)?,
            phase: phase(asked.phase)?,
            threads: within("threads", asked.threads.max(1), 1, THREADS_MAX)?,
            agents: agents(&asked.agents)?,
            target: target(&asked.target)?,
        })
    }
}

/// Whether `name` may name an agent: 1 to 63 characters of `[a-z0-9-]`.
#[must_use]
pub fn is_agent_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=AGENT_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

fn within(field: &'static str, value: u32, min: u32, max: u32) -> Result<u32, PlanError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(PlanError {
        field,
        problem: format!("{value} is out of range; {min} to {max} are allowed"),
    })
}

fn batch(asked: &v1::Plan) -> Result<u32, PlanError> {
    let batch = match (asked.batch, asked.flood) {
        (0, true) => BATCH_MAX,
        (0, false) => 1,
        (batch, _) => batch,
    };
    within("batch", batch, 1, BATCH_MAX)
}

fn rate(asked: &v1::Plan) -> Result<Rate, PlanError> {
    let hz = asked.rate_hz;
    if asked.flood {
        let problem = || {
            format!(
                "{hz} together with flood; a flood has no rate, so leave rate_hz 0 or flood away"
            )
        };
        return if hz == 0.0 {
            Ok(Rate::Max)
        } else {
            Err(PlanError {
                field: "rate_hz",
                problem: problem(),
            })
        };
    }
    // Written so that NaN fails it.
    let allowed = (RATE_HZ_MIN..=RATE_HZ_MAX).contains(&hz);
    if !allowed {
        let problem = format!(
            "{hz} is out of range; {RATE_HZ_MIN} to {RATE_HZ_MAX} packets/s per client are allowed"
        );
        return Err(PlanError {
            field: "rate_hz",
            problem,
        });
    }
    Ok(Rate::Millihertz((hz * 1e3).round() as u64))
}

fn duration(asked: Option<&prost_types::Duration>) -> Result<Duration, PlanError> {
    let error = |problem| PlanError {
        field: "duration",
        problem,
    };
    let asked = asked.ok_or_else(|| error("missing; 1 ms to 24 h are allowed".into()))?;
    let seconds = asked.seconds as f64 + f64::from(asked.nanos) / 1e9;
    // Not Duration::try_from: prost-types 0.14.6 overflows on the lowest i64, which a peer may
    // send.
    let parts = u64::try_from(asked.seconds).ok().zip(
        u32::try_from(asked.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000),
    );
    parts
        .filter(|(seconds, _)| *seconds <= DURATION_MAX.as_secs())
        .map(|(seconds, nanos)| Duration::new(seconds, nanos))
        .filter(|duration| (DURATION_MIN..=DURATION_MAX).contains(duration))
        .ok_or_else(|| {
            error(format!(
                "{seconds} s is out of range; 1 ms to 24 h are allowed"
            ))
        })
}

fn phase(asked: i32) -> Result<v1::Phase, PlanError> {
    match v1::Phase::try_from(asked) {
        Ok(v1::Phase::Unspecified) => Ok(v1::Phase::Staggered),
        Ok(phase) => Ok(phase),
        Err(_) => {
            let problem =
                format!("{asked} is unknown; staggered (1), spread (2) and aligned (3) exist");
            Err(PlanError {
                field: "phase",
                problem,
            })
        }
    }
}

fn agents(asked: &[String]) -> Result<Vec<String>, PlanError> {
    let error = |problem| {
        Err(PlanError {
            field: "agents",
            problem,
        })
    };
    if asked.len() > AGENTS_MAX {
        return error(format!(
            "{} names are too many; at most {AGENTS_MAX} are allowed",
            asked.len()
        ));
    }
    if let Some(bad) = asked.iter().find(|name| !is_agent_name(name)) {
        return error(format!(
            "{bad:?} is no agent name; 1 to 63 characters of a-z, 0-9 and - are"
        ));
    }
    let mut names = asked.to_vec();
    names.sort_unstable();
    names.dedup();
    if names.len() < asked.len() {
        return error("a name stands there twice; name each agent once".into());
    }
    Ok(names)
}

fn target(asked: &str) -> Result<String, PlanError> {
    let error = |problem| {
        Err(PlanError {
            field: "target",
            problem,
        })
    };
    if asked.is_empty() {
        return Ok(String::new());
    }
    if asked.len() > TARGET_BYTES_MAX {
        return error(format!(
            "{} bytes are too long; at most {TARGET_BYTES_MAX} are allowed",
            asked.len()
        ));
    }
    if asked.parse::<HostPort>().is_ok() {
        return Ok(asked.into());
    }
    error(format!(
        "{asked:?} is no address; write HOST:PORT, for example 192.0.2.7:8888 or [2001:db8::7]:8888"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(clients: u32, rate_hz: f64, seconds: i64, nanos: i32) -> v1::Plan {
        v1::Plan {
            clients,
            rate_hz,
            duration: Some(prost_types::Duration { seconds, nanos }),
            ..v1::Plan::default()
        }
    }

    #[track_caller]
    fn refused(asked: &v1::Plan, field: &str) {
        let error = Plan::try_from(asked).expect_err("out of range");
        assert_eq!(error.field, field, "{error}");
        assert!(error.problem.len() > 20, "{error}");
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_the_name_of_its_field() {
        for clients in [0, CLIENTS_MAX + 1, u32::MAX] {
            refused(&asked(clients, 1.0, 1, 0), "clients");
        }
        for rate_hz in [
            0.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e12,
            f64::MIN_POSITIVE,
            0.0009,
        ] {
            refused(&asked(1, rate_hz, 1, 0), "rate_hz");
        }
        refused(&asked(11, 1e6, 1, 0), "rate_hz");
        for (seconds, nanos) in [
            (0, 0),
            (-1, 0),
            (0, 999_999),
            (31_536_000, 0),
            (86_400, 1),
            (i64::MAX, i32::MAX),
            (i64::MIN, i32::MIN),
        ] {
            refused(&asked(1, 1.0, seconds, nanos), "duration");
        }
        refused(
            &v1::Plan {
                duration: None,
                ..asked(1, 1.0, 1, 0)
            },
            "duration",
        );
        refused(
            &v1::Plan {
                batch: 1025,
                ..asked(1, 1.0, 1, 0)
            },
            "batch",
        );
        refused(
            &v1::Plan {
                threads: 65,
                ..asked(1, 1.0, 1, 0)
            },
            "threads",
        );
        refused(
            &v1::Plan {
                phase: 9,
                ..asked(1, 1.0, 1, 0)
            },
            "phase",
        );
        for names in [
            vec!["A"],
            vec![""],
            vec!["a\x1b[31m"],
            vec!["a", "a"],
            vec!["x"; 300],
        ] {
            let agents = names.into_iter().map(String::from).collect();
            refused(
                &v1::Plan {
                    agents,
                    ..asked(1, 1.0, 1, 0)
                },
                "agents",
            );
        }
        for target in [
            "nohost",
            ":80",
            "h:0",
            "h:65536",
            "h h:80",
            "h\r\n:80",
            "2001:db8::7:80",
            "a~b:80",
            "[x]:80",
        ] {
            refused(
                &v1::Plan {
                    target: target.into(),
                    ..asked(1, 1.0, 1, 0)
                },
                "target",
            );
        }
    }

    #[test]
    fn the_plan_of_the_front_page_is_a_million_packets() {
        let plan = Plan::try_from(&asked(10, 10_000.0, 10, 0)).unwrap();
        assert_eq!(plan.packets_per_client(), Some(100_000));
        assert_eq!(
            (plan.batch, plan.threads, plan.phase),
            (1, 1, v1::Phase::Staggered)
        );
    }

    #[test]
    fn a_flood_plans_no_packets_and_fills_its_writes() {
        let flood = v1::Plan {
            flood: true,
            ..asked(10, 0.0, 10, 0)
        };
        let plan = Plan::try_from(&flood).unwrap();
        assert_eq!(
            (plan.rate, plan.batch, plan.packets_per_client()),
            (Rate::Max, BATCH_MAX, None)
        );
        assert_eq!(Plan::try_from(&plan.to_proto()), Ok(plan));
        refused(
            &v1::Plan {
                rate_hz: 10.0,
                ..flood.clone()
            },
            "rate_hz",
        );
        refused(
            &v1::Plan {
                batch: 1025,
                ..flood
            },
            "batch",
        );
    }

    proptest! {
        #[test]
        fn any_plan_is_taken_or_refused_and_what_is_taken_survives_the_api(
            clients: u32, rate_hz: f64, seconds: i64, nanos: i32, batch: u32, phase: i32,
            threads: u32, target: String, flood: bool,
        ) {
            let asked = v1::Plan {
                batch,
                phase,
                threads,
                target,
                flood,
                ..asked(clients, rate_hz, seconds, nanos)
            };
            if let Ok(plan) = Plan::try_from(&asked) {
                prop_assert_eq!(Plan::try_from(&plan.to_proto()), Ok(plan));
            }
        }

        #[test]
        fn a_plan_within_the_limits_is_taken(
            clients in 1..=CLIENTS_MAX,
            rate_hz in 0.001..1000.0_f64,
            ms in 1..86_400_000_i64,
        ) {
            let nanos = (ms % 1000) as i32 * 1_000_000;
            let plan = Plan::try_from(&asked(clients, rate_hz, ms / 1000, nanos)).unwrap();
            let expected = (plan.rate_hz() * ms as f64 / 1e3).max(1.0);
            prop_assert!((plan.packets_per_client().unwrap() as f64 - expected).abs() <= 1.0);
            prop_assert_eq!(Plan::try_from(&plan.to_proto()), Ok(plan));
        }
    }
}
