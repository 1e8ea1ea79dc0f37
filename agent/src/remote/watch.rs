//! What an agent sees of itself in one run: its witness, from before the start until the ends are
//! exchanged, and its sockets while packets are sent.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use metronome_os::clock;
use metronome_proto::v1;
use metronome_witness::{SocketLooks, Witness};
use socket2::Socket;

/// Sockets are looked at once a second; progress is reported more often, and not on the dot.
const LOOK_EVERY_NS: u64 = 900_000_000;

/// Both the run's thread and the session take what was seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The witness while it watches, and the start of the run, ns of CLOCK_MONOTONIC.
    witness: Mutex<Option<(Witness, u64)>>,
    sockets: Mutex<Sockets>,
}

/// The sockets of the run's clients. One that is closed is not there any more.
#[derive(Debug, Default)]
struct Sockets {
    all: Vec<Weak<Socket>>,
    looks: SocketLooks,
    looked_at_ns: u64,
}

impl Watch {
    /// Begins to watch. A run whose host gives no thread for it is one without its points.
    pub(super) fn begin(&self, start_ns: u64, sockets: Vec<Weak<Socket>>) {
        lock(&self.sockets).all = sockets;
        match Witness::begin(Vec::new()) {
            Ok(witness) => *lock(&self.witness) = Some((witness, start_ns)),
            Err(error) => tracing::warn!(%error, "the agent cannot watch its host"),
        }
    }

    /// The points since this was asked last.
    pub(super) fn take(&self) -> Vec<v1::HostPoint> {
        let watching = lock(&self.witness);
        let points = watching.as_ref();
        points.map_or_else(Vec::new, |(witness, start_ns)| witness.take(*start_ns))
    }

    /// Looks at the sockets. `None` where that was done less than a second ago, and where none is
    /// left.
    pub(super) fn look(&self) -> Option<v1::SocketSample> {
        let now_ns = clock::now_ns();
        let mut sockets = lock(&self.sockets);
        let Sockets {
            all,
            looks,
            looked_at_ns,
        } = &mut *sockets;
        if now_ns.saturating_sub(*looked_at_ns) < LOOK_EVERY_NS {
            return None;
        }
        *looked_at_ns = now_ns;
        looks.look(all.len(), |place| {
            let socket = all.get(place)?.upgrade()?;
            Some((place as u64, socket))
        })
    }

    /// Ends the watch: the points that were not taken yet.
    pub(super) fn finish(&self) -> Vec<v1::HostPoint> {
        lock(&self.sockets).all = Vec::new();
        let watching = lock(&self.witness).take();
        watching.map_or_else(Vec::new, |(witness, start_ns)| witness.finish(start_ns))
    }
}

/// No code between lock and unlock can leave it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
