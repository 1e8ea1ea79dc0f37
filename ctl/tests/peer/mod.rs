//! A peer that speaks the API and plays a script: what a real server does rarely, or never on
//! request, it does at once. It is the other end of the wire, not a copy of the server.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use metronome_proto::v1::{
    self, FailureCode,
    export_run_response::Part,
    fleet_service_server::{FleetService, FleetServiceServer},
    run_service_server::{RunService, RunServiceServer},
    stop_run_request::Runs,
    watch_events_response::Event,
};
use prost::Message as _;
use tokio::sync::oneshot;
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The run of the peer.
pub(crate) const RUN_ID: &str = "0199f0c2a1b2c3d4";
/// A run that is only in its list.
pub(crate) const OTHER_RUN_ID: &str = "0100000000000000";

/// Characters that move the cursor, ring the bell, or begin an escape sequence.
const CONTROLS: &str = "\x1b[2J\x07\r\x08\x7f\u{9b}";

/// How the peer responds to one WatchEvents.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watch {
    /// A snapshot, then the end with this verdict.
    Ends(v1::VerdictStatus),
    /// A snapshot, then this run as the one that has ended.
    EndsAs(fn() -> v1::Run),
    /// A snapshot, then the end of a run that the server died in.
    Aborted,
    /// A snapshot with a failure, then the end of a run that could not be prepared.
    Failed,
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
    /// What ListAgents fails with.
    pub(crate) agents: Option<Status>,
    /// What ListRuns fails with.
    pub(crate) runs: Option<Status>,
    /// What StopRun responds with instead of a run that drains.
    pub(crate) stops: Option<Vec<v1::Run>>,
    /// What the next DeleteRuns fail with, the last one first.
    pub(crate) deletes: Vec<Status>,
    /// Runs that cannot be read, on the first page of ListRuns.
    pub(crate) unreadable: Vec<String>,
    /// What GetRun responds with instead of a partial run.
    pub(crate) shown: Option<v1::Run>,
    /// Every text of it has [`CONTROLS`] in it.
    pub(crate) is_hostile: bool,
    /// So many responses of StartRun are lost on the way.
    pub(crate) lost_responses: u32,
    /// StartRun responds after this.
    pub(crate) respond_when: Option<oneshot::Receiver<()>>,
    /// One per WatchEvents; then WatchEvents is UNAVAILABLE.
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
    started: Mutex<Vec<v1::StartRunRequest>>,
    stopped: Mutex<Vec<Runs>>,
    listed: Mutex<Vec<v1::ListRunsRequest>>,
}

