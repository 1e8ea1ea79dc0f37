//! The connections that the master holds: one seat per slot of the ledger.
//!
//! The master's copy of a socket is what keeps a connection alive while workers come and go.

use std::{net::SocketAddr, os::fd::OwnedFd};

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
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    /// The last sign of life of the worker that read it, ns.
    pub(super) since_ns: u64,
    /// When its last batch was read, ns: a later one ends the pause.
    pub(super) worked_ns: u64,
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
            by_slot: std::iter::repeat_with(|| None).take(slots as usize).collect(),
            generations: vec![0; slots as usize],
            // Low slots first: they are the ones whose memory is in use already.
            free: (0..slots).rev().collect(),
        }
    }

    /// Gives a new connection a slot, or the socket back when there is none.
    pub(super) fn take(&mut self, socket: OwnedFd, peer: SocketAddr, put_at_start: u64) -> Result<u32, OwnedFd> {
        let Some(slot) = self.free.pop() else { return Err(socket) };
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
        self.by_slot.iter().enumerate().filter_map(|(slot, seat)| Some((slot as u32, seat.as_ref()?)))
    }

    /// The slots that `worker` reads.
    pub(super) fn of_worker(&self, worker: Option<usize>) -> Vec<u32> {
        self.all().filter(|(_, seat)| seat.worker == worker).map(|(slot, _)| slot).collect()
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
    }
}
