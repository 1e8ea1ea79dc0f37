//! Programs of users, as docs/integration.md shows them: a server with a packet handler whose
//! workers are killed in the middle of a run, and what its handler has stored; and handlers that
//! fail.
//!
//! The programs are examples of the crates; `cargo test --workspace` builds them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use common::{Running, Server, command, command_at, executable, json_of, wait_until};
use rusqlite::Connection;
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

/// A server of two workers that is one of the examples.
fn server(mut command: Command, folder: TempDir) -> Server {
    command
        .args(["--port", "0", "--grpc", "127.0.0.1:0", "--database"])
        .arg(folder.path().join("runs.sqlite"))
        .args(["--workers", "2"])
        .env("METRONOME_HTTP", "off")
        .stderr(Stdio::null());
    let process = Running::start(command);
    Server { process, folder }
}

/// The server of the example, and the file of its readings.
fn store_readings() -> (Server, PathBuf) {
    let folder = TempDir::new().unwrap();
    let readings = folder.path().join("readings.sqlite");
    let mut command = command("examples/store_readings");
    command.env("READINGS", &readings);
    (server(command, folder), readings)
}

/// What the handlers have stored of a client: packets, the sequence that comes next, repeats.
fn stored(readings: &PathBuf) -> Vec<(u64, u64, u64)> {
    let database = Connection::open(readings).unwrap();
    let mut rows = database
        .prepare("SELECT packets, next, repeats FROM readings ORDER BY client")
        .unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn packets(readings: &PathBuf) -> u64 {
    stored(readings).iter().map(|(packets, ..)| packets).sum()
}

#[test]
fn whichever_workers_are_killed_every_packet_is_stored_once() {
    const KILLS: usize = 8;
    let (server, readings) = store_readings();
    let _agent = server.agent("fleet");
    let run = [
        "start",
        "--clients",
        "4",
        "--rate",
        "300",
        "--duration",
        "6s",
    ];
    let mut benchctl = server.benchctl(&["-o", "json"]);
    let measured = benchctl.args(run).spawn().unwrap();
    let measured = thread::spawn(move || json_of(measured.wait_with_output().unwrap()).0);
    let mut killed = 0;
    while killed < KILLS && !measured.is_finished() {
        let before = packets(&readings);
        wait_until("packets are handled", || {
            (measured.is_finished() || packets(&readings) > before + 100).then_some(())
        });
        let workers = server.workers();
        let Some(worker) = workers.get(killed % workers.len().max(1)) else {
            continue;
        };
        killed += usize::from(kill_process(*worker, Signal::KILL).is_ok());
    }
    let result = measured.join().unwrap();
    assert!(killed >= 3, "only {killed} workers were killed");
    let clients = result["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 4, "{result}");
    for (client, (packets, next, _)) in clients.iter().zip(stored(&readings)) {
        let sent = client["counts"]["sent"].as_u64().unwrap();
        assert!(sent > 0);
        assert_eq!((packets, next), (sent, sent), "{client}");
    }
}

/// A server whose handler fails in this way, in processes that may have so much memory.
fn failing_handler(how: &str) -> Server {
    let mut command = command_at("sh".as_ref());
    let limited = "ulimit -d 1000000; executable=$1; shift; exec \"$executable\" \"$@\"";
    let executable = executable("examples/failing_handler");
    command.args(["-c", limited, "sh"]).arg(executable);
    command.env("FAILS", how);
    server(command, TempDir::new().unwrap())
}

#[test]
fn a_handler_that_fails_ends_the_client_of_its_batch_and_no_other() {
    for how in ["panics", "loops", "allocates"] {
        let server = failing_handler(how);
        let _agent = server.agent("fleet");
        let run = ["--clients", "3", "--rate", "50", "--duration", "9s"];
        let (result, code) = server.run(&run);
        assert_ne!(code, 0, "{how}");
        let clients = result["clients"].as_array().unwrap();
        assert_eq!(clients.len(), 3, "{result}");
        for (index, client) in clients.iter().enumerate() {
            let failure = &client["failure"]["code"];
            if index == 1 {
                assert_eq!(failure, "HANDLER_FAILED", "{how}: {client}");
            } else {
                assert!(failure.is_null(), "{how}: {client}");
                let counts = &client["counts"];
                assert_eq!(counts["sent"], counts["received"], "{how}: {client}");
            }
        }
    }
}
