//! Tables: runs, agents, workers, raw clients.

use metronome_proto::{
    json::{times, values},
    v1::{self, clock_relation::Relation},
};

use super::{
    figures::{self, UNKNOWN, known},
    summary,
    table::{Column, table},
};

/// The ids of runs, one a line.
pub(crate) fn run_ids(run_ids: &[String]) -> String {
    let lines = run_ids.iter().map(|run_id| figures::clean(run_id) + "\n");
    lines.collect()
}

/// A plan in a few words.
pub(crate) fn plan(plan: &v1::Plan) -> String {
    figures::plan(plan) + "\n"
}

/// What became of runs that were to be stopped: the ids of those that are being stopped, and a
/// sentence for each that had ended.
pub(crate) fn stopped(runs: &[v1::Run]) -> String {
    let line = |run: &v1::Run| {
        let run_id = figures::clean(&run.run_id);
        if !run.state().is_final() {
            return run_id + "\n";
        }
        let ended_at = known(values::instant(run.ended_at.as_ref()), |instant| instant);
        format!("run {run_id} had ended at {ended_at}: nothing to stop\n")
    };
    runs.iter().map(line).collect()
}

/// A row per run, in the order given.
pub(crate) fn runs(runs: &[v1::Run], width: usize) -> String {
    if runs.is_empty() {
        return "no runs\n".into();
    }
    let counts = |run: &v1::Run| run.report.as_ref().and_then(|report| report.counts);
    let mut columns = vec![
        Column::text("RUN", runs, |run| figures::clean(&run.run_id)),
        Column::text("RESULT", runs, summary::result),
        Column::text("CREATED", runs, |run| {
            figures::instant(run.created_at.as_ref())
        })
        .rank(1),
        Column::text("PLAN", runs, |run| known(run.plan.as_ref(), figures::plan))
            .rank(2)
            .shortened_to(18),
        Column::number("LATENCY p99", runs, |run| {
            let times = run.report.as_ref().and_then(|report| report.times.as_ref());
            let latency = times.and_then(|times| times.latency.as_ref());
            let p99 = latency.and_then(|latency| times::quantile_ns(latency, 990_000));
            known(p99, figures::time)
        })
        .rank(3),
    ];
    if runs.iter().any(|run| round_trips(run).is_some()) {
        let p99 = |run: &v1::Run| {
            let p99 = round_trips(run).and_then(|of| times::quantile_ns(of, 990_000));
            known(p99, figures::time)
        };
        columns.push(Column::number("RTT p99", runs, p99).rank(3));
    }
    columns.extend([
        Column::number("LOST", runs, |run| {
            known(counts(run).and_then(|counts| counts.lost), figures::count)
        })
        .rank(4),
        Column::text("LABELS", runs, figures::labels)
            .rank(5)
            .shortened_to(10),
    ]);
    table(columns, width)
}

/// The round trips of a run from due, where some are known.
fn round_trips(run: &v1::Run) -> Option<&v1::Distribution> {
    let times = run.report.as_ref()?.times.as_ref()?;
    times.rtt_from_due.as_ref()
}

/// A row per agent.
pub(crate) fn agents(agents: &[v1::Agent], width: usize) -> String {
    if agents.is_empty() {
        let line = "no agent is connected; start one with `metronome-agent --server ADDRESS`";
        return figures::wrapped(line, width).join("\n") + "\n";
    }
    let columns = vec![
        Column::text("AGENT", agents, |agent| figures::text(&agent.name)),
        Column::text("STATE", agents, |agent| {
            figures::word(values::agent_state(agent.state))
        }),
        Column::text("PEER", agents, |agent| figures::text(&agent.peer)).rank(4),
        Column::number("CORES", agents, |agent| {
            known(agent.capacity, |capacity| capacity.cores)
        })
        .rank(3),
        Column::number("MAX CLIENTS", agents, |agent| {
            known(agent.capacity, |capacity| {
                figures::count(capacity.max_clients.into())
            })
        })
        .rank(2),
        Column::text("CLOCK", agents, |agent| {
            known(agent.clock.as_ref().and_then(|of| of.relation), clock)
        })
        .rank(1),
        Column::text("VERSION", agents, |agent| figures::text(&agent.version))
            .rank(5)
            .shortened_to(10),
        Column::text("CONNECTED", agents, |agent| {
            figures::instant(agent.connected_at.as_ref())
        })
        .rank(6),
        Column::text("RUNS", agents, |agent| {
            figures::clean(&agent.run_ids.join(" "))
        })
        .rank(7)
        .shortened_to(16),
    ];
    table(columns, width)
}

