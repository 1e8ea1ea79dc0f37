//! The connections that the master keeps: one entry per slot of the ledger, and the worker that
//! reads each.
//!
//! The master's copy of a socket is what keeps a connection alive while workers come and go. A
//! connection whose worker has ended is *unread* until its next worker has read it; how long that
//! took is its pause. Absent on purpose: the ledger, whose figures come as arguments, and every
//! choice of a worker.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use metronome_proto::histogram::Histogram;

use crate::{
    model::{Unread, Work},
    upgrade::SavedConnection,
};

/// How long unread connections are looked at more often than on every tick: an idle client may have
/// nothing to be read for hours.
const UNREAD_WATCH_NS: u64 = 1_000_000_000;

/// The last batch of a connection, as the ledger has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastBatch {
    /// When it was read.
    pub(super) at_ns: u64,
    /// The connection carries an agent's probes: it is idle between two of them, and how long it
    /// waits is no pause of a client.
    pub(super) is_of_probes: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct HeldConnection {
    pub(super) socket: OwnedFd,
    pub(super) peer: SocketAddr,
    pub(super) generation: u32,
    /// The worker that reads it; `None` while there is none to give it to.
    pub(super) worker: Option<usize>,
    /// The kernel's count of bytes put into the socket when nothing had been written yet.
    pub(super) put_at_start: u64,
    /// What is already attributed to a worker or to the recovery.
    pub(super) credited: Work,
    /// Set from its worker's death to the next read.
    pub(super) unread: Option<Unread>,
    /// The run is over: it is ended, not handed on.
    pub(super) is_cut: bool,
}

/// All of them, by slot.
///
/// Invariants: a slot is free, has to be cleared, or has a connection; the generation of a slot
/// only rises; `connections` counts the entries of each worker.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    by_slot: Vec<Option<HeldConnection>>,
    /// Last generation of each slot.
    generations: Vec<u32>,
    free: Vec<u32>,
    /// Slots without a connection in which the ledger may still have what is of the last one.
    uncleared: Vec<u32>,
    /// How many connections each worker reads.
    connections: Vec<u32>,
    /// Slots whose pause is not over yet.
    unread: Vec<u32>,
    /// Until when they are looked at more often than on every tick.
    watch_unread_until_ns: u64,
    /// How long connections went unread after a death, ns.
    pauses: Histogram,
}

impl ConnectionTable {
    /// A table of so many slots without a connection.
    pub(super) fn new(slots: u32) -> Self {
        Self {
            by_slot: std::iter::repeat_with(|| None)
                .take(slots as usize)
                .collect(),
            generations: vec![0; slots as usize],
            // Low slots first: they are the ones whose memory is in use already.
            free: (0..slots).rev().collect(),
            uncleared: Vec::new(),
            connections: Vec::new(),
            unread: Vec::new(),
            watch_unread_until_ns: 0,
            pauses: Histogram::default(),
        }
    }

    /// Gives a new connection a slot, or the socket back when there is none.
    pub(super) fn insert(
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
        self.by_slot[slot as usize] = Some(HeldConnection {
            socket,
            peer,
            generation,
            worker: None,
            put_at_start,
            credited: Work::default(),
            unread: None,
            is_cut: false,
        });
        Ok(slot)
    }

    /// Removes a connection: the socket closes with what is returned. Its slot is free again once
    /// it is cleared.
    pub(super) fn remove(&mut self, slot: u32) -> Option<HeldConnection> {
        let connection = self.by_slot.get_mut(slot as usize)?.take()?;
        self.uncount(connection.worker);
        self.uncleared.push(slot);
        Some(connection)
    }

    /// Frees the slots that connections have left, each once `clear` has cleared it. The first that
    /// cannot be cleared ends this; it is tried again the next time.
    pub(super) fn free_slots<E>(
        &mut self,
        clear: impl Fn(u32) -> Result<(), E>,
    ) -> Result<(), (u32, E)> {
        while let Some(&slot) = self.uncleared.last() {
            clear(slot).map_err(|error| (slot, error))?;
            self.uncleared.pop();
            self.free.push(slot);
        }
        Ok(())
    }

    pub(super) fn get(&self, slot: u32) -> Option<&HeldConnection> {
        self.by_slot.get(slot as usize)?.as_ref()
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut HeldConnection> {
        self.by_slot.get_mut(slot as usize)?.as_mut()
    }

    /// The socket of a slot that has a connection.
    pub(super) fn socket(&self, slot: u32) -> Option<BorrowedFd<'_>> {
        self.get(slot).map(|connection| connection.socket.as_fd())
    }

