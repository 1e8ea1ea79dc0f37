//! The calls of the operator's API, a method each.

use metronome_proto::{MESSAGE_BYTES_MAX, v1};
use tonic::{Request, Status, Streaming, transport::Channel};

use super::{
    address::Address,
    deadlines::{RESTART_MAX, UPGRADE_MAX, persistently, timed},
    errors::explain,
    rpc_tracing::Traced,
};
use crate::exit::Failure;
use v1::operator_service_client::OperatorServiceClient;

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

    /// Starts a run. An answer that is lost on the way is asked for once more: by its request_id it
    /// is of the same run, and no run goes on of which nobody knows.
    pub(crate) async fn start_run(&self, asked: v1::StartRunRequest) -> Result<v1::Run, Failure> {
        let may_repeat = !asked.request_id.is_empty();
        let call = || async { self.api().start_run(timed(asked.clone())).await };
        let answer = persistently(may_repeat, call)
            .await
            .map_err(|status| self.explain(&status))?;
        answer
            .into_inner()
            .run
            .ok_or_else(|| self.left_out("the run"))
    }

    /// Stops a run in good order.
    pub(crate) async fn stop_run(&self, run_id: &str) -> Result<v1::Run, Failure> {
        let call = || async {
            self.api()
                .stop_run(timed(v1::StopRunRequest {
                    run_id: run_id.into(),
                }))
                .await
        };
        let answer = persistently(true, call)
            .await
            .map_err(|status| self.explain(&status))?;
        answer
            .into_inner()
            .run
            .ok_or_else(|| self.left_out("the run"))
    }

    /// Stops every run; tells their ids.
    pub(crate) async fn stop_all(&self) -> Result<Vec<String>, Failure> {
        let call = || async { self.api().stop_all(timed(v1::StopAllRequest {})).await };
        let answer = persistently(true, call).await;
        Ok(answer
            .map_err(|status| self.explain(&status))?
            .into_inner()
            .run_ids)
    }

    /// One run.
    pub(crate) async fn run(&self, run_id: &str) -> Result<v1::Run, Failure> {
        let asked = timed(v1::GetRunRequest {
            run_id: run_id.into(),
        });
        let answer = self
            .api()
            .get_run(asked)
            .await
            .map_err(|status| self.explain(&status))?;
        answer
            .into_inner()
            .run
            .ok_or_else(|| self.left_out("the run"))
    }

    /// A page of runs, newest first.
    pub(crate) async fn runs(
        &self,
        asked: v1::ListRunsRequest,
    ) -> Result<v1::ListRunsResponse, Failure> {
        let answer = self.api().list_runs(timed(asked)).await;
        Ok(answer.map_err(|status| self.explain(&status))?.into_inner())
    }

    /// Every client row of a run.
    pub(crate) async fn clients(&self, run_id: &str) -> Result<Vec<v1::ClientReport>, Failure> {
        let asked = timed(v1::ListClientsRequest {
            run_id: run_id.into(),
        });
        let mut pages = self
            .api()
            .list_clients(asked)
            .await
            .map_err(|status| self.explain(&status))?
            .into_inner();
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

    /// Snapshots of a run until its end. The status stays as it is: a watch may try again.
    pub(crate) async fn watch(
        &self,
        run_id: &str,
    ) -> Result<Streaming<v1::WatchRunResponse>, Status> {
        // No deadline: a run may last a day. Keep-alive notices a server that is gone.
        let asked = v1::WatchRunRequest {
            run_id: run_id.into(),
        };
        Ok(self.api().watch_run(asked).await?.into_inner())
    }

    /// The agents connected now.
    pub(crate) async fn agents(&self) -> Result<Vec<v1::Agent>, Failure> {
        let answer = self
            .api()
            .list_agents(timed(v1::ListAgentsRequest {}))
            .await;
        Ok(answer
            .map_err(|status| self.explain(&status))?
            .into_inner()
            .agents)
    }

    /// The server itself.
    pub(crate) async fn server(&self) -> Result<v1::GetServerResponse, Failure> {
        let answer = self.api().get_server(timed(v1::GetServerRequest {})).await;
        Ok(answer.map_err(|status| self.explain(&status))?.into_inner())
    }

    /// Restarts the workers; how many there were.
    pub(crate) async fn restart_workers(&self) -> Result<u32, Failure> {
        let mut asked = Request::new(v1::RestartWorkersRequest {});
        asked.set_timeout(RESTART_MAX);
        let answer = self.api().restart_workers(asked).await;
        Ok(answer
            .map_err(|status| self.explain(&status))?
            .into_inner()
            .restarted)
    }

    /// Lets a new process take over; its pid.
    pub(crate) async fn upgrade(&self) -> Result<u32, Failure> {
        let mut asked = Request::new(v1::UpgradeRequest {});
        asked.set_timeout(UPGRADE_MAX);
        let answer = self.api().upgrade(asked).await;
        Ok(answer
            .map_err(|status| self.explain(&status))?
            .into_inner()
            .pid)
    }

    /// The status of this server as a sentence with an exit code.
    pub(crate) fn explain(&self, status: &Status) -> Failure {
        explain(status, &self.address, self.is_encrypted)
    }

    fn api(&self) -> OperatorServiceClient<Traced<Channel>> {
        self.api.clone()
    }

    fn left_out(&self, what: &str) -> Failure {
        Failure::other(format!(
            "the server at {} left {what} out of its answer; is it of another version?",
            self.address
        ))
    }
}
