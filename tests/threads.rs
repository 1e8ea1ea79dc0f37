//! Too few threads for the user or the control group: one sentence with the limit, and no panic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    fs::{Permissions, set_permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use common::{Running, Server, command_at, executable};
use tempfile::TempDir;

/// The start of a command as a user whom limits hold, which root is not. The processes of a user
/// are counted together, so each test has another `user` when it is root's.
fn as_user(user: u32) -> Command {
    let is_root = rustix::process::geteuid().is_root();
    let mut command = command_at(Path::new(if is_root { "setpriv" } else { "env" }));
    if is_root {
        command.arg(format!("--reuid={user}"));
        command.args(["--regid=65534", "--clear-groups"]);
    }
    command.arg("--");
    command
}

/// Runs an executable of ours with at most so many processes and threads of its user.
fn with_threads(limit: u32, user: u32, name: &str, flags: &[&str]) -> Output {
    let mut command = as_user(user);
    command.args(["prlimit", &format!("--nproc={limit}:{limit}"), "--"]);
    command.arg(executable(name)).args(flags);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn too_few_threads_are_one_sentence_with_the_limit_and_no_panic() {
    let server = [
        "--port",
        "0",
        "--grpc",
        "127.0.0.1:0",
        "--workers",
        "2",
        "--http",
        "off",
        "--database",
        "/nonexistent/a",
    ];
    let dialling = ["--server", "127.0.0.1:1"];
    let running = ["run", "--port", "1", "--duration", "0.1"];
    for (name, flags, limit_max) in [
        ("metronome-server", &server[..], 12),
        ("metronome-agent", &dialling, 3),
        ("metronome-agent", &running, 3),
        ("benchctl", &["runs"], 2),
    ] {
        for limit in 1..=limit_max {
            let output = with_threads(limit, 65534, name, flags);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{name} {limit}: {errors}");
            assert_eq!(
                errors.trim_end().lines().count(),
                1,
                "{name} {limit}: {errors}"
            );
            for part in ["clone", "RLIMIT_NPROC", "pids.max"] {
                assert!(errors.contains(part), "{name} {limit}: {errors}");
            }
        }
    }
}

#[test]
fn a_run_for_whose_processes_there_are_too_few_threads_is_refused_without_a_panic() {
    for limit in 2..=5 {
        let output = with_threads(limit, 65533, "benchctl", &["start"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{limit}: {errors}");
        for part in ["clone", "RLIMIT_NPROC", "pids.max"] {
            assert!(errors.contains(part), "{limit}: {errors}");
        }
        assert!(!errors.contains("panicked"), "{limit}: {errors}");
    }
}

#[test]
fn a_server_that_gets_no_thread_after_a_quiet_time_still_answers_from_its_history() {
    let folder = TempDir::new().unwrap();
    set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let mut command = as_user(65532);
    command
        .arg(executable("metronome-server"))
        .args(["--port", "0", "--grpc", "127.0.0.1:0", "--http", "off"])
        .args(["--workers", "1", "--database"])
        .arg(folder.path().join("runs.sqlite"))
        .stderr(Stdio::null());
    let process = Running::start(command);
    let server = Server { process, folder };
    // An async runtime ends the threads that have had no work for ten seconds.
    thread::sleep(Duration::from_secs(11));
    let limited = as_user(65532)
        .args(["prlimit", "--nproc=1:1", "--pid"])
        .arg(server.process.child.id().to_string())
        .status();
    assert!(limited.unwrap().success());
    let (runs, code) = server.json(&["runs"]);
    assert_eq!(code, 0, "{runs}");
}
