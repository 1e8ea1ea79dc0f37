//! A run watched to its end.
//!
//! A stream that breaks is taken up again for a few seconds: a server that is restarted or a
//! network that blinks must not cost the report of a long run.

use std::time::Duration;

use metronome_proto::v1;
use tokio::time::{Instant, sleep};
use tonic::{Status, Streaming};
use v1::watch_run_response::Event;

use super::interrupts::Interrupts;
use crate::{
    client::{self, Client},
    exit::Failure,
    render::progress,
    terminal::Remarks,
};

/// For how long a broken watch is taken up again.
const RECONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// What the first Ctrl-C does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OnInterrupt {
    /// It stops the run, whose report is then awaited; a second one gives up.
    StopTheRun,
    /// It ends the watch and leaves the run alone.
    LeaveTheRun,
}

/// The run to follow, and where.
pub(crate) struct Watched<'a> {
    pub(crate) client: &'a Client,
    pub(crate) run_id: &'a str,
    /// Whether trying again is in vain: a server of our own that has ended.
    pub(crate) server_is_gone: &'a mut dyn FnMut() -> bool,
}

/// Shows progress until the run has ended, and returns it with its report.
pub(crate) async fn follow(
    mut watched: Watched<'_>,
    on_interrupt: OnInterrupt,
    interrupts: &mut Interrupts,
    remarks: &mut Remarks,
) -> Result<v1::Run, Failure> {
    let result = match on_interrupt {
        OnInterrupt::LeaveTheRun => {
            let run_id = watched.run_id;
            let sentence =
                format!("run {run_id} goes on; `benchctl watch {run_id}` takes it up again");
            interrupts
                .unless(1, &sentence, watched.until_end(remarks))
                .await
        }
        OnInterrupt::StopTheRun => watched.until_end_or_stop(interrupts, remarks).await,
    };
    remarks.clear();
    result
}

impl Watched<'_> {
    async fn until_end_or_stop(
        &mut self,
        interrupts: &mut Interrupts,
        remarks: &mut Remarks,
    ) -> Result<v1::Run, Failure> {
        tokio::select! {
            result = self.until_end(remarks) => return result,
            () = interrupts.reach(1) => {}
        }
        let run_id = self.run_id;
        remarks.tell(&format!(
            "stopping run {run_id}; Ctrl-C again gives up at once"
        ));
        let stopped = async {
            self.client.stop_run(run_id).await?;
            self.until_end(remarks).await
        };
        interrupts
            .unless(
                2,
                &format!("gave up on run {run_id} before its report was there"),
                stopped,
            )
            .await
    }

    /// One watch, taken up again when its stream breaks.
    async fn until_end(&mut self, remarks: &mut Remarks) -> Result<v1::Run, Failure> {
        let mut give_up_at = Instant::now() + RECONNECT_TIME_MAX;
        loop {
            let Interruption {
                status,
                told_something,
            } = match self.once(remarks).await {
                Ok(run) => return Ok(run),
                Err(interruption) => interruption,
            };
            if told_something {
                give_up_at = Instant::now() + RECONNECT_TIME_MAX;
            }
            if !client::is_broken(&status) {
                return Err(self.client.explain(&status));
            }
            if Instant::now() >= give_up_at || (self.server_is_gone)() {
                return Err(self.out_of_sight(&status));
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn once(&self, remarks: &mut Remarks) -> Result<v1::Run, Interruption> {
        match self.client.watch(self.run_id).await {
            Ok(mut events) => show_until_end(&mut events, remarks).await,
            Err(status) => Err(Interruption {
                status,
                told_something: false,
            }),
        }
    }

    fn out_of_sight(&self, status: &Status) -> Failure {
        let (run_id, why) = (self.run_id, self.client.explain(status).sentence);
        Failure::other(format!(
            "run {run_id} is out of sight: {why}; when the server is back, `benchctl show {run_id}` tells what is stored"
        ))
    }
}

/// A stream that ended without the run's end.
struct Interruption {
    status: Status,
    told_something: bool,
}

async fn show_until_end(
    events: &mut Streaming<v1::WatchRunResponse>,
    remarks: &mut Remarks,
) -> Result<v1::Run, Interruption> {
    let mut told_something = false;
    loop {
        match events.message().await {
            Ok(Some(v1::WatchRunResponse {
                event: Some(Event::Snapshot(snapshot)),
            })) => {
                told_something = true;
                remarks.progress(progress::second(&snapshot), &progress::line(&snapshot));
            }
            Ok(Some(v1::WatchRunResponse {
                event: Some(Event::Ended(run)),
            })) => return Ok(run),
            // An event that a newer server knows and we do not.
            Ok(Some(v1::WatchRunResponse { event: None })) => {}
            Ok(None) => {
                let status =
                    Status::unavailable("the server ended the stream before the run's end");
                return Err(Interruption {
                    status,
                    told_something,
                });
            }
            Err(status) => {
                return Err(Interruption {
                    status,
                    told_something,
                });
            }
        }
    }
}
