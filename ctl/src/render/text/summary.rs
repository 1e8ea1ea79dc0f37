//! A run on one screen of 24 lines of 80 columns, outcome and verdict first.

use std::collections::BTreeMap;

use metronome_proto::{json::values, threshold::quantile_name, v1};

use super::{
    clients,
    colour::Colour,
    environment,
    explain::{self, Label},
    figures::{self, UNKNOWN, known},
    grounds, groups, network, objectives, packets, replies,
    rows::Rows,
    screen::Screen,
    table::hanging,
    times,
};

/// Lines of a screen above the prompt of the shell. Blank ones go where it would be longer; counts
/// of many digits may make it a few lines longer still.
const LINES: usize = 23;
/// Lines of 80 columns for why the run came out as it did: what the other figures leave of the
/// screen, within this. The first reason has room in any case.
const GROUND_LINES: std::ops::RangeInclusive<usize> = 6..=8;
/// More workers than this are shown as a range.
const WORKERS_LISTED_MAX: usize = 3;
/// Labels may have 16 times 128 bytes; the first line has room for this.
const LABELS_WIDTH_MAX: usize = 28;

/// What is reported of a run that is not stored.
pub(crate) const UNSTORED: &str =
    "The result is not stored yet: the server cannot write it, and tries again.";

/// What stands below the summary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Below<'a> {
    /// A paragraph for each line of the summary.
    pub(crate) explanation: bool,
    /// A row per client.
    pub(crate) clients: Option<&'a [v1::ClientReport]>,
}

/// The summary of a run, and what is to stand below it.
pub(crate) fn summary(run: &v1::Run, below: Below<'_>, screen: Screen) -> String {
    let mut rows = rows(run, screen.width);
    if below.explanation {
        let paragraphs = explanation(run, &rows);
        rows.append(paragraphs);
    }
    if let Some(of) = below.clients {
        rows.blank();
        rows.text.push_str(&clients::table(of, screen.width));
        rows.add(None, clients::failures(of, screen.width));
    }
    let (word, _, code) = judgement(run);
    match code.filter(|_| screen.colour == Colour::Ansi) {
        None => rows.text,
        Some(code) => {
            let coloured = format!("\x1b[{code}m{word}\x1b[0m");
            rows.text.replacen(&word, &coloured, 1)
        }
    }
}

/// A paragraph for each line that `shown` has, and a line for each counter of its packets.
fn explanation(run: &v1::Run, shown: &Rows) -> Rows {
    let mut rows = Rows::new(shown.width);
    for label in &shown.labels {
        rows.blank();
        let paragraph = figures::wrapped(label.paragraph(), rows.room());
        rows.labelled(*label, paragraph);
        let counters = match label {
            Label::Packets => packets::shown(run).concat(),
            Label::Replies => replies::shown(run),
            _ => Vec::new(),
        };
        for (name, _) in &counters {
            let line = format!(
                "{}: {}.",
                figures::counter_name(name),
                explain::counter(name)
            );
            let lines = figures::wrapped(&line, rows.room() - 2);
            rows.add(None, figures::marked("           · ", lines));
        }
    }
    rows
}

fn rows(run: &v1::Run, width: usize) -> Rows {
    let mut rows = Rows::new(width);
    rows.add(Some(Label::Result), vec![headline(run, width)]);
    if run.unstored {
        rows.add(None, figures::wrapped(UNSTORED, width));
    }
    if let Some(failure) = &run.failure {
        rows.add(Some(Label::Why), grounds::failure(failure, width));
    }
    let figures = figures_of(run, width);
    if run.report.is_some() {
        let is_shown = |line: &&str| !line.is_empty();
        let taken = rows.text.lines().count() + figures.text.lines().filter(is_shown).count();
        let room = LINES.saturating_sub(taken);
        let room = room.clamp(*GROUND_LINES.start(), *GROUND_LINES.end());
        let lines = grounds::of_run(run, width, room);
        if !lines.is_empty() {
            rows.add(Some(Label::Why), lines);
        }
    }
    if rows.text.contains(&format!("\n{}", grounds::NEXT)) {
        rows.labels.push(Label::Next);
    }
    rows.append(figures);
    if rows.text.lines().count() > LINES {
        let lines = rows.text.lines().filter(|line| !line.is_empty());
        rows.text = lines.map(|line| line.to_owned() + "\n").collect();
    }
    rows
}

/// The plan where the first line has it not, and the figures of the report, or why there are none.
fn figures_of(run: &v1::Run, width: usize) -> Rows {
    let mut rows = Rows::new(width);
    if let Some(plan) = &run.plan {
        if run.report.is_none() {
            groups::of_plan(&mut rows, plan);
        }
        let judged = objectives::of_plan(plan).filter(|_| run.report.is_none());
        let more: Vec<_> = on_agent_loss(plan.on_agent_loss)
            .into_iter()
            .chain(judged)
            .collect();
        if !more.is_empty() {
            rows.labelled(Label::Plan, more);
        }
    }
    let Some(report) = &run.report else {
        rows.add(None, figures::wrapped(&without_report(run), width));
        return rows;
    };
    rows.blank();
    packets::packets(&mut rows, run);
    replies::replies(&mut rows, run);
    rows.labelled(Label::Rate, packets::rate(run, report));
    rows.blank();
    times::times(&mut rows, report);
    rows.blank();
    if let Some(plan) = run.plan.as_ref().filter(|plan| plan.groups.len() > 1) {
        groups::of_report(&mut rows, plan, &report.groups);
        rows.blank();
    }
    rows.labelled(Label::Objectives, outcome(report));
    let is_shown =
        |of: &&v1::Limit| !matches!(of.kind(), v1::LimitKind::Unspecified | v1::LimitKind::None);
    if let Some(limit) = report.limit.as_ref().filter(is_shown) {
        rows.labelled(Label::Limit, [figures::clean(&limit.sentence)]);
    }
    rows.labelled(Label::Workers, [workers(&report.receivers)]);
    cpu(&mut rows, report.cpu.as_ref());
    network::network(&mut rows, report);
    let hosts = environment::lines(&report.environments, report.agents.len(), rows.room());
    if !hosts.is_empty() {
        rows.labelled_lines(Label::Host, hosts);
    }
    let verdict = report.verdict.as_ref();
    rows.labelled(Label::Checks, [known(verdict, |of| checks(&of.laws))]);
    rows
}

/// Outcome and verdict, the id, and the load.
fn headline(run: &v1::Run, width: usize) -> String {
    let (word, rest, _) = judgement(run);
    let mut parts = vec![word + &rest, format!("run {}", figures::clean(&run.run_id))];
    let verdict = run
        .report
        .as_ref()
        .and_then(|report| report.verdict.as_ref());
    let is_invalid = verdict.is_some_and(|of| of.status() == v1::VerdictStatus::Invalid);
    if is_invalid && run.state() == v1::RunState::Ended {
        parts.push("do not use these figures".into());
    }
    if let Some(plan) = &run.plan {
        parts.push(figures::plan(plan));
        if let [group] = &plan.groups[..] {
            parts.extend(groups::details(group));
        }
        parts.extend(figures::seed(plan));
        parts.extend(figures::warm_up(plan));
        if plan.threads > 1 {
            parts.push(format!("{} pacing threads", plan.threads));
        }
    }
    let labels = figures::labels(run);
    if !labels.is_empty() {
        parts.push(figures::shortened(&labels, LABELS_WIDTH_MAX));
    }
    hanging(parts, width).trim_end().to_owned()
}

