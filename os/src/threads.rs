//! Whether this process may start the threads that it needs, asked before it starts any of them.
//!
//! Libraries panic when the system gives them no thread; asked here first, that is one sentence
//! with the limit in it. Another process of the same user may take a thread in between, so this is
//! no promise.

use std::{
    fmt, io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

use rustix::process::{Resource, getrlimit};

use crate::{cgroup, needed_calls::FILTER};

/// Stack of a thread that only waits, bytes.
const STACK_BYTES: usize = 64 * 1024;

/// The system gives this process fewer threads than it needs. Displayed as one sentence.
#[derive(Debug)]
pub struct NoThreads {
    needed: usize,
    given: usize,
    error: io::Error,
}

impl fmt::Display for NoThreads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            needed,
            given,
            error,
        } = self;
        write!(
            formatter,
            "this host gives the process {given} of the {needed} threads that it needs (clone3: \
             {error}); "
        )?;
        match error.kind() {
            io::ErrorKind::WouldBlock => write!(formatter, "raise {}", limits()),
            _ => write!(formatter, "allow that call in {FILTER}"),
        }
    }
}

impl std::error::Error for NoThreads {}

/// The limits of threads and processes, with their values, as the end of a sentence.
#[must_use]
pub fn limits() -> String {
    let number = |limit: Option<u64>| limit.map_or("unlimited".into(), |limit| limit.to_string());
    format!(
        "the user's limit of processes (RLIMIT_NPROC, `ulimit -u`, now {}) or pids.max of the \
         control group (now {})",
        number(getrlimit(Resource::Nproc).current),
        number(cgroup::pids_max())
    )
}

/// Starts so many threads at the same time and ends them again.
///
/// # Errors
/// The system gives fewer.
pub fn check(needed: usize) -> Result<(), NoThreads> {
    let over = Arc::new((Mutex::new(false), Condvar::new()));
    let mut waiting = Vec::with_capacity(needed);
    let mut refused = None;
    for _ in 0..needed {
        let over = Arc::clone(&over);
        let wait = move || {
            let (is_over, changed) = &*over;
            let is_over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
            drop(changed.wait_while(is_over, |is_over| !*is_over));
        };
        match thread::Builder::new().stack_size(STACK_BYTES).spawn(wait) {
            Ok(thread) => waiting.push(thread),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    *over.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    over.1.notify_all();
    let given = waiting.len();
    for thread in waiting {
        let _ = thread.join();
    }
    match refused {
        Some(error) => Err(NoThreads {
            needed,
            given,
            error,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_there_are_are_given_and_ended_again() {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        check(40).unwrap();
        // Those of the other tests come and go.
        assert!(threads() < before + 40);
    }

    #[test]
    fn a_refusal_is_one_sentence_with_the_call_and_what_is_in_the_way() {
        let sentence = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            let refusal = NoThreads {
                needed: 8,
                given: 3,
                error,
            };
            refusal.to_string()
        };
        let limit = sentence(libc::EAGAIN);
        for part in ["3 of the 8", "clone", "RLIMIT_NPROC", "pids.max"] {
            assert!(limit.contains(part), "{limit}");
        }
        assert!(!limit.contains('\n') && !limit.contains("seccomp"));
        let filter = sentence(libc::EPERM);
        assert!(
            filter.contains("seccomp") && !filter.contains("RLIMIT_NPROC"),
            "{filter}"
        );
    }
}
