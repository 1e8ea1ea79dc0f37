//! The events of a server, one after the other, for as long as somebody takes them.
//!
//! A stream that breaks is begun again where it was, for a while: a restart or an upgrade of the
//! server, or a short interruption of the network, must neither end a watch nor cost the report of
//! a long run. The server makes up for what was missed meanwhile with its present state.

use std::time::Duration;

use metronome_proto::v1::{
    self, FailureCode, watch_events_request::Runs, watch_events_response::Event,
};
use tokio::time::{Instant, sleep};

use super::{errors::may_pass, requests::Client};
use crate::exit::Failure;

/// A stream of events that stays broken for longer is given up: a restart takes less.
const RECONNECT_TIME_MAX: Duration = Duration::from_secs(15);
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
/// Runs that a request names as followed, at most; more are never going on at a time.
const FOLLOWED_MAX: usize = 100;

/// Which events, and where to begin.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) runs: Runs,
    /// The number of the last event that is known. `None`: the present state comes first.
    pub(crate) after: Option<u64>,
}

/// How a watch has come to its end.
#[derive(Debug)]
pub(super) enum Followed {
    /// The one run that was watched has ended.
    ToEnd(Box<v1::Run>),
    /// Who took the events has enough.
    Enough,
    /// The stream broke for this reason, and did not come back.
    Lost(Failure),
}

/// For how long a broken stream is begun again.
pub(super) struct Retries<'a> {
    /// Since the last event.
    pub(super) time_max: Duration,
    /// Whether that is in vain by now. Asked when a stream has broken.
    pub(super) is_vain: &'a mut dyn FnMut() -> bool,
}

impl Client {
    /// Gives every event to `on_event`, until it has enough (false), or the one run that is watched
    /// has ended; then returns that.
    pub(crate) async fn follow(
        &self,
        wanted: Wanted,
        on_event: impl FnMut(&v1::WatchEventsResponse) -> Result<bool, Failure>,
    ) -> Result<Option<v1::Run>, Failure> {
        let request = v1::WatchEventsRequest {
            changes: matches!(wanted.runs, Runs::RunId(_)),
            runs: Some(wanted.runs),
            after: wanted.after,
            ..v1::WatchEventsRequest::default()
        };
        let retries = Retries {
            time_max: RECONNECT_TIME_MAX,
            is_vain: &mut || false,
        };
        match self.follow_events(request, retries, on_event).await? {
            Followed::ToEnd(run) => Ok(Some(*run)),
            Followed::Enough => Ok(None),
            Followed::Lost(failure) => Err(failure),
        }
    }

