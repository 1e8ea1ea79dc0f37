//! Every metric: its name, its meaning and the figure behind it. docs/observability.md lists them.

use metronome_proto::histogram::Histogram;

use super::{
    buckets::Buckets,
    family::{Family, Kind, Sample, Unit, Value},
    figures::{AgentFigures, Figures},
};
use crate::model::WorkerStatus;

/// The families of `figures`.
pub(crate) fn families(figures: &Figures) -> Vec<Family> {
    [
        packets(figures),
        times(figures),
        connections(figures),
        workers(figures),
        recoveries(figures),
        agents(figures),
        server(figures),
        process(figures),
    ]
    .concat()
}

fn packets(figures: &Figures) -> Vec<Family> {
    let (totals, control) = (&figures.totals, &figures.control);
    vec![
        counter(
            "metronome_packets_sent",
            "Packets fully written, as reported by agents",
            control.sent,
        ),
        counter(
            "metronome_packets_skipped",
            "Packets that were due and never written, as reported by agents",
            control.skipped,
        ),
        counter(
            "metronome_packets_received",
            "Packets of verified clients that workers have counted",
            totals.counts.received,
        ),
        counter(
            "metronome_packets_lost",
            "Packets sent and not received, of runs that have ended",
            control.lost,
        ),
        counter(
            "metronome_packets_corrupt",
            "Frames of verified clients that failed a check",
            totals.counts.corrupt,
        ),
        counter(
            "metronome_packets_duplicated",
            "Packets whose sequence number came twice",
            totals.counts.duplicated,
        ),
        counter(
            "metronome_packets_reordered",
            "Packets that came after a later one",
            totals.counts.reordered,
        ),
        gauge(
            "metronome_packets_missing",
            "Sequence numbers left out and not seen since",
            totals.counts.gaps as f64,
        ),
    ]
}

fn times(figures: &Figures) -> Vec<Family> {
    let times = &figures.totals.times;
    let recovery = &figures.server.recoveries.pauses;
    vec![
        distribution(
            "metronome_lateness",
            "From due to written: the generator's fault",
            &times.lateness,
        ),
        distribution(
            "metronome_transit",
            "From written to read: the path's and the server's",
            &times.transit,
        ),
        distribution(
            "metronome_latency",
            "From due to read: what a device would see",
            &times.latency,
        ),
        distribution(
            "metronome_spread",
            "From due to read, above the least of the same client in the last 5 to 10 s",
            &times.spread,
        ),
        distribution(
            "metronome_recovery_pause",
            "From a worker's last heartbeat to the next read of a connection",
            recovery,
        ),
    ]
}

fn connections(figures: &Figures) -> Vec<Family> {
    let server = &figures.server;
    let refused = [
        ("full", server.refused_full),
        ("hello", server.refused_hello),
        ("late", server.refused_late),
        ("raw", server.refused_raw),
    ];
    let now = [("pending", server.pending), ("admitted", server.admitted)];
    vec![
        counter(
            "metronome_connections_accepted",
            "Connections taken on the data port",
            server.accepted,
        ),
        labelled(
            Kind::Counter,
            "metronome_connections_refused",
            "Connections refused, by reason",
            refused.map(|(reason, count)| (vec![("reason", reason.into())], count as f64)),
        ),
        labelled(
            Kind::Gauge,
            "metronome_connections",
            "Connections on the data port now",
            now.map(|(state, count)| (vec![("state", state.into())], f64::from(count))),
        ),
        gauge(
            "metronome_clients_max",
            "Clients that may be connected at once",
            f64::from(figures.clients_max),
        ),
        counter(
            "metronome_raw_packets",
            "Packets of clients without a hello",
            server.raw.packets,
        ),
    ]
}

