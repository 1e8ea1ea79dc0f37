//! Which runs have clients with this worker, so that a change of the load is known. Pure.

/// The runs with clients here, and how many each has; seldom more than one.
#[derive(Debug, Default)]
pub(super) struct RunsRead {
    /// A run's bits and its clients, never 0.
    clients: Vec<(u64, u32)>,
    has_changed: bool,
}

impl RunsRead {
    /// A client of this run is read from now on.
    pub(super) fn add(&mut self, run: u64) {
        match self.clients.iter_mut().find(|(known, _)| *known == run) {
            Some((_, clients)) => *clients += 1,
            None => {
                self.clients.push((run, 1));
                self.has_changed = true;
            }
        }
    }

    /// A client of this run is no longer read.
    pub(super) fn remove(&mut self, run: u64) {
        let Some(at) = self.clients.iter().position(|(known, _)| *known == run) else {
            return;
        };
        self.clients[at].1 -= 1;
        if self.clients[at].1 == 0 {
            self.clients.swap_remove(at);
            self.has_changed = true;
        }
    }

    /// Whether there is none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether a run has got its first client or lost its last one since this was last asked.
    #[inline]
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_change_is_a_run_that_comes_or_goes_and_nothing_else(
            steps in prop::collection::vec((0..4_u64, any::<bool>()), 0..100),
        ) {
            let mut runs = RunsRead::default();
            let mut clients = BTreeMap::<u64, u32>::new();
            let present = |clients: &BTreeMap<u64, u32>| -> BTreeSet<u64> {
                clients.iter().filter(|(_, clients)| **clients > 0).map(|(run, _)| *run).collect()
            };
            for (run, comes) in steps {
                let before = present(&clients);
                let count = clients.entry(run).or_default();
                if comes {
                    runs.add(run);
                    *count += 1;
                } else {
                    runs.remove(run);
                    *count = count.saturating_sub(1);
                }
                prop_assert_eq!(runs.take_change(), present(&clients) != before);
                prop_assert!(!runs.take_change());
            }
        }
    }
}
