//! The priority that pacing threads of this user get, found out by taking it as they do.

use std::{io, thread};

use metronome_os::realtime::{CpuBudget, Realtime, cores};
use rustix::process::getpriority_process;

/// The nice value that a thread without real-time priority asks for, or a lower one.
const NICE_MAX: i32 = -10;

/// What a pacing thread is granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Priority {
    /// It wakes at once.
    RealTime,
    /// It comes before ordinary threads; nice -10.
    Nice,
    /// It waits its turn.
    Ordinary,
}

impl Priority {
    /// A stable word for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::RealTime => "real_time",
            Self::Nice => "nice",
            Self::Ordinary => "ordinary",
        }
    }
}

/// Takes the priority of a pacing thread on a thread of its own, and gives it back.
///
/// # Errors
/// No thread could be started, or its nice value cannot be read.
pub(crate) fn of_a_pacing_thread() -> io::Result<Priority> {
    let cores = cores();
    let thread = thread::Builder::new().spawn(move || {
        let realtime = Realtime::take(CpuBudget::pacer(cores));
        if realtime.is_real_time() {
            return Ok(Priority::RealTime);
        }
        // For Linux "this process" is the calling thread.
        let nice = getpriority_process(None)?;
        Ok(match nice <= NICE_MAX {
            true => Priority::Nice,
            false => Priority::Ordinary,
        })
    })?;
    let ended = |_| io::Error::other("the thread that tried it ended early");
    thread.join().map_err(ended)?
}
