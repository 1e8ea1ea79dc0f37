//! The events of a watch as a stream: those of the feed, and of a run that has ended its end from
//! the history.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use metronome_proto::{
    run_id::RunId,
    v1::{self, Failure, FailureCode, WatchEventsResponse, watch_events_response::Event},
};
use tokio_stream::Stream;

use super::manager::RunManager;
use crate::control::{
    feed::{Next, Selection, Watch},
    status,
};

/// The events of a watch, by rising number. It ends with an error, or with the end of the one run
/// that is watched.
pub(crate) struct EventStream {
    next: Option<Step>,
    has_been_given_whole: bool,
}

/// The next event, and the watch that gives the one after it.
type Step = Pin<
    Box<dyn Future<Output = (Watching, Result<Option<Box<WatchEventsResponse>>, Failure>)> + Send>,
>;

/// A watch, and what it needs beside the feed.
struct Watching {
    runs: Arc<RunManager>,
    watch: Watch,
    /// The run, where it had ended before.
    ended: Option<v1::Run>,
    id: Option<RunId>,
}

impl EventStream {
    /// Watches what comes after a number of the feed; without one, from now on.
    ///
    /// # Errors
    /// The one run that is asked for does not exist, or is another server's.
    pub(crate) async fn begin(
        runs: &Arc<RunManager>,
        selection: Selection,
        after: Option<u64>,
    ) -> Result<Self, Failure> {
        let id = match selection {
            Selection::Run { id, .. } => Some(id),
            Selection::All | Selection::Matching(_) => None,
        };
        let watch = Watch::begin(&runs.feed, selection, after);
        let ended = match id.filter(|_| !watch.is_going_on()) {
            Some(id) => Some(ended_run(runs, id).await?),
            None => None,
        };
        let watching = Watching {
            runs: Arc::clone(runs),
            watch,
            ended,
            id,
        };
        Ok(Self {
            has_been_given_whole: watching.watch.has_been_given_whole(),
            next: Some(Box::pin(watching.step())),
        })
    }

    /// Whether the caller has had all of the one run already, up to its end.
    pub(crate) fn has_been_given_whole(&self) -> bool {
        self.has_been_given_whole
    }
}

impl Stream for EventStream {
    type Item = Result<Box<WatchEventsResponse>, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        let (watching, event) = ready!(next.as_mut().poll(context));
        self.next = match event {
            Ok(Some(_)) => Some(Box::pin(watching.step())),
            Ok(None) | Err(_) => None,
        };
        Poll::Ready(event.transpose())
    }
}

impl Watching {
    async fn step(mut self) -> (Self, Result<Option<Box<WatchEventsResponse>>, Failure>) {
        let event = self.next().await;
        (self, event)
    }

    async fn next(&mut self) -> Result<Option<Box<WatchEventsResponse>>, Failure> {
        match self.watch.next().await {
            Next::Event(event) => Ok(Some(event)),
            Next::Gone(number) => self.end(number).await.map(Some),
            Next::Over => Ok(None),
            Next::Missed => Err(missed()),
            Next::Closed => Err(self.closed()),
        }
    }

    /// The end of a run that is not in the feed any more.
    async fn end(&mut self, number: u64) -> Result<Box<WatchEventsResponse>, Failure> {
        let run = match (self.ended.take(), self.id) {
            (Some(run), _) => run,
            (None, Some(id)) => ended_run(&self.runs, id).await?,
            (None, None) => return Err(status::internal("a watch of no run has ended")),
        };
        Ok(Box::new(WatchEventsResponse {
            number,
            at: None,
            event: Some(Event::RunEnded(run)),
        }))
    }

    fn closed(&self) -> Failure {
        if self.runs.draining.is_cancelled() {
            let sentence = "the server is shutting down";
            Failure::new(FailureCode::Draining, sentence)
        } else {
            let sentence = "another process of the server has taken over; watch there";
            Failure::new(FailureCode::Upgrading, sentence)
        }
    }
}

/// A run that is not in the feed: it has ended.
async fn ended_run(runs: &RunManager, id: RunId) -> Result<v1::Run, Failure> {
    let run = runs.find(id).await?;
    if run.state().is_final() {
        Ok(run)
    } else {
        Err(status::elsewhere(id))
    }
}

fn missed() -> Failure {
    let sentence =
        "events were not taken for so long that changes among them are not kept any more";
    Failure::new(FailureCode::EventsMissed, sentence)
}
