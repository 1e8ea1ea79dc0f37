//! Tables: runs, agents, workers, raw clients.

use comfy_table::{CellAlignment, Table, presets};
use metronome_proto::{
    json::{times, values},
    threshold::quantile_name,
    v1,
};

use super::figures::{self, known};

/// The ids of runs, one a line.
pub(crate) fn run_ids(run_ids: &[String]) -> String {
    let lines = run_ids.iter().map(|run_id| figures::clean(run_id) + "\n");
    lines.collect()
}

/// A column: its head and a cell per row.
pub(super) struct Column {
    head: String,
    cells: Vec<String>,
    alignment: CellAlignment,
}

impl Column {
    /// To the left.
    pub(super) fn text<R>(head: &str, rows: &[R], cell: impl Fn(&R) -> String) -> Self {
        Self {
            head: head.into(),
            cells: rows.iter().map(cell).collect(),
            alignment: CellAlignment::Left,
        }
    }

    /// To the right.
    pub(super) fn number<R>(head: &str, rows: &[R], cell: impl Fn(&R) -> String) -> Self {
        Self {
            alignment: CellAlignment::Right,
            ..Self::text(head, rows, cell)
        }
    }
}

/// The table as text, with two blanks between columns.
pub(super) fn table(columns: Vec<Column>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|column| &column.head));
    let rows = columns.first().map_or(0, |column| column.cells.len());
    for row in 0..rows {
        table.add_row(columns.iter().map(|column| &column.cells[row]));
    }
    for (shown, column) in table.column_iter_mut().zip(&columns) {
        shown.set_padding((0, 2));
        shown.set_cell_alignment(column.alignment);
    }
    table.trim_fmt() + "\n"
}

/// A row per run, in the order given.
pub(crate) fn runs(runs: &[v1::Run]) -> String {
    if runs.is_empty() {
        return "no runs\n".into();
    }
    let report = |run: &v1::Run| run.report.clone().unwrap_or_default();
    table(vec![
        Column::text("RUN", runs, |run| figures::clean(&run.run_id)),
        Column::text("CREATED", runs, |run| {
            known(values::instant(run.created_at.as_ref()), |instant| instant)
        }),
        Column::text("PLAN", runs, |run| known(run.plan.as_ref(), figures::plan)),
        Column::text("STATE", runs, |run| figures::word(values::state(run.state))),
        Column::text("OUTCOME", runs, |run| {
            let outcome = report(run).outcome;
            figures::word(outcome.and_then(|outcome| values::outcome(outcome.status)))
        }),
        Column::text("VERDICT", runs, |run| {
            known(report(run).verdict, |verdict| {
                let word = figures::word(values::verdict(verdict.status));
                let to = verdict.valid_to_ppm.map(quantile_name);
                to.map_or(word.clone(), |quantile| format!("{word} to {quantile}"))
            })
        }),
        Column::number("LOST", runs, |run| {
            let counts = report(run).counts;
            known(counts.and_then(|counts| counts.lost), figures::count)
        }),
        Column::number("LATENCY p99", runs, |run| {
            let latency = report(run).times.and_then(|times| times.latency);
            let p99 = latency.and_then(|latency| times::quantile_ns(&latency, 990_000));
            known(p99, figures::time)
        }),
        Column::text("LABELS", runs, figures::labels),
    ])
}

/// A row per agent.
pub(crate) fn agents(agents: &[v1::Agent]) -> String {
    if agents.is_empty() {
        return "no agent is connected; start one with `metronome-agent --server ADDRESS`\n".into();
    }
    table(vec![
        Column::text("AGENT", agents, |agent| figures::text(&agent.name)),
        Column::text("STATE", agents, |agent| {
            figures::word(values::agent_state(agent.state))
        }),
        Column::text("VERSION", agents, |agent| figures::text(&agent.version)),
        Column::text("PEER", agents, |agent| figures::text(&agent.peer)),
        Column::text("CONNECTED", agents, |agent| {
            known(values::instant(agent.connected_at.as_ref()), |instant| {
                instant
            })
        }),
        Column::number("CORES", agents, |agent| {
            known(agent.capacity, |capacity| capacity.cores)
        }),
        Column::number("MAX CLIENTS", agents, |agent| {
            known(agent.capacity, |capacity| {
                figures::count(capacity.max_clients.into())
            })
        }),
        Column::text("CLOCK", agents, |agent| {
            known(values::clock(agent.clock.as_ref()), |clock| clock)
        }),
        Column::text("RUNS", agents, |agent| {
            figures::clean(&agent.run_ids.join(" "))
        }),
    ])
}

