//! Programs of users, as docs/integration.md shows them: a server with a packet handler whose
//! workers are killed in the middle of a run, devices that send the readings of a file, and what
//! the handler has summed; and handlers that fail.
//!
//! The programs are examples of the crates; `cargo test --workspace` builds them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use common::{DEADLINE, Running, Server, command, command_at, executable, json_of, wait_until};
use metronome_proto::v1::{self, run_service_client::RunServiceClient};
use rusqlite::{Connection, Row};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const CLIENTS: u32 = 4;

/// Packets a second of each client.
const RATE: u64 = 300;

const SECONDS: i64 = 6;

/// Workers that are killed, as far as the run is long enough.
const KILLS: usize = 8;

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

/// An agent that is the example, with these readings.
fn devices(server: &Server, readings: &[i64]) -> Running {
    let file = server.folder.path().join("readings.txt");
    let lines: Vec<_> = readings
        .iter()
        .map(|reading| format!("{reading}\n"))
        .collect();
    fs::write(&file, lines.concat()).unwrap();
    let mut command = command("examples/device");
    command
        .args(["--server", &server.grpc(), "--name", "fleet"])
        .env("READINGS", file)
        .stderr(Stdio::null());
    Running::start(command)
}

/// Starts a run of devices with packets of 44 bytes, and returns its id.
fn start(server: &Server) -> String {
    let constant = v1::Constant {
        rate_millihertz: RATE * 1_000,
    };
    let group = v1::Group {
        clients: CLIENTS,
        profile: Some(v1::Profile {
            shape: Some(v1::profile::Shape::Constant(constant)),
        }),
        packet_bytes: 44,
        payload: Some(v1::Payload {
            source: Some(v1::payload::Source::File(v1::AgentFile {
                name: "readings".into(),
                ..v1::AgentFile::default()
            })),
        }),
        ..v1::Group::default()
    };
    let request = v1::StartRunRequest {
        plan: Some(v1::Plan {
            groups: vec![group],
            duration: Some(prost_types::Duration {
                seconds: SECONDS,
                nanos: 0,
            }),
            ..v1::Plan::default()
        }),
        ..v1::StartRunRequest::default()
    };
    let url = format!("http://{}", server.grpc());
    let started = Runtime::new().unwrap().block_on(async move {
        let mut runs = RunServiceClient::connect(url).await.unwrap();
        runs.start_run(request).await.unwrap().into_inner()
    });
    started.run.unwrap().run_id
}

/// What the handlers have stored of a client.
struct Stored {
    packets: i64,
    sum: i64,
    next: i64,
}

fn stored(readings: &Path) -> Vec<Stored> {
    let database = Connection::open(readings).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    let mut rows = database
        .prepare("SELECT packets, sum, next FROM readings ORDER BY client")
        .unwrap();
    let row = |row: &Row<'_>| {
        Ok(Stored {
            packets: row.get(0)?,
            sum: row.get(1)?,
            next: row.get(2)?,
        })
    };
    rows.query_map([], row)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn packets(readings: &Path) -> i64 {
    stored(readings).iter().map(|client| client.packets).sum()
}

#[test]
fn whichever_workers_are_killed_every_reading_is_summed_once() {
    let (server, file) = store_readings();
    let readings: Vec<i64> = (0..97).map(|place| place * place - 1_000).collect();
    let _agent = devices(&server, &readings);
    let run = start(&server);
    let watch = server.benchctl(&["-o", "json", "watch", &run]).spawn();
    let watch = watch.unwrap();
    let watched = thread::spawn(move || json_of(watch.wait_with_output().unwrap()).0);
    let mut killed = 0;
    while killed < KILLS && !watched.is_finished() {
        let before = packets(&file);
        wait_until("packets are handled", || {
            (watched.is_finished() || packets(&file) > before + 100).then_some(())
        });
        let workers = server.workers();
        let Some(worker) = workers.get(killed % workers.len().max(1)) else {
            continue;
        };
        killed += usize::from(kill_process(*worker, Signal::KILL).is_ok());
    }
    watched.join().unwrap();
    let (result, _) = server.json(&["show", &run]);
    assert!(killed >= 3, "only {killed} workers were killed");
    let clients = result["clients"].as_array().unwrap();
    let stored = stored(&file);
    assert_eq!(
        (clients.len(), stored.len()),
        (CLIENTS as usize, CLIENTS as usize)
    );
    for ((index, client), stored) in clients.iter().enumerate().zip(stored) {
        let sent = client["counts"]["sent"].as_i64().unwrap();
        assert!(sent > 0);
        assert_eq!((stored.packets, stored.next), (sent, sent), "{client}");
        let sum: i64 = readings
            .iter()
            .cycle()
            .skip(index)
            .take(sent as usize)
            .sum();
        assert_eq!(stored.sum, sum, "{client}");
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
