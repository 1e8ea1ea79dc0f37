//! Every metric: its name, its meaning and the figure behind it. docs/observability.md lists them.

use super::{
    buckets::Buckets,
    exemplar::Exemplars,
    family::{
        Family, Kind, Sample,
        Unit::{Bytes, Count, Seconds},
        Value, counter, distribution, gauge, labelled, number,
    },
    figures::{AgentFigures, CallFigures, Figures},
    groups::groups,
    outcomes, replies,
};
use crate::model::WorkerStatus;

/// The families of `figures`.
pub(crate) fn families(figures: &Figures) -> Vec<Family> {
    [
        packets(figures),
        groups(&figures.control),
        times(figures),
        replies::families(figures),
        connections(figures),
        workers(figures),
        recoveries(figures),
        agents(figures),
        outcomes::families(&figures.control),
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
            Count("{packet}"),
            "Packets fully written, as reported by agents",
            control.sent,
        ),
        counter(
            "metronome_packets_skipped",
            Count("{packet}"),
            "Packets that were due and never written, as reported by agents",
            control.skipped,
        ),
        counter(
            "metronome_packets_received",
            Count("{packet}"),
            "Packets of verified clients that workers have counted",
            totals.counts.received,
        ),
        counter(
            "metronome_packets_lost",
            Count("{packet}"),
            "Packets sent and not received, of runs that have ended",
            control.lost,
        ),
        counter(
            "metronome_packets_corrupt",
            Count("{packet}"),
            "Frames of verified clients that failed a check",
            totals.counts.corrupt,
        ),
        counter(
            "metronome_packets_duplicated",
            Count("{packet}"),
            "Packets whose sequence number came twice",
            totals.counts.duplicated,
        ),
        counter(
            "metronome_packets_reordered",
            Count("{packet}"),
            "Packets that came after a later one",
            totals.counts.reordered,
        ),
        gauge(
            "metronome_packets_missing",
            Count("{packet}"),
            "Sequence numbers left out and not seen since",
            totals.counts.gaps as f64,
        ),
    ]
}

fn times(figures: &Figures) -> Vec<Family> {
    let times = &figures.totals.times;
    let recovery = &figures.server.recoveries.pauses;
    let traced = &figures.control.packets;
    let none = Exemplars::default();
    vec![
        distribution(
            "metronome_lateness",
            "From due to written: the generator's fault",
            &times.lateness,
            &traced.lateness,
        ),
        distribution(
            "metronome_transit",
            "From written to read: the path's and the server's",
            &times.transit,
            &traced.transit,
        ),
        distribution(
            "metronome_latency",
            "From due to read: what a device would see",
            &times.latency,
            &traced.latency,
        ),
        distribution(
            "metronome_spread",
            "From due to read, above the least of the same client in the last 5 to 10 s",
            &times.spread,
            &none,
        ),
        distribution(
            "metronome_recovery_pause",
            "From a worker's last heartbeat to the next read of a connection",
            recovery,
            &none,
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
            Count("{connection}"),
            "Connections taken on the data port",
            server.accepted,
        ),
        labelled(
            Kind::Counter,
            "metronome_connections_refused",
            Count("{connection}"),
            "Connections refused, by reason",
            refused.map(|(reason, count)| (vec![("reason", reason.into())], count as f64)),
        ),
        labelled(
            Kind::Gauge,
            "metronome_connections",
            Count("{connection}"),
            "Connections on the data port now",
            now.map(|(state, count)| (vec![("state", state.into())], f64::from(count))),
        ),
        labelled(
            Kind::Counter,
            "metronome_segments_retransmitted",
            Count("{segment}"),
            "Segments sent again, by end, of runs that have ended and are not invalid",
            ["agents", "server"]
                .into_iter()
                .zip(figures.control.retransmitted)
                .map(|(end, segments)| (vec![("end", end.into())], segments as f64)),
        ),
        gauge(
            "metronome_max_clients",
            Count("{client}"),
            "Clients that may be connected at once",
            f64::from(figures.max_clients),
        ),
        counter(
            "metronome_raw_packets",
            Count("{packet}"),
            "Packets of clients without a hello",
            server.raw.packets,
        ),
    ]
}

