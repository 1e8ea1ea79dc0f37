//! Results for programs: exactly one JSON object each.
//!
//! Units are in the names: _us microseconds, _s seconds, _hz per second, _ns nanoseconds. Nothing
//! is left out: what is not known is null. A field is never taken away or given another meaning
//! without a new `schema_version`.

pub(crate) mod doctor;
pub(crate) mod lists;
mod object;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod settings;
