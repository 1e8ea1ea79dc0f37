//! How many clients of a run may connect at the same time: one alone until a connection has worked,
//! and again after one has failed; all of them while connections work.
//!
//! So a target that takes no connection, or closes each at once, sees the tries of one client, not
//! those of every client of the run. Where several runs try the same target, their tries together
//! come no faster than [`TURN_NS`] apart. Times are ns of CLOCK_MONOTONIC.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

use metronome_os::clock::{self, SECOND_NS};

use crate::stop_signal::CHECK_EVERY_NS;

/// Between two tries of clients that connect alone, whichever their run, ns: 10 a second.
const TURN_NS: u64 = SECOND_NS / 10;

/// The limit of one run.
#[derive(Debug, Default)]
pub(super) struct ConnectLimit {
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

    /// A client has connected: the others may, all at once.
    pub(super) fn worked(&self) {
        self.set(State::Open);
    }

    /// A try has failed. One that was alone stays so for its next try.
    pub(super) fn failed(&self, pass: Pass) {
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

/// When a client that is alone may try to connect to `address`: now, or when it is its turn among
/// those of other runs.
pub(super) fn turn(address: SocketAddr) -> u64 {
    static TURNS: Mutex<Turns> = Mutex::new(Turns(BTreeMap::new()));
    TURNS
        .lock()
        .expect("no thread panics while it holds this lock")
        .take(address, clock::now_ns())
}

/// When each target may be tried next.
#[derive(Debug)]
struct Turns(BTreeMap<SocketAddr, u64>);

impl Turns {
    fn take(&mut self, address: SocketAddr, now_ns: u64) -> u64 {
        // What is over limits nothing, and there is no end of targets.
        self.0.retain(|_, next_ns| *next_ns > now_ns);
        let next_ns = self.0.entry(address).or_insert(now_ns);
        let turn_ns = *next_ns;
        *next_ns += TURN_NS;
        turn_ns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_goes_alone_until_a_connection_has_worked_and_again_after_one_has_failed() {
        let limit = ConnectLimit::default();
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

    proptest! {
        #[test]
        fn no_target_is_tried_more_than_ten_times_in_any_second(
            asked in prop::collection::vec((0..3_u16, 0..2 * SECOND_NS / 10), 1..100),
        ) {
            let (mut turns, mut now_ns) = (Turns(BTreeMap::new()), 0);
            let mut taken = BTreeMap::<u16, Vec<u64>>::new();
            for (port, later_ns) in asked {
                now_ns += later_ns;
                let turn_ns = turns.take(([127, 0, 0, 1], port).into(), now_ns);
                prop_assert!(turn_ns >= now_ns);
                taken.entry(port).or_default().push(turn_ns);
            }
            for turns in taken.values() {
                prop_assert!(turns.windows(11).all(|eleven| eleven[10] - eleven[0] >= SECOND_NS));
            }
        }
    }
}
