//! The system calls without which no executable works: each is made once at the start.
//!
//! The libraries of the event loop and of limits end a process by a panic when a filter of system
//! calls (a container's seccomp profile, `SystemCallFilter=` of a unit) refuses one of these. Made
//! here first, the refusal is a sentence. The call that starts a thread is the subject of
//! [`crate::threads`]. What else is refused later is an error where it happens.

#![allow(unsafe_code)]

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    ptr,
};

/// What refuses system calls.
pub(crate) const FILTER: &str =
    "the filter of system calls (a container's seccomp profile, SystemCallFilter=)";

/// Descriptors that an event loop and the signals take before anything is reported.
const DESCRIPTORS: usize = 10;

/// A call that the system refuses.
#[derive(Debug)]
pub struct RefusedCall {
    call: &'static str,
    error: io::Error,
}

impl fmt::Display for RefusedCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, error } = self;
        write!(formatter, "the system refuses the call {call}: {error}; ")?;
        if error.raw_os_error() == Some(libc::EMFILE) {
            write!(
                formatter,
                "raise the limit of open files (RLIMIT_NOFILE, `ulimit -n`) to {DESCRIPTORS} more \
                 than are open at the start, at least"
            )
        } else {
            write!(
                formatter,
                "allow it in {FILTER}, or raise the limit that the error names"
            )
        }
    }
}

impl std::error::Error for RefusedCall {}

/// Makes each of the calls once. Microseconds.
///
/// # Errors
/// The first one that is refused.
pub fn make() -> Result<(), RefusedCall> {
    let refused = |call| move |error| RefusedCall { call, error };
    limit().map_err(refused("prlimit64"))?;
    cpu_time().map_err(refused("clock_gettime"))?;
    no_sleep().map_err(refused("clock_nanosleep"))?;
    let epoll = epoll().map_err(refused("epoll_create1"))?;
    no_event(&epoll).map_err(refused("epoll_wait"))?;
    descriptors(&epoll).map_err(refused("fcntl"))?;
    let (mut one, mut other) = UnixStream::pair().map_err(refused("socketpair"))?;
    one.write_all(b"x").map_err(refused("sendto"))?;
    other.read_exact(&mut [0]).map_err(refused("recvfrom"))?;
    Ok(())
}

/// Opens them all at once and closes them again.
fn descriptors(epoll: &OwnedFd) -> io::Result<()> {
    let opened: io::Result<Vec<_>> = (1..DESCRIPTORS).map(|_| epoll.try_clone()).collect();
    opened.map(drop)
}

fn limit() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for a write of its type.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }).map(drop)
}

/// The clock that is no page shared with the kernel.
fn cpu_time() -> io::Result<()> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for a write of its type.
    done(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }).map(drop)
}

/// A sleep that has ended already.
fn no_sleep() -> io::Result<()> {
    let ended = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ended` is valid for a read of its type; what is left of the sleep is not asked for.
    let errno = unsafe {
        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &raw const ended, ptr::null_mut())
    };
    match errno {
        0 | libc::EINTR => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let descriptor = done(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the descriptor is new and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn no_event(epoll: &OwnedFd) -> io::Result<()> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: `event` has room for the one event that is asked for.
    done(unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, 0) }).map(drop)
}

fn done(result: i32) -> io::Result<i32> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_refused_where_the_tests_run() {
        make().unwrap();
    }

    #[test]
    fn a_refusal_names_the_call_and_the_way_out() {
        let refused = RefusedCall {
            call: "epoll_wait",
            error: io::Error::from_raw_os_error(libc::EPERM),
        };
        let sentence = refused.to_string();
        assert!(
            sentence.contains("epoll_wait") && sentence.contains("seccomp"),
            "{sentence}"
        );
        let full = RefusedCall {
            call: "socketpair",
            error: io::Error::from_raw_os_error(libc::EMFILE),
        };
        let sentence = full.to_string();
        assert!(
            sentence.contains("ulimit -n") && !sentence.contains("seccomp"),
            "{sentence}"
        );
    }
}
