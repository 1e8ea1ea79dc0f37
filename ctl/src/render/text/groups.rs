//! The groups of a run: what is asked of each, and what became of it.

use metronome_proto::{
    json::{times::quantile_ns, values},
    profile::hz,
    v1::{self, Phase, payload::Source, target::Kind},
};

use super::{
    explain::Label,
    figures::{self, UNKNOWN, known},
    rows::Rows,
    table::{Column, table},
};

/// What is before the name of a group, below the label.
const INDENT: &str = "  ";

/// What is asked of each group of several, a line each.
pub(super) fn of_plan(rows: &mut Rows, plan: &v1::Plan) {
    if plan.groups.len() < 2 {
        return;
    }
    let groups = plan.groups.iter();
    let lines: Vec<_> = groups
        .flat_map(|group| figures::flowed([line(group)], rows.room()))
        .collect();
    rows.labelled(Label::Groups, lines);
}

/// A row for each group.
pub(super) fn of_report(rows: &mut Rows, plan: &v1::Plan, reports: &[v1::GroupReport]) {
    let groups: Vec<_> = plan
        .groups
        .iter()
        .map(|group| Row {
            group,
            report: reports.iter().find(|report| report.group == group.name),
        })
        .collect();
    rows.text.push_str(&table(columns(&groups), rows.width));
    rows.labels.push(Label::Groups);
}

/// A group, and its part of the report. `None`: the report has none.
struct Row<'a> {
    group: &'a v1::Group,
    report: Option<&'a v1::GroupReport>,
}

impl Row<'_> {
    fn counts(&self) -> v1::Counts {
        self.report.and_then(|of| of.counts).unwrap_or_default()
    }

    fn rate(&self) -> v1::Rate {
        self.report.and_then(|of| of.rate).unwrap_or_default()
    }

    fn times(&self, of: fn(&v1::Times) -> Option<&v1::Distribution>) -> Option<&v1::Distribution> {
        of(self.report?.times.as_ref()?)
    }
}

fn columns(groups: &[Row<'_>]) -> Vec<Column> {
    let skipped = |row: &Row<'_>| Some(row.counts().generator?.skipped);
    let offered = |row: &Row<'_>| match row.rate().offered_millihertz {
        None if is_flood(row.group) => "max".into(),
        offered => known(offered, |rate| format!("{}/s", figures::hertz(hz(rate)))),
    };
    let batch = |row: &Row<'_>| match row.group.batch {
        0 | 1 => String::new(),
        batch => figures::count(batch.into()),
    };
    let column = Column::number("skipped", groups, |row| known(skipped(row), figures::count));
    // Without any that was skipped it is worth less than what is asked of a group.
    let skipped = match groups.iter().all(|row| skipped(row).unwrap_or(0) == 0) {
        true => column.rank(7).spare(),
        false => column.rank(4),
    };
    let mut columns = vec![
        Column::text(Label::Groups.word(), groups, |row| {
            format!("{INDENT}{}", figures::clean(&row.group.name))
        })
        .shortened_to(10),
        Column::text("load", groups, |row| figures::clients_and_rate(row.group))
            .rank(2)
            .shortened_to(12),
        Column::number("rate", groups, |row| {
            known(row.rate().achieved_millihertz, |rate| {
                format!("{}/s", figures::rate(hz(rate)))
            })
        })
        .rank(3),
        Column::number("of", groups, offered).rank(9).spare(),
        Column::number("lost", groups, |row| {
            known(row.counts().lost, figures::count)
        }),
        skipped,
    ];
    columns.extend(times(groups));
    columns.extend(round_trips(groups));
    columns.extend([
        Column::number("batch", groups, batch).rank(10).spare(),
        Column::text("phase", groups, |row| phase(row.group).unwrap_or_default())
            .rank(11)
            .spare(),
        Column::text("target", groups, |row| {
            target(row.group).unwrap_or_default()
        })
        .rank(12)
        .shortened_to(10)
        .spare(),
    ]);
    columns
}

