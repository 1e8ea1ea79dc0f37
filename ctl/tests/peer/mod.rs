//! A peer that speaks the operator's API and plays a script: what a real server does rarely, or
//! never on request, it does at once. It is the other end of the wire, not a copy of the server.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use metronome_proto::v1::{
    self,
    operator_service_server::{OperatorService, OperatorServiceServer},
    watch_run_response::Event,
};
use tokio::sync::oneshot;
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Request, Response, Status};

/// The only run of the peer.
pub(crate) const RUN_ID: &str = "0199f0c2a1b2c3d4";

/// How the peer responds to one WatchRun.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watch {
    /// A snapshot, then the end with this verdict.
    Ends(v1::VerdictStatus),
    /// A snapshot, then the end of a run that the server died in.
    Aborted,
    /// A snapshot, then the stream breaks.
    Breaks,
    /// A snapshot, then nothing.
    Hangs,
}

/// What the peer does.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// What StartRun fails with.
    pub(crate) start: Option<Status>,
    /// So many responses of StartRun are lost on the way.
    pub(crate) lost_responses: u32,
    /// StartRun responds after this.
    pub(crate) respond_when: Option<oneshot::Receiver<()>>,
    /// One per WatchRun; then WatchRun is UNAVAILABLE.
    pub(crate) watches: Vec<Watch>,
}

/// A peer that listens until it is dropped.
pub(crate) struct Peer {
    pub(crate) address: String,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    script: Mutex<Script>,
    calls: Mutex<Vec<&'static str>>,
    request_ids: Mutex<Vec<String>>,
}

