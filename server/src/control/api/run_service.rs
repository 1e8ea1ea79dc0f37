//! RunService: what people and programs ask about runs.

use std::{sync::Arc, time::Duration};

use metronome_proto::{
    filter::Filter,
    limits::PAGE_BYTES_MAX,
    v1::{
        self, DeleteRunRequest, DeleteRunResponse, ExportRunRequest, ExportRunResponse, Failure,
        GetRunRequest, GetRunResponse, ListRunsRequest, ListRunsResponse, RunState, RunView,
        StartRunRequest, StartRunResponse, StopCause, StopRunRequest, StopRunResponse,
        WatchEventsRequest, WatchEventsResponse, get_run_request, run_service_server,
        stop_run_request,
    },
};
use prost::Message as _;
use tokio::time::{self, Instant};
use tonic::{Request, Response, Status};

use super::{
    list_runs::{list_runs, parse_filter, parse_view},
    response::response,
    streams::{StreamOf, export_run, not_ended, watch_events},
    turns::Turns,
};
use crate::{
    control::{
        runs::{self, ActiveRun, start_run},
        shared::Shared,
        status,
    },
    store::{Deleted, without_records},
};

/// For runs to take note of a stop, which they do at once unless the host is overloaded.
const STOP_SEEN_MAX: Duration = Duration::from_secs(1);

/// The service.
pub(super) struct RunService {
    shared: Arc<Shared>,
    turns: Turns,
}

impl RunService {
    pub(super) fn new(shared: Arc<Shared>, turns: Turns) -> Self {
        Self { shared, turns }
    }

    async fn stop(&self, request: StopRunRequest) -> Result<StopRunResponse, Failure> {
        let runs = match request.runs {
            Some(stop_run_request::Runs::RunId(run_id)) => vec![self.stop_one(&run_id).await?],
            Some(stop_run_request::Runs::Filter(filter)) => {
                self.stop_matching(&parse_filter(&filter)?).await?
            }
            None => {
                let problem = "missing; give a run_id or a filter";
                return Err(status::out_of_range("runs", problem));
            }
        };
        let mut bytes_left = PAGE_BYTES_MAX;
        let runs = runs.into_iter().map(without_records).take_while(|run| {
            let left = bytes_left.checked_sub(run.encoded_len());
            bytes_left = left.unwrap_or(0);
            left.is_some()
        });
        Ok(StopRunResponse {
            runs: runs.collect(),
        })
    }

    async fn stop_one(&self, run_id: &str) -> Result<v1::Run, Failure> {
        let id = status::parse_run_id(run_id)?;
        let runs = &self.shared.runs;
        if let Some(active) = runs.active.find(id) {
            self.refuse_in_upgrade()?;
            active.stop(StopCause::Operator);
            self.stop_was_seen(&active, Instant::now() + STOP_SEEN_MAX)
                .await?;
            return Ok(active.run());
        }
        let run = runs.find(id).await?;
        if run.state().is_final() {
            Ok(run)
        } else {
            Err(status::elsewhere(id))
        }
    }

    async fn stop_matching(&self, filter: &Filter) -> Result<Vec<v1::Run>, Failure> {
        self.refuse_in_upgrade()?;
        let matches = |active: &ActiveRun| {
            let run = active.run();
            !run.state().is_final() && filter.matches(&run)
        };
        let all = self.shared.runs.active.all().into_iter();
        let matching: Vec<_> = all.map(|(_, active)| active).filter(matches).collect();
        for active in &matching {
            active.stop(StopCause::Operator);
        }
        let deadline = Instant::now() + STOP_SEEN_MAX;
        for active in &matching {
            self.stop_was_seen(active, deadline).await?;
        }
        Ok(matching.iter().map(ActiveRun::run).collect())
    }

    /// Waits until the run has taken note of its stop, so that it is not lost in an upgrade.
    async fn stop_was_seen(&self, active: &ActiveRun, deadline: Instant) -> Result<(), Failure> {
        let is_stopping = |view: &runs::RunView| {
            let state = view.run.state();
            state == RunState::Draining || state.is_final()
        };
        let mut view = active.view.clone();
        let seen = time::timeout_at(deadline, view.wait_for(is_stopping)).await;
        if seen.is_err() {
            // It came too late for this process and has to be repeated to the next one.
            self.refuse_in_upgrade()?;
        }
        Ok(())
    }

