//! The priority that pacing threads of this user get, found out by taking it as they do.

use std::{io, thread};

use metronome_os::realtime::{CpuBudget, Granted, Realtime, cores};
use metronome_proto::v1::ThreadPriority;

/// Takes the priority of a pacing thread on a thread of its own, and gives it back. It is judged as
/// that of the threads of a run is.
///
/// # Errors
/// No thread could be started, or the kernel does not report its priority.
pub(crate) fn of_a_pacing_thread() -> io::Result<ThreadPriority> {
    let cores = cores();
    let thread = thread::Builder::new().spawn(move || {
        let _taken = Realtime::take(CpuBudget::pacer(cores));
        Granted::of(None)
    })?;
    let granted = thread
        .join()
        .map_err(|_| io::Error::other("the thread that tried it ended early"))?;
    match granted {
        None => Err(io::Error::other("the kernel does not report it")),
        Some(Granted::Ordinary) => Ok(ThreadPriority::Ordinary),
        Some(Granted::RaisedNice) => Ok(ThreadPriority::RaisedNice),
        Some(Granted::RealTime) => Ok(ThreadPriority::RealTime),
    }
}
