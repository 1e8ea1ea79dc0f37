//! A real metronome-server for a test, on ports and with a history of its own, and an agent that
//! sends what the test makes it send.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod agent;

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use metronome_proto::v1::{self, operator_service_client::OperatorServiceClient};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::Channel;

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
        let words: Vec<_> = line.split(' ').collect();
        let [
            "metronome-server",
            "ready:",
            "grpc",
            grpc,
            "data",
            data,
            "pid",
            pid,
        ] = words[..]
        else {
            panic!("not the ready line: {line}")
        };
        assert_eq!(pid, child.id().to_string());
        Self {
            child,
            grpc: grpc.into(),
            data: data.into(),
            folder: Some(folder),
        }
    }

    pub(crate) async fn operator(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.channel().await)
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
pub(crate) fn plan(clients: u32, rate_hz: f64, millis: i64) -> v1::Plan {
    let duration = prost_types::Duration {
        seconds: millis / 1000,
        nanos: (millis % 1000) as i32 * 1_000_000,
    };
    v1::Plan {
        clients,
        rate_hz,
        duration: Some(duration),
        ..v1::Plan::default()
    }
}

/// A plan that a busy machine keeps in time: 10 packets per client, of which one may be as late as
/// the next is due, 100 ms.
pub(crate) fn easy_plan(clients: u32) -> v1::Plan {
    v1::Plan {
        batch: 5,
        ..plan(clients, 50.0, 200)
    }
}

/// The request that starts `plan`.
pub(crate) fn start(plan: v1::Plan, request_id: &str) -> v1::StartRunRequest {
    v1::StartRunRequest {
        plan: Some(plan),
        request_id: request_id.into(),
        label: String::new(),
    }
}

/// Watches a run to its end.
pub(crate) async fn ended(operator: &mut OperatorServiceClient<Channel>, run_id: &str) -> v1::Run {
    let request = v1::WatchRunRequest {
        run_id: run_id.into(),
    };
    let mut events = operator.watch_run(request).await.unwrap().into_inner();
    loop {
        let event = tokio::time::timeout(DEADLINE, events.message())
            .await
            .expect("the run ends")
            .unwrap();
        if let Some(v1::watch_run_response::Event::Ended(run)) =
            event.expect("the last message is the end").event
        {
            return run;
        }
    }
}

/// The codes of a run's reasons.
pub(crate) fn codes(run: &v1::Run) -> Vec<String> {
    let verdict = run.report.as_ref().unwrap().verdict.as_ref().unwrap();
    verdict
        .reasons
        .iter()
        .map(|reason| reason.code.clone())
        .collect()
}
