//! A server and an agent that send their traces and metrics to one collector, and benchctl that
//! does so too.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Running, collector::Collector, command, json_of, wait_until};

/// Enough to mean something, little enough for a busy machine of 2 cores.
pub(crate) const LOAD: [&str; 6] = ["--clients", "4", "--rate", "500", "--duration", "1s"];
pub(crate) const LOAD_PACKETS: u64 = 2_000;

/// Server and agent that send their traces to one collector.
pub(crate) struct Observed {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    pub(crate) server: Running,
    pub(crate) agent: Running,
}

impl Observed {
    pub(crate) fn start(collector: &Collector, more: &[(&'static str, &str)]) -> Self {
        Self::sending_to(&collector.endpoint, more)
    }

    pub(crate) fn sending_to(endpoint: &str, more: &[(&'static str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let said = || {
            File::options()
                .create(true)
                .append(true)
                .open(folder.path().join("stderr"))
                .unwrap()
        };
        let mut variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_owned())];
        variables.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let mut server = command("metronome-server");
        server.args([
            "--port",
            "0",
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--workers",
            "2",
        ]);
        server
            .arg("--database")
            .arg(folder.path().join("runs.sqlite"))
            .envs(variables.clone())
            .stderr(said());
        let server = Running::start(server);
        let mut agent = command("metronome-agent");
        agent
            .args(["--name", "a1", "--server", &server.ready_word("grpc")])
            .envs(variables.clone())
            .stderr(said());
        let agent = Running::start(agent);
        Self {
            folder,
            variables,
            server,
            agent,
        }
    }

    pub(crate) fn benchctl(&self, arguments: &[&str]) -> Command {
        let mut command = command("benchctl");
        command
            .args(["-o", "json", "--server", &self.server.ready_word("grpc")])
            .args(arguments);
        command
            .envs(self.variables.clone())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> (Value, i32) {
        json_of(
            self.benchctl(&[&["start"], arguments].concat())
                .output()
                .unwrap(),
        )
    }

    /// A run that lasts until it is stopped, once all of its clients have sent something.
    pub(crate) fn begin_run(&self, arguments: &[&str]) -> Child {
        let long = [
            "start",
            "--clients",
            "2",
            "--rate",
            "200",
            "--duration",
            "10m",
        ];
        let child = self.benchctl(&[&long, arguments].concat()).spawn().unwrap();
        wait_until("both clients send", || {
            let server = self.look();
            let packets = server["workers"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|worker| worker["packets"].as_u64());
            (server["connections"]["admitted"] == 2 && packets.sum::<u64>() > 20).then_some(())
        });
        child
    }

    /// What `benchctl server` reports.
    pub(crate) fn look(&self) -> Value {
        json_of(self.benchctl(&["server"]).output().unwrap()).0
    }

    /// The process of a worker.
    pub(crate) fn worker(&self, number: usize) -> Option<Pid> {
        Pid::from_raw(self.look()["workers"][number]["pid"].as_i64().unwrap_or(0) as i32)
    }

    /// What one GET to the HTTP port answers: status line, headers and body.
    pub(crate) fn get(&self, path: &str, accept: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.server.ready_word("http")).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What server and agent have written to standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Ends both with SIGTERM, upon which they send what still waits.
    pub(crate) fn end(mut self) {
        for process in [&mut self.agent, &mut self.server] {
            process.signal(Signal::TERM);
            let status = process.wait();
            assert!(status.success(), "{status}");
        }
    }
}
