//! A run watched to its end.
//!
//! A stream that breaks is begun again for a few seconds: a restart of the server or a short
//! interruption of the network must not cost the report of a long run.

use std::time::Duration;

use metronome_proto::v1::{
    self, FailureCode, watch_events_request::Runs, watch_events_response::Event,
};
use tokio::time::{Instant, sleep};

use super::{errors::may_pass, requests::Client};
use crate::exit::Failure;

/// A stream that stays broken for longer is given up.
const RECONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

impl Client {
    /// Waits until a run has ended, and returns it with its report. Each snapshot until then goes
    /// to `on_snapshot`. Once `server_has_ended` a broken stream is not begun again.
    pub(crate) async fn watch_to_end(
        &self,
        run_id: &str,
        mut server_has_ended: impl FnMut() -> bool,
        mut on_snapshot: impl FnMut(&v1::Snapshot),
    ) -> Result<v1::Run, Failure> {
        let mut give_up_at = Instant::now() + RECONNECT_TIME_MAX;
        loop {
            let watched = self.until_end(run_id, |snapshot| {
                give_up_at = Instant::now() + RECONNECT_TIME_MAX;
                on_snapshot(snapshot);
            });
            let failure = match watched.await {
                Ok(run) => return Ok(run),
                Err(failure) => failure,
            };
            if !may_pass(&failure) {
                return Err(failure);
            }
            if Instant::now() >= give_up_at || server_has_ended() {
                return Err(lost_contact(run_id, &failure));
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    /// The run once it has ended, or why its stream ended before.
    async fn until_end(
        &self,
        run_id: &str,
        mut on_snapshot: impl FnMut(&v1::Snapshot),
    ) -> Result<v1::Run, Failure> {
        let request = v1::WatchEventsRequest {
            runs: Some(Runs::RunId(run_id.into())),
            ..v1::WatchEventsRequest::default()
        };
        let mut events = self.events(request).await?;
        loop {
            let response = match events.message().await {
                Ok(Some(response)) => response,
                Ok(None) => {
                    let cause = "the stream ended before the run";
                    return Err(self.dialled().lost(cause));
                }
                Err(status) => return Err(self.failure(&status, None).await),
            };
            match response.event {
                Some(Event::Snapshot(snapshot)) => on_snapshot(&snapshot),
                Some(Event::RunEnded(run)) => return self.same_run(run, run_id),
                // What a watch of snapshots and the end is not about, or a newer server alone has.
                Some(_) | None => {}
            }
        }
    }
}

/// The server went away in the middle of a run.
fn lost_contact(run_id: &str, failure: &Failure) -> Failure {
    let sentence = format!(
        "contact with run {run_id} was lost ({}); `benchctl show {run_id}` shows what is stored \
         once the server is back",
        failure.sentence
    );
    let lost = Failure::new(FailureCode::ServerLost, sentence).with("run_id", run_id);
    Failure {
        figures: [lost.figures, failure.figures.clone()]
            .into_iter()
            .flatten()
            .collect(),
        ..lost
    }
}
