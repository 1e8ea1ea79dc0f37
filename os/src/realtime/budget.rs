//! When a thread of the data plane may be a real-time one: pure arithmetic.

/// CPU share in percent above which a thread counts as spinning.
const CPU_PERCENT_MAX: usize = 90;

/// CPU that the workers of a server may take together, in percent of its cores.
const READERS_PERCENT_MAX: usize = 50;

/// Interval between two checks of the CPU time used, ns: the period over which the kernel sums it
/// up, too.
const LOOK_EVERY_NS: u64 = 1_000_000_000;

/// The same for a real-time thread whose work peers decide, ns: the longest that it can keep
/// others from its core.
const LOOK_SOON_NS: u64 = 100_000_000;

/// CPU that the reader of an agent's replies may use as a real-time thread, in percent of a core:
/// half of the one that the pacing threads leave to others.
const REPLIES_PERCENT_MAX: usize = 50;

/// CPU that the master of a server may use as a real-time thread, in percent of a core: several
/// times what it takes to replace ten dead workers a second. Peers decide how busy it is.
const SUPERVISOR_PERCENT_MAX: usize = 10;

/// CPU that the prober of an agent may use as a real-time thread, in percent of a core: ten times
/// what 50 probes a second take on a slow one.
const PROBES_PERCENT_MAX: usize = 5;

/// The real-time priority of a thread, as sched(7) numbers them: the higher one runs first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Priority {
    /// A worker, or the reader of an agent's replies or probes: what it reads has come, and waits.
    Reader = 1,
    /// A pacing thread: what it sends late is late for good.
    Pacer = 2,
}

/// What a real-time thread does: those of one kind are counted together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Work {
    /// That of a worker, or of the reader of an agent's replies.
    Reading,
    Supervising,
    Probing,
    Pacing,
}

/// When a thread may be a real-time one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CpuBudget {
    pub(super) priority: Priority,
    pub(super) work: Work,
    /// Real-time threads of its process at a time that do this work.
    pub(super) threads_max: usize,
    /// In percent of a core; a thread that uses more is no real-time thread.
    cpu_percent_max: usize,
}

impl CpuBudget {
    /// The budget of a pacing thread in a process that may use `cores` cores. To be asked by a
    /// thread that is not pinned: a pinned one counts only its own core.
    pub fn pacer(cores: usize) -> Self {
        let threads_max = cores.saturating_sub(1);
        Self {
            priority: Priority::Pacer,
            work: Work::Pacing,
            threads_max,
            cpu_percent_max: CPU_PERCENT_MAX,
        }
    }

    /// The budget of one of `workers` processes of a server that may use `cores` cores. With more
    /// workers than cores none is a real-time thread: equals wait for each other, and together they
    /// could keep a core for long. With one core none is either: the sender may share it.
    pub fn reader(cores: usize, workers: usize) -> Self {
        let threads_max = usize::from(cores > 1 && workers <= cores);
        let share = READERS_PERCENT_MAX.saturating_mul(cores) / workers.max(1);
        Self {
            priority: Priority::Reader,
            work: Work::Reading,
            threads_max,
            cpu_percent_max: share.min(CPU_PERCENT_MAX),
        }
    }

    /// The budget of the thread of a server that supervises its workers, in a process that may use
    /// `cores` cores. A worker that has died is replaced by it, before which its clients wait.
    pub fn supervisor(cores: usize) -> Self {
        Self {
            work: Work::Supervising,
            cpu_percent_max: SUPERVISOR_PERCENT_MAX,
            ..Self::replies(cores)
        }
    }

    /// The budget of a thread that reads the replies of an agent's run, in a process that may use
    /// `cores` cores: one such thread at a time, which takes nothing from what pacing threads may
    /// be granted and comes behind them. With one core it is none: no pacing thread is one either.
    pub fn replies(cores: usize) -> Self {
        Self {
            priority: Priority::Reader,
            work: Work::Reading,
            threads_max: usize::from(cores > 1),
            cpu_percent_max: REPLIES_PERCENT_MAX,
        }
    }

    /// The budget of a thread that probes the path of an agent's run, in a process that may use
    /// `cores` cores: one such thread at a time, beside a reader of replies.
    pub fn probes(cores: usize) -> Self {
        Self {
            work: Work::Probing,
            cpu_percent_max: PROBES_PERCENT_MAX,
            ..Self::replies(cores)
        }
    }

    /// Whether a real-time thread that has used so much CPU in so much time stays one.
    pub(super) fn may_stay(self, cpu_ns: u64, elapsed_ns: u64) -> bool {
        u128::from(cpu_ns) * 100 <= u128::from(elapsed_ns) * self.cpu_percent_max as u128
    }

