//! Giving everything to a successor: the workers quit as in a rolling restart, with none in their
//! place; what they had taken is worked off, so that the ledger and the kernel agree; then the
//! connections go.
//!
//! Our copies of the connections stay until the successor serves. Until then [`Master::take_back`]
//! undoes all of it.

use std::{os::fd::AsFd as _, sync::Arc};

use metronome_os::{clock::now_ns, conduit::Conduit};
use tracing::{info, warn};

use super::{
    Master, Phase,
    estate::Estate,
    request::{HandedOver, Reply},
};
use crate::{ipc::ToWorker, upgrade::send_sockets};

/// For a worker to finish its batch and exit; then it is killed, which costs nothing either.
const QUIT_TIME_NS: u64 = 1_000_000_000;

/// A hand-over that is under way.
pub(super) struct HandOver {
    conduit: Arc<Conduit>,
    deadline_ns: u64,
    /// When workers that have not quit are killed.
    kill_at_ns: u64,
    reply: Reply<Result<HandedOver, String>>,
}

impl Master {
    /// Begins to let go; `reply` gets what does not go through `conduit`.
    pub(super) fn hand_over(
        &mut self,
        conduit: Arc<Conduit>,
        deadline_ns: u64,
        reply: Reply<Result<HandedOver, String>>,
    ) {
        self.hand_over = Some(HandOver {
            conduit,
            deadline_ns,
            kill_at_ns: u64::MAX,
            reply,
        });
    }

    /// Goes on with letting go as far as it can.
    pub(super) fn leave(&mut self, now_ns: u64) {
        let Some(mut hand_over) = self.hand_over.take() else {
            return;
        };
        if now_ns >= hand_over.deadline_ns {
            return (hand_over.reply)(Err(
                "the workers or a run did not come to rest in time".into()
            ));
        }
        if self.phase == Phase::Serving && self.rolling.is_none() && !self.books.has_closing() {
            hand_over.kill_at_ns = now_ns + QUIT_TIME_NS;
            self.dismiss_workers();
        }
        let has_workers = self.workers.iter().any(|worker| worker.process.is_some());
        if self.phase == Phase::Leaving && !has_workers {
            let given = self.give(&hand_over.conduit, hand_over.deadline_ns);
            return (hand_over.reply)(given);
        }
        if now_ns >= hand_over.kill_at_ns {
            warn!("workers do not quit and are killed");
            self.workers.iter().for_each(super::workers::Worker::kill);
        }
        self.hand_over = Some(hand_over);
    }

    fn dismiss_workers(&mut self) {
        self.phase = Phase::Leaving;
        self.watch_listener(false);
        for worker in 0..self.workers.len() {
            self.workers[worker].set_quitting();
            self.say(worker, ToWorker::Quit, None);
        }
    }

    fn give(&self, conduit: &Conduit, deadline_ns: u64) -> Result<HandedOver, String> {
        let seats = self.seats.reservations();
        let sockets = seats.len();
        let estate = Estate {
            seats,
            generations: self.seats.generations().to_vec(),
            admission_keys: self
                .admission_keys
                .agents()
                .iter()
                .copied()
                .map(Into::into)
                .collect(),
            books: &self.books,
            workers: self
                .workers
                .iter()
                .map(super::workers::Worker::legacy)
                .collect(),
            recovered_packets: self.recovered_packets,
            connections_lost: self.connections_lost,
            pauses: self.pauses.clone(),
            row_closed_ns: self.row_closed_ns,
        };
        let bytes = estate.encode()?;
        send_sockets(
            conduit,
            self.seats.all().map(|(_, seat)| seat.socket.as_fd()),
            deadline_ns,
        )
        .map_err(|error| format!("the connections cannot be handed over: {error}"))?;
        info!(
            "{sockets} connections and {} bytes of books are handed over",
            bytes.len()
        );
        Ok(HandedOver { bytes, sockets })
    }

    /// Serves again as if nothing had been.
    pub(super) fn take_back(&mut self) {
        self.hand_over = None;
        if self.phase != Phase::Leaving {
            return;
        }
        self.phase = Phase::Serving;
        let now_ns = now_ns();
        // One that is still to quit, or has been killed, is replaced when its end is seen.
        for worker in 0..self.workers.len() {
            self.start_due_worker(worker, now_ns);
        }
        self.watch_listener(true);
    }
}
