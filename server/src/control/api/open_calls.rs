//! The open calls of one connection: whether it has any, since when not, and what of their answers
//! the peer does not read.
//!
//! A call is open from the end of its request's message, or from the beginning of its answer, to
//! the end of its answer's body, so that an agent's session and a watched run are open calls for as
//! long as they last. One whose message is still on its way is not open: a peer that never sends it
//! would keep its connection for nothing. What follows from it for the connection is decided where
//! its place is.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

use metronome_os::clock;

/// What a connection does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Activity {
    /// It has had no call yet.
    NoCallYet,
    /// It has an open call.
    Calling,
    /// A call arrived or ended then, and none has since: ns of the monotonic clock.
    QuietSince(u64),
}

/// Counts the open calls of one connection.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCalls {
    open: AtomicU32,
    /// When one arrived or ended last, ns of the monotonic clock; 0 before the first.
    seen_ns: AtomicU64,
    unread: Mutex<Unread>,
    shortage: Arc<Shortage>,
}

/// When an answer found no room last, over all connections of a port.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    /// ns of the monotonic clock; 0 before it has happened.
    noted_ns: AtomicU64,
}

impl Shortage {
    fn note(&self) {
        self.noted_ns.store(clock::now_ns().max(1), SeqCst);
    }

    /// Whether one has found no room since `since_ns`.
    pub(crate) fn was_since(&self, since_ns: u64) -> bool {
        let noted_ns = self.noted_ns.load(SeqCst);
        noted_ns > 0 && noted_ns >= since_ns
    }
}

/// The answers that wait for the peer to read them.
#[derive(Debug, Default)]
struct Unread {
    /// Since when, ns of the monotonic clock, and a number of its own.
    waiting: BTreeSet<(u64, u64)>,
    last_number: u64,
}

impl ConnectionCalls {
    /// No call yet, on a connection of a port whose shortage this is.
    pub(crate) fn new(shortage: Arc<Shortage>) -> Self {
        Self {
            shortage,
            ..Self::default()
        }
    }

    /// An answer has found no room.
    pub(super) fn note_shortage(&self) {
        self.shortage.note();
    }

    /// A call, open until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> OpenCall {
        self.open.fetch_add(1, SeqCst);
        OpenCall(Arc::clone(self))
    }

    /// A call whose request is on its way.
    pub(super) fn arrive(self: &Arc<Self>) -> ArrivingCall {
        self.note_seen();
        ArrivingCall {
            calls: Arc::clone(self),
            open: OnceLock::new(),
        }
    }

    fn note_seen(&self) {
        self.seen_ns.store(clock::now_ns().max(1), SeqCst);
    }

    /// What the connection does now.
    pub(crate) fn activity(&self) -> Activity {
        if self.open.load(SeqCst) > 0 {
            return Activity::Calling;
        }
        match self.seen_ns.load(SeqCst) {
            0 => Activity::NoCallYet,
            seen_ns => Activity::QuietSince(seen_ns),
        }
    }

    /// A part of an answer, which waits to be read until what is returned is dropped.
    pub(crate) fn wait_to_be_read(self: &Arc<Self>) -> UnreadPart {
        let mut unread = self.unread();
        unread.last_number += 1;
        let key = (clock::now_ns(), unread.last_number);
        unread.waiting.insert(key);
        UnreadPart {
            calls: Arc::clone(self),
            key,
        }
    }

    /// Since when the oldest part of an answer waits to be read, ns of the monotonic clock.
    pub(crate) fn unread_since(&self) -> Option<u64> {
        self.unread().waiting.first().map(|(since_ns, _)| *since_ns)
    }

    /// Whether no open call has an answer that is read, or one that is still to come.
    pub(crate) fn are_all_unread(&self) -> bool {
        self.unread().waiting.len() >= self.open.load(SeqCst) as usize
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        // No code between lock and unlock can leave it half changed.
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of an answer that waits to be read until this is dropped.
#[derive(Debug)]
pub(crate) struct UnreadPart {
    calls: Arc<ConnectionCalls>,
    key: (u64, u64),
}

impl Drop for UnreadPart {
    fn drop(&mut self) {
        self.calls.unread().waiting.remove(&self.key);
    }
}

/// A call from the headers of its request on.
#[derive(Debug)]
pub(super) struct ArrivingCall {
    calls: Arc<ConnectionCalls>,
    open: OnceLock<OpenCall>,
}

impl ArrivingCall {
    /// The call is open from here on, until this is dropped.
    pub(super) fn open(&self) {
        self.open.get_or_init(|| self.calls.begin());
    }

    /// Whether it is open already.
    pub(super) fn is_open(&self) -> bool {
        self.open.get().is_some()
    }
}

/// A call that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenCall(Arc<ConnectionCalls>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        // The time first, so that it is there when no call is open any more.
        self.0.note_seen();
        self.0.open.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_quiet_from_the_end_of_its_last_open_call_on() {
        let calls = Arc::new(ConnectionCalls::default());
        assert_eq!(calls.activity(), Activity::NoCallYet);
        let (first, second) = (calls.begin(), calls.begin());
        drop(first);
        assert_eq!(calls.activity(), Activity::Calling);
        let before = clock::now_ns();
        drop(second);
        let Activity::QuietSince(since) = calls.activity() else {
            panic!("no call is open")
        };
        assert!((before..=clock::now_ns()).contains(&since));
    }

    #[test]
    fn calls_are_all_unread_until_one_waits_for_no_reader() {
        let calls = Arc::new(ConnectionCalls::default());
        let _listed = calls.begin();
        let _unread = calls.wait_to_be_read();
        assert!(calls.are_all_unread());
        let session = calls.begin();
        assert!(!calls.are_all_unread());
        drop(session);
        assert!(calls.are_all_unread());
    }

    #[test]
    fn the_oldest_part_that_waits_to_be_read_counts() {
        let calls = Arc::new(ConnectionCalls::default());
        assert_eq!(calls.unread_since(), None);
        let before = clock::now_ns();
        let (first, second) = (calls.wait_to_be_read(), calls.wait_to_be_read());
        let since = calls.unread_since().unwrap();
        assert!(since >= before);
        drop(second);
        assert_eq!(calls.unread_since(), Some(since));
        drop(first);
        assert_eq!(calls.unread_since(), None);
    }
}
