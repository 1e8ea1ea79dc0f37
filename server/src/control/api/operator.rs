//! OperatorService: what people, scripts and other services ask.

use std::{pin::Pin, process, sync::Arc, time::Duration};

use metronome_os::clock;
use metronome_proto::{
    run_id::RunId,
    v1::{
        self, GetRunRequest, GetRunResponse, GetServerRequest, GetServerResponse,
        ListAgentsRequest, ListAgentsResponse, ListClientsRequest, ListClientsResponse,
        ListRunsRequest, ListRunsResponse, RestartWorkersRequest, RestartWorkersResponse, RunState,
        StartRunRequest, StartRunResponse, StopAllRequest, StopAllResponse, StopRunRequest,
        StopRunResponse, UpgradeRequest, UpgradeResponse, WatchRunRequest, WatchRunResponse,
        operator_service_server::OperatorService, watch_run_response::Event,
    },
};
use prost::Message as _;
use tokio::time;
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::{Request, Response, Status};

use crate::{
    control::{
        lifecycle::shared::{Shared, unreadable},
        runs::{
            active::RunView,
            start::{master_is_gone, start_run},
        },
        status,
    },
    model::{RawClientCounters, RawCounters, RecoveryCounters, ServerStatus, WorkerStatus},
    store::{is_final, without_records},
    verdict::StopCause,
    wall_clock::timestamp,
};

const PAGE_SIZE_DEFAULT: u32 = 50;
const PAGE_SIZE_MAX: u32 = 200;
/// A page of runs ends before it gets larger than this; a message may have 1 MiB.
const PAGE_BYTES_MAX: usize = 768 << 10;
/// For a run to take note of a stop, which it does at once unless the host is overloaded.
const STOP_SEEN_MAX: Duration = Duration::from_secs(1);

type StreamOf<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
pub(crate) struct Operator {
    shared: Arc<Shared>,
}

impl Operator {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn stop_run(&self, run_id: &str) -> Result<v1::Run, Status> {
        let id = status::parse_run_id(run_id)?;
        if let Some(mut active) = self.shared.runs.find(id) {
            self.shared.upgrade.refuse_change()?;
            active.stop(StopCause::Operator);
            let is_stopping = |view: &RunView| view.run().state() >= RunState::Draining;
            if time::timeout(STOP_SEEN_MAX, active.view.wait_for(is_stopping))
                .await
                .is_err()
            {
                // It came too late for this process and has to be said to the next one.
                self.shared.upgrade.refuse_change()?;
            }
            return Ok(active.run());
        }
        let run = self.shared.find_run(id).await?;
        if is_final(&run) {
            return Ok(run);
        }
        let sentence =
            format!("run {id} belongs to another server that shares this database; stop it there");
        Err(status::precondition("RUN_ELSEWHERE", "run_id", &sentence))
    }

    async fn list_runs(&self, request: ListRunsRequest) -> Result<ListRunsResponse, Status> {
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
        // One more than asked for tells whether there is a next page.
        let stored = self
            .shared
            .with_store(move |store| store.runs(before, limit + 1))
            .await?;
        let stored = stored.map_err(|error| unreadable(&error))?;
        let runs = stored
            .into_iter()
            .map(|run| without_records(self.newest(run)))
            .collect();
        Ok(page(runs, limit as usize))
    }

    /// What memory knows of a run is newer than what is stored.
    fn newest(&self, stored: v1::Run) -> v1::Run {
        let Ok(id) = stored.run_id.parse() else {
            return stored;
        };
        let active = self.shared.runs.find(id).map(|active| active.run());
        active
            .or_else(|| {
                self.shared
                    .runs
                    .find_unstored(id)
                    .map(|unsaved| unsaved.run)
            })
            .unwrap_or(stored)
    }

    async fn list_clients(&self, run_id: &str) -> Result<Vec<ListClientsResponse>, Status> {
        let id = status::parse_run_id(run_id)?;
        if let Some(unsaved) = self.shared.runs.find_unstored(id) {
            return Ok(unsaved.pages);
        }
        let run = self.shared.find_run(id).await?;
        if !is_final(&run) {
            let sentence = format!("run {id} has not ended; its client rows come with the report");
            return Err(status::precondition("RUN_NOT_ENDED", "run_id", &sentence));
        }
        let pages = self
            .shared
            .with_store(move |store| store.client_pages(id))
            .await?;
        pages.map_err(|error| unreadable(&error))
    }

