//! How much of its answer the peer of a connection has taken, and when last. What the kernel still
//! holds counts as taken: it holds little (see [`super::limited_listener`]).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use metronome_os::clock;

/// Written where the answer is, read where the connection has its place.
#[derive(Clone, Debug, Default)]
pub(super) struct AnswerProgress(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    bytes: AtomicU64,
    /// When the last was taken, on the monotonic clock; 0 before the first.
    last_ns: AtomicU64,
}

/// What was taken until a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Taken {
    pub(super) bytes: u64,
    /// When the last of them was taken; 0 before the first.
    pub(super) last_ns: u64,
}

impl AnswerProgress {
    pub(super) fn note(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Relaxed);
        self.0.last_ns.store(clock::now_ns(), Relaxed);
    }

    pub(super) fn taken(&self) -> Taken {
        Taken {
            bytes: self.0.bytes.load(Relaxed),
            last_ns: self.0.last_ns.load(Relaxed),
        }
    }
}
