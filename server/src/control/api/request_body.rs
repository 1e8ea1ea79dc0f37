//! The body of a request: its call is open once all of it has come, and what has come of the
//! requests that have not ended is limited over all connections.
//!
//! The library keeps a message until it is whole. The first bytes of a request are free, so that a
//! small one, such as that of an operator who stops all runs, comes through whatever others do.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use metronome_proto::v1::{Failure, FailureCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

use super::open_calls::ArrivingCall;
use crate::control::status;

/// Most bytes of all requests that have not ended.
const BYTES_MAX: usize = 16 << 20;
/// The first bytes of each request, which are not charged.
const BYTES_FREE: usize = 4 << 10;

/// Room for the requests of all connections that have not ended.
#[derive(Clone, Debug)]
pub(super) struct RequestBudget(Arc<Semaphore>);

impl RequestBudget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BYTES_MAX)))
    }

    fn charge(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let charged = Arc::clone(&self.0).try_acquire_many_owned(bytes);
        charged.map_err(|_| {
            let sentence = "too many large requests are on their way";
            let failure = Failure::new(FailureCode::AnswersFull, sentence);
            status::from_failure(&failure.with("bytes_max", BYTES_MAX))
        })
    }
}

/// A body that opens its call when it ends.
pub(super) struct RequestBody {
    body: Body,
    budget: RequestBudget,
    received: usize,
    /// Given back when the request is dropped, or when its call is open: from then on the messages
    /// of a stream are taken as they come.
    charged: Option<OwnedSemaphorePermit>,
    /// It belongs to the answer: an agent's session keeps the request for longer.
    call: Weak<ArrivingCall>,
}

impl RequestBody {
    pub(super) fn new(body: Body, call: &Arc<ArrivingCall>, budget: RequestBudget) -> Self {
        Self {
            body,
            budget,
            received: 0,
            charged: None,
            call: Arc::downgrade(call),
        }
    }

    fn is_open(&self) -> bool {
        self.call.upgrade().is_none_or(|call| call.is_open())
    }

    /// Charges what has come just now.
    fn charge(&mut self, bytes: usize) -> Result<(), Status> {
        if self.is_open() {
            self.charged = None;
            return Ok(());
        }
        let before = self.received.max(BYTES_FREE);
        self.received += bytes;
        let beyond = self.received.saturating_sub(before);
        if beyond > 0 {
            let charged = self.budget.charge(beyond)?;
            match &mut self.charged {
                Some(all) => all.merge(charged),
                None => self.charged = Some(charged),
            }
        }
        Ok(())
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if (frame.is_none() || self.body.is_end_stream())
            && let Some(call) = self.call.upgrade()
        {
            call.open();
        }
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let bytes = data.len();
            self.charge(bytes)?;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::control::api::{Activity, ConnectionCalls};

    #[tokio::test]
    async fn a_call_is_open_once_its_request_has_ended_and_not_before() {
        let calls = Arc::new(ConnectionCalls::default());
        let call = Arc::new(calls.arrive());
        let (sender, frames) = mpsc::channel::<Result<Frame<Bytes>, Status>>(1);
        let arriving = Body::new(StreamBody::new(ReceiverStream::new(frames)));
        let mut body = RequestBody::new(arriving, &call, RequestBudget::new());
        let part = Frame::data(Bytes::from_static(b"part"));
        sender.send(Ok(part)).await.unwrap();
        body.frame().await.unwrap().unwrap();
        assert!(matches!(calls.activity(), Activity::QuietSince(_)));
        drop(sender);
        assert!(body.frame().await.is_none());
        assert_eq!(calls.activity(), Activity::Calling);
        drop(call);
        assert!(matches!(calls.activity(), Activity::QuietSince(_)));
    }

    #[tokio::test]
    async fn large_requests_that_never_end_are_limited_and_small_ones_come_through() {
        let (budget, calls) = (RequestBudget::new(), Arc::new(ConnectionCalls::default()));
        let arriving = |bytes: usize| {
            let part = Ok(Frame::data(Bytes::from(vec![0; bytes])));
            let never = tokio_stream::pending::<Result<Frame<Bytes>, Status>>();
            let frames = tokio_stream::StreamExt::chain(tokio_stream::once(part), never);
            let call = Arc::new(calls.arrive());
            let body = RequestBody::new(Body::new(StreamBody::new(frames)), &call, budget.clone());
            (body, call)
        };
        let mut waiting = Vec::new();
        let refusal = loop {
            let (mut body, call) = arriving(1 << 20);
            match body.frame().await.unwrap() {
                Ok(_) => waiting.push((body, call)),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        assert_eq!(waiting.len(), BYTES_MAX / ((1 << 20) - BYTES_FREE));
        let (mut small, _call) = arriving(BYTES_FREE);
        small.frame().await.unwrap().unwrap();
        drop(waiting);
        assert_eq!(budget.0.available_permits(), BYTES_MAX);
    }
}
