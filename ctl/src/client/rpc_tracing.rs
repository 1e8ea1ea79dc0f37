//! A span for every call to the server; the call's headers carry the span's context.
//!
//! Names and attributes are OpenTelemetry's for RPC. The span of a stream ends when the stream
//! begins.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use metronome_telemetry::{self as telemetry, rpc_status};
use tonic::{Code, Status, metadata::MetadataMap};
use tower::Service;
use tracing::{Instrument as _, Span, field::Empty};

/// A connection whose calls are spans.
#[derive(Clone, Debug)]
pub(crate) struct Traced<S> {
    service: S,
    host: String,
    port: Option<u16>,
}

impl<S> Traced<S> {
    /// `authority` is HOST:PORT.
    pub(super) fn new(service: S, authority: &str) -> Self {
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        Self {
            service,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().ok(),
        }
    }

    fn span(&self, method: &str) -> Span {
        tracing::info_span!(
            "call",
            otel.name = method,
            otel.kind = "client",
            otel.status_code = Empty,
            rpc.system.name = "grpc",
            rpc.method = method,
            rpc.response.status_code = Empty,
            error.type = Empty,
            server.address = self.host,
            server.port = self.port.map(i64::from),
        )
    }
}

impl<S, B, C> Service<http::Request<B>> for Traced<S>
where
    S: Service<http::Request<B>, Response = http::Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let span = self.span(request.uri().path().trim_start_matches('/'));
        let mut metadata = MetadataMap::from_headers(std::mem::take(request.headers_mut()));
        telemetry::inject(&span, &mut metadata);
        *request.headers_mut() = metadata.into_headers();
        let responding = self.service.call(request).instrument(span.clone());
        Box::pin(async move {
            let response = responding.await;
            // An error comes in the headers; without one there the call has succeeded so far.
            let code = match &response {
                Ok(response) => Status::from_header_map(response.headers())
                    .map_or(Code::Ok, |status| status.code()),
                Err(_) => Code::Unavailable,
            };
            span.record("rpc.response.status_code", rpc_status(code));
            if code != Code::Ok {
                span.record("error.type", rpc_status(code));
                span.record("otel.status_code", "ERROR");
            }
            response
        })
    }
}