/// In capitals that from which the exit code follows, then the rest, and the colour of the first:
/// of an ended run outcome and verdict, of another one its state, which has no colour.
fn judgement(run: &v1::Run) -> (String, String, Option<&'static str>) {
    // In any other state the report is not final, and a verdict in it none.
    let report = run.report.as_ref();
    let report = report.filter(|_| run.state() == v1::RunState::Ended);
    let Some(verdict) = report.and_then(|report| report.verdict.as_ref()) else {
        let state = figures::word(values::state(run.state));
        return (state.to_uppercase(), String::new(), None);
    };
    judged(verdict, report.and_then(|report| report.outcome.as_ref()))
}

/// Outcome and verdict as the first line of a summary has them: `NOT HELD · valid to p99`.
pub(crate) fn words(run: &v1::Run) -> String {
    let (word, rest, _) = judgement(run);
    word + &rest
}

/// Outcome and verdict as a list of runs has them: `not held · valid to p99`.
pub(super) fn result(run: &v1::Run) -> String {
    let (word, rest, _) = judgement(run);
    word.to_lowercase() + &rest
}

fn judged(
    verdict: &v1::Verdict,
    outcome: Option<&v1::Outcome>,
) -> (String, String, Option<&'static str>) {
    let status = outcome.map(v1::Outcome::status).unwrap_or_default();
    let is_judged = matches!(status, v1::OutcomeStatus::Held | v1::OutcomeStatus::NotHeld);
    let outcome_word = figures::word(outcome.and_then(|outcome| values::outcome(outcome.status)));
    let verdict_word = figures::word(values::verdict(verdict.status));
    let is_valid = verdict.status() == v1::VerdictStatus::Valid;
    let valid_to = verdict.valid_to_ppm.map(quantile_name);
    let valid_to = valid_to.map_or_else(String::new, |quantile| format!(" to {quantile}"));
    let green = "1;32";
    let (word, other, code) = match (is_valid, status) {
        (true, v1::OutcomeStatus::Held) => (outcome_word, Some(verdict_word + &valid_to), green),
        (true, v1::OutcomeStatus::NotHeld) => {
            (outcome_word, Some(verdict_word + &valid_to), "1;31")
        }
        (true, _) => (verdict_word, Some(outcome_word), green),
        (false, _) => {
            let is_partial = verdict.status() == v1::VerdictStatus::Partial;
            let code = if is_partial { "1;33" } else { "1;31" };
            let is_shown = is_judged || (is_partial && status == v1::OutcomeStatus::NotJudged);
            (verdict_word, is_shown.then_some(outcome_word), code)
        }
    };
    let to = match verdict.status() {
        v1::VerdictStatus::Valid if !is_judged => valid_to,
        v1::VerdictStatus::Partial if !valid_to.is_empty() => format!(", valid{valid_to}"),
        _ => String::new(),
    };
    let other = other.map_or_else(String::new, |other| format!(" · {other}"));
    (word.to_uppercase(), to + &other, Some(code))
}

fn without_report(run: &v1::Run) -> String {
    match run.state() {
        v1::RunState::Preparing
        | v1::RunState::Starting
        | v1::RunState::Running
        | v1::RunState::Draining => {
            let run_id = figures::clean(&run.run_id);
            format!("The run has not ended; `benchctl watch {run_id}` follows it.")
        }
        _ => "There is no report.".into(),
    }
}

/// `None` for what a run does by default.
fn on_agent_loss(loss: i32) -> Option<String> {
    let word = figures::word(values::agent_loss(loss));
    (word != "continue").then(|| format!("when an agent is lost: {word}"))
}

/// Each objective; one sentence where the run is invalid, so that none was judged.
fn outcome(report: &v1::Report) -> Vec<String> {
    let Some(outcome) = &report.outcome else {
        return vec![UNKNOWN.into()];
    };
    let objectives = &outcome.objectives;
    let not_judged = v1::OutcomeStatus::NotJudged;
    let verdict = report.verdict.as_ref();
    let is_invalid = verdict.is_some_and(|of| of.status() == v1::VerdictStatus::Invalid);
    if objectives.is_empty() {
        vec!["none".into()]
    } else if is_invalid && objectives.iter().all(|of| of.status() == not_judged) {
        vec!["not judged, since the run is invalid".into()]
    } else {
        objectives.iter().map(objectives::part).collect()
    }
}

fn workers(receivers: &[v1::ReceiverReport]) -> String {
    let workers = receivers.iter().flat_map(|receiver| &receiver.workers);
    let packets: Vec<u64> = workers.map(|worker| worker.packets).collect();
    let number = packets.len();
    match (&packets[..], packets.iter().min(), packets.iter().max()) {
        ([one], ..) => format!("1 has read {} packets", figures::count(*one)),
        (_, Some(low), Some(high)) if number > WORKERS_LISTED_MAX => format!(
            "{number} have read {} to {} packets each",
            figures::count(*low),
            figures::count(*high)
        ),
        (_, Some(_), _) => {
            let each: Vec<_> = packets
                .iter()
                .map(|packets| figures::count(*packets))
                .collect();
            format!("{number} have read {} packets", each.join(" + "))
        }
        _ => UNKNOWN.into(),
    }
}

/// A line for each end.
fn cpu(rows: &mut Rows, cpu: Option<&v1::Cpu>) {
    let cpu = cpu.copied().unwrap_or_default();
    let end = |name, ns, ns_per_packet, packets, call| {
        format!(
            "{name} {}, {} a packet, {} packets a {call} call",
            known(ns, figures::time),
            known(ns_per_packet, figures::time_mean),
            known(packets, figures::three_digits),
        )
    };
    let ends = [
        end(
            "agents",
            cpu.generator_ns,
            cpu.generator_ns_per_packet,
            cpu.packets_per_write,
            "write",
        ),
        end(
            "workers",
            cpu.receiver_ns,
            cpu.receiver_ns_per_packet,
            cpu.packets_per_read,
            "read",
        ),
    ];
    let lines: Vec<_> = ends
        .iter()
        .flat_map(|end| figures::flowed([end.clone()], rows.room()))
        .collect();
    rows.labelled(Label::Cpu, lines);
}

