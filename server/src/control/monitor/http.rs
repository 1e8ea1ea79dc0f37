//! The HTTP port: what Prometheus scrapes and what probes ask. It reads and changes nothing. Every
//! answer names its server in a header, by its gRPC port.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | OpenMetrics; 503 when the data plane does not answer |
//! | `/healthz` | 200 while the data plane answers: a supervisor restarts a server on 503 |
//! | `/readyz` | 200 while runs may be started, else 503 with the reason |

use std::{fmt::Debug, future::ready, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{self, CONNECTION},
    },
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio_util::sync::CancellationToken;
use tower::limit::GlobalConcurrencyLimitLayer;

use super::readings::Readings;
use crate::metrics::{CONTENT_TYPE, write};

/// Names the server that answers.
pub(super) const GRPC_PORT_HEADER: HeaderName = HeaderName::from_static("metronome-grpc-port");

/// Requests that are being answered; more have to wait.
const REQUESTS_MAX: usize = 16;

/// Serves until `closing`.
pub(crate) fn serve(
    listener: impl axum::serve::Listener<Addr: Debug>,
    grpc_port: u16,
    readings: Arc<Readings>,
    closing: CancellationToken,
) {
    let name = move |mut answer: Response| {
        answer
            .headers_mut()
            .insert(GRPC_PORT_HEADER, HeaderValue::from(grpc_port));
        // Places are few: no client keeps one for its next request.
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        ready(answer)
    };
    let routes = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .layer(map_response(name))
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_MAX))
        .with_state(readings);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes)
            .with_graceful_shutdown(closing.cancelled_owned())
            .await
        {
            tracing::error!("the HTTP port is no longer served: {error}");
        }
    });
}

async fn scrape(State(readings): State<Arc<Readings>>) -> Response {
    match readings.read().await {
        Some(families) => {
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], write(&families)).into_response()
        }
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the data plane does not answer\n",
        )
            .into_response(),
    }
}

async fn health(State(readings): State<Arc<Readings>>) -> Response {
    if readings.is_alive().await {
        "ok\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the data plane does not answer\n",
        )
            .into_response()
    }
}

async fn readiness(State(readings): State<Arc<Readings>>) -> Response {
    match readings.unready().await {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}
