//! A run on one screen of 24 lines of 80 columns, outcome and verdict first.

use std::{collections::BTreeMap, fmt::Write as _};

use metronome_proto::{
    histogram::QUANTILES_PPM,
    json::{counts::Counts, times, values},
    profile::hz,
    threshold::quantile_name,
    v1::{self, target::Kind},
};

use super::{
    clients,
    colour::Colour,
    environment,
    figures::{self, UNKNOWN, known},
    grounds, objectives,
};

/// Columns that a screen surely has.
const WIDTH: usize = 80;
const LABEL_WIDTH: usize = 11;
/// Lines of a screen. Counts of many digits may make the summary a few lines longer.
const LINES: usize = 24;
/// Lines for why the run came out as it did: what the other figures leave of the screen, within
/// this. The first reason has room in any case.
const GROUND_LINES: std::ops::RangeInclusive<usize> = 6..=8;
/// More workers than this are shown as a range.
const WORKERS_LISTED_MAX: usize = 3;
/// Labels may have 16 times 128 bytes; the headline has room for this.
const LABEL_CHARACTERS_MAX: usize = 28;
/// Counters that are shown in any case; another one is shown unless it is 0.
const ALWAYS_SHOWN: [&str; 6] = [
    "scheduled",
    "sent",
    "skipped",
    "received",
    "corrupt",
    "lost",
];

/// What is reported of a run that is not stored.
pub(crate) const UNSTORED: &str =
    "The result is not stored yet: the server cannot write it, and tries again.";

/// The summary.
pub(crate) fn summary(run: &v1::Run, colour: Colour) -> String {
    let mut text = headline(run, colour);
    if run.unstored {
        lines(&mut text, vec![UNSTORED.into()]);
    }
    if let Some(failure) = &run.failure {
        lines(&mut text, grounds::failure(failure, WIDTH));
    }
    let figures = figures_of(run);
    if let Some(report) = &run.report {
        let taken = text.lines().count() + figures.lines().count();
        let room = LINES
            .saturating_sub(taken)
            .clamp(*GROUND_LINES.start(), *GROUND_LINES.end());
        lines(&mut text, grounds::of_report(report, WIDTH, room));
    }
    text + &figures
}

/// The plan and the figures of the report, or why there are none.
fn figures_of(run: &v1::Run) -> String {
    let mut text = String::new();
    labelled(&mut text, "plan", plan(run.plan.as_ref()));
    let Some(report) = &run.report else {
        return text + &without_report(run);
    };
    labelled(
        &mut text,
        "packets",
        packets(report.counts.as_ref(), has_flood(run)),
    );
    labelled(&mut text, "rate", rate(run, report));
    let counts = report.counts.and_then(|counts| counts.generator);
    let scheduled = counts.map(|counts| counts.scheduled);
    distributions(&mut text, report.times.as_ref(), scheduled);
    labelled(&mut text, "objectives", outcome(report.outcome.as_ref()));
    labelled(&mut text, "workers", workers(&report.receivers));
    labelled(&mut text, "cpu", cpu(report.cpu.as_ref()));
    let hosts = environment::lines(&report.environments, WIDTH - LABEL_WIDTH);
    labelled(&mut text, "host", hosts);
    let verdict = report.verdict.as_ref();
    labelled(&mut text, "laws", [known(verdict, |of| laws(&of.laws))]);
    text
}

/// The summary and a row per client.
pub(crate) fn with_clients(run: &v1::Run, clients: &[v1::ClientReport], colour: Colour) -> String {
    let mut text = format!("{}\n{}", summary(run, colour), clients::table(clients));
    lines(&mut text, clients::failures(clients, WIDTH));
    text
}

fn headline(run: &v1::Run, colour: Colour) -> String {
    // In any other state the report is not final, and a verdict in it none.
    let report = run.report.as_ref();
    let report = report.filter(|_| run.state() == v1::RunState::Ended);
    let (word, other) = match report.and_then(|report| report.verdict.as_ref()) {
        Some(verdict) => {
            let outcome = report.and_then(|report| report.outcome.as_ref());
            judgement(verdict, outcome, colour)
        }
        None => (figures::word(values::state(run.state)).to_uppercase(), None),
    };
    let other = other.map_or_else(String::new, |other| format!(" · {other}"));
    let labels = shortened(&figures::labels(run), LABEL_CHARACTERS_MAX);
    let run_id = figures::clean(&run.run_id);
    format!("{word}{other}  run {run_id}  {labels}")
        .trim_end()
        .to_owned()
        + "\n"
}