fn workers(figures: &Figures) -> Vec<Family> {
    let of_each = |kind, name, unit, help, figure: &dyn Fn(&WorkerStatus) -> f64| {
        let workers = figures.server.workers.iter();
        labelled(
            kind,
            name,
            unit,
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
            Count("{packet}"),
            "Packets that a worker has counted",
            &|worker| worker.count.packets as f64,
        ),
        of_each(
            Kind::Counter,
            "metronome_worker_cpu",
            Seconds,
            "CPU time of a worker's processes",
            &|worker| worker.count.cpu_ns as f64 / 1e9,
        ),
        of_each(
            Kind::Counter,
            "metronome_worker_reads",
            Count("{read}"),
            "Reads that returned data",
            &|worker| worker.count.reads as f64,
        ),
        of_each(
            Kind::Counter,
            "metronome_worker_wakeups",
            Count("{wakeup}"),
            "Waits that ended with a readable connection",
            &|worker| worker.count.wakeups as f64,
        ),
        of_each(
            Kind::Counter,
            "metronome_worker_restarts",
            Count("{process}"),
            "Processes after the first, wanted or not",
            &|worker| f64::from(worker.count.restarts),
        ),
        of_each(
            Kind::Gauge,
            "metronome_worker_connections",
            Count("{connection}"),
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
            Count("{process}"),
            "Worker processes that ended unasked",
            recoveries.deaths,
        ),
        gauge(
            "metronome_workers_crash_looping",
            Count("{worker}"),
            "Workers in a crash loop",
            recoveries.crash_loops.len() as f64,
        ),
        counter(
            "metronome_recovered_packets",
            Count("{packet}"),
            "Packets recovered after a worker crash",
            recoveries.packets,
        ),
        counter(
            "metronome_connections_lost",
            Count("{connection}"),
            "Connections that could not go on after a worker's death",
            recoveries.connections_lost,
        ),
    ]
}

fn agents(figures: &Figures) -> Vec<Family> {
    let agents = &figures.control.agents;
    let of_each = |name, unit, help, figure: &dyn Fn(&AgentFigures) -> f64| {
        labelled(
            Kind::Counter,
            name,
            unit,
            help,
            agents
                .iter()
                .map(|(agent, figures)| (vec![("agent", agent.clone())], figure(figures))),
        )
    };
    vec![
        gauge(
            "metronome_agents_connected",
            Count("{agent}"),
            "Agents on their stream now",
            agents.len() as f64,
        ),
        counter(
            "metronome_agents_lost",
            Count("{agent}"),
            "Agents that left while they had a share of a run",
            figures.control.agents_lost,
        ),
        of_each(
            "metronome_agent_packets_sent",
            Count("{packet}"),
            "Packets fully written, as reported by an agent",
            &|agent| agent.sent as f64,
        ),
        of_each(
            "metronome_agent_packets_skipped",
            Count("{packet}"),
            "Packets that an agent could not write in time",
            &|agent| agent.skipped as f64,
        ),
        of_each(
            "metronome_agent_cpu",
            Seconds,
            "CPU time of an agent's pacing threads, of ended runs of which it is known",
            &|agent| agent.cpu_ns as f64 / 1e9,
        ),
        of_each(
            "metronome_agent_cpu_packets",
            Count("{packet}"),
            "Packets that an agent has sent in the runs whose CPU time is known",
            &|agent| agent.cpu_packets as f64,
        ),
        of_each(
            "metronome_agent_writes",
            Count("{write}"),
            "Writes of an agent that took data, of ended runs of which they are known",
            &|agent| agent.writes as f64,
        ),
        of_each(
            "metronome_agent_writes_packets",
            Count("{packet}"),
            "Packets that an agent has sent in the runs whose writes are known",
            &|agent| agent.writes_packets as f64,
        ),
    ]
}

