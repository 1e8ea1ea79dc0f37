//! Flame graphs of a worker and of a pacing thread, as docs/observability.md has it: with names of
//! our own.
//!
//! Needs perf and the right to use it; where either is missing, the test prints that and ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use common::{Server, json_of, wait_until};

/// Why nothing can be recorded here.
fn missing(folder: &Path) -> Option<String> {
    let mut perf = Command::new("perf");
    perf.args([
        "record",
        "--quiet",
        "--freq",
        "99",
        "--call-graph",
        "dwarf",
        "--output",
    ])
    .arg(folder.join("try"));
    match perf.args(["--", "true"]).output() {
        Err(error) => Some(format!(
            "perf cannot be started ({error}); Debian has it as linux-perf"
        )),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "perf may not record: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

#[test]
fn a_worker_and_a_pacing_thread_show_their_functions_in_flame_graphs() {
    let folder = tempfile::TempDir::new().unwrap();
    if let Some(why) = missing(folder.path()) {
        // Past the harness, which keeps what a passing test prints to itself.
        writeln!(io::stderr(), "profiles are not tested here: {why}").unwrap();
        return;
    }
    let server = Server::start(&["--workers", "1"]);
    let agent = server.agent("a1");
    let mut start = server.benchctl(&[
        "-o",
        "json",
        "start",
        "--clients",
        "2",
        "--rate",
        "2000",
        "--duration",
        "10m",
    ]);
    let run = start.stderr(Stdio::null()).spawn().unwrap();
    wait_until("packets arrive", || {
        let (status, _) = server.json(&["server"]);
        (status["workers"][0]["packets"].as_u64().unwrap() > 100).then_some(())
    });
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/profile"))
        .args([
            "--seconds",
            "2",
            "--server",
            &server.process.pid().as_raw_nonzero().to_string(),
        ])
        .args([
            "--agent",
            &agent.pid().as_raw_nonzero().to_string(),
            "--output",
        ])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    assert!(
        server
            .benchctl(&["stop", "--all"])
            .output()
            .unwrap()
            .status
            .success()
    );
    json_of(run.wait_with_output().unwrap());
    // Whole stacks: from where the thread begins to what it is there for.
    let worker = ["<title>main:", "<title>metronome_server::worker::"];
    let pacing = ["__rust_begin_short_backtrace:", "<title>metronome_agent::"];
    for (picture, functions) in [("worker.svg", worker), ("pacing.svg", pacing)] {
        let svg = fs::read_to_string(folder.path().join(picture)).unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
            "{picture}"
        );
        for function in functions {
            assert!(svg.contains(function), "no {function} in {picture}: {said}");
        }
    }
}
