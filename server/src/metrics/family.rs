//! Metrics as data: families of series, in no form yet.

use super::buckets::Buckets;

/// Metrics of one name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    /// Without the unit and without `_total`.
    pub(crate) name: &'static str,
    /// A sentence without its full stop.
    pub(crate) help: &'static str,
    pub(crate) unit: Unit,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
}

impl Family {
    /// A distribution of times, as its only series.
    pub(super) fn of_times(name: &'static str, help: &'static str, times: Buckets) -> Self {
        Self {
            name,
            help,
            unit: Unit::Seconds,
            kind: Kind::Histogram,
            samples: vec![Sample {
                labels: Vec::new(),
                value: Value::Times(times),
            }],
        }
    }
}

/// Base units.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    /// Things that are counted, as UCUM writes them: `{packet}`.
    Count(&'static str),
}

/// How a value may change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// It only rises.
    Counter,
    /// A sum that rises and falls.
    UpDownCounter,
    Gauge,
    Histogram,
}

/// One series of a family.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// By the names of fields: those of the conventions have dots.
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: Value,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Times(Buckets),
}
