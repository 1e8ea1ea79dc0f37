//! A run on one screen: at most 24 lines of at most 100 columns, the verdict first.

use std::fmt::Write as _;

use metronome_proto::v1;

use super::{colour::Colour, figures, tables};
use crate::render::values;

/// Columns that a screen surely has.
const WIDTH: usize = 100;
const LABEL_WIDTH: usize = 10;
/// Lines for reasons and notes; the rest of the summary takes the rest of the screen.
const REASON_LINES_MAX: usize = 8;
/// More workers than this are shown as a range.
const WORKERS_LISTED_MAX: usize = 4;

/// The summary.
pub(crate) fn summary(run: &v1::Run, colour: Colour) -> String {
    let mut text = headline(run, colour);
    let Some(report) = &run.report else {
        line(&mut text, "plan", &plan(run));
        return text + &without_report(run);
    };
    text += &grounds(report.verdict.as_ref());
    line(&mut text, "plan", &plan(run));
    packets(&mut text, &report.packets.unwrap_or_default());
    rate(&mut text, report);
    times(&mut text, report);
    line(&mut text, "workers", &workers(&report.workers));
    line(&mut text, "cpu", &cpu(&report.cpu.unwrap_or_default()));
    line(&mut text, "laws", &laws(&report.laws));
    text
}

/// The summary and a row per client.
pub(crate) fn with_clients(run: &v1::Run, clients: &[v1::ClientReport], colour: Colour) -> String {
    format!("{}\n{}", summary(run, colour), tables::clients(clients))
}

fn headline(run: &v1::Run, colour: Colour) -> String {
    let verdict = run
        .report
        .as_ref()
        .and_then(|report| report.verdict.as_ref());
    let word = verdict
        .map_or_else(
            || values::state(run),
            |verdict| values::status(verdict.status()),
        )
        .to_uppercase();
    let word = match (colour, verdict.map(v1::Verdict::status)) {
        (Colour::None, _) | (_, None) => word,
        (Colour::Ansi, Some(v1::VerdictStatus::Valid)) => format!("\x1b[1;32m{word}\x1b[0m"),
        (Colour::Ansi, Some(v1::VerdictStatus::Partial)) => format!("\x1b[1;33m{word}\x1b[0m"),
        (Colour::Ansi, Some(_)) => format!("\x1b[1;31m{word}\x1b[0m"),
    };
    let label: String = figures::clean(&run.label)
        .chars()
        .take(LABEL_CHARACTERS_MAX)
        .collect();
    format!("{word}  run {}  {label}", figures::clean(&run.run_id))
        .trim_end()
        .to_owned()
        + "\n"
}

/// A label may have 128 bytes; the headline has room for this.
const LABEL_CHARACTERS_MAX: usize = 60;

fn without_report(run: &v1::Run) -> String {
    match run.state() {
        v1::RunState::Aborted => "The server died in mid-run, so there is no report.\n".into(),
        _ => format!(
            "The run has not ended; `benchctl watch {}` follows it.\n",
            figures::clean(&run.run_id)
        ),
    }
}

