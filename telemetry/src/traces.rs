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
    trace::{
        BatchConfig, BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData,
        SpanLimits, SpanProcessor,
    },
};

use super::{
    collector::{Collector, Signal},
    conventions, resource,
    sampling::sampler,
    variables::Variables,
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

/// More spans than this are never held, whatever a variable asks for.
const QUEUE_MAX: usize = 1 << 20;
/// A day, ms.
const DELAY_MS_MAX: u64 = 86_400_000;

/// How spans wait and go out, and how many may wait, the batch that is on its way included.
fn batches(variables: &Variables<'_>) -> (BatchConfig, u64) {
    let size = |name, default| variables.number(name, default, 1..=QUEUE_MAX);
    let queue = size("OTEL_BSP_MAX_QUEUE_SIZE", 2048);
    let batch = size("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).min(queue);
    let delay_ms = variables.number("OTEL_BSP_SCHEDULE_DELAY", 5_000, 0..=DELAY_MS_MAX);
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(queue)
        .with_max_export_batch_size(batch)
        .with_scheduled_delay(Duration::from_millis(delay_ms))
        .build();
    (config, queue.saturating_add(batch) as u64)
}

/// What a span may hold.
fn limits(variables: &Variables<'_>) -> SpanLimits {
    let limit = |name, default| variables.number(name, default, 0..=u32::MAX);
    let defaults = SpanLimits::default();
    SpanLimits {
        max_attributes_per_span: limit(
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            defaults.max_attributes_per_span,
        ),
        max_events_per_span: limit("OTEL_SPAN_EVENT_COUNT_LIMIT", defaults.max_events_per_span),
        max_links_per_span: limit("OTEL_SPAN_LINK_COUNT_LIMIT", defaults.max_links_per_span),
        ..defaults
    }
}

/// Those of traces that are on: the one of the exporter's runtime and the one that resolves its
/// names, the library's, which makes batches, and the one that waits for the last of them.
const THREADS: usize = 4;

/// The threads that traces take; none where no variable asks for them.
pub(super) fn threads(variables: &Variables<'_>) -> usize {
    match Collector::from_variables(Signal::Traces, variables) {
        Ok(Some(_)) => THREADS,
        Ok(None) | Err(_) => 0,
    }
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
        variables: &Variables<'_>,
    ) -> Result<Option<Self>, String> {
        let Some(collector) = Collector::from_variables(Signal::Traces, variables)? else {
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
        let (batches, waiting_max) = batches(variables);
        WAITING_MAX.store(waiting_max, Relaxed);
        let delivery = Delivery {
            exporter,
            endpoint: collector.endpoint.clone(),
            is_failing: AtomicBool::new(false),
        };
        let spans = Counted {
            waiting: BatchSpanProcessor::builder(delivery)
                .with_batch_config(batches)
                .build(),
        };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(spans)
            .with_resource(resource(service, variables))
            .with_sampler(sampler(variables))
            .with_span_limits(limits(variables))
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
        // Without a thread nothing more is sent, and nothing waited for.
        let _ = thread::Builder::new().spawn(move || {
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

/// Counts the spans that end, those included that find the queue full, and names their attributes.
#[derive(Debug)]
struct Counted {
    waiting: BatchSpanProcessor,
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.waiting.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        ENDED.fetch_add(1, Relaxed);
        conventions::name_attributes(&mut span);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_needed_for_traces_only_where_a_collector_is_named() {
        let needed = |endpoint: Option<&str>| {
            let read = |name: &str| {
                let is_endpoint = name == "OTEL_EXPORTER_OTLP_ENDPOINT";
                endpoint.filter(|_| is_endpoint).map(ToOwned::to_owned)
            };
            threads(&Variables::new(&read))
        };
        assert_eq!(needed(None), 0);
        assert_eq!(needed(Some("http://a b")), 0);
        assert_eq!(needed(Some("http://127.0.0.1:1")), THREADS);
    }
}
