//! The parts of the master together, and what only several of them can do: a connection is placed
//! with a worker, credited to it, and released at its end.
//!
//! The parts do not use each other. What each decides it decides by itself; here they are only
//! brought together.

use std::{collections::BTreeMap, net::SocketAddr, sync::atomic::Ordering};

use metronome_os::{clock::now_ns, socket::bytes_put};
use metronome_proto::{
    handshake::{NONCE_BYTES, Nonce},
    run_id::RunId,
};
use metronome_witness::SocketLooks;
use tracing::{debug, warn};

use super::{
    acceptor::{ACCEPTS_PER_TURN, Accepted, Acceptor, Attempt, refuse_full},
    client_places::{self, STATIC_RUN},
    connection_table::{ConnectionTable, LastBatch},
    kernel_figures::kernel_figures,
    run_counters::ClosedConnection,
    run_table::RunTable,
    worker_pool::WorkerPool,
};
use crate::{
    ipc::{AdmissionKey, AdmissionKeys, ToWorker},
    ledger::{ConnectionCounters, Ledger, Slot},
    model::{ClientEnd, LiveCounters, RunCounters, Work},
};

/// How far this server process has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// A new process before the old one has committed the upgrade: its workers run and have
    /// nothing to read.
    Waiting,
    Serving,
    /// The workers are gone or going, for a new process to take over.
    Leaving,
    /// The thread ends with this turn of the loop.
    Stopping,
}

/// What recoveries have cost since the server's start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recovered {
    /// Packets recovered for dead workers.
    pub(super) packets: u64,
    /// Connections that no worker could go on with.
    pub(super) connections_lost: u64,
}

/// Everything that the master has but the loop.
///
/// One struct, because nearly every step needs several parts at once: to place a connection takes
/// the table and the pool, to finish one the ledger and the counters as well. The parts themselves
/// stay apart: none has a reference to another.
pub(super) struct MasterParts {
    pub(super) phase: Phase,
    /// Verified and raw clients together, 1 to 10000.
    pub(super) max_clients: u32,
    pub(super) ledger: Ledger,
    pub(super) admission_keys: AdmissionKeys,
    pub(super) acceptor: Acceptor,
    pub(super) connections: ConnectionTable,
    pub(super) workers: WorkerPool,
    pub(super) counters: RunCounters,
    pub(super) runs: RunTable,
    pub(super) recovered: Recovered,
    /// How far the looks at the sockets of each run have come. Another process begins anew.
    pub(super) looks: BTreeMap<RunId, SocketLooks>,
}

fn live<'a>(
    ledger: &'a Ledger,
    connections: &'a ConnectionTable,
) -> impl Iterator<Item = (ConnectionCounters, &'a Slot, u32, SocketAddr)> {
    connections.all().filter_map(|(slot, connection)| {
        let record = ledger.slots().get(slot as usize)?;
        Some((record.counters()?, record, slot, connection.peer))
    })
}

impl MasterParts {
    /// Takes the connections that wait at the data port, up to a limit of tries.
    pub(super) fn accept_waiting(&mut self) {
        let now_ns = now_ns();
        for _ in 0..ACCEPTS_PER_TURN {
            match self.acceptor.accept(now_ns) {
                Attempt::Accepted(accepted) => self.take_in(accepted),
                Attempt::Gone => {}
                Attempt::Nothing => return,
            }
        }
    }

    /// Keeps a new connection and gives it to a worker, or refuses it.
    fn take_in(&mut self, accepted: Accepted) {
        let Accepted {
            socket,
            peer,
            is_too_many,
        } = accepted;
        self.counters.count_accepted();
        let put_at_start = bytes_put(&socket).unwrap_or(0);
        self.free_slots();
        let inserted = if is_too_many {
            Err(socket)
        } else {
            self.connections.insert(socket, peer, put_at_start)
        };
        let slot = match inserted {
            Ok(slot) => slot,
            Err(socket) => {
                self.counters.count_refused_full();
                return refuse_full(&socket);
            }
        };
        if let (Some(record), Some(connection)) = (self.record(slot), self.connections.get(slot)) {
            let generation = u64::from(connection.generation);
            record
                .header
                .generation
                .store(generation, Ordering::Release);
            record.header.opened_ns.store(now_ns(), Ordering::Release);
            challenge(record);
        }
        debug!(%peer, slot, "accepted");
        self.place(slot);
    }