/// How an agent's clock relates to the server's. `offset -3,600 s ± 53.1 µs`: the server's reads an
/// hour less.
pub(super) fn clock(relation: Relation) -> String {
    match relation {
        Relation::Same(_) => "same".into(),
        Relation::Unknown(_) => "unknown".into(),
        Relation::Offset(offset) => {
            let sign = if offset.offset_ns < 0 { "-" } else { "+" };
            let away = offset.offset_ns.saturating_abs();
            let word = if offset.bound_is_claimed {
                " claimed"
            } else {
                ""
            };
            let bound = figures::time(offset.bound_ns);
            format!("offset {sign}{} ± {bound}{word}", figures::time(away))
        }
    }
}

/// A row per worker of the server.
pub(super) fn workers(workers: &[v1::Worker], width: usize) -> String {
    let columns = vec![
        Column::number("WORKER", workers, |of| of.worker.to_string()),
        Column::number("PID", workers, |of| match of.pid {
            0 => UNKNOWN.into(),
            pid => pid.to_string(),
        }),
        Column::number("CLIENTS", workers, |of| of.connections.to_string()),
        Column::number("PACKETS", workers, |of| figures::count(of.packets)).rank(1),
        Column::number("CPU", workers, |of| figures::time(of.cpu_ns)).rank(2),
        Column::number("REPLACED", workers, |of| figures::count(of.restarts.into())).rank(3),
        Column::text("REAL-TIME", workers, |of| yes_or_no(of.real_time)).rank(4),
        Column::number("READS", workers, |of| figures::count(of.reads)).rank(5),
        Column::number("WAKE-UPS", workers, |of| figures::count(of.wakeups)).rank(6),
    ];
    table(columns, width)
}