/// Latency, or one-way where latency is not known of any group, or spread where neither is.
fn times(groups: &[Row<'_>]) -> [Column; 4] {
    type Of = fn(&v1::Times) -> Option<&v1::Distribution>;
    let named: [(Label, Of); 2] = [
        (Label::Latency, |times| times.latency.as_ref()),
        (Label::OneWay, |times| times.one_way.as_ref()),
    ];
    let is_known = |(_, of): &(Label, Of)| groups.iter().any(|row| row.times(*of).is_some());
    let spread: (Label, Of) = (Label::Spread, |times| times.spread.as_ref());
    let (label, of) = named.into_iter().find(is_known).unwrap_or(spread);
    let quantile = |head: String, ppm: u32| {
        Column::number(&head, groups, move |row| {
            let times = row.times(of);
            known(
                times.and_then(|times| quantile_ns(times, ppm)),
                figures::time,
            )
        })
    };
    let word = label.word();
    [
        quantile(format!("{word} p50"), 500_000).rank(8).spare(),
        quantile(format!("{word} p99"), 990_000).rank(1),
        quantile("p99.9".into(), 999_000).rank(5),
        Column::number("max", groups, |row| {
            known(row.times(of), |times| figures::time(times.max_ns))
        })
        .rank(6),
    ]
}

/// The round trips, where they are known of a group.
fn round_trips(groups: &[Row<'_>]) -> Option<Column> {
    fn of<'a>(row: &'a Row<'_>) -> Option<&'a v1::Distribution> {
        row.times(|times| times.rtt_from_due.as_ref())
    }
    let column = Column::number("rtt p99", groups, |row| {
        let p99 = of(row).and_then(|times| quantile_ns(times, 990_000));
        known(p99, figures::time)
    });
    let is_known = groups.iter().any(|row| of(row).is_some());
    is_known.then(|| column.rank(4))
}

/// A group of several, by its name.
fn line(group: &v1::Group) -> String {
    let load = figures::clients_and_rate(group);
    let parts: Vec<_> = std::iter::once(load).chain(details(group)).collect();
    format!("{}: {}", figures::clean(&group.name), parts.join(", "))
}

/// What a group asks for beside clients and rate: the phase that is the default and the server's
/// own data port go without a word.
pub(super) fn details(group: &v1::Group) -> Vec<String> {
    // Another size stands with the rate.
    let size = match figures::packet_bytes(group) {
        32 => "32 B, ",
        _ => "",
    };
    let batch = match group.batch {
        0 => None,
        1 => Some(format!("{size}one packet a write")),
        batch => Some(format!("{size}{batch} packets a write")),
    };
    let payload = group.payload.as_ref().and_then(payload);
    let payload = payload.map(|payload| format!("payload {payload}"));
    let echo = match group.echo_every {
        0 => None,
        1 => Some("echo every packet".into()),
        packets => Some(format!("echo every {}", figures::count(packets.into()))),
    };
    let phase = phase(group).map(|phase| format!("phase {phase}"));
    let target = target(group).map(|target| format!("target {target}"));
    let parts = [batch, payload, echo, phase, target];
    parts.into_iter().flatten().collect()
}

/// A payload by its word, or by the name of its file. `None` for zeros.
fn payload(payload: &v1::Payload) -> Option<String> {
    match &payload.source {
        Some(Source::Zeros(_)) => None,
        Some(Source::Pattern(_)) => Some("pattern".into()),
        Some(Source::Records(records)) => {
            let name = records.name.rsplit('/').next().unwrap_or_default();
            Some(match name {
                "" => "records".into(),
                name => figures::clean(name),
            })
        }
        Some(Source::File(file)) => Some(format!("agent:{}", figures::clean(&file.name))),
        // A source that this version does not have.
        None => Some(UNKNOWN.into()),
    }
}

fn is_flood(group: &v1::Group) -> bool {
    let shape = group.profile.as_ref().and_then(|of| of.shape.as_ref());
    matches!(shape, Some(v1::profile::Shape::Flood(_)))
}

/// The word of a phase. `None` for the default.
fn phase(group: &v1::Group) -> Option<String> {
    let phase = values::phase(group.phase).filter(|_| group.phase() != Phase::Auto);
    phase.map(|phase| phase.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::front_page::{counts, run_of_the_front_page};

    fn run_of_two_groups() -> v1::Run {
        let mut run = run_of_the_front_page();
        let plan = run.plan.as_mut().expect("a plan");
        let mut sensors = plan.groups[0].clone();
        sensors.name = "sensors".into();
        sensors.clients = 1_000;
        sensors.profile = Some(figures::Profile::constant(10_000).to_proto());
        let mut feeds = sensors.clone();
        feeds.name = "feeds".into();
        feeds.clients = 10;
        let steps: figures::Profile = "1k:5s,5k:5s,10k".parse().expect("steps");
        feeds.profile = Some(steps.to_proto());
        feeds.batch = 8;
        feeds.phase = Phase::Spread.into();
        plan.groups = vec![sensors, feeds];
        let report = run.report.as_mut().expect("a report");
        report.groups = vec![v1::GroupReport {
            group: "sensors".into(),
            clients: 1_000,
            counts: Some(counts(100_000)),
            rate: Some(v1::Rate {
                offered_millihertz: Some(10_000_000),
                achieved_millihertz: Some(9_999_900),
            }),
            times: report.times.clone(),
            punctuality: None,
            valid_to_ppm: None,
        }];
        run
    }

    fn shown(width: usize) -> String {
        shown_of(&run_of_two_groups(), width)
    }

    fn shown_of(run: &v1::Run, width: usize) -> String {
        let mut rows = Rows::new(width);
        let groups = &run.report.as_ref().expect("a report").groups;
        of_report(&mut rows, run.plan.as_ref().expect("a plan"), groups);
        rows.text
    }

    #[test]
    fn a_group_is_a_row_and_what_is_not_known_of_it_a_dash() {
        let expected = "\
groups     load                         rate  lost  latency p99   p99.9      max
  sensors  1,000 × 10 Hz             9,999/s     0      38.2 µs  101 µs  1.20 ms
  feeds    10 × 3 steps up to 10 k…        –     –            –       –        –
";
        assert_eq!(shown(80), expected);
        let wide = shown(200);
        let head = wide.lines().next().unwrap_or_default();
        assert!(head.ends_with("max  batch  phase"), "{wide}");
        assert!(wide.ends_with("8  spread\n"), "{wide}");
        let expected = "  \
  sensors  lost 0  latency p99 38.2 µs
  load 1,000 × 10 Hz  rate 9,999/s
  p99.9 101 µs  max 1.20 ms  skipped 0
  latency p50 4.10 µs  of 10,000/s
  feeds  lost –  latency p99 –
  load 10 × 3 steps up to 10 kHz  rate –
  p99.9 –  max –  skipped –
  latency p50 –  of –  batch 8
  phase spread
";
        assert_eq!(shown(40), expected);
    }

    #[test]
    fn a_load_is_shortened_for_packets_that_were_skipped_and_not_for_none() {
        let mut run = run_of_two_groups();
        assert!(!shown_of(&run, 80).contains("skipped"));
        let report = run.report.as_mut().expect("a report");
        let counts = report.groups[0].counts.as_mut().expect("counts");
        counts.generator.as_mut().expect("a generator").skipped = 7;
        let expected = "\
groups     load                rate  lost  skipped  latency p99   p99.9      max
  sensors  1,000 × 10 Hz    9,999/s     0        7      38.2 µs  101 µs  1.20 ms
  feeds    10 × 3 steps u…        –     –        –            –       –        –
";
        assert_eq!(shown_of(&run, 80), expected);
    }

    #[test]
    fn a_group_has_its_size_its_payload_its_echo_and_its_round_trips() {
        let mut run = run_of_two_groups();
        let plan = run.plan.as_mut().expect("a plan");
        plan.groups[0].packet_bytes = 200;
        plan.groups[0].echo_every = 100;
        let records = |name: &str| {
            Source::Records(v1::Records {
                name: name.into(),
                ..v1::Records::default()
            })
        };
        for (source, text) in [
            (Some(Source::Zeros(v1::Zeros {})), None),
            (Some(Source::Pattern(v1::Pattern {})), Some("pattern")),
            (Some(records("data/day\x1b.bin")), Some("day?.bin")),
            (Some(records("")), Some("records")),
            (
                Some(Source::File(v1::AgentFile {
                    name: "day".into(),
                    sha256: Vec::new(),
                })),
                Some("agent:day"),
            ),
            (None, Some("–")),
        ] {
            plan.groups[0].payload = Some(v1::Payload { source });
            let details = details(&plan.groups[0]);
            let shown = details.iter().find_map(|of| of.strip_prefix("payload "));
            assert_eq!(shown, text, "{details:?}");
            assert!(details.contains(&"echo every 100".into()), "{details:?}");
            assert_eq!(details[0], "one packet a write");
        }
        let report = run.report.as_mut().expect("a report");
        let times = report.groups[0].times.as_mut().expect("times");
        times.rtt_from_due = times.latency.clone();
        let expected = "\
groups     load                    rate  lost  latency p99   p99.9      max  rtt p99
  sensors  1,000 × 10 Hz × 20…  9,999/s     0      38.2 µs  101 µs  1.20 ms  38.2 µs
";
        let text = shown_of(&run, 84);
        assert_eq!(
            text.lines().take(2).collect::<Vec<_>>().join("\n") + "\n",
            expected
        );
        let narrow = shown_of(&run, 40);
        assert!(
            narrow.contains("rtt p99 38.2 µs") && narrow.contains("rtt p99 –"),
            "{narrow}"
        );
        assert!(narrow.contains("load 1,000 × 10 Hz × 200 B"), "{narrow}");
    }

    #[test]
    fn groups_of_a_run_without_a_report_are_a_line_each() {
        let run = run_of_two_groups();
        let mut rows = Rows::new(80);
        of_plan(&mut rows, run.plan.as_ref().expect("a plan"));
        let expected = "\
groups     sensors: 1,000 × 10 Hz, 32 B, one packet a write
           feeds: 10 × 3 steps up to 10 kHz, 32 B, 8 packets a write, phase
           spread
";
        assert_eq!(rows.text, expected);
    }
}
