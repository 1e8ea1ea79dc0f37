//! What the server's log has to say: the words of its workers, and little about peers that do not
//! behave.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    fs::{self, File},
    io::Write as _,
    net::{Shutdown, TcpStream},
    path::PathBuf,
    process::Stdio,
};

use common::{Running, command, read_to_end, wait_until};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    pipe::fcntl_setpipe_size,
    process::Signal,
};
use serde_json::Value;
use tempfile::TempDir;

/// Would move a terminal, and begin a line that looks like one of ours.
const EVIL: &[u8] = b"\x1b[31mGET /\x1b[0m HTTP/1.1\r\n2026-01-01T00:00:00Z ERROR forged\r\n\r\n";

/// A server that logs into a file.
struct Logging {
    folder: TempDir,
    server: Running,
}

impl Logging {
    fn start(format: &str) -> Self {
        let folder = TempDir::new().unwrap();
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
            .arg(folder.path().join("runs.sqlite"));
        server
            .args(["--log-format", format, "--log-file"])
            .arg(folder.path().join("logs/server.log"));
        Self {
            server: Running::start(server),
            folder,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("logs/server.log")
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.path())
            .unwrap()
            .lines()
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Every line, once the server has ended and written the last of them.
    fn end(mut self) -> Vec<String> {
        self.server.signal(Signal::TERM);
        assert!(self.server.wait().success());
        let lines = self.lines();
        assert!(lines.last().unwrap().contains("shut down"), "{lines:#?}");
        lines
    }

    /// The process of the first worker.
    fn worker(&self) -> i64 {
        let mut benchctl = command("benchctl");
        benchctl.args([
            "-o",
            "json",
            "--server",
            &self.server.ready_word("grpc"),
            "server",
        ]);
        common::json_of(benchctl.output().unwrap()).0["workers"][0]["pid"]
            .as_i64()
            .unwrap()
    }
}

#[test]
fn what_a_worker_prints_is_in_the_masters_log_with_its_number_and_not_too_often() {
    let logging = Logging::start("json");
    let mut stderr = File::options()
        .write(true)
        .open(format!("/proc/{}/fd/2", logging.worker()))
        .unwrap();
    for number in 0..100 {
        stderr
            .write_all(format!("\x1b[31mtrouble {number}\x1b[0m\r\n").as_bytes())
            .unwrap();
    }
    let said = || -> Vec<Value> {
        let lines = logging
            .lines()
            .into_iter()
            .map(|line| serde_json::from_str::<Value>(&line).unwrap());
        lines
            .filter(|line| {
                line["message"]
                    .as_str()
                    .unwrap()
                    .starts_with("a worker wrote: ")
            })
            .collect()
    };
    wait_until("the limit is reached", || {
        (said().len() == 20).then_some(())
    });
    let pid = logging.worker();
    for (number, line) in said().iter().enumerate() {
        assert_eq!(
            line["message"],
            format!("a worker wrote: [31mtrouble {number}[0m")
        );
        assert_eq!((&line["worker"], &line["pid"]), (&0.into(), &pid.into()));
    }
    let lines = logging.end();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("a worker wrote: "))
            .count(),
        20
    );
}

/// Connects, sends bytes of no protocol of ours, and waits until the other end closes.
fn pester(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let _ = stream.write_all(EVIL);
    let _ = stream.shutdown(Shutdown::Write);
    read_to_end(&mut stream);
}

/// An agent under an invalid name; it reports that and ends.
fn agent_called(logging: &Logging, name: &str) {
    let mut agent = command("metronome-agent");
    agent.args([
        "--server",
        &logging.server.ready_word("grpc"),
        "--name",
        name,
    ]);
    assert!(
        !agent.output().unwrap().status.success(),
        "{name:?} is taken for a name"
    );
}

#[test]
fn garbage_on_every_port_leaves_a_few_harmless_lines() {
    let logging = Logging::start("text");
    for port in ["grpc", "data", "http"] {
        let address = logging.server.ready_word(port);
        (0..100).for_each(|_| pester(&address));
    }
    agent_called(&logging, "\x1b[31mevil\n2026-01-01T00:00:00Z ERROR forged");
    let lines = logging.end();
    assert!(lines.len() < 20, "{lines:#?}");
    for line in lines {
        assert!(line.starts_with("20") && line.contains(" INFO "), "{line}");
        assert!(
            !line.contains(char::is_control) && !line.contains("forged"),
            "{line}"
        );
    }
}

#[test]
fn agents_that_come_and_go_are_logged_ten_times_and_then_counted() {
    let logging = Logging::start("text");
    for number in 0..15 {
        let mut agent = command("metronome-agent");
        agent
            .args([
                "--server",
                &logging.server.ready_word("grpc"),
                "--name",
                &format!("a{number}"),
            ])
            .stderr(Stdio::null());
        // Ended by its handle.
        Running::start(agent);
    }
    let lines: Vec<String> = logging
        .end()
        .into_iter()
        .filter(|line| line.contains(" agent "))
        .collect();
    // Thirty comings and goings, in two periods of ten seconds if the machine is very busy.
    assert!((10..=20).contains(&lines.len()), "{lines:#?}");
}

#[test]
fn a_server_and_an_agent_whose_log_nothing_reads_work_and_end() {
    let folder = TempDir::new().unwrap();
    // Both ends stay open here, and nothing reads: what the processes write stays in the pipe.
    let (_unread, full) = std::io::pipe().unwrap();
    fcntl_setpipe_size(&full, 4096).unwrap();
    let chatty = |name: &str| {
        let mut command = command(name);
        command.env("METRONOME_LOG", "trace");
        command.stderr(full.try_clone().unwrap());
        command
    };
    let mut server = chatty("metronome-server");
    server.args(["--port", "0", "--grpc", "127.0.0.1:0", "--http", "off"]);
    server
        .arg("--database")
        .arg(folder.path().join("runs.sqlite"));
    let mut server = Running::start(server);
    let grpc = server.ready_word("grpc");
    let mut agent = chatty("metronome-agent");
    agent.args(["--server", &grpc, "--name", "chatty"]);
    let mut agent = Running::start(agent);
    let mut start = command("benchctl");
    start.args(["--server", &grpc, "-o", "json", "start", "--wait", "30s"]);
    start.args(["--clients", "2", "--rate", "100", "--duration", "1s"]);
    let (run, _) = common::json_of(start.output().unwrap());
    assert_eq!(run["counts"]["received"], 200, "{run:#}");
    for process in [&mut agent, &mut server] {
        process.signal(Signal::TERM);
        assert!(process.wait().success());
    }
}

#[test]
fn a_log_file_that_is_a_fifo_without_a_reader_is_refused() {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("log");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut server = command("metronome-server");
    server.args(["--port", "0", "--grpc", "127.0.0.1:0", "--http", "off"]);
    server
        .arg("--database")
        .arg(folder.path().join("runs.sqlite"));
    server.arg("--log-file").arg(&fifo);
    let output = server.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let sentence = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        sentence.contains("--log-file") && sentence.contains(fifo.to_str().unwrap()),
        "{sentence}"
    );
}
