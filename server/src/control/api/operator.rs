//! OperatorService: what people, scripts and other services ask.

use std::{sync::Arc, time::Duration};

use metronome_proto::{
    run_id::RunId,
    v1::{
        self, GetRunRequest, GetRunResponse, GetServerRequest, GetServerResponse,
        ListAgentsRequest, ListAgentsResponse, ListClientsRequest, ListClientsResponse,
        ListRunsRequest, ListRunsResponse, RestartWorkersRequest, RestartWorkersResponse, RunState,
        StartRunRequest, StartRunResponse, StopAllRequest, StopAllResponse, StopRunRequest,
        StopRunResponse, UpgradeRequest, UpgradeResponse, WatchRunRequest, WatchRunResponse,
        operator_service_server::OperatorService,
    },
};
use tokio::time;
use tonic::{Request, Response, Status};

use super::{
    run_queries::{StreamOf, list_clients, list_runs, watch_run},
    server_status::get_server,
};
use crate::{
    control::{
        runs::{ActiveRun, RunView, start_run},
        shared::Shared,
        status,
    },
    store::is_final,
    verdict::StopCause,
};

/// For a run to take note of a stop, which it does at once unless the host is overloaded.
const STOP_SEEN_MAX: Duration = Duration::from_secs(1);

/// The service.
pub(super) struct Operator {
    shared: Arc<Shared>,
}

impl Operator {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn stop_run(&self, run_id: &str) -> Result<v1::Run, Status> {
        let id = status::parse_run_id(run_id)?;
        let (runs, upgrade) = (&self.shared.runs, &self.shared.upgrade);
        if let Some(mut active) = runs.active.find(id) {
            upgrade.refuse_change()?;
            active.stop(StopCause::Operator);
            let is_stopping = |view: &RunView| view.run().state() >= RunState::Draining;
            if time::timeout(STOP_SEEN_MAX, active.view.wait_for(is_stopping))
                .await
                .is_err()
            {
                // It came too late for this process and has to be repeated to the next one.
                upgrade.refuse_change()?;
            }
            return Ok(active.run());
        }
        let run = runs.find(id).await?;
        if is_final(&run) {
            return Ok(run);
        }
        let sentence =
            format!("run {id} belongs to another server that shares this database; stop it there");
        Err(status::precondition("RUN_ELSEWHERE", "run_id", &sentence))
    }
}

#[tonic::async_trait]
impl OperatorService for Operator {
    type ListClientsStream = StreamOf<ListClientsResponse>;
    type WatchRunStream = StreamOf<WatchRunResponse>;

    async fn start_run(
        &self,
        request: Request<StartRunRequest>,
    ) -> Result<Response<StartRunResponse>, Status> {
        let run = start_run(&self.shared.runs, request.into_inner()).await?;
        Ok(Response::new(StartRunResponse { run: Some(run) }))
    }

    async fn stop_run(
        &self,
        request: Request<StopRunRequest>,
    ) -> Result<Response<StopRunResponse>, Status> {
        let run = self.stop_run(&request.get_ref().run_id).await?;
        Ok(Response::new(StopRunResponse { run: Some(run) }))
    }

    async fn stop_all(
        &self,
        _request: Request<StopAllRequest>,
    ) -> Result<Response<StopAllResponse>, Status> {
        self.shared.upgrade.refuse_change()?;
        let stop = |(id, run): (RunId, ActiveRun)| {
            run.stop(StopCause::Operator);
            id.to_string()
        };
        let run_ids = self
            .shared
            .runs
            .active
            .all()
            .into_iter()
            .map(stop)
            .collect();
        Ok(Response::new(StopAllResponse { run_ids }))
    }

    async fn get_run(
        &self,
        request: Request<GetRunRequest>,
    ) -> Result<Response<GetRunResponse>, Status> {
        let id = status::parse_run_id(&request.get_ref().run_id)?;
        let run = self.shared.runs.find(id).await?;
        Ok(Response::new(GetRunResponse { run: Some(run) }))
    }

    async fn list_runs(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        list_runs(&self.shared.runs, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<Self::ListClientsStream>, Status> {
        let pages = list_clients(&self.shared.runs, &request.get_ref().run_id).await?;
        Ok(Response::new(Box::pin(tokio_stream::iter(
            pages.into_iter().map(Ok),
        ))))
    }

    async fn watch_run(
        &self,
        request: Request<WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        watch_run(&self.shared.runs, &request.get_ref().run_id)
            .await
            .map(Response::new)
    }

    async fn list_agents(
        &self,
        _request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        Ok(Response::new(ListAgentsResponse {
            agents: self.shared.registry.list(),
        }))
    }

    async fn restart_workers(
        &self,
        _request: Request<RestartWorkersRequest>,
    ) -> Result<Response<RestartWorkersResponse>, Status> {
        self.shared.upgrade.refuse_change()?;
        let restarted = self
            .shared
            .master_client
            .restart_workers()
            .await
            .ok_or_else(status::master_is_gone)?;
        Ok(Response::new(RestartWorkersResponse { restarted }))
    }

    async fn upgrade(
        &self,
        _request: Request<UpgradeRequest>,
    ) -> Result<Response<UpgradeResponse>, Status> {
        match self.shared.upgrade.ask().await {
            Ok(pid) => Ok(Response::new(UpgradeResponse { pid })),
            Err(sentence) => {
                let sentence = format!(
                    "the server was not upgraded and goes on: {sentence} (`benchctl server`)"
                );
                Err(status::precondition("UPGRADE_FAILED", "server", &sentence))
            }
        }
    }

    async fn get_server(
        &self,
        _request: Request<GetServerRequest>,
    ) -> Result<Response<GetServerResponse>, Status> {
        get_server(&self.shared).await.map(Response::new)
    }
}
