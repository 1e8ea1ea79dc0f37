//! What surrounds the answers of one connection: their calls are counted, and the bytes that
//! wait to be read are limited over all connections.
//!
//! An answer waits where its caller gives the stream no window. So the answer of a call that
//! reads is charged to one budget, part by part as it is encoded, until the connection has taken
//! it; a part that finds no room ends its call with `ANSWERS_FULL`. The connection takes small
//! pieces, so that little lies beyond the budget: it asks for a part as soon as it has passed on
//! the one before, and keeps one piece until its caller gives a window. Calls that change something
//! are not charged: an operator can stop all runs when others have used up the budget. A session of
//! an agent is not either.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::body::{Body as HttpBody, Bytes, Frame};
use metronome_proto::v1::{Failure, FailureCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{
    library_errors::{cut_message, explained, is_ours},
    open_calls::{ArrivingCall, ConnectionCalls, UnreadPart},
    request_body::{RequestBody, RequestBudget},
};
use crate::control::status;

/// Most bytes of all answers that wait to be read.
const BYTES_MAX: usize = 16 << 20;
/// Bytes of a part that the connection takes at a time.
const PIECE_BYTES: usize = 4 << 10;
/// What a stream takes beside its bytes.
const STREAM_BYTES: usize = 4 << 10;

/// The calls whose answers are charged: those that read.
const CHARGED: [&str; 6] = [
    "/metronome.v1.RunService/GetRun",
    "/metronome.v1.RunService/ListRuns",
    "/metronome.v1.RunService/WatchEvents",
    "/metronome.v1.RunService/ExportRun",
    "/metronome.v1.FleetService/ListAgents",
    "/grpc.reflection.",
];

/// Room for the answers of all connections.
#[derive(Clone, Debug)]
pub(super) struct AnswerBudget {
    bytes: Arc<Semaphore>,
}

impl AnswerBudget {
    pub(super) fn new() -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(BYTES_MAX)),
        }
    }

    fn charge(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let bytes = u32::try_from(bytes + STREAM_BYTES).unwrap_or(u32::MAX);
        let charged = Arc::clone(&self.bytes).try_acquire_many_owned(bytes);
        charged.map_err(|_| full())
    }
}

fn full() -> Status {
    let sentence = "too many answers wait to be read by their callers";
    let failure = Failure::new(FailureCode::AnswersFull, sentence);
    status::from_failure(&failure.with("bytes_max", BYTES_MAX))
}

/// Counts the calls of one connection and charges their answers.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) calls: Arc<ConnectionCalls>,
    pub(super) budget: AnswerBudget,
    pub(super) requests: RequestBudget,
}

impl<S> Layer<S> for Answers {
    type Service = AnsweringService<S>;

    fn layer(&self, service: S) -> AnsweringService<S> {
        AnsweringService {
            answers: self.clone(),
            service,
        }
    }
}

/// A service whose open calls are counted and whose answers are charged.
#[derive(Clone)]
pub(super) struct AnsweringService<S> {
    answers: Answers,
    service: S,
}

impl<S> Service<http::Request<Body>> for AnsweringService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = Arc::new(self.answers.calls.arrive());
        let path = request.uri().path();
        let is_ours = is_ours(path);
        let is_charged = CHARGED.iter().any(|charged| path.starts_with(charged));
        let charged = is_charged.then(|| Charged::new(self.answers.clone()));
        let requests = &self.answers.requests;
        let request = request.map(|body| RequestBody::new(body, &call, requests.clone()));
        let request = request.map(Body::new);
        let answering = self.service.call(request);
        Box::pin(async move {
            let mut answer = answering.await?;
            if is_ours {
                answer = explained(answer);
            }
            cut_message(answer.headers_mut());
            // A call with a stream of requests may be answered before its first one has come.
            call.open();
            Ok(answer.map(|body| Body::new(AnswerBody::new(body, charged, call))))
        })
    }
}

/// The part of an answer that the budget is charged for.
struct Charged {
    answers: Answers,
    part: Option<(OwnedSemaphorePermit, UnreadPart)>,
}

impl Charged {
    fn new(answers: Answers) -> Self {
        Self {
            answers,
            part: None,
        }
    }