/// A row per raw client, below a blank line.
pub(super) fn raw_clients(clients: &[v1::RawClient], width: usize) -> String {
    if clients.is_empty() {
        return String::new();
    }
    let columns = vec![
        Column::text("RAW CLIENT", clients, |of| figures::clean(&of.peer)),
        Column::number("WORKER", clients, |of| of.worker.to_string()),
        Column::number("PACKETS", clients, |of| figures::count(of.packets)),
        Column::number("BYTES", clients, |of| figures::count(of.bytes)),
        Column::text("CONNECTED", clients, |of| yes_or_no(of.connected)),
    ];
    "\n".to_owned() + &table(columns, width)
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
        let runs_of = [running, run_of_the_front_page()];
        let expected = "\
RUN               RESULT        CREATED               PLAN                LOST
0199f0c2a1b2c3d5  running       2026-01-02T03:04:05Z  10 × 10 kHz × 10 s     –
0199f0c2a1b2c3d4  held · valid  2026-01-02T03:04:05Z  10 × 10 kHz × 10 s     0
";
        assert_eq!(runs(&runs_of, 80), expected);
        let expected = "\
RUN               RESULT        CREATED               PLAN                LATENCY p99  LOST  \
LABELS
0199f0c2a1b2c3d5  running       2026-01-02T03:04:05Z  10 × 10 kHz × 10 s            –     –
0199f0c2a1b2c3d4  held · valid  2026-01-02T03:04:05Z  10 × 10 kHz × 10 s      38.2 µs     0  \
page=front
";
        assert_eq!(runs(&runs_of, 200), expected);
        let expected = "\
0199f0c2a1b2c3d5  running
  created 2026-01-02T03:04:05Z
  plan 10 × 10 kHz × 10 s  latency p99 –
  lost –
0199f0c2a1b2c3d4  held · valid
  created 2026-01-02T03:04:05Z
  plan 10 × 10 kHz × 10 s
  latency p99 38.2 µs  lost 0
  labels page=front
";
        assert_eq!(runs(&runs_of, 40), expected);
        assert_eq!(runs(&[], 80), "no runs\n");
    }

    #[test]
    fn runs_with_round_trips_have_a_column_for_them() {
        let mut echoing = run_of_the_front_page();
        let times = echoing.report.as_mut().expect("a report").times.as_mut();
        let times = times.expect("times");
        times.rtt_from_due = times.latency.clone();
        echoing.plan.as_mut().expect("a plan").groups[0].packet_bytes = 200;
        let text = runs(&[echoing, run_of_the_front_page()], 200);
        let expected = "\
RUN               RESULT        CREATED               PLAN                        LATENCY p99  \
RTT p99  LOST  LABELS
0199f0c2a1b2c3d4  held · valid  2026-01-02T03:04:05Z  10 × 10 kHz × 200 B × 10 s      38.2 µs  \
38.2 µs     0  page=front
0199f0c2a1b2c3d4  held · valid  2026-01-02T03:04:05Z  10 × 10 kHz × 10 s              38.2 µs  \
\x20     –     0  page=front
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_run_of_several_groups_has_their_number_first_and_takes_no_column_from_the_others() {
        let mut several = run_of_the_front_page();
        let plan = several.plan.as_mut().expect("a plan");
        plan.groups = vec![plan.groups[0].clone(), plan.groups[0].clone()];
        plan.groups[0].clients = 1_000;
        let runs_of = [several, run_of_the_front_page()];
        let expected = "\
RUN               RESULT        CREATED               PLAN                  LOST
0199f0c2a1b2c3d4  held · valid  2026-01-02T03:04:05Z  2 groups, 1,010 cli…     0
0199f0c2a1b2c3d4  held · valid  2026-01-02T03:04:05Z  10 × 10 kHz × 10 s       0
";
        assert_eq!(runs(&runs_of, 80), expected);
        let narrow = runs(&runs_of, 40);
        let whole = "  plan 2 groups, 1,010 clients × 10 s\n";
        assert!(narrow.contains(whole), "{narrow}");
    }

    #[test]
    fn a_run_whose_tail_is_not_known_is_valid_to_its_last_quantile() {
        let mut run = run_of_the_front_page();
        let report = run.report.as_mut().expect("a report");
        report.verdict.as_mut().expect("a verdict").valid_to_ppm = Some(990_000);
        report.outcome.as_mut().expect("an outcome").status = v1::OutcomeStatus::NotHeld.into();
        let text = runs(&[run], 80);
        assert!(text.contains("  not held · valid to p99  "), "{text}");
    }

    #[test]
    fn no_agent_comes_with_the_way_out() {
        assert!(agents(&[], 80).contains("metronome-agent --server"));
    }

    #[test]
    fn the_clock_of_an_agent_is_one_with_the_servers_or_off_by_so_much_or_unknown() {
        let clock = |relation| {
            let agent = v1::Agent {
                clock: Some(v1::ClockRelation { relation }),
                ..v1::Agent::default()
            };
            agents(&[agent], 200)
        };
        assert!(clock(Some(Relation::Same(v1::SameClock::default()))).contains(" same"));
        assert!(clock(Some(Relation::Unknown(v1::UnknownClock {}))).contains(" unknown"));
        let mut offset = v1::OffsetClock {
            offset_ns: -3_600_000_000_000,
            bound_ns: 53_100,
            ..v1::OffsetClock::default()
        };
        let proved = clock(Some(Relation::Offset(offset)));
        assert!(proved.contains("  offset -3,600 s ± 53.1 µs  "), "{proved}");
        (offset.offset_ns, offset.bound_is_claimed) = (7_000, true);
        let claimed = clock(Some(Relation::Offset(offset)));
        let expected = "  offset +7.00 µs ± 53.1 µs claimed  ";
        assert!(claimed.contains(expected), "{claimed}");
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
            let text = agents(&[agent], 200);
            let row = text.lines().nth(1).expect("a row").split_whitespace();
            row.map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let capacity = v1::Capacity {
            max_clients: 10_000,
            cores: 2,
        };
        assert_eq!(
            cells(Some(capacity)),
            ["a", "available", "–", "2", "10,000", "–", "–", "–"]
        );
        assert_eq!(
            cells(None),
            ["a", "available", "–", "–", "–", "–", "–", "–"]
        );
    }
}
