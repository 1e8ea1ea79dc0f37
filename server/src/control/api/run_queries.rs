//! OperatorService's questions about runs: lists, client rows, and watching one.

use std::pin::Pin;

use metronome_proto::{
    run_id::RunId,
    v1::{
        self, ListClientsResponse, ListRunsRequest, ListRunsResponse, WatchRunResponse,
        watch_run_response::Event,
    },
};
use prost::Message as _;
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::Status;

use crate::{
    control::{
        runs::{RunManager, RunView},
        status,
    },
    store::{is_final, without_records},
};

const PAGE_SIZE_DEFAULT: u32 = 50;
const PAGE_SIZE_MAX: u32 = 200;
/// A page of runs ends before it gets larger than this; a message may have 1 MiB.
const PAGE_BYTES_MAX: usize = 768 << 10;

/// A stream of answers.
pub(super) type StreamOf<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One page of runs, newest first.
pub(super) async fn list_runs(
    runs: &RunManager,
    request: ListRunsRequest,
) -> Result<ListRunsResponse, Status> {
    let limit = match request.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size @ 1..=PAGE_SIZE_MAX => size,
        size => {
            let problem = format!("{size} is out of range; 1 to {PAGE_SIZE_MAX} are allowed");
            return Err(status::bad_field("page_size", &problem));
        }
    };
    let before = match request.page_token.as_str() {
        "" => None,
        token => Some(token.parse::<RunId>().map_err(|_| {
            status::bad_field(
                "page_token",
                "not one of this server's; use next_page_token of the previous page",
            )
        })?),
    };
    // One more than asked for shows whether there is a next page.
    let stored = runs
        .history
        .read(move |store| store.runs(before, limit + 1))
        .await?;
    let listed = stored
        .into_iter()
        .map(|run| without_records(newest(runs, run)))
        .collect();
    Ok(page(listed, limit as usize))
}

/// The state in memory is newer than the stored one.
fn newest(runs: &RunManager, stored: v1::Run) -> v1::Run {
    let id = stored.run_id.parse().ok();
    id.and_then(|id| runs.in_memory(id)).unwrap_or(stored)
}

/// At most `limit` runs and at most as many as fit one message.
fn page(mut runs: Vec<v1::Run>, limit: usize) -> ListRunsResponse {
    let mut bytes = 0;
    let fits = |run: &&v1::Run| {
        bytes += run.encoded_len();
        bytes <= PAGE_BYTES_MAX
    };
    // One always goes: a single run is far smaller than a message.
    let count = runs.iter().take(limit).take_while(fits).count().max(1);
    let has_more = runs.len() > count;
    runs.truncate(count);
    let last = runs
        .last()
        .filter(|_| has_more)
        .map(|run| run.run_id.clone());
    ListRunsResponse {
        runs,
        next_page_token: last.unwrap_or_default(),
    }
}

/// The client rows of a run that has ended.
pub(super) async fn list_clients(
    runs: &RunManager,
    run_id: &str,
) -> Result<Vec<ListClientsResponse>, Status> {
    let id = status::parse_run_id(run_id)?;
    if let Some(unstored) = runs.history.find_unstored(id) {
        return Ok(unstored.pages);
    }
    let run = runs.find(id).await?;
    if !is_final(&run) {
        let sentence = format!("run {id} has not ended; its client rows come with the report");
        return Err(status::precondition("RUN_NOT_ENDED", "run_id", &sentence));
    }
    runs.history.read(move |store| store.client_pages(id)).await
}

/// Snapshots of a run until its end; its end alone when it has ended already.
pub(super) async fn watch_run(
    runs: &RunManager,
    run_id: &str,
) -> Result<StreamOf<WatchRunResponse>, Status> {
    let id = status::parse_run_id(run_id)?;
    if let Some(active) = runs.active.find(id) {
        // A watcher that is slow finds the newest view when it comes back, and delays no other.
        return Ok(Box::pin(
            WatchStream::new(active.view).map(|view| Ok(event(view))),
        ));
    }
    let run = runs.find(id).await?;
    if !is_final(&run) {
        let sentence =
            format!("run {id} belongs to another server that shares this database; watch it there");
        return Err(status::precondition("RUN_ELSEWHERE", "run_id", &sentence));
    }
    Ok(Box::pin(tokio_stream::once(Ok(event(RunView::Ended(run))))))
}

fn event(view: RunView) -> WatchRunResponse {
    let event = match view {
        RunView::Running { snapshot, .. } => Event::Snapshot(snapshot),
        RunView::Ended(run) => Event::Ended(run),
    };
    WatchRunResponse { event: Some(event) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(count: u64, label_bytes: usize) -> Vec<v1::Run> {
        let run = |number| v1::Run {
            run_id: RunId::from_bits(number).to_string(),
            label: "x".repeat(label_bytes),
            ..v1::Run::default()
        };
        (0..count).rev().map(run).collect()
    }

    #[test]
    fn a_page_shows_whether_there_is_a_next_one() {
        assert_eq!(page(Vec::new(), 2), ListRunsResponse::default());
        assert_eq!(page(runs(2, 0), 2).next_page_token, "");
        let first = page(runs(3, 0), 2);
        assert_eq!(
            (first.runs.len(), first.next_page_token),
            (2, RunId::from_bits(1).to_string())
        );
    }

    #[test]
    fn a_page_of_large_runs_fits_a_message() {
        let first = page(runs(51, 100_000), 50);
        assert!(first.encoded_len() < metronome_proto::MESSAGE_BYTES_MAX);
        assert_eq!(first.runs.len(), 7);
        assert_eq!(first.next_page_token, first.runs.last().unwrap().run_id);
        assert_eq!(page(runs(2, PAGE_BYTES_MAX), 2).runs.len(), 1);
    }
}
