//! The server on one screen, its workers and raw clients as tables below.

use std::fmt::Write as _;

use metronome_proto::v1;

use super::{
    figures::{self, count},
    tables,
};
use crate::render::values;

/// The server, its connections, its workers, its raw clients.
pub(crate) fn server(server: &v1::GetServerResponse) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{label:<12}{value}");
    };
    let connections = server.connections.unwrap_or_default();
    let recoveries = server.recoveries.clone().unwrap_or_default();
    let raw = server.raw.clone().unwrap_or_default();
    line("server", &identity(server));
    line("up", &uptime(server));
    line("grpc", &figures::clean(&server.grpc_address));
    line("data", &figures::clean(&server.data_address));
    line("database", &figures::clean(&server.database));
    line("runs", &format!("{} active", server.runs_active));
    line("clients", &clients(server.max_clients, &connections));
    line("connections", &accepted(&connections));
    line("raw clients", &raw_counts(server.accept_raw, &raw));
    line("recoveries", &recovered(&recoveries));
    if !server.crash_loops.is_empty() {
        let workers = format!("workers {:?} die again and again", server.crash_loops);
        line("degraded", &workers);
    }
    text + "\n" + &tables::workers(&server.workers) + &tables::raw_clients(&raw.clients)
}

fn identity(server: &v1::GetServerResponse) -> String {
    let version = figures::clean(&server.version);
    let draining = if server.draining { ", draining" } else { "" };
    format!("{version}, pid {}{draining}", server.pid)
}

fn uptime(server: &v1::GetServerResponse) -> String {
    let seconds = values::seconds(server.uptime.as_ref());
    format!("{} s", figures::decimal(seconds, 0))
}

fn clients(max_clients: u32, connections: &v1::Connections) -> String {
    format!(
        "{} of {max_clients}, {} pending",
        connections.admitted, connections.pending
    )
}

fn accepted(connections: &v1::Connections) -> String {
    let refused = [
        ("full", connections.refused_full),
        ("bad hello", connections.refused_hello),
        ("late", connections.refused_late),
        ("raw", connections.refused_raw),
    ];
    let refused = refused
        .map(|(why, number)| format!("{} {why}", count(number)))
        .join(", ");
    format!(
        "{} accepted; refused: {refused}",
        count(connections.accepted)
    )
}

fn raw_counts(accept_raw: bool, raw: &v1::RawTotals) -> String {
    match (accept_raw, raw.connections) {
        (false, 0) => "not accepted".to_owned(),
        _ => format!(
            "{} packets, {} bytes on {} connections",
            count(raw.packets),
            count(raw.bytes),
            count(raw.connections)
        ),
    }
}

fn recovered(recoveries: &v1::Recoveries) -> String {
    let pause = recoveries.pause.clone().unwrap_or_default();
    format!(
        "{} worker deaths, {} packets recovered, {} connections lost; pause p50 {} p99 {} µs",
        count(recoveries.deaths),
        count(recoveries.packets),
        count(recoveries.connections_lost),
        figures::decimal(pause.p50_us, 0),
        figures::decimal(pause.p99_us, 0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_shows_its_raw_clients() {
        let raw = v1::RawTotals {
            connections: 10,
            packets: 1_000_000,
            bytes: 32_000_000,
            clients: Vec::new(),
        };
        let text = server(&v1::GetServerResponse {
            raw: Some(raw),
            accept_raw: true,
            ..Default::default()
        });
        assert!(
            text.contains("raw clients 1,000,000 packets, 32,000,000 bytes on 10 connections\n"),
            "{text}"
        );
    }
}
