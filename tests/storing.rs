//! What a user sees of a result that the database does not take: benchctl reports it, its exit code
//! is the verdict's, and the result is stored as soon as that is possible.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use common::{Server, assert_exact, command, json_of, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const PLAN: [&str; 6] = ["--clients", "2", "--rate", "50", "--duration", "2s"];
const PLAN_PACKETS: u64 = 200;
const UNSTORED: &str =
    "The result is not stored yet: the database cannot be written; it is tried again.";

/// A process that holds SQLite's write lock until it is killed.
struct Lock(Child);

impl Lock {
    fn hold(database: &Path) -> Self {
        let program = "import sqlite3, sys\n\
                       database = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                       database.execute('BEGIN IMMEDIATE')\n\
                       print('locked', flush=True)\n\
                       sys.stdin.read()";
        let mut python = Command::new("python3");
        python.args(["-c", program]).arg(database);
        let mut child = python
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self(child)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of standard error that report that a result is not stored.
fn reported(output: &Output) -> usize {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().filter(|line| *line == UNSTORED).count()
}

/// Valid, or late on a busy machine.
#[track_caller]
fn assert_judged(code: Option<i32>) {
    assert!(matches!(code, Some(0 | 3 | 4 | 99)), "{code:?}");
}

#[test]
fn a_result_that_is_not_stored_is_reported_until_it_is() {
    let server = Server::start(&[]);
    let database = server.folder.path().join("runs.sqlite");
    let _agent = server.agent("a1");
    let mut start = server.benchctl(&["start", "--quiet", "-o", "json"]);
    let running = start.args(PLAN).spawn().unwrap();
    wait_until("the run is there", || {
        let (server, _) = server.json(&["server"]);
        (server["runs_active"] == 1).then_some(())
    });
    let lock = Lock::hold(&database);
    let output = running.wait_with_output().unwrap();
    assert_eq!(reported(&output), 1, "{output:?}");
    assert_judged(output.status.code());
    let verdict = output.status.code();
    let (result, _) = json_of(output);
    assert_exact(&result, PLAN_PACKETS);
    assert_eq!(result["unstored"], true);

    let show = server.benchctl(&["show"]).output().unwrap();
    assert_eq!(reported(&show), 1, "{show:?}");
    assert_eq!(show.status.code(), verdict);
    let text = String::from_utf8_lossy(&show.stdout).into_owned();
    assert_eq!(text.lines().nth(1), Some(UNSTORED), "{text}");

    drop(lock);
    let (stored, code) = wait_until("the result is stored", || {
        let shown = server.json(&["show"]);
        (shown.0["unstored"] == false).then_some(shown)
    });
    assert_eq!(Some(code), verdict);
    let but_for_that = Value::from_iter(
        result
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain([("unstored".to_owned(), false.into())]),
    );
    assert_eq!(stored, but_for_that);
}

#[test]
fn an_embedded_server_that_cannot_store_the_result_reports_that_it_is_lost() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("runs.sqlite");
    let mut start = command("benchctl");
    start
        .args(["start", "-o", "json"])
        .args(PLAN)
        .env("METRONOME_DATABASE", &database)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let runs = || {
        let mut runs = command("benchctl");
        runs.args(["runs", "-o", "json"])
            .env("METRONOME_DATABASE", &database);
        json_of(runs.output().unwrap()).0
    };
    let running = start.spawn().unwrap();
    wait_until("the run is in the database", || {
        let runs = database.exists().then(runs)?;
        runs["runs"].get(0).map(|_| ())
    });
    let lock = Lock::hold(&database);
    let output = running.wait_with_output().unwrap();
    assert_judged(output.status.code());
    assert_eq!(reported(&output), 1, "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let (result, _) = json_of(output);
    assert_exact(&result, PLAN_PACKETS);
    let run_id = result["run_id"].as_str().unwrap();
    let lost = |line: &&str| line.contains("results are lost") && line.contains(run_id);
    assert_eq!(text.lines().filter(lost).count(), 1, "{text}");
    drop(lock);
    let run = &runs()["runs"][0];
    assert_eq!(run["state"], "aborted");
    assert_eq!(run["failure"]["code"], "SERVER_DIED");
}
