//! What the server exports to monitoring systems: the families of metrics and their forms. Pure.
//!
//! ```text
//! Figures ─ catalogue ─▶ families ─┬─ openmetrics ───────▶ the text that Prometheus scrapes
//!                                  └─ control::push::otlp ▶ an OTLP request
//! ```
//!
//! Base units in the names (seconds, bytes); counters only rise. No run id is a label anywhere:
//! every run would leave series behind for ever. Histograms are the ledger's own, put into buckets
//! that begin at a microsecond. Absent on purpose: clock, I/O, async.

mod bounds;
mod buckets;
mod catalogue;
mod exemplar;
mod family;
mod figures;
mod groups;
mod openmetrics;
mod outcomes;
mod replies;

pub(crate) use bounds::bounds_s;
pub(crate) use buckets::Buckets;
pub(crate) use catalogue::families;
pub(crate) use exemplar::{CountExemplar, Exemplar, Exemplars, PacketExemplars, RunExemplars};
pub(crate) use family::{Family, Kind, Sample, Unit, Value};
pub(crate) use figures::{
    AgentFigures, CallFigures, ControlFigures, Figures, GroupFigures, GroupSums, LastRun,
    ProcessFigures,
};
pub(crate) use openmetrics::{CONTENT_TYPE, write};
pub(crate) use outcomes::OUTCOMES;