    /// Whether an ordinary thread becomes one: with a third less, so that none goes to and fro.
    pub(super) fn may_become(self, cpu_ns: u64, elapsed_ns: u64) -> bool {
        u128::from(cpu_ns) * 150 <= u128::from(elapsed_ns) * self.cpu_percent_max as u128
    }

    /// How long after the last look the next is due, ns. A pacing thread has a schedule that it can
    /// keep or not: over a short time it may be busy all the same, and must not be late for that.
    pub(super) fn look_every_ns(self, is_real_time: bool) -> u64 {
        if self.priority == Priority::Reader && is_real_time {
            LOOK_SOON_NS
        } else {
            LOOK_EVERY_NS
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pacing_thread_sleeps_a_tenth_of_the_time_and_leaves_a_core() {
        let pacer = CpuBudget::pacer(2);
        assert!(pacer.may_stay(0, 0) && pacer.may_stay(90, 100) && !pacer.may_stay(91, 100));
        assert!(pacer.may_become(60, 100) && !pacer.may_become(61, 100));
        assert!(!pacer.may_stay(u64::MAX, u64::MAX) && pacer.may_become(0, u64::MAX));
        assert_eq!(
            [0, 1, 2, 8].map(|cores| CpuBudget::pacer(cores).threads_max),
            [0, 0, 1, 7]
        );
    }

    #[test]
    fn a_worker_has_its_share_of_half_of_the_cores_and_a_tenth_of_its_own_is_slept() {
        for (cores, workers, threads_max, percent) in [
            (2, 1, 1, 90),
            (2, 2, 1, 50),
            (8, 8, 1, 50),
            (8, 5, 1, 80),
            (8, 4, 1, 90),
            (2, 3, 0, 33),
            (1, 1, 0, 50),
        ] {
            let reader = CpuBudget::reader(cores, workers);
            assert_eq!(
                (reader.threads_max, reader.cpu_percent_max),
                (threads_max, percent),
                "{workers} on {cores}"
            );
        }
    }

    #[test]
    fn a_reader_of_replies_has_half_a_core_and_is_none_where_there_is_only_one() {
        let threads_max = [0, 1, 2, 8].map(|cores| CpuBudget::replies(cores).threads_max);
        assert_eq!(threads_max, [0, 0, 1, 1]);
        let replies = CpuBudget::replies(2);
        assert!(replies.may_stay(50, 100) && !replies.may_stay(51, 100));
        assert!(Priority::Pacer as u8 > replies.priority as u8);
    }

    #[test]
    fn a_prober_has_little_of_a_core_and_takes_no_place_of_a_reader_of_replies() {
        let [probes, replies] = [CpuBudget::probes(2), CpuBudget::replies(2)];
        assert!(probes.may_stay(5, 100) && !probes.may_stay(6, 100));
        assert_ne!(probes.work, replies.work);
        assert_eq!(
            [1, 2, 8].map(|cores| CpuBudget::probes(cores).threads_max),
            [0, 1, 1]
        );
    }

    #[test]
    fn a_supervisor_is_one_while_nobody_keeps_it_busy() {
        let supervisor = CpuBudget::supervisor(2);
        assert!(supervisor.may_stay(10, 100) && !supervisor.may_stay(11, 100));
        assert_eq!(supervisor.look_every_ns(true), LOOK_SOON_NS);
        assert_eq!(
            [1, 2].map(|cores| CpuBudget::supervisor(cores).threads_max),
            [0, 1]
        );
    }

    proptest! {
        #[test]
        fn workers_together_take_half_of_the_cores_at_most(
            cores in 0..300_usize,
            workers in 0..300_usize,
        ) {
            let reader = CpuBudget::reader(cores, workers);
            prop_assert!(reader.threads_max * workers * reader.cpu_percent_max <= 50 * cores);
        }

        #[test]
        fn a_thread_that_becomes_one_may_stay_one(
            cores in 0..300_usize,
            workers in 0..300_usize,
            cpu_ns: u64,
            elapsed_ns: u64,
        ) {
            for budget in [
                CpuBudget::pacer(cores),
                CpuBudget::reader(cores, workers),
                CpuBudget::replies(cores),
                CpuBudget::supervisor(cores),
            ] {
                let becomes = budget.may_become(cpu_ns, elapsed_ns);
                prop_assert!(!becomes || budget.may_stay(cpu_ns, elapsed_ns));
            }
        }
    }
}
