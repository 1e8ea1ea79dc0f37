//! The HTTP port: what Prometheus scrapes and what probes ask. It reads and changes nothing.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | OpenMetrics or, as `Accept` has it, Prometheus' text; 503 when the data plane does not answer |
//! | `/healthz` | 200 while the data plane answers: a supervisor restarts a server that says 503 |
//! | `/readyz` | 200 while runs may be started, else 503 with the reason |

use std::{future::Future, net::TcpListener, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use tower::limit::GlobalConcurrencyLimitLayer;

use super::metrics::Metrics;
use crate::metrics::exposition::{Form, write};

/// Requests that are being answered; more have to wait.
const REQUESTS_MAX: usize = 16;

/// Serves until `stopped`.
pub(super) fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true).context("the HTTP listener cannot be used")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("the HTTP listener cannot be used")?;
    let routes = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_MAX))
        .with_state(metrics);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stopped).await {
            tracing::error!("the HTTP port is no longer served: {error}");
        }
    });
    Ok(())
}

async fn scrape(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = Form::accepted(accept);
    match metrics.read().await {
        Some(families) => ([(CONTENT_TYPE, form.content_type())], write(families, form)).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the data plane does not answer\n").into_response(),
    }
}

async fn health(State(metrics): State<Arc<Metrics>>) -> Response {
    if metrics.is_alive().await {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the data plane does not answer\n").into_response()
    }
}

async fn readiness(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.unready().await {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}
