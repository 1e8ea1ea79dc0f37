//! A server that is process 1, as in a container, or the child of an init shim: orphans are reaped,
//! and no upgrade ends the container.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use metronome_proto::v1::{
    self, admin_service_client::AdminServiceClient, fleet_service_client::FleetServiceClient,
};
use tempfile::TempDir;
use tonic::transport::Channel;

use common::{DEADLINE, code};

/// `unshare` with a process table of its own; the command after it becomes process 1.
const NAMESPACE: [&str; 6] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--pid",
    "--fork",
    "--kill-child",
];

/// The shell's child is an orphan of the server that takes the shell's place: it never started it.
const ORPHAN_THEN_SERVER: &str = r#"true & exec "$@""#;

/// `command` may begin with further flags of unshare.
fn in_namespace(command: &[&str]) -> Command {
    let mut unshare = Command::new(NAMESPACE[0]);
    unshare
        .args(&NAMESPACE[1..])
        .args(command)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    unshare
}

/// Name and state of every child of a process.
fn children_of(parent: u32) -> Vec<(u32, String, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let status = |pid| Some((pid, fs::read_to_string(format!("/proc/{pid}/status")).ok()?));
    let field = |text: &str, name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
        line.unwrap_or_default().to_owned()
    };
    pids.filter_map(status)
        .filter(|(_, text)| field(text, "PPid") == parent.to_string())
        .map(|(pid, text)| (pid, field(&text, "Name"), field(&text, "State")))
        .collect()
}

#[test]
fn a_server_that_is_process_1_reaps_what_it_never_started() {
    if !in_namespace(&["true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("not tested: this system grants no process namespace");
        return;
    }
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("runs.sqlite");
    let server = env!("CARGO_BIN_EXE_metronome-server");
    let flags = [
        "--port",
        "0",
        "--grpc",
        "127.0.0.1:0",
        "--workers",
        "1",
        "--database",
        database.to_str().unwrap(),
    ];
    let shell = ["sh", "-c", ORPHAN_THEN_SERVER, "sh", server];
    let mut unshare = in_namespace(&[&shell[..], &flags].concat())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(unshare.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert!(ready.ends_with("pid 1\n"), "{ready:?}");

    let server = children_of(unshare.id())[0].0;
    let started = Instant::now();
    let mut children = children_of(server);
    // The worker and the spare are left once the orphan has ended and was reaped.
    while children.len() != 2
        || children
            .iter()
            .any(|(_, name, _)| !name.starts_with("metronome-"))
    {
        assert!(started.elapsed() < DEADLINE, "not reaped: {children:?}");
        thread::sleep(Duration::from_millis(10));
        children = children_of(server);
    }
    unshare.kill().unwrap();
    unshare.wait().unwrap();
}

/// A shim as tini is one: it ends with its child. Its name is that of the file.
const SHIM: &str = "#!/bin/sh\n\"$@\"\n";

#[tokio::test]
async fn a_server_below_an_init_shim_refuses_to_be_upgraded_and_goes_on() {
    let mounted = ["--mount-proc", "true"];
    if !in_namespace(&mounted)
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("not tested: this system grants no process namespace");
        return;
    }
    let folder = TempDir::new().unwrap();
    let (shim, database) = (
        folder.path().join("tini"),
        folder.path().join("runs.sqlite"),
    );
    fs::write(&shim, SHIM).unwrap();
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o700)).unwrap();
    let server = env!("CARGO_BIN_EXE_metronome-server");
    let flags = [
        "--port",
        "0",
        "--grpc",
        "127.0.0.1:0",
        "--workers",
        "1",
        "--database",
        database.to_str().unwrap(),
    ];
    let command = [
        &["--mount-proc", shim.to_str().unwrap(), server][..],
        &flags,
    ]
    .concat();
    let mut unshare = in_namespace(&command).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(unshare.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    let grpc = ready
        .split(' ')
        .skip_while(|word| *word != "grpc")
        .nth(1)
        .unwrap();
    let channel = Channel::from_shared(format!("http://{grpc}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut admin = AdminServiceClient::new(channel.clone());
    let refusal = admin.upgrade(v1::UpgradeRequest {}).await.unwrap_err();
    assert_eq!(code(&refusal), v1::FailureCode::UpgradeNotPossible);
    assert!(refusal.message().contains("the child of tini"), "{refusal}");
    let mut fleet = FleetServiceClient::new(channel);
    fleet.get_server(v1::GetServerRequest {}).await.unwrap();
    unshare.kill().unwrap();
    unshare.wait().unwrap();
}