/// Outcome and verdict: in capitals the one that the exit code follows from, then the other one.
fn judgement(
    verdict: &v1::Verdict,
    outcome: Option<&v1::Outcome>,
    colour: Colour,
) -> (String, Option<String>) {
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
    let word = match colour {
        Colour::None => word.to_uppercase(),
        Colour::Ansi => format!("\x1b[{code}m{}\x1b[0m", word.to_uppercase()),
    };
    (word + &to, other)
}

fn shortened(text: &str, characters_max: usize) -> String {
    if text.chars().count() <= characters_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(characters_max - 1).collect();
    kept + "…"
}

fn without_report(run: &v1::Run) -> String {
    match run.state() {
        v1::RunState::Preparing
        | v1::RunState::Starting
        | v1::RunState::Running
        | v1::RunState::Draining => {
            let run_id = figures::clean(&run.run_id);
            format!("The run has not ended; `benchctl watch {run_id}` follows it.\n")
        }
        _ => "There is no report.\n".into(),
    }
}

/// A group after the other, with its name where there are several, and what the plan is judged by.
fn plan(plan: Option<&v1::Plan>) -> Vec<String> {
    let Some(plan) = plan.filter(|plan| !plan.groups.is_empty()) else {
        return vec![UNKNOWN.into()];
    };
    let threads = match plan.threads {
        0 | 1 => String::new(),
        threads => format!(", {threads} threads"),
    };
    let line = |group: &v1::Group| {
        let name = match plan.groups.len() {
            1 => String::new(),
            _ => format!("{}: ", figures::clean(&group.name)),
        };
        let target = target(group).map_or_else(String::new, |target| format!(", target {target}"));
        format!(
            "{name}{}, batch {}, {}{threads}{target}",
            figures::group(group, plan),
            group.batch,
            figures::word(values::phase(group.phase)),
        )
    };
    let lines = plan
        .groups
        .iter()
        .map(line)
        .chain(on_agent_loss(plan.on_agent_loss))
        .chain(objectives::of_plan(plan));
    lines
        .flat_map(|line| figures::wrapped(&line, WIDTH - LABEL_WIDTH))
        .collect()
}

/// `None` for what a run does by default.
fn on_agent_loss(loss: i32) -> Option<String> {
    let word = figures::word(values::agent_loss(loss));
    (word != "continue").then(|| format!("on agent loss: {word}"))
}

/// Where the clients of a group connect. `None` for the server's own data port.
fn target(group: &v1::Group) -> Option<String> {
    match &group.target.as_ref()?.kind {
        Some(Kind::Receivers(receivers)) if receivers.address.is_empty() => None,
        Some(Kind::Receivers(receivers)) => Some(figures::clean(&receivers.address)),
        // A kind that this version does not have.
        None => Some(UNKNOWN.into()),
    }
}

/// The generator's counters, then the receiver's and what was lost. In a flood the counters that
/// follow from a schedule do not exist, so that those that are not known are left out.
fn packets(counts: Option<&v1::Counts>, is_flood: bool) -> Vec<String> {
    let counts = counts.copied().unwrap_or_default();
    let generator = Counts::of_list(counts.generator.as_ref());
    let receiver = Counts::of_list(counts.receiver.as_ref());
    let lost = [
        ("lost", counts.lost),
        ("never acknowledged", counts.lost_unacknowledged),
        ("unread", counts.lost_unread),
    ];
    let lost = match counts.lost {
        // Where it was lost is a question only then.
        Some(1..) => &lost[..],
        _ => &lost[..1],
    };
    let line = |counters: &[(&str, Option<u64>)], is_known: bool| {
        let shown = counters.iter().filter(|(name, value)| match value {
            _ if ALWAYS_SHOWN.contains(name) => true,
            Some(value) => *value != 0,
            None => is_known && !is_flood,
        });
        let parts = shown.map(|(name, value)| {
            format!(
                "{} {}",
                name.replace('_', " "),
                known(*value, figures::count)
            )
        });
        figures::flowed(parts, WIDTH - LABEL_WIDTH)
    };
    let received = [receiver.counters(), lost].concat();
    [
        line(generator.counters(), counts.generator.is_some()),
        line(&received, counts.receiver.is_some()),
    ]
    .concat()
}

