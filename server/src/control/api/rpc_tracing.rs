//! Traces every call of the API: a span that continues the caller's trace, and how long the
//! answer took.
//!
//! Names and attributes are OpenTelemetry's for RPC: `rpc.method` is `package.Service/Method`, of a
//! method that does not exist `_OTHER`. A call of a stream ends, here, when the stream begins. An
//! agent's stream lasts as long as the agent, so it has no span: its runs have.

use std::{
    collections::HashSet,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use metronome_proto::DESCRIPTORS;
use metronome_telemetry as telemetry;
use prost::Message as _;
use tonic::{Code, Status, metadata::MetadataMap, transport::server::TcpConnectInfo};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field::Empty};

use crate::control::monitor::{CallCounters, is_fault_of_server};

/// Lasts for an agent's life.
const AGENT_SESSION: &str = "metronome.v1.AgentService/Session";
/// OpenTelemetry's name for a method that does not exist.
const OTHER: &str = "_OTHER";

/// Wraps the services of the gRPC port.
#[derive(Clone)]
pub(crate) struct RpcTracing {
    counters: Arc<CallCounters>,
    methods: Arc<HashSet<String>>,
}

impl RpcTracing {
    pub(super) fn new(counters: Arc<CallCounters>) -> Self {
        Self {
            counters,
            methods: Arc::new(methods()),
        }
    }
}

/// `package.Service/Method` of all that is served.
fn methods() -> HashSet<String> {
    let files = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ]
    .into_iter()
    .flat_map(|bytes| {
        prost_types::FileDescriptorSet::decode(bytes)
            .unwrap_or_default()
            .file
    });
    let of_file = |file: prost_types::FileDescriptorProto| {
        let package = file.package.unwrap_or_default();
        let of_service = move |service: prost_types::ServiceDescriptorProto| {
            let prefix = format!("{package}.{}", service.name.unwrap_or_default());
            service
                .method
                .into_iter()
                .map(move |method| format!("{prefix}/{}", method.name.unwrap_or_default()))
        };
        file.service.into_iter().flat_map(of_service)
    };
    files.flat_map(of_file).collect()
}

impl<S> Layer<S> for RpcTracing {
    type Service = TracedService<S>;

    fn layer(&self, service: S) -> TracedService<S> {
        TracedService {
            tracing: self.clone(),
            service,
        }
    }
}

/// A service whose calls are traced.
#[derive(Clone)]
pub(crate) struct TracedService<S> {
    tracing: RpcTracing,
    service: S,
}

impl<S, B, A> Service<http::Request<B>> for TracedService<S>
where
    S: Service<http::Request<B>, Response = http::Response<A>>,
    S::Future: Send + 'static,
    S::Error: Send,
    A: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let asked = request.uri().path().trim_start_matches('/');
        let method = self
            .tracing
            .methods
            .get(asked)
            .map_or(OTHER, String::as_str)
            .to_owned();
        let span = if method.starts_with("metronome.") && method != AGENT_SESSION {
            span(&method, &request)
        } else {
            Span::none()
        };
        let counters = Arc::clone(&self.tracing.counters);
        let arrived = Instant::now();
        let answering = self.service.call(request).instrument(span.clone());
        Box::pin(async move {
            let answer = answering.await?;
            // An error comes in the headers; without one there the call has gone well so far.
            let code =
                Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code());
            let status = telemetry::rpc_status(code);
            if method != AGENT_SESSION {
                let traced = telemetry::SampledSpan::of(&span);
                counters.call_answered(&method, status, arrived.elapsed(), traced);
            }
            span.record("rpc.response.status_code", status);
            if is_fault_of_server(status) {
                span.record("error.type", status);
                span.record("otel.status_code", "ERROR");
            }
            Ok(answer)
        })
    }
}

fn span<B>(method: &str, request: &http::Request<B>) -> Span {
    let span = tracing::info_span!(
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        error.type = Empty,
        server.address = Empty,
        server.port = Empty,
    );
    let connection = request.extensions().get::<TcpConnectInfo>();
    if let Some(local) = connection.and_then(TcpConnectInfo::local_addr) {
        span.record("server.address", local.ip().to_canonical().to_string());
        span.record("server.port", i64::from(local.port()));
    }
    telemetry::continue_from(&span, &MetadataMap::from_headers(request.headers().clone()));
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_api_is_known_by_its_full_name() {
        let methods = methods();
        for method in [
            "metronome.v1.RunService/StartRun",
            "metronome.v1.FleetService/GetServer",
            "metronome.v1.AdminService/Upgrade",
            AGENT_SESSION,
            "grpc.health.v1.Health/Check",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(methods.contains(method), "{method} in {methods:?}");
        }
    }
}