fn workers(figures: &Figures) -> Vec<Family> {
    let of_each = |kind, name, help, figure: &dyn Fn(&WorkerStatus) -> f64| {
        let workers = figures.server.workers.iter();
        labelled(
            kind,
            name,
            help,
            workers.map(|worker| {
                (
                    vec![("worker", worker.count.worker.to_string())],
                    figure(worker),
                )
            }),
        )
    };
    vec![
        of_each(
            Kind::Counter,
            "metronome_worker_packets",
            "Packets that a worker has counted",
            &|worker| worker.count.packets as f64,
        ),
        seconds(of_each(
            Kind::Counter,
            "metronome_worker_cpu",
            "CPU time of a worker's processes",
            &|worker| worker.count.cpu_ns as f64 / 1e9,
        )),
        of_each(
            Kind::Counter,
            "metronome_worker_reads",
            "Reads that returned data",
            &|worker| worker.count.reads as f64,
        ),
        of_each(
            Kind::Counter,
            "metronome_worker_wakeups",
            "Waits that ended with a readable connection",
            &|worker| worker.count.wakeups as f64,
        ),
        of_each(
            Kind::Counter,
            "metronome_worker_restarts",
            "Processes after the first, wanted or not",
            &|worker| f64::from(worker.count.restarts),
        ),
        of_each(
            Kind::Gauge,
            "metronome_worker_connections",
            "Connections that a worker reads now",
            &|worker| f64::from(worker.connections),
        ),
    ]
}

fn recoveries(figures: &Figures) -> Vec<Family> {
    let recoveries = &figures.server.recoveries;
    vec![
        counter(
            "metronome_worker_deaths",
            "Worker processes that ended unasked",
            recoveries.deaths,
        ),
        gauge(
            "metronome_workers_crash_looping",
            "Workers in a crash loop",
            recoveries.crash_loops.len() as f64,
        ),
        counter(
            "metronome_recovered_packets",
            "Packets recovered after a worker crash",
            recoveries.packets,
        ),
        counter(
            "metronome_connections_lost",
            "Connections that could not go on after a worker's death",
            recoveries.connections_lost,
        ),
    ]
}

fn agents(figures: &Figures) -> Vec<Family> {
    let agents = &figures.control.agents;
    let of_each = |name, help, figure: &dyn Fn(&AgentFigures) -> f64| {
        labelled(
            Kind::Counter,
            name,
            help,
            agents
                .iter()
                .map(|(agent, figures)| (vec![("agent", agent.clone())], figure(figures))),
        )
    };
    vec![
        gauge(
            "metronome_agents_connected",
            "Agents on their stream now",
            agents.len() as f64,
        ),
        counter(
            "metronome_agents_lost",
            "Agents that left while they had a share of a run",
            figures.control.agents_lost,
        ),
        of_each(
            "metronome_agent_packets_sent",
            "Packets fully written, as reported by an agent",
            &|agent| agent.sent as f64,
        ),
        of_each(
            "metronome_agent_packets_skipped",
            "Packets that an agent could not write in time",
            &|agent| agent.skipped as f64,
        ),
        seconds(of_each(
            "metronome_agent_cpu",
            "CPU time of an agent's pacing threads, of ended runs of which it is known",
            &|agent| agent.cpu_ns as f64 / 1e9,
        )),
        of_each(
            "metronome_agent_cpu_packets",
            "Packets that an agent has sent in the runs whose CPU time is known",
            &|agent| agent.cpu_packets as f64,
        ),
        of_each(
            "metronome_agent_writes",
            "Writes of an agent that took data, of ended runs of which they are known",
            &|agent| agent.writes as f64,
        ),
        of_each(
            "metronome_agent_writes_packets",
            "Packets that an agent has sent in the runs whose writes are known",
            &|agent| agent.writes_packets as f64,
        ),
    ]
}

