//! Real processes for the end-to-end tests: each on ports of its own, each ended with its handle.
//!
//! A test waits for the line with which a process reports that it is ready, never for time to pass.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod collector;
pub(crate) mod far;
pub(crate) mod network;
pub(crate) mod pages;

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The longest that any event may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// One of our executables, built by the same cargo call as this test.
pub(crate) fn executable(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo test --workspace`",
        path.display()
    );
    path
}

/// A command with an environment that no variable of the caller leaks into.
pub(crate) fn command(name: &str) -> Command {
    command_at(&executable(name))
}

/// A [`command`] for the executable at `path`.
pub(crate) fn command_at(path: &Path) -> Command {
    let mut command = Command::new(path);
    for (variable, _) in env::vars_os() {
        let text = variable.to_string_lossy().into_owned();
        if text.starts_with("METRONOME_") || text.starts_with("OTEL_") {
            command.env_remove(variable);
        }
    }
    command
}

/// A process that ends with this handle.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) ready: String,
}

impl Running {
    /// Starts it and waits for its `ready` line.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            while let Some(Ok(line)) = lines.next() {
                let _ = sender.send(line);
            }
        });
        match receiver.recv_timeout(DEADLINE) {
            Ok(ready) => Self { child, ready },
            Err(error) => {
                let _ = child.kill();
                panic!("{command:?} did not get ready: {error}, {:?}", child.wait());
            }
        }
    }

    /// The word after `name` in the ready line.
    pub(crate) fn ready_word(&self, name: &str) -> String {
        let mut words = self.ready.split_whitespace();
        words
            .find(|word| *word == name)
            .unwrap_or_else(|| panic!("no {name} in {}", self.ready));
        words.next().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        wait_until("the process ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server on free ports, with a database of its own.
pub(crate) struct Server {
    pub(crate) process: Running,
    pub(crate) folder: TempDir,
}

impl Server {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), flags)
    }

    pub(crate) fn start_in(folder: TempDir, flags: &[&str]) -> Self {
        let mut command = command("metronome-server");
        command.args(["--port", "0", "--grpc", "127.0.0.1:0", "--database"]);
        // Servers that run side by side cannot share the default HTTP port.
        command.env("METRONOME_HTTP", "off");
        command
            .arg(folder.path().join("runs.sqlite"))
            .args(flags)
            .stderr(Stdio::null());
        Self {
            process: Running::start(command),
            folder,
        }
    }

    pub(crate) fn grpc(&self) -> String {
        self.process.ready_word("grpc")
    }

    pub(crate) fn data(&self) -> String {
        self.process.ready_word("data")
    }

    /// An agent of this server.
    pub(crate) fn agent(&self, name: &str) -> Running {
        let mut command = command("metronome-agent");
        command
            .args(["--server", &self.grpc(), "--name", name])
            .stderr(Stdio::null());
        Running::start(command)
    }

    /// benchctl, talking to this server.
    pub(crate) fn benchctl(&self, arguments: &[&str]) -> Command {
        let mut command = command("benchctl");
        command.args(["--server", &self.grpc()]).args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// What a command of benchctl prints with `-o json`, and its exit code.
    pub(crate) fn json(&self, arguments: &[&str]) -> (Value, i32) {
        let mut command = self.benchctl(&["-o", "json"]);
        command.args(arguments);
        json_of(command.output().unwrap())
    }

    /// `benchctl start` with `-o json`.
    pub(crate) fn run(&self, arguments: &[&str]) -> (Value, i32) {
        self.json(&[&["start"], arguments].concat())
    }

    /// The process ids of the workers that have a process.
    pub(crate) fn workers(&self) -> Vec<Pid> {
        let (server, _) = self.json(&["server"]);
        let pid = |worker: &Value| Pid::from_raw(worker["pid"].as_i64()? as i32);
        server["workers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(pid)
            .collect()
    }
}

/// Exactly one object on standard output, and the exit code.
pub(crate) fn json_of(output: Output) -> (Value, i32) {
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let object = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error} in {text:?}; it said {said}"));
    (
        object,
        output
            .status
            .code()
            // As a shell has it: benchctl dies of the Ctrl-C that it has answered.
            .or(output.status.signal().map(|signal| 128 + signal))
            .unwrap_or_else(|| panic!("no end; it said {said}")),
    )
}

/// Polls until `happened` returns a value.
pub(crate) fn wait_until<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = happened() {
            return value;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "it never came about that {what}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Everything a peer sends until it ends the connection, at most what comes within [`DEADLINE`].
pub(crate) fn read_to_end(stream: &mut std::net::TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("the peer neither sends nor ends: {error}"),
    }
}

/// The server and its agent a1 ran on this host.
#[track_caller]
pub(crate) fn assert_environments(result: &Value) {
    let environments = &result["environments"];
    let [own, agent] = [&environments[0], &environments[1]];
    assert_eq!([&own["role"], &agent["role"]], ["server", "agent"]);
    assert_eq!([&own["name"], &agent["name"]], ["server", "a1"]);
    for fact in ["version", "host", "kernel", "boot_id", "cores"] {
        assert!(
            !own[fact].is_null() && own[fact] == agent[fact],
            "{environments:#}"
        );
    }
    assert!(agent["priority"].is_string(), "{environments:#}");
}

/// The counters that stay 0 in a run in which nothing goes wrong.
pub(crate) const COUNTS_THAT_STAY_0: [&str; 7] = [
    "lost",
    "skipped",
    "duplicated",
    "reordered",
    "gaps",
    "corrupt",
    "read_before_written",
];

/// The counters of a run agree: no packet is lost, doubled or out of order, and every sum is right.
#[track_caller]
pub(crate) fn assert_exact(result: &Value, packets: u64) {
    let counts = &result["counts"];
    for name in ["scheduled", "sent", "received"] {
        assert_eq!(counts[name], packets, "{name} in {result:#}");
    }
    for name in COUNTS_THAT_STAY_0 {
        assert_eq!(counts[name], 0, "{name} in {result:#}");
    }
    // A packet of a flood is due when it is written: no lateness is known of it.
    let is_flood = result["plan"]["groups"][0]["profile"]["shape"] == "flood";
    for (name, is_known) in [
        ("lateness_us", !is_flood),
        ("transit_us", true),
        ("latency_us", true),
    ] {
        let count = is_known.then_some(packets);
        assert_eq!(
            result[name]["count"].as_u64(),
            count,
            "{name} in {result:#}"
        );
    }
    let rows = |rows: &Value| rows.as_array().unwrap().clone();
    // The first packet of a client has no spread.
    let first: u64 = rows(&result["clients"])
        .iter()
        .map(|client| client["counts"]["received"].as_u64().unwrap().min(1))
        .sum();
    let count = (!is_flood && packets > first).then_some(packets - first);
    assert_eq!(result["spread_us"]["count"].as_u64(), count, "{result:#}");
    let clients: u64 = rows(&result["clients"])
        .iter()
        .map(|client| client["counts"]["received"].as_u64().unwrap())
        .sum();
    assert_eq!(clients, packets);
    let workers: u64 = rows(&result["receivers"][0]["workers"])
        .iter()
        .map(|worker| worker["packets"].as_u64().unwrap())
        .sum();
    assert!(workers <= packets);
    let laws = rows(&result["verdict"]["laws"]);
    assert!(!laws.is_empty(), "{result:#}");
    for law in laws {
        // A flood plans no number of packets.
        let status = if is_flood && law["code"] == "PLAN_NOT_SCHEDULED" {
            "not_checkable"
        } else {
            "holds"
        };
        assert_eq!(law["status"], status, "{law}");
    }
}
