//! A real metronome-server for a test, on ports and with a history of its own, and an agent that
//! sends what the test makes it send.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod agent;
pub(crate) mod probes;

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use metronome_proto::{
    failure::is_phrase,
    profile::Profile,
    v1::{
        self, admin_service_client::AdminServiceClient, fleet_service_client::FleetServiceClient,
        run_service_client::RunServiceClient,
    },
};
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

/// The longest that any event may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The executable, with an environment that no variable of the caller leaks into.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metronome-server"));
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy().into_owned();
        if name.starts_with("METRONOME_") || name.starts_with("OTEL_") {
            command.env_remove(variable);
        }
    }
    command.args(flags);
    command
}

/// Runs the executable to its end.
pub(crate) fn output(flags: &[&str]) -> Output {
    command(flags).output().unwrap()
}

/// A server that ends with this handle.
pub(crate) struct Server {
    child: Child,
    /// host:port of the gRPC port.
    pub(crate) grpc: String,
    /// host:port of the data port.
    pub(crate) data: String,
    /// host:port of the HTTP port; empty without one.
    http: String,
    folder: Option<TempDir>,
}

impl Server {
    /// A server with a new history; ready when this returns.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), flags)
    }

    /// A server on the history in `folder`.
    pub(crate) fn start_in(folder: TempDir, flags: &[&str]) -> Self {
        Self::start_with(folder, flags, &[])
    }

    /// The same with variables of the environment.
    pub(crate) fn start_with(folder: TempDir, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let database = database_in(&folder);
        let basics = [
            "--port",
            "0",
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "off",
            "--workers",
            "1",
            "--database",
            database.to_str().unwrap(),
        ];
        let flags_of_ours = basics
            .chunks(2)
            .filter(|pair| !flags.contains(&pair[0]))
            .flatten()
            .copied();
        let all: Vec<_> = flags_of_ours.chain(flags.iter().copied()).collect();
        let mut child = command(&all)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, ready) = mpsc::channel();
        thread::spawn(move || sender.send(lines.next()));
        let line = ready
            .recv_timeout(DEADLINE)
            .unwrap()
            .expect("a ready line")
            .unwrap();
        let words = line.strip_prefix("metronome-server ready: ");
        let words: Vec<_> = words.expect("the ready line").split(' ').collect();
        let word = |name: &str| {
            let mut pairs = words.chunks(2);
            let pair = pairs.find(|pair| pair[0] == name);
            pair.map_or_else(String::new, |pair| pair[1].to_owned())
        };
        assert_eq!(word("pid"), child.id().to_string());
        Self {
            child,
            grpc: word("grpc"),
            data: word("data"),
            http: word("http"),
            folder: Some(folder),
        }
    }

    /// host:port of the HTTP port.
    pub(crate) fn http(&self) -> &str {
        &self.http
    }

    /// The metrics, as they are scraped.
    pub(crate) fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.ends_with("# EOF\n"), "{response}");
        response
    }

    /// A metric that has no labels, or those that stand in its name.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let figure = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        let figure = text.lines().find_map(figure);
        figure.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    pub(crate) async fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(self.channel().await)
    }

    pub(crate) async fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel().await)
    }

    pub(crate) async fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel().await)
    }

    /// The server itself, as it reports.
    pub(crate) async fn status(&self) -> v1::GetServerResponse {
        let status = self.fleet().await.get_server(v1::GetServerRequest {}).await;
        status.unwrap().into_inner()
    }

    /// The agents that are connected.
    pub(crate) async fn agents(&self) -> Vec<v1::Agent> {
        let agents = self
            .fleet()
            .await
            .list_agents(v1::ListAgentsRequest::default())
            .await;
        agents.unwrap().into_inner().agents
    }

    /// Waits until a run is RUNNING.
    pub(crate) async fn running(&self, run_id: &str) {
        let events = self.runs().await.watch_events(watch(run_id)).await;
        let mut events = events.unwrap().into_inner();
        loop {
            let event = events.message().await.unwrap().unwrap().event.unwrap();
            let v1::watch_events_response::Event::Snapshot(snapshot) = event else {
                panic!("it has ended")
            };
            if snapshot.state() == v1::RunState::Running {
                return;
            }
        }
    }

    /// A run, whole.
    pub(crate) async fn get(&self, run_id: &str) -> v1::Run {
        let run = self.runs().await.get_run(by_id(run_id)).await;
        run.unwrap().into_inner().run.unwrap()
    }

    /// Starts a run.
    pub(crate) async fn start_run(&self, request: v1::StartRunRequest) -> v1::Run {
        let run = self.runs().await.start_run(request).await;
        run.unwrap().into_inner().run.unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) fn database(&self) -> PathBuf {
        database_in(self.folder.as_ref().unwrap())
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it and gives its folder to the next one.
    pub(crate) fn end(mut self, signal: Signal) -> (TempDir, ExitStatus) {
        self.signal(signal);
        let status = self.wait();
        (self.folder.take().unwrap(), status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn database_in(folder: &TempDir) -> PathBuf {
    folder.path().join("state/runs.sqlite")
}

/// A plan of `clients` clients at `rate_hz` for `millis` ms.
pub(crate) fn plan(clients: u32, rate_hz: u64, millis: i64) -> v1::Plan {
    let group = v1::Group {
        clients,
        profile: Some(Profile::constant(rate_hz * 1000).to_proto()),
        ..v1::Group::default()
    };
    let duration = prost_types::Duration {
        seconds: millis / 1000,
        nanos: (millis % 1000) as i32 * 1_000_000,
    };
    v1::Plan {
        groups: vec![group],
        duration: Some(duration),
        ..v1::Plan::default()
    }
}

/// A group of this name whose clients come from these agents; from all where none is named.
pub(crate) fn group(name: &str, clients: u32, profile: Profile, agents: &[&str]) -> v1::Group {
    let names: Vec<_> = agents.iter().map(|&agent| agent.to_owned()).collect();
    v1::Group {
        name: name.into(),
        clients,
        profile: Some(profile.to_proto()),
        agents: (!names.is_empty()).then_some(v1::AgentSelector { names }),
        ..v1::Group::default()
    }
}

/// A plan whose one group is another.
pub(crate) fn change(mut plan: v1::Plan, change: impl FnOnce(&mut v1::Group)) -> v1::Plan {
    change(&mut plan.groups[0]);
    plan
}

/// A plan of 10 packets per client, in two writes that are 100 ms apart.
pub(crate) fn easy_plan(clients: u32) -> v1::Plan {
    change(plan(clients, 50, 200), |group| group.batch = 5)
}

/// The request that starts `plan`.
pub(crate) fn start(plan: v1::Plan, request_id: &str) -> v1::StartRunRequest {
    v1::StartRunRequest {
        plan: Some(plan),
        request_id: request_id.into(),
        ..v1::StartRunRequest::default()
    }
}

/// The request that stops one run.
pub(crate) fn stop(run_id: &str) -> v1::StopRunRequest {
    v1::StopRunRequest {
        runs: Some(v1::stop_run_request::Runs::RunId(run_id.into())),
    }
}

/// The request for one run.
pub(crate) fn by_id(run_id: &str) -> v1::GetRunRequest {
    v1::GetRunRequest {
        run: Some(v1::get_run_request::Run::RunId(run_id.into())),
        ..v1::GetRunRequest::default()
    }
}

/// The request that watches a run.
pub(crate) fn watch(run_id: &str) -> v1::WatchEventsRequest {
    v1::WatchEventsRequest {
        runs: Some(v1::watch_events_request::Runs::RunId(run_id.into())),
        ..v1::WatchEventsRequest::default()
    }
}

/// Watches a run to its end, also where a connection still came to a process that has been
/// replaced meanwhile: that asks to try again.
pub(crate) async fn ended(server: &Server, run_id: &str) -> v1::Run {
    loop {
        match try_to_end(&mut server.runs().await, run_id).await {
            Ok(run) => return run,
            Err(status) if code(&status) == v1::FailureCode::Upgrading => {}
            Err(status) => panic!("{status:?}"),
        }
    }
}

/// The same on a connection that there is already.
pub(crate) async fn watch_to_end(runs: &mut RunServiceClient<Channel>, run_id: &str) -> v1::Run {
    try_to_end(runs, run_id).await.unwrap()
}

async fn try_to_end(runs: &mut RunServiceClient<Channel>, run_id: &str) -> Result<v1::Run, Status> {
    let mut events = runs.watch_events(watch(run_id)).await?.into_inner();
    loop {
        let event = tokio::time::timeout(DEADLINE, events.message())
            .await
            .expect("the run ends")?;
        if let Some(v1::watch_events_response::Event::RunEnded(run)) =
            event.expect("the last message is the end").event
        {
            return Ok(run);
        }
    }
}

/// The client rows of a run from `first_client` on, by page.
pub(crate) async fn export(
    server: &Server,
    run_id: &str,
    first_client: u32,
) -> Result<Vec<Vec<v1::ClientReport>>, Status> {
    let request = v1::ExportRunRequest {
        run_id: run_id.into(),
        first_client,
        part: v1::ExportPart::Unspecified.into(),
    };
    let mut parts = server.runs().await.export_run(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(part) = parts.message().await? {
        let Some(v1::export_run_response::Part::ClientRows(rows)) = part.part else {
            panic!("no client rows: {part:?}");
        };
        pages.push(rows.clients);
    }
    Ok(pages)
}

/// Packets that were received in a run.
#[track_caller]
pub(crate) fn received(run: &v1::Run) -> u64 {
    let counts = run.report.as_ref().unwrap().counts.unwrap();
    counts.receiver.unwrap().received
}

/// The codes of a run's reasons.
pub(crate) fn codes(run: &v1::Run) -> Vec<v1::ReasonCode> {
    let verdict = run.report.as_ref().unwrap().verdict.as_ref().unwrap();
    verdict.reasons.iter().map(v1::Reason::code).collect()
}

/// The failure that a gRPC error carries: the same in its own form and as ErrorInfo.
#[track_caller]
pub(crate) fn failure(status: &Status) -> v1::Failure {
    let rpc = tonic_types::Status::decode(status.details()).expect("google.rpc details");
    let failure = rpc.details.iter().find_map(v1::Failure::from_detail);
    let failure = failure.expect("every error has its failure");
    assert_eq!(failure.sentence, status.message());
    assert!(is_phrase(&failure.sentence), "{failure:?}");
    assert_eq!(failure.remedy, failure.code().remedy());
    let details = status.get_error_details();
    let info = details.error_info().expect("every error has an ErrorInfo");
    assert_eq!(
        (info.domain.as_str(), info.reason.as_str()),
        ("metronome.v1", failure.code().name())
    );
    let figures = failure.figures.iter();
    let mut metadata: HashMap<_, _> = figures
        .map(|(name, figure)| (name.clone(), figure.to_string()))
        .collect();
    metadata.insert("remedy".into(), failure.remedy.clone());
    assert_eq!(info.metadata, metadata);
    for (name, figure) in &failure.figures {
        let is_text = matches!(
            figure.value,
            Some(v1::figure::Value::Text(_) | v1::figure::Value::Texts(_))
        );
        assert_eq!(is_text, TEXT_FIGURES.contains(&name.as_str()), "{name}");
    }
    failure
}

/// The figures that are texts or lists of texts, as failure.proto has them.
const TEXT_FIGURES: &[&str] = &[
    "address",
    "agent",
    "agent_names",
    "cause",
    "feature",
    "field",
    "filter",
    "flag",
    "group",
    "request_id",
    "run_id",
    "state",
    "target",
    "variable",
];

/// The code of the failure that a gRPC error carries.
#[track_caller]
pub(crate) fn code(status: &Status) -> v1::FailureCode {
    failure(status).code()
}

/// The figures of the failure that a gRPC error carries.
#[track_caller]
pub(crate) fn figure(status: &Status, name: &str) -> String {
    failure(status).figures[name].to_string()
}