    async fn watch_run(&self, run_id: &str) -> Result<StreamOf<WatchRunResponse>, Status> {
        let id = status::parse_run_id(run_id)?;
        if let Some(active) = self.shared.runs.find(id) {
            // A watcher that is slow finds the newest view when it comes back, and slows nobody.
            return Ok(Box::pin(
                WatchStream::new(active.view).map(|view| Ok(event(view))),
            ));
        }
        let run = self.shared.find_run(id).await?;
        if !is_final(&run) {
            let sentence = format!(
                "run {id} belongs to another server that shares this database; watch it there"
            );
            return Err(status::precondition("RUN_ELSEWHERE", "run_id", &sentence));
        }
        Ok(Box::pin(tokio_stream::once(Ok(event(RunView::Ended(run))))))
    }

    async fn get_server(&self) -> Result<GetServerResponse, Status> {
        let shared = &self.shared;
        let reading = shared
            .master_client
            .read_server()
            .await
            .ok_or_else(master_is_gone)?;
        let uptime = Duration::from_nanos(clock::now_ns().saturating_sub(shared.server.started_ns));
        Ok(GetServerResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: Some(timestamp(shared.server.started_unix_ms)),
            data_address: shared.server.data_address.to_string(),
            grpc_address: shared.server.grpc_address.to_string(),
            max_clients: shared.server.max_clients,
            accept_raw: shared.server.accept_raw,
            workers: reading.workers.iter().map(worker).collect(),
            connections: Some(connections(&reading)),
            raw: Some(raw(&reading.raw)),
            runs_active: u32::try_from(shared.runs.count()).unwrap_or(u32::MAX),
            uptime: prost_types::Duration::try_from(uptime).ok(),
            pid: process::id(),
            database: shared.database(),
            draining: shared.is_draining(),
            recoveries: Some(recoveries(&reading.recoveries)),
            crash_loops: reading.recoveries.crash_loops,
        })
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
        let run = start_run(&self.shared, request.into_inner()).await?;
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
        let stop = |(id, run): (RunId, crate::control::runs::active::ActiveRun)| {
            run.stop(StopCause::Operator);
            id.to_string()
        };
        let run_ids = self.shared.runs.all().into_iter().map(stop).collect();
        Ok(Response::new(StopAllResponse { run_ids }))
    }

    async fn get_run(
        &self,
        request: Request<GetRunRequest>,
    ) -> Result<Response<GetRunResponse>, Status> {
        let id = status::parse_run_id(&request.get_ref().run_id)?;
        let run = self.shared.find_run(id).await?;
        Ok(Response::new(GetRunResponse { run: Some(run) }))
    }

    async fn list_runs(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        self.list_runs(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<Self::ListClientsStream>, Status> {
        let pages = self.list_clients(&request.get_ref().run_id).await?;
        Ok(Response::new(Box::pin(tokio_stream::iter(
            pages.into_iter().map(Ok),
        ))))
    }

    async fn watch_run(
        &self,
        request: Request<WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        self.watch_run(&request.get_ref().run_id)
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
            .ok_or_else(master_is_gone)?;
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
        self.get_server().await.map(Response::new)
    }
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

fn event(view: RunView) -> WatchRunResponse {
    let event = match view {
        RunView::Running { snapshot, .. } => Event::Snapshot(snapshot),
        RunView::Ended(run) => Event::Ended(run),
    };
    WatchRunResponse { event: Some(event) }
}

fn worker(reading: &WorkerStatus) -> v1::Worker {
    let count = reading.count;
    v1::Worker {
        worker: count.worker,
        pid: count.pid,
        connections: reading.connections,
        packets: count.packets,
        cpu_s: count.cpu_ns as f64 / 1e9,
        reads: count.reads,
        wakeups: count.wakeups,
        restarts: count.restarts,
        real_time: reading.is_real_time,
    }
}

fn recoveries(recoveries: &RecoveryCounters) -> v1::Recoveries {
    v1::Recoveries {
        deaths: recoveries.deaths,
        packets: recoveries.packets,
        connections_lost: recoveries.connections_lost,
        pause: Some(recoveries.pauses.distribution(false)),
    }
}

fn connections(reading: &ServerStatus) -> v1::Connections {
    v1::Connections {
        accepted: reading.accepted,
        pending: reading.pending,
        admitted: reading.admitted,
        refused_full: reading.refused_full,
        refused_hello: reading.refused_hello,
        refused_late: reading.refused_late,
        refused_raw: reading.refused_raw,
    }
}

fn raw(reading: &RawCounters) -> v1::RawTotals {
    v1::RawTotals {
        connections: reading.connections,
        packets: reading.packets,
        bytes: reading.bytes,
        clients: reading.clients.iter().map(raw_client).collect(),
    }
}

fn raw_client(reading: &RawClientCounters) -> v1::RawClient {
    v1::RawClient {
        peer: reading.peer.to_string(),
        packets: reading.packets,
        bytes: reading.bytes,
        worker: reading.worker,
        connected: reading.connected,
    }
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
    fn a_page_tells_whether_there_is_a_next_one() {
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
