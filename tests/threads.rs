//! Too few threads for the user or the control group: one sentence with the limit, and no panic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::process::{Command, Output, Stdio};

use common::executable;

/// Runs an executable of ours with at most so many processes and threads of its user.
fn with_threads(limit: u32, name: &str, flags: &[&str]) -> Output {
    let mut command = Command::new("prlimit");
    command.args([&format!("--nproc={limit}:{limit}"), "--"]);
    // The limit does not hold for root.
    if rustix::process::geteuid().is_root() {
        command.args([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
        ]);
    }
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
        "--http",
        "off",
        "--database",
        "/nonexistent/a",
    ];
    let dialling = ["--server", "127.0.0.1:1"];
    let running = ["run", "--port", "1", "--duration", "0.1"];
    let agent_max = 3;
    for (name, flags, limit_max) in [
        ("metronome-server", &server[..], 8),
        ("metronome-agent", &dialling, agent_max),
        ("metronome-agent", &running, agent_max),
        ("benchctl", &["runs"], 2),
    ] {
        for limit in 1..=limit_max {
            let output = with_threads(limit, name, flags);
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
