//! How many clients of a run may connect at the same time: one alone until a connection has worked,
//! and again after one has failed; all of them while connections work.
//!
//! So a target that takes no connection, or closes each at once, sees the tries of one client, not
//! those of every client of the run. Where several runs try a target whose last try has failed,
//! their tries together come no faster than [`TURN_NS`] apart; a target that works is waited for by
//! none. Times are ns of CLOCK_MONOTONIC.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

use metronome_os::clock::{self, SECOND_NS};

use crate::stop_signal::CHECK_EVERY_NS;

/// Between two tries of clients that connect alone to a target whose last try has failed, whichever
/// their run, ns: 10 a second.
const TURN_NS: u64 = SECOND_NS / 10;
/// For how long a failed try is remembered, ns. A client that goes on trying waits 2.5 s at most,
/// and its next try fails within 5 s: until then the target is not forgotten.
const REMEMBERED_NS: u64 = 10 * SECOND_NS;
/// Targets that are remembered. Of more, those that failed first are forgotten.
const TARGETS_MAX: usize = 256;

/// The targets whose last try has failed, of all runs of this process.
static TURNS: Mutex<Turns> = Mutex::new(Turns(BTreeMap::new()));

/// The limit of one run.
#[derive(Debug)]
pub(super) struct ConnectLimit {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// The next client that comes goes alone.
    #[default]
    Closed,
    /// A client is alone behind it; the others wait.
    Taken,
    Open,
}

/// How a client may try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pass {
    /// The client is one of many that may.
    Free,
    /// The client is the only one of its run, until it has connected or given up.
    Alone,
}

