//! Which cores the pinned pacing threads of this process have: each one of its own, whatever run it
//! is of.
//!
//! Absent on purpose: other processes. Two agents on one host that both pin take the same cores;
//! `taskset` gives each its share, and only cores of that share are taken.
//!
//! [`allowed`] is how many there are to begin with.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use rustix::{
    process::getpid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Cores on which the first thread of this process may run, whatever quota there is besides. `None`
/// where the kernel does not report it.
pub fn allowed() -> Option<u32> {
    let allowed = sched_getaffinity(Some(getpid())).ok()?;
    Some(allowed.count())
}

static TAKEN: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// A core that no other pinned thread of this process has, until this is dropped.
#[derive(Debug)]
pub struct OwnCore(usize);

impl OwnCore {
    /// Keeps the calling thread on the lowest core that is free among those it may use. `None`:
    /// there is none, or the system does not grant it; the scheduler decides then, as for a thread
    /// that is not pinned.
    pub fn take() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let core =
            (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core) && !taken.contains(core))?;
        let mut own = CpuSet::new();
        own.set(core);
        sched_setaffinity(None, &own).ok()?;
        taken.insert(core);
        Some(Self(core))
    }
}

impl Drop for OwnCore {
    /// Frees the core of a thread that has ended.
    fn drop(&mut self) {
        TAKEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Barrier, thread};

    use super::*;

    #[test]
    fn the_cores_that_are_allowed_are_those_of_the_kernel_s_own_list() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let list = status
            .lines()
            .find_map(|it| it.strip_prefix("Cpus_allowed_list:"));
        let count = |range: &str| -> u32 {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            last.parse::<u32>().unwrap() - first.parse::<u32>().unwrap() + 1
        };
        let cores = list.unwrap().trim().split(',').map(count).sum();
        assert_eq!(allowed(), Some(cores));
    }

    #[test]
    fn no_two_threads_have_one_core_and_a_core_is_free_again_after_its_thread() {
        let allowed = sched_getaffinity(None).unwrap();
        let cores = (0..CpuSet::MAX_CPU)
            .filter(|core| allowed.is_set(*core))
            .count();
        for _ in 0..2 {
            let all_have = Barrier::new(cores + 1);
            let own: Vec<Option<usize>> = thread::scope(|scope| {
                let take = || {
                    let core = OwnCore::take();
                    all_have.wait();
                    core.as_ref().map(|core| core.0)
                };
                let threads: Vec<_> = (0..=cores).map(|_| scope.spawn(take)).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            });
            let distinct: BTreeSet<_> = own.iter().flatten().collect();
            assert_eq!(distinct.len(), cores, "{own:?}");
            assert_eq!(
                own.iter().filter(|core| core.is_none()).count(),
                1,
                "one thread more than cores"
            );
        }
    }
}
