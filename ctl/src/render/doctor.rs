//! The findings of `benchctl doctor`, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Colour, figures, json};
use crate::doctor::{Finding, Level, Load, Promise};

/// A line per finding, its cure below it, the promise last.
pub(crate) fn text(findings: &[Finding], promise: &Promise, load: Load, colour: Colour) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.check.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for Finding {
        check,
        level,
        told,
        cure,
    } in findings
    {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {check:width$}  {}",
            mark(*level, colour),
            figures::clean(told)
        );
        if let Some(cure) = cure {
            let _ = writeln!(
                text,
                "{:width$}  → {}",
                "",
                figures::clean(cure),
                width = width + MARK_WIDTH + 2
            );
        }
    }
    let rate = figures::hertz(load.rate_hz);
    let _ = writeln!(
        text,
        "\nThis host can promise at {rate} Hz per client: 99 % of the packets at most {} µs late, {} clients per pacing \
         thread of an agent, {} clients with the server on this host too.",
        figures::micros(promise.lateness_p99_us),
        figures::count(promise.clients_per_thread.into()),
        figures::count(promise.clients_with_server.into()),
    );
    text
}

const MARK_WIDTH: usize = 7;

fn mark(level: Level, colour: Colour) -> String {
    let (word, code) = match level {
        Level::Fine => ("ok", 32),
        Level::Warning => ("warning", 33),
        Level::Problem => ("problem", 31),
    };
    match colour {
        Colour::Ansi => format!("\x1b[{code}m{word:MARK_WIDTH$}\x1b[0m"),
        Colour::None => format!("{word:MARK_WIDTH$}"),
    }
}

/// One object.
pub(crate) fn object(findings: &[Finding], promise: &Promise, load: Load) -> String {
    #[derive(Serialize)]
    struct Doctor<'a> {
        schema_version: u32,
        status: &'static str,
        load: AskedLoad,
        promise: Promised,
        findings: Vec<Found<'a>>,
    }
    json::text(&Doctor {
        schema_version: json::SCHEMA_VERSION,
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
            lateness_us_p99: promise.lateness_p99_us,
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
    lateness_us_p99: f64,
    clients_per_thread: u32,
    clients_with_server: u32,
}

#[derive(Serialize)]
struct Found<'a> {
    check: &'a str,
    level: &'static str,
    told: &'a str,
    cure: Option<&'a str>,
}

impl<'a> From<&'a Finding> for Found<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            check: finding.check,
            level: word(finding.level),
            told: &finding.told,
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
    fn each_finding_stands_with_its_cure() {
        let shown = text(&findings(), &PROMISE, LOAD, Colour::None);
        assert!(
            shown.starts_with("ok       cores  2 of 2\nproblem  ports  10\n"),
            "{shown}"
        );
        assert!(
            shown.contains("→ `sysctl -w a=?b`\n"),
            "foreign text cannot rewrite the screen: {shown}"
        );
        assert!(
            shown.contains("at 10,000 Hz per client: 99 % of the packets at most 12.0 µs late"),
            "{shown}"
        );
    }

    #[test]
    fn the_object_s_status_is_its_worst_finding_s() {
        let object: Value =
            serde_json::from_str(&object(&findings(), &PROMISE, LOAD)).expect("JSON");
        assert_eq!(object["status"], "problem");
        assert_eq!(object["findings"][0]["cure"], Value::Null);
        assert_eq!(object["promise"]["clients_per_thread"], 40);
    }
}
