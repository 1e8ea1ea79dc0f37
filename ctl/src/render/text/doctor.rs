//! The findings of `benchctl doctor`.

use std::fmt::Write as _;

use super::{colour::Colour, figures};
use crate::doctor::{
    finding::{Finding, Level},
    promise::{Load, Promise},
};

/// A line per finding, its cure below it, the promise last.
pub(crate) fn findings(
    findings: &[Finding],
    promise: &Promise,
    load: Load,
    colour: Colour,
) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.check.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for Finding {
        check,
        level,
        observed,
        cure,
    } in findings
    {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {check:width$}  {}",
            mark(*level, colour),
            figures::clean(observed)
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
        "\nThis host can promise at {rate} Hz per client: 99 % of the packets at most {} late, \
         {} clients per pacing thread of an agent, {} clients with the server on this host too.",
        figures::time_mean(promise.lateness_p99_us * 1e3),
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

#[cfg(test)]
mod tests {
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
        let shown = super::findings(&findings(), &PROMISE, LOAD, Colour::None);
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
}
