//! The events of a server, one after the other, for as long as somebody takes them.
//!
//! A stream that breaks is begun again after the last event, for a while: a restart or an upgrade
//! of the server must not end a watch. The server makes up for what was missed meanwhile with its
//! present state.

use std::time::Duration;

use metronome_proto::v1::{
    self, FailureCode, watch_events_request::Runs, watch_events_response::Event,
};
use tokio::time::{Instant, sleep};

use super::{errors::may_pass, requests::Client};
use crate::exit::Failure;

/// A stream that stays broken for longer is given up: a restart takes less.
const RECONNECT_TIME_MAX: Duration = Duration::from_secs(15);
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// Which events, and where to begin.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) runs: Runs,
    /// The number of the last event that is known. `None`: the present state comes first.
    pub(crate) after: Option<u64>,
}

impl Client {
    /// Gives every event to `on_event`, until it has enough (false), or the one run that is watched
    /// has ended; then returns that.
    pub(crate) async fn follow(
        &self,
        mut wanted: Wanted,
        mut on_event: impl FnMut(&v1::WatchEventsResponse) -> Result<bool, Failure>,
    ) -> Result<Option<v1::Run>, Failure> {
        let mut give_up_at = Instant::now() + RECONNECT_TIME_MAX;
        loop {
            let followed = self.follow_once(&mut wanted, |event| {
                give_up_at = Instant::now() + RECONNECT_TIME_MAX;
                on_event(event)
            });
            let failure = match followed.await? {
                Ok(run) => return Ok(run),
                Err(failure) => failure,
            };
            let is_over = Instant::now() >= give_up_at;
            let may_pass = may_pass(&failure) || failure.code() == FailureCode::EventsMissed;
            if !may_pass || is_over {
                return Err(failure);
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    /// One stream. The outer error is that of `on_event`, the inner one why the stream ended.
    async fn follow_once(
        &self,
        wanted: &mut Wanted,
        mut on_event: impl FnMut(&v1::WatchEventsResponse) -> Result<bool, Failure>,
    ) -> Result<Result<Option<v1::Run>, Failure>, Failure> {
        let request = v1::WatchEventsRequest {
            runs: Some(wanted.runs.clone()),
            after: wanted.after,
            changes: matches!(wanted.runs, Runs::RunId(_)),
        };
        let mut events = match self.events(request).await {
            Ok(events) => events,
            Err(failure) => return Ok(Err(failure)),
        };
        loop {
            let response = match events.message().await {
                Ok(Some(response)) => response,
                Ok(None) => {
                    let cause = "the stream of events ended";
                    return Ok(Err(self.dialled().lost(cause)));
                }
                Err(status) => return Ok(Err(self.failure(&status, None).await)),
            };
            if response.number > 0 {
                wanted.after = Some(response.number);
            }
            if !on_event(&response)? {
                return Ok(Ok(None));
            }
            if let (Some(Event::RunEnded(run)), Runs::RunId(run_id)) =
                (response.event, &wanted.runs)
            {
                return Ok(self.same_run(run, run_id).map(Some));
            }
        }
    }
}
