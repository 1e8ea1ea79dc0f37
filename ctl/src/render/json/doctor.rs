//! The JSON object of `doctor`. What was not measured is null.

use metronome_proto::{
    json::{SCHEMA_VERSION, text, values},
    threshold::quantile_name,
    v1::ThreadPriority,
};
use serde::Serialize;

use crate::doctor::{
    Examination,
    capacity::Capacity,
    finding::{Finding, Level},
    load::Load,
    shares::Shares,
    trial::{End, Trial},
};

/// The load, what real runs showed of it, and the findings.
pub(crate) fn examination(examination: &Examination) -> String {
    let Examination {
        load,
        priority,
        measured,
        findings,
    } = examination;
    let measured = measured.as_ref();
    text(&Doctor {
        schema_version: SCHEMA_VERSION,
        status: status(findings),
        load: load.into(),
        run: measured.map(|measured| Ran::from(&measured.trial)),
        capacity: measured
            .and_then(|measured| measured.capacity.as_ref())
            .map(Held::from),
        other_use: measured
            .and_then(|measured| measured.shares)
            .map(OtherUse::from),
        priority: priority.and_then(ThreadPriority::word),
        findings: findings.iter().map(Found::from).collect(),
    })
}

#[derive(Serialize)]
struct Doctor<'a> {
    schema_version: u32,
    status: &'static str,
    load: AskedLoad,
    run: Option<Ran<'a>>,
    capacity: Option<Held<'a>>,
    other_use: Option<OtherUse>,
    priority: Option<&'static str>,
    findings: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct AskedLoad {
    clients: u32,
    rate_hz: f64,
}

impl From<&Load> for AskedLoad {
    fn from(load: &Load) -> Self {
        Self {
            clients: load.clients,
            rate_hz: load.rate_hz,
        }
    }
}

#[derive(Serialize)]
struct Ran<'a> {
    duration_s: f64,
    end: &'static str,
    reasons: Vec<&'a str>,
    valid_to: Option<String>,
    lateness_p50_us: Option<f64>,
    lateness_p99_us: Option<f64>,
    agent_cores: Option<f64>,
    worker_cores: Option<f64>,
}

impl<'a> From<&'a Trial> for Ran<'a> {
    fn from(trial: &'a Trial) -> Self {
        Self {
            duration_s: trial.seconds,
            end: match trial.end {
                End::Held => "held",
                End::NotHeld => "not_held",
                End::NotJudged => "not_judged",
                End::Partial => "partial",
                End::Invalid => "invalid",
                End::Failed => "failed",
            },
            reasons: trial.grounds.iter().map(|of| of.code.as_str()).collect(),
            valid_to: trial.valid_to_ppm.map(quantile_name),
            lateness_p50_us: trial.lateness_p50_ns.map(values::micros),
            lateness_p99_us: trial.lateness_p99_ns.map(values::micros),
            agent_cores: trial.agent_cores,
            worker_cores: trial.worker_cores,
        }
    }
}

#[derive(Serialize)]
struct Held<'a> {
    held_clients: Option<u32>,
    held_duration_s: Option<f64>,
    agent_cores: Option<f64>,
    not_held_clients: Option<u32>,
    not_held_reasons: Option<&'a [String]>,
}

impl<'a> From<&'a Capacity> for Held<'a> {
    fn from(capacity: &'a Capacity) -> Self {
        let (held, refused) = (capacity.held.as_ref(), capacity.refused.as_ref());
        Self {
            held_clients: held.map(|held| held.clients),
            held_duration_s: held.and_then(|held| held.longest_s()),
            agent_cores: held.and_then(|held| held.agent_cores),
            not_held_clients: refused.map(|refused| refused.clients),
            not_held_reasons: refused.map(|refused| refused.codes.as_slice()),
        }
    }
}

#[derive(Serialize)]
struct OtherUse {
    cores: Option<f64>,
    stolen_percent: f64,
}

impl From<Shares> for OtherUse {
    fn from(shares: Shares) -> Self {
        Self {
            cores: shares.other_cores,
            stolen_percent: shares.stolen * 100.0,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Found<'a> {
    check: &'a str,
    level: &'static str,
    observed: &'a str,
    cure: Option<&'a str>,
}

impl<'a> From<&'a Finding> for Found<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            check: finding.check,
            level: word(finding.level),
            observed: &finding.observed,
            cure: finding.cure.as_deref(),
        }
    }
}

/// The level of the worst finding.
pub(super) fn status(findings: &[Finding]) -> &'static str {
    let levels = findings.iter().map(|finding| finding.level);
    word(levels.max().unwrap_or(Level::Fine))
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Fine => "ok",
        Level::Warning => "warning",
        Level::Problem => "problem",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::{doctor::Measured, render::json::assert_valid};

    use super::*;

    fn examination(measured: Option<Measured>) -> Examination {
        Examination {
            load: Load {
                clients: 10,
                rate_hz: 10_000.0,
            },
            priority: None,
            measured,
            findings: vec![
                Finding::fine("cores", "2 of 2"),
                Finding::problem("ports", "10", "`sysctl -w a=\u{1b}b`"),
            ],
        }
    }

    #[test]
    fn the_object_s_status_is_its_worst_finding_s() {
        let object = assert_valid(&super::examination(&examination(Some(Measured::example()))));
        assert_eq!(object["status"], "problem");
        assert_eq!(object["findings"][0]["observed"], "2 of 2");
        assert_eq!(object["findings"][0]["cure"], Value::Null);
        assert_eq!(object["run"]["end"], "held");
        assert_eq!(object["run"]["lateness_p99_us"], 50.1);
    }

    #[test]
    fn the_priority_has_the_word_that_the_environment_of_a_result_has() {
        for priority in [
            ThreadPriority::Ordinary,
            ThreadPriority::RaisedNice,
            ThreadPriority::RealTime,
        ] {
            let examination = Examination {
                priority: Some(priority),
                ..examination(None)
            };
            let object = assert_valid(&super::examination(&examination));
            assert_eq!(object["priority"].as_str(), priority.word());
        }
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let object = assert_valid(&super::examination(&examination(None)));
        for field in ["run", "capacity", "other_use", "priority"] {
            assert_eq!(object[field], Value::Null, "{field}");
        }
        let quick = assert_valid(&super::examination(&examination(Some(Measured::example()))));
        assert_eq!(quick["capacity"], Value::Null);
    }

    #[test]
    fn a_capacity_is_what_was_held_and_what_was_not() {
        let capacity = Capacity {
            held: None,
            refused: Some(crate::doctor::capacity::Refused {
                clients: 1,
                codes: vec!["LATENESS".into()],
            }),
            is_at_most: false,
        };
        let measured = Measured {
            capacity: Some(capacity),
            ..Measured::example()
        };
        let object = assert_valid(&super::examination(&examination(Some(measured))));
        let capacity = &object["capacity"];
        assert_eq!(capacity["held_clients"], Value::Null);
        assert_eq!(capacity["not_held_clients"], 1);
        assert_eq!(capacity["not_held_reasons"][0], "LATENESS");
    }
}