impl Peer {
    pub(crate) fn start(script: Script) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket of ours");
        let address = listener.local_addr().expect("bound").to_string();
        let state = Arc::new(State {
            script: Mutex::new(script),
            calls: Mutex::default(),
            started: Mutex::default(),
            stopped: Mutex::default(),
            listed: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let runs = RunServiceServer::new(Runner(Arc::clone(&state)));
        let fleet = FleetServiceServer::new(Runner(Arc::clone(&state)));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for the peer");
            runtime.block_on(async {
                let listener =
                    tokio::net::TcpListener::from_std(listener).expect("inside a runtime");
                let serving = tonic::transport::Server::builder()
                    .add_service(runs)
                    .add_service(fleet)
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

    /// Every StartRun so far.
    pub(crate) fn started(&self) -> Vec<v1::StartRunRequest> {
        self.state
            .started
            .lock()
            .expect("no panic in a call")
            .clone()
    }

    /// The request_id of every StartRun so far.
    pub(crate) fn request_ids(&self) -> Vec<String> {
        let started = self.started().into_iter();
        started.map(|request| request.request_id).collect()
    }

    /// The runs of every StopRun so far.
    pub(crate) fn stopped(&self) -> Vec<Runs> {
        self.state
            .stopped
            .lock()
            .expect("no panic in a call")
            .clone()
    }

    /// Every ListRuns so far.
    pub(crate) fn listed(&self) -> Vec<v1::ListRunsRequest> {
        self.state
            .listed
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

struct Runner(Arc<State>);

impl Runner {
    fn called(&self, name: &'static str) {
        self.0.calls.lock().expect("no panic in a call").push(name);
    }

    /// A text as the peer writes it.
    fn text(&self, text: &str) -> String {
        match self.script().is_hostile {
            true => format!("{text}{CONTROLS}"),
            false => text.to_owned(),
        }
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.script.lock().expect("no panic in a call")
    }
}

type Parts<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl RunService for Runner {
    type ExportRunStream = Parts<v1::ExportRunResponse>;
    type WatchEventsStream = Parts<v1::WatchEventsResponse>;

    async fn start_run(
        &self,
        request: Request<v1::StartRunRequest>,
    ) -> Result<Response<v1::StartRunResponse>, Status> {
        self.called("StartRun");
        let request = request.into_inner();
        let started = &self.0.started;
        started
            .lock()
            .expect("no panic in a call")
            .push(request.clone());
        let respond_when = {
            let mut script = self.script();
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
            labels: request.labels,
            run_id: self.text(RUN_ID),
            ..run(v1::RunState::Preparing)
        };
        Ok(Response::new(v1::StartRunResponse { run: Some(run) }))
    }

    async fn stop_run(
        &self,
        request: Request<v1::StopRunRequest>,
    ) -> Result<Response<v1::StopRunResponse>, Status> {
        self.called("StopRun");
        let runs = request.into_inner().runs;
        let mut stopped = self.0.stopped.lock().expect("no panic in a call");
        stopped.extend(runs);
        let stops = self.script().stops.clone();
        let runs = stops.unwrap_or_else(|| {
            vec![v1::Run {
                run_id: self.text(RUN_ID),
                ..run(v1::RunState::Draining)
            }]
        });
        Ok(Response::new(v1::StopRunResponse { runs }))
    }

    async fn get_run(
        &self,
        _: Request<v1::GetRunRequest>,
    ) -> Result<Response<v1::GetRunResponse>, Status> {
        self.called("GetRun");
        let shown = self.script().shown.clone();
        let run = shown.unwrap_or_else(|| v1::Run {
            run_id: self.text(RUN_ID),
            request_id: self.text("a-request"),
            labels: [("host".into(), self.text("a"))].into(),
            ..ended(v1::VerdictStatus::Partial)
        });
        Ok(Response::new(v1::GetRunResponse { run: Some(run) }))
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        self.called("ListRuns");
        if let Some(status) = &self.script().runs {
            return Err(status.clone());
        }
        let request = request.into_inner();
        let page_token = request.page_token.clone();
        let listed = &self.0.listed;
        listed.lock().expect("no panic in a call").push(request);
        // The page in the middle is empty, as one may be.
        let (runs, next_page_token) = match page_token.as_str() {
            "" => {
                let first = v1::Run {
                    run_id: self.text(RUN_ID),
                    ..ended(v1::VerdictStatus::Valid)
                };
                (vec![first], "empty")
            }
            "empty" => (Vec::new(), "last"),
            _ => {
                let last = v1::Run {
                    run_id: OTHER_RUN_ID.into(),
                    ..run(v1::RunState::Aborted)
                };
                (vec![last], "")
            }
        };
        Ok(Response::new(v1::ListRunsResponse {
            runs,
            next_page_token: next_page_token.into(),
            unreadable_run_ids: match page_token.as_str() {
                "" => self.script().unreadable.clone(),
                _ => Vec::new(),
            },
        }))
    }

    /// The other run has not ended.
    async fn delete_run(
        &self,
        request: Request<v1::DeleteRunRequest>,
    ) -> Result<Response<v1::DeleteRunResponse>, Status> {
        self.called("DeleteRun");
        if let Some(status) = self.script().deletes.pop() {
            return Err(status);
        }
        if request.into_inner().run_id == self.text(RUN_ID) {
            return Ok(Response::new(v1::DeleteRunResponse {}));
        }
        let failure =
            v1::Failure::new(FailureCode::RunNotEnded, self.text("the run has not ended"));
        Err(status_of(&failure, Code::FailedPrecondition))
    }

    async fn export_run(
        &self,
        _: Request<v1::ExportRunRequest>,
    ) -> Result<Response<Self::ExportRunStream>, Status> {
        self.called("ExportRun");
        let part = |client| {
            let client = v1::ClientReport {
                client,
                agent: self.text("bench1-7"),
                attempts: Some(1),
                ..v1::ClientReport::default()
            };
            let rows = v1::ClientRows {
                clients: vec![client],
            };
            Ok(v1::ExportRunResponse {
                part: Some(Part::ClientRows(rows)),
            })
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([
            part(0),
            part(1),
        ]))))
    }

    async fn watch_events(
        &self,
        _: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        self.called("WatchEvents");
        let watch = {
            let mut script = self.script();
            if script.watches.is_empty() {
                return Err(Status::unavailable("the script is over"));
            }
            script.watches.remove(0)
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let first = match watch {
                Watch::Failed => preparing(),
                _ => running(),
            };
            let _ = sender.send(Ok(first)).await;
            let last = match watch {
                Watch::Ends(verdict) => Ok(ended(verdict)),
                Watch::EndsAs(run) => Ok(run()),
                Watch::Aborted => Ok(run(v1::RunState::Aborted)),
                Watch::Failed => Ok(failed()),
                Watch::Breaks => Err(Status::unavailable("broken")),
                Watch::Hangs => return sender.closed().await,
            };
            let _ = sender
                .send(last.map(|run| v1::WatchEventsResponse {
                    number: 3,
                    at: None,
                    event: Some(Event::RunEnded(run)),
                }))
                .await;
        });
        let events = ReceiverStream::new(receiver);
        Ok(Response::new(Box::pin(events)))
    }
}

#[tonic::async_trait]
impl FleetService for Runner {
    /// A page each.
    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Result<Response<v1::ListAgentsResponse>, Status> {
        self.called("ListAgents");
        if let Some(status) = &self.script().agents {
            return Err(status.clone());
        }
        let (name, next_page_token) = match request.into_inner().page_token.as_str() {
            "" => ("bench1-7", "second"),
            _ => ("bench1-8", ""),
        };
        let agent = v1::Agent {
            name: self.text(name),
            version: self.text("1.0.0"),
            peer: self.text("192.0.2.7:4000"),
            run_ids: vec![self.text(RUN_ID)],
            ..v1::Agent::default()
        };
        Ok(Response::new(v1::ListAgentsResponse {
            agents: vec![agent],
            next_page_token: next_page_token.into(),
        }))
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
            clients: vec![v1::RawClient {
                peer: self.text("192.0.2.7:4001"),
                ..v1::RawClient::default()
            }],
        };
        Ok(Response::new(v1::GetServerResponse {
            raw: Some(raw),
            version: self.text("1.0.0"),
            grpc_address: self.text("192.0.2.7:50051"),
            data_address: self.text("192.0.2.7:8888"),
            database: self.text("runs.db"),
            ..v1::GetServerResponse::default()
        }))
    }
}

/// A failure as a server reports it (failure.proto).
pub(crate) fn status_of(failure: &v1::Failure, code: Code) -> Status {
    let figures = failure.figures.iter();
    let mut metadata: HashMap<String, String> = figures
        .map(|(name, figure)| (name.clone(), figure.to_string()))
        .collect();
    metadata.insert("remedy".into(), failure.remedy.clone());
    let mut details = ErrorDetails::new();
    details.set_error_info(failure.code().name(), "metronome.v1", metadata);
    let subject = failure.figures.get("field").map(ToString::to_string);
    let subject = subject.unwrap_or_default();
    match code {
        Code::InvalidArgument => {
            details.add_bad_request_violation(subject, &failure.sentence);
        }
        Code::FailedPrecondition => {
            let kind = failure.code().name();
            details.add_precondition_failure_violation(kind, subject, &failure.sentence);
        }
        Code::ResourceExhausted => {
            details.add_quota_failure_violation(subject, &failure.sentence);
        }
        _ => {}
    }
    let status = Status::with_error_details(code, &failure.sentence, details);
    let mut rpc = tonic_types::Status::decode(status.details()).expect("its own details");
    rpc.details.push(failure.to_detail());
    Status::with_details(code, &failure.sentence, rpc.encode_to_vec().into())
}

pub(crate) fn run(state: v1::RunState) -> v1::Run {
    v1::Run {
        run_id: RUN_ID.into(),
        state: state.into(),
        ..v1::Run::default()
    }
}

pub(crate) fn ended(status: v1::VerdictStatus) -> v1::Run {
    let verdict = v1::Verdict {
        status: status.into(),
        ..v1::Verdict::default()
    };
    let report = v1::Report {
        verdict: Some(verdict),
        outcome: Some(v1::Outcome {
            status: v1::OutcomeStatus::NotJudged.into(),
            ..v1::Outcome::default()
        }),
        ..v1::Report::default()
    };
    v1::Run {
        report: Some(report),
        ..run(v1::RunState::Ended)
    }
}

fn failed() -> v1::Run {
    let failure = v1::Failure::new(FailureCode::ConnectionRefused, "nothing listens there");
    v1::Run {
        failure: Some(failure.with("address", "192.0.2.7:8888")),
        ..run(v1::RunState::Failed)
    }
}

/// One of two agents has failed, the other one is waited for.
fn preparing() -> v1::WatchEventsResponse {
    snapshot(v1::Snapshot {
        state: v1::RunState::Preparing.into(),
        waiting_for: vec!["b".into()],
        failures: failed().failure.into_iter().collect(),
        ..v1::Snapshot::default()
    })
}

fn running() -> v1::WatchEventsResponse {
    let generator = v1::GeneratorCounts {
        sent: 5,
        ..v1::GeneratorCounts::default()
    };
    snapshot(v1::Snapshot {
        state: v1::RunState::Running.into(),
        generator: Some(generator),
        ..v1::Snapshot::default()
    })
}

fn snapshot(snapshot: v1::Snapshot) -> v1::WatchEventsResponse {
    v1::WatchEventsResponse {
        number: 1,
        at: None,
        event: Some(Event::Snapshot(snapshot)),
    }
}