fn server(figures: &Figures) -> Vec<Family> {
    let control = &figures.control;
    let ended = control
        .runs_ended
        .iter()
        .map(|(verdict, count)| (vec![("verdict", (*verdict).into())], *count as f64));
    let calls = control.calls.iter().map(|(method, status, times)| Sample {
        labels: vec![
            ("rpc_method", method.clone()),
            ("rpc_status_code", (*status).into()),
        ],
        value: Value::Times(Buckets::from(times)),
    });
    let build = [(vec![("version", env!("CARGO_PKG_VERSION").into())], 1.0)];
    vec![
        labelled(
            Kind::Gauge,
            "metronome_build_info",
            "The version that runs; always 1",
            build,
        ),
        gauge(
            "metronome_draining",
            "1 while the server shuts down and starts no runs",
            f64::from(u8::from(figures.is_draining)),
        ),
        gauge(
            "metronome_runs_active",
            "Runs that have not ended",
            control.runs_active as f64,
        ),
        labelled(
            Kind::Counter,
            "metronome_runs_ended",
            "Runs that have ended, by verdict",
            ended,
        ),
        counter(
            "metronome_runs_failed",
            "Runs that were over before their first packet was due",
            control.runs_failed,
        ),
        gauge(
            "metronome_runs_unstored",
            "Runs that have ended and that the database could not take yet",
            control.runs_unstored as f64,
        ),
        counter(
            "metronome_spans_dropped",
            "Spans that the collector of traces did not take",
            figures.spans_dropped,
        ),
        Family {
            name: "rpc_server_call_duration",
            help: "From a call's arrival to the beginning of its answer",
            unit: Some(Unit::Seconds),
            kind: Kind::Histogram,
            samples: calls.collect(),
        },
    ]
}

fn process(figures: &Figures) -> Vec<Family> {
    let process = &figures.process;
    vec![
        seconds(number(
            Kind::Counter,
            "process_cpu",
            "CPU time of the master",
            process.cpu_s,
        )),
        Family {
            unit: Some(Unit::Bytes),
            ..gauge(
                "process_resident_memory",
                "Memory of the master that is in RAM",
                process.resident_bytes as f64,
            )
        },
        gauge(
            "process_open_fds",
            "Descriptors that the master has open",
            process.descriptors as f64,
        ),
        seconds(gauge(
            "process_start_time",
            "When the master was started, since 1970",
            process.started_unix_s,
        )),
    ]
}

fn counter(name: &'static str, help: &'static str, count: u64) -> Family {
    number(Kind::Counter, name, help, count as f64)
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
    number(Kind::Gauge, name, help, value)
}

fn number(kind: Kind, name: &'static str, help: &'static str, value: f64) -> Family {
    labelled(kind, name, help, [(Vec::new(), value)])
}

fn labelled(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    values: impl IntoIterator<Item = (Vec<(&'static str, String)>, f64)>,
) -> Family {
    let samples = values
        .into_iter()
        .map(|(labels, value)| Sample {
            labels,
            value: Value::Number(value),
        })
        .collect();
    Family {
        name,
        help,
        unit: None,
        kind,
        samples,
    }
}

fn seconds(family: Family) -> Family {
    Family {
        unit: Some(Unit::Seconds),
        ..family
    }
}

fn distribution(name: &'static str, help: &'static str, times: &Histogram) -> Family {
    let samples = vec![Sample {
        labels: Vec::new(),
        value: Value::Times(Buckets::from(times)),
    }];
    Family {
        name,
        help,
        unit: Some(Unit::Seconds),
        kind: Kind::Histogram,
        samples,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const MANUAL: &str = include_str!("../../../docs/observability.md");

    #[test]
    fn the_manual_lists_every_metric_by_the_name_it_is_scraped_with() {
        let text = crate::metrics::write(families(&Figures::default()));
        let scraped = |line: &str| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            // OpenMetrics describes a counter without the suffix that its samples have.
            let suffix = if kind == "counter" { "_total" } else { "" };
            Some(format!("{name}{suffix}"))
        };
        let names: Vec<_> = text.lines().filter_map(scraped).collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            assert!(MANUAL.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn no_name_is_used_twice_and_no_run_is_a_label() {
        let all = families(&Figures::default());
        let names: HashSet<_> = all.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), all.len());
        let labels = all
            .iter()
            .flat_map(|family| &family.samples)
            .flat_map(|sample| &sample.labels);
        assert!(labels.clone().count() > 0);
        assert!(labels.into_iter().all(|(name, _)| !name.contains("run")));
    }
}