fn rate(run: &v1::Run, report: &v1::Report) -> Vec<String> {
    let rate = report.rate.unwrap_or_default();
    // A flood has no offered rate.
    let offered = match rate.offered_millihertz {
        None if has_flood(run) => "max".into(),
        offered => known(offered, |millihertz| {
            format!("{}/s", figures::hertz(hz(millihertz)))
        }),
    };
    let achieved = known(rate.achieved_millihertz, |millihertz| {
        format!("{}/s", figures::rate(hz(millihertz)))
    });
    let elapsed = values::seconds(report.elapsed.as_ref());
    let elapsed = known(elapsed, |seconds| figures::time_mean(seconds * 1e9));
    let parts = [
        format!("offered {offered}"),
        format!("achieved {achieved}"),
        format!("in {elapsed}"),
    ];
    figures::flowed(parts, WIDTH - LABEL_WIDTH)
}

fn has_flood(run: &v1::Run) -> bool {
    let groups = run.plan.iter().flat_map(|plan| &plan.groups);
    let mut shapes = groups.filter_map(|group| group.profile?.shape);
    shapes.any(|shape| matches!(shape, v1::profile::Shape::Flood(_)))
}

/// Columns of each percentile: the first one stands beside the label.
const QUANTILE_WIDTHS: [usize; 6] = [8, 9, 9, 9, 9, 9];

/// `scheduled` are all packets of the run, as the generator counts them.
fn distributions(text: &mut String, times: Option<&v1::Times>, scheduled: Option<u64>) {
    let columns = QUANTILES_PPM.into_iter().map(quantile_name);
    labelled(text, "", [row(columns.chain(["max".into()]))]);
    let of = |part: fn(&v1::Times) -> Option<&v1::Distribution>| times.and_then(part);
    let shown = [
        (
            "lateness",
            of(|times| times.lateness.as_ref()),
            "due → written",
        ),
        (
            "transit",
            of(|times| times.transit.as_ref()),
            "written → read",
        ),
        ("latency", of(|times| times.latency.as_ref()), "due → read"),
        (
            "spread",
            of(|times| times.spread.as_ref()),
            "above the best",
        ),
    ];
    for (name, times, meaning) in shown {
        labelled(text, name, [format!("{}  {meaning}", percentiles(times))]);
    }
    let known = shown.into_iter();
    let known = known.filter_map(|(name, times, _)| Some((name, times?)));
    labelled(text, "missing", missing(known, scheduled));
}

fn row(cells: impl Iterator<Item = String>) -> String {
    let cells = cells.zip(QUANTILE_WIDTHS);
    cells
        .map(|(cell, width)| format!("{cell:>width$}"))
        .collect()
}

fn percentiles(times: Option<&v1::Distribution>) -> String {
    let quantile = |ppm| times.and_then(|times| times::quantile_ns(times, ppm));
    let quantiles = QUANTILES_PPM.map(quantile).into_iter();
    let all = quantiles.chain([times.map(|times| times.max_ns)]);
    row(all.map(|ns| known(ns, figures::time)))
}

/// How many of the `scheduled` packets have no time because they were skipped or lost, so that they
/// are in none of the percentiles. Of spread the first packet of each client has none either.
fn missing<'a>(
    times: impl Iterator<Item = (&'a str, &'a v1::Distribution)>,
    scheduled: Option<u64>,
) -> Vec<String> {
    let mut names: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for (name, times) in times.filter(|(_, times)| times.missing != Some(0)) {
        let missing = match name {
            "spread" => scheduled.and_then(|scheduled| scheduled.checked_sub(times.count)),
            _ => times.missing,
        };
        names.entry(missing).or_default().push(name);
    }
    let line = |(missing, names): (_, Vec<&str>)| {
        let line = format!(
            "of {} scheduled, {} have no time in {}",
            known(scheduled, figures::count),
            known(missing, figures::count),
            names.join(", ")
        );
        figures::wrapped(&line, WIDTH - LABEL_WIDTH)
    };
    names.into_iter().flat_map(line).collect()
}

fn outcome(outcome: Option<&v1::Outcome>) -> Vec<String> {
    let Some(outcome) = outcome else {
        return vec![UNKNOWN.into()];
    };
    if outcome.objectives.is_empty() {
        return vec!["none".into()];
    }
    let parts = outcome.objectives.iter().map(objectives::part);
    figures::flowed(parts, WIDTH - LABEL_WIDTH)
}

