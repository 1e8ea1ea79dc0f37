//! The streams of RunService: what happens to a run, and its client rows.

use std::{pin::Pin, sync::Arc};

use metronome_proto::{
    run_id::RunId,
    v1::{
        self, ExportRunResponse, Failure, FailureCode, WatchEventsResponse,
        export_run_response::Part, watch_events_request, watch_events_response::Event,
    },
};
use tokio::sync::mpsc;
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{ReceiverStream, WatchStream},
};
use tonic::Status;

use crate::control::{
    runs::{RunManager, RunView},
    status,
};

/// A stream of responses.
pub(super) type StreamOf<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Snapshots of a run until its end; its end alone when it has ended already.
pub(super) async fn watch_events(
    runs: &RunManager,
    request: v1::WatchEventsRequest,
) -> Result<StreamOf<WatchEventsResponse>, Failure> {
    let Some(watch_events_request::Runs::RunId(run_id)) = request.runs else {
        return Err(status::out_of_range("runs", "missing; give a run_id"));
    };
    let id = status::parse_run_id(&run_id)?;
    if let Some(active) = runs.active.find(id) {
        // A watcher that is slow finds the newest view when it comes back, and delays no other.
        return Ok(Box::pin(
            WatchStream::new(active.view).map(|view| Ok(event(view))),
        ));
    }
    let run = runs.find(id).await?;
    if !run.state().is_final() {
        return Err(elsewhere(id));
    }
    Ok(Box::pin(tokio_stream::once(Ok(event(RunView::ended(run))))))
}

fn event(view: RunView) -> WatchEventsResponse {
    let event = match view.snapshot {
        Some(snapshot) => Event::Snapshot(snapshot),
        None => Event::RunEnded(view.run),
    };
    WatchEventsResponse {
        number: view.number,
        event: Some(event),
    }
}

/// The client rows of a run that has ended, from `first_client` on. Each page is read when the one
/// before has been taken.
pub(super) async fn export_run(
    runs: &Arc<RunManager>,
    request: v1::ExportRunRequest,
) -> Result<StreamOf<ExportRunResponse>, Failure> {
    let id = status::parse_run_id(&request.run_id)?;
    if let Some(unstored) = runs.history.find_unstored(id) {
        let rows = unstored.pages.clone().into_iter().map(move |mut page| {
            page.clients
                .retain(|row| row.client >= request.first_client);
            page
        });
        let pages = rows.filter(|page| !page.clients.is_empty());
        return Ok(Box::pin(tokio_stream::iter(
            pages.map(|page| Ok(part(page))),
        )));
    }
    if !runs.find(id).await?.state().is_final() {
        let is_ours = runs.active.find(id).is_some();
        return Err(if is_ours {
            not_ended(id)
        } else {
            elsewhere(id)
        });
    }
    let (sender, pages) = mpsc::channel(1);
    let runs = Arc::clone(runs);
    tokio::spawn(async move {
        let mut first = request.first_client;
        loop {
            let page = read_page(&runs, id, first).await;
            let last = page
                .as_ref()
                .ok()
                .and_then(Option::as_ref)
                .and_then(last_client);
            let Some(page) = page.transpose() else { return };
            let page = page.map(part);
            let page = page.map_err(|failure| status::from_failure(&failure));
            let is_taken = sender.send(page).await.is_ok();
            match last {
                Some(last) if is_taken => first = last.saturating_add(1),
                _ => return,
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(pages)))
}

/// The page that begins with `first`. `None` when there are no more; a run that was deleted
/// meanwhile is an error, so that half of its rows do not pass for all.
async fn read_page(
    runs: &RunManager,
    id: RunId,
    first: u32,
) -> Result<Option<v1::ClientRows>, Failure> {
    let page = runs
        .history
        .read(move |store| store.client_page(id, first))
        .await?;
    if page.is_none() {
        runs.find(id).await?;
    }
    Ok(page)
}

fn last_client(page: &v1::ClientRows) -> Option<u32> {
    page.clients.last().map(|row| row.client)
}

fn part(page: v1::ClientRows) -> ExportRunResponse {
    ExportRunResponse {
        part: Some(Part::ClientRows(page)),
    }
}

/// The run has not ended.
pub(super) fn not_ended(id: RunId) -> Failure {
    let sentence = format!("run {id} has not ended");
    Failure::new(FailureCode::RunNotEnded, sentence).with("run_id", id.to_string())
}

/// The run belongs to another server.
pub(super) fn elsewhere(id: RunId) -> Failure {
    let sentence = format!("run {id} belongs to another server that shares this database");
    Failure::new(FailureCode::RunElsewhere, sentence).with("run_id", id.to_string())
}
