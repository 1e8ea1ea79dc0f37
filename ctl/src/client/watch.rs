//! A run watched to its end: its snapshots, and its report.

use std::time::Duration;

use metronome_proto::v1::{
    self, FailureCode, watch_events_request::Runs, watch_events_response::Event,
};

use super::{
    follow::{Followed, Retries},
    requests::Client,
};
use crate::exit::Failure;

/// A stream that stays broken for longer is given up: who waits for a report can ask for it later.
const RECONNECT_TIME_MAX: Duration = Duration::from_secs(5);

impl Client {
    /// Waits until a run has ended, and returns it with its report. Each snapshot until then goes
    /// to `on_snapshot`. Once `server_has_ended` a broken stream is not begun again.
    pub(crate) async fn watch_to_end(
        &self,
        run_id: &str,
        mut server_has_ended: impl FnMut() -> bool,
        mut on_snapshot: impl FnMut(&v1::Snapshot),
    ) -> Result<v1::Run, Failure> {
        let request = v1::WatchEventsRequest {
            runs: Some(Runs::RunId(run_id.into())),
            ..v1::WatchEventsRequest::default()
        };
        let retries = Retries {
            time_max: RECONNECT_TIME_MAX,
            is_vain: &mut server_has_ended,
        };
        let on_event = |response: &v1::WatchEventsResponse| {
            if let Some(Event::Snapshot(snapshot)) = &response.event {
                on_snapshot(snapshot);
            }
            Ok(true)
        };
        match self.follow_events(request, retries, on_event).await? {
            Followed::ToEnd(run) => Ok(*run),
            Followed::Lost(failure) => Err(lost_contact(run_id, &failure)),
            Followed::Enough => {
                let failure = self.dialled().lost("the stream of events ended");
                Err(lost_contact(run_id, &failure))
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
