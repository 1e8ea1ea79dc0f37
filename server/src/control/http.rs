//! The HTTP port: what Prometheus scrapes and what probes ask. It reads and changes nothing. Every
//! answer says in a header which server it is of, by its gRPC port.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | OpenMetrics; 503 when the data plane does not answer |
//! | `/healthz` | 200 while the data plane answers: a supervisor restarts a server that says 503 |
//! | `/readyz` | 200 while runs may be started, else 503 with the reason |

use std::{
    future::{Future, ready},
    sync::Arc,
};

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
use tower::limit::GlobalConcurrencyLimitLayer;

use super::{listener::Intake, metrics::Metrics};
use crate::metrics::{CONTENT_TYPE, write};

/// Which server it is that answers.
pub(super) const GRPC_PORT_HEADER: HeaderName = HeaderName::from_static("metronome-grpc-port");

/// Requests that are being answered; more have to wait.
const REQUESTS_MAX: usize = 16;

/// Serves until `stopped`.
pub(super) fn serve(
    intake: Intake,
    grpc_port: u16,
    metrics: Arc<Metrics>,
    stopped: impl Future<Output = ()> + Send + 'static,
) {
    let name = move |mut answer: Response| {
        answer
            .headers_mut()
            .insert(GRPC_PORT_HEADER, HeaderValue::from(grpc_port));
        // Places are few: nobody keeps one for its next question.
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
        .with_state(metrics);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(intake, routes)
            .with_graceful_shutdown(stopped)
            .await
        {
            tracing::error!("the HTTP port is no longer served: {error}");
        }
    });
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.read().await {
        Some(families) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], write(families)).into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the data plane does not answer\n",
        )
            .into_response(),
    }
}

async fn health(State(metrics): State<Arc<Metrics>>) -> Response {
    if metrics.is_alive().await {
        "ok\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the data plane does not answer\n",
        )
            .into_response()
    }
}

async fn readiness(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.unready().await {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}
