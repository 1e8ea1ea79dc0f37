//! Places of clients in the ledger: freed by the master, taken by the workers that verify hellos.
//!
//! A client of a run that the control plane has admitted keeps its place until the run is closed:
//! no hello of it is good twice. A raw client and a client of the static run give theirs back.

use std::sync::atomic::Ordering;

use metronome_proto::run_id::RunId;

use crate::{
    ipc::slot_token,
    ledger::{ConnectionCounters, Ledger, RUNS_MAX},
};

/// The static run, which never ends and has no counters.
pub(super) const STATIC_RUN: RunId = RunId::from_bits(0);

/// Row of the static run's places; the rows of other runs follow.
pub(super) const STATIC_ROW: usize = 0;

/// Opens so many places for raw clients.
pub(super) fn set_raw_places(ledger: &Ledger, places: u32) {
    ledger
        .raw_client_limit()
        .store(u64::from(places), Ordering::Release);
}

/// Raw clients that have a place, of `max_clients` places.
pub(super) fn raw_clients(ledger: &Ledger, max_clients: u32) -> u32 {
    let places = ledger.client_table(RUNS_MAX).unwrap_or(&[]);
    places
        .iter()
        .take(max_clients as usize)
        .filter(|place| place.load(Ordering::Acquire) != 0)
        .count() as u32
}

/// Frees the place of a raw client or of a client of the static run, so that another may have it.
pub(super) fn free(
    ledger: &Ledger,
    max_clients: u32,
    (slot, generation): (u32, u32),
    connection_counters: &ConnectionCounters,
) {
    let is_static = connection_counters.is_client() && connection_counters.run == STATIC_RUN.bits();
    let row = match connection_counters {
        _ if is_static => STATIC_ROW,
        ConnectionCounters { is_raw: true, .. } => RUNS_MAX,
        // A client of a run keeps its place: ten thousand of them end within a second, so nothing
        // is searched here.
        _ => return,
    };
    let places = ledger.client_table(row).unwrap_or(&[]);
    let places = &places[..places.len().min(max_clients as usize)];
    let (places, attempt) = if is_static {
        let client = usize::from(connection_counters.client);
        (
            places.get(client..=client).unwrap_or(&[]),
            connection_counters.attempt,
        )
    } else {
        (places, 1)
    };
    let mine = slot_token(slot, generation, attempt);
    for place in places {
        // Only its own: the place of another connection has another value.
        let _ = place.compare_exchange(mine, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Dimensions;

    #[test]
    fn a_raw_client_gives_back_its_own_place_and_no_other() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let places = ledger.client_table(RUNS_MAX).unwrap();
        for (place, slot) in [(0, 5), (1, 6)] {
            places[place].store(slot_token(slot, 1, 1), Ordering::Release);
        }
        let raw = ConnectionCounters {
            is_raw: true,
            ..ConnectionCounters::default()
        };
        assert_eq!(raw_clients(&ledger, 10), 2);
        free(&ledger, 10, (5, 2), &raw);
        free(&ledger, 10, (5, 1), &ConnectionCounters::default());
        assert_eq!(raw_clients(&ledger, 10), 2, "another generation, no client");
        free(&ledger, 10, (5, 1), &raw);
        assert_eq!(raw_clients(&ledger, 10), 1);
        assert_eq!(places[1].load(Ordering::Acquire), slot_token(6, 1, 1));
    }

    #[test]
    fn a_client_of_the_static_run_gives_back_its_place() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let place = &ledger.client_table(STATIC_ROW).unwrap()[3];
        place.store(slot_token(5, 1, 9), Ordering::Release);
        let connection_counters = ConnectionCounters {
            attempt: 9,
            client: 3,
            ..ConnectionCounters::default()
        };
        let of_a_run = ConnectionCounters {
            run: 7,
            ..connection_counters
        };
        free(&ledger, 10, (5, 1), &of_a_run);
        assert_ne!(place.load(Ordering::Acquire), 0);
        free(&ledger, 10, (5, 1), &connection_counters);
        assert_eq!(place.load(Ordering::Acquire), 0);
    }
}
