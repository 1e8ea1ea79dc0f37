//! A collector of traces and metrics, in the test itself: opentelemetry-proto's own services.
//!
//! Whatever it takes must be named as the conventions have it or lie below `metronome.`, under the
//! version of the conventions that docs/tracing.md names: else every look at it fails.

use std::{
    collections::{BTreeSet, HashMap},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, NumberDataPoint, metric::Data},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Server, ServerTlsConfig},
};

use super::wait_until;

/// A span as a user of Jaeger sees it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    /// W3C tracestate.
    pub(crate) trace_state: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    /// 2 server, 3 client.
    pub(crate) kind: i32,
    /// 1 OK, 2 error.
    pub(crate) status: i32,
    pub(crate) attributes: HashMap<String, String>,
    pub(crate) events: Vec<Event>,
    pub(crate) from_ns: u64,
    pub(crate) until_ns: u64,
}

/// What happened within a span.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) attributes: HashMap<String, String>,
}

impl Span {
    /// Names of its events, in their order.
    pub(crate) fn event_names(&self) -> Vec<&str> {
        self.events
            .iter()
            .map(|event| event.name.as_str())
            .collect()
    }

    /// The first event of this name.
    #[track_caller]
    pub(crate) fn event(&self, name: &str) -> &Event {
        self.events
            .iter()
            .find(|event| event.name == name)
            .unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }
}

/// What has come in so far.
#[derive(Debug, Default)]
struct Taken {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    metadata: Vec<MetadataMap>,
    misnamed: BTreeSet<String>,
}

/// All names of the conventions that are sent; tests/observability/check looks each up in the
/// published list.
const CONVENTIONS: &str = include_str!("conventions.txt");
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

impl Taken {
    fn check_name(&mut self, name: &str) {
        let is_known = name.starts_with("metronome.") || CONVENTIONS.lines().any(|it| it == name);
        if !is_known {
            self.misnamed.insert(name.to_owned());
        }
    }

    fn check_attributes(&mut self, pairs: &[KeyValue]) {
        pairs.iter().for_each(|pair| self.check_name(&pair.key));
    }

    fn check_schema(&mut self, urls: [&str; 2]) {
        let others = urls.into_iter().filter(|url| *url != SCHEMA_URL);
        self.misnamed
            .extend(others.map(|url| format!("schema_url {url:?}")));
    }

    fn check_metric(&mut self, metric: &Metric) {
        self.check_name(&metric.name);
        let attributes = match &metric.data {
            Some(Data::Sum(sum)) => points(&sum.data_points),
            Some(Data::Gauge(gauge)) => points(&gauge.data_points),
            Some(Data::Histogram(histogram)) => histogram
                .data_points
                .iter()
                .flat_map(|point| point.attributes.clone())
                .collect(),
            other => panic!("{other:?} is never sent"),
        };
        self.check_attributes(&attributes);
    }

    #[track_caller]
    fn assert_named(&self) {
        assert!(self.misnamed.is_empty(), "{:?}", self.misnamed);
    }
}

fn points(points: &[NumberDataPoint]) -> Vec<KeyValue> {
    let attributes = points.iter().flat_map(|point| &point.attributes);
    attributes.cloned().collect()
}

/// A collector that listens for as long as the test runs.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    taken: Arc<Mutex<Taken>>,
    refuses: bool,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::listen(false, None)
    }

    /// One that answers every call with UNAVAILABLE.
    pub(crate) fn that_refuses() -> Self {
        Self::listen(true, None)
    }

    /// One that speaks TLS, as `localhost`.
    pub(crate) fn over_tls(tls: ServerTlsConfig) -> Self {
        Self::listen(false, Some(tls))
    }

    fn listen(refuses: bool, tls: Option<ServerTlsConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = match tls {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let collector = Self {
            endpoint,
            taken: Arc::default(),
            refuses,
        };
        let (traces, metrics) = (collector.clone(), collector.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let traces =
                    TraceServiceServer::new(traces).accept_compressed(CompressionEncoding::Gzip);
                let metrics =
                    MetricsServiceServer::new(metrics).accept_compressed(CompressionEncoding::Gzip);
                let server = Server::builder();
                let mut server = match tls {
                    Some(tls) => server.tls_config(tls).unwrap(),
                    None => server,
                };
                let router = server.add_service(traces).add_service(metrics);
                let _ = router
                    .serve_with_incoming(TcpListenerStream::new(listener))
                    .await;
            });
        });
        collector
    }

    /// Every span so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        taken.assert_named();
        taken.spans.clone()
    }

    /// Every metric of every report so far.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let taken = self.taken.lock().unwrap();
        taken.assert_named();
        taken.metrics.clone()
    }

    /// The metadata of every call so far.
    pub(crate) fn metadata(&self) -> Vec<MetadataMap> {
        self.taken.lock().unwrap().metadata.clone()
    }

    /// Waits for a span.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        wait_until(&format!("the span of {what} comes"), || {
            self.spans().into_iter().find(&is_it)
        })
    }

    fn answer(&self, metadata: &MetadataMap) -> Result<(), Status> {
        if self.refuses {
            return Err(Status::unavailable("this collector refuses"));
        }
        self.taken.lock().unwrap().metadata.push(metadata.clone());
        Ok(())
    }
}

/// The sum of a counter's points, or the count of a distribution's.
pub(crate) fn total(metrics: &[Metric], name: &str) -> Option<f64> {
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    let metric = metrics.iter().rev().find(|metric| metric.name == name)?;
    Some(match metric.data.as_ref()? {
        Data::Sum(sum) => sum
            .data_points
            .iter()
            .map(|point| match point.value {
                Some(Value::AsDouble(value)) => value,
                Some(Value::AsInt(value)) => value as f64,
                None => 0.0,
            })
            .sum(),
        Data::Histogram(histogram) => histogram
            .data_points
            .iter()
            .map(|point| point.count as f64)
            .sum(),
        _ => return None,
    })
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.answer(request.metadata())?;
        let mut taken = self.taken.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let of_process = resource.resource.unwrap_or_default().attributes;
            taken.check_attributes(&of_process);
            for scope in &resource.scope_spans {
                taken.check_schema([&resource.schema_url, &scope.schema_url]);
            }
            let service = attributes(&of_process);
            let service = service.get("service.name").cloned().unwrap_or_default();
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                taken.check_attributes(&span.attributes);
                for event in &span.events {
                    taken.check_attributes(&event.attributes);
                }
                taken.spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    trace_state: span.trace_state,
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    kind: span.kind,
                    status: span.status.map_or(0, |status| status.code),
                    attributes: attributes(&span.attributes),
                    events: span.events.into_iter().map(Event::from).collect(),
                    from_ns: span.start_time_unix_nano,
                    until_ns: span.end_time_unix_nano,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl From<opentelemetry_proto::tonic::trace::v1::span::Event> for Event {
    fn from(event: opentelemetry_proto::tonic::trace::v1::span::Event) -> Self {
        Self {
            attributes: attributes(&event.attributes),
            name: event.name,
        }
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.answer(request.metadata())?;
        let mut taken = self.taken.lock().unwrap();
        for resource in request.into_inner().resource_metrics {
            taken.check_attributes(&resource.resource.unwrap_or_default().attributes);
            for scope in resource.scope_metrics {
                taken.check_schema([&resource.schema_url, &scope.schema_url]);
                for metric in scope.metrics {
                    taken.check_metric(&metric);
                    taken.metrics.push(metric);
                }
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(pairs: &[KeyValue]) -> HashMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    };
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), text(pair)))
        .collect()
}
