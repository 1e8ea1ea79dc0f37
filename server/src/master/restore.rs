//! The master of a new server process: the old one's state is taken and checked first, and nothing
//! is touched before the old process has committed the upgrade.

use std::os::fd::OwnedFd;

use metronome_os::clock::now_ns;
use tracing::info;

use super::{
    connection_table::ConnectionTable,
    parts::{MasterParts, Phase, Recovered},
};
use crate::{ipc::ToWorker, upgrade::MasterState};

/// Takes what another server has handed over. After an error this master is of no use any more.
pub(super) fn restore(
    parts: &mut MasterParts,
    state: MasterState<'_>,
    sockets: Vec<OwnedFd>,
) -> Result<(), String> {
    if parts.phase != Phase::Waiting {
        return Err("this server was not started to replace another one".into());
    }
    if state.workers.len() != parts.workers.len() {
        let (theirs, ours) = (state.workers.len(), parts.workers.len());
        return Err(format!(
            "the old server has {theirs} workers and this one {ours}"
        ));
    }
    for key in &state.admission_keys {
        parts.admission_keys.admit(key.restore()?);
    }
    let slots = parts.ledger.slots().len() as u32;
    parts.connections =
        ConnectionTable::restore(slots, &state.generations, &state.connections, sockets)?;
    parts.connections.restore_pauses(state.pauses.into_owned());
    parts.counters = state.counters.into_owned();
    parts.recovered = Recovered {
        packets: state.recovered_packets,
        connections_lost: state.connections_lost,
    };
    parts.runs.restore(state.row_closed_ns);
    parts.workers.restore(state.workers);
    Ok(())
}

/// The old server has committed the upgrade: the connections go to the workers, and new ones are
/// accepted.
pub(super) fn begin(parts: &mut MasterParts) {
    if parts.phase != Phase::Waiting {
        return;
    }
    parts.phase = Phase::Serving;
    let now_ns = now_ns();
    // What is in the lines until now is not theirs.
    parts.workers.forgive_silence(now_ns);
    parts.workers.send_to_all(&ToWorker::Begin);
    for agent in parts.admission_keys.agents().to_vec() {
        parts.workers.send_to_all(&ToWorker::Admit(agent.into()));
    }
    parts.set_raw_places();
    parts.connections.watch_restored(now_ns);
    parts.place_waiting();
    parts.acceptor.open();
    let connections = parts.connections.all().count();
    let text = format!("another server process took over with {connections} connections");
    parts
        .counters
        .note_incident(now_ns, "server upgraded", &text);
    info!("{text}");
}
