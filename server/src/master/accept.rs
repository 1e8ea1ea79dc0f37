//! Accepting: a connection gets a seat and a worker, or a refusal that says why.
//!
//! When descriptors run out the listener is left alone for 100 ms, since it would stay readable
//! and the loop would spin. The last few are never taken here: the control port has to answer.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
    sync::atomic::Ordering,
};

use metronome_os::{clock::now_ns, socket::bytes_put};
use metronome_proto::handshake::Refusal;
use rustix::{
    io::Errno,
    net::{SendFlags, SocketFlags, acceptfrom_with, send},
    process::{Resource, getrlimit},
};
use tracing::{debug, warn};

use super::{Master, placement, placement::Candidate};
use crate::ledger::ToWorker;

/// Connections taken in one turn, so that a storm of them delays nothing else for long.
const ACCEPTS_PER_TURN: usize = 64;

const PAUSE_NS: u64 = 100_000_000;

/// Descriptors that are left to the control port, however the limit was lowered since the start.
const DESCRIPTORS_LEFT: u64 = 16;

/// A peer can make us run out of descriptors again and again: one log line in this time.
const WARNING_EVERY_NS: u64 = 5_000_000_000;

impl Master {
    /// Takes the connections that wait.
    pub(super) fn accept_waiting(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            match acceptfrom_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((socket, _)) if is_one_of_the_last(socket.as_raw_fd()) => {
                    self.books.accepted = self.books.accepted.saturating_add(1);
                    self.refuse_full(&socket);
                    return self.pause_accepting(Errno::MFILE);
                }
                Ok((socket, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    self.seat(socket, peer.unwrap_or(([0, 0, 0, 0], 0).into()));
                }
                Err(Errno::AGAIN) => return,
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    return self.pause_accepting(error);
                }
                // The peer was gone again before we came to it, or its network was: accept(2) hands
                // such errors on.
                Err(_) => {}
            }
        }
    }

    fn seat(&mut self, socket: OwnedFd, peer: SocketAddr) {
        self.books.accepted = self.books.accepted.saturating_add(1);
        let put_at_start = bytes_put(&socket).unwrap_or(0);
        let slot = match self.seats.take(socket, peer, put_at_start) {
            Ok(slot) => slot,
            Err(socket) => {
                return self.refuse_full(&socket);
            }
        };
        if let (Some(record), Some(seat)) =
            (self.ledger.slots().get(slot as usize), self.seats.get(slot))
        {
            record
                .lease
                .generation
                .store(u64::from(seat.generation), Ordering::Release);
            record.lease.opened_ns.store(now_ns(), Ordering::Release);
        }
        debug!(%peer, slot, "accepted");
        self.place(slot);
    }

    fn refuse_full(&mut self, socket: &OwnedFd) {
        self.books.refused_full = self.books.refused_full.saturating_add(1);
        let _ = send(
            socket,
            &Refusal::Full.encode(),
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        );
    }

    /// Gives a connection to a worker. Without one that serves it waits for the next to start.
    pub(super) fn place(&mut self, slot: u32) {
        let is_unread = self
            .seats
            .get(slot)
            .is_some_and(|seat| seat.unread.is_some());
        let candidates = self.workers.iter().map(|worker| Candidate {
            serves: worker.serves(),
            is_ready: worker.is_ready() || !is_unread,
            connections: worker.connections,
        });
        let chosen = placement::choose(candidates);
        let Some(seat) = self.seats.get_mut(slot) else {
            return;
        };
        seat.worker = chosen;
        let generation = seat.generation;
        if let Some(chosen) = chosen {
            self.workers[chosen].connections += 1;
            self.say(chosen, ToWorker::Adopt { slot, generation }, Some(slot));
        }
    }

    fn pause_accepting(&mut self, error: Errno) {
        let now_ns = now_ns();
        if now_ns >= self.warn_of_accept_again_ns {
            self.warn_of_accept_again_ns = now_ns + WARNING_EVERY_NS;
            warn!(
                "cannot accept connections: {error}; trying again every 0.1 s (raise the limit of open files)"
            );
        }
        self.accept_again_ns = now_ns + PAUSE_NS;
        self.watch_listener(false);
    }

    /// Goes on accepting when the pause is over.
    pub(super) fn end_pause(&mut self, now_ns: u64) {
        if self.accept_again_ns != 0 && now_ns >= self.accept_again_ns {
            self.accept_again_ns = 0;
            self.watch_listener(true);
        }
    }

    /// Says something to a worker, now or as soon as its channel has room.
    pub(super) fn say(&mut self, worker: usize, message: ToWorker, slot: Option<u32>) {
        let seats = &self.seats;
        let socket = |slot| seats.get(slot).map(|seat| seat.socket.as_fd());
        self.workers[worker].say(message, slot, socket);
        if self.workers[worker]
            .process
            .as_ref()
            .is_some_and(super::workers::Process::has_unsent)
        {
            self.watch_channel(worker, true);
        }
    }
}

/// Whether so few descriptors are left that this one is not for a client. The system gives the
/// lowest number that is free, so that a high one tells that the table is full up to there.
fn is_one_of_the_last(descriptor: RawFd) -> bool {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(descriptor).is_ok_and(|number| number >= files.saturating_sub(DESCRIPTORS_LEFT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_of_the_table_are_not_for_clients() {
        let files = getrlimit(Resource::Nofile)
            .current
            .unwrap_or(i32::MAX as u64) as RawFd;
        for (descriptor, is_last) in [
            (3, false),
            (files - 17, false),
            (files - 16, true),
            (files - 1, true),
        ] {
            assert_eq!(
                is_one_of_the_last(descriptor),
                is_last,
                "{descriptor} of {files}"
            );
        }
    }
}