/// `all 26 hold: the counts prove each other`, or how many laws came out in each way: `19 hold, 2
/// of them for some clients only, 1 not checkable`.
fn checks(laws: &[v1::Law]) -> String {
    if laws.is_empty() {
        return "none were made".into();
    }
    let mut numbers = BTreeMap::new();
    for law in laws {
        *numbers.entry(law.status).or_insert(0) += 1;
    }
    // The number of all clients is among the figures where not all could be checked.
    let is_in_part = |law: &&v1::Law| {
        law.status() == v1::LawStatus::Holds && law.figures.contains_key("clients_total")
    };
    let in_part = laws.iter().filter(is_in_part).count();
    let part = match in_part {
        0 => String::new(),
        number => format!(", {number} of them for some clients only"),
    };
    let holds = i32::from(v1::LawStatus::Holds);
    if in_part == 0 && numbers.get(&holds) == Some(&laws.len()) {
        return format!("all {} hold: the counts prove each other", laws.len());
    }
    let each = numbers
        .into_iter()
        .map(|(status, number)| match status == holds {
            true => format!("{number} hold{part}"),
            false => format!("{number} {}", figures::word(values::law(status))),
        });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        counters::{CounterList, WORDS},
        threshold::Threshold,
    };

    use proptest::prelude::*;

    use super::*;
    use crate::render::{front_page::run_of_the_front_page, text::rows::LABEL_WIDTH};

    const WIDTH: usize = 80;

    const ANSI: Screen = Screen {
        width: WIDTH,
        colour: Colour::Ansi,
    };

    fn plain(run: &v1::Run) -> String {
        summary(run, Below::default(), Screen::of(WIDTH))
    }

    fn report(run: &mut v1::Run) -> &mut v1::Report {
        run.report.as_mut().expect("the front page has a report")
    }

    #[test]
    fn the_summary_of_the_front_page() {
        let expected = "\
HELD · valid  run 0199f0c2a1b2c3d4  10 × 10 kHz × 10 s  32 B, one packet a write
  page=front

packets    1,000,000 scheduled = sent = received  lost 0  skipped 0  corrupt 0
rate       99,998/s of 100,000/s  in 10.0 s  kept up 100 %

               p50      p90      p99   p99.9  p99.99      max
lateness   4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms  due → written
transit    4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms  written → read
latency    4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms  due → read

objectives lost 0 ✓  skipped 0 ✓  kept up 100 % ≥ 99.9 % ✓
           latency p99.9 101 µs ≤ 100 ms ✓
workers    2 have read 500,000 + 500,000 packets
cpu        agents 1.52 s, 1.52 µs a packet, 1.00 packets a write call
           workers 980 ms, 980 ns a packet, 1.02 packets a read call
host       vm1: 2 cores  Linux 6.1.0  metronome 0.1.0  real-time threads
checks     all 1 hold: the counts prove each other
";
        assert_eq!(plain(&run_of_the_front_page()), expected);
    }

    /// The words of a text without figures and their units, however its lines are broken.
    fn words_of(text: &str) -> Vec<&str> {
        let has_digit = |word: &str| word.contains(|of: char| of.is_ascii_digit());
        let is_figure = |word: &&str| has_digit(word) || *word == UNKNOWN;
        let is_unit = |word: &&str| ["ns", "µs", "ms", "s", "s,", "µs,", "ms,"].contains(word);
        let words = text.split_whitespace();
        words
            .filter(|word| !is_figure(word) && !is_unit(word))
            .collect()
    }

    /// The run of the front page, with what `shown` states of a late generator.
    fn run_shown(shown: &str) -> v1::Run {
        let mut run = run_of_the_front_page();
        run.labels.clear();
        if shown.contains("1 has read") {
            report(&mut run).receivers[0].workers.truncate(1);
        }
        // The width of their texts decides on where the line breaks.
        let word_behind = |mark: &str| {
            let rest = shown.split_once(mark).map_or("", |(_, rest)| rest);
            rest.split([':', ' ']).next().unwrap_or_default().to_owned()
        };
        for of in &mut report(&mut run).environments {
            of.host = word_behind("host       ");
            of.kernel = word_behind("Linux ");
            if of.role() == v1::EnvironmentRole::Agent && shown.contains("agent: threads of mixed")
            {
                of.priority = v1::ThreadPriority::Mixed.into();
            }
        }
        let verdict = report(&mut run).verdict.as_mut().unwrap();
        let headline = shown.lines().next().unwrap_or_default();
        let valid_to = headline.split_once("valid to p").map(|(_, rest)| {
            let percent = rest.split_whitespace().next().unwrap_or_default();
            percent.parse::<f64>().unwrap()
        });
        verdict.valid_to_ppm = valid_to.map(|percent| (percent * 1e4).round() as u32);
        let is_one = shown.contains("period)");
        if valid_to.is_some() || is_one || shown.contains("periods)") {
            verdict.punctuality = Some(v1::Punctuality {
                limit_ns: 1_000_000,
                limit_periods: if is_one { 1.0 } else { 10.0 },
                late: 300,
                late_percent: 0.03,
            });
        }
        run
    }

    /// Whether a text is a summary, whatever its figures are.
    fn is_a_summary(shown: &str) -> bool {
        let expected = plain(&run_shown(shown));
        // Why stands in words, without labels.
        let labels = |text: &str| {
            let lines = text.lines().skip_while(|line| !line.starts_with("packets"));
            let labels = lines.map(|line| line.chars().take(LABEL_WIDTH).collect());
            labels.collect::<Vec<String>>()
        };
        words_of(shown) == words_of(&expected)
            && labels(shown) == labels(&expected)
            && shown.lines().all(|line| line.chars().count() <= WIDTH)
    }

    #[test]
    fn the_readme_shows_a_summary_as_it_is() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        let block = readme.split("```").find(|of| of.starts_with("text\n$ "));
        let (_command, shown) = block.unwrap()[5..].split_once('\n').unwrap();
        assert!(is_a_summary(shown), "{shown}");
    }

    #[test]
    fn the_manual_shows_summaries_as_they_are() {
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/result.md");
        let manual = std::fs::read_to_string(manual).unwrap();
        let mut run = run_of_the_front_page();
        run.labels.clear();
        let laws = &mut report(&mut run).verdict.as_mut().unwrap().laws;
        *laws = vec![laws[0].clone(); 26];
        let held = format!("```text\n{}```", plain(&run));
        assert!(manual.contains(&held), "{held}");
        did_not_keep_up(&mut run);
        let text = plain(&run);
        let (head, _) = text.split_once("\n\n").unwrap();
        let not_held = format!("```text\n{head}\n```");
        assert!(manual.contains(&not_held), "{not_held}");
    }

    #[test]
    fn a_summary_of_a_late_generator_is_one_with_its_line_alone() {
        let run = run_shown("HELD · valid to p90  (> 2 ms, 1 period)");
        let text = plain(&run);
        assert!(text.starts_with("HELD · valid to p90"), "{text}");
        assert!(is_a_summary(&text), "{text}");
        let (headline, rest) = text.split_once('\n').unwrap();
        let (ground, figures) = rest.split_at(rest.find("\npackets ").unwrap());
        assert!(ground.contains("spread above p90 are not known"), "{text}");
        assert!(!is_a_summary(&format!("{headline}\n{figures}")));
        let valid = headline.replace(" to p90", "");
        assert!(!is_a_summary(&format!("{valid}\n{ground}{figures}")));
    }

    #[test]
    fn a_run_that_is_not_stored_has_a_line_about_that_under_its_verdict() {
        let stored = run_of_the_front_page();
        let unstored = v1::Run {
            unstored: true,
            ..stored.clone()
        };
        let text = plain(&stored);
        let (head, figures) = text.split_once("\n\n").unwrap();
        let expected = format!("{head}\n{UNSTORED}\n\n{figures}");
        assert_eq!(plain(&unstored), expected);
        assert!(UNSTORED.len() <= WIDTH);
    }

    #[test]
    fn colour_is_in_the_first_words_alone() {
        let run = run_of_the_front_page();
        let plain = plain(&run);
        assert_eq!(
            summary(&run, Below::default(), ANSI),
            plain.replacen("HELD", "\x1b[1;32mHELD\x1b[0m", 1)
        );
    }

    #[test]
    fn a_run_that_has_not_ended_shows_its_state_whatever_report_stands_beside() {
        for (state, word) in [(70, "FAILED"), (40, "RUNNING"), (65, "65")] {
            let mut run = run_of_the_front_page();
            run.state = state;
            let text = plain(&run);
            assert!(text.starts_with(&format!("{word}  run ")), "{text}");
        }
    }

    #[test]
    fn what_the_exit_code_follows_from_is_in_capitals() {
        use v1::{
            OutcomeStatus::{Held, NotHeld, NotJudged, Unspecified},
            VerdictStatus::{Invalid, Partial, Valid},
        };
        for (verdict, outcome, valid_to_ppm, head) in [
            (Valid, Held, None, "HELD · valid"),
            (Valid, Held, Some(990_000), "HELD · valid to p99"),
            (Valid, NotHeld, None, "NOT HELD · valid"),
            (Valid, NotHeld, Some(999_000), "NOT HELD · valid to p99.9"),
            (Valid, NotJudged, None, "VALID · not judged"),
            (Valid, NotJudged, Some(990_000), "VALID to p99 · not judged"),
            (Valid, Unspecified, None, "VALID · –"),
            (Partial, NotJudged, None, "PARTIAL · not judged"),
            (Partial, NotHeld, None, "PARTIAL · not held"),
            (
                Partial,
                NotHeld,
                Some(990_000),
                "PARTIAL, valid to p99 · not held",
            ),
            (
                Partial,
                NotJudged,
                Some(900_000),
                "PARTIAL, valid to p90 · not judged",
            ),
            (Invalid, NotJudged, None, "INVALID"),
        ] {
            let mut run = run_of_the_front_page();
            let report = report(&mut run);
            report.outcome = Some(v1::Outcome {
                status: outcome.into(),
                ..v1::Outcome::default()
            });
            let shown = report.verdict.as_mut().unwrap();
            shown.status = verdict.into();
            shown.valid_to_ppm = valid_to_ppm;
            for colour in [Colour::None, Colour::Ansi] {
                let screen = Screen { colour, ..ANSI };
                let text = summary(&run, Below::default(), screen);
                let first = text.lines().next().unwrap();
                let first = strip(first);
                let expected = format!("{head}  run 0199f0c2a1b2c3d4");
                assert!(first.starts_with(&expected), "{first}");
                let is_invalid = verdict == Invalid;
                assert_eq!(first.contains("do not use these figures"), is_invalid);
            }
        }
    }

    /// Without colours.
    fn strip(text: &str) -> String {
        let mut parts = text.split('\x1b');
        let first = parts.next().unwrap_or_default().to_owned();
        let rest = parts.filter_map(|part| Some(part.split_once('m')?.1));
        first + &rest.collect::<String>()
    }

    fn did_not_keep_up(run: &mut v1::Run) {
        let outcome = report(run).outcome.as_mut().unwrap();
        outcome.status = v1::OutcomeStatus::NotHeld.into();
        let kept_up = &mut outcome.objectives[2];
        kept_up.status = v1::OutcomeStatus::NotHeld.into();
        kept_up.observed = Some(v1::objective::Observed::ObservedSharePpm(512_000));
        kept_up.sentence = "14,640 of 30,000 packets were read too late".into();
    }

    #[test]
    fn a_run_that_did_not_hold_has_the_sentence_of_what_was_missed_and_where_to_look() {
        let mut run = run_of_the_front_page();
        did_not_keep_up(&mut run);
        let text = plain(&run);
        let expected = "\
NOT HELD · valid  run 0199f0c2a1b2c3d4  10 × 10 kHz × 10 s
  32 B, one packet a write  page=front
  14,640 of 30,000 packets were read too late
  next  `benchctl show 0199f0c2a1b2c3d4 --clients-table`; docs/operations.md

packets ";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("kept up 51.2 %, asked for ≥ 99.9 % ✗"),
            "{text}"
        );
    }

    #[test]
    fn packets_without_a_time_stand_beside_the_percentiles() {
        let mut run = run_of_the_front_page();
        let generator = &mut report(&mut run).counts.as_mut().unwrap().generator;
        generator.as_mut().unwrap().scheduled = 1_018_160;
        let times = report(&mut run).times.as_mut().unwrap();
        for (times, missing) in [
            (&mut times.lateness, Some(40)),
            (&mut times.transit, Some(18_160)),
            (&mut times.latency, Some(18_160)),
            (&mut times.spread, Some(18_160)),
        ] {
            times.as_mut().unwrap().missing = missing;
        }
        // The first packet of each client.
        times.spread.as_mut().unwrap().count -= 10;
        let spread: Threshold = "spread.p99<=100ms".parse().unwrap();
        let outcome = report(&mut run).outcome.as_mut().unwrap();
        outcome.objectives[3].threshold = Some(spread.to_proto());
        let text = plain(&run);
        let expected = "
no time    40 of 1,018,160 packets in lateness
           18,160 of 1,018,160 packets in transit, latency
           18,170 of 1,018,160 packets in spread

objectives ";
        assert!(text.contains(expected), "{text}");
        assert!(!plain(&run_of_the_front_page()).contains("no time"));
        // Whatever a peer reports.
        let times = report(&mut run).times.as_mut().unwrap();
        times.latency.as_mut().unwrap().missing = Some(u64::MAX);
        times.spread.as_mut().unwrap().count = u64::MAX;
        report(&mut run).counts.as_mut().unwrap().generator = None;
        let text = plain(&run);
        assert!(text.contains("– of – packets in spread"), "{text}");
    }

    #[test]
    fn where_one_way_times_are_not_known_spread_is() {
        let mut run = run_of_the_front_page();
        let times = report(&mut run).times.as_mut().unwrap();
        (times.transit, times.latency) = (None, None);
        let text = plain(&run);
        let expected = "
transit          –        –        –       –       –        –  written → read
latency          –        –        –       –       –        –  due → read
spread     4.10 µs  9.80 µs ";
        assert!(text.contains(expected), "{text}");
    }

    /// A run of two agents, each on a clock of its own.
    fn run_between_clocks() -> v1::Run {
        let mut run = run_of_the_front_page();
        let report = report(&mut run);
        let times = report.times.as_mut().unwrap();
        (times.one_way, times.queueing) = (times.transit.take(), times.latency.take());
        times.one_way.as_mut().unwrap().bound_ns = Some(53_100);
        times.queueing.as_mut().unwrap().bound_ns = Some(8_100);
        report.probe_rtt = times.one_way.clone();
        report.agents = [(-400_000, 53_000), (1_200_000, 60_100)]
            .map(|(skew_ns, bound_ns)| v1::AgentReport {
                start_skew_ns: Some(skew_ns),
                start_skew_bound_ns: Some(bound_ns),
                ..v1::AgentReport::default()
            })
            .into();
        run
    }

    #[test]
    fn between_two_clocks_the_times_have_their_bounds_and_what_those_rest_on() {
        let mut run = run_between_clocks();
        let text = plain(&run);
        let expected = "
lateness   4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms  due → written
one-way    4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms  written → read
queueing   4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms  above the floor
spread     4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms  above the best
probe rtt  4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms  probe → answer
clocks     one-way ± 53.1 µs, proved; exact if the fastest path is symmetric
           queueing ± 8.10 µs, estimated  starts within 1.60 ms ± 60.1 µs
";
        assert!(text.contains(expected), "{text}");
        assert!(text.lines().count() <= LINES, "{text}");

        let times = report(&mut run).times.as_mut().unwrap();
        times.one_way.as_mut().unwrap().bound_is_claimed = true;
        times.queueing = None;
        let text = plain(&run);
        let expected = "
queueing         –        –        –       –       –        –  above the floor";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("one-way ± 53.1 µs, claimed;"), "{text}");
        assert!(!text.contains("estimated"), "{text}");
        // A bound that is not known is never shown as none.
        let times = report(&mut run).times.as_mut().unwrap();
        times.one_way.as_mut().unwrap().bound_ns = None;
        assert!(plain(&run).contains("one-way ± –, claimed;"));
        let narrow = summary(&run, Below::default(), Screen::of(40));
        assert!(narrow.contains("one-way ± –"), "{narrow}");
    }

    #[test]
    fn counters_that_are_0_are_left_out_and_those_that_are_not_known_are_not() {
        let mut run = run_of_the_front_page();
        let counts = report(&mut run).counts.as_mut().unwrap();
        counts.receiver.as_mut().unwrap().read_before_written = None;
        counts.receiver.as_mut().unwrap().reordered = 1;
        let text = plain(&run);
        let expected = "
packets    1,000,000 scheduled = sent = received  lost 0  skipped 0  reordered 1
           corrupt 0  read before written –
";
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("duplicated"), "{text}");
        let group = &mut run.plan.as_mut().unwrap().groups[0];
        group.profile = Some(metronome_proto::profile::Profile::Flood.to_proto());
        let text = plain(&run);
        assert!(!text.contains("read before written"), "{text}");
    }

    #[test]
    fn a_plan_stands_with_what_it_is_judged_by() {
        let mut run = run_of_the_front_page();
        run.report = None;
        let threshold: Threshold = "latency.p99<200us".parse().unwrap();
        run.plan.as_mut().unwrap().thresholds = vec![threshold.to_proto()];
        let text = plain(&run);
        let expected = "plan       judged by latency.p99<200us, and defaults\n";
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("agent loss"), "it is the default: {text}");
        run.plan.as_mut().unwrap().on_agent_loss = v1::AgentLoss::Stop.into();
        let text = plain(&run);
        let expected = "plan       when an agent is lost: stop\n           judged by ";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_never_a_number() {
        let run = v1::Run {
            run_id: "id".into(),
            report: Some(v1::Report::default()),
            ..v1::Run::default()
        };
        let expected = "\
–  run id

packets    scheduled –  sent –  skipped –
           received –  corrupt –  lost –
rate       – of –  in –  kept up –

           p50  p90  p99  p99.9  p99.99  max
lateness     –    –    –      –       –    –  due → written
transit      –    –    –      –       –    –  written → read
latency      –    –    –      –       –    –  due → read
spread       –    –    –      –       –    –  above the best

objectives –
workers    –
cpu        agents –, – a packet, – packets a write call
           workers –, – a packet, – packets a read call
checks     –
";
        assert_eq!(plain(&run), expected);
    }

    #[test]
    fn one_quantile_may_be_unknown_alone() {
        let mut run = run_of_the_front_page();
        let times = report(&mut run).times.as_mut().unwrap();
        times.latency.as_mut().unwrap().quantiles.truncate(3);
        let text = plain(&run);
        let expected =
            "latency    4.10 µs  9.80 µs  38.2 µs       –       –  1.20 ms  due → read\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn every_counter_of_both_lists_is_shown() {
        fn assert_shown<L: CounterList>(list: &L, text: &str) {
            for (name, value) in list.values() {
                let name = match name {
                    "replies_requested" => "asked for".into(),
                    name if name.starts_with("replies_") => name["replies_".len()..].to_owned(),
                    "warm_up" => "warm-up".into(),
                    "warm_up_left_out" => "warm-up left out".into(),
                    name => name.replace('_', " "),
                };
                let shown = format!("{name} {}", known(value, figures::count));
                assert!(text.contains(&shown), "no {shown} in {text}");
            }
        }
        let words = |first: u64| std::array::from_fn::<_, WORDS, _>(|index| first + index as u64);
        let generator = v1::GeneratorCounts::from_words(&words(1_001));
        let receiver = v1::ReceiverCounts::from_words(&words(2_001));
        let mut run = run_of_the_front_page();
        report(&mut run).counts = Some(v1::Counts {
            replies_unanswered: None,
            generator: Some(generator),
            receiver: Some(receiver),
            lost: Some(3_001),
            lost_unacknowledged: Some(3_002),
            lost_unread: None,
        });
        let text = plain(&run);
        assert_shown(&generator, &text);
        assert_shown(&receiver, &text);
        for lost in ["lost 3,001", "never acknowledged 3,002", "unread –"] {
            assert!(text.contains(lost), "no {lost} in {text}");
        }
    }

    #[test]
    fn laws_are_counted_by_how_they_came_out() {
        let law = |status: v1::LawStatus| v1::Law {
            status: status.into(),
            ..v1::Law::default()
        };
        let (holds, broken) = (v1::LawStatus::Holds, v1::LawStatus::Broken);
        assert_eq!(
            checks(&[law(holds), law(holds)]),
            "all 2 hold: the counts prove each other"
        );
        assert_eq!(checks(&[]), "none were made");
        let mut three = vec![law(holds), law(broken), law(v1::LawStatus::NotCheckable)];
        assert_eq!(checks(&three), "1 hold, 1 broken, 1 not checkable");
        three[0].status = 7;
        assert_eq!(checks(&three), "1 broken, 1 not checkable, 1 7");
    }

    #[test]
    fn a_law_that_was_checked_for_some_clients_only_is_not_among_all() {
        let law = |status: v1::LawStatus, figures: &[&str]| v1::Law {
            status: status.into(),
            figures: figures
                .iter()
                .map(|name| ((*name).into(), 4_u32.into()))
                .collect(),
            ..v1::Law::default()
        };
        let whole = law(v1::LawStatus::Holds, &["clients"]);
        let in_part = law(v1::LawStatus::Holds, &["clients", "clients_total"]);
        let missing = law(v1::LawStatus::NotCheckable, &[]);
        for (checked, text) in [
            (
                vec![&whole, &whole],
                "all 2 hold: the counts prove each other",
            ),
            (vec![&whole, &missing], "1 hold, 1 not checkable"),
            (
                vec![&whole, &in_part],
                "2 hold, 1 of them for some clients only",
            ),
            (
                vec![&whole, &in_part, &missing],
                "2 hold, 1 of them for some clients only, 1 not checkable",
            ),
        ] {
            let checked: Vec<_> = checked.into_iter().cloned().collect();
            assert_eq!(checks(&checked), text);
        }
    }

    #[test]
    fn a_run_that_failed_has_its_failure_and_the_way_out() {
        let failed = v1::Run {
            state: v1::RunState::Failed.into(),
            report: None,
            failure: Some(v1::Failure::new(
                v1::FailureCode::ConnectionRefused,
                "agent a cannot connect to 10.0.0.7:8888: nothing listens there",
            )),
            ..run_of_the_front_page()
        };
        let expected = "\
FAILED  run 0199f0c2a1b2c3d4  10 × 10 kHz × 10 s  32 B, one packet a write
  page=front
  CONNECTION_REFUSED: agent a cannot connect to 10.0.0.7:8888: nothing
    listens there
  next  start metronome-server there with --host 0.0.0.0, or give its data port
        with --target
There is no report.
";
        assert_eq!(plain(&failed), expected);
        let running = v1::Run {
            state: v1::RunState::Running.into(),
            failure: None,
            ..failed
        };
        let text = plain(&running);
        assert!(text.contains("`benchctl watch 0199f0c2a1b2c3d4`"), "{text}");
    }

    #[test]
    fn a_run_that_was_spoilt_fits_one_screen() {
        let mut run = run_of_the_front_page();
        let note = v1::Note {
            sentence: "a note".repeat(40),
            ..v1::Note::default()
        };
        report(&mut run).verdict.as_mut().unwrap().notes = vec![note; 100];
        let text = plain(&run);
        assert!(text.lines().count() <= LINES, "{text}");
        assert!(text.contains("a note"), "{text}");
    }

    /// An invalid run as a busy host makes it: the reason in full, with all counts different.
    fn late(run: v1::Run, packets: u64) -> v1::Run {
        let mut run = run;
        run.labels = [
            ("host".into(), "rack-7".into()),
            ("note".into(), "測定 of a long evening".into()),
        ]
        .into();
        let report = report(&mut run);
        let mut counts = crate::render::front_page::counts(packets);
        let generator = counts.generator.as_mut().unwrap();
        (generator.skipped, generator.blocked) = (packets / 50, packets / 70);
        generator.scheduled += packets / 50;
        let receiver = counts.receiver.as_mut().unwrap();
        (receiver.in_time, receiver.left_out) = (Some(packets / 3), Some(packets / 50));
        report.counts = Some(counts);
        let [late, written_late, scheduled] = [packets / 2, packets / 3, packets + packets / 50];
        let reason = v1::Reason {
            code: v1::ReasonCode::Lateness.into(),
            sentence: format!(
                "{late} of {scheduled} packets (50.000 %) were late although their connections had \
                 room: {written_late} were written more than 1 ms after they were due (1.0 period \
                 of the schedule) and {} never, while {} were blocked; at most 1 % may be.",
                packets / 50,
                packets / 70
            ),
            remedy: v1::ReasonCode::Lateness.remedy().into(),
            ..v1::Reason::default()
        };
        let note = |of: usize| v1::Note {
            sentence: format!("this is the note with number {of} on what else has happened"),
            ..v1::Note::default()
        };
        let verdict = report.verdict.as_mut().unwrap();
        verdict.status = v1::VerdictStatus::Invalid.into();
        verdict.reasons = vec![reason.clone(), reason];
        verdict.notes = (0..3).map(note).collect();
        verdict.valid_to_ppm = Some(0);
        let outcome = report.outcome.as_mut().unwrap();
        outcome.status = v1::OutcomeStatus::NotJudged.into();
        for objective in &mut outcome.objectives {
            objective.status = v1::OutcomeStatus::NotJudged.into();
            objective.observed = None;
        }
        run
    }

    #[test]
    fn a_run_that_is_invalid_since_it_was_late_fits_one_screen_of_80_columns() {
        for packets in [1_500, 1_000_000, 10_000_000_000] {
            let text = plain(&late(run_of_the_front_page(), packets));
            assert!(text.lines().count() <= LINES, "{text}");
            for shown in ["LATENESS", "next", "checks", "do not use these figures"] {
                assert!(text.contains(shown), "no {shown} in {text}");
            }
        }
    }

    #[test]
    fn of_a_run_that_is_invalid_no_objective_is_listed_unless_it_was_judged() {
        let mut run = late(run_of_the_front_page(), 1_500);
        let text = plain(&run);
        assert!(
            text.contains("\nobjectives not judged, since the run is invalid\n"),
            "{text}"
        );
        let outcome = report(&mut run).outcome.as_mut().unwrap();
        outcome.objectives[0].status = v1::OutcomeStatus::NotHeld.into();
        let text = plain(&run);
        assert!(
            text.contains("\nobjectives lost –, asked for 0 ✗"),
            "{text}"
        );
        report(&mut run)
            .outcome
            .as_mut()
            .unwrap()
            .objectives
            .clear();
        assert!(plain(&run).contains("\nobjectives none\n"));
    }

    #[test]
    fn the_worst_run_is_little_longer_than_a_screen() {
        let mut run = run_of_the_front_page();
        run.labels = [("label".into(), "l".repeat(128))].into();
        let report = report(&mut run);
        // The highest total rate that a plan may ask for, for the longest time.
        let all = 10_000_000 * 86_400;
        report.counts = Some(v1::Counts {
            replies_unanswered: None,
            generator: Some(v1::GeneratorCounts::from_words(&[all; WORDS])),
            receiver: Some(v1::ReceiverCounts::from_words(&[all; WORDS])),
            lost: Some(all),
            lost_unacknowledged: Some(all),
            lost_unread: Some(all),
        });
        let worker = v1::WorkerReport {
            packets: all,
            ..v1::WorkerReport::default()
        };
        report.receivers[0].workers = vec![worker; 256];
        report.cpu = Some(v1::Cpu {
            generator_ns: Some(64 * 86_400_000_000_000),
            ..report.cpu.unwrap_or_default()
        });
        let reason = v1::Reason {
            code: v1::ReasonCode::ClientLost.into(),
            sentence: "client 7 of agent \x1b[31mred went away ".repeat(20),
            remedy: "a remedy ".repeat(40),
            ..v1::Reason::default()
        };
        let note = v1::Note {
            sentence: "a note".into(),
            ..v1::Note::default()
        };
        report.outcome = Some(v1::Outcome {
            status: v1::OutcomeStatus::NotJudged.into(),
            ..report.outcome.take().unwrap()
        });
        report.verdict = Some(v1::Verdict {
            status: v1::VerdictStatus::Invalid.into(),
            reasons: vec![reason; 100],
            notes: vec![note; 100],
            laws: Vec::new(),
            ..v1::Verdict::default()
        });
        let text = plain(&run);
        let number = text.lines().count();
        assert!(number <= LINES + 9, "{number} lines:\n{text}");
        assert!(text.contains("CLIENT_LOST"), "{text}");
        let fits = |line: &str| line.chars().count() <= WIDTH;
        assert!(text.lines().all(fits), "{text}");
        assert!(text.contains("… and 199 more"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn a_run_with_replies_has_their_line_and_their_times() {
        let mut run = run_of_the_front_page();
        run.labels.clear();
        let group = &mut run.plan.as_mut().unwrap().groups[0];
        (group.packet_bytes, group.echo_every) = (200, 1_000);
        group.payload = Some(v1::Payload {
            source: Some(v1::payload::Source::Pattern(v1::Pattern {})),
        });
        let report = self::report(&mut run);
        let counts = report.counts.as_mut().unwrap();
        counts.replies_unanswered = Some(0);
        let generator = counts.generator.as_mut().unwrap();
        (generator.replies_requested, generator.replies_read) = (Some(1_000), Some(1_000));
        generator.replies_unexpected = Some(0);
        let receiver = counts.receiver.as_mut().unwrap();
        (receiver.replies_wanted, receiver.replies_dropped) = (Some(1_000), Some(0));
        let times = report.times.as_mut().unwrap();
        times.rtt_from_due = times.latency.clone();
        times.rtt_from_write = times.transit.clone();
        let text = plain(&run);
        let expected = "\
HELD · valid  run 0199f0c2a1b2c3d4  10 × 10 kHz × 200 B × 10 s
  one packet a write  payload pattern  echo every 1,000

packets    1,000,000 scheduled = sent = received  lost 0  skipped 0  corrupt 0
replies    1,000 asked for = read  dropped 0
rate       99,998/s of 100,000/s  20.0 MB/s  in 10.0 s  kept up 100 %

                    p50      p90      p99   p99.9  p99.99      max
lateness        4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms
transit         4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms
latency         4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms
rtt from due    4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms
rtt from write  4.10 µs  9.80 µs  38.2 µs  101 µs  402 µs  1.20 ms

objectives ";
        assert!(text.starts_with(expected), "{text}");
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/result.md");
        let manual = std::fs::read_to_string(manual).unwrap();
        let (_, figures) = text.split_once("\n\n").unwrap();
        let (shown, _) = figures.split_once("\n\nobjectives").unwrap();
        assert!(
            manual.contains(&format!("```text\n{shown}\n```")),
            "{shown}"
        );
        let narrow = summary(&run, Below::default(), Screen::of(40));
        let expected = "
        lateness  transit  latency
p50      4.10 µs  4.10 µs  4.10 µs
";
        assert!(narrow.contains(expected), "{narrow}");
        let expected = "
        rtt from due  rtt from write
p50          4.10 µs         4.10 µs
";
        assert!(narrow.contains(expected), "{narrow}");
        assert!(
            narrow.lines().all(|line| line.chars().count() <= 40),
            "{narrow}"
        );
        // Without a reply to a packet that asked for one there is no time of it.
        let times = self::report(&mut run).times.as_mut().unwrap();
        times.rtt_from_due.as_mut().unwrap().missing = Some(10);
        times.rtt_from_write.as_mut().unwrap().missing = Some(10);
        let text = plain(&run);
        let expected = "no time    10 of 1,000 asked for in rtt from due, rtt from write\n";
        assert!(text.contains(expected), "{text}");
        let times = self::report(&mut run).times.as_mut().unwrap();
        times.rtt_from_write = None;
        let text = plain(&run);
        assert!(text.contains("\nrtt from write        –  "), "{text}");
    }

    /// Where a run came out in any way, with any figures and foreign words.
    fn any_run() -> impl Strategy<Value = v1::Run> {
        let numbers = prop::array::uniform8(prop_oneof![0..2_000_000_u64, any::<u64>()]);
        let words = ("[a-z0-9é測\u{1b}\u{200b} ]{0,200}", "[a-zA-Z ]{0,300}");
        let enums = prop::array::uniform6(0..6_i32);
        let is_known = prop::array::uniform8(any::<bool>());
        (numbers, words, enums, is_known, 1..4_usize).prop_map(|parts| {
            let (numbers, (foreign, sentence), enums, is_known, groups) = parts;
            let mut run = run_of_the_front_page();
            run.state = enums[0] * 10 + 10;
            run.labels = [("label".into(), foreign.clone())].into();
            run.failure = is_known[0].then(|| v1::Failure {
                code: enums[1],
                sentence: format!("{foreign} {sentence}"),
                remedy: sentence.clone(),
                ..v1::Failure::default()
            });
            let plan = run.plan.as_mut().unwrap();
            plan.groups = vec![plan.groups[0].clone(); groups];
            plan.threads = enums[5] as u32;
            plan.groups[0].clients = numbers[0] as u32;
            plan.groups[0].phase = enums[4];
            let mut report = run.report.take().unwrap();
            let counts = report.counts.as_mut().unwrap();
            if is_known[1] {
                counts.receiver = Some(v1::ReceiverCounts::from_words(&[numbers[1]; WORDS]));
                counts.generator = Some(v1::GeneratorCounts::from_words(&[numbers[2]; WORDS]));
                counts.lost = is_known[2].then_some(numbers[3]);
            }
            report.rate.as_mut().unwrap().achieved_millihertz = Some(numbers[4]);
            let times = report.times.as_mut().unwrap();
            times.lateness.as_mut().unwrap().max_ns = numbers[5] as i64;
            if is_known[3] {
                (times.latency, times.transit) = (None, None);
            }
            times.spread.as_mut().unwrap().missing = is_known[4].then_some(numbers[6]);
            if is_known[7] {
                plan.groups[0].echo_every = numbers[3] as u32;
                plan.groups[0].packet_bytes = numbers[4] as u32;
                times.rtt_from_due = times.spread.clone();
                times.rtt_from_write = times.latency.clone();
            }
            let verdict = report.verdict.as_mut().unwrap();
            verdict.status = enums[2];
            verdict.valid_to_ppm = is_known[5].then_some(numbers[7] as u32 % 1_000_001);
            let reason = v1::Reason {
                code: enums[1],
                sentence: format!("{sentence} {foreign}"),
                remedy: foreign,
                ..v1::Reason::default()
            };
            verdict.reasons = vec![reason; enums[3] as usize];
            let outcome = report.outcome.as_mut().unwrap();
            outcome.status = enums[3];
            outcome.objectives[groups].status = enums[4];
            outcome.objectives[groups].sentence = sentence;
            run.report = is_known[6].then_some(report);
            run
        })
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen_and_the_result_is_always_there(
            run in any_run(),
            width in 40..=200_usize,
            explanation in any::<bool>(),
        ) {
            let clients = [v1::ClientReport {
                agent: "a".repeat(63),
                failure: run.failure.clone(),
                ..v1::ClientReport::default()
            }];
            let below = Below { explanation, clients: Some(&clients) };
            let text = summary(&run, below, Screen::of(width));
            for line in text.lines() {
                let is_one_word = !line.trim().contains(' ');
                let fits = metronome_proto::layout::columns(line) <= width;
                prop_assert!(fits || is_one_word, "{line:?}\n{text}");
                prop_assert!(!line.contains(metronome_proto::names::is_harmful), "{line:?}");
            }
            let (word, rest, _) = judgement(&run);
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let result = format!("{word}{rest} run 0199f0c2a1b2c3d4");
            prop_assert!(words.starts_with(&result), "{text}");
        }

        #[test]
        fn a_run_that_held_and_one_that_did_not_fit_one_screen_of_80_columns(
            packets in 10_000..2_000_000_000_u64,
            skipped in 0..1_000_u64,
            (one_clock, held, labelled) in any::<(bool, bool, bool)>(),
            valid_to_ppm in prop::option::of(900_000..999_999_u32),
        ) {
            let mut run = run_of_the_front_page();
            if !labelled {
                run.labels.clear();
            }
            let report = run.report.as_mut().unwrap();
            let mut counts = crate::render::front_page::counts(packets);
            counts.generator.as_mut().unwrap().scheduled += skipped;
            counts.generator.as_mut().unwrap().skipped = skipped;
            report.counts = Some(counts);
            let times = report.times.as_mut().unwrap();
            if !one_clock {
                (times.transit, times.latency) = (None, None);
            }
            for of in [&mut times.lateness, &mut times.transit, &mut times.latency] {
                of.iter_mut().for_each(|of| of.missing = Some(skipped));
            }
            report.verdict.as_mut().unwrap().valid_to_ppm = valid_to_ppm;
            if !held {
                let outcome = report.outcome.as_mut().unwrap();
                outcome.status = v1::OutcomeStatus::NotHeld.into();
                outcome.objectives[1].status = v1::OutcomeStatus::NotHeld.into();
                outcome.objectives[1].sentence = "skipped packets of the schedule ".repeat(5);
            }
            let text = plain(&run);
            prop_assert!(text.lines().count() <= LINES, "{text}");
        }
    }

    #[test]
    fn at_40_columns_the_summary_has_all_that_it_has_at_80() {
        let run = run_of_the_front_page();
        let narrow = summary(&run, Below::default(), Screen::of(40));
        let expected = "\
HELD · valid  run 0199f0c2a1b2c3d4
  10 × 10 kHz × 10 s
  32 B, one packet a write  page=front
packets    1,000,000 scheduled = sent =
           received
           lost 0  skipped 0  corrupt 0
rate       99,998/s of 100,000/s
           in 10.0 s  kept up 100 %
        lateness  transit  latency
p50      4.10 µs  4.10 µs  4.10 µs
p90      9.80 µs  9.80 µs  9.80 µs
p99      38.2 µs  38.2 µs  38.2 µs
p99.9     101 µs   101 µs   101 µs
p99.99    402 µs   402 µs   402 µs
max      1.20 ms  1.20 ms  1.20 ms
objectives lost 0 ✓  skipped 0 ✓
           kept up 100 % ≥ 99.9 % ✓
           latency p99.9 101 µs ≤ 100 ms
           ✓
workers    2 have read 500,000 + 500,000
           packets
cpu        agents 1.52 s, 1.52 µs a
           packet, 1.00 packets a write
           call
           workers 980 ms, 980 ns a
           packet, 1.02 packets a read
           call
host       vm1: 2 cores  Linux 6.1.0
           metronome 0.1.0
           real-time threads
checks     all 1 hold: the counts prove
           each other
";
        assert_eq!(narrow, expected);
    }

    #[test]
    fn each_line_with_a_label_has_its_paragraph_and_each_paragraph_its_line() {
        let mut run = run_of_the_front_page();
        let shown = |run: &v1::Run| rows(run, WIDTH).labels;
        let mut labels = shown(&run);
        labels.extend(shown(&v1::Run {
            report: None,
            ..run.clone()
        }));
        let plan = run.plan.as_mut().unwrap();
        plan.on_agent_loss = v1::AgentLoss::Stop.into();
        plan.groups = vec![plan.groups[0].clone(); 2];
        plan.groups[0].echo_every = 100;
        run.failure = Some(v1::Failure::new(
            v1::FailureCode::AgentLost,
            "agent a is lost",
        ));
        let report = report(&mut run);
        let times = report.times.as_mut().unwrap();
        times.rtt_from_due = times.latency.take();
        report
            .times
            .as_mut()
            .unwrap()
            .spread
            .as_mut()
            .unwrap()
            .missing = None;
        report.generator_tcp = Some(v1::TcpSummary {
            retransmitted: Some(1),
            ..v1::TcpSummary::default()
        });
        report.limit = Some(v1::Limit {
            kind: v1::LimitKind::Network.into(),
            sentence: "Network: both ends were in time.".into(),
            ..v1::Limit::default()
        });
        labels.extend(shown(&run));
        labels.extend(shown(&run_between_clocks()));
        for label in Label::all() {
            assert!(labels.contains(&label), "no line has {label:?}");
        }
        let below = Below {
            explanation: true,
            ..Below::default()
        };
        let text = summary(&run, below, Screen::of(WIDTH));
        let (shown, explained) = text.split_at(plain(&run).len());
        let first_word = |line: &str| line.split("  ").next().unwrap_or_default().to_owned();
        let named = shown
            .lines()
            .filter(|line| line.starts_with(|of: char| of.is_lowercase()));
        for label in named.map(first_word) {
            let label = label.split_whitespace().next().unwrap_or_default();
            assert!(
                explained.contains(&format!("\n{label}")),
                "no {label} in {explained}"
            );
        }
        for label in shown_labels(&run) {
            let number = explained
                .lines()
                .filter(|line| line.starts_with(label.word()))
                .count();
            assert_eq!(number, 1, "{label:?} in {explained}");
        }
    }

    fn shown_labels(run: &v1::Run) -> Vec<Label> {
        rows(run, WIDTH).labels
    }
}
