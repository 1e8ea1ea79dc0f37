//! Who an agent is: what it registered with, checked.

use std::net::SocketAddr;

use metronome_proto::{features::PROBES, v1};

/// Who an agent is.
#[derive(Clone, Debug)]
pub(crate) struct AgentInfo {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The version that its session speaks.
    pub(crate) protocol_version: u32,
    pub(crate) capabilities: Vec<String>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) connected_unix_ms: u64,
    pub(crate) capacity: v1::Capacity,
}

impl AgentInfo {
    /// Whether it probes its path in runs.
    pub(super) fn can_probe(&self) -> bool {
        self.capabilities.iter().any(|name| name == PROBES)
    }
}