    async fn get(&self, request: GetRunRequest) -> Result<GetRunResponse, Failure> {
        let _turn = self.turns.take().await?;
        let runs = &self.shared.runs;
        let view = parse_view(request.view)?;
        let run = match request.run {
            Some(get_run_request::Run::RunId(run_id)) => {
                runs.find(status::parse_run_id(&run_id)?).await?
            }
            Some(get_run_request::Run::RequestId(request_id)) if request_id.is_empty() => {
                return Err(status::out_of_range(
                    "request_id",
                    "it is empty; no run has that",
                ));
            }
            Some(get_run_request::Run::RequestId(request_id)) => {
                runs.find_by_request_id(&request_id).await?
            }
            None => {
                let problem = "missing; give a run_id or a request_id";
                return Err(status::out_of_range("run", problem));
            }
        };
        let run = match view {
            RunView::Basic => without_records(run),
            RunView::Unspecified | RunView::Full => run,
        };
        Ok(GetRunResponse { run: Some(run) })
    }

    async fn list(&self, request: ListRunsRequest) -> Result<ListRunsResponse, Failure> {
        let _turn = self.turns.take().await?;
        list_runs(&self.shared.runs, request).await
    }

    async fn delete(&self, run_id: &str) -> Result<(), Failure> {
        let id = status::parse_run_id(run_id)?;
        let runs = &self.shared.runs;
        self.refuse_in_upgrade()?;
        if let Some(active) = runs.active.find(id) {
            if !active.run().state().is_final() {
                return Err(not_ended(id));
            }
            // Its end is stored and was shown; its driver gives it up at once.
            runs.active.left(id).await;
        }
        if runs.history.delete_unstored(id).await? {
            return Ok(());
        }
        match runs.history.change(move |store| store.delete(id)).await? {
            Deleted::Done => Ok(()),
            Deleted::Unknown => Err(status::unknown_run(id)),
            Deleted::NotEnded => Err(not_ended(id)),
            Deleted::Elsewhere => Err(status::elsewhere(id)),
        }
    }

    fn refuse_in_upgrade(&self) -> Result<(), Failure> {
        let refused = self.shared.upgrade.refuse_change();
        refused.map_err(|upgrading| status::upgrading(&upgrading))
    }
}

#[tonic::async_trait]
impl run_service_server::RunService for RunService {
    type WatchEventsStream = StreamOf<WatchEventsResponse>;
    type ExportRunStream = StreamOf<ExportRunResponse>;

    async fn start_run(
        &self,
        request: Request<StartRunRequest>,
    ) -> Result<Response<StartRunResponse>, Status> {
        let started = start_run(&self.shared.runs, request.into_inner()).await;
        response(started.map(|run| StartRunResponse { run: Some(run) }))
    }

    async fn stop_run(
        &self,
        request: Request<StopRunRequest>,
    ) -> Result<Response<StopRunResponse>, Status> {
        response(self.stop(request.into_inner()).await)
    }

    async fn get_run(
        &self,
        request: Request<GetRunRequest>,
    ) -> Result<Response<GetRunResponse>, Status> {
        response(self.get(request.into_inner()).await)
    }

    async fn list_runs(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        response(self.list(request.into_inner()).await)
    }

    async fn delete_run(
        &self,
        request: Request<DeleteRunRequest>,
    ) -> Result<Response<DeleteRunResponse>, Status> {
        let deleted = self.delete(&request.get_ref().run_id).await;
        response(deleted.map(|()| DeleteRunResponse {}))
    }

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        response(watch_events(&self.shared.runs, &self.turns, request.into_inner()).await)
    }

    async fn export_run(
        &self,
        request: Request<ExportRunRequest>,
    ) -> Result<Response<Self::ExportRunStream>, Status> {
        response(export_run(&self.shared.runs, &self.turns, request.into_inner()).await)
    }
}
