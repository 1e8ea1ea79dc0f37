//! SIGHUP with its origin, and the controlling terminal: together they show whether this process
//! was left alone by the terminal in whose foreground it was started.
//!
//! A handler writes the origin of each signal as a datagram; no thread waits, and no signal is
//! blocked, which children would inherit. Absent: what follows from a SIGHUP.
#![allow(unsafe_code)]

use std::{io, os::unix::net::UnixDatagram};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    process::{Pid, Signal},
};

use crate::signals::is_ignored;

/// What sent a SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel: the terminal has hung up, its session has ended, or this process was stopped and
    /// became an orphan.
    Kernel,
    /// The leader of this session, as a shell that ends with its terminal does.
    SessionLeader,
    /// Another process.
    Other,
}

impl Origin {
    /// What a datagram of [`catch`] holds.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        [Self::Kernel, Self::SessionLeader]
            .into_iter()
            .find(|origin| *origin as u8 == byte)
            .unwrap_or(Self::Other)
    }
}

/// The terminal that controls this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// There is one.
    Present,
    /// There is none, or it has hung up.
    Gone,
    /// It cannot be asked: no descriptor is left, for example.
    Unknown,
}

impl Terminal {
    /// Asks the system. Takes a descriptor for a moment.
    #[must_use]
    pub fn now() -> Self {
        // A line whose modem is silent must not hold up the open.
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Self::of(openat(CWD, "/dev/tty", flags, Mode::empty()).map(drop))
    }

    fn of(opened: Result<(), Errno>) -> Self {
        match opened {
            Ok(()) => Self::Present,
            Err(Errno::NXIO | Errno::IO) => Self::Gone,
            Err(_) => Self::Unknown,
        }
    }
}

/// The leader of this session. `None` when it lies outside of this pid namespace, or when a filter
/// refuses the call.
#[must_use]
pub fn session_leader() -> Option<Pid> {
    // SAFETY: the call takes no pointer. Not rustix's, which takes an id of 0 for impossible.
    let leader = unsafe { libc::getsid(0) };
    (leader > 0).then(|| Pid::from_raw(leader)).flatten()
}

/// From here on a SIGHUP does not end this process: each comes as a datagram of one byte, which
/// [`Origin::from_byte`] reads, on the socket, which does not block. `None` when it is ignored, as
/// under `nohup`: it stays so, also in what this process starts. To be called once.
///
/// # Errors
/// No descriptor is left, or signals cannot be caught.
pub fn catch() -> io::Result<Option<UnixDatagram>> {
    if is_ignored(Signal::HUP) {
        return Ok(None);
    }
    let (receiver, sender) = UnixDatagram::pair()?;
    receiver.set_nonblocking(true)?;
    sender.set_nonblocking(true)?;
    let leader = session_leader();
    let action = move |info: &libc::siginfo_t| {
        // SAFETY: all of the structure is set by the kernel; where the signal has no sender this
        // is a number that is not looked at.
        let pid = unsafe { info.si_pid() };
        let origin = origin(info.si_code, pid, leader);
        // When so many wait unread that there is no room, one more changes nothing.
        let _ = sender.send(&[origin as u8]);
    };
    // SAFETY: the action makes one system call and neither locks nor allocates; the registry keeps
    // errno.
    unsafe { signal_hook_registry::register_sigaction(libc::SIGHUP, action) }?;
    Ok(Some(receiver))
}

/// `pid` counts only where a process is the sender. 0 is one outside of this pid namespace.
fn origin(code: i32, pid: i32, leader: Option<Pid>) -> Origin {
    let by_process = [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL];
    if code == libc::SI_KERNEL {
        Origin::Kernel
    } else if by_process.contains(&code) && leader.is_some_and(|it| it.as_raw_pid() == pid) {
        Origin::SessionLeader
    } else {
        Origin::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_decides_the_origin_and_a_foreign_pid_namespace_is_no_leader() {
        let leader = Pid::from_raw(7);
        for (code, pid, leader, wanted) in [
            (libc::SI_KERNEL, 0, leader, Origin::Kernel),
            (libc::SI_KERNEL, 0, None, Origin::Kernel),
            (libc::SI_USER, 7, leader, Origin::SessionLeader),
            (libc::SI_TKILL, 7, leader, Origin::SessionLeader),
            (libc::SI_QUEUE, 7, leader, Origin::SessionLeader),
            (libc::SI_USER, 8, leader, Origin::Other),
            (libc::SI_USER, 0, leader, Origin::Other),
            (libc::SI_USER, 0, None, Origin::Other),
            (libc::SI_QUEUE, -7, leader, Origin::Other),
            (libc::SI_TIMER, 7, leader, Origin::Other),
        ] {
            assert_eq!(origin(code, pid, leader), wanted, "{code} of {pid}");
        }
    }

    #[test]
    fn only_what_the_kernel_reports_of_a_terminal_that_is_not_there_counts_as_gone() {
        assert_eq!(Terminal::of(Ok(())), Terminal::Present);
        for gone in [Errno::NXIO, Errno::IO] {
            assert_eq!(Terminal::of(Err(gone)), Terminal::Gone);
        }
        for unknown in [Errno::MFILE, Errno::NFILE, Errno::ACCESS, Errno::NOENT] {
            assert_eq!(Terminal::of(Err(unknown)), Terminal::Unknown);
        }
    }

    #[test]
    fn a_caught_signal_waits_with_its_origin() {
        // The tests may run under nohup.
        // SAFETY: the default action runs no code of this process.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        let hang_ups = catch().unwrap().expect("nothing ignores it");
        assert!(hang_ups.recv(&mut [0]).is_err());
        rustix::process::kill_process(rustix::process::getpid(), Signal::HUP).unwrap();
        // Another thread may be the one that takes the signal.
        hang_ups.set_nonblocking(false).unwrap();
        hang_ups
            .set_read_timeout(Some(std::time::Duration::from_secs(60)))
            .unwrap();
        let mut byte = [u8::MAX];
        assert_eq!(hang_ups.recv(&mut byte).unwrap(), 1);
        let is_leader = session_leader() == Some(rustix::process::getpid());
        let wanted = match is_leader {
            true => Origin::SessionLeader,
            false => Origin::Other,
        };
        assert_eq!(Origin::from_byte(byte[0]), wanted);
    }
}
