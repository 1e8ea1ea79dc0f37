//! What a user sees of a result that the database does not take: benchctl reports it, its exit code
//! is the verdict's, and the result is stored as soon as that is possible.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use common::{Server, assert_exact, command, json_of, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const PLAN: [&str; 6] = ["--clients", "2", "--rate", "50", "--duration", "2s"];
const PLAN_PACKETS: u64 = 200;
const UNSTORED: &str = "The result is not stored yet: the server cannot write it, and tries again.";

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

/// Neither HOME nor a folder for state, as below some supervisors and in bare containers.
fn homeless<'a>(command: &'a mut Command, temporary: &TempDir) -> &'a mut Command {
    command
        .env_remove("HOME")
        .env_remove("XDG_STATE_HOME")
        .env("TMPDIR", temporary.path())
}

#[test]
fn without_a_place_for_the_history_a_run_is_measured_and_none_is_kept() {
    let temporary = TempDir::new().unwrap();
    let nowhere = TempDir::new().unwrap();
    let file = nowhere.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [None, Some(file)] {
        let mut start = command("benchctl");
        homeless(&mut start, &temporary)
            .args(["start", "--embedded", "-o", "json"])
            .args(PLAN)
            .envs(place.as_ref().map(|file| ("XDG_STATE_HOME", file)));
        let output = start.output().unwrap();
        assert_judged(output.status.code());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text
            .lines()
            .find(|line| line.contains("no history is kept"));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        assert!(
            line.contains("name its file with METRONOME_DATABASE"),
            "{line}"
        );
        assert_exact(&json_of(output).0, PLAN_PACKETS);
        let left = fs::read_dir(temporary.path()).unwrap().count();
        assert_eq!(left, 0, "the temporary files go with the server");
    }
    for arguments in [["runs", "-o"], ["show", "-o"]] {
        let mut read = command("benchctl");
        let output = homeless(&mut read, &temporary)
            .args(arguments)
            .arg("json")
            .output();
        let (error, code) = json_of(output.unwrap());
        assert_eq!(code, 1, "{error}");
        let remedy = error["error"]["remedy"].as_str().unwrap();
        assert!(remedy.contains("METRONOME_DATABASE"), "{error}");
    }
}

#[test]
fn a_file_of_the_history_that_is_asked_for_is_used_or_refused() {
    let temporary = TempDir::new().unwrap();
    let mut server = command("metronome-server");
    homeless(&mut server, &temporary).args([
        "--port",
        "0",
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "off",
        "--database",
        "/proc/none/x",
    ]);
    let output = server.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("/proc/none/x"),
        "{output:?}"
    );
}
