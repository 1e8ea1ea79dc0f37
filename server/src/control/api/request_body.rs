//! The body of a request: its call is open once all of it has come.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tonic::{Status, body::Body};

use super::open_calls::ArrivingCall;

/// A body that opens its call when it ends.
pub(super) struct RequestBody {
    body: Body,
    /// It belongs to the answer: an agent's session keeps the request for longer.
    call: Weak<ArrivingCall>,
}

impl RequestBody {
    pub(super) fn new(body: Body, call: &Arc<ArrivingCall>) -> Self {
        Self {
            body,
            call: Arc::downgrade(call),
        }
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
        let mut body = RequestBody::new(arriving, &call);
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
}
