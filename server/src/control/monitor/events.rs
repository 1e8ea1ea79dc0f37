//! `/api/v1/events`: the event feed as server-sent events, for a browser's EventSource and for
//! `curl -N`.
//!
//! `?run=ID` is one run until its end, `?after=N` what came after a number; without the one it is
//! everything, without the other from now on, with the present state first. `Last-Event-ID`, which
//! a browser sends when it comes back, is a number as well, and goes before `after`.
//!
//! A stream ends when the server does, or when a new process takes over: a browser comes back by
//! itself. Absent on purpose: any way to change something, and headers for pages of other origins.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use metronome_proto::{
    json,
    run_id::RunId,
    v1::{Failure, FailureCode, WatchEventsResponse},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::{Stream, StreamExt as _};

use super::lasting::Lasting;
use crate::control::{
    feed::Selection,
    runs::{EventStream, RunManager},
};

/// Streams at a time.
pub(crate) const STREAMS_MAX: usize = 64;

/// A comment when there is no event for so long, so that a connection that is dead is noticed.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);

/// After which a browser comes back when its stream has ended.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all streams share.
#[derive(Clone)]
struct Streams {
    runs: Arc<RunManager>,
    free: Arc<Semaphore>,
}

impl Streams {
    fn new(runs: Arc<RunManager>) -> Self {
        Self {
            runs,
            free: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

/// The routes of the streams: `/api/v1/events`.
pub(crate) fn event_routes(runs: &Arc<RunManager>) -> Router {
    let streams = Streams::new(Arc::clone(runs));
    Router::new()
        .route("/api/v1/events", get(events))
        .with_state(streams)
}

/// Answers with a stream of events.
async fn events(
    State(streams): State<Streams>,
    ConnectInfo(lasting): ConnectInfo<Lasting>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let asked = match Asked::parse(query.as_deref().unwrap_or_default(), &headers) {
        Ok(asked) => asked,
        Err(problem) => return refusal(StatusCode::BAD_REQUEST, &problem),
    };
    let Ok(permit) = Arc::clone(&streams.free).try_acquire_owned() else {
        let sentence = format!("{STREAMS_MAX} streams of events are open, which is the most");
        return refusal(StatusCode::SERVICE_UNAVAILABLE, &sentence);
    };
    let selection = asked
        .run
        .map_or(Selection::All, |id| Selection::Run { id, changes: true });
    match EventStream::begin(&streams.runs, selection, asked.after).await {
        // What a browser takes as the end of it all: it has had the end of the run.
        Ok(events) if asked.has_come_back && events.has_been_given_whole() => {
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(events) => {
            lasting.begin();
            let keep_alive = KeepAlive::new().interval(KEEP_ALIVE_EVERY);
            Sse::new(sent(events, permit))
                .keep_alive(keep_alive.text("keep-alive"))
                .into_response()
        }
        Err(failure) => refusal(status(&failure), &failure.sentence),
    }
}

/// The events in their form, until the watch ends for whatever reason. The place is kept as long.
fn sent(
    events: EventStream,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, std::convert::Infallible>> {
    let events = events.map_while(move |event| {
        let _place = &permit;
        event.ok().map(|event| Ok(to_sse(&event)))
    });
    let first = Event::default().retry(RETRY_AFTER);
    tokio_stream::once(Ok(first)).chain(events)
}

fn to_sse(event: &WatchEventsResponse) -> Event {
    let sent = Event::default()
        .event(json::event::kind(event).unwrap_or("unknown"))
        .data(json::event::event(event));
    match event.number {
        0 => sent,
        number => sent.id(number.to_string()),
    }
}

/// What is asked for.
#[derive(Debug, Default, Eq, PartialEq)]
struct Asked {
    run: Option<RunId>,
    after: Option<u64>,
    /// By a browser that had a stream before.
    has_come_back: bool,
}

impl Asked {
    /// An error is one sentence.
    fn parse(query: &str, headers: &HeaderMap) -> Result<Self, String> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("run", id) => {
                    let id: Result<RunId, _> = id.parse();
                    asked.run = Some(id.map_err(|error| format!("run: {error}"))?);
                }
                ("after", number) => asked.after = Some(parse_number("after", number)?),
                _ => {
                    return Err("the query may have run=ID and after=NUMBER, nothing else".into());
                }
            }
        }
        if let Some(last) = headers.get("last-event-id").filter(|last| !last.is_empty()) {
            let last = last.to_str().unwrap_or_default();
            asked.after = Some(parse_number("Last-Event-ID", last)?);
            asked.has_come_back = true;
        }
        Ok(asked)
    }
}

fn parse_number(name: &str, text: &str) -> Result<u64, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| format!("{name}: the number of an event is required, as in `number`"))
}

fn status(failure: &Failure) -> StatusCode {
    match failure.code() {
        FailureCode::RunUnknown => StatusCode::NOT_FOUND,
        FailureCode::RunElsewhere => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refusal(status: StatusCode, sentence: &str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parsed(query: &str, last: Option<&str>) -> Result<Asked, String> {
        let mut headers = HeaderMap::new();
        if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
            headers.insert("last-event-id", last);
        }
        Asked::parse(query, &headers)
    }

    #[test]
    fn a_query_has_a_run_and_a_number_and_the_header_goes_before_it() {
        let run = Some(RunId::from_bits(7));
        for (query, last, run, after, has_come_back) in [
            ("", None, None, None, false),
            ("run=0000000000000007", None, run, None, false),
            ("after=0&run=0000000000000007", None, run, Some(0), false),
            ("after=5", Some("9"), None, Some(9), true),
            ("after=5", Some(""), None, Some(5), false),
        ] {
            let expected = Asked {
                run,
                after,
                has_come_back,
            };
            assert_eq!(parsed(query, last), Ok(expected), "{query}");
        }
    }

    #[test]
    fn what_is_no_query_is_refused_with_a_sentence() {
        for (query, last) in [
            ("run=7", None),
            ("run", None),
            ("after=-1", None),
            ("after=", None),
            ("after=99999999999999999999", None),
            ("all=1", None),
            ("", Some("x")),
            ("", Some("1 2")),
        ] {
            assert!(parsed(query, last).is_err(), "{query} {last:?}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(query: String, last: Option<String>) {
            let _ = parsed(&query, last.as_deref());
        }
    }
}
