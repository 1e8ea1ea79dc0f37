//! Metrics as data: families of series, in no form yet.

use metronome_proto::histogram::Histogram;

use super::{
    buckets::Buckets,
    exemplar::{CountExemplar, Exemplars},
};

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
    /// A sum that only rises, with a part of it that has a trace.
    Counted(f64, Option<CountExemplar>),
    Times(Buckets),
}

/// A sum that only rises, as its only series.
pub(super) fn counter(name: &'static str, unit: Unit, help: &'static str, count: u64) -> Family {
    number(Kind::Counter, name, unit, help, count as f64)
}

/// A value that rises and falls, as its only series.
pub(super) fn gauge(name: &'static str, unit: Unit, help: &'static str, value: f64) -> Family {
    number(Kind::Gauge, name, unit, help, value)
}

/// One number, as its only series.
pub(super) fn number(
    kind: Kind,
    name: &'static str,
    unit: Unit,
    help: &'static str,
    value: f64,
) -> Family {
    labelled(kind, name, unit, help, [(Vec::new(), value)])
}

/// A number for each set of labels.
pub(super) fn labelled(
    kind: Kind,
    name: &'static str,
    unit: Unit,
    help: &'static str,
    values: impl IntoIterator<Item = (Vec<(&'static str, String)>, f64)>,
) -> Family {
    let samples = values
        .into_iter()
        .map(|(labels, value)| Sample {
            labels,
            value: Value::Number(value),
        })
        .collect();
    Family {
        name,
        help,
        unit,
        kind,
        samples,
    }
}

/// The times of a histogram, as its only series.
pub(super) fn distribution(
    name: &'static str,
    help: &'static str,
    times: &Histogram,
    exemplars: &Exemplars,
) -> Family {
    let buckets = Buckets::from(times).with_exemplars(exemplars.clone());
    Family {
        name,
        help,
        unit: Unit::Seconds,
        kind: Kind::Histogram,
        samples: vec![Sample {
            labels: Vec::new(),
            value: Value::Times(buckets),
        }],
    }
}