fn workers(receivers: &[v1::ReceiverReport]) -> Vec<String> {
    let workers = || receivers.iter().flat_map(|receiver| &receiver.workers);
    let packets = || workers().map(|worker| worker.packets);
    let (Some(low), Some(high)) = (packets().min(), packets().max()) else {
        return vec![UNKNOWN.into()];
    };
    let number = workers().count();
    if number <= WORKERS_LISTED_MAX {
        let each = workers()
            .map(|worker| format!("{}: {}", worker.worker, figures::count(worker.packets)));
        let each = std::iter::once("packets".to_owned()).chain(each);
        return figures::flowed(each, WIDTH - LABEL_WIDTH);
    }
    vec![format!(
        "packets of each of the {number}: {} to {}",
        figures::count(low),
        figures::count(high)
    )]
}

/// A line for each end.
fn cpu(cpu: Option<&v1::Cpu>) -> [String; 2] {
    let cpu = cpu.copied().unwrap_or_default();
    let end = |name, ns, ns_per_packet, packets, call| {
        format!(
            "{name} {}, {} a packet, {} packets a {call}",
            known(ns, figures::time),
            known(ns_per_packet, figures::time_mean),
            known(packets, figures::three_digits),
        )
    };
    [
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
    ]
}

/// `all 20 hold`, or how many came out in each way: `19 hold, 2 of them for some clients only,
/// 1 not checkable`.
fn laws(laws: &[v1::Law]) -> String {
    if laws.is_empty() {
        return "none were checked".into();
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
    let each = numbers.into_iter().map(|(status, number)| {
        if status != holds {
            return format!("{number} {}", figures::word(values::law(status)));
        }
        let all = if number == laws.len() && in_part == 0 {
            "all "
        } else {
            ""
        };
        format!("{all}{number} hold{part}")
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Lines of which the first has a label.
fn labelled(text: &mut String, label: &str, lines: impl IntoIterator<Item = String>) {
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    for (label, line) in labels.zip(lines) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}",
            format!("{label:<LABEL_WIDTH$}{line}").trim_end()
        );
    }
}

fn lines(text: &mut String, lines: Vec<String>) {
    lines.iter().for_each(|line| {
        text.push_str(line);
        text.push('\n');
    });
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        counters::{CounterList, WORDS},
        threshold::Threshold,
    };

    use super::*;
    use crate::render::front_page::run_of_the_front_page;

    fn report(run: &mut v1::Run) -> &mut v1::Report {
        run.report.as_mut().expect("the front page has a report")
    }

    #[test]
    fn the_summary_of_the_front_page() {
        let expected = "\
HELD · valid  run 0199f0c2a1b2c3d4  page=front
plan       10 × 10,000 Hz × 10 s, batch 1, staggered
packets    scheduled 1,000,000  sent 1,000,000  skipped 0
           received 1,000,000  corrupt 0  in time 1,000,000  lost 0
rate       offered 100,000/s  achieved 99,998/s  in 10.0 s
                p50      p90      p99    p99.9   p99.99      max
lateness    4.10 µs  9.80 µs  38.2 µs   101 µs   402 µs  1.20 ms  due → written
transit     4.10 µs  9.80 µs  38.2 µs   101 µs   402 µs  1.20 ms  written → read
latency     4.10 µs  9.80 µs  38.2 µs   101 µs   402 µs  1.20 ms  due → read
spread      4.10 µs  9.80 µs  38.2 µs   101 µs   402 µs  1.20 ms  above the best
objectives lost 0 ✓  skipped 0 ✓  kept up 100 % ≥ 99.9 % ✓
           latency p99.9 101 µs ≤ 100 ms ✓
workers    packets  0: 500,000  1: 500,000
cpu        agents 1.52 s, 1.52 µs a packet, 1.00 packets a write
           workers 980 ms, 980 ns a packet, 1.02 packets a read
laws       all 1 hold
";
        assert_eq!(summary(&run_of_the_front_page(), Colour::None), expected);
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
        let expected = summary(&run_shown(shown), Colour::None);
        // Why stands in words, without labels.
        let labels = |text: &str| {
            let lines = text.lines().skip_while(|line| !line.starts_with("plan"));
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
    fn a_summary_of_a_late_generator_is_one_with_its_line_alone() {
        let run = run_shown("HELD · valid to p90  (> 2 ms, 1 period)");
        let text = summary(&run, Colour::None);
        assert!(text.starts_with("HELD · valid to p90"), "{text}");
        assert!(is_a_summary(&text), "{text}");
        let (headline, rest) = text.split_once('\n').unwrap();
        let (ground, figures) = rest.split_at(rest.find("plan ").unwrap());
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
        let (head, rest) = summary(&stored, Colour::None)
            .split_once('\n')
            .map(|(head, rest)| (head.to_owned(), rest.to_owned()))
            .unwrap();
        let expected = format!("{head}\n{UNSTORED}\n{rest}");
        assert_eq!(summary(&unstored, Colour::None), expected);
        assert!(UNSTORED.len() <= WIDTH);
    }

    #[test]
    fn colour_is_in_the_first_words_alone() {
        let run = run_of_the_front_page();
        let plain = summary(&run, Colour::None);
        assert_eq!(
            summary(&run, Colour::Ansi),
            plain.replacen("HELD", "\x1b[1;32mHELD\x1b[0m", 1)
        );
    }

    #[test]
    fn a_run_that_has_not_ended_shows_its_state_whatever_report_stands_beside() {
        for (state, word) in [(70, "FAILED"), (40, "RUNNING"), (65, "65")] {
            let mut run = run_of_the_front_page();
            run.state = state;
            let text = summary(&run, Colour::None);
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
                let text = summary(&run, colour);
                let first = text.lines().next().unwrap();
                assert_eq!(
                    strip(first),
                    format!("{head}  run 0199f0c2a1b2c3d4  page=front")
                );
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

    #[test]
    fn a_run_that_did_not_hold_has_the_sentence_of_what_was_missed() {
        let mut run = run_of_the_front_page();
        let report = report(&mut run);
        let outcome = report.outcome.as_mut().unwrap();
        outcome.status = v1::OutcomeStatus::NotHeld.into();
        let kept_up = &mut outcome.objectives[2];
        kept_up.status = v1::OutcomeStatus::NotHeld.into();
        kept_up.observed = Some(v1::objective::Observed::ObservedSharePpm(512_000));
        kept_up.sentence = "14,640 of 30,000 packets were read too late".into();
        let text = summary(&run, Colour::None);
        let expected = "\
NOT HELD · valid  run 0199f0c2a1b2c3d4  page=front
  - 14,640 of 30,000 packets were read too late
plan ";
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
        let text = summary(&run, Colour::None);
        let expected = "
missing    of 1,018,160 scheduled, 40 have no time in lateness
           of 1,018,160 scheduled, 18,160 have no time in transit, latency
           of 1,018,160 scheduled, 18,170 have no time in spread
objectives ";
        assert!(text.contains(expected), "{text}");
        assert!(!summary(&run_of_the_front_page(), Colour::None).contains("missing"));
        // Whatever a peer reports.
        let times = report(&mut run).times.as_mut().unwrap();
        times.latency.as_mut().unwrap().missing = Some(u64::MAX);
        times.spread.as_mut().unwrap().count = u64::MAX;
        report(&mut run).counts.as_mut().unwrap().generator = None;
        let text = summary(&run, Colour::None);
        assert!(
            text.contains("of – scheduled, – have no time in spread"),
            "{text}"
        );
    }

    #[test]
    fn where_one_way_times_are_not_known_spread_is() {
        let mut run = run_of_the_front_page();
        let times = report(&mut run).times.as_mut().unwrap();
        (times.transit, times.latency) = (None, None);
        let text = summary(&run, Colour::None);
        let expected = "
transit           –        –        –        –        –        –  written → read
latency           –        –        –        –        –        –  due → read
spread      4.10 µs  9.80 µs ";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn counters_that_are_0_are_left_out_and_those_that_are_not_known_are_not() {
        let mut run = run_of_the_front_page();
        let counts = report(&mut run).counts.as_mut().unwrap();
        counts.receiver.as_mut().unwrap().read_before_written = None;
        counts.receiver.as_mut().unwrap().reordered = 1;
        let text = summary(&run, Colour::None);
        let expected =
            "           received 1,000,000  reordered 1  corrupt 0  read before written –\n";
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("duplicated"), "{text}");
        let group = &mut run.plan.as_mut().unwrap().groups[0];
        group.profile = Some(metronome_proto::profile::Profile::Flood.to_proto());
        let text = summary(&run, Colour::None);
        assert!(!text.contains("read before written"), "{text}");
    }

    #[test]
    fn a_plan_stands_with_what_it_is_judged_by() {
        let mut run = run_of_the_front_page();
        run.report = None;
        let threshold: Threshold = "latency.p99<200us".parse().unwrap();
        run.plan.as_mut().unwrap().thresholds = vec![threshold.to_proto()];
        let text = summary(&run, Colour::None);
        let expected = "           judged by latency.p99<200us, and defaults\n";
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("agent loss"), "it is the default: {text}");
        run.plan.as_mut().unwrap().on_agent_loss = v1::AgentLoss::Stop.into();
        let text = summary(&run, Colour::None);
        assert!(text.contains("           on agent loss: stop\n"), "{text}");
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
plan       –
packets    scheduled –  sent –  skipped –
           received –  corrupt –  lost –
rate       offered –  achieved –  in –
                p50      p90      p99    p99.9   p99.99      max
lateness          –        –        –        –        –        –  due → written
transit           –        –        –        –        –        –  written → read
latency           –        –        –        –        –        –  due → read
spread            –        –        –        –        –        –  above the best
objectives –
workers    –
cpu        agents –, – a packet, – packets a write
           workers –, – a packet, – packets a read
laws       –
";
        assert_eq!(summary(&run, Colour::None), expected);
    }

    #[test]
    fn one_quantile_may_be_unknown_alone() {
        let mut run = run_of_the_front_page();
        let times = report(&mut run).times.as_mut().unwrap();
        times.latency.as_mut().unwrap().quantiles.truncate(3);
        let text = summary(&run, Colour::None);
        let expected =
            "latency     4.10 µs  9.80 µs  38.2 µs        –        –  1.20 ms  due → read\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn every_counter_of_both_lists_is_shown() {
        fn assert_shown<L: CounterList>(list: &L, text: &str) {
            for (name, value) in list.values() {
                let shown = format!(
                    "{} {}",
                    name.replace('_', " "),
                    known(value, figures::count)
                );
                assert!(text.contains(&shown), "no {shown} in {text}");
            }
        }
        let words = |first: u64| std::array::from_fn::<_, WORDS, _>(|index| first + index as u64);
        let generator = v1::GeneratorCounts::from_words(&words(1_001));
        let receiver = v1::ReceiverCounts::from_words(&words(2_001));
        let mut run = run_of_the_front_page();
        report(&mut run).counts = Some(v1::Counts {
            generator: Some(generator),
            receiver: Some(receiver),
            lost: Some(3_001),
            lost_unacknowledged: Some(3_002),
            lost_unread: None,
        });
        let text = summary(&run, Colour::None);
        assert_shown(&generator, &text);
        assert_shown(&receiver, &text);
        for lost in ["lost 3,001", "never acknowledged 3,002", "unread –\n"] {
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
        assert_eq!(laws(&[law(holds), law(holds)]), "all 2 hold");
        assert_eq!(laws(&[]), "none were checked");
        let mut three = vec![law(holds), law(broken), law(v1::LawStatus::NotCheckable)];
        assert_eq!(laws(&three), "1 hold, 1 broken, 1 not checkable");
        three[0].status = 7;
        assert_eq!(laws(&three), "1 broken, 1 not checkable, 1 7");
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
            (vec![&whole, &whole], "all 2 hold"),
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
            assert_eq!(laws(&checked), text);
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
FAILED  run 0199f0c2a1b2c3d4  page=front
  - CONNECTION_REFUSED: agent a cannot connect to 10.0.0.7:8888: nothing
    listens there
    → start metronome-server there with --host 0.0.0.0, or give its data port
      with --target
plan       10 × 10,000 Hz × 10 s, batch 1, staggered
There is no report.
";
        assert_eq!(summary(&failed, Colour::None), expected);
        let running = v1::Run {
            state: v1::RunState::Running.into(),
            failure: None,
            ..failed
        };
        let text = summary(&running, Colour::None);
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
        let text = summary(&run, Colour::None);
        assert!(text.lines().count() <= LINES, "{text}");
        assert!(text.contains("a note"), "{text}");
    }

    #[test]
    fn the_worst_run_is_little_longer_than_a_screen() {
        let mut run = run_of_the_front_page();
        run.labels = [("label".into(), "l".repeat(128))].into();
        let report = report(&mut run);
        // The highest total rate that a plan may ask for, for the longest time.
        let all = 10_000_000 * 86_400;
        report.counts = Some(v1::Counts {
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
        let text = summary(&run, Colour::None);
        let number = text.lines().count();
        assert!(number <= LINES + 8, "{number} lines:\n{text}");
        assert!(text.contains("CLIENT_LOST"), "{text}");
        let fits = |line: &str| line.chars().count() <= WIDTH;
        assert!(text.lines().all(fits), "{text}");
        assert!(text.contains("… and 199 more"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
}
