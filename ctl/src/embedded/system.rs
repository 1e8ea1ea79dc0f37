//! A server and an agent on loopback, started for a run and ended after it.

use std::{ffi::OsString, path::PathBuf, thread, time::Duration};

use metronome_os::threads;
use metronome_proto::v1::FailureCode;
use tokio::{task, time::timeout};

use super::{
    process::{Process, end_all},
    roles::Role,
};
use crate::{
    exit::{Failure, host_failed},
    flags::WORKERS_MAX,
};

/// A server or an agent on this host is up in tens of milliseconds; a slow disk may take longer.
const READY_TIME_MAX: Duration = Duration::from_secs(10);

/// Two that read what each process writes, and one that waits for their end.
const THREADS: usize = 5;

/// The first thread of an agent, and the one of its run.
const AGENT_THREADS: usize = 2;

/// To store a result that could not be stored: the server has to report within the time that it is
/// given to end.
const DRAIN_TIMEOUT: &str = "1s";

/// What the embedded server and agent have to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    /// Clients that the server admits.
    pub(crate) max_clients: u32,
    /// Worker processes. `None`: one for each core that the pacing threads leave.
    pub(crate) workers: Option<u32>,
    /// Pacing threads of the agent.
    pub(crate) pacing_threads: u32,
    /// The file of the server's database. `None`: that of the user's history.
    pub(crate) database: Option<PathBuf>,
}

/// The processes. Dropped before [`System::end`], they are killed.
#[derive(Debug)]
pub(crate) struct System {
    // In the order in which they end.
    agent: Process,
    server: Process,
    grpc_address: String,
}

impl System {
    /// Starts both processes and waits until both are ready.
    pub(crate) async fn start(settings: Settings) -> Result<Self, Failure> {
        threads::check(threads_of(&settings))
            .map_err(|refused| host_failed(refused.to_string()))?;
        // It stays for the end, when there may be no thread left to start.
        let waiting = task::spawn_blocking(|| ()).await;
        waiting.map_err(|error| host_failed(format!("no thread could be started: {error}")))?;
        let (server, line) = start(Role::Server, &server_flags(&settings)).await?;
        let Some(grpc_address) = grpc_address_in(&line).map(ToOwned::to_owned) else {
            return Err(host_failed(format!(
                "the ready line of the server that was started has no address: {line:?}"
            )));
        };
        // A flag, since the variable is that of a server too.
        let agent_flags = [
            "--server".into(),
            format!("http://{grpc_address}").into(),
            "--max-clients".into(),
            settings.max_clients.to_string().into(),
        ];
        let (agent, _) = start(Role::Agent, &agent_flags).await?;
        Ok(Self {
            agent,
            server,
            grpc_address,
        })
    }

    /// Where the server listens for gRPC, HOST:PORT.
    pub(crate) fn grpc_address(&self) -> &str {
        &self.grpc_address
    }

    /// The process ids of the server and the agent.
    pub(crate) fn pids(&self) -> (u32, u32) {
        (self.server.pid(), self.agent.pid())
    }

    /// Whether the server has ended.
    pub(crate) fn server_has_ended(&mut self) -> bool {
        self.server.has_ended()
    }

    /// How the first of the processes ended; `None` while both run.
    pub(crate) fn how_it_ended(&mut self) -> Option<(FailureCode, String)> {
        // The server first: without it the agent has no reason to stay.
        let server = self.server.how_it_ended();
        let of_server = server.map(|cause| (FailureCode::ServerDied, cause));
        of_server.or_else(|| {
            let cause = self.agent.how_it_ended()?;
            Some((FailureCode::AgentLost, cause))
        })
    }

    /// Ends the agent, then the server, in good order. Returns what they wrote for the user.
    pub(crate) async fn end(self) -> Vec<String> {
        let processes = vec![self.agent, self.server];
        // The server waits for the end of its connections, which tasks of this runtime close: the
        // wait must not block them.
        let ending = task::spawn_blocking(move || end_all(processes));
        ending.await.unwrap_or_default()
    }
}

async fn start(role: Role, flags: &[OsString]) -> Result<(Process, String), Failure> {
    let name = role.name();
    let (process, ready_line) = Process::start(role, flags)
        .map_err(|error| host_failed(format!("no {name} could be started here: {error}")))?;
    match timeout(READY_TIME_MAX, ready_line).await {
        Ok(Ok(line)) => Ok((process, line)),
        Ok(Err(_)) => Err(process.why_not_ready()),
        Err(_) => {
            let seconds = READY_TIME_MAX.as_secs();
            Err(host_failed(format!(
                "the {name} that was started here was not ready within {seconds} s"
            )))
        }
    }
}

/// All that a run takes besides the threads that benchctl has already: the system counts threads
/// and processes alike.
fn threads_of(settings: &Settings) -> usize {
    let of_environment = || workers_variable()?.to_str()?.parse().ok();
    let workers = settings
        .workers
        .or_else(|| workers_beside(settings.pacing_threads))
        .or_else(of_environment)
        .unwrap_or(1);
    let server = 1 + metronome_server::threads(workers);
    let agent = AGENT_THREADS + Role::Agent.threads() + settings.pacing_threads as usize;
    THREADS + server + agent
}

/// On loopback, on ports that are free.
fn server_flags(settings: &Settings) -> Vec<OsString> {
    let fixed = [
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "off",
        "--embedded",
        "--drain-timeout",
        DRAIN_TIMEOUT,
        "--max-clients",
    ];
    let mut flags: Vec<OsString> = fixed.map(OsString::from).to_vec();
    flags.push(settings.max_clients.to_string().into());
    let workers = settings
        .workers
        .or_else(|| workers_beside(settings.pacing_threads));
    if let Some(workers) = workers {
        flags.extend(["--workers".into(), workers.to_string().into()]);
    }
    if let Some(database) = &settings.database {
        flags.extend(["--database".into(), database.into()]);
    }
    flags
}

/// Workers of the server when no flag sets them: one for each core that the pacing threads of this
/// host leave, at least one. More would take the cores that the packets have to be sent from, and
/// the run would measure that. `None`: the environment sets them.
fn workers_beside(pacing_threads: u32) -> Option<u32> {
    if workers_variable().is_some() {
        return None;
    }
    let cores = thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    Some(cores.saturating_sub(pacing_threads).clamp(1, WORKERS_MAX))
}

/// An empty one counts as not set, for the server too.
fn workers_variable() -> Option<OsString> {
    std::env::var_os("METRONOME_WORKERS").filter(|value| !value.is_empty())
}

/// The gRPC address in `metronome-server ready: grpc 127.0.0.1:50051 data 127.0.0.1:8888 pid 1234`.
fn grpc_address_in(ready_line: &str) -> Option<&str> {
    let mut words = ready_line
        .strip_prefix("metronome-server ready:")?
        .split_whitespace();
    words.find(|word| *word == "grpc")?;
    words.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_has_the_grpc_address() {
        let line = "metronome-server ready: grpc 127.0.0.1:40001 data 127.0.0.1:40002 pid 7";
        assert_eq!(grpc_address_in(line), Some("127.0.0.1:40001"));
        for line in [
            "",
            "metronome-server ready:",
            "metronome-server ready: grpc",
            "metronome-agent ready: grpc a:1",
        ] {
            assert_eq!(grpc_address_in(line), None, "{line}");
        }
    }
}
