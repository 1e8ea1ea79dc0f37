//! The connections that the master holds: one seat per slot of the ledger.
//!
//! The master's copy of a socket is what keeps a connection alive while workers come and go.

use std::{net::SocketAddr, os::fd::OwnedFd};

use serde::{Deserialize, Serialize};

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) socket: OwnedFd,
    pub(super) peer: SocketAddr,
    pub(super) generation: u32,
    /// The worker that reads it; `None` while there is none to give it to.
    pub(super) worker: Option<usize>,
    /// What the kernel called "bytes put" when nothing had been written yet.
    pub(super) put_at_start: u64,
    /// Packets already put down to a worker or to the master.
    pub(super) credited_packets: u64,
    /// Set from its worker's death to the next read.
    pub(super) unread: Option<Unread>,
    /// The run is over: it is ended, not handed on.
    pub(super) is_cut: bool,
}

/// A connection that nobody reads.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Unread {
    /// The last sign of life of the worker that read it, ns.
    pub(super) since_ns: u64,
    /// When its last batch was read, ns: a later one ends the pause.
    pub(super) last_batch_ns: u64,
}

impl Seat {
    /// Nobody reads it from now on. False when nobody did before: its pause goes on.
    pub(super) fn go_unread(&mut self, unread: Unread) -> bool {
        let is_new = self.unread.is_none();
        self.unread.get_or_insert(unread);
        is_new
    }
}

/// A seat without its socket, for a successor.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Reservation {
    slot: u32,
    peer: SocketAddr,
    put_at_start: u64,
    credited_packets: u64,
    unread: Option<Unread>,
}