/// Reasons, then notes, as far as the screen goes.
fn grounds(verdict: Option<&v1::Verdict>) -> String {
    let Some(verdict) = verdict else {
        return String::new();
    };
    let reasons = verdict
        .reasons
        .iter()
        .map(|reason| format!("{}: {}", reason.code, reason.text));
    let notes = verdict.notes.iter().map(|note| format!("note: {note}"));
    let mut lines: Vec<String> = Vec::new();
    let mut left_out = 0;
    for ground in reasons.chain(notes) {
        let wrapped = bullet(&figures::clean(&ground));
        // One line is kept for the number of those left out.
        if left_out > 0 || lines.len() + wrapped.len() >= REASON_LINES_MAX {
            left_out += 1;
        } else {
            lines.extend(wrapped);
        }
    }
    if left_out > 0 {
        lines.push(format!("  … and {left_out} more: see -o json"));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// At most three lines of a text, the first with a dash.
fn bullet(text: &str) -> Vec<String> {
    let lines = figures::wrapped(text, WIDTH - 4);
    let marked = |(index, line): (usize, &String)| {
        format!("{}{line}", if index == 0 { "  - " } else { "    " })
    };
    lines.iter().take(3).enumerate().map(marked).collect()
}

fn plan(run: &v1::Run) -> String {
    let Some(plan) = &run.plan else {
        return "unknown".into();
    };
    let threads = if plan.threads > 1 {
        format!(", {} threads", plan.threads)
    } else {
        String::new()
    };
    format!(
        "{}, batch {}, {}{threads}",
        figures::plan(plan),
        plan.batch,
        values::phase(plan.phase())
    )
}

fn packets(text: &mut String, packets: &v1::PacketCounts) {
    let sent = [
        ("scheduled", packets.scheduled),
        ("sent", packets.sent),
        ("skipped", packets.skipped),
    ];
    line(text, "packets", &counts(&sent));
    let received = [
        ("received", packets.received),
        ("lost", packets.lost),
        ("corrupt", packets.corrupt),
    ];
    line(text, "", &counts(&received));
    if packets.lost > 0 {
        let unacknowledged = figures::count(packets.lost_unacknowledged);
        let unread = figures::count(packets.lost_unread);
        line(
            text,
            "",
            &format!(
                "of the lost {unacknowledged} never acknowledged, {unread} acknowledged but unread"
            ),
        );
    }
    let order = [
        ("duplicated", packets.duplicated),
        ("reordered", packets.reordered),
        ("gaps", packets.gaps),
    ];
    line(text, "", &counts(&order));
}

fn counts(named: &[(&str, u64)]) -> String {
    named
        .iter()
        .map(|(name, number)| format!("{name} {}", figures::count(*number)))
        .collect::<Vec<_>>()
        .join("  ")
}

fn rate(text: &mut String, report: &v1::Report) {
    let rate = report.rate.unwrap_or_default();
    // A flood has no offered rate.
    let offered = rate
        .offered_hz
        .map_or_else(|| "max".into(), |hz| format!("{}/s", figures::hertz(hz)));
    let rate = format!(
        "offered {offered}  achieved {}/s  in {} s",
        figures::hertz(rate.achieved_hz),
        figures::fixed(report.elapsed_s, 2)
    );
    line(text, "rate", &rate);
}

fn times(text: &mut String, report: &v1::Report) {
    let head: String = ["p50", "p90", "p99", "p99.9", "p99.99", "max"]
        .map(|name| format!("{name:>12}"))
        .concat();
    line(text, "µs", &head);
    for (name, times) in [
        ("lateness", &report.lateness),
        ("transit", &report.transit),
        ("latency", &report.latency),
    ] {
        line(text, name, &percentiles(times.as_ref()));
    }
}

fn percentiles(times: Option<&v1::Distribution>) -> String {
    match times {
        None => "     not shown: agent and server do not share a clock".into(),
        Some(times) if times.count == 0 => "     nothing was counted".into(),
        Some(times) => [
            times.p50_us,
            times.p90_us,
            times.p99_us,
            times.p99_9_us,
            times.p99_99_us,
            times.max_us,
        ]
        .map(|us| format!("{:>12}", figures::micros(us)))
        .concat(),
    }
}

fn workers(workers: &[v1::WorkerReport]) -> String {
    if workers.len() <= WORKERS_LISTED_MAX {
        let each = workers
            .iter()
            .map(|worker| format!("{}: {}", worker.worker, figures::count(worker.packets)));
        return format!("packets {}", each.collect::<Vec<_>>().join("  "));
    }
    let packets = || workers.iter().map(|worker| worker.packets);
    let (low, high) = (packets().min().unwrap_or(0), packets().max().unwrap_or(0));
    format!(
        "packets of each of the {}: {} to {}",
        workers.len(),
        figures::count(low),
        figures::count(high)
    )
}

fn cpu(cpu: &v1::Cpu) -> String {
    format!(
        "agent {} s, {} ns/packet, {} a write  server {} s, {} ns/packet, {} a read",
        figures::fixed(cpu.agent_s, 2),
        figures::fixed(cpu.agent_ns_per_packet, 0),
        figures::fixed(cpu.packets_per_write, 2),
        figures::fixed(cpu.server_s, 2),
        figures::fixed(cpu.server_ns_per_packet, 0),
        figures::fixed(cpu.packets_per_read, 2),
    )
}

fn laws(laws: &[v1::Law]) -> String {
    let broken = laws.iter().filter(|law| !law.holds).count();
    match (laws.len(), broken) {
        (0, _) => "none were checked".into(),
        (all, 0) => format!("all {all} hold"),
        (all, broken) => format!("{broken} of {all} are broken"),
    }
}

fn line(text: &mut String, label: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{label:<LABEL_WIDTH$}{value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::front_page::run_of_the_front_page;

    #[test]
    fn the_summary_of_the_front_page() {
        let expected = "\
VALID  run 0199f0c2a1b2c3d4  front page
plan      10 × 10,000 Hz × 10 s, batch 1, staggered
packets   scheduled 1,000,000  sent 1,000,000  skipped 0
          received 1,000,000  lost 0  corrupt 0
          duplicated 0  reordered 0  gaps 0
rate      offered 100,000/s  achieved 99,998/s  in 10.00 s
µs                 p50         p90         p99       p99.9      p99.99         max
lateness           4.1         9.8        38.2       101.0       402.0       1,204
transit            4.1         9.8        38.2       101.0       402.0       1,204
latency            4.1         9.8        38.2       101.0       402.0       1,204
workers   packets 0: 500,000  1: 500,000
cpu       agent 1.52 s, 1,520 ns/packet, 1.00 a write  server 0.98 s, 980 ns/packet, 1.02 a read
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
    fn what_cannot_be_known_is_not_shown_as_a_figure() {
        let mut run = run_of_the_front_page();
        if let Some(report) = &mut run.report {
            report.transit = None;
            report.latency = Some(v1::Distribution::default());
        }
        let text = summary(&run, Colour::None);
        assert!(
            text.contains("transit        not shown: agent and server do not share a clock\n"),
            "{text}"
        );
        assert!(
            text.contains("latency        nothing was counted\n"),
            "{text}"
        );
    }

    #[test]
    fn a_run_without_a_report_shows_why() {
        let aborted = v1::Run {
            state: v1::RunState::Aborted.into(),
            report: None,
            ..run_of_the_front_page()
        };
        let text = summary(&aborted, Colour::None);
        assert!(text.starts_with("ABORTED  run 0199f0c2a1b2c3d4"), "{text}");
        assert!(text.contains("died in mid-run"), "{text}");
    }

    #[test]
    fn the_worst_run_still_fits_one_screen() {
        let mut run = run_of_the_front_page();
        run.label = "l".repeat(128);
        let report = run.report.as_mut().expect("the front page has a report");
        // The highest total rate that a plan may ask for, for the longest time.
        let all = 10_000_000 * 86_400;
        report.packets = Some(v1::PacketCounts {
            scheduled: all,
            sent: all,
            skipped: all,
            received: all,
            lost: all,
            lost_unacknowledged: all,
            lost_unread: all,
            duplicated: all,
            reordered: all,
            gaps: all,
            corrupt: all,
            blocked: all,
        });
        report.workers = vec![
            v1::WorkerReport {
                packets: all,
                ..v1::WorkerReport::default()
            };
            256
        ];
        let reason = v1::Reason {
            code: "CLIENT_LOST".into(),
            status: v1::VerdictStatus::Partial.into(),
            text: "client 7 of agent \x1b[31mred went away ".repeat(20),
        };
        let verdict = v1::Verdict {
            status: v1::VerdictStatus::Invalid.into(),
            reasons: vec![reason; 100],
            notes: vec!["a note".into(); 100],
        };
        report.verdict = Some(verdict);
        let text = summary(&run, Colour::None);
        assert!(
            text.lines().count() <= 24,
            "{} lines:\n{text}",
            text.lines().count()
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(text.contains("… and 198 more"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
}
