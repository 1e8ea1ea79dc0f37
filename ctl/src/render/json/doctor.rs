//! The JSON object of `doctor`.

use metronome_proto::json::{SCHEMA_VERSION, text};
use serde::Serialize;

use crate::doctor::{
    finding::{Finding, Level},
    promise::{Load, Promise},
};

/// The findings, the load that they were judged for and the promise.
pub(crate) fn findings(findings: &[Finding], promise: &Promise, load: Load) -> String {
    #[derive(Serialize)]
    struct Doctor<'a> {
        schema_version: u32,
        status: &'static str,
        load: AskedLoad,
        promise: Promised,
        findings: Vec<Found<'a>>,
    }
    text(&Doctor {
        schema_version: SCHEMA_VERSION,
        status: word(
            findings
                .iter()
                .map(|finding| finding.level)
                .max()
                .unwrap_or(Level::Fine),
        ),
        load: AskedLoad {
            clients: load.clients,
            rate_hz: load.rate_hz,
        },
        promise: Promised {
            lateness_p99_us: promise.lateness_p99_us,
            clients_per_thread: promise.clients_per_thread,
            clients_with_server: promise.clients_with_server,
        },
        findings: findings.iter().map(Found::from).collect(),
    })
}

#[derive(Serialize)]
struct AskedLoad {
    clients: u32,
    rate_hz: f64,
}

#[derive(Serialize)]
struct Promised {
    lateness_p99_us: f64,
    clients_per_thread: u32,
    clients_with_server: u32,
}

#[derive(Serialize)]
struct Found<'a> {
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

    use super::*;
    use crate::render::json::assert_valid;

    const LOAD: Load = Load {
        clients: 10,
        rate_hz: 10_000.0,
    };
    const PROMISE: Promise = Promise {
        lateness_p99_us: 12.0,
        clients_per_thread: 40,
        clients_with_server: 20,
    };

    fn findings() -> [Finding; 2] {
        [
            Finding::fine("cores", "2 of 2"),
            Finding::problem("ports", "10", "`sysctl -w a=\u{1b}b`"),
        ]
    }

    #[test]
    fn the_object_s_status_is_its_worst_finding_s() {
        let object = assert_valid(&super::findings(&findings(), &PROMISE, LOAD));
        assert_eq!(object["status"], "problem");
        assert_eq!(object["findings"][0]["observed"], "2 of 2");
        assert_eq!(object["findings"][0]["cure"], Value::Null);
        assert_eq!(object["promise"]["clients_per_thread"], 40);
    }
}