/// A row per worker of the server.
pub(super) fn workers(workers: &[v1::Worker]) -> String {
    table(vec![
        Column::number("WORKER", workers, |of| of.worker.to_string()),
        Column::number("PID", workers, |of| of.pid.to_string()),
        Column::number("CLIENTS", workers, |of| of.connections.to_string()),
        Column::number("PACKETS", workers, |of| figures::count(of.packets)),
        Column::number("CPU", workers, |of| figures::time(of.cpu_ns)),
        Column::number("READS", workers, |of| figures::count(of.reads)),
        Column::number("WAKE-UPS", workers, |of| figures::count(of.wakeups)),
        Column::number("RESTARTS", workers, |of| of.restarts.to_string()),
        Column::text("REAL-TIME", workers, |of| yes_or_no(of.real_time)),
    ])
}

/// A row per raw client, below a blank line.
pub(super) fn raw_clients(clients: &[v1::RawClient]) -> String {
    if clients.is_empty() {
        return String::new();
    }
    let table = table(vec![
        Column::text("RAW CLIENT", clients, |of| figures::clean(&of.peer)),
        Column::number("WORKER", clients, |of| of.worker.to_string()),
        Column::number("PACKETS", clients, |of| figures::count(of.packets)),
        Column::number("BYTES", clients, |of| figures::count(of.bytes)),
        Column::text("CONNECTED", clients, |of| yes_or_no(of.connected)),
    ]);
    "\n".to_owned() + &table
}

fn yes_or_no(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::front_page::run_of_the_front_page;

    #[test]
    fn runs_are_a_row_each() {
        let running = v1::Run {
            run_id: "0199f0c2a1b2c3d5".into(),
            state: v1::RunState::Running.into(),
            report: None,
            labels: Default::default(),
            ..run_of_the_front_page()
        };
        let expected = "\
RUN               CREATED                   PLAN                   STATE    OUTCOME  \
VERDICT  LOST  LATENCY p99  LABELS
0199f0c2a1b2c3d5  2026-01-02T03:04:05.000Z  10 × 10,000 Hz × 10 s  running  –        \
–           –            –
0199f0c2a1b2c3d4  2026-01-02T03:04:05.000Z  10 × 10,000 Hz × 10 s  ended    held     \
valid       0      38.2 µs  page=front
";
        assert_eq!(runs(&[running, run_of_the_front_page()]), expected);
        assert_eq!(runs(&[]), "no runs\n");
    }

    #[test]
    fn a_run_whose_tail_is_not_known_is_valid_to_its_last_quantile() {
        let mut run = run_of_the_front_page();
        let report = run.report.as_mut().expect("a report");
        report.verdict.as_mut().expect("a verdict").valid_to_ppm = Some(990_000);
        report.outcome.as_mut().expect("an outcome").status = v1::OutcomeStatus::NotHeld.into();
        let text = runs(&[run]);
        assert!(text.contains("  not held  valid to p99  "), "{text}");
    }

    #[test]
    fn no_agent_comes_with_the_way_out() {
        assert!(agents(&[]).contains("metronome-agent --server"));
    }

    #[test]
    fn the_clock_of_an_agent_is_one_with_the_servers_or_unknown() {
        use v1::clock_relation::Relation;
        let clock = |relation| {
            let agent = v1::Agent {
                clock: Some(v1::ClockRelation { relation }),
                ..v1::Agent::default()
            };
            agents(&[agent])
        };
        assert!(clock(Some(Relation::Same(v1::SameClock::default()))).contains(" same"));
        assert!(clock(Some(Relation::Unknown(v1::UnknownClock {}))).contains(" unknown"));
        assert!(clock(None).trim_end().ends_with('–'));
    }

    #[test]
    fn what_an_agents_host_offers_is_a_dash_where_it_is_not_known() {
        let cells = |capacity| {
            let agent = v1::Agent {
                name: "a".into(),
                capacity,
                ..v1::Agent::default()
            };
            let text = agents(&[agent]);
            let row = text.lines().nth(1).expect("a row").split_whitespace();
            row.map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let capacity = v1::Capacity {
            max_clients: 10_000,
            cores: 2,
        };
        assert_eq!(
            cells(Some(capacity)),
            ["a", "available", "–", "–", "–", "2", "10,000", "–"]
        );
        assert_eq!(
            cells(None),
            ["a", "available", "–", "–", "–", "–", "–", "–"]
        );
    }
}
