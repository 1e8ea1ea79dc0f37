//! What a signal does to this process. What catches signals is tokio's.

#![allow(unsafe_code)]

use std::{mem::MaybeUninit, ptr};

use rustix::process::{Signal, getpid, kill_process};

/// Whether `signal` is ignored, as a parent or `nohup` can have set it. Catching one undoes that,
/// so ask before. False when it cannot be asked.
#[must_use]
pub fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, so nothing changes; the present one is written to `action`,
    // which has room for it.
    let code = unsafe { libc::sigaction(signal.as_raw(), ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all of `action` was zeroed, which is a valid value of its type.
    code == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Lets SIGINT, SIGTERM and SIGHUP end this process at once again, also where they are caught; one
/// that is ignored stays so.
pub fn end_at_once() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        if !is_ignored(signal) {
            // SAFETY: the default action runs no code of this process.
            unsafe { libc::signal(signal.as_raw(), libc::SIG_DFL) };
        }
    }
}

/// Makes a write beyond the limit of the size of files (RLIMIT_FSIZE) an error with a sentence,
/// instead of the end of the process by SIGXFSZ. Children inherit it.
pub fn survive_file_size_limit() {
    // SAFETY: ignoring a signal runs no code of this process.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Ends this process by SIGINT as if it had never been caught, so that a shell ends the loop or
/// the script in which it stands; an exit code of 130 would let it go on. Returns only when that
/// signal is blocked.
pub fn die_of_interrupt() {
    // SAFETY: the default action runs no code of this process.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    // An error leaves the exit code that the caller ends with.
    let _ = kill_process(getpid(), Signal::INT);
}