fn server(figures: &Figures) -> Vec<Family> {
    let control = &figures.control;
    let build = [(vec![("version", env!("CARGO_PKG_VERSION").into())], 1.0)];
    vec![
        labelled(
            Kind::Gauge,
            "metronome_build_info",
            Count("{build}"),
            "The version that runs; always 1",
            build,
        ),
        gauge(
            "metronome_draining",
            Count("{server}"),
            "1 while the server shuts down and starts no runs",
            f64::from(u8::from(figures.is_draining)),
        ),
        gauge(
            "metronome_runs_active",
            Count("{run}"),
            "Runs that have not ended",
            control.runs_active as f64,
        ),
        counter(
            "metronome_runs_failed",
            Count("{run}"),
            "Runs that were over before their first packet was due",
            control.runs_failed,
        ),
        gauge(
            "metronome_runs_unstored",
            Count("{run}"),
            "Runs that have ended and that the database could not take yet",
            control.runs_unstored as f64,
        ),
        counter(
            "metronome_spans_dropped",
            Count("{span}"),
            "Spans that the collector of traces did not take",
            figures.spans_dropped,
        ),
        calls(&control.calls),
    ]
}

fn calls(calls: &[CallFigures]) -> Family {
    let samples = calls.iter().map(|call| {
        let mut labels = vec![
            ("rpc.system.name", "grpc".to_owned()),
            ("rpc.method", call.method.clone()),
            ("rpc.response.status_code", call.status.to_owned()),
        ];
        labels.extend(
            call.is_error
                .then(|| ("error.type", call.status.to_owned())),
        );
        let buckets = Buckets::from(&call.times).with_exemplars(call.exemplars.clone());
        Sample {
            labels,
            value: Value::Times(buckets),
        }
    });
    Family {
        name: "rpc_server_call_duration",
        help: "From a call's arrival to the beginning of its answer",
        unit: Seconds,
        kind: Kind::Histogram,
        samples: samples.collect(),
    }
}

/// A figure that is not known has no family: 0 would be a measurement.
fn process(figures: &Figures) -> Vec<Family> {
    let process = &figures.process;
    let cpu = |seconds| {
        let help = "CPU time of the master";
        number(Kind::Counter, "process_cpu", Seconds, help, seconds)
    };
    let resident = |bytes: u64| {
        let (name, help) = (
            "process_resident_memory",
            "Memory of the master that is in RAM",
        );
        number(Kind::UpDownCounter, name, Bytes, help, bytes as f64)
    };
    let descriptors = |count: u64| {
        let (unit, help) = (
            Count("{file_descriptor}"),
            "Descriptors that the master has open",
        );
        number(
            Kind::UpDownCounter,
            "process_open_fds",
            unit,
            help,
            count as f64,
        )
    };
    let started = gauge(
        "process_start_time",
        Seconds,
        "When the master was started, since 1970",
        process.started_unix_s,
    );
    [
        process.cpu_s.map(cpu),
        process.resident_bytes.map(resident),
        process.descriptors.map(descriptors),
        Some(started),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::metrics::figures::ProcessFigures;

    const MANUAL: &str = include_str!("../../../docs/observability.md");

    fn all_known() -> Figures {
        Figures {
            process: ProcessFigures {
                cpu_s: Some(0.0),
                resident_bytes: Some(0),
                descriptors: Some(0),
                started_unix_s: 0.0,
            },
            ..Figures::default()
        }
    }

    #[test]
    fn a_figure_of_the_process_that_the_kernel_does_not_report_has_no_family() {
        let names = |process| -> Vec<_> {
            let figures = Figures {
                process,
                ..Figures::default()
            };
            super::process(&figures)
                .iter()
                .map(|family| family.name)
                .collect()
        };
        let known = [
            "process_cpu",
            "process_resident_memory",
            "process_open_fds",
            "process_start_time",
        ];
        assert_eq!(names(all_known().process), known, "0 is a figure, too");
        assert_eq!(names(ProcessFigures::default()), ["process_start_time"]);
        for unknown in 0..3 {
            let mut process = all_known().process;
            match unknown {
                0 => process.cpu_s = None,
                1 => process.resident_bytes = None,
                _ => process.descriptors = None,
            }
            let mut others = known.to_vec();
            others.remove(unknown);
            assert_eq!(names(process), others);
        }
    }

    #[test]
    fn the_manual_lists_every_metric_by_the_name_it_is_scraped_with() {
        let text = crate::metrics::write(&families(&all_known()));
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
        let all = families(&all_known());
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
