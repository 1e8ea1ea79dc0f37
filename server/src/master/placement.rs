//! Which worker gets a connection: the one that serves with the fewest, the first of equals.

/// A worker as placement sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// It runs and takes connections.
    pub(super) serves: bool,
    pub(super) connections: u32,
}

/// The index of the worker to choose. `None` when none serves.
pub(super) fn choose(workers: impl IntoIterator<Item = Candidate>) -> Option<usize> {
    let serving = workers.into_iter().enumerate().filter(|(_, worker)| worker.serves);
    serving.min_by_key(|(index, worker)| (worker.connections, *index)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_of_connections_is_spread_to_within_one(workers in 1..20_usize, connections in 0..200_usize) {
            let mut load = vec![0_u32; workers];
            for _ in 0..connections {
                let chosen = choose(load.iter().map(|&connections| Candidate { serves: true, connections })).unwrap();
                load[chosen] += 1;
            }
            prop_assert!(load.iter().max().unwrap() - load.iter().min().unwrap() <= 1);
        }

        #[test]
        fn only_a_worker_that_serves_is_chosen(workers in prop::collection::vec((any::<bool>(), 0..9_u32), 0..20)) {
            let candidates = || workers.iter().map(|&(serves, connections)| Candidate { serves, connections });
            match choose(candidates()) {
                Some(chosen) => {
                    prop_assert!(workers[chosen].0);
                    let fewest = workers.iter().filter(|worker| worker.0).map(|worker| worker.1).min();
                    prop_assert_eq!(Some(workers[chosen].1), fewest);
                }
                None => prop_assert!(workers.iter().all(|worker| !worker.0)),
            }
        }
    }
}
