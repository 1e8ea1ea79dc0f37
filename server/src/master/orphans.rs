//! Process 1 of a container inherits every orphan there and must reap it, or zombies fill the
//! table.
//!
//! Workers are not reaped here: how one ended is for `recover` to learn first. The test is
//! server/tests/init.rs, since a test cannot be process 1 among other tests.

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use rustix::process::{Pid, getpid};

/// Reaps the orphans that have ended, when this process is the one that inherits them.
pub(super) fn reap(is_worker: impl Fn(Pid) -> bool) {
    if !getpid().is_init() {
        return;
    }
    while let Some(ended) = peek() {
        // The kernel names the same child until it is reaped; what is behind it waits for the next
        // round.
        if Pid::from_raw(ended.as_raw()).is_none_or(&is_worker) {
            return;
        }
        let _ = waitpid(ended, Some(WaitPidFlag::WNOHANG));
    }
}

/// A child that has ended, left as it is.
fn peek() -> Option<nix::unistd::Pid> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, flags)
        .ok()
        .as_ref()
        .and_then(WaitStatus::pid)
}