    /// The next part takes the place of the one before, which was taken by the connection.
    fn charge(&mut self, bytes: usize) -> Result<(), Status> {
        self.part = None;
        let charged = self.answers.budget.charge(bytes);
        let charged = charged.inspect_err(|_| self.answers.calls.note_shortage())?;
        self.part = Some((charged, self.answers.calls.wait_to_be_read()));
        Ok(())
    }
}

/// The body of an answer: while it lasts, its call is open.
struct AnswerBody {
    body: Body,
    charged: Option<Charged>,
    /// What the connection has not taken yet of the part that was encoded.
    untaken: Bytes,
    _call: Arc<ArrivingCall>,
}

impl AnswerBody {
    fn new(body: Body, charged: Option<Charged>, call: Arc<ArrivingCall>) -> Self {
        Self {
            body,
            charged,
            untaken: Bytes::new(),
            _call: call,
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(piece) = self.piece() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        // It is polled again only when the last piece was taken.
        if let Some(charged) = &mut self.charged {
            charged.part = None;
        }
        let Some(frame) = ready!(HttpBody::poll_frame(Pin::new(&mut self.body), context)) else {
            return Poll::Ready(None);
        };
        let data = match frame?.into_data() {
            Ok(data) => data,
            Err(mut trailers) => {
                if let Some(trailers) = trailers.trailers_mut() {
                    cut_message(trailers);
                }
                return Poll::Ready(Some(Ok(trailers)));
            }
        };
        if let Some(charged) = &mut self.charged
            && let Err(full) = charged.charge(data.len())
        {
            self.body = Body::empty();
            let mut trailers = http::HeaderMap::new();
            full.add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        // What encodes reserves more than it needs.
        self.untaken = Bytes::copy_from_slice(&data);
        let piece = self.piece().unwrap_or_default();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    /// The next piece of what is encoded. It is a copy, so that it does not keep all of it.
    fn piece(&mut self) -> Option<Bytes> {
        let bytes = self.untaken.len().min(PIECE_BYTES);
        let piece = self.untaken.split_to(bytes);
        if self.untaken.is_empty() {
            self.untaken = Bytes::new();
        }
        (bytes > 0).then(|| Bytes::copy_from_slice(&piece))
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.next(context)
    }

    fn is_end_stream(&self) -> bool {
        self.untaken.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn body(budget: &AnswerBudget, calls: &Arc<ConnectionCalls>, bytes: usize) -> AnswerBody {
        let answers = Answers {
            calls: Arc::clone(calls),
            budget: budget.clone(),
            requests: RequestBudget::new(),
        };
        let content: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        let encoded = Full::new(Bytes::from(content)).map_err(|never| match never {});
        let charged = Some(Charged::new(answers));
        AnswerBody::new(Body::new(encoded), charged, Arc::new(calls.arrive()))
    }

    #[tokio::test]
    async fn an_answer_is_whole_and_gives_back_what_it_was_charged() {
        let (budget, calls) = (AnswerBudget::new(), Arc::default());
        for bytes in [1, PIECE_BYTES, PIECE_BYTES + 1, 1 << 20] {
            let body = body(&budget, &calls, bytes);
            let collected = body.collect().await.unwrap().to_bytes();
            assert_eq!(collected.len(), bytes);
            let is_same = |(at, byte): (usize, &u8)| *byte == at as u8;
            assert!(collected.iter().enumerate().all(is_same));
            assert_eq!(budget.bytes.available_permits(), BYTES_MAX);
        }
    }

    #[tokio::test]
    async fn answers_that_wait_beyond_the_budget_end_in_an_error_and_others_go_on() {
        let (budget, calls) = (AnswerBudget::new(), Arc::default());
        let mut waiting = Vec::new();
        loop {
            let mut body = body(&budget, &calls, 1 << 20);
            let frame = body.frame().await.unwrap().unwrap();
            let Err(trailers) = frame.into_data() else {
                waiting.push(body);
                continue;
            };
            let trailers = trailers.into_trailers().unwrap();
            assert_eq!(trailers["grpc-status"], "8");
            break;
        }
        assert_eq!(waiting.len(), BYTES_MAX / ((1 << 20) + STREAM_BYTES));
        assert!(calls.unread_since().is_some());
        drop(waiting);
        assert_eq!(calls.unread_since(), None);
        assert_eq!(budget.bytes.available_permits(), BYTES_MAX);
    }
}