    /// Gives a connection to a worker. Without one that serves it waits for the next to start.
    pub(super) fn place(&mut self, slot: u32) {
        let Some(connection) = self.connections.get(slot) else {
            return;
        };
        let generation = connection.generation;
        let (packets_wait, is_cut) = (connection.unread.is_some(), connection.is_cut);
        let connections = |worker| self.connections.connections_of(worker);
        let chosen = self.workers.choose(packets_wait, now_ns(), connections);
        self.connections.assign(slot, chosen);
        let Some(chosen) = chosen else {
            return;
        };
        let keys = if is_cut {
            self.keys_of(slot)
        } else {
            Vec::new()
        };
        let run = keys.first().map(|key| key.run);
        for key in keys {
            self.workers.send(chosen, ToWorker::Admit(key.into()));
        }
        if let Some(socket) = self.connections.socket(slot) {
            let message = ToWorker::Adopt { slot, generation };
            self.workers.send_socket(chosen, message, slot, socket);
        }
        if is_cut {
            self.workers
                .send(chosen, ToWorker::Cut { slot, generation });
        }
        if let Some(run) = run {
            self.workers.send(chosen, ToWorker::Dismiss { run });
        }
    }

    /// The keys of a client whose run is over: the worker that reads what is left of it may have
    /// none of that run any more, and verifies the client's end with them.
    fn keys_of(&self, slot: u32) -> Vec<AdmissionKey> {
        let Some(client) = self.connection_counters(slot) else {
            return Vec::new();
        };
        let run = RunId::from_bits(client.run);
        let is_its_own = |key: &&AdmissionKey| {
            client.is_client() && run != STATIC_RUN && key.run == run && key.agent == client.agent
        };
        let keys = self.admission_keys.agents().iter();
        keys.filter(is_its_own).cloned().collect()
    }

    /// Connections that found no worker go to the ones that serve now.
    pub(super) fn place_waiting(&mut self) {
        for slot in self.connections.slots_of(None) {
            self.place(slot);
        }
    }

    /// Makes the spare the process of a worker that has none and has waited long enough; the
    /// connections that found no worker go to it. False when it has no other process now.
    pub(super) fn replace_if_due(&mut self, worker: usize, now_ns: u64) -> bool {
        if !self.has_spare() || !self.workers.is_due(worker, now_ns) {
            return false;
        }
        let first = self.first_messages();
        let is_replaced = self
            .workers
            .replace_if_due(worker, &self.ledger, first, now_ns);
        if is_replaced {
            self.place_waiting();
        }
        is_replaced
    }

    /// The same for all workers, and has the next spare started.
    pub(super) fn replace_waiting(&mut self, now_ns: u64) {
        if !self.has_spare() {
            return;
        }
        for worker in 0..self.workers.len() {
            if self.replace_if_due(worker, now_ns) {
                self.workers.roll(now_ns);
                self.spread();
            }
        }
        self.workers.start_spare_if_due(&self.ledger, now_ns);
    }

