//! The calls of the API, a method each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metronome_proto::{
    MESSAGE_BYTES_MAX,
    limits::PAGE_SIZE_MAX,
    rpc_failure::Server,
    v1::{
        self, FailureCode, admin_service_client::AdminServiceClient, export_run_response::Part,
        fleet_service_client::FleetServiceClient, get_run_request,
        run_service_client::RunServiceClient, stop_run_request,
    },
};
use tonic::{Code, Request, Response, Status, Streaming, transport::Channel};

use super::{
    address::Address,
    deadlines::{RESPONSE_TIME_MAX, RESTART_TIME_MAX, UPGRADE_TIME_MAX, retried, with_deadline},
    errors, first_bytes,
    rpc_tracing::Traced,
};
use crate::{exit::Failure, flags::Origin};

/// Pages may be empty and not be the last: a server must not keep us here for ever.
pub(crate) const PAGES_MAX: usize = 10_000;

/// A server itself waits up to 3 s for its data plane before it answers GetServer.
const RECOGNITION_TIME_MAX: Duration = Duration::from_secs(5);

/// A connection to a server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Traced<Channel>,
    address: Address,
    is_encrypted: bool,
    /// Whether a response has come. All clones share it.
    has_responded: Arc<AtomicBool>,
    /// By what failures name the fields of a plan.
    origin: Origin,
}

impl Client {
    pub(super) fn new(channel: Channel, address: &Address, is_encrypted: bool) -> Self {
        Self {
            channel: Traced::new(channel, address.authority()),
            address: address.clone(),
            is_encrypted,
            has_responded: Arc::default(),
            origin: Origin::default(),
        }
    }

    /// The server, if it answers, within some 7 s. Only for plain connections.
    ///
    /// # Errors
    /// What listens there proves to be no server of ours by what it answers. Or it answers nothing,
    /// which a server of ours that is busy does as well: then the call failed on the way.
    pub(super) async fn recognised(self) -> Result<Self, Failure> {
        let request = with_deadline(v1::GetServerRequest {}, RECOGNITION_TIME_MAX);
        let Err(status) = self.fleet_service().get_server(request).await else {
            self.has_responded.store(true, Ordering::Relaxed);
            return Ok(self);
        };
        if errors::reported(&status, &self.origin).is_some() {
            return Ok(self);
        }
        let foreign = |code, words| Err(errors::foreign(&self.address, code, words));
        if status.code() == Code::Unimplemented {
            let words = "speaks HTTP/2, and has no service of Metronome";
            return foreign(FailureCode::ServerIncompatible, words);
        }
        let answer = first_bytes::answer(&self.address).await;
        match answer.foreign() {
            Some(words) => foreign(answer.code(), words),
            None => Err(self
                .dialled()
                .on_the_way(&status, Some(RECOGNITION_TIME_MAX))),
        }
    }

