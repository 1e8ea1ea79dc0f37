//! The server as a whole, as it is now: what the control plane reads.

use metronome_os::clock::now_ns;

use super::parts::MasterParts;
use crate::model::{RecoveryCounters, ServerStatus};

/// The whole server since its start.
pub(super) fn read_server(parts: &MasterParts) -> ServerStatus {
    let connections = |worker| parts.connections.connections_of(worker);
    let mut workers = parts.workers.statuses(&parts.ledger, connections);
    let worker_of = |slot| parts.connections.get(slot).and_then(|held| held.worker);
    for (connection_counters, _, slot, _) in parts.live() {
        let Some(held) = parts.connections.get(slot) else {
            continue;
        };
        // What it has committed since it was last attributed.
        if let Some(worker) = held.worker.and_then(|worker| workers.get_mut(worker)) {
            let since = connection_counters
                .counts
                .received
                .saturating_sub(held.credited.packets);
            // The ledger may hold anything.
            worker.count.packets = worker.count.packets.saturating_add(since);
        }
    }
    let live = parts.live().map(|(connection_counters, _, slot, peer)| {
        let worker = worker_of(slot).map_or(u32::MAX, |worker| worker as u32);
        (connection_counters, peer, worker)
    });
    ServerStatus {
        workers,
        recoveries: recoveries(parts),
        ..parts.counters.read_server(live)
    }
}

fn recoveries(parts: &MasterParts) -> RecoveryCounters {
    RecoveryCounters {
        deaths: parts.workers.deaths(),
        packets: parts.recovered.packets,
        connections_lost: parts.recovered.connections_lost,
        pauses: parts.connections.pauses().clone(),
        crash_loops: parts.workers.crash_loops(now_ns()),
    }
}
