//! The server's own state in the API's form, from the master's figures.

use std::{process, time::Duration};

use metronome_os::clock;
use metronome_proto::{
    features::{CAPABILITIES, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN},
    limits,
    v1::{self, Failure, GetServerResponse},
};

use crate::{
    control::{shared::Shared, status},
    master::RUNS_MAX,
    model::{RawClientCounters, RawCounters, RecoveryCounters, ServerStatus},
    wall_clock::timestamp,
};

/// The server as it stands. The figures are the master's.
pub(in crate::control) async fn get_server(shared: &Shared) -> Result<GetServerResponse, Failure> {
    let (server, runs) = (&shared.server, &shared.runs);
    let master_status = shared
        .master_client
        .read_server()
        .await
        .ok_or_else(status::master_is_gone)?;
    let uptime = Duration::from_nanos(clock::now_ns().saturating_sub(server.started_ns));
    Ok(GetServerResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        started_at: Some(timestamp(server.started_unix_ms)),
        data_address: server.data_address.to_string(),
        grpc_address: server.grpc_address.to_string(),
        limits: Some(limits::to_proto(server.max_clients, RUNS_MAX)),
        capabilities: CAPABILITIES.iter().map(|name| (*name).into()).collect(),
        protocol_version_min: PROTOCOL_VERSION_MIN,
        protocol_version_max: PROTOCOL_VERSION_MAX,
        accept_raw: server.accept_raw,
        workers: (master_status.workers.iter())
            .map(|worker| worker.to_proto())
            .collect(),
        connections: Some(connections(&master_status)),
        raw: Some(raw(&master_status.raw)),
        runs_active: u32::try_from(runs.active.count()).unwrap_or(u32::MAX),
        uptime: prost_types::Duration::try_from(uptime).ok(),
        pid: process::id(),
        database: runs.history.database(),
        draining: runs.draining.is_cancelled(),
        recoveries: Some(recoveries(&master_status.recoveries)),
    })
}

fn recoveries(recoveries: &RecoveryCounters) -> v1::Recoveries {
    v1::Recoveries {
        deaths: recoveries.deaths,
        packets: recoveries.packets,
        connections_lost: recoveries.connections_lost,
        pause: recoveries.pauses.distribution(false),
        crash_loops: recoveries.crash_loops.clone(),
    }
}

fn connections(reading: &ServerStatus) -> v1::Connections {
    v1::Connections {
        accepted: reading.accepted,
        pending: reading.pending,
        admitted: reading.admitted,
        refused_full: reading.refused_full,
        refused_hello: reading.refused_hello,
        refused_late: reading.refused_late,
        refused_raw: reading.refused_raw,
    }
}

fn raw(reading: &RawCounters) -> v1::RawTotals {
    v1::RawTotals {
        connections: reading.connections,
        packets: reading.packets,
        bytes: reading.bytes,
        clients: reading.clients.iter().map(raw_client).collect(),
    }
}

fn raw_client(reading: &RawClientCounters) -> v1::RawClient {
    v1::RawClient {
        peer: reading.peer.to_string(),
        packets: reading.packets,
        bytes: reading.bytes,
        worker: reading.worker,
        connected: reading.connected,
    }
}