    /// Gives the events that are asked for to `on_event` until one of the ends, over as many
    /// streams as that takes.
    pub(super) async fn follow_events(
        &self,
        mut request: v1::WatchEventsRequest,
        retries: Retries<'_>,
        mut on_event: impl FnMut(&v1::WatchEventsResponse) -> Result<bool, Failure>,
    ) -> Result<Followed, Failure> {
        let mut give_up_at = Instant::now() + retries.time_max;
        loop {
            let followed = self.follow_once(&mut request, |event| {
                give_up_at = Instant::now() + retries.time_max;
                on_event(event)
            });
            let failure = match followed.await? {
                Followed::Lost(failure) => failure,
                end => return Ok(end),
            };
            if !may_pass(&failure) && failure.code() != FailureCode::EventsMissed {
                return Err(failure);
            }
            if Instant::now() >= give_up_at || (retries.is_vain)() {
                return Ok(Followed::Lost(failure));
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    /// One stream, after which `request` asks for what comes behind it. The error is that of
    /// `on_event`, or one of a response that is none.
    async fn follow_once(
        &self,
        request: &mut v1::WatchEventsRequest,
        mut on_event: impl FnMut(&v1::WatchEventsResponse) -> Result<bool, Failure>,
    ) -> Result<Followed, Failure> {
        let mut events = match self.events(request.clone()).await {
            Ok(events) => events,
            Err(failure) => return Ok(Followed::Lost(failure)),
        };
        loop {
            let response = match events.message().await {
                Ok(Some(response)) => response,
                Ok(None) => {
                    let cause = "the stream of events ended";
                    return Ok(Followed::Lost(self.dialled().lost(cause)));
                }
                Err(status) => return Ok(Followed::Lost(self.failure(&status, None).await)),
            };
            go_on_behind(request, &response);
            if !on_event(&response)? {
                return Ok(Followed::Enough);
            }
            if let (Some(Event::RunEnded(run)), Some(Runs::RunId(run_id))) =
                (response.event, &request.runs)
            {
                let run = self.same_run(run, run_id)?;
                return Ok(Followed::ToEnd(Box::new(run)));
            }
        }
    }
}

/// Makes a request one for what comes behind this event.
fn go_on_behind(request: &mut v1::WatchEventsRequest, response: &v1::WatchEventsResponse) {
    let is_of_one_run = matches!(request.runs, Some(Runs::RunId(_)));
    // Of one run without its changes the newest snapshot is all that there is to come back to.
    if response.number > 0 && (request.changes || !is_of_one_run) {
        request.after = Some(response.number);
    }
    if !matches!(request.runs, Some(Runs::Filter(_))) {
        return;
    }
    let followed = &mut request.followed_run_ids;
    match &response.event {
        // What is not named there has ended.
        Some(Event::Present(state)) => followed.clone_from(&state.run_ids),
        Some(Event::RunEnded(run)) => followed.retain(|id| *id != run.run_id),
        Some(Event::RunChanged(run)) if !followed.contains(&run.run_id) => {
            followed.push(run.run_id.clone());
        }
        Some(_) | None => {}
    }
    followed.truncate(FOLLOWED_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(run_id: &str) -> v1::Run {
        v1::Run {
            run_id: run_id.into(),
            ..v1::Run::default()
        }
    }

    fn behind(runs: Runs, changes: bool, events: Vec<Event>) -> v1::WatchEventsRequest {
        let mut request = v1::WatchEventsRequest {
            runs: Some(runs),
            changes,
            ..v1::WatchEventsRequest::default()
        };
        for (number, event) in (1..).zip(events) {
            let response = v1::WatchEventsResponse {
                number,
                event: Some(event),
                ..v1::WatchEventsResponse::default()
            };
            go_on_behind(&mut request, &response);
        }
        request
    }

    #[test]
    fn a_watch_of_a_filter_comes_back_with_the_runs_that_it_has_seen_and_whose_end_it_has_not() {
        let present = v1::PresentState {
            run_ids: vec!["a".into()],
            ..v1::PresentState::default()
        };
        let events = || {
            vec![
                Event::RunChanged(run("gone")),
                Event::Present(present.clone()),
                Event::RunChanged(run("a")),
                Event::RunChanged(run("b")),
                Event::RunChanged(run("b")),
                Event::RunChanged(run("c")),
                Event::RunEnded(run("b")),
            ]
        };
        let request = behind(Runs::Filter("x".into()), false, events());
        assert_eq!(request.followed_run_ids, ["a", "c"]);
        assert_eq!(request.after, Some(7));
        let all = behind(Runs::All(true), false, events());
        assert!(all.followed_run_ids.is_empty(), "{all:?}");
        let many = (0..500).map(|number| Event::RunChanged(run(&number.to_string())));
        let many = behind(Runs::Filter("x".into()), false, many.collect());
        assert_eq!(many.followed_run_ids.len(), FOLLOWED_MAX);
    }

    #[test]
    fn a_watch_of_one_run_comes_back_after_a_number_only_where_it_has_its_changes() {
        let of = |changes| {
            let events = vec![Event::Snapshot(v1::Snapshot::default())];
            behind(Runs::RunId("a".into()), changes, events).after
        };
        assert_eq!((of(true), of(false)), (Some(1), None));
    }
}
