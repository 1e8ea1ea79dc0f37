//! Which worker gets a connection: the one that serves with the fewest, the first of equals.
//!
//! A worker that is still starting has the fewest and would be the first: whatever it was given
//! would wait until it has started. So it gets no connection whose packets wait already, unless no
//! other worker can. New connections have time, and are spread over all: none is moved later on.

/// A worker as placement sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Its process takes connections …
    pub(super) serves: bool,
    /// … and reads them soon enough.
    pub(super) is_ready: bool,
    pub(super) connections: u32,
}

/// The index of the worker to choose. `None` when none serves.
pub(super) fn choose(workers: impl IntoIterator<Item = Candidate>) -> Option<usize> {
    let serving = workers
        .into_iter()
        .enumerate()
        .filter(|(_, worker)| worker.serves);
    serving
        .min_by_key(|(index, worker)| (!worker.is_ready, worker.connections, *index))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_of_connections_is_spread_to_within_one(
            workers in 1..20_usize,
            connections in 0..200_usize,
        ) {
            let mut load = vec![0_u32; workers];
            for _ in 0..connections {
                let candidates = load.iter().map(|&connections| Candidate {
                    serves: true,
                    is_ready: true,
                    connections,
                });
                let chosen = choose(candidates).unwrap();
                load[chosen] += 1;
            }
            prop_assert!(load.iter().max().unwrap() - load.iter().min().unwrap() <= 1);
        }

        #[test]
        fn one_that_reads_at_once_is_chosen_before_one_that_starts_and_none_that_does_not_serve(
            workers in prop::collection::vec((any::<bool>(), any::<bool>(), 0..9_u32), 0..20),
        ) {
            let workers: Vec<Candidate> = workers
                .into_iter()
                .map(|(serves, is_ready, connections)| Candidate { serves, is_ready, connections })
                .collect();
            let is_better = |than: &Candidate, worker: &Candidate| {
                let rank = |worker: &Candidate| (!worker.is_ready, worker.connections);
                worker.serves && rank(worker) < rank(than)
            };
            match choose(workers.iter().copied()) {
                Some(chosen) => {
                    prop_assert!(workers[chosen].serves);
                    prop_assert!(!workers.iter().any(|worker| is_better(&workers[chosen], worker)));
                }
                None => prop_assert!(workers.iter().all(|worker| !worker.serves)),
            }
        }
    }
}
