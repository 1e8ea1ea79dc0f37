//! Spans on their way to the collector, each counted: what was not delivered is reported at the
//! end.
//!
//! Nothing here ever waits for the collector but [`Exporting::finish`], and that not for long.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use opentelemetry::{Context, global};
use opentelemetry_otlp::{Compression, SpanExporter, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor},
};

use super::{
    collector::{Collector, Signal},
    resource,
};

/// Spans that ended and spans that a collector has taken, of this process.
static ENDED: AtomicU64 = AtomicU64::new(0);
static DELIVERED: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Spans that can wait at once, the batch that is on its way included.
static WAITING_MAX: AtomicU64 = AtomicU64::new(u64::MAX);

/// Spans known to be lost so far: a collector did not take them, or they found the queue full.
/// Those that still wait are not.
#[must_use]
pub fn spans_dropped() -> u64 {
    let failed = FAILED.load(Relaxed);
    let settled = failed.saturating_add(DELIVERED.load(Relaxed));
    // The library does not report what it drops: more than can wait cannot be waiting.
    let overflowed = ENDED
        .load(Relaxed)
        .saturating_sub(settled)
        .saturating_sub(WAITING_MAX.load(Relaxed));
    failed.saturating_add(overflowed)
}

/// How many spans may wait, as the library reads it from the environment, with its defaults.
fn waiting_max(read: &dyn Fn(&str) -> Option<String>) -> u64 {
    let number = |name, default| {
        read(name)
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(default)
    };
    let queue: u64 = number("OTEL_BSP_MAX_QUEUE_SIZE", 2048);
    queue.saturating_add(number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).min(queue))
}

/// Traces that are on.
#[derive(Debug)]
pub(super) struct Exporting {
    pub(super) provider: SdkTracerProvider,
    endpoint: String,
    runtime: tokio::runtime::Runtime,
}

impl Exporting {
    /// `None` when no variable asks for traces. An error is one sentence.
    pub(super) fn start(
        service: &'static str,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let Some(collector) = Collector::from_variables(Signal::Traces, read)? else {
            return Ok(None);
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()
            .map_err(|error| format!("no thread for the exporter: {error}"))?;
        let exporter = {
            let _inside = runtime.enter();
            let builder = SpanExporter::builder()
                .with_tonic()
                .with_channel(collector.channel()?);
            let builder = if collector.gzip {
                builder.with_compression(Compression::Gzip)
            } else {
                builder
            };
            builder.build().map_err(|error| error.to_string())?
        };
        WAITING_MAX.store(waiting_max(read), Relaxed);
        let delivery = Delivery {
            exporter,
            endpoint: collector.endpoint.clone(),
            is_failing: AtomicBool::new(false),
        };
        let spans = Counted {
            waiting: BatchSpanProcessor::builder(delivery).build(),
        };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(spans)
            .with_resource(resource(service))
            .build();
        global::set_tracer_provider(provider.clone());
        Ok(Some(Self {
            provider,
            endpoint: collector.endpoint,
            runtime,
        }))
    }

    /// Sends what waits, for at most `limit`. Returns the endpoint and how many spans it never
    /// took.
    pub(super) fn finish(self, limit: Duration) -> (String, u64) {
        let (done, finished) = mpsc::channel();
        let provider = self.provider;
        // On a thread that is left behind: an export that hangs cannot be called off.
        thread::spawn(move || {
            let _ = provider.shutdown_with_timeout(limit);
            let _ = done.send(());
        });
        let _ = finished.recv_timeout(limit);
        self.runtime.shutdown_background();
        (
            self.endpoint,
            ENDED.load(Relaxed).saturating_sub(DELIVERED.load(Relaxed)),
        )
    }
}

/// Counts the spans that end, those included that find the queue full.
#[derive(Debug)]
struct Counted {
    waiting: BatchSpanProcessor,
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.waiting.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        ENDED.fetch_add(1, Relaxed);
        self.waiting.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.waiting.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.waiting.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.waiting.set_resource(resource);
    }
}

/// Counts what the collector has taken.
#[derive(Debug)]
struct Delivery {
    exporter: SpanExporter,
    endpoint: String,
    /// A collector that stays away is worth one line, not one a batch.
    is_failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Delivery {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let delivered = self.exporter.export(batch).await;
        let sum = if delivered.is_ok() {
            &DELIVERED
        } else {
            &FAILED
        };
        sum.fetch_add(spans, Relaxed);
        if let Err(error) = &delivered
            && !self.is_failing.load(Relaxed)
        {
            tracing::info!(
                "spans do not reach the collector at {}: {error}",
                self.endpoint
            );
        }
        self.is_failing.store(delivered.is_err(), Relaxed);
        delivered
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
