//! The streams of RunService: what happens to a run, and what was stored of it.

use std::{
    collections::BTreeSet,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use metronome_proto::{
    run_id::RunId,
    v1::{
        self, ExportPart, ExportRunResponse, Failure, FailureCode, WatchEventsResponse,
        export_run_response::Part, watch_events_request::Runs,
    },
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::{list_runs::parse_filter, turns::Turns};
use crate::control::{
    feed::{Matching, Selection},
    runs::{EventStream, RunManager},
    status,
};

/// Runs that a watch of a filter may name as followed: more than can be going on at a time.
const FOLLOWED_MAX: usize = 100;

/// A stream of responses.
pub(super) type StreamOf<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The events of one run, of those that match a filter, or of everything.
pub(super) async fn watch_events(
    runs: &Arc<RunManager>,
    turns: &Turns,
    request: v1::WatchEventsRequest,
) -> Result<StreamOf<WatchEventsResponse>, Failure> {
    let selection = selection(&request)?;
    // One that has ended is read.
    let _turn = match selection {
        Selection::Run { id, .. } if runs.active.find(id).is_none() => Some(turns.take().await?),
        _ => None,
    };
    let events = EventStream::begin(runs, selection, request.after).await?;
    let events = events.map(|event| match event {
        Ok(event) => Ok(*event),
        Err(failure) => Err(status::from_failure(&failure)),
    });
    Ok(Box::pin(events))
}

fn selection(request: &v1::WatchEventsRequest) -> Result<Selection, Failure> {
    let changes = request.changes;
    let followed = followed(request)?;
    match &request.runs {
        Some(Runs::RunId(run_id)) => {
            let id = status::parse_run_id(run_id)?;
            if request.after.is_some() && !changes {
                let problem = "only with changes, with a filter or with all";
                return Err(status::out_of_range("after", problem));
            }
            Ok(Selection::Run { id, changes })
        }
        Some(_) if changes => {
            let problem = "only with a run_id: others have them anyway";
            Err(status::out_of_range("changes", problem))
        }
        Some(Runs::Filter(filter)) => {
            let matching = Matching::new(parse_filter(filter)?, followed);
            Ok(Selection::Matching(matching))
        }
        Some(Runs::All(true)) => Ok(Selection::All),
        Some(Runs::All(false)) => {
            let problem = "it is false; true, a run_id or a filter is required";
            Err(status::out_of_range("all", problem))
        }
        None => {
            let problem = "missing; give a run_id, a filter or all";
            Err(status::out_of_range("runs", problem))
        }
    }
}

/// The runs that a watch of a filter was following before it broke off.
fn followed(request: &v1::WatchEventsRequest) -> Result<BTreeSet<RunId>, Failure> {
    const FIELD: &str = "followed_run_ids";
    let ids = &request.followed_run_ids;
    if !ids.is_empty() && !matches!(request.runs, Some(Runs::Filter(_))) {
        return Err(status::out_of_range(FIELD, "only with a filter"));
    }
    if ids.len() > FOLLOWED_MAX {
        let problem = format!("{}; at most {FOLLOWED_MAX} are allowed", ids.len());
        return Err(status::out_of_range(FIELD, problem));
    }
    let parsed = ids.iter().map(|id| id.parse::<RunId>());
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error| status::out_of_range(FIELD, error.to_string()))
}

/// What was stored of a run that has ended: its client rows from `first_client` on, or its series.
/// Each page is read when the one before has been taken.
pub(super) async fn export_run(
    runs: &Arc<RunManager>,
    turns: &Turns,
    request: v1::ExportRunRequest,
) -> Result<StreamOf<ExportRunResponse>, Failure> {
    let id = status::parse_run_id(&request.run_id)?;
    let wanted = match request.part() {
        ExportPart::Unspecified | ExportPart::ClientRows => Wanted::Clients(request.first_client),
        ExportPart::Series => Wanted::Series(0),
    };
    if ExportPart::try_from(request.part).is_err() {
        let problem = format!(
            "{} is unknown; client rows (1) and series (2) exist",
            request.part
        );
        return Err(status::out_of_range("part", &problem));
    }
    if let Some(unstored) = runs.history.find_unstored(id) {
        let parts: Vec<_> = match wanted {
            Wanted::Clients(first) => unstored
                .pages
                .iter()
                .map(|page| {
                    let rows = page.clients.iter().filter(|row| row.client >= first);
                    v1::ClientRows {
                        clients: rows.cloned().collect(),
                    }
                })
                .filter(|page| !page.clients.is_empty())
                .map(Part::ClientRows)
                .collect(),
            Wanted::Series(_) => unstored.series.iter().cloned().map(Part::Series).collect(),
        };
        let responses = parts.into_iter().map(|part| Ok(response(part)));
        return Ok(Box::pin(tokio_stream::iter(responses)));
    }
    if !runs.find(id).await?.state().is_final() {
        let is_ours = runs.active.find(id).is_some();
        return Err(if is_ours {
            not_ended(id)
        } else {
            status::elsewhere(id)
        });
    }
    Ok(Box::pin(StoredPages::new(
        Arc::clone(runs),
        turns.clone(),
        id,
        wanted,
    )))
}

/// The page that is the next.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// The rows from this client on.
    Clients(u32),
    /// The page of the series with this number.
    Series(u32),
}

