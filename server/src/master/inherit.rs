//! Being a successor: everything is taken and checked first, and nothing is touched before the old
//! server has let go.

use std::os::fd::OwnedFd;

use metronome_os::clock::now_ns;
use tracing::info;

use super::{Master, Phase, UNREAD_WATCH_NS, estate::Estate, seats::Seats};
use crate::ipc::ToWorker;

impl Master {
    /// Takes what another server has handed over. After an error this master is of no use any more.
    pub(super) fn inherit(&mut self, bytes: &[u8], sockets: Vec<OwnedFd>) -> Result<(), String> {
        if self.phase != Phase::Waiting {
            return Err("this server succeeds no other".into());
        }
        let estate = Estate::decode(bytes)?;
        if estate.workers.len() != self.workers.len() {
            let (theirs, ours) = (estate.workers.len(), self.workers.len());
            return Err(format!(
                "the old server has {theirs} workers and this one {ours}"
            ));
        }
        for key in &estate.admission_keys {
            self.admission_keys.admit(key.agent()?);
        }
        let slots = self.ledger.slots().len() as u32;
        self.seats = Seats::inherit(slots, &estate.generations, &estate.seats, sockets)?;
        self.books = estate.books;
        self.recovered_packets = estate.recovered_packets;
        self.connections_lost = estate.connections_lost;
        self.pauses = estate.pauses;
        self.row_closed_ns = estate.row_closed_ns;
        for (worker, legacy) in self.workers.iter_mut().zip(estate.workers) {
            worker.inherit(legacy);
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
        for agent in self.admission_keys.agents().to_vec() {
            self.say_to_all(ToWorker::Admit(agent));
        }
        self.set_raw_client_limit();
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
