//! Real-time priority for threads of the data plane, and giving it back when a thread sleeps too
//! little.
//!
//! A thread that shares its core with others wakes when the scheduler lets it: at worst
//! milliseconds late. A real-time thread (SCHED_RR, the two lowest priorities) wakes at once. Where
//! an agent and a server share a host, [`Priority`] decides which of their threads comes first.
//! Root has the right to real-time threads, and so has a process with CAP_SYS_NICE or
//! LimitRTPRIO=2; others get nice -10, or nothing.
//!
//! Real-time threads that hardly sleep keep every other thread from their cores, and older kernels
//! take the cores from them for 50 ms of every second (sched(7)). A [`CpuBudget`] prevents that:
//! the pacing threads of a process, all runs together, leave one core to others, and each is a
//! real-time thread only while it sleeps a tenth of the time; the thread of a server that replaces
//! workers is one only while it takes a tenth of a core; each worker of a server is one only
//! while it takes no more than its share of half of the cores, the reader of an agent's replies
//! only while it takes half of a core at most, and its prober a twentieth. Absent on purpose: what
//! an agent and a server on one host take together. No process sees both; the kernel reserves 5 %
//! for other threads.

mod budget;
mod granted;

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use rustix::process::setpriority_process;
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use self::budget::Work;
pub use self::{
    budget::{CpuBudget, Priority},
    granted::Granted,
};
use crate::clock::{now_ns, thread_cpu_ns};

/// The nice value of threads without real-time priority.
const NICE: i32 = -10;

/// Long enough for a thread to leave its core: a sleep of some ns is over before that.
const A_WAIT: Duration = Duration::from_micros(50);

/// In the library's scale of 0 to 99, nice 0.
const NICE_0: u8 = 49;

/// Real-time threads of this process, by their work.
static REAL_TIME_THREADS: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// The calling thread's real-time priority. Belongs to the thread that made it.
#[derive(Debug)]
pub struct Realtime {
    /// `None`: no priority is wanted.
    budget: Option<CpuBudget>,
    is_real_time: bool,
    /// Whether it has given it back or taken it later than at first.
    has_changed: bool,
    looked_ns: u64,
    cpu_ns: u64,
}

impl Realtime {
    /// Takes the priority that the budget allows and the system grants.
    pub fn take(budget: CpuBudget) -> Self {
        raise_nice();
        let (looked_ns, cpu_ns) = (now_ns(), thread_cpu_ns());
        let mut realtime = Self {
            budget: Some(budget),
            is_real_time: false,
            has_changed: false,
            looked_ns,
            cpu_ns,
        };
        realtime.become_real_time(budget);
        realtime
    }

    /// For a thread that wants no priority.
    pub fn none() -> Self {
        Self {
            budget: None,
            is_real_time: false,
            has_changed: false,
            looked_ns: 0,
            cpu_ns: 0,
        }
    }

    /// Gives it back when the thread sleeps too little, and takes it again when it does not. To be
    /// called often, with CLOCK_MONOTONIC in ns; it costs a comparison, and now and then a system
    /// call.
    #[inline]
    pub fn review(&mut self, now_ns: u64) {
        if let Some(budget) = self.budget
            && now_ns.saturating_sub(self.looked_ns) >= budget.look_every_ns(self.is_real_time)
        {
            self.look(budget, now_ns);
        }
    }

    /// Whether the thread is a real-time one now.
    pub fn is_real_time(&self) -> bool {
        self.is_real_time
    }

    /// Whether it has not been the same since it was taken.
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    fn look(&mut self, budget: CpuBudget, now_ns: u64) {
        let cpu_ns = thread_cpu_ns();
        let was_real_time = self.is_real_time;
        let (used_ns, elapsed_ns) = (
            cpu_ns.saturating_sub(self.cpu_ns),
            now_ns.saturating_sub(self.looked_ns),
        );
        if self.is_real_time && !budget.may_stay(used_ns, elapsed_ns) {
            become_normal();
            self.is_real_time = give_back(budget.work);
        } else if !self.is_real_time && budget.may_become(used_ns, elapsed_ns) {
            self.become_real_time(budget);
        }
        self.has_changed |= self.is_real_time != was_real_time;
        (self.looked_ns, self.cpu_ns) = (now_ns, cpu_ns);
    }

    fn become_real_time(&mut self, budget: CpuBudget) {
        self.is_real_time =
            reserve(budget) && (become_real_time(budget.priority) || give_back(budget.work));
    }
}

impl Drop for Realtime {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.filter(|_| self.is_real_time) {
            become_normal();
            self.is_real_time = give_back(budget.work);
        }
    }
}

/// Cores that the calling thread may use. To be asked by one that is not kept on one of them.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Makes the calling thread an ordinary one of nice 0, and so what it starts, whatever it has from
/// the thread that started it.
pub fn be_ordinary() {
    become_normal();
    // To leave is always granted.
    if rustix::process::getpriority_process(None).is_ok_and(|nice| nice < 0) {
        let _ = setpriority_process(None, 0);
    }
}

/// Lets the calling thread run before most others when both want a core, with nice -10. It may be
/// real-time all the same.
pub fn raise_nice() {
    // For Linux "this process" is the calling thread. Not granted to everyone; lateness shows when
    // it would have been needed.
    let _ = setpriority_process(None, NICE);
}

/// The real-time threads that do this work.
fn that_do(work: Work) -> &'static AtomicUsize {
    &REAL_TIME_THREADS[work as usize]
}

/// Counts one real-time thread more, if there may be one.
fn reserve(budget: CpuBudget) -> bool {
    that_do(budget.work)
        .fetch_update(Relaxed, Relaxed, |threads| {
            (threads < budget.threads_max).then_some(threads + 1)
        })
        .is_ok()
}

