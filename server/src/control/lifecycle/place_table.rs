//! The places of a port as they are taken: every connection that is open, and how it is made to go.
//!
//! What is decided is [`super::places`]'. A connection whose time is up is asked to go, which over
//! HTTP/2 is a GOAWAY: calls that are open, or on their way, are still answered. One that stays all
//! the same is cut off, and so is, at once, the one that goes for another.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use metronome_os::clock;
use metronome_telemetry::rate_limited_log::RateLimit;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{
    answer_progress::AnswerProgress,
    places::{Limits, Origin, TakenPlace, admit, overdue, settles},
};
use crate::control::{
    api::{ConnectionCalls, Shortage},
    monitor::Lasting,
};

/// How often it is looked for connections whose time is up.
const REVIEW_EVERY: Duration = Duration::from_secs(1);
/// From the request to go to the cut.
const GOING_NS_MAX: u64 = 2_000_000_000;

/// A flood displaces thousands.
static DISPLACED: RateLimit = RateLimit::new(1, 10_000_000_000);

/// The places of a port.
#[derive(Debug)]
pub(super) struct PlaceTable {
    limits: Limits,
    /// The name of the port, for the log: `gRPC`.
    name: &'static str,
    /// Cancelled when the port is closed; every connection is then asked to go.
    closing: CancellationToken,
    shortage: Arc<Shortage>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    connections: BTreeMap<u64, Connection>,
    next_id: u64,
}

/// A connection that is open.
#[derive(Debug)]
struct Connection {
    peer: SocketAddr,
    opened_ns: u64,
    is_visitor: bool,
    lasting: Lasting,
    progress: AnswerProgress,
    calls: Arc<ConnectionCalls>,
    going: CancellationToken,
    cut: CancellationToken,
    /// When it was asked to go.
    asked_ns: Option<u64>,
}

/// The place of a connection, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    table: Arc<PlaceTable>,
    id: u64,
    pub(super) calls: Arc<ConnectionCalls>,
    /// Whether its answer is a stream.
    pub(super) lasting: Lasting,
    pub(super) progress: AnswerProgress,
    /// Cancelled: the connection is asked to go, or has gone.
    pub(super) going: CancellationToken,
    /// Cancelled: the connection is cut off.
    pub(super) cut: CancellationToken,
}

impl PlaceTable {
    /// The places of a port until `closing`. They are looked over for as long as a connection or a
    /// listener has them.
    pub(super) fn new(name: &'static str, limits: Limits, closing: CancellationToken) -> Arc<Self> {
        let table = Arc::new(Self {
            limits,
            name,
            closing,
            shortage: Arc::default(),
            taken: Mutex::default(),
        });
        tokio::spawn(review(Arc::downgrade(&table)));
        table
    }

    /// A place for a connection. Another one may lose its place for it.
    pub(super) fn enter(self: &Arc<Self>, peer: SocketAddr) -> Place {
        let mut taken = self.lock();
        let admission = admit(&self.limits, &taken.all(), Origin::of(peer.ip()));
        if let Some(left) = admission
            .leaves
            .and_then(|id| taken.connections.remove(&id))
        {
            left.cut.cancel();
            if let Some(withheld) = DISPLACED.admit(clock::now_ns()) {
                tracing::warn!(
                    withheld,
                    "all {} connections that {peer} may have are taken; the one of {} was closed",
                    self.name,
                    left.peer
                );
            }
        }
        let (id, going, cut) = (
            taken.next_id,
            self.closing.child_token(),
            CancellationToken::new(),
        );
        let calls = Arc::new(ConnectionCalls::new(Arc::clone(&self.shortage)));
        let (lasting, progress) = (Lasting::default(), AnswerProgress::default());
        taken.next_id += 1;
        let connection = Connection {
            peer,
            opened_ns: clock::now_ns(),
            is_visitor: admission.is_visitor,
            lasting: lasting.clone(),
            progress: progress.clone(),
            calls: Arc::clone(&calls),
            going: going.clone(),
            cut: cut.clone(),
            asked_ns: None,
        };
        taken.connections.insert(id, connection);
        Place {
            table: Arc::clone(self),
            id,
            calls,
            lasting,
            progress,
            going,
            cut,
        }
    }

