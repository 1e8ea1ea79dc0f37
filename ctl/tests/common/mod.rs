//! benchctl as a user runs it, in an environment of its own.

use std::process::Command;

/// The real executable.
pub(crate) const BENCHCTL: &str = env!("CARGO_BIN_EXE_benchctl");

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs benchctl to its end.
pub(crate) fn benchctl(arguments: &[&str]) -> Ended {
    let output = Command::new(BENCHCTL)
        .args(arguments)
        .env_remove("METRONOME_SERVER")
        .env_remove("METRONOME_LOG")
        // The history of the user who runs the tests is none of theirs.
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("benchctl starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