/// Counts one real-time thread less. Always false: the caller is none now.
fn give_back(work: Work) -> bool {
    that_do(work).fetch_sub(1, Relaxed);
    false
}

/// Takes the lower priorities where the limit (RLIMIT_RTPRIO) grants no more.
fn become_real_time(priority: Priority) -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let is_granted = |priority: u8| {
        let priority = priority
            .try_into()
            .map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
        set_thread_priority_and_policy(thread_native_id(), priority, policy).is_ok()
    };
    let is_real_time = (Priority::Reader as u8..=priority as u8)
        .rev()
        .any(is_granted);
    if is_real_time && priority == Priority::Reader {
        // RLIMIT_RTTIME, which a worker has, counts from the last wait as a real-time thread, be it
        // of long ago.
        thread::sleep(A_WAIT);
    }
    is_real_time
}

fn become_normal() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    // To leave is always granted.
    let nice_0 = NICE_0
        .try_into()
        .map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
    let _ = set_thread_priority_and_policy(thread_native_id(), nice_0, policy);
    raise_nice();
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use thread_priority::{thread_schedule_policy, thread_schedule_policy_param};

    use super::*;

    /// With room for as many real-time threads as all tests of this process want.
    fn roomy(priority: Priority) -> CpuBudget {
        let mut budget = if priority == Priority::Pacer {
            CpuBudget::pacer(64)
        } else {
            CpuBudget::reader(64, 1)
        };
        budget.threads_max = 64;
        budget
    }

    #[test]
    fn a_thread_that_spins_is_an_ordinary_one_again() {
        for priority in [Priority::Reader, Priority::Pacer] {
            let spun = thread::spawn(move || {
                let mut realtime = Realtime::take(roomy(priority));
                while realtime.is_real_time() {
                    realtime.review(now_ns());
                }
                thread_schedule_policy()
            });
            let policy = spun.join().unwrap();
            assert_eq!(
                policy,
                Ok(ThreadSchedulePolicy::Normal(
                    NormalThreadSchedulePolicy::Other
                ))
            );
        }
    }

    #[test]
    fn a_pacing_thread_comes_before_a_worker() {
        let granted = |priority| {
            let taken = move || {
                let _realtime = Realtime::take(roomy(priority));
                thread_schedule_policy_param(thread_native_id())
                    .unwrap()
                    .1
                    .sched_priority
            };
            thread::spawn(taken).join().unwrap()
        };
        let (reader, pacer) = (granted(Priority::Reader), granted(Priority::Pacer));
        // Where both are granted, one of them, none.
        assert!(
            [(1, 2), (1, 1), (0, 0)].contains(&(reader, pacer)),
            "{reader} {pacer}"
        );
    }

    #[test]
    fn a_prober_is_granted_it_beside_a_reader() {
        let granted = thread::spawn(|| {
            let reader = Realtime::take(roomy(Priority::Reader));
            let prober = thread::spawn(|| Realtime::take(CpuBudget::probes(2)).is_real_time());
            (reader.is_real_time(), prober.join().unwrap())
        });
        let (reader, prober) = granted.join().unwrap();
        assert_eq!(reader, prober);
    }

    #[test]
    fn a_thread_that_is_to_be_ordinary_is_whatever_started_it() {
        let granted = thread::spawn(|| {
            let _realtime = Realtime::take(roomy(Priority::Reader));
            let ordinary = || {
                be_ordinary();
                // What it starts has what it has.
                thread::spawn(|| Granted::of(None)).join().unwrap()
            };
            thread::spawn(ordinary).join().unwrap()
        });
        assert_eq!(granted.join().unwrap(), Some(Granted::Ordinary));
    }

    #[test]
    fn a_thread_that_gives_it_back_is_an_ordinary_thread() {
        let policy = thread::spawn(|| {
            drop(Realtime::take(roomy(Priority::Reader)));
            thread_schedule_policy()
        });
        assert_eq!(
            policy.join().unwrap(),
            Ok(ThreadSchedulePolicy::Normal(
                NormalThreadSchedulePolicy::Other
            ))
        );
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
                Realtime::take(roomy(Priority::Pacer)).is_real_time()
            });
            thread.join().unwrap()
        };
        let allowed = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core));
        assert_eq!(granted(first), granted(None));
        let refused = thread::spawn(|| Realtime::take(CpuBudget::pacer(1)).is_real_time());
        assert!(!refused.join().unwrap(), "the only core is left to others");
    }

    #[test]
    fn a_worker_that_never_waits_is_not_ended_for_the_sum_of_its_real_time_spells() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "realtime::tests::child_that_never_waits",
            ])
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        assert!(
            String::from_utf8_lossy(&child.stdout).contains("1 passed"),
            "{child:?}"
        );
    }

    #[test]
    #[ignore = "sets a limit of its process: the test above starts it as one"]
    fn child_that_never_waits() {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let limit = Some(200_000);
        setrlimit(
            Resource::Rttime,
            Rlimit {
                current: limit,
                maximum: limit,
            },
        )
        .unwrap();
        for _ in 0..8 {
            let realtime = Realtime::take(roomy(Priority::Reader));
            let until_ns = now_ns() + 50_000_000;
            while now_ns() < until_ns {}
            drop(realtime);
        }
    }

    #[test]
    fn a_thread_that_sleeps_keeps_it() {
        for priority in [Priority::Reader, Priority::Pacer] {
            let slept = thread::spawn(move || {
                let mut realtime = Realtime::take(roomy(priority));
                let had_it = realtime.is_real_time();
                for _ in 0..2 {
                    thread::sleep(Duration::from_secs(1));
                    realtime.review(now_ns());
                }
                realtime.is_real_time() == had_it
            });
            assert!(slept.join().unwrap());
        }
    }
}