    /// Asks those to go whose time is up, and cuts off those that were asked and stay.
    fn review(&self, now_ns: u64) {
        let mut taken = self.lock();
        while let Some(id) = settles(&self.limits, &taken.all())
            && let Some(connection) = taken.connections.get_mut(&id)
        {
            connection.is_visitor = false;
        }
        let lately_ns = now_ns.saturating_sub(self.limits.unread_ns);
        let is_room_short = self.shortage.was_since(lately_ns);
        for id in overdue(&self.limits, &taken.all(), is_room_short, now_ns) {
            let Some(connection) = taken.connections.get_mut(&id) else {
                continue;
            };
            let asked_ns = *connection.asked_ns.get_or_insert(now_ns);
            connection.going.cancel();
            // Where no connection may last, there is no polite way to go.
            if self.limits.age_ns.is_some() || now_ns.saturating_sub(asked_ns) >= GOING_NS_MAX {
                connection.cut.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // No code between lock and unlock can leave it half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn all(&self) -> Vec<TakenPlace> {
        let connections = self.connections.iter().map(|(id, connection)| TakenPlace {
            id: *id,
            origin: Origin::of(connection.peer.ip()),
            opened_ns: connection.opened_ns,
            is_visitor: connection.is_visitor,
            lasts: connection.lasting.has_begun(),
            taken: connection.progress.taken(),
            activity: connection.calls.activity(),
            unread_since_ns: connection.calls.unread_since(),
            are_all_unread: connection.calls.are_all_unread(),
        });
        connections.collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.lock().connections.remove(&self.id);
        self.going.cancel();
    }
}

async fn review(table: Weak<PlaceTable>) {
    let mut ticks = time::interval(REVIEW_EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match table.upgrade() {
            Some(table) => table.review(clock::now_ns()),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1))
    }

    fn table(places: usize) -> Arc<PlaceTable> {
        PlaceTable::new("test", Limits::new(places), CancellationToken::new())
    }

    #[tokio::test]
    async fn the_one_that_goes_for_another_is_cut_off_at_once_and_its_place_is_free() {
        let table = table(2);
        let first = table.enter(peer(1));
        let second = table.enter(peer(2));
        assert!(first.cut.is_cancelled() && !second.cut.is_cancelled());
        drop(first);
        assert_eq!(table.lock().connections.len(), 1);
    }

    #[tokio::test]
    async fn one_whose_time_is_up_is_asked_to_go_and_cut_off_when_it_stays() {
        let table = table(64);
        let place = table.enter(peer(1));
        let end_ns = clock::now_ns() + table.limits.first_call_ns;
        table.review(end_ns);
        assert!(place.going.is_cancelled() && !place.cut.is_cancelled());
        table.review(end_ns + GOING_NS_MAX);
        assert!(place.cut.is_cancelled());
    }

    #[tokio::test]
    async fn where_no_answer_may_last_a_stream_does_until_it_is_not_read() {
        let limits = Limits {
            age_ns: Some(1),
            ..Limits::new(64)
        };
        let table = PlaceTable::new("test", limits, CancellationToken::new());
        let [answer, stream] = [table.enter(peer(1)), table.enter(peer(2))];
        let _calls = [answer.calls.begin(), stream.calls.begin()];
        stream.lasting.begin();
        table.review(clock::now_ns() + 2);
        assert!(answer.cut.is_cancelled() && !stream.cut.is_cancelled());
        let _unread = stream.calls.wait_to_be_read();
        table.review(clock::now_ns() + limits.unread_ns);
        assert!(stream.cut.is_cancelled());
    }

    #[tokio::test]
    async fn one_with_an_open_call_stays() {
        let table = table(64);
        let place = table.enter(peer(1));
        let _call = place.calls.begin();
        table.review(u64::MAX);
        assert!(!place.going.is_cancelled());
        table.closing.cancel();
        assert!(place.going.is_cancelled(), "unless the port is closed");
    }
}
