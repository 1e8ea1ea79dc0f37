//! What monitoring reads of the server, and the one call that asks another server for its health.
//!
//! | file | subject |
//! |---|---|
//! | [`counters`] | all that the control plane counts, and its saved form |
//! | [`call_counters`] | how long calls of the API took |
//! | [`readings`] | all families of metrics as they are now, and whether the server is ready |
//! | [`http`] | the HTTP port: `/metrics`, `/healthz`, `/readyz` |
//! | [`events`] | its streams: `/api/v1/events` |
//! | [`lasting`] | which of its connections are streams |
//! | [`turnstile`] | answers in turn, at a limited rate |
//! | [`push`] | metrics over OTLP |
//! | [`healthcheck`] | `metronome-server healthcheck` |
//!
//! It reads and changes nothing. Which families there are is [`crate::metrics`]'.

mod call_counters;
mod counters;
mod events;
mod healthcheck;
mod http;
mod lasting;
mod push;
mod readings;
mod turnstile;

pub(crate) use call_counters::{CallCounters, is_fault_of_server};
pub(crate) use counters::Counters;
pub(crate) use events::{STREAMS_MAX, event_routes};
pub(crate) use healthcheck::run as run_healthcheck;
pub(crate) use http::{Pages, serve as serve_http};
pub(crate) use lasting::Lasting;
pub(crate) use push::start as start_push;
pub(crate) use readings::Readings;
