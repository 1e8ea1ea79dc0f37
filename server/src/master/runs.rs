//! Runs are let in, and closed once their last connection is gone.

use metronome_os::clock::now_ns;
use metronome_proto::run_id::RunId;
use tracing::info;

use super::{
    admission::{Admission, AdmitError},
    client_places,
    limits::RUNS_MAX,
    parts::MasterParts,
    recovery,
    request::Reply,
};
use crate::{
    ipc::{AdmissionKey, ToWorker},
    ledger::ClientLoad,
    model::FinalCounters,
};

/// Lets the clients of a run in. Every worker has been sent the keys when it returns.
pub(super) fn admit(parts: &mut MasterParts, admission: &Admission) -> Result<(), AdmitError> {
    let max = parts.max_clients;
    let raw = client_places::raw_clients(&parts.ledger, max);
    let free = max.saturating_sub(parts.counters.reserved_clients() + raw);
    if admission.clients > free {
        return Err(AdmitError::Full {
            asked: admission.clients,
            free,
            max,
        });
    }
    let row = parts.runs.free_row(parts.counters.rows());
    let row = row.ok_or(AdmitError::TooManyRuns { max: RUNS_MAX })?;
    // Now and not when its last run was closed, since a worker that was behind may have given a
    // place there since.
    let _ = parts.ledger.clear_client_table(row);
    parts.ledger.clear_run_tables(row);
    info!(run_id = %admission.run, clients = admission.clients, "admitted");
    let warm_up_ns = u64::try_from(admission.warm_up.as_nanos()).unwrap_or(u64::MAX);
    for (index, (agent, key)) in admission.agents.iter().enumerate() {
        for share in &agent.shares {
            let load = ClientLoad {
                load: share.load(admission.duration, admission.seed),
                warm_up_ns,
                packet_size: share.packet_size,
            };
            parts.admit_agent(AdmissionKey {
                row: row as u32,
                run: admission.run,
                agent: index as u16,
                key: *key,
                clients: share.clients.clone(),
                clock: agent.clock,
                load: Some(load),
                group: admission.group_of(share),
                is_static: false,
            });
        }
    }
    let workers = parts.workers.counts(&parts.ledger);
    parts.counters.open(admission, row, workers);
    parts.set_raw_places();
    Ok(())
}

/// Ends a run: its connections are cut, and `reply` gets its record when the last one is gone.
pub(super) fn close(parts: &mut MasterParts, run: RunId, reply: Reply<Option<FinalCounters>>) {
    if !parts.counters.runs.contains_key(&run) {
        return reply(None);
    }
    parts.runs.close(run, reply);
    for slot in slots_of(parts, run) {
        recovery::cut(parts, slot);
    }
    // After the cuts, so that an end that still comes can be verified. Our own keys stay until the
    // last connection is recorded: one may have to be replayed here.
    parts.workers.send_to_all(&ToWorker::Dismiss { run });
}

/// Replies for the runs that are to end and have no connection any more.
pub(super) fn finish_closed(parts: &mut MasterParts) {
    let Some(closing) = parts.runs.take_closing_if_changed() else {
        return;
    };
    for run in closing {
        let first = parts.runs.open_slot(run);
        if let Some(slot) = open_slot(parts, run, first) {
            parts.runs.set_open_slot(run, slot);
            continue;
        }
        let open: Vec<_> = parts.live().map(|(counters, ..)| counters).collect();
        open.iter()
            .for_each(|counters| parts.counters.share_with(counters));
        let Some(counted) = parts.counters.runs.remove(&run) else {
            continue;
        };
        parts.admission_keys.dismiss(run);
        // Again, for a worker that was started in the meantime.
        parts.workers.send_to_all(&ToWorker::Dismiss { run });
        let reply = parts.runs.end(run, counted.row, now_ns());
        let now = parts.workers.counts(&parts.ledger);
        let record = FinalCounters {
            presences: parts.workers.presences(&parts.ledger, now_ns()),
            ..counted.into_record(&now, parts.workers.pauses_are_asked_for())
        };
        info!(run_id = %run, clients = record.clients.len(), "closed");
        if let Some(reply) = reply {
            reply(Some(record));
        }
    }
    parts.set_raw_places();
}

fn slots_of(parts: &MasterParts, run: RunId) -> Vec<u32> {
    parts
        .live()
        .filter(|(connection_counters, ..)| connection_counters.is_of(run))
        .map(|(_, _, slot, _)| slot)
        .collect()
}

/// A slot that has a connection of the run, searched for from slot `first` on, all around. When
/// each search begins where the last one ended, the end of ten thousand connections, each a reason
/// to search, costs about one look at each slot.
fn open_slot(parts: &MasterParts, run: RunId, first: u32) -> Option<u32> {
    let slots = parts.ledger.slots().len() as u32;
    let is_open = |slot: &u32| {
        let counters = || parts.connection_counters(*slot);
        parts.connections.get(*slot).is_some() && counters().is_some_and(|of| of.is_of(run))
    };
    (first..slots).chain(0..first.min(slots)).find(is_open)
}
