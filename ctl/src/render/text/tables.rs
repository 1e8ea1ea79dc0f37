//! Tables: runs, agents, clients, workers, raw clients.

use comfy_table::{CellAlignment, Table, presets};
use metronome_proto::v1;

use super::figures;
use crate::render::values;

/// A row per run, in the order given.
pub(crate) fn runs(runs: &[v1::Run]) -> String {
    if runs.is_empty() {
        return "no runs yet\n".into();
    }
    let mut table = table([
        "RUN", "CREATED", "PLAN", "STATE", "VERDICT", "LOST", "P99 µs", "LABEL",
    ]);
    for run in runs {
        table.add_row(run_row(run));
    }
    right_aligned(table, &[5, 6])
}

fn run_row(run: &v1::Run) -> [String; 8] {
    let report = run.report.as_ref();
    let verdict = report.and_then(|report| report.verdict.as_ref());
    let p99_us = report
        .and_then(|report| report.latency.as_ref())
        .filter(|times| times.count > 0)
        .map(|t| t.p99_us);
    [
        figures::clean(&run.run_id),
        values::instant(run.created_at.as_ref()).unwrap_or_else(none),
        run.plan.as_ref().map_or_else(none, figures::plan),
        values::state(run).into(),
        verdict.map_or_else(none, |verdict| values::status(verdict.status()).into()),
        report
            .and_then(|report| report.packets)
            .map_or_else(none, |packets| figures::count(packets.lost)),
        p99_us.map_or_else(none, figures::micros),
        figures::clean(&run.label),
    ]
}

/// A row per agent.
pub(crate) fn agents(agents: &[v1::Agent]) -> String {
    if agents.is_empty() {
        return "no agent is connected; start one with `metronome-agent --server ADDRESS`\n".into();
    }
    let mut table = table([
        "AGENT",
        "VERSION",
        "PEER",
        "CONNECTED",
        "CORES",
        "MAX CLIENTS",
        "CLOCK",
        "RUNS",
    ]);
    for agent in agents {
        table.add_row([
            figures::clean(&agent.name),
            figures::clean(&agent.version),
            figures::clean(&agent.peer),
            values::instant(agent.connected_at.as_ref()).unwrap_or_else(none),
            agent.cores.to_string(),
            figures::count(agent.clients_max.into()),
            if agent.shares_clock { "shared" } else { "own" }.into(),
            figures::clean(&agent.run_ids.join(" ")),
        ]);
    }
    right_aligned(table, &[4, 5])
}

/// A row per client.
pub(crate) fn clients(clients: &[v1::ClientReport]) -> String {
    let head = [
        "CLIENT",
        "AGENT",
        "WORKER",
        "SENT",
        "SKIPPED",
        "RECEIVED",
        "LOST",
        "LATE p99",
        "LATENCY p99",
        "MAX µs",
    ];
    let mut table = table(head.into_iter().chain(["TRIES", "ERROR"]));
    for client in clients {
        let counts =
            [client.sent, client.skipped, client.received, client.lost].map(figures::count);
        let times = [
            client.lateness_p99_us,
            client.latency_p99_us,
            client.latency_max_us,
        ]
        .map(figures::micros);
        let who = [
            client.client.to_string(),
            figures::clean(&client.agent),
            client.worker.to_string(),
        ];
        let end = [client.attempts.to_string(), figures::clean(&client.error)];
        table.add_row(who.into_iter().chain(counts).chain(times).chain(end));
    }
    right_aligned(table, &[0, 2, 3, 4, 5, 6, 7, 8, 9, 10])
}

/// A row per worker of the server.
pub(super) fn workers(workers: &[v1::Worker]) -> String {
    let mut table = table([
        "WORKER",
        "PID",
        "CLIENTS",
        "PACKETS",
        "CPU s",
        "READS",
        "WAKE-UPS",
        "RESTARTS",
        "REAL-TIME",
    ]);
    for worker in workers {
        table.add_row([
            worker.worker.to_string(),
            worker.pid.to_string(),
            worker.connections.to_string(),
            figures::count(worker.packets),
            figures::fixed(worker.cpu_s, 2),
            figures::count(worker.reads),
            figures::count(worker.wakeups),
            worker.restarts.to_string(),
            if worker.real_time { "yes" } else { "no" }.into(),
        ]);
    }
    right_aligned(table, &[0, 1, 2, 3, 4, 5, 6, 7])
}

/// A row per raw client, below a blank line.
pub(super) fn raw_clients(clients: &[v1::RawClient]) -> String {
    if clients.is_empty() {
        return String::new();
    }
    let mut table = table(["RAW CLIENT", "WORKER", "PACKETS", "BYTES", "CONNECTED"]);
    for client in clients {
        table.add_row([
            figures::clean(&client.peer),
            client.worker.to_string(),
            figures::count(client.packets),
            figures::count(client.bytes),
            if client.connected { "yes" } else { "no" }.into(),
        ]);
    }
    "\n".to_owned() + &right_aligned(table, &[1, 2, 3])
}

fn table(head: impl IntoIterator<Item = &'static str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    table
}

/// The table as text, with these columns to the right and a blank between columns.
fn right_aligned(mut table: Table, columns: &[usize]) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if columns.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

fn none() -> String {
    "-".into()
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
            label: String::new(),
            ..run_of_the_front_page()
        };
        let expected = "\
RUN               CREATED                   PLAN                   STATE    VERDICT  LOST  P99 µs  \
LABEL
0199f0c2a1b2c3d5  2026-01-02T03:04:05.000Z  10 × 10,000 Hz × 10 s  running  -           -       -
0199f0c2a1b2c3d4  2026-01-02T03:04:05.000Z  10 × 10,000 Hz × 10 s  ended    valid       0    38.2  \
front page
";
        assert_eq!(runs(&[running, run_of_the_front_page()]), expected);
        assert_eq!(runs(&[]), "no runs yet\n");
    }

    #[test]
    fn no_agent_comes_with_the_way_out() {
        assert!(agents(&[]).contains("metronome-agent --server"));
    }

    #[test]
    fn clients_are_a_row_each() {
        let client = v1::ClientReport {
            client: 7,
            agent: "a".into(),
            sent: 1_000,
            received: 1_000,
            lateness_p99_us: 38.2,
            latency_p99_us: 62.1,
            latency_max_us: 1_204.0,
            worker: 1,
            attempts: 1,
            ..v1::ClientReport::default()
        };
        let expected = "\
CLIENT  AGENT  WORKER   SENT  SKIPPED  RECEIVED  LOST  LATE p99  LATENCY p99  MAX µs  TRIES  ERROR
     7  a           1  1,000        0     1,000     0      38.2         62.1   1,204      1
";
        assert_eq!(clients(&[client]), expected);
    }
}
