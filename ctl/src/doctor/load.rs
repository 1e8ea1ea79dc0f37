//! The load that a host is examined for.

/// The load to judge for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) clients: u32,
    /// Packets per second of each client.
    pub(crate) rate_hz: f64,
}
