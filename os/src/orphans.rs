//! Process 1 of a container inherits every orphan there and must reap it, or zombies fill up the
//! table of processes.
//!
//! Children that the caller supervises are not reaped here: how one ended is for the caller to
//! learn first. The test is server/tests/init.rs, since a test cannot be process 1 among others.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rustix::process::{Pid, WaitOptions, getpid, waitpid};

/// Reaps the orphans that have ended, when this process is the one that inherits them.
pub fn reap(is_supervised: impl Fn(Pid) -> bool) {
    if !getpid().is_init() {
        return;
    }
    while let Some(ended) = peek() {
        // The kernel names the same child until it is reaped; what is behind it waits for the next
        // call.
        if is_supervised(ended) {
            return;
        }
        let _ = waitpid(Some(ended), WaitOptions::NOHANG);
    }
}

/// A child that has ended, left as it is. rustix has waitid, but keeps the process id to itself.
fn peek() -> Option<Pid> {
    let mut ended = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes at most one siginfo_t through the pointer, and zeroed is a valid
    // value of it; si_pid is set for every child that waitid reports and 0 where there is none.
    let pid = unsafe {
        let result = libc::waitid(libc::P_ALL, 0, ended.as_mut_ptr(), flags);
        (result == 0).then(|| ended.assume_init().si_pid())
    };
    Pid::from_raw(pid?)
}
