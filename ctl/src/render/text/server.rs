//! The server on one screen, its workers and raw clients as tables below.

use std::net::SocketAddr;

use metronome_proto::{
    json::{times::quantile_ns, values},
    v1,
};

use super::{
    figures::{self, count, known},
    tables,
};

/// Columns of the labels, with the blanks behind them.
const LABEL_WIDTH: usize = 12;

/// The server, its connections, its workers, its raw clients.
pub(crate) fn server(server: &v1::GetServerResponse, width: usize) -> String {
    let mut lines = Vec::new();
    let mut line = |label: &str, value: &str| {
        let value = figures::flowed([value.to_owned()], width - LABEL_WIDTH);
        lines.extend(figures::marked(&format!("{label:<LABEL_WIDTH$}"), value));
    };
    let recoveries = server.recoveries.as_ref();
    let raw = server.raw.as_ref();
    let uptime = values::seconds(server.uptime.as_ref());
    line("server", &identity(server));
    line("up", &known(uptime, |up| figures::time_mean(up * 1e9)));
    line("grpc", &figures::text(&server.grpc_address));
    line("data", &data_port(server));
    line("database", &figures::text(&server.database));
    line("runs", &format!("{} active", server.runs_active));
    line("clients", &clients(server));
    line("connections", &known(server.connections.as_ref(), accepted));
    line(
        "raw clients",
        &known(raw, |raw| raw_counts(server.accept_raw, raw)),
    );
    line("recoveries", &known(recoveries, recovered));
    let crash_loops = recoveries.map_or(&[][..], |recoveries| &recoveries.crash_loops);
    if !crash_loops.is_empty() {
        let workers = format!("workers {crash_loops:?} die again and again");
        line("degraded", &workers);
    }
    let raw_clients = raw.map_or(&[][..], |raw| &raw.clients);
    lines.join("\n")
        + "\n\n"
        + &tables::workers(&server.workers, width)
        + &tables::raw_clients(raw_clients, width)
}

/// The data port, and what to do where agents on other hosts dial in and cannot reach it.
fn data_port(server: &v1::GetServerResponse) -> String {
    let address = figures::text(&server.data_address);
    let is_local = |text: &str| {
        let address = text.parse::<SocketAddr>().ok();
        address.map(|address| address.ip().to_canonical().is_loopback())
    };
    match (
        is_local(&server.grpc_address),
        is_local(&server.data_address),
    ) {
        (Some(false), Some(true)) => {
            format!("{address}: for this host only; --host 0.0.0.0 opens it to others")
        }
        _ => address,
    }
}

fn identity(server: &v1::GetServerResponse) -> String {
    let version = figures::text(&server.version);
    let draining = if server.draining { ", draining" } else { "" };
    format!("{version}, pid {}{draining}", server.pid)
}

fn clients(server: &v1::GetServerResponse) -> String {
    let connections = server.connections.as_ref();
    let limits = server.limits.as_ref();
    format!(
        "{} of {}, {} pending",
        known(connections, |connections| connections.admitted),
        known(limits, |limits| limits.max_clients),
        known(connections, |connections| connections.pending),
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
    let pause = |ppm| {
        let pause = recoveries.pause.as_ref();
        let ns = pause.and_then(|pause| quantile_ns(pause, ppm));
        known(ns, figures::time)
    };
    format!(
        "{} worker deaths, {} packets recovered, {} connections lost; pause p50 {} p99 {}",
        count(recoveries.deaths),
        count(recoveries.packets),
        count(recoveries.connections_lost),
        pause(500_000),
        pause(990_000),
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
        let text = server(
            &v1::GetServerResponse {
                raw: Some(raw),
                accept_raw: true,
                ..Default::default()
            },
            80,
        );
        assert!(
            text.contains("raw clients 1,000,000 packets, 32,000,000 bytes on 10 connections\n"),
            "{text}"
        );
    }

    #[test]
    fn what_the_server_does_not_report_is_a_dash() {
        let text = server(&v1::GetServerResponse::default(), 80);
        for line in [
            "up          –\n",
            "grpc        –\n",
            "data        –\n",
            "database    –\n",
            "clients     – of –, – pending\n",
            "connections –\n",
            "raw clients –\n",
            "recoveries  –\n",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
    }

    #[test]
    fn without_a_death_there_is_no_pause() {
        let mut recoveries = v1::Recoveries::default();
        let no_deaths = "0 worker deaths, 0 packets recovered, 0 connections lost; ";
        assert_eq!(
            recovered(&recoveries),
            format!("{no_deaths}pause p50 – p99 –")
        );
        recoveries.crash_loops = vec![1];
        let text = server(
            &v1::GetServerResponse {
                recoveries: Some(recoveries),
                ..Default::default()
            },
            80,
        );
        assert!(
            text.contains("degraded    workers [1] die again and again\n"),
            "{text}"
        );
    }
}
