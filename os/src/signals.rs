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

/// While it lives, SIGINT, SIGTERM and SIGHUP end this process at once, also where they are caught;
/// one that is ignored stays so. Dropped, it sets back what was done with them before.
#[must_use]
pub(crate) struct EndAtOnce([Option<(Signal, libc::sigaction)>; 3]);

impl EndAtOnce {
    pub(crate) fn begin() -> Self {
        Self([Signal::INT, Signal::TERM, Signal::HUP].map(|signal| {
            if is_ignored(signal) {
                return None;
            }
            let mut default = MaybeUninit::<libc::sigaction>::zeroed();
            let mut before = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: all of both is zeroed, which is a valid value of their type.
            let default = unsafe {
                (*default.as_mut_ptr()).sa_sigaction = libc::SIG_DFL;
                default.assume_init()
            };
            // SAFETY: the default action runs no code of this process; the present one is written
            // to `before`, which has room for it.
            let code = unsafe {
                libc::sigaction(signal.as_raw(), &raw const default, before.as_mut_ptr())
            };
            // SAFETY: all of `before` was zeroed, which is a valid value of its type.
            (code == 0).then(|| (signal, unsafe { before.assume_init() }))
        }))
    }
}

impl Drop for EndAtOnce {
    fn drop(&mut self) {
        for (signal, before) in self.0.iter().flatten() {
            // SAFETY: this was the action of the signal before; no old one is asked for.
            unsafe { libc::sigaction(signal.as_raw(), before, ptr::null_mut()) };
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    static CAUGHT: AtomicBool = AtomicBool::new(false);

    extern "C" fn catch(_: i32) {
        CAUGHT.store(true, Ordering::Relaxed);
    }

    fn handler(signal: Signal) -> usize {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: nothing changes; `action` has room for the present one and is zeroed, which is a
        // valid value of its type.
        unsafe {
            libc::sigaction(signal.as_raw(), ptr::null(), action.as_mut_ptr());
            action.assume_init().sa_sigaction
        }
    }

    #[test]
    fn what_was_done_with_a_signal_is_set_back_after_the_wait() {
        let ours = catch as extern "C" fn(i32) as usize;
        // SAFETY: the function does nothing but set a flag.
        unsafe { libc::signal(libc::SIGTERM, ours) };
        // SAFETY: ignoring a signal runs no code of this process.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        let waiting = EndAtOnce::begin();
        assert_eq!(handler(Signal::TERM), libc::SIG_DFL);
        assert_eq!(handler(Signal::HUP), libc::SIG_IGN);
        drop(waiting);
        assert_eq!(handler(Signal::HUP), libc::SIG_IGN);
        kill_process(getpid(), Signal::TERM).unwrap();
        while !CAUGHT.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }
}