    /// The same connection, for a plan that was given there.
    pub(crate) fn naming(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Where this server listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Starts a run. When the response is lost on the way, the request is repeated once: the server
    /// recognises its request_id and names the same run, so that no run goes on unnoticed.
    pub(crate) async fn start_run(&self, request: v1::StartRunRequest) -> Result<v1::Run, Failure> {
        let may_repeat = !request.request_id.is_empty();
        let call = || {
            self.once(request.clone(), RESPONSE_TIME_MAX, async |request| {
                self.run_service().start_run(request).await
            })
        };
        let response = retried(may_repeat, call).await?;
        self.required_run(response.run)
    }

    /// Stops one run, or those of a filter, in good order.
    pub(crate) async fn stop_runs(
        &self,
        runs: stop_run_request::Runs,
    ) -> Result<Vec<v1::Run>, Failure> {
        let request = v1::StopRunRequest { runs: Some(runs) };
        let call = || {
            self.once(request.clone(), RESPONSE_TIME_MAX, async |request| {
                self.run_service().stop_run(request).await
            })
        };
        Ok(retried(true, call).await?.runs)
    }

    /// One run, by its id.
    pub(crate) async fn run(&self, run_id: &str) -> Result<v1::Run, Failure> {
        let run = get_run_request::Run::RunId(run_id.into());
        self.same_run(self.get_run(run).await?, run_id)
    }

    /// The run of a request_id.
    pub(crate) async fn run_of_request(&self, request_id: &str) -> Result<v1::Run, Failure> {
        let run = get_run_request::Run::RequestId(request_id.into());
        let run = self.get_run(run).await?;
        if run.request_id != request_id {
            return Err(self.incompatible("it responded with the run of another request"));
        }
        Ok(run)
    }

    async fn get_run(&self, run: get_run_request::Run) -> Result<v1::Run, Failure> {
        let request = v1::GetRunRequest {
            run: Some(run),
            // No form of output has the whole distributions.
            view: v1::RunView::Basic.into(),
        };
        let call = async |request| self.run_service().get_run(request).await;
        let response = self.once(request, RESPONSE_TIME_MAX, call).await?;
        self.required_run(response.run)
    }

    /// A page of runs.
    pub(crate) async fn runs(
        &self,
        request: v1::ListRunsRequest,
    ) -> Result<v1::ListRunsResponse, Failure> {
        let call = async |request| self.run_service().list_runs(request).await;
        self.once(request, RESPONSE_TIME_MAX, call).await
    }

    /// Deletes a run that has ended. Not repeated when the response is lost: the answer to a second
    /// request is the same for a run that is deleted as for one that never was.
    pub(crate) async fn delete_run(&self, run_id: &str) -> Result<(), Failure> {
        let request = v1::DeleteRunRequest {
            run_id: run_id.into(),
        };
        let call = || {
            self.once(request.clone(), RESPONSE_TIME_MAX, async |request| {
                self.run_service().delete_run(request).await
            })
        };
        let v1::DeleteRunResponse {} = retried(false, call).await?;
        Ok(())
    }

    /// Every client row of a run.
    pub(crate) async fn clients(&self, run_id: &str) -> Result<Vec<v1::ClientReport>, Failure> {
        self.exported(
            run_id,
            v1::ExportPart::ClientRows,
            |clients: &mut Vec<_>, part| {
                if let Part::ClientRows(rows) = part {
                    clients.extend(rows.clients);
                }
            },
        )
        .await
    }

    /// The series of a run, empty without one.
    pub(crate) async fn series(&self, run_id: &str) -> Result<v1::Series, Failure> {
        self.exported(
            run_id,
            v1::ExportPart::Series,
            |series: &mut v1::Series, part| {
                if let Part::Series(page) = part {
                    series.append(page);
                }
            },
        )
        .await
    }

    /// A part of a stored run, from all messages of the stream. It is read anew when the connection
    /// breaks: a proxy that is reloaded while a run goes on ends its connection as soon as no call is
    /// open, which is between the end of the run and the call for its rows.
    async fn exported<T: Default>(
        &self,
        run_id: &str,
        part: v1::ExportPart,
        add: impl Fn(&mut T, Part),
    ) -> Result<T, Failure> {
        let request = v1::ExportRunRequest {
            run_id: run_id.into(),
            first_client: 0,
            part: part.into(),
        };
        let read = async || {
            let call = async |request| self.run_service().export_run(request).await;
            let mut parts = self.once(request.clone(), RESPONSE_TIME_MAX, call).await?;
            let mut whole = T::default();
            loop {
                match parts.message().await {
                    Ok(Some(response)) => {
                        response.part.into_iter().for_each(|p| add(&mut whole, p))
                    }
                    Ok(None) => return Ok(whole),
                    Err(status) => {
                        return Err(self.failure(&status, Some(RESPONSE_TIME_MAX)).await);
                    }
                }
            }
        };
        retried(true, read).await
    }

    /// What happens to a run until its end, or in the server.
    pub(super) async fn events(
        &self,
        request: v1::WatchEventsRequest,
    ) -> Result<Streaming<v1::WatchEventsResponse>, Failure> {
        // No deadline: a run may last a day. Keep-alive notices a server that is gone.
        let response = self.run_service().watch_events(request).await;
        self.message(response, None).await
    }

    /// The agents connected now, those of all pages.
    pub(crate) async fn agents(&self) -> Result<Vec<v1::Agent>, Failure> {
        let mut agents = Vec::new();
        let mut page_token = String::new();
        for _ in 0..PAGES_MAX {
            let request = v1::ListAgentsRequest {
                page_size: PAGE_SIZE_MAX,
                page_token,
            };
            let call = async |request| self.fleet_service().list_agents(request).await;
            let page = self.once(request, RESPONSE_TIME_MAX, call).await?;
            agents.extend(page.agents);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(agents)
    }

    /// The server itself.
    pub(crate) async fn server(&self) -> Result<v1::GetServerResponse, Failure> {
        let call = async |request| self.fleet_service().get_server(request).await;
        self.once(v1::GetServerRequest {}, RESPONSE_TIME_MAX, call)
            .await
    }

    /// Restarts the workers and returns how many there were.
    pub(crate) async fn restart_workers(&self) -> Result<u32, Failure> {
        let call = async |request| self.admin_service().restart_workers(request).await;
        let request = v1::RestartWorkersRequest {};
        Ok(self.once(request, RESTART_TIME_MAX, call).await?.restarted)
    }

    /// Lets a new process take over and returns its pid.
    pub(crate) async fn upgrade(&self) -> Result<u32, Failure> {
        let call = async |request| self.admin_service().upgrade(request).await;
        let request = v1::UpgradeRequest {};
        Ok(self.once(request, UPGRADE_TIME_MAX, call).await?.pid)
    }

    /// The failure of a call that was to take at most `time_max`; `None` where no time was set.
    pub(super) async fn failure(&self, status: &Status, time_max: Option<Duration>) -> Failure {
        if let Some(failure) = errors::reported(status, &self.origin) {
            self.has_responded.store(true, Ordering::Relaxed);
            return failure;
        }
        let server = self.dialled();
        let failure = server.on_the_way(status, time_max);
        let may_speak_otherwise = failure.code() == FailureCode::ServerLost
            && !(server.is_encrypted || server.has_responded);
        if !may_speak_otherwise {
            return failure;
        }
        let cause = "it does not speak plain HTTP/2";
        match first_bytes::answer(&self.address).await.code() {
            FailureCode::ServerNotTrusted => server.not_trusted(cause),
            FailureCode::ServerIncompatible => server.incompatible(cause),
            _ => failure,
        }
    }

    /// The server, as far as a failure depends on it.
    pub(super) fn dialled(&self) -> Server {
        let has_responded = self.has_responded.load(Ordering::Relaxed);
        errors::server(&self.address, self.is_encrypted, has_responded)
    }

    async fn once<M, R>(
        &self,
        message: M,
        time_max: Duration,
        call: impl AsyncFn(Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let response = call(with_deadline(message, time_max)).await;
        self.message(response, Some(time_max)).await
    }

    async fn message<R>(
        &self,
        response: Result<Response<R>, Status>,
        time_max: Option<Duration>,
    ) -> Result<R, Failure> {
        match response {
            Ok(response) => {
                self.has_responded.store(true, Ordering::Relaxed);
                Ok(response.into_inner())
            }
            Err(status) => Err(self.failure(&status, time_max).await),
        }
    }

    fn run_service(&self) -> RunServiceClient<Traced<Channel>> {
        RunServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn fleet_service(&self) -> FleetServiceClient<Traced<Channel>> {
        FleetServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn admin_service(&self) -> AdminServiceClient<Traced<Channel>> {
        AdminServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn required_run(&self, run: Option<v1::Run>) -> Result<v1::Run, Failure> {
        run.ok_or_else(|| self.incompatible("its response has no run"))
    }

    /// A run that the server gave for this id.
    pub(super) fn same_run(&self, run: v1::Run, run_id: &str) -> Result<v1::Run, Failure> {
        if run.run_id == run_id {
            return Ok(run);
        }
        let cause = format!("it responded with run {} for run {run_id}", run.run_id);
        Err(self.incompatible(&cause))
    }

    fn incompatible(&self, cause: &str) -> Failure {
        self.dialled().incompatible(cause)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, vec::IntoIter};

    use metronome_proto::v1::run_service_server::{RunService, RunServiceServer};
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;

    use super::*;
    use crate::client::connect;

    /// A server that has the rows of one client, and answers nothing else. Its first answers, as many
    /// as are `broken`, end with the connection.
    struct OneClient {
        broken: AtomicUsize,
    }

    type Answer<T> = Result<Response<T>, Status>;

    #[tonic::async_trait]
    impl RunService for OneClient {
        type ExportRunStream = tokio_stream::Iter<IntoIter<Result<v1::ExportRunResponse, Status>>>;
        type WatchEventsStream = tokio_stream::Empty<Result<v1::WatchEventsResponse, Status>>;

        async fn export_run(
            &self,
            _: Request<v1::ExportRunRequest>,
        ) -> Answer<Self::ExportRunStream> {
            let rows = v1::ClientRows {
                clients: vec![v1::ClientReport::default()],
            };
            let part = Some(Part::ClientRows(rows));
            let mut answer = vec![Ok(v1::ExportRunResponse { part })];
            let broken = &self.broken;
            let less = |left: usize| left.checked_sub(1);
            if broken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .is_ok()
            {
                answer.push(Err(Status::unavailable("")));
            }
            Ok(Response::new(tokio_stream::iter(answer)))
        }

        async fn start_run(&self, _: Request<v1::StartRunRequest>) -> Answer<v1::StartRunResponse> {
            Err(Status::unimplemented(""))
        }

        async fn stop_run(&self, _: Request<v1::StopRunRequest>) -> Answer<v1::StopRunResponse> {
            Err(Status::unimplemented(""))
        }

        async fn get_run(&self, _: Request<v1::GetRunRequest>) -> Answer<v1::GetRunResponse> {
            Err(Status::unimplemented(""))
        }

        async fn list_runs(&self, _: Request<v1::ListRunsRequest>) -> Answer<v1::ListRunsResponse> {
            Err(Status::unimplemented(""))
        }

        async fn delete_run(
            &self,
            _: Request<v1::DeleteRunRequest>,
        ) -> Answer<v1::DeleteRunResponse> {
            Err(Status::unimplemented(""))
        }

        async fn watch_events(
            &self,
            _: Request<v1::WatchEventsRequest>,
        ) -> Answer<Self::WatchEventsStream> {
            Err(Status::unimplemented(""))
        }
    }

    async fn listen(broken: usize) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let service = RunServiceServer::new(OneClient {
            broken: AtomicUsize::new(broken),
        });
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address.parse().expect("an address")
    }

    #[tokio::test]
    async fn the_rows_of_a_run_are_read_anew_once_when_the_connection_breaks() {
        let lost = Err(FailureCode::ServerLost);
        for (broken, wanted) in [(0, Ok(1)), (1, Ok(1)), (2, lost)] {
            let client = connect(&listen(broken).await, None).await;
            let rows = client
                .expect("it listens")
                .clients("0199f0c2d1e34a55")
                .await;
            let seen = rows
                .map(|rows| rows.len())
                .map_err(|failure| failure.code());
            assert_eq!(seen, wanted, "{broken} answers broken");
        }
    }
}