    /// Every connection with its slot.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &HeldConnection)> {
        self.by_slot
            .iter()
            .enumerate()
            .filter_map(|(slot, connection)| Some((slot as u32, connection.as_ref()?)))
    }

    /// Notes which worker reads a connection from now on.
    pub(super) fn assign(&mut self, slot: u32, worker: Option<usize>) {
        let Some(connection) = self.get_mut(slot) else {
            return;
        };
        let before = std::mem::replace(&mut connection.worker, worker);
        self.uncount(before);
        if let Some(worker) = worker {
            if self.connections.len() <= worker {
                self.connections.resize(worker + 1, 0);
            }
            self.connections[worker] += 1;
        }
    }

    fn uncount(&mut self, worker: Option<usize>) {
        if let Some(count) = worker.and_then(|worker| self.connections.get_mut(worker)) {
            debug_assert!(*count > 0, "a worker reads fewer connections than none");
            *count = count.saturating_sub(1);
        }
    }

    /// How many connections a worker reads.
    pub(super) fn connections_of(&self, worker: usize) -> u32 {
        self.connections.get(worker).copied().unwrap_or(0)
    }

    /// The slots that a worker reads, or none does. Looks at every slot.
    pub(super) fn slots_of(&self, worker: Option<usize>) -> Vec<u32> {
        self.all()
            .filter(|(_, connection)| connection.worker == worker)
            .map(|(slot, _)| slot)
            .collect()
    }

    /// Takes note of all that was done for a connection. Returns what is new of it.
    pub(super) fn credit(&mut self, slot: u32, work: Work) -> Option<Work> {
        let connection = self.get_mut(slot)?;
        let before = std::mem::replace(&mut connection.credited, work);
        Some(work.since(before))
    }

    /// Marks a connection whose run is over.
    pub(super) fn cut(&mut self, slot: u32) -> Option<&HeldConnection> {
        let connection = self.get_mut(slot)?;
        connection.is_cut = true;
        Some(connection)
    }

    /// No worker reads it from now on. When none did before, its pause goes on.
    pub(super) fn set_unread(&mut self, slot: u32, unread: Unread) {
        if let Some(connection) = self.get_mut(slot)
            && connection.unread.is_none()
        {
            connection.unread = Some(unread);
            self.unread.push(slot);
        }
    }

    /// Begins to look at unread connections more often, so that their pauses are known exactly.
    pub(super) fn watch_unread(&mut self, now_ns: u64) {
        self.watch_unread_until_ns = now_ns + UNREAD_WATCH_NS;
    }

    /// Whether unread connections are looked at more often than on every tick.
    pub(super) fn watches_unread(&self, now_ns: u64) -> bool {
        !self.unread.is_empty() && now_ns < self.watch_unread_until_ns
    }

    /// Records the pause of every connection that is read again. `last_batch` has the last batch of
    /// a slot.
    pub(super) fn note_pauses(&mut self, last_batch: impl Fn(u32) -> Option<LastBatch>) {
        let mut unread = std::mem::take(&mut self.unread);
        unread.retain(|slot| !self.note_pause(*slot, || last_batch(*slot)));
        self.unread = unread;
    }

    /// Records the pause of a connection if it is over. False while it is not.
    pub(super) fn note_pause(
        &mut self,
        slot: u32,
        last_batch: impl FnOnce() -> Option<LastBatch>,
    ) -> bool {
        let Some(connection) = self.get_mut(slot) else {
            return true;
        };
        let Some(unread) = connection.unread else {
            return true;
        };
        // Asked for last: looking at the ledger of a slot that is free again would give it memory.
        let Some(last_batch) = last_batch().filter(|last| last.at_ns > unread.last_batch_ns) else {
            return false;
        };
        connection.unread = None;
        if !last_batch.is_of_probes {
            let pause_ns = last_batch.at_ns.saturating_sub(unread.since_ns);
            self.pauses.record(pause_ns);
        }
        true
    }

    /// How long connections went unread after a death, ns.
    pub(super) fn pauses(&self) -> &Histogram {
        &self.pauses
    }

    /// Every connection without its socket, in the order of [`ConnectionTable::all`].
    pub(super) fn saved(&self) -> Vec<SavedConnection> {
        let saved = |(slot, connection): (u32, &HeldConnection)| SavedConnection {
            slot,
            peer: connection.peer,
            put_at_start: connection.put_at_start,
            credited: connection.credited,
            unread: connection.unread,
        };
        self.all().map(saved).collect()
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

    /// The connections that another server has handed over, none with a worker. An error is one
    /// sentence: nothing of it is taken on trust.
    pub(super) fn restore(
        slots: u32,
        generations: &[u32],
        saved: &[SavedConnection],
        sockets: Vec<OwnedFd>,
    ) -> Result<Self, String> {
        let mut table = Self::new(slots);
        if generations.len() > slots as usize || saved.len() != sockets.len() {
            let (reserved, given) = (saved.len(), sockets.len());
            return Err(format!(
                "{reserved} saved connections and {given} sockets do not fit each other or \
                 {slots} slots"
            ));
        }
        table.generations[..generations.len()].copy_from_slice(generations);
        for (saved, socket) in saved.iter().zip(sockets) {
            let SavedConnection {
                slot,
                peer,
                put_at_start,
                credited,
                unread,
            } = *saved;
            let generation = generations
                .get(slot as usize)
                .copied()
                .filter(|generation| *generation > 0);
            let generation = generation
                .ok_or_else(|| format!("slot {slot} has a connection and no generation"))?;
            let connection = HeldConnection {
                socket,
                peer,
                generation,
                worker: None,
                put_at_start,
                credited,
                unread,
                is_cut: false,
            };
            if table.by_slot[slot as usize].replace(connection).is_some() {
                return Err(format!("slot {slot} has two connections"));
            }
        }
        table
            .free
            .retain(|slot| table.by_slot[*slot as usize].is_none());
        // Whether the other server could clear those that it has used is not known.
        let is_used = |slot: &u32| table.generations[*slot as usize] > 0;
        (table.uncleared, table.free) = table.free.iter().partition(|slot| is_used(slot));
        // Lowest last: of those that wait, it is freed last, and is the next to be given.
        table.uncleared.reverse();
        Ok(table)
    }

    /// Begins to watch the restored connections that were unread when they were saved.
    pub(super) fn watch_restored(&mut self, now_ns: u64) {
        self.unread = self
            .all()
            .filter(|(_, connection)| connection.unread.is_some())
            .map(|(slot, _)| slot)
            .collect();
        self.watch_unread(now_ns);
    }

    /// The pauses of the old server process, which go on here.
    pub(super) fn restore_pauses(&mut self, pauses: Histogram) {
        self.pauses = pauses;
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

    fn peer() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    fn free_slots(table: &mut ConnectionTable) {
        let cleared = table.free_slots(|_| Ok::<(), ()>(()));
        cleared.expect("each is cleared");
    }

    #[test]
    fn a_pause_that_outlasts_a_second_death_has_begun_with_the_first() {
        let mut table = ConnectionTable::new(1);
        let slot = table.insert(socket(), peer(), 0).unwrap();
        for since_ns in [5, 9] {
            table.set_unread(
                slot,
                Unread {
                    since_ns,
                    last_batch_ns: 4,
                },
            );
        }
        assert_eq!(
            table
                .get(slot)
                .unwrap()
                .unread
                .map(|unread| unread.since_ns),
            Some(5)
        );
        let read = |at_ns| LastBatch {
            at_ns,
            is_of_probes: false,
        };
        table.note_pauses(|_| Some(read(4)));
        assert_eq!(table.pauses().count(), 0, "it has not been read since");
        table.note_pauses(|_| Some(read(8)));
        assert_eq!(table.pauses().count(), 1);
        table.note_pauses(|_| unreachable!("none is unread any more"));
    }

    #[test]
    fn how_long_probes_wait_is_no_pause() {
        let mut table = ConnectionTable::new(1);
        let slot = table.insert(socket(), peer(), 0).unwrap();
        table.set_unread(
            slot,
            Unread {
                since_ns: 5,
                last_batch_ns: 4,
            },
        );
        table.note_pauses(|_| {
            Some(LastBatch {
                at_ns: 8,
                is_of_probes: true,
            })
        });
        assert_eq!(table.pauses().count(), 0);
        table.note_pauses(|_| unreachable!("none is unread any more"));
    }

    #[test]
    fn unread_connections_are_watched_for_a_second_and_not_once_they_are_read() {
        let mut table = ConnectionTable::new(1);
        let slot = table.insert(socket(), peer(), 0).unwrap();
        table.watch_unread(10);
        assert!(!table.watches_unread(10), "none is unread");
        table.set_unread(
            slot,
            Unread {
                since_ns: 1,
                last_batch_ns: 1,
            },
        );
        assert!(table.watches_unread(9 + UNREAD_WATCH_NS));
        assert!(!table.watches_unread(10 + UNREAD_WATCH_NS));
        table.remove(slot);
        table.note_pauses(|_| unreachable!("the ledger of a free slot is not looked at"));
        assert!(!table.watches_unread(10));
    }

    #[test]
    fn a_slot_that_cannot_be_cleared_is_given_to_no_other_connection_until_it_is() {
        let mut table = ConnectionTable::new(2);
        for slot in 0..2 {
            assert_eq!(table.insert(socket(), peer(), 0).unwrap(), slot);
        }
        table.remove(0);
        assert!(table.insert(socket(), peer(), 0).is_err(), "not cleared");
        assert_eq!(table.free_slots(Err::<(), _>), Err((0, 0)));
        assert!(table.insert(socket(), peer(), 0).is_err(), "it failed");
        // Nor by the server that replaces this one.
        let (generations, saved) = (table.generations(), table.saved());
        let mut again = ConnectionTable::restore(2, generations, &saved, vec![socket()]).unwrap();
        for table in [&mut table, &mut again] {
            assert!(table.insert(socket(), peer(), 0).is_err());
            free_slots(table);
            assert_eq!(table.insert(socket(), peer(), 0).unwrap(), 0);
        }
    }

    #[test]
    fn packets_and_reads_are_new_once() {
        let mut table = ConnectionTable::new(1);
        let slot = table.insert(socket(), peer(), 0).unwrap();
        let of = |(packets, reads)| Work { packets, reads };
        let credited = [(5, 1), (5, 1), (7, 4), (3, 9)].map(|work| table.credit(slot, of(work)));
        let new = [(5, 1), (0, 0), (2, 3), (0, 5)];
        assert_eq!(credited, new.map(|work| Some(of(work))));
        assert_eq!(table.credit(slot + 1, of((1, 1))), None);
    }

    proptest! {
        #[test]
        fn no_slot_is_given_twice_and_no_generation_comes_again(
            steps in prop::collection::vec(any::<Option<u8>>(), 0..200),
        ) {
            let mut table = ConnectionTable::new(8);
            let (mut taken, mut seen) = (Vec::new(), HashSet::new());
            for step in steps {
                match step {
                    None => match table.insert(socket(), peer(), 0) {
                        Ok(slot) => {
                            prop_assert!(!taken.contains(&slot));
                            prop_assert!(seen.insert((slot, table.get(slot).unwrap().generation)));
                            taken.push(slot);
                        }
                        Err(_) => prop_assert_eq!(taken.len(), 8),
                    },
                    Some(_) if taken.is_empty() => prop_assert!(table.remove(0).is_none()),
                    Some(pick) => {
                        let slot = taken.swap_remove(usize::from(pick) % taken.len());
                        prop_assert!(table.remove(slot).is_some());
                        free_slots(&mut table);
                    }
                }
                prop_assert_eq!(table.all().count(), taken.len());
            }
        }

        #[test]
        fn connections_that_are_handed_over_are_the_same_and_go_on_the_same(
            steps in prop::collection::vec(any::<Option<u8>>(), 0..50),
        ) {
            let mut table = ConnectionTable::new(8);
            for step in steps {
                match step {
                    None => drop(table.insert(socket(), peer(), 7)),
                    Some(slot) => drop(table.remove(u32::from(slot % 8))),
                }
                free_slots(&mut table);
            }
            let sockets = table.all().map(|_| socket()).collect();
            let (generations, saved) = (table.generations(), table.saved());
            let mut again = ConnectionTable::restore(8, generations, &saved, sockets).unwrap();
            prop_assert_eq!(again.saved(), table.saved());
            prop_assert_eq!(again.generations(), table.generations());
            free_slots(&mut again);
            while let Ok(slot) = again.insert(socket(), peer(), 0) {
                let before = table.generations.get(slot as usize).copied().unwrap();
                prop_assert_eq!(again.get(slot).unwrap().generation, before + 1);
            }
            prop_assert_eq!(again.all().count(), 8);
        }

        #[test]
        fn each_worker_has_as_many_connections_as_entries_name_it(
            steps in prop::collection::vec(
                (0..9_u32, prop::option::of(0..4_usize), any::<bool>()),
                0..100,
            ),
        ) {
            let mut table = ConnectionTable::new(8);
            for (slot, worker, is_removed) in steps {
                drop(table.insert(socket(), peer(), 0));
                table.assign(slot, worker);
                if is_removed {
                    drop(table.remove(slot));
                    free_slots(&mut table);
                }
                for worker in 0..4 {
                    prop_assert_eq!(
                        table.connections_of(worker) as usize,
                        table.slots_of(Some(worker)).len()
                    );
                }
            }
        }

        #[test]
        fn no_saved_connection_makes_a_panic(
            slots in prop::collection::vec(any::<u8>(), 0..9),
            generations in prop::collection::vec(0..2_u32, 0..9),
            sockets in 0..9_usize,
        ) {
            let saved = |slot| SavedConnection {
                slot,
                peer: peer(),
                put_at_start: 0,
                credited: Work::default(),
                unread: None,
            };
            let saved: Vec<_> = slots.iter().map(|slot| saved(u32::from(*slot))).collect();
            let sockets = (0..sockets).map(|_| socket()).collect();
            if let Ok(table) = ConnectionTable::restore(8, &generations, &saved, sockets) {
                prop_assert_eq!(table.all().count(), saved.len());
            }
        }
    }
}
