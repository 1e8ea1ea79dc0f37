//! The calls of the operator's API, a method each.

use metronome_proto::{
    MESSAGE_BYTES_MAX,
    v1::{self, operator_service_client::OperatorServiceClient},
};
use tonic::{Response, Status, Streaming, transport::Channel};

use super::{
    address::Address,
    deadlines::{RESTART_TIME_MAX, UPGRADE_TIME_MAX, retried, with_deadline, with_usual_deadline},
    errors::explain,
    rpc_tracing::Traced,
};
use crate::exit::Failure;

/// A connection to a server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    api: OperatorServiceClient<Traced<Channel>>,
    address: Address,
    is_encrypted: bool,
}

impl Client {
    pub(super) fn new(channel: Channel, address: Address, is_encrypted: bool) -> Self {
        let api = OperatorServiceClient::new(Traced::new(channel, address.authority()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self {
            api,
            address,
            is_encrypted,
        }
    }

    /// Where this server listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Starts a run. When the response is lost on the way, the request is repeated once: the server
    /// recognises its request_id and names the same run, so that no run goes on unnoticed.
    pub(crate) async fn start_run(&self, request: v1::StartRunRequest) -> Result<v1::Run, Failure> {
        let may_repeat = !request.request_id.is_empty();
        let call = || async {
            let request = with_usual_deadline(request.clone());
            self.api().start_run(request).await
        };
        let response = self.message(retried(may_repeat, call).await)?;
        self.required_run(response.run)
    }

    /// Stops a run in good order.
    pub(crate) async fn stop_run(&self, run_id: &str) -> Result<v1::Run, Failure> {
        let call = || async {
            let run_id = run_id.into();
            let request = with_usual_deadline(v1::StopRunRequest { run_id });
            self.api().stop_run(request).await
        };
        let response = self.message(retried(true, call).await)?;
        self.required_run(response.run)
    }

    /// Stops every run and returns their ids.
    pub(crate) async fn stop_all(&self) -> Result<Vec<String>, Failure> {
        let call = || async {
            let request = with_usual_deadline(v1::StopAllRequest {});
            self.api().stop_all(request).await
        };
        Ok(self.message(retried(true, call).await)?.run_ids)
    }

    /// One run.
    pub(crate) async fn run(&self, run_id: &str) -> Result<v1::Run, Failure> {
        let run_id = run_id.into();
        let request = with_usual_deadline(v1::GetRunRequest { run_id });
        let response = self.message(self.api().get_run(request).await)?;
        self.required_run(response.run)
    }

    /// A page of runs, newest first.
    pub(crate) async fn runs(
        &self,
        request: v1::ListRunsRequest,
    ) -> Result<v1::ListRunsResponse, Failure> {
        let request = with_usual_deadline(request);
        self.message(self.api().list_runs(request).await)
    }

    /// Every client row of a run.
    pub(crate) async fn clients(&self, run_id: &str) -> Result<Vec<v1::ClientReport>, Failure> {
        let run_id = run_id.into();
        let request = with_usual_deadline(v1::ListClientsRequest { run_id });
        let mut pages = self.message(self.api().list_clients(request).await)?;
        let mut clients = Vec::new();
        while let Some(page) = pages
            .message()
            .await
            .map_err(|status| self.explain(&status))?
        {
            clients.extend(page.clients);
        }
        Ok(clients)
    }

    /// Snapshots of a run until its end. The status is not made a sentence: a watch may try again.
    pub(super) async fn watch(
        &self,
        run_id: &str,
    ) -> Result<Streaming<v1::WatchRunResponse>, Status> {
        // No deadline: a run may last a day. Keep-alive notices a server that is gone.
        let run_id = run_id.into();
        let response = self.api().watch_run(v1::WatchRunRequest { run_id }).await?;
        Ok(response.into_inner())
    }

    /// The agents connected now.
    pub(crate) async fn agents(&self) -> Result<Vec<v1::Agent>, Failure> {
        let request = with_usual_deadline(v1::ListAgentsRequest {});
        Ok(self.message(self.api().list_agents(request).await)?.agents)
    }

    /// The server itself.
    pub(crate) async fn server(&self) -> Result<v1::GetServerResponse, Failure> {
        let request = with_usual_deadline(v1::GetServerRequest {});
        self.message(self.api().get_server(request).await)
    }

    /// Restarts the workers and returns how many there were.
    pub(crate) async fn restart_workers(&self) -> Result<u32, Failure> {
        let request = with_deadline(v1::RestartWorkersRequest {}, RESTART_TIME_MAX);
        let response = self.message(self.api().restart_workers(request).await)?;
        Ok(response.restarted)
    }

    /// Lets a new process take over and returns its pid.
    pub(crate) async fn upgrade(&self) -> Result<u32, Failure> {
        let request = with_deadline(v1::UpgradeRequest {}, UPGRADE_TIME_MAX);
        Ok(self.message(self.api().upgrade(request).await)?.pid)
    }

    /// The status of this server as a sentence with an exit code.
    pub(super) fn explain(&self, status: &Status) -> Failure {
        explain(status, &self.address, self.is_encrypted)
    }

    fn api(&self) -> OperatorServiceClient<Traced<Channel>> {
        self.api.clone()
    }

    fn message<T>(&self, response: Result<Response<T>, Status>) -> Result<T, Failure> {
        response
            .map(Response::into_inner)
            .map_err(|status| self.explain(&status))
    }

    fn required_run(&self, run: Option<v1::Run>) -> Result<v1::Run, Failure> {
        run.ok_or_else(|| {
            Failure::other(format!(
                "the response of the server at {} lacks the run; is the server of another version?",
                self.address
            ))
        })
    }
}
