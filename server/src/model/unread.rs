//! A connection between two workers.

use serde::{Deserialize, Serialize};

/// A connection that no worker reads.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Unread {
    /// The last sign of life of the worker that read it, or when that handed it over, ns.
    pub(crate) since_ns: u64,
    /// When its last batch was read, ns: a later one ends the pause.
    pub(crate) last_batch_ns: u64,
}
