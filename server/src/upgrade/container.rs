//! Whether this process may end once another one serves: its end must not be its container's.

use metronome_os::host;
use rustix::process::{Pid, getpid, getppid};

/// Processes that end with their child, and a container with them.
const INIT_SHIMS: [&str; 5] = [
    "tini",
    "docker-init",
    "dumb-init",
    "catatonit",
    "podman-init",
];

/// An error is one sentence: why this process must not end.
pub(super) fn check_own_end() -> Result<(), String> {
    check_end(getpid(), getppid(), &host::init_name())
}

/// `parent` is none when it lies outside of the container, which then watches this process.
fn check_end(own: Pid, parent: Option<Pid>, first: &str) -> Result<(), String> {
    let what = match parent {
        _ if own.is_init() => "process 1".to_owned(),
        None => "the process that its container was started with".to_owned(),
        Some(parent) if parent.is_init() && INIT_SHIMS.contains(&first) => {
            format!("the child of {first}")
        }
        Some(_) => return Ok(()),
    };
    Err(format!(
        "this server is {what}, with which its container ends; roll out a new container instead"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_whose_end_would_end_its_container_is_not_upgraded() {
        let pid = |number| Pid::from_raw(number);
        let judge = |own, parent, first| check_end(pid(own).unwrap(), pid(parent), first);
        assert!(
            judge(1, 0, "metronome-serve").is_err_and(|sentence| sentence.contains("process 1"))
        );
        assert!(judge(7, 1, "tini").is_err_and(|sentence| sentence.contains("the child of tini")));
        assert!(judge(7, 0, "pause").is_err_and(|sentence| sentence.contains("started with")));
        for (own, parent, first) in [
            (7, 1, "systemd"),
            (7, 1, "bash"),
            (7, 6, "tini"),
            (900, 800, "systemd"),
        ] {
            assert_eq!(judge(own, parent, first), Ok(()), "{own} {parent} {first}");
        }
    }
}
