//! A run on one screen: at most 24 lines of at most 100 columns, the verdict first.

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
    figures::{self, UNKNOWN, known},
    grounds,
};

/// Columns that a screen surely has.
const WIDTH: usize = 100;
const LABEL_WIDTH: usize = 10;
/// Lines for reasons and notes; the rest of the summary takes the rest of the screen.
const GROUND_LINES_MAX: usize = 8;
/// More workers than this are shown as a range.
const WORKERS_LISTED_MAX: usize = 4;
/// Labels may have 16 times 128 bytes; the headline has room for this.
const LABEL_CHARACTERS_MAX: usize = 60;

/// The summary.
pub(crate) fn summary(run: &v1::Run, colour: Colour) -> String {
    let mut text = headline(run, colour);
    if let Some(failure) = &run.failure {
        lines(&mut text, grounds::failure(failure, WIDTH));
    }
    let report = run.report.as_ref();
    if let Some(verdict) = report.and_then(|report| report.verdict.as_ref()) {
        let grounds = grounds::verdict(verdict, WIDTH, GROUND_LINES_MAX);
        lines(&mut text, grounds);
    }
    labelled(&mut text, "plan", plan(run.plan.as_ref()));
    let Some(report) = report else {
        return text + &without_report(run);
    };
    packets(&mut text, report.counts.as_ref());
    labelled(&mut text, "rate", [rate(run, report)]);
    distributions(&mut text, report.times.as_ref());
    labelled(&mut text, "workers", [workers(&report.receivers)]);
    labelled(&mut text, "cpu", cpu(report.cpu.as_ref()));
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
    let report = run.report.as_ref();
    // In any other state the report is not final, and a verdict in it none.
    let final_report = report.filter(|_| run.state() == v1::RunState::Ended);
    let verdict = final_report.and_then(|report| report.verdict.as_ref());
    let word = match verdict {
        Some(verdict) => values::verdict(verdict.status),
        None => values::state(run.state),
    };
    let word = known(word, |word| word.to_uppercase());
    let word = match (colour, verdict.map(v1::Verdict::status)) {
        (Colour::None, _) | (_, None) => word,
        (Colour::Ansi, Some(v1::VerdictStatus::Valid)) => format!("\x1b[1;32m{word}\x1b[0m"),
        (Colour::Ansi, Some(v1::VerdictStatus::Partial)) => format!("\x1b[1;33m{word}\x1b[0m"),
        (Colour::Ansi, Some(_)) => format!("\x1b[1;31m{word}\x1b[0m"),
    };
    let outcome = final_report.and_then(|report| report.outcome.as_ref());
    let judged = outcome.filter(|outcome| outcome.status() != v1::OutcomeStatus::NotJudged);
    let outcome = judged.map_or_else(String::new, |outcome| {
        let word = figures::word(values::outcome(outcome.status));
        format!("{} · ", word.to_uppercase())
    });
    let labels: String = figures::labels(run)
        .chars()
        .take(LABEL_CHARACTERS_MAX)
        .collect();
    let run_id = figures::clean(&run.run_id);
    format!("{outcome}{word}  run {run_id}  {labels}")
        .trim_end()
        .to_owned()
        + "\n"
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

/// A line per group, with its name where there are several.
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
    plan.groups.iter().map(line).collect()
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

fn packets(text: &mut String, counts: Option<&v1::Counts>) {
    let counts = counts.copied().unwrap_or_default();
    let ends = [
        Counts::of_list(counts.generator.as_ref()),
        Counts::of_list(counts.receiver.as_ref()),
    ];
    let parts = ends.iter().map(|counts| {
        let parts = counts.counters().iter().map(|(name, value)| {
            let value = known(*value, figures::count);
            format!("{} {value}", name.replace('_', " "))
        });
        figures::flowed(parts, WIDTH - LABEL_WIDTH)
    });
    let mut lines = parts.collect::<Vec<_>>().concat();
    lines.push(lost(&counts));
    labelled(text, "packets", lines);
}

fn lost(counts: &v1::Counts) -> String {
    let lost = known(counts.lost, figures::count);
    if counts.lost == Some(0) {
        return format!("lost {lost}");
    }
    format!(
        "lost {lost}: {} never acknowledged, {} unread",
        known(counts.lost_unacknowledged, figures::count),
        known(counts.lost_unread, figures::count),
    )
}

fn rate(run: &v1::Run, report: &v1::Report) -> String {
    let rate = report.rate.unwrap_or_default();
    let per_second = |millihertz| format!("{}/s", figures::hertz(hz(millihertz)));
    // A flood has no offered rate.
    let offered = match rate.offered_millihertz {
        None if has_flood(run) => "max".into(),
        offered => known(offered, per_second),
    };
    let elapsed = values::seconds(report.elapsed.as_ref());
    format!(
        "offered {offered}  achieved {}  in {} s",
        known(rate.achieved_millihertz, per_second),
        known(elapsed, |seconds| figures::fixed(seconds, 2)),
    )
}

fn has_flood(run: &v1::Run) -> bool {
    let groups = run.plan.iter().flat_map(|plan| &plan.groups);
    let mut shapes = groups.filter_map(|group| group.profile?.shape);
    shapes.any(|shape| matches!(shape, v1::profile::Shape::Flood(_)))
}

fn distributions(text: &mut String, times: Option<&v1::Times>) {
    let columns = QUANTILES_PPM.map(|ppm| quantile_name(ppm));
    let columns = columns.into_iter().chain(["max".into()]);
    let head: String = columns.map(|name| format!("{name:>12}")).collect();
    labelled(text, "µs", [head]);
    for (name, times) in [
        ("lateness", times.and_then(|times| times.lateness.as_ref())),
        ("transit", times.and_then(|times| times.transit.as_ref())),
        ("latency", times.and_then(|times| times.latency.as_ref())),
    ] {
        labelled(text, name, [percentiles(times)]);
    }
}

fn percentiles(times: Option<&v1::Distribution>) -> String {
    let quantile = |ppm| times.and_then(|times| times::quantile_ns(times, ppm));
    let quantiles = QUANTILES_PPM.map(quantile).into_iter();
    quantiles
        .chain([times.map(|times| times.max_ns)])
        .map(|ns| format!("{:>12}", known(ns, figures::micros_of_ns)))
        .collect()
}

fn workers(receivers: &[v1::ReceiverReport]) -> String {
    let workers = || receivers.iter().flat_map(|receiver| &receiver.workers);
    let packets = || workers().map(|worker| worker.packets);
    let (Some(low), Some(high)) = (packets().min(), packets().max()) else {
        return UNKNOWN.into();
    };
    let number = workers().count();
    if number <= WORKERS_LISTED_MAX {
        let each = workers()
            .map(|worker| format!("{}: {}", worker.worker, figures::count(worker.packets)));
        return format!("packets {}", each.collect::<Vec<_>>().join("  "));
    }
    format!(
        "packets of each of the {number}: {} to {}",
        figures::count(low),
        figures::count(high)
    )
}

fn cpu(cpu: Option<&v1::Cpu>) -> Vec<String> {
    let cpu = cpu.copied().unwrap_or_default();
    let end = |ns: Option<i64>, ns_per_packet: Option<f64>, packets: Option<f64>| {
        format!(
            "{} s, {} ns/packet, {} a",
            known(ns, |ns| figures::fixed(values::seconds_of_ns(ns), 2)),
            known(ns_per_packet, |ns| figures::fixed(ns, 0)),
            known(packets, |packets| figures::fixed(packets, 2)),
        )
    };
    let agents = end(
        cpu.generator_ns,
        cpu.generator_ns_per_packet,
        cpu.packets_per_write,
    );
    let workers = end(
        cpu.receiver_ns,
        cpu.receiver_ns_per_packet,
        cpu.packets_per_read,
    );
    let ends = [
        format!("agents {agents} write"),
        format!("workers {workers} read"),
    ];
    figures::flowed(ends, WIDTH - LABEL_WIDTH)
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
        let _ = writeln!(text, "{label:<LABEL_WIDTH$}{line}");
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
    use metronome_proto::counters::{CounterList, WORDS};

    use super::*;
    use crate::render::front_page::run_of_the_front_page;

    fn report(run: &mut v1::Run) -> &mut v1::Report {
        run.report.as_mut().expect("the front page has a report")
    }

    #[test]
    fn the_summary_of_the_front_page() {
        let expected = "\
VALID  run 0199f0c2a1b2c3d4  page=front
plan      10 × 10,000 Hz × 10 s, batch 1, staggered
packets   scheduled 1,000,000  sent 1,000,000  skipped 0  blocked 0
          received 1,000,000  duplicated 0  reordered 0  gaps 0  corrupt 0  read before written 0
          lost 0
rate      offered 100,000/s  achieved 99,998/s  in 10.00 s
µs                 p50         p90         p99       p99.9      p99.99         max
lateness           4.1         9.8        38.2       101.0       402.0       1,204
transit            4.1         9.8        38.2       101.0       402.0       1,204
latency            4.1         9.8        38.2       101.0       402.0       1,204
workers   packets 0: 500,000  1: 500,000
cpu       agents 1.52 s, 1,520 ns/packet, 1.00 a write  workers 0.98 s, 980 ns/packet, 1.02 a read
laws      all 1 hold
";
        assert_eq!(summary(&run_of_the_front_page(), Colour::None), expected);
    }

    #[test]
    fn colour_is_in_the_verdict_alone() {
        let run = run_of_the_front_page();
        let plain = summary(&run, Colour::None);
        assert_eq!(
            summary(&run, Colour::Ansi),
            plain.replacen("VALID", "\x1b[1;32mVALID\x1b[0m", 1)
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
    fn a_judged_outcome_stands_before_the_verdict() {
        let mut run = run_of_the_front_page();
        report(&mut run).outcome = Some(v1::Outcome {
            status: v1::OutcomeStatus::NotHeld.into(),
            ..v1::Outcome::default()
        });
        let text = summary(&run, Colour::None);
        assert!(text.starts_with("NOT HELD · VALID  run "), "{text}");
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
plan      –
packets   scheduled –  sent –  skipped –  blocked –
          received –  duplicated –  reordered –  gaps –  corrupt –  read before written –
          lost –: – never acknowledged, – unread
rate      offered –  achieved –  in – s
µs                 p50         p90         p99       p99.9      p99.99         max
lateness             –           –           –           –           –           –
transit              –           –           –           –           –           –
latency              –           –           –           –           –           –
workers   –
cpu       agents – s, – ns/packet, – a write  workers – s, – ns/packet, – a read
laws      –
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
            "latency            4.1         9.8        38.2           –           –       1,204\n";
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
        let lost = "lost 3,001: 3,002 never acknowledged, – unread\n";
        assert!(text.contains(lost), "{text}");
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
  - CONNECTION_REFUSED: agent a cannot connect to 10.0.0.7:8888: nothing listens there
    → start metronome-server there with --host 0.0.0.0, or give its data port with --target
plan      10 × 10,000 Hz × 10 s, batch 1, staggered
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
    fn the_worst_run_still_fits_one_screen() {
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
        report.verdict = Some(v1::Verdict {
            status: v1::VerdictStatus::Invalid.into(),
            reasons: vec![reason; 100],
            notes: vec![note; 100],
            laws: Vec::new(),
            ..v1::Verdict::default()
        });
        let text = summary(&run, Colour::None);
        let number = text.lines().count();
        assert!(number <= 24, "{number} lines:\n{text}");
        let fits = |line: &str| line.chars().count() <= WIDTH;
        assert!(text.lines().all(fits), "{text}");
        assert!(text.contains("… and 199 more"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
}
