//! The open calls of one connection: whether it has any, and since when not.
//!
//! A call is open from its request's headers to the end of its answer's body, so that an agent's
//! session and a watched run are open calls for as long as they last. What follows from it for the
//! connection is decided where its place is.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use hyper::body::{Bytes, Frame, SizeHint};
use metronome_os::clock;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// What a connection does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Activity {
    /// It has had no call yet.
    NoCallYet,
    /// It has an open call.
    Calling,
    /// Its last call ended then: ns of the monotonic clock.
    QuietSince(u64),
}

/// Counts the open calls of one connection.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCalls {
    open: AtomicU32,
    /// When the last one ended, ns of the monotonic clock; 0 before one has.
    ended_ns: AtomicU64,
}

impl ConnectionCalls {
    /// A call, open until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> OpenCall {
        self.open.fetch_add(1, SeqCst);
        OpenCall(Arc::clone(self))
    }

    /// What the connection does now.
    pub(crate) fn activity(&self) -> Activity {
        if self.open.load(SeqCst) > 0 {
            return Activity::Calling;
        }
        match self.ended_ns.load(SeqCst) {
            0 => Activity::NoCallYet,
            ended_ns => Activity::QuietSince(ended_ns),
        }
    }
}

/// A call that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenCall(Arc<ConnectionCalls>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        // The time first, so that it is there when no call is open any more.
        self.0.ended_ns.store(clock::now_ns().max(1), SeqCst);
        self.0.open.fetch_sub(1, SeqCst);
    }
}

/// Counts the calls of one connection.
#[derive(Clone)]
pub(super) struct CountOpenCalls(pub(super) Arc<ConnectionCalls>);

impl<S> Layer<S> for CountOpenCalls {
    type Service = CountedService<S>;

    fn layer(&self, service: S) -> CountedService<S> {
        CountedService {
            calls: Arc::clone(&self.0),
            service,
        }
    }
}

/// A service whose open calls are counted.
#[derive(Clone)]
pub(super) struct CountedService<S> {
    calls: Arc<ConnectionCalls>,
    service: S,
}

impl<S, B> Service<http::Request<B>> for CountedService<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let open = self.calls.begin();
        let answering = self.service.call(request);
        Box::pin(async move {
            let answer = answering.await?;
            Ok(answer.map(|body| Body::new(CountedBody { body, _open: open })))
        })
    }
}

/// The body of an answer: while it lasts, its call is open.
struct CountedBody {
    body: Body,
    _open: OpenCall,
}

impl hyper::body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
    use super::*;

    #[test]
    fn a_connection_is_quiet_from_the_end_of_its_last_open_call_on() {
        let calls = Arc::new(ConnectionCalls::default());
        assert_eq!(calls.activity(), Activity::NoCallYet);
        let (first, second) = (calls.begin(), calls.begin());
        drop(first);
        assert_eq!(calls.activity(), Activity::Calling);
        let before = clock::now_ns();
        drop(second);
        let Activity::QuietSince(since) = calls.activity() else {
            panic!("no call is open")
        };
        assert!((before..=clock::now_ns()).contains(&since));
    }
}
