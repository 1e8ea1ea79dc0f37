//! The JSON object of `server`.

use metronome_proto::v1;
use serde::Serialize;

use super::object::{SCHEMA_VERSION, text};
use crate::render::values;

/// `benchctl server`.
pub(crate) fn server(server: &v1::GetServerResponse) -> String {
    text(&Server::from(server))
}

#[derive(Serialize)]
struct Server<'a> {
    schema_version: u32,
    version: &'a str,
    pid: u32,
    started_at: Option<String>,
    uptime_s: f64,
    draining: bool,
    grpc_address: &'a str,
    data_address: &'a str,
    database: &'a str,
    max_clients: u32,
    accept_raw: bool,
    runs_active: u32,
    connections: Connections,
    workers: Vec<Worker>,
    raw: Raw<'a>,
    recoveries: Recoveries,
    crash_loops: &'a [u32],
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
            max_clients: server.max_clients,
            accept_raw: server.accept_raw,
            runs_active: server.runs_active,
            connections: Connections::from(&server.connections.unwrap_or_default()),
            workers: server.workers.iter().map(Worker::from).collect(),
            raw: Raw::new(server.raw.as_ref()),
            recoveries: Recoveries::from(&server.recoveries.clone().unwrap_or_default()),
            crash_loops: &server.crash_loops,
        }
    }
}

#[derive(Serialize)]
struct Recoveries {
    deaths: u64,
    packets: u64,
    connections_lost: u64,
    pauses: u64,
    pause_us_p50: f64,
    pause_us_p99: f64,
    pause_us_max: f64,
}

impl From<&v1::Recoveries> for Recoveries {
    fn from(recoveries: &v1::Recoveries) -> Self {
        let pause = recoveries.pause.clone().unwrap_or_default();
        Self {
            deaths: recoveries.deaths,
            packets: recoveries.packets,
            connections_lost: recoveries.connections_lost,
            pauses: pause.count,
            pause_us_p50: pause.p50_us,
            pause_us_p99: pause.p99_us,
            pause_us_max: pause.max_us,
        }
    }
}

#[derive(Serialize)]
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

#[derive(Serialize)]
struct Worker {
    worker: u32,
    pid: u32,
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
            pid: worker.pid,
            connections: worker.connections,
            packets: worker.packets,
            cpu_s: worker.cpu_s,
            reads: worker.reads,
            wakeups: worker.wakeups,
            restarts: worker.restarts,
            real_time: worker.real_time,
        }
    }
}

/// Raw clients since the server's start.
#[derive(Default, Serialize)]
struct Raw<'a> {
    connections: u64,
    packets: u64,
    bytes: u64,
    clients: Vec<RawClient<'a>>,
}

#[derive(Serialize)]
struct RawClient<'a> {
    peer: &'a str,
    worker: u32,
    packets: u64,
    bytes: u64,
    connected: bool,
}

impl<'a> Raw<'a> {
    fn new(raw: Option<&'a v1::RawTotals>) -> Self {
        let Some(raw) = raw else {
            return Self::default();
        };
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_server_counts_the_packets_of_raw_clients() {
        let client = v1::RawClient {
            peer: "127.0.0.1:4".into(),
            packets: 7,
            bytes: 224,
            ..v1::RawClient::default()
        };
        let raw = v1::RawTotals {
            connections: 1,
            packets: 7,
            bytes: 224,
            clients: vec![client],
        };
        let text = server(&v1::GetServerResponse {
            raw: Some(raw),
            ..Default::default()
        });
        let object: Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(object["raw"]["packets"], 7);
        assert_eq!(object["raw"]["clients"][0]["bytes"], 224);
    }
}
