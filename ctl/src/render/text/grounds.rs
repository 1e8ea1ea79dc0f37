//! Why: missed objectives, reasons and failures, each with its remedy below it, and notes.

use metronome_proto::{json::values, threshold::quantile_name, v1};

use super::figures;

/// Columns of one sentence and of one remedy; longer ones are cut.
const SENTENCE_COLUMNS_MAX: usize = 3 * 80;
const REMEDY_COLUMNS_MAX: usize = 2 * 80;
/// Before a remedy.
pub(super) const NEXT: &str = "  next  ";

/// Reasons, missed objectives, punctuality, the caller's objectives that were not judged, notes: in
/// as many lines as `lines_max` of 80 columns are, or a few more. The first one is never left out,
/// nor is what the figures are not valid beyond.
pub(super) fn of_run(run: &v1::Run, width: usize, lines_max: usize) -> Vec<String> {
    let report = run.report.as_ref();
    let verdict = report.and_then(|report| report.verdict.as_ref());
    let reasons = verdict.into_iter().flat_map(|verdict| &verdict.reasons);
    let reasons = reasons.map(|reason| {
        let code = figures::known(values::reason_code(reason.code), |code| code);
        ground(&code, &reason.sentence, &reason.remedy, width)
    });
    let outcome = report.and_then(|report| report.outcome.as_ref());
    let objectives = outcome.iter().flat_map(|outcome| &outcome.objectives);
    let missed = missed(objectives.clone(), &run.run_id, width);
    let groups = report.map_or(&[][..], |report| &report.groups);
    let spoilt = spoilt_groups(groups);
    let from_due = from_due(report);
    let late =
        verdict.and_then(|verdict| punctuality(verdict, groups, spoilt.as_deref(), from_due));
    let late = late.iter().map(|sentence| ground("", sentence, "", width));
    // Nothing is judged of a run that is invalid, for which there are reasons already.
    let is_invalid = verdict.is_some_and(|of| of.status() == v1::VerdictStatus::Invalid);
    let not_judged = objectives
        .filter(|objective| {
            let status = objective.status();
            !is_invalid
                && status == v1::OutcomeStatus::NotJudged
                && objective.source() == v1::ObjectiveSource::User
        })
        .map(|objective| ground("not judged", &objective.sentence, "", width));
    let notes = verdict.into_iter().flat_map(|verdict| &verdict.notes);
    let notes = notes.map(|note| {
        // A run that was cut short is not to be taken for a whole one.
        let must_stand = note.code() == v1::NoteCode::AbortedOnFail;
        let lines = ground("note", &note.sentence, &note.remedy, width);
        (lines, must_stand)
    });
    let must_stand =
        spoilt.is_some() || verdict.is_some_and(|verdict| verdict.valid_to_ppm.is_some());
    let with = |must_stand| move |ground| (ground, must_stand);
    let before = reasons.chain(missed).map(with(false));
    let late = late.map(with(must_stand));
    let grounds = before.chain(late);
    fitted(
        grounds
            .chain(not_judged.map(with(false)))
            .chain(notes)
            .collect(),
        lines_max * 80 / width,
    )
}

/// What was missed; below the last one where to look, which is the same for all.
fn missed<'a>(
    objectives: impl Iterator<Item = &'a v1::Objective>,
    run_id: &str,
    width: usize,
) -> Vec<Vec<String>> {
    let missed = objectives.filter(|objective| objective.status() == v1::OutcomeStatus::NotHeld);
    let missed: Vec<&v1::Objective> = missed.collect();
    let remedy = format!("`benchctl show {run_id} --clients-table`; docs/operations.md");
    let last = missed.len().saturating_sub(1);
    let each = missed.iter().enumerate();
    let each = each.map(|(index, objective)| {
        let remedy = if index == last { remedy.as_str() } else { "" };
        ground("", &objective.sentence, remedy, width)
    });
    each.collect()
}

