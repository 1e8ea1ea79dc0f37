//! What does not change while the server lives.

use std::net::SocketAddr;

use metronome_os::{cgroup, clock, cores, host};
use metronome_proto::{environment::TEXT_BYTES_MAX, v1};
use metronome_telemetry::sanitise;

use crate::{config::Config, model::reach, verdict, wall_clock};

/// The constants of a server. After an upgrade, the start is that of the first server.
#[derive(Debug)]
pub(crate) struct ServerInfo {
    pub(crate) data_address: SocketAddr,
    pub(crate) grpc_address: SocketAddr,
    pub(crate) max_clients: u32,
    pub(crate) accept_raw: bool,
    /// Slowest packets that a run's trace shows.
    pub(crate) traced_packets: usize,
    /// A label.
    pub(crate) started_unix_ms: u64,
    /// CLOCK_MONOTONIC.
    pub(crate) started_ns: u64,
    /// Notes that every report carries.
    pub(crate) notes: Vec<v1::Note>,
}

impl ServerInfo {
    /// `started`: the label and the CLOCK_MONOTONIC of the server that this one takes over from.
    pub(crate) fn new(
        config: &Config,
        data_address: SocketAddr,
        grpc_address: SocketAddr,
        started: Option<(u64, u64)>,
    ) -> Self {
        let (started_unix_ms, started_ns) =
            started.unwrap_or_else(|| (wall_clock::unix_ms(), clock::now_ns()));
        Self {
            data_address,
            grpc_address,
            max_clients: config.max_clients,
            accept_raw: config.accept_raw,
            traced_packets: config.traced_packets.into(),
            started_unix_ms,
            started_ns,
            notes: config
                .exposed
                .then(verdict::no_certificate)
                .into_iter()
                .collect(),
        }
    }

    /// The failure of an agent, with why the data port could not be reached from there.
    pub(crate) fn explain(&self, failure: v1::Failure) -> v1::Failure {
        reach::explained(failure, self.grpc_address, self.data_address)
    }
}

/// Where this server runs, whose workers had `priority` in a run.
pub(super) fn environment(priority: v1::ThreadPriority) -> v1::Environment {
    let text = |text: String| sanitise::printable(&text, TEXT_BYTES_MAX);
    v1::Environment {
        role: v1::EnvironmentRole::Server.into(),
        name: verdict::RECEIVER.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        host: text(host::name()),
        kernel: text(host::kernel_release()),
        boot_id: text(host::boot_id()),
        cores: cores::allowed(),
        cpu_model: text(host::cpu_model()),
        cpu_quota_cores: cgroup::cpu_limits().quota_cores,
        priority: priority.into(),
    }
}
