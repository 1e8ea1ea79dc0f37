//! The findings of `benchctl doctor` at 80 columns: whether this host holds the load and by how
//! much, then problems, warnings and the rest, each cure below its finding. Findings alone, for any
//! width, where they are about paths.

use std::fmt::Write as _;

use metronome_proto::threshold::quantile_name;

use super::{colour::Colour, figures};
use crate::doctor::{
    Examination, Measured,
    finding::{Finding, Level},
    judge::runs,
    load::Load,
    trial::End,
};

/// Columns that a screen surely has.
const WIDTH: usize = 80;
const MARK_WIDTH: usize = 7;
/// The names of most checks; a longer one has its text behind it all the same.
const CHECK_WIDTH: usize = 12;
/// Where a cure begins.
const CURE_INDENT: usize = MARK_WIDTH + 2;
/// Stands for a blank at which a line must not be broken.
const HELD_BLANK: &str = "\u{1}";
/// A longer command is broken like any text.
const COMMAND_CHARACTERS_MAX: usize = 60;

/// The answer, then the findings: the worst first.
pub(crate) fn examination(examination: &Examination, colour: Colour) -> String {
    let answer = answer(examination, colour);
    format!(
        "{answer}\n{}",
        findings(&examination.findings, WIDTH, colour)
    )
}

/// The worst first.
pub(super) fn findings(found: &[Finding], width: usize, colour: Colour) -> String {
    let mut text = String::new();
    let mut findings: Vec<&Finding> = found.iter().collect();
    // Those of a level stay in their order.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings
        .iter()
        .for_each(|of| finding(&mut text, of, width, colour));
    text
}

fn answer(examination: &Examination, colour: Colour) -> String {
    let Examination { load, measured, .. } = examination;
    let (word, code) = match measured.as_ref().map(|measured| measured.trial.end) {
        None => ("NOT MEASURED", 33),
        Some(End::Held) => ("HELD", 32),
        Some(End::NotJudged) => ("NOT JUDGED", 33),
        Some(End::NotHeld) => ("NOT HELD", 31),
        Some(End::Partial) => ("PARTIAL", 31),
        Some(End::Invalid) => ("INVALID", 31),
        Some(End::Failed) => ("FAILED", 31),
    };
    let rest = match measured {
        Some(measured) => measured_answer(measured, *load),
        None => format!(
            "{}: no run was made, and nothing is said about this load",
            runs::in_words(*load)
        ),
    };
    let lines = figures::wrapped(&format!("{word}  {rest}."), WIDTH);
    let text = lines.join("\n") + "\n";
    match colour {
        Colour::None => text,
        Colour::Ansi => text.replacen(word, &format!("\x1b[{code}m{word}\x1b[0m"), 1),
    }
}

fn measured_answer(measured: &Measured, load: Load) -> String {
    let Measured {
        trial, capacity, ..
    } = measured;
    let valid_to = trial.valid_to_ppm.map_or_else(String::new, |ppm| {
        format!(", valid only to {}", quantile_name(ppm))
    });
    let shown = match runs::figures(trial) {
        figures if figures.is_empty() => String::new(),
        figures => format!(": {figures}"),
    };
    let by_how_much = match capacity {
        None => "How much more one thread holds was not measured".into(),
        Some(capacity) => match &capacity.held {
            Some(held) => {
                let clients = figures::number_of(held.clients.into(), "client");
                match held.is_brief() {
                    false => format!("One pacing thread held {clients} at that rate"),
                    true => format!(
                        "One pacing thread held {clients} at that rate for a moment; whether it \
                         holds them for longer was not measured"
                    ),
                }
            }
            None => "One pacing thread held no number of clients in two runs".into(),
        },
    };
    let codes = match trial.codes() {
        codes if codes.is_empty() => codes,
        codes => format!(" ({codes})"),
    };
    format!(
        "{} with the server on this host too{}{valid_to}{codes}{shown}. {by_how_much}",
        runs::in_words(load),
        runs::other_runs(measured)
    )
}

fn finding(text: &mut String, finding: &Finding, width: usize, colour: Colour) {
    let Finding {
        check,
        level,
        observed,
        cure,
    } = finding;
    let check_width = CHECK_WIDTH.max(check.chars().count());
    let indent = CURE_INDENT + check_width + 2;
    let mut lines = wrapped(observed, width.saturating_sub(indent)).into_iter();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}  {check:check_width$}  {}",
        mark(*level, colour),
        lines.next().unwrap_or_default()
    );
    for line in lines {
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
    let cure = cure
        .iter()
        .flat_map(|cure| wrapped(cure, width - CURE_INDENT - 2));
    for (index, line) in cure.enumerate() {
        let arrow = if index == 0 { "→" } else { " " };
        let _ = writeln!(text, "{:CURE_INDENT$}{arrow} {line}", "");
    }
}

/// Lines in which commands (`…`) are whole, so that they can be copied.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let most = COMMAND_CHARACTERS_MAX.min(width.saturating_sub(2));
    let parts = figures::clean(text);
    let parts = parts.split('`').enumerate().map(|(index, part)| {
        match index % 2 == 1 && part.chars().count() <= most {
            true => part.replace(' ', HELD_BLANK),
            false => part.to_owned(),
        }
    });
    let lines = figures::wrapped(&parts.collect::<Vec<_>>().join("`"), width);
    lines
        .into_iter()
        .map(|line| line.replace(HELD_BLANK, " "))
        .collect()
}

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
    use crate::doctor::{load::Load, trial};

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
                Finding::warning(
                    "net.ipv4.tcp_max_syn_backlog",
                    "128",
                    "`sysctl -w a=\u{1b}b`",
                ),
                Finding::problem(
                    "ports",
                    "10 ".repeat(40),
                    "use `one command` and ".repeat(9),
                ),
            ],
        }
    }

    fn shown(measured: Option<Measured>) -> String {
        super::examination(&examination(measured), Colour::None)
    }

    #[test]
    fn the_answer_comes_first() {
        let text = shown(Some(Measured::example()));
        let answer =
            "HELD 10 × 10,000 Hz with the server on this host too: p99 of lateness 50.1 µs,";
        assert!(text.starts_with(answer), "{text}");
        let invalid = trial::tests::refused(10, End::Invalid, "LATENESS");
        let invalid = Measured {
            trial: invalid,
            ..Measured::example()
        };
        let text = shown(Some(invalid));
        assert!(text.starts_with("INVALID 10 × 10,000 Hz"), "{text}");
        assert!(text.contains("(LATENESS)"), "{text}");
        assert!(shown(None).starts_with("NOT MEASURED"));
    }

    #[test]
    fn the_worst_finding_comes_first_and_each_has_its_cure_below_it() {
        let text = shown(Some(Measured::example()));
        let marks: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|word| ["problem", "warning", "ok"].contains(word))
            .collect();
        assert_eq!(marks, ["problem", "warning", "ok"], "{text}");
        assert!(
            text.contains("         → `sysctl -w a=?b`\n"),
            "foreign text cannot rewrite the screen: {text}"
        );
    }

    #[test]
    fn no_line_is_wider_than_80_columns_and_no_command_is_broken() {
        for measured in [None, Some(Measured::example())] {
            let text = shown(measured);
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
                assert_eq!(line.matches('`').count() % 2, 0, "{line}");
            }
        }
    }
}
