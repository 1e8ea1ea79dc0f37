//! The distributions of a packet's times.

use metronome_proto::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// The distributions of packet times, ns.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Times {
    /// From due to write.
    pub(crate) lateness: Histogram,
    /// From write to read. Empty for agents that do not share the server's clock.
    pub(crate) transit: Histogram,
    /// From due to read. Empty where transit is.
    pub(crate) latency: Histogram,
    /// (Read - due) above the least of the same client in the last 5 to 10 s. Empty in a flood.
    pub(crate) spread: Histogram,
}
