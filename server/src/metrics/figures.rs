//! The figures that metrics are made from, gathered by the control plane.

use std::collections::BTreeMap;

use metronome_proto::{histogram::Histogram, v1::ReceiverCounts};
use serde::{Deserialize, Serialize};

use super::exemplar::{Exemplars, PacketExemplars};
use crate::model::{RoundTrips, ServerStatus, Times, TotalCounters};

/// Everything that is exported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) server: ServerStatus,
    pub(crate) totals: TotalCounters,
    pub(crate) control: ControlFigures,
    pub(crate) process: ProcessFigures,
    pub(crate) max_clients: u32,
    pub(crate) is_draining: bool,
    pub(crate) spans_dropped: u64,
}

/// Counters of the control plane.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControlFigures {
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) lost: u64,
    /// By verdict.
    pub(crate) runs_ended: Vec<(&'static str, u64)>,
    pub(crate) runs_failed: u64,
    pub(crate) runs_active: u64,
    pub(crate) runs_unstored: u64,
    /// What the workers have counted in the runs that have not ended, by the name of the group.
    pub(crate) groups: BTreeMap<String, GroupFigures>,
    /// What the runs that have ended add up to, by the name of the group.
    pub(crate) groups_ended: Vec<(String, GroupSums)>,
    pub(crate) agents_lost: u64,
    /// The connected agents, by name.
    pub(crate) agents: Vec<(String, AgentFigures)>,
    /// Every kind of call.
    pub(crate) calls: Vec<CallFigures>,
    /// Those of the runs that have ended and are not invalid.
    pub(crate) round_trips: RoundTrips,
    pub(crate) replies_unexpected: u64,
    /// Packets that can be looked up in the traces of their runs.
    pub(crate) packets: PacketExemplars,
}

/// What the workers have counted of the groups of one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupFigures {
    pub(crate) counts: ReceiverCounts,
    pub(crate) times: Times,
}

/// Packets of the groups of one name in runs that have ended, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct GroupSums {
    pub(crate) scheduled: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) lost: u64,
}

impl GroupSums {
    /// Adds others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.scheduled = self.scheduled.saturating_add(other.scheduled);
        self.sent = self.sent.saturating_add(other.sent);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.lost = self.lost.saturating_add(other.lost);
    }
}

/// How long the calls of one method took that were answered with one status.
#[derive(Clone, Debug)]
pub(crate) struct CallFigures {
    /// `package.Service/Method`.
    pub(crate) method: String,
    pub(crate) status: &'static str,
    /// Whether the status is a fault of the server.
    pub(crate) is_error: bool,
    pub(crate) times: Histogram,
    pub(crate) exemplars: Exemplars,
}

/// What an agent has reported of itself in all its runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct AgentFigures {
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    /// In the runs of which this is known …
    pub(crate) cpu_ns: u64,
    /// … and the packets that it has sent there.
    pub(crate) cpu_packets: u64,
    /// The same of its writes.
    pub(crate) writes: u64,
    pub(crate) writes_packets: u64,
}

/// The kernel's figures of the master's process. `None` where the kernel does not report one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessFigures {
    pub(crate) cpu_s: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) descriptors: Option<u64>,
    pub(crate) started_unix_s: f64,
}
