//! The times of a packet, their kinds, and what there is of each kind.

use std::ops::{Index, IndexMut};

use metronome_proto::{histogram::Histogram, v1::Metric};
use serde::{Deserialize, Serialize};

/// How many kinds of time there are.
pub(crate) const TIME_KINDS: usize = 6;

/// A kind of time, in the order in which the ledger has their histograms.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum TimeKind {
    /// From due to write.
    Lateness,
    /// From write to read.
    Transit,
    /// From due to read.
    Latency,
    /// (Read - due) above the least of the same client of late.
    Spread,
    /// From write to read by the centre of what is known of two clocks.
    OneWay,
    /// From write to read above the least that the path was seen to take.
    Queueing,
}

/// One of each kind of time, in their order.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct PerTime<T>(pub(crate) [T; TIME_KINDS]);

impl TimeKind {
    /// All kinds, in their order.
    pub(crate) const ALL: PerTime<Self> = PerTime([
        Self::Lateness,
        Self::Transit,
        Self::Latency,
        Self::Spread,
        Self::OneWay,
        Self::Queueing,
    ]);

    /// What the API calls it.
    pub(crate) fn metric(self) -> Metric {
        match self {
            Self::Lateness => Metric::Lateness,
            Self::Transit => Metric::Transit,
            Self::Latency => Metric::Latency,
            Self::Spread => Metric::Spread,
            Self::OneWay => Metric::OneWay,
            Self::Queueing => Metric::Queueing,
        }
    }
}

impl<T> PerTime<T> {
    /// The same of each kind.
    pub(crate) fn map<U>(self, of: impl FnMut(T) -> U) -> PerTime<U> {
        PerTime(self.0.map(of))
    }
}

impl<T> Index<TimeKind> for PerTime<T> {
    type Output = T;

    #[inline]
    fn index(&self, kind: TimeKind) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> IndexMut<TimeKind> for PerTime<T> {
    #[inline]
    fn index_mut(&mut self, kind: TimeKind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

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
    /// From write to read by the centre of what the exchanges of readings allow. Empty but for
    /// agents whose clock is another one than the server's.
    #[serde(default)]
    pub(crate) one_way: Histogram,
    /// From write to read above the least that the path was seen to take. Empty where one_way is.
    #[serde(default)]
    pub(crate) queueing: Histogram,
}

impl Times {
    /// Adds those of others.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.lateness.merge(&other.lateness);
        self.transit.merge(&other.transit);
        self.latency.merge(&other.latency);
        self.spread.merge(&other.spread);
        self.one_way.merge(&other.one_way);
        self.queueing.merge(&other.queueing);
    }
}

impl Index<TimeKind> for Times {
    type Output = Histogram;

    fn index(&self, kind: TimeKind) -> &Histogram {
        match kind {
            TimeKind::Lateness => &self.lateness,
            TimeKind::Transit => &self.transit,
            TimeKind::Latency => &self.latency,
            TimeKind::Spread => &self.spread,
            TimeKind::OneWay => &self.one_way,
            TimeKind::Queueing => &self.queueing,
        }
    }
}
