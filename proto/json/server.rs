//! The server.

use serde::Serialize;

use super::{
    SCHEMA_VERSION, text,
    times::Times,
    values::{self, seconds_of_ns},
};
use crate::{profile::hz, v1};

/// `benchctl server`.
#[must_use]
pub fn server(server: &v1::GetServerResponse) -> String {
    text(&Server::from(server))
}

/// The server itself.
#[derive(Clone, Debug, Serialize)]
pub struct Server<'a> {
    schema_version: u32,
    version: &'a str,
    pid: u32,
    started_at: Option<String>,
    uptime_s: Option<f64>,
    draining: bool,
    grpc_address: &'a str,
    data_address: &'a str,
    database: &'a str,
    accept_raw: bool,
    runs_active: u32,
    limits: Option<Limits>,
    capabilities: &'a [String],
    protocol_version_min: u32,
    protocol_version_max: u32,
    connections: Option<Connections>,
    workers: Vec<Worker>,
    raw: Option<Raw<'a>>,
    recoveries: Option<Recoveries<'a>>,
}

impl<'a> From<&'a v1::GetServerResponse> for Server<'a> {
    fn from(server: &'a v1::GetServerResponse) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            version: &server.version,
            pid: server.pid,
            started_at: values::instant(server.started_at.as_ref()),
            uptime_s: values::seconds(server.uptime.as_ref()),
            draining: server.draining,
            grpc_address: &server.grpc_address,
            data_address: &server.data_address,
            database: &server.database,
            accept_raw: server.accept_raw,
            runs_active: server.runs_active,
            limits: server.limits.as_ref().map(Limits::from),
            capabilities: &server.capabilities,
            protocol_version_min: server.protocol_version_min,
            protocol_version_max: server.protocol_version_max,
            connections: server.connections.as_ref().map(Connections::from),
            workers: server.workers.iter().map(Worker::from).collect(),
            raw: server.raw.as_ref().map(Raw::from),
            recoveries: server.recoveries.as_ref().map(Recoveries::from),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Limits {
    max_clients: u32,
    runs_max: u32,
    groups_max: u32,
    rate_hz_min: f64,
    rate_hz_max: f64,
    total_rate_hz_max: f64,
    duration_s_min: Option<f64>,
    duration_s_max: Option<f64>,
    batch_max: u32,
    threads_max: u32,
    agents_max: u32,
    labels_max: u32,
    page_size_max: u32,
    message_bytes_max: u32,
    packet_bytes_min: u32,
    packet_bytes_max: u32,
    write_bytes_max: u32,
    records_bytes_max: u32,
}

impl From<&v1::Limits> for Limits {
    fn from(limits: &v1::Limits) -> Self {
        Self {
            max_clients: limits.max_clients,
            runs_max: limits.runs_max,
            groups_max: limits.groups_max,
            rate_hz_min: hz(limits.rate_millihertz_min),
            rate_hz_max: hz(limits.rate_millihertz_max),
            total_rate_hz_max: hz(limits.total_rate_millihertz_max),
            duration_s_min: values::seconds(limits.duration_min.as_ref()),
            duration_s_max: values::seconds(limits.duration_max.as_ref()),
            batch_max: limits.batch_max,
            threads_max: limits.threads_max,
            agents_max: limits.agents_max,
            labels_max: limits.labels_max,
            page_size_max: limits.page_size_max,
            message_bytes_max: limits.message_bytes_max,
            packet_bytes_min: limits.packet_bytes_min,
            packet_bytes_max: limits.packet_bytes_max,
            write_bytes_max: limits.write_bytes_max,
            records_bytes_max: limits.records_bytes_max,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Recoveries<'a> {
    deaths: u64,
    packets: u64,
    connections_lost: u64,
    pause_us: Option<Times>,
    crash_loops: &'a [u32],
}

impl<'a> From<&'a v1::Recoveries> for Recoveries<'a> {
    fn from(recoveries: &'a v1::Recoveries) -> Self {
        Self {
            deaths: recoveries.deaths,
            packets: recoveries.packets,
            connections_lost: recoveries.connections_lost,
            pause_us: recoveries.pause.as_ref().map(Times::from),
            crash_loops: &recoveries.crash_loops,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Connections {
    accepted: u64,
    pending: u32,
    admitted: u32,
    refused_full: u64,
    refused_hello: u64,
    refused_late: u64,
    refused_raw: u64,
}

impl From<&v1::Connections> for Connections {
    fn from(connections: &v1::Connections) -> Self {
        Self {
            accepted: connections.accepted,
            pending: connections.pending,
            admitted: connections.admitted,
            refused_full: connections.refused_full,
            refused_hello: connections.refused_hello,
            refused_late: connections.refused_late,
            refused_raw: connections.refused_raw,
        }
    }
}

/// One worker process.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Worker {
    worker: u32,
    /// `None` while it has no process.
    pid: Option<u32>,
    connections: u32,
    packets: u64,
    cpu_s: f64,
    reads: u64,
    wakeups: u64,
    restarts: u32,
    real_time: bool,
}

impl From<&v1::Worker> for Worker {
    fn from(worker: &v1::Worker) -> Self {
        Self {
            worker: worker.worker,
            pid: (worker.pid != 0).then_some(worker.pid),
            connections: worker.connections,
            packets: worker.packets,
            cpu_s: seconds_of_ns(worker.cpu_ns),
            reads: worker.reads,
            wakeups: worker.wakeups,
            restarts: worker.restarts,
            real_time: worker.real_time,
        }
    }
}

/// Raw clients since the server's start.
#[derive(Clone, Debug, Serialize)]
struct Raw<'a> {
    connections: u64,
    packets: u64,
    bytes: u64,
    clients: Vec<RawClient<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct RawClient<'a> {
    peer: &'a str,
    worker: u32,
    packets: u64,
    bytes: u64,
    connected: bool,
}

impl<'a> From<&'a v1::RawTotals> for Raw<'a> {
    fn from(raw: &'a v1::RawTotals) -> Self {
        let clients = raw.clients.iter().map(|client| RawClient {
            peer: &client.peer,
            worker: client.worker,
            packets: client.packets,
            bytes: client.bytes,
            connected: client.connected,
        });
        Self {
            connections: raw.connections,
            packets: raw.packets,
            bytes: raw.bytes,
            clients: clients.collect(),
        }
    }
}