/// The lines of those grounds that fit, in their order: the first one, those that must stand, and
/// the others until one does not fit. One line is kept for the number of those left out.
fn fitted(grounds: Vec<(Vec<String>, bool)>, lines_max: usize) -> Vec<String> {
    let must = grounds.iter().filter(|(_, must_stand)| *must_stand);
    let mut reserved: usize = must.map(|(ground, _)| ground.len()).sum();
    let mut lines: Vec<String> = Vec::new();
    let mut left_out = 0;
    for (ground, must_stand) in grounds {
        let fits = left_out == 0 && lines.len() + reserved + ground.len() < lines_max;
        if must_stand {
            reserved -= ground.len();
            lines.extend(ground);
        } else if fits || (lines.is_empty() && left_out == 0) {
            lines.extend(ground);
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        lines.push(format!("  … and {left_out} more: see -o json"));
    }
    lines
}

/// What is not known of each of several groups, since the generator spoilt it: `of group feeds
/// those above p90`. `None` when it spoilt none.
fn spoilt_groups(groups: &[v1::GroupReport]) -> Option<String> {
    let spoilt = groups.iter().filter_map(|group| {
        let what = match group.valid_to_ppm? {
            0 => "all".to_owned(),
            ppm => format!("those above {}", quantile_name(ppm)),
        };
        Some(format!("of group {} {what}", group.group))
    });
    let spoilt: Vec<_> = spoilt.filter(|_| groups.len() > 1).collect();
    (!spoilt.is_empty()).then(|| spoilt.join(", "))
}

/// The times that count from due, of which a late generator spoils the quantiles.
fn from_due(report: Option<&v1::Report>) -> &'static str {
    let times = report.and_then(|report| report.times.as_ref());
    match times.and_then(|times| times.rtt_from_due.as_ref()) {
        None => "latency and spread",
        Some(_) => "latency, spread and rtt from due",
    }
}

/// How far the generator itself spoilt the figures that `from_due` names, those of the groups as
/// well, and how late it was: in the run or, where the limits of its groups differ, in the worst
/// one. `None` when it was in time, and where a reason has it.
fn punctuality(
    verdict: &v1::Verdict,
    groups: &[v1::GroupReport],
    spoilt_groups: Option<&str>,
    from_due: &str,
) -> Option<String> {
    let whole = verdict.valid_to_ppm.map(|ppm| match ppm {
        0 => format!("the quantiles of {from_due} are not known"),
        ppm => format!("{from_due} above {} are not known", quantile_name(ppm)),
    });
    let known_to = match (whole, spoilt_groups) {
        (Some(whole), Some(groups)) => Some(format!("{whole}, {groups}")),
        (None, Some(groups)) => Some(format!("quantiles of {from_due} are not known: {groups}")),
        (whole, None) => whole,
    };
    let of_run = verdict.punctuality.map(|of| (of, String::new()));
    let Some((punctuality, whose)) = of_run.or_else(|| worst(groups)) else {
        return known_to.map(|known_to| {
            format!("How much of the load was late is not known of every agent: {known_to}")
        });
    };
    if punctuality.late == 0 {
        return None;
    }
    let mut reasons = verdict.reasons.iter();
    if reasons.any(|reason| reason.code() == v1::ReasonCode::Lateness) {
        return None;
    }
    let periods = figures::few_digits(punctuality.limit_periods);
    let plural = if periods == "1" { "" } else { "s" };
    let share = format!("{} %", figures::few_digits(punctuality.late_percent));
    let limit = format!("> {}", figures::time_exact(punctuality.limit_ns));
    let late = format!(
        "{} of the packets{whose} were sent late or skipped by the generator ({}, {})",
        figures::unbroken(&share),
        figures::unbroken(&limit),
        figures::unbroken(&format!("{periods} period{plural}")),
    );
    Some(match known_to {
        Some(known_to) => format!("{late}: {known_to}"),
        None => late,
    })
}

/// The group with the largest late share, and whose packets these are. `None` where none was late.
fn worst(groups: &[v1::GroupReport]) -> Option<(v1::Punctuality, String)> {
    let known = groups
        .iter()
        .filter_map(|group| Some((group, group.punctuality?)));
    let late = known.filter(|(_, of)| of.late > 0);
    let (group, of) = late.max_by(|(_, one), (_, other)| {
        let (one, other) = (one.late_percent, other.late_percent);
        one.total_cmp(&other)
    })?;
    Some((of, format!(" of group {}", figures::clean(&group.group))))
}

/// A failure.
pub(super) fn failure(failure: &v1::Failure, width: usize) -> Vec<String> {
    let code = figures::known(values::failure_code(failure.code), |code| code);
    ground(&code, &failure.sentence, &failure.remedy, width)
}

/// A failure that several clients have in common; the sentence is the first one's.
pub(super) fn failure_of_clients(
    failure: &v1::Failure,
    clients: usize,
    width: usize,
) -> Vec<String> {
    let code = figures::known(values::failure_code(failure.code), |code| code);
    let clients = figures::number_of(clients as u64, "client");
    ground(
        &format!("{code}, {clients}"),
        &failure.sentence,
        &failure.remedy,
        width,
    )
}

/// What a sentence is about, the sentence, and its remedy below it.
fn ground(subject: &str, sentence: &str, remedy: &str, width: usize) -> Vec<String> {
    let sentence = match subject {
        "" => sentence.to_owned(),
        subject => format!("{subject}: {sentence}"),
    };
    let mut lines = indented("  ", &sentence, width, SENTENCE_COLUMNS_MAX);
    if !remedy.is_empty() {
        lines.extend(indented(NEXT, remedy, width, REMEDY_COLUMNS_MAX));
    }
    lines
}

