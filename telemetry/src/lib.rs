//! Logs, traces and where they go, set up alike in all three executables.
//!
//! A part of Metronome's executables, with no promise of its own: any version may change it.
//!
//! | module | subject |
//! |---|---|
//! | [`logs`] | log lines on standard error or in a file, with run and trace ids |
//! | [`collector`] | where OTLP goes and how, from the `OTEL_…` variables |
//! | `traces` | spans on their way to the collector, each counted |
//! | [`context`] | the trace across processes: `traceparent` and `tracestate` |
//! | [`conventions`] | the names of what is sent, and the version of the conventions |
//! | [`resource`] | the identity of this process |
//! | `sampling` | which traces are sent |
//! | `variables` | variables, and what is wrong with them |
//! | `flags` | the flags of log lines |
//! | [`whole_number`] | the value of a flag that is a whole number |
//! | [`command_line`] | flags and variables read, and errors about them |
//! | [`retroactive_span`] | spans and events of what is over already, with their own times |
//! | `rpc` | what came of a call, in words |
//! | [`sanitise`] | foreign text made harmless |
//! | [`rate_limited_log`] | log lines that a peer can cause, limited |
//!
//! Traces are off until an endpoint is configured. The exporter has a runtime of its own: on the
//! main one a blocked thread and the export would wait for each other (opentelemetry-rust issue
//! 2715). A worker has no telemetry at all.

pub mod collector;
pub mod command_line;
pub mod context;
pub mod conventions;
mod flags;
pub mod logs;
pub mod rate_limited_log;
mod resource;
pub mod retroactive_span;
mod rpc;
mod sampling;
pub mod sanitise;
mod traces;
mod variables;
mod whole_number;

use std::time::Duration;

use metronome_os::standard_error;
pub use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

pub use collector::redacted;
pub use context::{SampledSpan, TraceContext, continue_from, inject, trace_id};
pub use flags::LogFlags;
pub use logs::{LogFormat, Logs, Rotation};
pub use resource::resource;
pub use rpc::rpc_status;
pub use traces::spans_dropped;
pub use variables::{Variables, read_variable};
pub use whole_number::whole_number;

/// A collector that does not answer may not hold up the end of a process for longer than this.
/// benchctl ends after the agent and the server that it brought up: a dead collector costs it this
/// twice, and the server's last metrics, in all less than 2 s.
pub const FLUSH_TIME_MAX: Duration = Duration::from_millis(700);

/// The threads that [`Telemetry`] starts: one that writes log lines and, where a variable names a
/// collector, those that send spans.
#[must_use]
pub fn threads() -> usize {
    1 + traces::threads(&Variables::of_process())
}

/// Keeps telemetry going; [`Telemetry::finish`] sends what is still waiting.
#[must_use]
#[derive(Debug)]
pub struct Telemetry {
    service: &'static str,
    exporting: Option<traces::Exporting>,
    /// Writes the log lines that still wait when it is dropped.
    _lines: logs::LogGuard,
}

impl Telemetry {
    /// Sets up logs and, when an endpoint is configured, traces. Call once, before the first span.
    ///
    /// # Errors
    /// One sentence: the log file cannot be written. A fault in the set-up of traces is logged and
    /// costs the traces, never the process.
    pub fn start(service: &'static str, logs: &Logs) -> Result<Self, String> {
        let (lines, guard) = logs.layer()?;
        let variables = Variables::of_process();
        let (exporting, trouble) = match traces::Exporting::start(service, &variables) {
            Ok(exporting) => (exporting, None),
            Err(sentence) => (None, Some(sentence)),
        };
        let spans = exporting.as_ref().map(|exporting| {
            // The exporter's own HTTP/2 must not make spans: each export would cause the next.
            let ours = EnvFilter::new(
                "off,metronome_telemetry=info,metronome_server=info,metronome_agent=info,\
                 benchctl=info",
            );
            let tracer = exporting.provider.tracer_with_scope(conventions::scope());
            let layer = tracing_opentelemetry::layer().with_tracer(tracer);
            // Where in our sources a span begins and on which thread is of no use to its reader.
            layer
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_target(false)
                .with_filter(ours)
        });
        if exporting.is_some() {
            context::set_propagator(&variables);
        }
        // A second call, as in a test, keeps the first one's set-up.
        let _ = tracing_subscriber::registry()
            .with(spans)
            .with(lines)
            .try_init();
        if let Some(sentence) = trouble {
            tracing::warn!("traces are off: {sentence}");
        }
        variables.report();
        Ok(Self {
            service,
            exporting,
            _lines: guard,
        })
    }

    /// Sends the spans that are still waiting, for at most 0.7 s, whatever the collector does, and
    /// prints how many were never delivered.
    pub fn finish(self) {
        let Some(exporting) = self.exporting else {
            return;
        };
        let (collector, undelivered) = exporting.finish(FLUSH_TIME_MAX);
        if undelivered > 0 {
            standard_error::write_line(&format!(
                "{}: {undelivered} spans were not delivered to the collector at {collector}",
                self.service
            ));
        }
    }
}
