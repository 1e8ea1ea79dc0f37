//! The three distributions of a packet's times.

use metronome_proto::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// The three distributions, ns.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Times {
    /// Due to write.
    pub(crate) lateness: Histogram,
    /// Write to read. Empty for agents that do not share the clock.
    pub(crate) transit: Histogram,
    /// Due to read. Empty as transit.
    pub(crate) latency: Histogram,
}