/// All seats, by slot.
#[derive(Debug)]
pub(super) struct Seats {
    by_slot: Vec<Option<Seat>>,
    /// Last generation of each slot.
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Seats {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            by_slot: std::iter::repeat_with(|| None)
                .take(slots as usize)
                .collect(),
            generations: vec![0; slots as usize],
            // Low slots first: they are the ones whose memory is in use already.
            free: (0..slots).rev().collect(),
        }
    }

    /// Every seat without its socket, in the order of [`Seats::all`].
    pub(super) fn reservations(&self) -> Vec<Reservation> {
        let reservation = |(slot, seat): (u32, &Seat)| Reservation {
            slot,
            peer: seat.peer,
            put_at_start: seat.put_at_start,
            credited_packets: seat.credited_packets,
            unread: seat.unread,
        };
        self.all().map(reservation).collect()
    }

    /// The last generation of each slot, without the slots at the end that never had any.
    pub(super) fn generations(&self) -> &[u32] {
        let used = self
            .generations
            .iter()
            .rposition(|generation| *generation > 0)
            .map_or(0, |last| last + 1);
        &self.generations[..used]
    }

    /// The seats of another server as it has handed them over, none with a worker. An error is one
    /// sentence: nothing of it is taken on trust.
    pub(super) fn inherit(
        slots: u32,
        generations: &[u32],
        reservations: &[Reservation],
        sockets: Vec<OwnedFd>,
    ) -> Result<Self, String> {
        let mut seats = Self::new(slots);
        if generations.len() > slots as usize || reservations.len() != sockets.len() {
            let (reserved, given) = (reservations.len(), sockets.len());
            return Err(format!(
                "{reserved} seats and {given} connections do not fit each other or {slots} slots"
            ));
        }
        seats.generations[..generations.len()].copy_from_slice(generations);
        for (reservation, socket) in reservations.iter().zip(sockets) {
            let Reservation {
                slot,
                peer,
                put_at_start,
                credited_packets,
                unread,
            } = *reservation;
            let generation = generations
                .get(slot as usize)
                .copied()
                .filter(|generation| *generation > 0);
            let generation = generation
                .ok_or_else(|| format!("slot {slot} has a connection and no generation"))?;
            let seat = Seat {
                socket,
                peer,
                generation,
                worker: None,
                put_at_start,
                credited_packets,
                unread,
                is_cut: false,
            };
            if seats.by_slot[slot as usize].replace(seat).is_some() {
                return Err(format!("slot {slot} has two connections"));
            }
        }
        seats
            .free
            .retain(|slot| seats.by_slot[*slot as usize].is_none());
        Ok(seats)
    }

    /// Gives a new connection a slot, or the socket back when there is none.
    pub(super) fn take(
        &mut self,
        socket: OwnedFd,
        peer: SocketAddr,
        put_at_start: u64,
    ) -> Result<u32, OwnedFd> {
        let Some(slot) = self.free.pop() else {
            return Err(socket);
        };
        let generation = self.generations[slot as usize].wrapping_add(1).max(1);
        self.generations[slot as usize] = generation;
        let seat = Seat {
            socket,
            peer,
            generation,
            worker: None,
            put_at_start,
            credited_packets: 0,
            unread: None,
            is_cut: false,
        };
        self.by_slot[slot as usize] = Some(seat);
        Ok(slot)
    }

    /// Ends a seat: the socket closes with what is returned.
    pub(super) fn vacate(&mut self, slot: u32) -> Option<Seat> {
        let seat = self.by_slot.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(seat)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Seat> {
        self.by_slot.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Seat> {
        self.by_slot.get_mut(slot as usize)?.as_mut()
    }

    /// Every connection with its slot.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Seat)> {
        self.by_slot
            .iter()
            .enumerate()
            .filter_map(|(slot, seat)| Some((slot as u32, seat.as_ref()?)))
    }

    /// The slots that `worker` reads.
    pub(super) fn of_worker(&self, worker: Option<usize>) -> Vec<u32> {
        self.all()
            .filter(|(_, seat)| seat.worker == worker)
            .map(|(slot, _)| slot)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, os::fd::AsFd as _};

    use proptest::prelude::*;

    use super::*;

    fn socket() -> OwnedFd {
        std::io::stdin().as_fd().try_clone_to_owned().unwrap()
    }

    #[test]
    fn a_pause_that_outlasts_a_second_death_has_begun_with_the_first() {
        let mut seats = Seats::new(1);
        let slot = seats
            .take(socket(), "127.0.0.1:1".parse().unwrap(), 0)
            .unwrap();
        let seat = seats.get_mut(slot).unwrap();
        assert!(seat.go_unread(Unread {
            since_ns: 5,
            last_batch_ns: 4
        }));
        assert!(!seat.go_unread(Unread {
            since_ns: 9,
            last_batch_ns: 4
        }));
        assert_eq!(seat.unread.map(|unread| unread.since_ns), Some(5));
        seat.unread = None;
        assert!(seat.go_unread(Unread {
            since_ns: 9,
            last_batch_ns: 8
        }));
    }

    proptest! {
        #[test]
        fn no_slot_is_given_twice_and_no_generation_comes_again(steps in prop::collection::vec(any::<Option<u8>>(), 0..200)) {
            let mut seats = Seats::new(8);
            let (mut taken, mut seen) = (Vec::new(), HashSet::new());
            for step in steps {
                match step {
                    None => match seats.take(socket(), "127.0.0.1:1".parse().unwrap(), 0) {
                        Ok(slot) => {
                            prop_assert!(!taken.contains(&slot));
                            prop_assert!(seen.insert((slot, seats.get(slot).unwrap().generation)));
                            taken.push(slot);
                        }
                        Err(_) => prop_assert_eq!(taken.len(), 8),
                    },
                    Some(_) if taken.is_empty() => prop_assert!(seats.vacate(0).is_none()),
                    Some(pick) => {
                        let slot = taken.swap_remove(usize::from(pick) % taken.len());
                        prop_assert!(seats.vacate(slot).is_some());
                    }
                }
                prop_assert_eq!(seats.all().count(), taken.len());
            }
        }

        #[test]
        fn seats_that_are_handed_over_are_the_same_and_go_on_the_same(steps in prop::collection::vec(any::<Option<u8>>(), 0..50)) {
            let mut seats = Seats::new(8);
            for step in steps {
                match step {
                    None => drop(seats.take(socket(), "127.0.0.1:1".parse().unwrap(), 7)),
                    Some(slot) => drop(seats.vacate(u32::from(slot % 8))),
                }
            }
            let sockets = seats.all().map(|_| socket()).collect();
            let mut again = Seats::inherit(8, seats.generations(), &seats.reservations(), sockets).unwrap();
            prop_assert_eq!(again.reservations(), seats.reservations());
            prop_assert_eq!(again.generations(), seats.generations());
            while let Ok(slot) = again.take(socket(), "127.0.0.1:1".parse().unwrap(), 0) {
                let before = seats.generations.get(slot as usize).copied().unwrap();
                prop_assert_eq!(again.get(slot).unwrap().generation, before + 1);
            }
            prop_assert_eq!(again.all().count(), 8);
        }

        #[test]
        fn no_reservation_makes_a_panic(slots in prop::collection::vec(any::<u8>(), 0..9), generations in prop::collection::vec(0..2_u32, 0..9), sockets in 0..9_usize) {
            let peer = "127.0.0.1:1".parse().unwrap();
            let reservation = |slot| Reservation { slot, peer, put_at_start: 0, credited_packets: 0, unread: None };
            let reservations: Vec<_> = slots.iter().map(|slot| reservation(u32::from(*slot))).collect();
            let sockets = (0..sockets).map(|_| socket()).collect();
            if let Ok(seats) = Seats::inherit(8, &generations, &reservations, sockets) {
                prop_assert_eq!(seats.all().count(), reservations.len());
            }
        }
    }
}
