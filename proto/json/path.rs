//! What is known of a path: its probes, and what the kernels of its ends have seen of connections.

use serde::Serialize;

use super::{
    times::Times,
    values::{micros, seconds_of_ns},
};
use crate::v1;

/// The path between an agent and the server.
#[derive(Clone, Debug, Serialize)]
pub struct Path {
    probes_sent: u64,
    probes_answered: u64,
    probe_rtt_us: Option<Times>,
    contradictions: u32,
    tcp: Option<Tcp>,
}

impl From<&v1::Path> for Path {
    fn from(path: &v1::Path) -> Self {
        Self {
            probes_sent: path.probes_sent,
            probes_answered: path.probes_answered,
            probe_rtt_us: path.probe_rtt.as_ref().map(Times::from),
            contradictions: path.contradictions,
            tcp: path.tcp.as_ref().map(Tcp::from),
        }
    }
}

/// What the kernel of one end has seen of a connection.
#[derive(Clone, Debug, Serialize)]
pub struct Tcp {
    rtt_min_us: Option<f64>,
    rtt_smoothed_us: Option<f64>,
    retransmitted: Option<u64>,
    reordering_seen: Option<u64>,
    received_out_of_order: Option<u64>,
    window_limited_s: Option<f64>,
    delivery_bytes_per_s: Option<u64>,
    path_mtu: Option<u32>,
}

impl From<&v1::TcpInfo> for Tcp {
    fn from(tcp: &v1::TcpInfo) -> Self {
        Self {
            rtt_min_us: tcp.rtt_min_ns.map(micros),
            rtt_smoothed_us: tcp.rtt_smoothed_ns.map(micros),
            retransmitted: tcp.retransmitted,
            reordering_seen: tcp.reordering_seen,
            received_out_of_order: tcp.received_out_of_order,
            window_limited_s: tcp.window_limited_ns.map(seconds_of_ns),
            delivery_bytes_per_s: tcp.delivery_bytes_per_s,
            path_mtu: tcp.path_mtu,
        }
    }
}

/// The worst of the connections of a run at one end.
#[derive(Clone, Debug, Serialize)]
pub struct TcpSummary {
    connections: u32,
    rtt_min_us: Option<f64>,
    rtt_smoothed_max_us: Option<f64>,
    retransmitted: Option<u64>,
    reordering_seen: Option<u64>,
    received_out_of_order: Option<u64>,
    window_limited_max_s: Option<f64>,
    delivery_bytes_per_s_min: Option<u64>,
    path_mtu_min: Option<u32>,
    connections_retransmitting: u32,
    client_retransmitting_most: Option<u32>,
}

impl From<&v1::TcpSummary> for TcpSummary {
    fn from(tcp: &v1::TcpSummary) -> Self {
        Self {
            connections: tcp.connections,
            rtt_min_us: tcp.rtt_min_ns.map(micros),
            rtt_smoothed_max_us: tcp.rtt_smoothed_max_ns.map(micros),
            retransmitted: tcp.retransmitted,
            reordering_seen: tcp.reordering_seen,
            received_out_of_order: tcp.received_out_of_order,
            window_limited_max_s: tcp.window_limited_max_ns.map(seconds_of_ns),
            delivery_bytes_per_s_min: tcp.delivery_bytes_per_s_min,
            path_mtu_min: tcp.path_mtu_min,
            connections_retransmitting: tcp.connections_retransmitting,
            client_retransmitting_most: tcp.client_retransmitting_most,
        }
    }
}