/// A line with a mark, and the others below it indented, so that each subject stands out.
fn indented(mark: &str, text: &str, width: usize, columns_max: usize) -> Vec<String> {
    let indent = mark.len().max(4);
    let lines_max = columns_max.div_ceil(width);
    // One column is kept for the sign that the text was cut.
    let mut lines = figures::wrapped(&figures::clean(text), width - indent - 1);
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        lines
            .iter_mut()
            .last()
            .into_iter()
            .for_each(|line| line.push('…'));
    }
    let indents = std::iter::repeat(" ".repeat(indent));
    let marks = std::iter::once(mark.to_owned()).chain(indents);
    marks.zip(lines).map(|(mark, line)| mark + &line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM_DUE: &str = "latency and spread";

    fn of_report(report: &v1::Report, width: usize, lines_max: usize) -> Vec<String> {
        let run = v1::Run {
            run_id: "id".into(),
            report: Some(report.clone()),
            ..v1::Run::default()
        };
        of_run(&run, width, lines_max)
    }

    #[test]
    fn every_reason_has_its_remedy_below_it() {
        let verdict = v1::Verdict {
            reasons: vec![v1::Reason {
                code: v1::ReasonCode::AgentLost.into(),
                sentence: "agent a\x1b[2J went away".into(),
                remedy: "see the agent's log".into(),
                ..v1::Reason::default()
            }],
            notes: vec![v1::Note {
                code: v1::NoteCode::Overslept.into(),
                sentence: "a pacing thread overslept".into(),
                ..v1::Note::default()
            }],
            ..v1::Verdict::default()
        };
        let report = v1::Report {
            verdict: Some(verdict),
            ..v1::Report::default()
        };
        let lines = of_report(&report, 80, 8);
        assert_eq!(
            lines,
            [
                "  AGENT_LOST: agent a?[2J went away",
                "  next  see the agent's log",
                "  note: a pacing thread overslept",
            ]
        );
    }

    #[test]
    fn a_late_generator_has_its_limit_and_what_it_spoilt() {
        let mut verdict = v1::Verdict {
            punctuality: Some(v1::Punctuality {
                limit_ns: 1_000_000,
                limit_periods: 10.0,
                late: 300,
                late_percent: 0.03,
            }),
            ..v1::Verdict::default()
        };
        let late = "0.03\u{a0}% of the packets were sent late or skipped by the generator \
                    (>\u{a0}1\u{a0}ms, 10\u{a0}periods)";
        assert_eq!(
            punctuality(&verdict, &[], None, FROM_DUE).as_deref(),
            Some(late)
        );
        verdict.valid_to_ppm = Some(990_000);
        assert_eq!(
            punctuality(&verdict, &[], None, FROM_DUE),
            Some(format!(
                "{late}: latency and spread above p99 are not known"
            ))
        );
        let group = |name: &str, valid_to_ppm| v1::GroupReport {
            group: name.into(),
            valid_to_ppm,
            ..v1::GroupReport::default()
        };
        let groups = [
            group("a", Some(900_000)),
            group("b", None),
            group("c", Some(0)),
        ];
        let spoilt = spoilt_groups(&groups);
        assert_eq!(
            punctuality(&verdict, &[], spoilt.as_deref(), FROM_DUE),
            Some(format!(
                "{late}: latency and spread above p99 are not known, of group a those above p90, \
                 of group c all"
            ))
        );
        // What holds of the only group holds of the run.
        assert_eq!(spoilt_groups(&groups[..1]), None);
        verdict.reasons = vec![v1::Reason {
            code: v1::ReasonCode::Lateness.into(),
            ..v1::Reason::default()
        }];
        assert_eq!(punctuality(&verdict, &[], None, FROM_DUE), None);
        let in_time = v1::Verdict {
            punctuality: Some(v1::Punctuality::default()),
            ..v1::Verdict::default()
        };
        assert_eq!(punctuality(&in_time, &[], None, FROM_DUE), None);
    }

    #[test]
    fn where_the_limits_of_groups_differ_the_worst_one_has_its_own() {
        let group = |name: &str, limit_ms: i64, late_percent: f64| v1::GroupReport {
            group: name.into(),
            punctuality: Some(v1::Punctuality {
                limit_ns: limit_ms * 1_000_000,
                limit_periods: 1.0,
                late: u64::from(late_percent > 0.0) * 30,
                late_percent,
            }),
            ..v1::GroupReport::default()
        };
        let groups = [group("slow", 10, 0.0), group("fast", 2, 0.09)];
        let verdict = v1::Verdict::default();
        assert_eq!(
            punctuality(&verdict, &groups, None, FROM_DUE).as_deref(),
            Some(
                "0.09\u{a0}% of the packets of group fast were sent late or skipped by the \
                 generator (>\u{a0}2\u{a0}ms, 1\u{a0}period)"
            )
        );
        assert_eq!(punctuality(&verdict, &groups[..1], None, FROM_DUE), None);
    }

    #[test]
    fn what_the_figures_are_not_valid_beyond_is_never_left_out() {
        let reason = v1::Reason {
            code: v1::ReasonCode::AgentLost.into(),
            sentence: "an agent went away ".repeat(20),
            remedy: "see its log ".repeat(20),
            ..v1::Reason::default()
        };
        let verdict = v1::Verdict {
            status: v1::VerdictStatus::Partial.into(),
            reasons: vec![reason; 5],
            valid_to_ppm: Some(990_000),
            ..v1::Verdict::default()
        };
        let mut report = v1::Report {
            verdict: Some(verdict),
            ..v1::Report::default()
        };
        for lines_max in [1, 6, 8] {
            let lines = of_report(&report, 80, lines_max).join(" ");
            let words: Vec<_> = lines.split_whitespace().collect();
            let text = words.join(" ");
            assert!(text.starts_with("AGENT_LOST"), "{text}");
            assert!(text.contains("latency and spread above p99"), "{text}");
            assert!(text.ends_with("… and 4 more: see -o json"), "{text}");
        }
        report.times = Some(v1::Times {
            rtt_from_due: Some(v1::Distribution::default()),
            ..v1::Times::default()
        });
        let text = of_report(&report, 200, 8).join(" ");
        assert!(
            text.contains("latency, spread and rtt from due above p99"),
            "{text}"
        );
        report.times = None;
        report.verdict.as_mut().expect("a verdict").valid_to_ppm = None;
        let lines = of_report(&report, 80, 6);
        assert_eq!(lines.len(), 6, "{lines:?}");
    }

    #[test]
    fn missed_objectives_stand_before_notes_and_a_default_that_was_not_judged_does_not() {
        let objective = |status: v1::OutcomeStatus, source: v1::ObjectiveSource, sentence: &str| {
            v1::Objective {
                status: status.into(),
                source: source.into(),
                sentence: sentence.into(),
                ..v1::Objective::default()
            }
        };
        use v1::{
            ObjectiveSource::{Default, User},
            OutcomeStatus::{Held, NotHeld, NotJudged},
        };
        let mut report = v1::Report {
            verdict: Some(v1::Verdict {
                notes: vec![v1::Note {
                    sentence: "a note".into(),
                    ..v1::Note::default()
                }],
                ..v1::Verdict::default()
            }),
            outcome: Some(v1::Outcome {
                objectives: vec![
                    objective(NotJudged, User, "latency is not known"),
                    objective(NotHeld, User, "3 packets were lost"),
                    objective(Held, Default, "none was skipped"),
                    objective(NotJudged, Default, "spread is not known"),
                    objective(NotHeld, Default, "half were late"),
                ],
                ..v1::Outcome::default()
            }),
            ..v1::Report::default()
        };
        let expected = [
            "  3 packets were lost",
            "  half were late",
            "  next  `benchctl show id --clients-table`; docs/operations.md",
            "  not judged: latency is not known",
            "  note: a note",
        ];
        assert_eq!(of_report(&report, 80, 8), expected);
        report.verdict.as_mut().expect("a verdict").status = v1::VerdictStatus::Invalid.into();
        assert!(!of_report(&report, 80, 8).contains(&expected[3].to_owned()));
    }

    #[test]
    fn a_code_of_a_later_version_is_shown_as_its_number() {
        let failure = v1::Failure {
            code: 999,
            sentence: "something new".into(),
            remedy: "upgrade".into(),
            ..v1::Failure::default()
        };
        let expected = ["  999, 2 clients: something new", "  next  upgrade"];
        assert_eq!(failure_of_clients(&failure, 2, 100), expected);
        assert_eq!(
            super::failure(&v1::Failure { code: 0, ..failure }, 100)[0],
            "  –: something new"
        );
    }

    #[test]
    fn a_text_that_is_cut_ends_with_an_ellipsis() {
        for width in [40, 80, 200] {
            let lines = ground("", &"word ".repeat(100), &"cure ".repeat(100), width);
            let number = SENTENCE_COLUMNS_MAX.div_ceil(width);
            assert_eq!(lines.len(), number + REMEDY_COLUMNS_MAX.div_ceil(width));
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{lines:?}"
            );
            let last = lines.last().expect("a line");
            assert!(
                lines[number - 1].ends_with("word…") && last.ends_with("cure…"),
                "{lines:?}"
            );
        }
    }
}
