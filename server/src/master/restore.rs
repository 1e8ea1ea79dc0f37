//! The master of a new server process: the old one's state is taken and checked first, and nothing
//! is touched before the old process has let go.

use std::os::fd::OwnedFd;

use metronome_os::clock::now_ns;
use tracing::info;

use super::{Master, Phase, UNREAD_WATCH_NS, seats::Seats};
use crate::{ledger::ToWorker, upgrade::MasterState};

impl Master {
    /// Takes what another server has handed over. After an error this master is of no use any more.
    pub(super) fn restore(
        &mut self,
        state: MasterState,
        sockets: Vec<OwnedFd>,
    ) -> Result<(), String> {
        if self.phase != Phase::Waiting {
            return Err("this server was not started to replace another one".into());
        }
        if state.workers.len() != self.workers.len() {
            let (theirs, ours) = (state.workers.len(), self.workers.len());
            return Err(format!(
                "the old server has {theirs} workers and this one {ours}"
            ));
        }
        for key in &state.agent_keys {
            self.gates.admit(key.restore()?);
        }
        let slots = self.ledger.slots().len() as u32;
        self.seats = Seats::inherit(slots, &state.generations, &state.connections, sockets)?;
        self.books = state.counters;
        self.recovered_packets = state.recovered_packets;
        self.connections_lost = state.connections_lost;
        self.pauses = state.pauses;
        self.row_closed_ns = state.row_closed_ns;
        for (worker, saved) in self.workers.iter_mut().zip(state.workers) {
            worker.inherit(saved);
        }
        Ok(())
    }

    /// The old server has let go: the connections go to the workers, and new ones are accepted.
    pub(super) fn begin(&mut self) {
        if self.phase != Phase::Waiting {
            return;
        }
        self.phase = Phase::Serving;
        let now_ns = now_ns();
        // What is in the lines until now is not theirs.
        self.workers
            .iter_mut()
            .for_each(|worker| worker.forgive_silence(now_ns));
        self.say_to_all(ToWorker::Begin);
        for agent in self.gates.agents().to_vec() {
            self.say_to_all(ToWorker::Admit(agent));
        }
        self.set_raw_seats();
        self.unread = self
            .seats
            .all()
            .filter(|(_, seat)| seat.unread.is_some())
            .map(|(slot, _)| slot)
            .collect();
        self.watch_unread_until_ns = now_ns + UNREAD_WATCH_NS;
        self.place_waiting();
        self.watch_listener(true);
        let connections = self.seats.all().count();
        let text = format!("another server process took over with {connections} connections");
        self.books.note_incident(now_ns, "server upgraded", &text);
        info!("{text}");
    }
}
