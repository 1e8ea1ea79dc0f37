//! What has changed of the workers between two readings of the master. Pure.

use std::collections::BTreeMap;

use metronome_proto::v1::{WorkerChange, WorkerChanged};

use crate::model::WorkerStatus;

/// The workers as they were read last, by number.
#[derive(Debug, Default)]
pub(super) struct Workers(BTreeMap<u32, WorkerStatus>);

impl Workers {
    /// What has changed since the reading before.
    pub(super) fn take(&mut self, now: &[WorkerStatus]) -> Vec<WorkerChanged> {
        let changed = now.iter().filter_map(|worker| {
            let before = self.0.insert(worker.count.worker, *worker);
            Some(WorkerChanged {
                change: change(before.as_ref(), worker)?.into(),
                worker: Some(worker.to_proto()),
            })
        });
        changed.collect()
    }
}

fn change(before: Option<&WorkerStatus>, now: &WorkerStatus) -> Option<WorkerChange> {
    let has_process = now.count.pid > 0;
    let Some(before) = before else {
        return has_process.then_some(WorkerChange::Started);
    };
    if now.deaths > before.deaths {
        Some(WorkerChange::Died)
    } else if now.count.pid == before.count.pid {
        None
    } else if before.count.pid == 0 {
        Some(WorkerChange::Started)
    } else {
        // One that was asked to quit: the other process starts, or is there.
        has_process.then_some(WorkerChange::Replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkerTotals;

    fn worker(pid: u32, deaths: u64) -> WorkerStatus {
        WorkerStatus {
            count: WorkerTotals {
                pid,
                ..WorkerTotals::default()
            },
            connections: 0,
            is_real_time: false,
            deaths,
        }
    }

    #[test]
    fn a_process_that_began_died_or_was_replaced_is_one_change() {
        use WorkerChange as C;
        let mut workers = Workers::default();
        for (pid, deaths, expected) in [
            (0, 0, None),
            (7, 0, Some(C::Started)),
            (7, 0, None),
            (0, 1, Some(C::Died)),
            (0, 1, None),
            (8, 1, Some(C::Started)),
            // Dead and there again between two readings.
            (9, 2, Some(C::Died)),
            (10, 2, Some(C::Replaced)),
            // Asked to quit, and not there again yet.
            (0, 2, None),
            (11, 2, Some(C::Started)),
        ] {
            let changed = workers.take(&[worker(pid, deaths)]);
            let changes: Vec<_> = changed.iter().map(WorkerChanged::change).collect();
            assert_eq!(changes, Vec::from_iter(expected), "{pid} {deaths}");
            assert!(changed.iter().all(|of| of.worker.unwrap().pid == pid));
        }
    }
}
