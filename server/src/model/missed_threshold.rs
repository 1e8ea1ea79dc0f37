//! A threshold that a running run cannot hold any more. Only the data: `verdict` finds it.

use metronome_proto::threshold::Threshold;

/// A threshold that cannot hold any more, with what shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MissedThreshold {
    /// The group that it is of, by its index in the plan. `None`: the whole run.
    pub(crate) group: Option<usize>,
    pub(crate) threshold: Threshold,
    /// From the start of the run to when that was found, ns.
    pub(crate) elapsed_ns: u64,
    /// What is counted here.
    pub(crate) against: Against,
    /// How much is against it.
    pub(crate) observed: u64,
    /// The most that it allows …
    pub(crate) allowed: u64,
    /// … of all packets that are planned, where it depends on them.
    pub(crate) planned: Option<u64>,
}

/// What is against a threshold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Against {
    /// Packets above the limit, or missing.
    Packets,
    /// Connections that have broken with packets on their way.
    Connections,
    /// The least that the mean can be, ns.
    MeanNs,
}
