//! Which worker gets a connection: the one that serves with the fewest, the first of equals; and
//! which has more than its share.
//!
//! A worker that is still starting has the fewest and would be the first: whatever it was given
//! would wait until it has started. So it gets no connection whose packets wait already, unless no
//! other worker can. New connections have time, and are spread over all. What went to others while
//! a worker was away comes back when it reads at once: otherwise each restart would leave one idle.
//! A worker in a crash loop is no such worker: each of its deaths is a pause of all that it reads.

/// A worker as placement sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Its process takes connections …
    pub(super) serves: bool,
    /// … and reads them soon enough, for all that is known: one in a crash loop does not.
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

/// How many connections each worker has beyond its share, which is the same for all that read at
/// once, rounded up.
pub(super) fn surplus(workers: impl IntoIterator<Item = Candidate>) -> Vec<u32> {
    let workers: Vec<Candidate> = workers.into_iter().collect();
    let reads = |worker: &&Candidate| worker.serves && worker.is_ready;
    let readers = workers.iter().filter(reads).count() as u32;
    let connections: u32 = workers.iter().filter(reads).map(|it| it.connections).sum();
    let share = connections.div_ceil(readers.max(1));
    let beyond = |worker: &Candidate| match reads(&worker) {
        true => worker.connections.saturating_sub(share),
        false => 0,
    };
    workers.iter().map(beyond).collect()
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
        fn what_is_beyond_the_share_evens_out_and_is_none_where_all_is_even(
            load in prop::collection::vec((any::<bool>(), 0..300_u32), 1..20),
        ) {
            let candidates = |load: &[(bool, u32)]| -> Vec<Candidate> {
                let candidate = |&(is_ready, connections): &(bool, u32)| Candidate {
                    serves: true,
                    is_ready,
                    connections,
                };
                load.iter().map(candidate).collect()
            };
            let beyond = surplus(candidates(&load));
            let mut spread = load.clone();
            for (worker, beyond) in beyond.iter().enumerate() {
                prop_assert!(load[worker].0 || *beyond == 0);
                for _ in 0..*beyond {
                    spread[worker].1 -= 1;
                    let chosen = choose(candidates(&spread)).unwrap();
                    spread[chosen].1 += 1;
                }
            }
            prop_assert!(surplus(candidates(&spread)).iter().all(|beyond| *beyond == 0));
            let of_ready = || spread.iter().filter(|it| it.0).map(|it| it.1);
            let share = of_ready().sum::<u32>().div_ceil((of_ready().count() as u32).max(1));
            prop_assert!(of_ready().all(|connections| connections <= share));
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