/// The pages of a run in the database, each read when it is polled for.
struct StoredPages {
    runs: Arc<RunManager>,
    turns: Turns,
    id: RunId,
    /// The page that is the next. `None` after the last.
    reading: Option<PageRead>,
    /// What `reading` reads.
    wanted: Wanted,
    /// A page was given, and is passed on before the next one is read: what encodes asks for more
    /// until there is none at once, and would leave a page half read, with its turn, for as long
    /// as the caller gives no window.
    has_given: bool,
}

type PageRead = Pin<Box<dyn Future<Output = Result<Option<Part>, Failure>> + Send>>;

impl StoredPages {
    fn new(runs: Arc<RunManager>, turns: Turns, id: RunId, first: Wanted) -> Self {
        let mut pages = Self {
            runs,
            turns,
            id,
            reading: None,
            wanted: first,
            has_given: false,
        };
        pages.go_on_at(first);
        pages
    }

    fn go_on_at(&mut self, wanted: Wanted) {
        let (runs, turns, id) = (Arc::clone(&self.runs), self.turns.clone(), self.id);
        self.wanted = wanted;
        self.reading = Some(Box::pin(async move {
            let _turn = turns.take().await?;
            read_page(&runs, id, wanted).await
        }));
    }
}

impl Stream for StoredPages {
    type Item = Result<ExportRunResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if mem::take(&mut self.has_given) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let page = ready!(reading.as_mut().poll(context));
        self.reading = None;
        self.has_given = true;
        if let Ok(Some(part)) = &page
            && let Some(next) = next_of(self.wanted, part)
        {
            self.go_on_at(next);
        }
        let page = page.transpose().map(|page| page.map(response));
        Poll::Ready(page.map(|page| page.map_err(|failure| status::from_failure(&failure))))
    }
}

/// The page that is asked for. `None` when there are no more; a run that was deleted meanwhile is
/// an error, so that half of it does not pass for all.
async fn read_page(runs: &RunManager, id: RunId, wanted: Wanted) -> Result<Option<Part>, Failure> {
    let page = runs
        .history
        .read(move |store| match wanted {
            Wanted::Clients(first) => Ok(store.client_page(id, first)?.map(Part::ClientRows)),
            Wanted::Series(page) => Ok(store.series_page(id, page)?.map(Part::Series)),
        })
        .await?;
    if page.is_none() {
        runs.find(id).await?;
    }
    Ok(page)
}

/// What comes behind this page. `None`: it was the last that can be.
fn next_of(wanted: Wanted, page: &Part) -> Option<Wanted> {
    match (wanted, page) {
        (Wanted::Clients(_), Part::ClientRows(rows)) => {
            let last = rows.clients.last()?.client;
            last.checked_add(1).map(Wanted::Clients)
        }
        (Wanted::Series(page), _) => page.checked_add(1).map(Wanted::Series),
        _ => None,
    }
}

fn response(part: Part) -> ExportRunResponse {
    ExportRunResponse { part: Some(part) }
}

/// The run has not ended.
pub(in crate::control) fn not_ended(id: RunId) -> Failure {
    let sentence = format!("run {id} has not ended");
    Failure::new(FailureCode::RunNotEnded, sentence).with("run_id", id.to_string())
}