impl Peer {
    pub(crate) fn start(script: Script) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket of ours");
        let address = listener.local_addr().expect("bound").to_string();
        let state = Arc::new(State {
            script: Mutex::new(script),
            calls: Mutex::default(),
            request_ids: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let service = OperatorServiceServer::new(Operator(Arc::clone(&state)));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for the peer");
            runtime.block_on(async {
                let listener =
                    tokio::net::TcpListener::from_std(listener).expect("inside a runtime");
                let serving = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(TcpListenerStream::new(listener));
                // Not the graceful shutdown: a peer that goes away takes its streams with it.
                tokio::select! {
                    result = serving => result.expect("the listener stays"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The calls so far, in order.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.state.calls.lock().expect("no panic in a call").clone()
    }

    /// The request_id of every StartRun so far.
    pub(crate) fn request_ids(&self) -> Vec<String> {
        self.state
            .request_ids
            .lock()
            .expect("no panic in a call")
            .clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Operator(Arc<State>);

impl Operator {
    fn called(&self, name: &'static str) {
        self.0.calls.lock().expect("no panic in a call").push(name);
    }
}

type Pages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl OperatorService for Operator {
    type ListClientsStream = Pages<v1::ListClientsResponse>;
    type WatchRunStream = Pages<v1::WatchRunResponse>;

    async fn start_run(
        &self,
        request: Request<v1::StartRunRequest>,
    ) -> Result<Response<v1::StartRunResponse>, Status> {
        self.called("StartRun");
        let request = request.into_inner();
        self.0
            .request_ids
            .lock()
            .expect("no panic in a call")
            .push(request.request_id.clone());
        let respond_when = {
            let mut script = self.0.script.lock().expect("no panic in a call");
            if let Some(status) = &script.start {
                return Err(status.clone());
            }
            if script.lost_responses > 0 {
                script.lost_responses -= 1;
                return Err(Status::unavailable("the connection broke"));
            }
            script.respond_when.take()
        };
        if let Some(respond_when) = respond_when {
            let _ = respond_when.await;
        }
        let run = v1::Run {
            plan: request.plan,
            label: request.label,
            ..run(v1::RunState::Preparing)
        };
        Ok(Response::new(v1::StartRunResponse { run: Some(run) }))
    }

    async fn stop_run(
        &self,
        _: Request<v1::StopRunRequest>,
    ) -> Result<Response<v1::StopRunResponse>, Status> {
        self.called("StopRun");
        Ok(Response::new(v1::StopRunResponse {
            run: Some(run(v1::RunState::Draining)),
        }))
    }

    async fn stop_all(
        &self,
        _: Request<v1::StopAllRequest>,
    ) -> Result<Response<v1::StopAllResponse>, Status> {
        self.called("StopAll");
        Ok(Response::new(v1::StopAllResponse {
            run_ids: vec![RUN_ID.into()],
        }))
    }

    async fn get_run(
        &self,
        _: Request<v1::GetRunRequest>,
    ) -> Result<Response<v1::GetRunResponse>, Status> {
        self.called("GetRun");
        Ok(Response::new(v1::GetRunResponse {
            run: Some(ended(v1::VerdictStatus::Partial)),
        }))
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        self.called("ListRuns");
        let first = request.into_inner().page_token.is_empty();
        let (runs, next_page_token) = if first {
            (vec![ended(v1::VerdictStatus::Valid)], "more".into())
        } else {
            (
                vec![v1::Run {
                    run_id: "0100000000000000".into(),
                    ..run(v1::RunState::Aborted)
                }],
                String::new(),
            )
        };
        Ok(Response::new(v1::ListRunsResponse {
            runs,
            next_page_token,
        }))
    }

    async fn list_clients(
        &self,
        _: Request<v1::ListClientsRequest>,
    ) -> Result<Response<Self::ListClientsStream>, Status> {
        self.called("ListClients");
        let page = |client| {
            let client = v1::ClientReport {
                client,
                attempts: 1,
                ..v1::ClientReport::default()
            };
            Ok(v1::ListClientsResponse {
                clients: vec![client],
            })
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([
            page(0),
            page(1),
        ]))))
    }

    async fn watch_run(
        &self,
        _: Request<v1::WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        self.called("WatchRun");
        let watch = {
            let mut script = self.0.script.lock().expect("no panic in a call");
            if script.watches.is_empty() {
                return Err(Status::unavailable("the script is over"));
            }
            script.watches.remove(0)
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let _ = sender.send(Ok(snapshot())).await;
            let last = match watch {
                Watch::Ends(verdict) => Ok(ended(verdict)),
                Watch::Aborted => Ok(run(v1::RunState::Aborted)),
                Watch::Breaks => Err(Status::unavailable("broken")),
                Watch::Hangs => return sender.closed().await,
            };
            let _ = sender
                .send(last.map(|run| v1::WatchRunResponse {
                    event: Some(Event::Ended(run)),
                }))
                .await;
        });
        let events = ReceiverStream::new(receiver);
        Ok(Response::new(Box::pin(events)))
    }

    async fn list_agents(
        &self,
        _: Request<v1::ListAgentsRequest>,
    ) -> Result<Response<v1::ListAgentsResponse>, Status> {
        self.called("ListAgents");
        let agent = v1::Agent {
            name: "bench1-7".into(),
            cores: 2,
            ..v1::Agent::default()
        };
        Ok(Response::new(v1::ListAgentsResponse {
            agents: vec![agent],
        }))
    }

    async fn upgrade(
        &self,
        _: Request<v1::UpgradeRequest>,
    ) -> Result<Response<v1::UpgradeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn restart_workers(
        &self,
        _: Request<v1::RestartWorkersRequest>,
    ) -> Result<Response<v1::RestartWorkersResponse>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn get_server(
        &self,
        _: Request<v1::GetServerRequest>,
    ) -> Result<Response<v1::GetServerResponse>, Status> {
        self.called("GetServer");
        let raw = v1::RawTotals {
            connections: 1,
            packets: 7,
            bytes: 224,
            clients: Vec::new(),
        };
        Ok(Response::new(v1::GetServerResponse {
            raw: Some(raw),
            ..v1::GetServerResponse::default()
        }))
    }
}

fn run(state: v1::RunState) -> v1::Run {
    v1::Run {
        run_id: RUN_ID.into(),
        state: state.into(),
        ..v1::Run::default()
    }
}

fn ended(status: v1::VerdictStatus) -> v1::Run {
    let verdict = v1::Verdict {
        status: status.into(),
        ..v1::Verdict::default()
    };
    let report = v1::Report {
        verdict: Some(verdict),
        ..v1::Report::default()
    };
    v1::Run {
        report: Some(report),
        ..run(v1::RunState::Ended)
    }
}

fn snapshot() -> v1::WatchRunResponse {
    let snapshot = v1::Snapshot {
        state: v1::RunState::Running.into(),
        sent: 5,
        ..v1::Snapshot::default()
    };
    v1::WatchRunResponse {
        event: Some(Event::Snapshot(snapshot)),
    }
}