    /// Whether there is a spare in this phase, or will be one.
    pub(super) fn has_spare(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Serving)
    }

    /// What a new worker process gets before any connection.
    pub(super) fn first_messages(&self) -> Vec<ToWorker> {
        let begin = (self.phase != Phase::Waiting).then_some(ToWorker::Begin);
        let agents = self.admission_keys.agents().iter();
        // The keys of a run that is to end stay here for replays. A worker that had them would let
        // clients in after the cuts.
        let open = agents.filter(|agent| !self.runs.is_closing(agent.run));
        let open = open.cloned().map(|agent| ToWorker::Admit(agent.into()));
        begin.into_iter().chain(open).collect()
    }

    /// Whether a connection is of a run that is to end or has ended. Its hello may have been
    /// verified behind the cuts, by a worker that had not been sent the run's end yet.
    pub(super) fn is_of_past_run(&self, connection_counters: &ConnectionCounters) -> bool {
        let run = RunId::from_bits(connection_counters.run);
        let is_open = self.counters.runs.contains_key(&run) && !self.runs.is_closing(run);
        connection_counters.is_of(run) && run != STATIC_RUN && !is_open
    }

    /// Has every worker, those to come included, verify an agent's hellos.
    pub(super) fn admit_agent(&mut self, agent: AdmissionKey) {
        self.admission_keys.admit(agent.clone());
        self.workers.send_to_all(&ToWorker::Admit(agent.into()));
    }

    /// Raw clients get the places that no run has reserved.
    pub(super) fn set_raw_places(&self) {
        let reserved = self.counters.reserved_clients();
        client_places::set_raw_places(&self.ledger, self.max_clients.saturating_sub(reserved));
    }

    /// The record of a slot in the ledger. The number of the slot may come from a worker.
    pub(super) fn record(&self, slot: u32) -> Option<&Slot> {
        self.ledger.slots().get(slot as usize)
    }

    /// What the ledger has of a connection now.
    pub(super) fn connection_counters(&self, slot: u32) -> Option<ConnectionCounters> {
        self.record(slot)?.counters()
    }

    /// Every connection that has not been recorded, as the ledger has it now.
    pub(super) fn live(
        &self,
    ) -> impl Iterator<Item = (ConnectionCounters, &Slot, u32, SocketAddr)> {
        live(&self.ledger, &self.connections)
    }

    /// How a run stands, with what its workers do.
    pub(super) fn read_run(&mut self, run: RunId, histograms: bool) -> Option<LiveCounters> {
        let mut slots = Vec::new();
        let live =
            live(&self.ledger, &self.connections).map(|(connection_counters, record, slot, _)| {
                if connection_counters.is_client() && connection_counters.run == run.bits() {
                    slots.push(slot);
                }
                (connection_counters, record)
            });
        let read = self.counters.read_run(run, histograms, live)?;
        let (looks, runs) = (&mut self.looks, &self.counters.runs);
        looks.retain(|run, _| runs.contains_key(run));
        let looks = histograms.then(|| looks.entry(run).or_default());
        let socket = |place: usize| {
            let slot = *slots.get(place)?;
            let held = self.connections.get(slot)?;
            let key = u64::from(held.generation) << 32 | u64::from(slot);
            Some((key, &held.socket))
        };
        Some(LiveCounters {
            sockets: looks.and_then(|looks| looks.look(slots.len(), socket)),
            priorities: self.workers.priorities(),
            presences: self.workers.presences(&self.ledger, now_ns()),
            ..read
        })
    }

    /// Attributes what was newly done to the worker, or to the master, that did it.
    pub(super) fn credit(
        &mut self,
        slot: u32,
        connection_counters: &ConnectionCounters,
        worker: Option<usize>,
    ) {
        let work = Work {
            packets: connection_counters.counts.received,
            reads: connection_counters.reads,
        };
        let Some(work) = self.connections.credit(slot, work) else {
            return;
        };
        match worker {
            Some(worker) => self.workers.credit(worker, work.packets),
            None => self.recovered.packets = self.recovered.packets.saturating_add(work.packets),
        }
        self.counters.credit(connection_counters, worker, work);
    }

    /// Finishes a connection that a worker has released. Anything may be in a message of a broken
    /// worker, so it can only release what is its own.
    pub(super) fn released(&mut self, worker: usize, slot: u32, generation: u32) {
        if self.is_its_own(worker, slot, generation) {
            self.finish(slot);
        }
    }

    /// Whether a worker reads this very connection.
    pub(super) fn is_its_own(&self, worker: usize, slot: u32, generation: u32) -> bool {
        self.connections.get(slot).is_some_and(|connection| {
            connection.worker == Some(worker) && connection.generation == generation
        })
    }

    /// Has workers that read more than their share hand back the rest, for those that have come up
    /// since or whose crash loop is over. Not within a rolling restart, whose next turn would move
    /// them again.
    pub(super) fn spread(&mut self) {
        if self.phase != Phase::Serving || self.workers.is_restarting() {
            return;
        }
        let connections = |worker| self.connections.connections_of(worker);
        let surplus = self.workers.surplus(now_ns(), connections);
        let surplus = surplus.into_iter().enumerate();
        for (worker, surplus) in surplus.filter(|(_, surplus)| *surplus > 0) {
            let slots = self.connections.slots_of(Some(worker));
            for slot in slots.into_iter().take(surplus as usize) {
                if let Some(connection) = self.connections.get(slot) {
                    let generation = connection.generation;
                    let message = ToWorker::HandBack { slot, generation };
                    self.workers.send(worker, message);
                }
            }
        }
    }

    /// Records a connection that is closed in the ledger, and frees all it had.
    pub(super) fn finish(&mut self, slot: u32) {
        let Some(connection_counters) = self.connection_counters(slot) else {
            return;
        };
        let Some(worker) = self
            .connections
            .get(slot)
            .map(|connection| connection.worker)
        else {
            return;
        };
        self.credit(slot, &connection_counters, worker);
        if connection_counters.end == ClientEnd::HandlerFailed {
            let client = connection_counters.client;
            let text = format!("client {client} was ended: the packet handler failed three times");
            warn!(slot, "{text}");
            self.counters
                .note_incident(now_ns(), "packet handler failed", &text);
        }
        warn_of_refused_probes(slot, &connection_counters);
        let Some(connection) = self.connections.remove(slot) else {
            return;
        };
        self.counters.record_closed(&ClosedConnection {
            connection_counters: &connection_counters,
            record: &self.ledger.slots()[slot as usize],
            peer: connection.peer,
            worker,
            kernel: kernel_figures(&connection.socket),
        });
        client_places::free(
            &self.ledger,
            self.max_clients,
            (slot, connection.generation),
            &connection_counters,
        );
        // Last: what was recorded above was read from it.
        self.free_slots();
        self.runs.connection_recorded();
    }

    /// Frees what connections have left. A slot that cannot be cleared still has their counters:
    /// it gets no other connection before that has succeeded.
    fn free_slots(&mut self) {
        let ledger = &self.ledger;
        let clear = |slot| ledger.clear_slot(slot as usize);
        if let Err((slot, error)) = self.connections.free_slots(clear) {
            warn!(slot, "the ledger's memory cannot be freed: {error}");
        }
    }

    /// Records the pauses of connections that are read again.
    pub(super) fn note_pauses(&mut self) {
        let slots = self.ledger.slots();
        self.connections.note_pauses(|slot| last_batch(slots, slot));
    }

    /// Records the pause of a connection if it is over.
    pub(super) fn note_pause(&mut self, slot: u32) {
        let slots = self.ledger.slots();
        let _ = self
            .connections
            .note_pause(slot, || last_batch(slots, slot));
    }
}

/// An agent's probes have ended because of what came. It opens 255 connections of them at most.
fn warn_of_refused_probes(slot: u32, counters: &ConnectionCounters) {
    if counters.is_probes && matches!(counters.end, ClientEnd::Refused(_)) {
        let (run, agent) = (RunId::from_bits(counters.run), counters.agent);
        let why = "what came is no probe, or more than 1,000 in a second";
        warn!(slot, run_id = %run, agent, "an agent's probes have ended: {why}");
    }
}

/// Draws what the client is challenged with, should it be one of the static run.
fn challenge(record: &Slot) {
    let mut bytes = [0; NONCE_BYTES];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Nonce::from_bytes(bytes)
            .into_iter()
            .for_each(|nonce| record.header.set_server_nonce(nonce)),
        Err(error) => warn!("the system gives no random bytes for a challenge: {error}"),
    }
}

fn last_batch(slots: &[Slot], slot: u32) -> Option<LastBatch> {
    let counters = slots.get(slot as usize)?.counters()?;
    Some(LastBatch {
        at_ns: counters.last_batch_ns,
        is_of_probes: counters.is_probes,
    })
}
