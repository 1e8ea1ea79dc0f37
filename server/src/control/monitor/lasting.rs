//! Whether a connection of the HTTP port lasts: one answer is over in seconds, a stream is not.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// Set by what answers with a stream; read where the connection has its place. A request finds
/// that of its connection as its connect info.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lasting(Arc<AtomicBool>);

impl Lasting {
    pub(crate) fn begin(&self) {
        self.0.store(true, Relaxed);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Relaxed)
    }
}
