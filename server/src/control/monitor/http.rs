//! The HTTP port: what Prometheus scrapes, what probes ask and what browsers show. It reads and
//! changes nothing. Every answer names its server in a header, by its gRPC port.
//!
//! Answers are given out one by one, in turn, at a limited rate: clients that ask in a loop wait,
//! and take no core. Probes do not wait for scrapes, and neither for browsers.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | OpenMetrics; 503 when the data plane does not answer |
//! | `/healthz` | 200 while the data plane answers: a supervisor restarts a server on 503 |
//! | `/readyz` | 200 while runs may be started and their results stored, else 503 with the reason |
//! | `/`, `/assets/…`, `/api/v1/…` | the page, which is not this module's |
//! | `/api/v1/events` | the event feed, in [`super::events`]: a stream, that begins in turn |

use std::{fmt::Debug, future::ready, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State, connect_info::Connected},
    http::{
        HeaderName, HeaderValue, StatusCode, Version,
        header::{self, CONNECTION},
    },
    middleware::{Next, from_fn, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::get,
    serve::{IncomingStream, Listener},
};
use tokio_util::sync::CancellationToken;

use super::{lasting::Lasting, readings::Readings, turnstile::Turnstile};
use crate::metrics::CONTENT_TYPE;

/// Names the server that answers.
pub(super) const GRPC_PORT_HEADER: HeaderName = HeaderName::from_static("metronome-grpc-port");

/// From one answer to the next: 200 scrapes a second, and 200 probes.
const ANSWER_EVERY: Duration = Duration::from_millis(5);

/// What the port has for browsers, which its owner has guarded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    /// Answers that are given out in turn.
    pub(crate) answers: Router,
    /// Streams, which wait for their turn to begin, and for no answer.
    pub(crate) streams: Router,
}

/// Serves until `closing`.
pub(crate) fn serve<L: Listener<Addr: Debug>>(
    listener: L,
    grpc_port: u16,
    readings: Arc<Readings>,
    pages: Pages,
    closing: CancellationToken,
) where
    for<'a> Lasting: Connected<IncomingStream<'a, L>>,
{
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
    let in_turn = || from_fn_with_state(Turnstile::new(ANSWER_EVERY), wait);
    let scrapes = Router::new()
        .route("/metrics", get(scrape))
        .layer(in_turn());
    let probes = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route_layer(in_turn())
        .fallback(StatusCode::NOT_FOUND);
    let routes = scrapes
        .merge(probes)
        .with_state(readings)
        .merge(pages.answers.layer(in_turn()))
        .merge(pages.streams.layer(in_turn()))
        .layer(map_response(name))
        .layer(from_fn(in_http_1))
        .into_make_service_with_connect_info::<Lasting>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes)
            .with_graceful_shutdown(closing.cancelled_owned())
            .await
        {
            tracing::error!("the HTTP port is no longer served: {error}");
        }
    });
}

/// One connection of HTTP/2 could hold the places of many, and would be read from for ever.
async fn in_http_1(request: Request, next: Next) -> Response {
    if request.version() > Version::HTTP_11 {
        let sentence = "This port is served in HTTP/1.1.\n";
        return (StatusCode::HTTP_VERSION_NOT_SUPPORTED, sentence).into_response();
    }
    next.run(request).await
}

async fn wait(State(turnstile): State<Turnstile>, request: Request, next: Next) -> Response {
    turnstile.pass().await;
    next.run(request).await
}

async fn scrape(State(readings): State<Arc<Readings>>) -> Response {
    match readings.text().await {
        Some(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
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
