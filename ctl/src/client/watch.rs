//! A run watched to its end.
//!
//! A stream that breaks is begun again for a few seconds: a restart of the server or a short
//! interruption of the network must not cost the report of a long run.

use std::time::Duration;

use metronome_proto::v1::{self, watch_run_response::Event};
use tokio::time::{Instant, sleep};
use tonic::{Status, Streaming};

use super::{deadlines::is_broken, requests::Client};
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
            let watched = match self.watch(run_id).await {
                Ok(mut events) => {
                    until_end(&mut events, |snapshot| {
                        give_up_at = Instant::now() + RECONNECT_TIME_MAX;
                        on_snapshot(snapshot);
                    })
                    .await
                }
                Err(status) => Err(status),
            };
            let status = match watched {
                Ok(run) => return Ok(run),
                Err(status) => status,
            };
            if !is_broken(&status) {
                return Err(self.explain(&status));
            }
            if Instant::now() >= give_up_at || server_has_ended() {
                return Err(self.lost_contact(run_id, &status));
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    fn lost_contact(&self, run_id: &str, status: &Status) -> Failure {
        let why = self.explain(status).sentence;
        Failure::other(format!(
            "contact with run {run_id} was lost: {why}; when the server is back, \
             `benchctl show {run_id}` shows what is stored"
        ))
    }
}

/// The run once it has ended, or why its stream ended before.
async fn until_end(
    events: &mut Streaming<v1::WatchRunResponse>,
    mut on_snapshot: impl FnMut(&v1::Snapshot),
) -> Result<v1::Run, Status> {
    while let Some(response) = events.message().await? {
        match response.event {
            Some(Event::Snapshot(snapshot)) => on_snapshot(&snapshot),
            Some(Event::Ended(run)) => return Ok(run),
            // An event that only a newer server and client have.
            None => {}
        }
    }
    Err(Status::unavailable(
        "the server ended the stream before the run's end",
    ))
}
