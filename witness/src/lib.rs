//! What a process sees of itself and its host while a run goes on: whether it ran at all, how long
//! its threads waited for a core, and what the hypervisor, the control group and the wall clock
//! did.
//!
//! A [`Witness`] is one thread of ordinary priority. It sleeps 10 ms at a time and notes how late
//! it woke; once a second it reads the figures of /proc and makes a [`v1::HostPoint`] of what has
//! happened since. [`SocketLooks`] is what it sees of its sockets. It judges nothing. A figure that
//! the host does not have is unset.
//!
//! [`v1::HostPoint`]: metronome_proto::v1::HostPoint

mod companion;
mod host_counters;
mod idle_timer;
mod points;
mod socket_looks;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use metronome_os::clock;
use metronome_proto::v1;

pub use self::{
    companion::Companion,
    socket_looks::{SOCKETS_MAX, SocketLooks},
};
use self::{host_counters::HostCounters, idle_timer::IdleTimer, points::Points};

/// How long a point is, as long as the process runs, ns.
const POINT_NS: u64 = 1_000_000_000;

/// The thread that watches. It ends when this is dropped, within 10 ms.
#[derive(Debug)]
pub struct Witness {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    companions: Mutex<Vec<Companion>>,
    points: Mutex<Points>,
}

impl Witness {
    /// Begins to watch, this process and others. One that is not named here is in no point before
    /// the second one that it is there for: what it did before is not known.
    ///
    /// # Errors
    /// The system gives this process no thread.
    pub fn begin(companions: Vec<Companion>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            companions: Mutex::new(companions),
            ..Shared::default()
        });
        let watching = Arc::clone(&shared);
        // Here, so that what is given later is compared with what was given now.
        let before = shared.read();
        let thread = thread::Builder::new()
            .name("witness".into())
            .spawn(move || watching.watch(before))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Which other processes are watched from the next point on, and how long each was away.
    pub fn accompany(&self, companions: Vec<Companion>) {
        *lock(&self.shared.companions) = companions;
    }

    /// The points since this was asked last. `from_ns` counts from `start_ns` of CLOCK_MONOTONIC.
    #[must_use]
    pub fn take(&self, start_ns: u64) -> Vec<v1::HostPoint> {
        lock(&self.shared.points).take(start_ns)
    }

    /// Ends the watch. The points since they were asked for last, the one that was not full
    /// included.
    #[must_use]
    pub fn finish(mut self, start_ns: u64) -> Vec<v1::HostPoint> {
        self.end();
        self.take(start_ns)
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did its last point would be missing and no more.
            let _ = thread.join();
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn watch(&self, mut before: HostCounters) {
        let mut timer = IdleTimer::new(clock::now_ns());
        loop {
            clock::sleep_until(timer.due_ns());
            let now_ns = clock::now_ns();
            timer.fired(now_ns);
            let is_over = self.is_over.load(Ordering::Relaxed);
            let span_ns = now_ns.saturating_sub(before.at_ns);
            if span_ns >= POINT_NS || (is_over && span_ns > 0) {
                let after = self.read();
                lock(&self.points).add(host_counters::point(&before, &after, timer.take()));
                before = after;
            }
            if is_over {
                return;
            }
        }
    }

    fn read(&self) -> HostCounters {
        HostCounters::now(&lock(&self.companions))
    }
}

/// No code between lock and unlock can leave it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_sees_its_own_threads_at_work_and_ends_with_what_it_has_seen() {
        let start_ns = clock::now_ns();
        let witness = Witness::begin(Vec::new()).unwrap();
        let busy = thread::Builder::new().name("busy".into()).spawn(|| {
            while clock::thread_cpu_ns() < 30_000_000 {
                std::hint::spin_loop();
            }
            thread::sleep(std::time::Duration::from_millis(50));
        });
        // It is alive until the point is made.
        while clock::now_ns() < start_ns + 40_000_000 {
            thread::yield_now();
        }
        let points = witness.finish(start_ns);
        busy.unwrap().join().unwrap();
        let [point] = &points[..] else {
            panic!("{points:?}");
        };
        assert!(
            point.from_ns >= 0 && point.span_ns >= 40_000_000 / 2,
            "{point:?}"
        );
        let names: Vec<_> = point.threads.iter().map(|of| &of.name[..]).collect();
        assert!(
            names.contains(&"witness") && names.contains(&"busy"),
            "{names:?}"
        );
        assert!(point.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(point.cores_ns.is_none_or(|ns| ns > 0), "{point:?}");
    }
}
