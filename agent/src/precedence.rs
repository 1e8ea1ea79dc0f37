//! How a pacing thread gets a core as soon as it wants one, and when it gives that right back.
//!
//! A thread that shares its core with others, the server's workers for one, wakes when the scheduler
//! lets it: milliseconds late at the worst. As a real-time thread (SCHED_RR, lowest priority) it wakes
//! at once. Root has that right, and whoever has CAP_SYS_NICE or LimitRTPRIO=1; for others nice -10,
//! the seed's value, has to do, or nothing.
//!
//! A real-time thread that never sleeps keeps everybody else from its core, and older kernels take
//! the core from it for 50 ms of every second (sched(7)). So it is one only where the real-time threads
//! of this process, all runs together, leave a core to others, and only while it sleeps at least a
//! tenth of the time.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::clock;

/// Between two looks at how much CPU the thread has used, ns: the period over which the kernel, too,
/// takes the sum.
const LOOK_EVERY_NS: u64 = 1_000_000_000;

/// A thread that used more of the time since the last look than this, in hundredths, is no longer
/// one that sleeps.
const CPU_PERCENT_MAX: u64 = 90;

/// In the library's scale of 0 to 99, nice 0.
const NICE_0: u8 = 49;

/// Real-time threads of this process.
static REAL_TIME_THREADS: AtomicUsize = AtomicUsize::new(0);

/// The calling thread's right to a core. Of one thread: made and used by it.
#[derive(Debug)]
pub(crate) struct Precedence {
    is_wanted: bool,
    is_real_time: bool,
    /// Of the process. A thread that is kept on one core sees no other.
    cores: usize,
    looked_ns: u64,
    cpu_ns: u64,
}

impl Precedence {
    /// Takes what the system grants to a thread of a process that has so many cores.
    pub(crate) fn take(cores: usize) -> Self {
        clock::run_first();
        let is_real_time = reserve(cores) && (become_real_time() || give_back());
        Self { is_wanted: true, is_real_time, cores, looked_ns: clock::now_ns(), cpu_ns: clock::thread_cpu_ns() }
    }

    /// Of a thread that wants none.
    pub(crate) fn none() -> Self {
        Self { is_wanted: false, is_real_time: false, cores: 0, looked_ns: 0, cpu_ns: 0 }
    }

    /// Gives it back when the thread hardly sleeps any more, and takes it again when it does. To be
    /// called often; it costs a comparison, and once a second a system call.
    #[inline]
    pub(crate) fn review(&mut self, now_ns: u64) {
        if self.is_wanted && now_ns.saturating_sub(self.looked_ns) >= LOOK_EVERY_NS {
            self.look(now_ns);
        }
    }

    /// Whether the thread is a real-time one now.
    pub(crate) fn is_real_time(&self) -> bool {
        self.is_real_time
    }

    fn look(&mut self, now_ns: u64) {
        let cpu_ns = clock::thread_cpu_ns();
        let hardly_sleeps = hardly_sleeps(cpu_ns.saturating_sub(self.cpu_ns), now_ns.saturating_sub(self.looked_ns));
        if self.is_real_time && hardly_sleeps {
            become_normal();
            self.is_real_time = give_back();
        } else if !self.is_real_time && !hardly_sleeps {
            self.is_real_time = reserve(self.cores) && (become_real_time() || give_back());
        }
        (self.looked_ns, self.cpu_ns) = (now_ns, cpu_ns);
    }
}

impl Drop for Precedence {
    /// Of a thread that has ended.
    fn drop(&mut self) {
        if self.is_real_time {
            self.is_real_time = give_back();
        }
    }
}

/// Cores that the calling thread may use. To be asked by one that is not kept on one of them.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Whether one more leaves one of so many cores to others; it is counted then.
fn reserve(cores: usize) -> bool {
    REAL_TIME_THREADS.fetch_update(Relaxed, Relaxed, |threads| (threads + 1 < cores).then_some(threads + 1)).is_ok()
}

/// One less is counted. Always false: no real-time thread.
fn give_back() -> bool {
    REAL_TIME_THREADS.fetch_sub(1, Relaxed);
    false
}

fn hardly_sleeps(cpu_ns: u64, elapsed_ns: u64) -> bool {
    u128::from(cpu_ns) * 100 > u128::from(elapsed_ns) * u128::from(CPU_PERCENT_MAX)
}

fn become_real_time() -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).is_ok()
}

fn become_normal() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    // To leave is always granted.
    let nice_0 = NICE_0.try_into().map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
    let _ = set_thread_priority_and_policy(thread_native_id(), nice_0, policy);
    clock::run_first();
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use thread_priority::thread_schedule_policy;

    use super::*;

    #[test]
    fn a_tenth_of_the_time_has_to_be_slept() {
        assert!(!hardly_sleeps(0, 0) && !hardly_sleeps(90, 100) && hardly_sleeps(91, 100));
        assert!(hardly_sleeps(u64::MAX, u64::MAX) && !hardly_sleeps(0, u64::MAX));
    }

    #[test]
    fn a_thread_that_spins_is_an_ordinary_one_again() {
        let spun = thread::spawn(|| {
            let mut precedence = Precedence::take(cores());
            let began_as_real_time = precedence.is_real_time();
            while precedence.is_real_time() {
                precedence.review(clock::now_ns());
            }
            (began_as_real_time, thread_schedule_policy())
        });
        let (_, policy) = spun.join().unwrap();
        assert_eq!(policy, Ok(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other)));
    }

    #[test]
    fn a_thread_that_is_kept_on_a_core_is_granted_it_by_the_cores_of_its_process() {
        let granted = |on_core: Option<usize>| {
            let thread = thread::spawn(move || {
                if let Some(core) = on_core {
                    let mut only = CpuSet::new();
                    only.set(core);
                    sched_setaffinity(None, &only).unwrap();
                }
                // Of as many cores as no test of this process takes.
                Precedence::take(64).is_real_time()
            });
            thread.join().unwrap()
        };
        let allowed = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core));
        assert_eq!(granted(first), granted(None));
        let refused = thread::spawn(|| Precedence::take(1).is_real_time());
        assert!(!refused.join().unwrap(), "the only core is left to others");
    }

    #[test]
    fn a_thread_that_sleeps_keeps_it() {
        let slept = thread::spawn(|| {
            let mut precedence = Precedence::take(cores());
            let had_it = precedence.is_real_time();
            for _ in 0..2 {
                clock::sleep_until(clock::now_ns() + LOOK_EVERY_NS);
                precedence.review(clock::now_ns());
            }
            // Another test of this process may have had the only place at first.
            !had_it || precedence.is_real_time()
        });
        assert!(slept.join().unwrap());
    }
}