impl ConnectLimit {
    /// The limit of a run that has tried nothing yet.
    pub(super) fn of(target: SocketAddr) -> Self {
        Self {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Waits until a client may try. `None` once `goes_on` is false.
    pub(super) fn enter(&self, goes_on: impl Fn() -> bool) -> Option<Pass> {
        let mut state = self.lock();
        loop {
            if !goes_on() {
                return None;
            }
            match *state {
                State::Open => return Some(Pass::Free),
                State::Closed => {
                    *state = State::Taken;
                    return Some(Pass::Alone);
                }
                State::Taken => {
                    let nap = Duration::from_nanos(CHECK_EVERY_NS);
                    let waited = self.changed.wait_timeout(state, nap);
                    state = waited.expect("no thread panics while it holds this lock").0;
                }
            }
        }
    }

    /// Whether a client that is alone may try now. Else when to ask again, ns: it is the turn of
    /// another run's client.
    pub(super) fn take_turn(&self) -> Result<(), u64> {
        turns().take(self.target, clock::now_ns())
    }

    /// A client has connected: the others may, all at once.
    pub(super) fn worked(&self) {
        turns().worked(self.target);
        self.set(State::Open);
    }

    /// A try has failed. One that was alone stays so for its next try.
    pub(super) fn failed(&self, pass: Pass) {
        turns().failed(self.target, clock::now_ns());
        if pass == Pass::Free && *self.lock() == State::Open {
            self.set(State::Closed);
        }
    }

    /// A client has given up.
    pub(super) fn left(&self, pass: Pass) {
        if pass == Pass::Alone {
            self.set(State::Closed);
        }
    }

    fn set(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it holds this lock")
    }
}

fn turns() -> MutexGuard<'static, Turns> {
    TURNS
        .lock()
        .expect("no thread panics while it holds this lock")
}

/// When each target whose last try has failed may be tried next.
#[derive(Debug)]
struct Turns(BTreeMap<SocketAddr, u64>);

impl Turns {
    /// Whether `target` may be tried now, which takes the turn. Else when the next turn is.
    fn take(&mut self, target: SocketAddr, now_ns: u64) -> Result<(), u64> {
        self.forget(now_ns);
        match self.0.get_mut(&target) {
            Some(next_ns) if *next_ns > now_ns => Err(*next_ns),
            Some(next_ns) => {
                *next_ns = now_ns + TURN_NS;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn failed(&mut self, target: SocketAddr, now_ns: u64) {
        self.forget(now_ns);
        if self.0.len() >= TARGETS_MAX && !self.0.contains_key(&target) {
            let first = self.0.iter().min_by_key(|(_, next_ns)| **next_ns);
            if let Some(first) = first.map(|(target, _)| *target) {
                self.0.remove(&first);
            }
        }
        self.0.insert(target, now_ns + TURN_NS);
    }

    fn worked(&mut self, target: SocketAddr) {
        self.0.remove(&target);
    }

    fn forget(&mut self, now_ns: u64) {
        self.0
            .retain(|_, next_ns| next_ns.saturating_add(REMEMBERED_NS) > now_ns);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_goes_alone_until_a_connection_has_worked_and_again_after_one_has_failed() {
        let limit = ConnectLimit::of(target(1));
        let tries = |left: u32| {
            let left = std::cell::Cell::new(left);
            limit.enter(move || left.replace(left.get().saturating_sub(1)) > 0)
        };
        assert_eq!(tries(1), Some(Pass::Alone));
        assert_eq!(tries(2), None, "another waits");
        limit.failed(Pass::Alone);
        assert_eq!(tries(2), None, "it tries again, alone");
        limit.worked();
        assert_eq!([tries(1), tries(1)], [Some(Pass::Free); 2]);
        limit.failed(Pass::Free);
        assert_eq!((tries(1), tries(2)), (Some(Pass::Alone), None));
        limit.failed(Pass::Free);
        assert_eq!(tries(2), None, "one that fails late opens nothing");
        limit.left(Pass::Alone);
        assert_eq!(tries(1), Some(Pass::Alone));
        assert_eq!(tries(0), None, "it is over");
    }

    const NOW_NS: u64 = 100 * SECOND_NS;

    fn target(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn runs_that_start_together_wait_for_no_turn_at_a_target_that_works() {
        let mut turns = Turns(BTreeMap::new());
        for _ in 0..15 {
            assert_eq!(turns.take(target(1), NOW_NS), Ok(()));
        }
        turns.worked(target(1));
        assert_eq!(turns.take(target(1), NOW_NS), Ok(()));
        turns.failed(target(1), NOW_NS);
        let next_ns = NOW_NS + TURN_NS;
        assert_eq!(turns.take(target(1), NOW_NS), Err(next_ns));
        assert_eq!(turns.take(target(2), NOW_NS), Ok(()), "another target");
        assert_eq!(turns.take(target(1), next_ns), Ok(()));
        assert_eq!(turns.take(target(1), next_ns), Err(next_ns + TURN_NS));
        turns.worked(target(1));
        assert_eq!(turns.take(target(1), next_ns), Ok(()), "it works again");
    }

    #[test]
    fn targets_are_remembered_for_some_seconds_and_no_more_than_so_many() {
        let mut turns = Turns(BTreeMap::new());
        for port in 1..=2 * TARGETS_MAX as u16 {
            turns.failed(target(port), NOW_NS + u64::from(port));
        }
        assert_eq!(turns.0.len(), TARGETS_MAX);
        assert!(turns.0.contains_key(&target(2 * TARGETS_MAX as u16)));
        assert_eq!(turns.take(target(1), NOW_NS + 2 * REMEMBERED_NS), Ok(()));
        assert!(turns.0.is_empty());
    }

    proptest! {
        /// Each of several runs tries at once, and again when it may; every try fails a while
        /// later.
        #[test]
        fn a_target_that_fails_is_tried_at_most_ten_times_in_any_second(
            tries in prop::collection::vec(
                (0..2 * TURN_NS, 0..5 * SECOND_NS, 0..=25 * SECOND_NS / 10),
                1..16,
            ),
        ) {
            let mut turns = Turns(BTreeMap::new());
            // What happens when: a try of a run is asked for, or one fails.
            let mut events: BTreeMap<(u64, usize, bool), ()> = BTreeMap::new();
            for (run, (start_ns, _, _)) in tries.iter().enumerate() {
                events.insert((NOW_NS + start_ns, run, false), ());
            }
            let (mut first_failed_ns, mut begun_ns) = (None, Vec::new());
            while let Some(((now_ns, run, is_failure), ())) = events.pop_first() {
                let (_, fails_after_ns, again_after_ns) = tries[run];
                if now_ns > NOW_NS + 60 * SECOND_NS {
                    break;
                }
                if is_failure {
                    turns.failed(target(1), now_ns);
                    first_failed_ns.get_or_insert(now_ns);
                    events.insert((now_ns + again_after_ns, run, false), ());
                    continue;
                }
                match turns.take(target(1), now_ns) {
                    Ok(()) => {
                        if first_failed_ns.is_some() {
                            begun_ns.push(now_ns);
                        }
                        events.insert((now_ns + fails_after_ns, run, true), ());
                    }
                    Err(next_ns) => {
                        prop_assert!(next_ns > now_ns && next_ns <= now_ns + TURN_NS);
                        events.insert((next_ns, run, false), ());
                    }
                }
            }
            prop_assert!(begun_ns.windows(11).all(|eleven| eleven[10] - eleven[0] >= SECOND_NS));
        }
    }
}
