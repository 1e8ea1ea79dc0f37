//! A measurement: a plan goes to a server, the run that follows is watched to its end.
//!
//! What happens meanwhile goes to a callback, and requests to stop come in as tokens: nothing is
//! printed here, and no signal is caught.

use std::pin::pin;

use metronome_proto::v1::{self, stop_run_request::Runs};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    embedded,
    exit::{Exit, Failure, interrupted},
};

/// The server to measure with, and the processes of our own that end with it.
pub(crate) struct System {
    client: Client,
    embedded: Option<embedded::System>,
}

/// Requests to end a measurement early.
#[derive(Clone, Debug)]
pub(crate) struct StopRequests {
    /// Stops the run, whose report is then awaited.
    pub(crate) stop: CancellationToken,
    /// Gives the measurement up without a report.
    pub(crate) give_up: CancellationToken,
}

/// What happens during a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// The server has accepted the run.
    Started(&'a v1::Run),
    /// How the run stands.
    Snapshot(&'a v1::Snapshot),
    /// A request to stop has come. Without an id the run is still being started.
    Stopping(Option<&'a str>),
}

impl System {
    /// A server, with the processes that were started for it, if it was.
    pub(crate) fn new(client: Client, embedded: Option<embedded::System>) -> Self {
        Self { client, embedded }
    }

    /// The server.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Starts a run, watches it to its end and returns it with its report.
    pub(crate) async fn measure(
        &mut self,
        request: v1::StartRunRequest,
        requests: &StopRequests,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<v1::Run, Failure> {
        let run = self.start(request, requests, &mut on_event).await?;
        let ended = self.until_end(&run.run_id, requests, on_event).await;
        ended.map_err(|failure| self.with_cause(&run.run_id, failure))
    }

    /// Starts a run. One request to stop does not lose the response: the run that it names may be
    /// going on already and must be stopped.
    pub(crate) async fn start(
        &self,
        request: v1::StartRunRequest,
        requests: &StopRequests,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<v1::Run, Failure> {
        let mut starting = pin!(self.client.start_run(request));
        let started = match requests.stop.run_until_cancelled(&mut starting).await {
            Some(started) => started,
            None => {
                on_event(Event::Stopping(None));
                let started = requests.give_up.run_until_cancelled(starting).await;
                started.unwrap_or_else(|| {
                    Err(interrupted(
                        "gave up while the run was being started; it may go on",
                    ))
                })
            }
        };
        started.inspect(|run| on_event(Event::Started(run)))
    }

    async fn until_end(
        &mut self,
        run_id: &str,
        requests: &StopRequests,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<v1::Run, Failure> {
        let Self { client, embedded } = self;
        let mut server_has_ended = || {
            embedded
                .as_mut()
                .is_some_and(embedded::System::server_has_ended)
        };
        let watching = client.watch_to_end(run_id, &mut server_has_ended, |snapshot| {
            on_event(Event::Snapshot(snapshot));
        });
        if let Some(ended) = requests.stop.run_until_cancelled(watching).await {
            return ended;
        }
        on_event(Event::Stopping(Some(run_id)));
        let stopping = async {
            client.stop_runs(Runs::RunId(run_id.into())).await?;
            client
                .watch_to_end(run_id, server_has_ended, |snapshot| {
                    on_event(Event::Snapshot(snapshot));
                })
                .await
        };
        let ended = requests.give_up.run_until_cancelled(stopping).await;
        ended.unwrap_or_else(|| {
            Err(interrupted(format!(
                "gave up on run {run_id} before its report was there"
            )))
        })
    }

    /// When a process of our own has ended, that is the cause.
    fn with_cause(&mut self, run_id: &str, failure: Failure) -> Failure {
        let embedded = self.embedded.as_mut();
        match embedded.and_then(embedded::System::how_it_ended) {
            Some((code, cause)) if Exit::of_failure(&failure) == Exit::Other => {
                Failure::new(code, format!("run {run_id} was cut short: {cause}"))
                    .with("run_id", run_id)
            }
            _ => failure,
        }
    }

    /// Ends our own processes in good order and returns what they wrote for the user. Dropped
    /// before its end, it leaves them to their death signal.
    pub(crate) async fn close(self) -> Vec<String> {
        // The drain of the server waits for its clients, of which we are one.
        drop(self.client);
        match self.embedded {
            Some(embedded) => embedded.end().await,
            None => Vec::new(),
        }
    }
}
