//! The worker: a process with one thread and one epoll loop that reads client connections.
//!
//! No tokio, no gRPC; no allocation, lock or log line per packet. It gets one end of a socket pair
//! as its standard input and the ledger through it; every other descriptor that it could inherit
//! closes on exec. Prepared so far it is a spare, until the master orders it to be one of the
//! workers, at once or when one has died. It never ends a connection without committing that to the
//! ledger first.

mod connection;
mod connections;
mod event_loop;
mod master_channel;
mod packet_handler;
mod pulse;
mod runs_read;

use std::{env, io, os::fd::AsFd as _, process::ExitCode};

use metronome_os::{
    clock, privileges,
    process::WORKER_NAME,
    realtime::{CpuBudget, Realtime},
    seq_packet::SeqPacket,
    standard_error,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit},
    thread::set_name,
};

use self::{packet_handler::WorkerHandler, pulse::Pulse};
use crate::{
    handler::HandlerFactory,
    ipc::{AdmissionKeys, FromWorker, MESSAGE_BYTES, ToWorker},
    ledger::{Dimensions, Ledger, MEMORIES, WORKERS_MAX},
};

/// CPU time that a real-time worker may use without a wait before the kernel ends it, µs. A worker
/// that serves gives its real-time priority back after 0.1 s; one that loops for ever would keep
/// the core from the master, which has to notice that.
const REAL_TIME_US_MAX: u64 = 1_000_000;

/// The master sends the ledger at once; a master that does not has ended or is stopped.
const LEDGER_WAIT: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Runs as a worker when the master has started this executable as one, and returns the exit code.
/// `None` for every other start. With a handler, its packets are handed to that.
#[must_use]
pub(crate) fn run_if_asked(handler: Option<&HandlerFactory>) -> Option<ExitCode> {
    if env::args_os().next().is_none_or(|name| name != WORKER_NAME) {
        return None;
    }
    Some(match run(handler) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            standard_error::write_line(&format!("{WORKER_NAME} {}: {error}", std::process::id()));
            ExitCode::FAILURE
        }
    })
}

fn run(handler: Option<&HandlerFactory>) -> io::Result<()> {
    // The end of the channel shows the master's death too; the signal also ends a worker that
    // hangs.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // What a peer could make of a fault in this process, it makes without root's capabilities.
    if let Err(error) = privileges::keep_only_sys_nice() {
        standard_error::write_line(&format!(
            "{WORKER_NAME} {}: it keeps the capabilities that it was started with: {error}",
            std::process::id()
        ));
    }
    // A process started by descriptor has the descriptor's number as its name in top and ps.
    let _ = set_name(c"metronome-spare");
    // Lower than before is always granted.
    let _ = setrlimit(
        Resource::Rttime,
        Rlimit {
            current: Some(REAL_TIME_US_MAX),
            maximum: Some(REAL_TIME_US_MAX),
        },
    );
    let channel = SeqPacket::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (ledger, admission_keys) = receive_ledger(&channel)?;
    channel.send(&FromWorker::Prepared.encode(), None)?;
    let Some((index, realtime)) = wait_for_order(&channel)? else {
        return Ok(());
    };
    let _ = set_name(c"metronome-worker");
    // In front of the report that this worker serves: it may take a while, and what fails here
    // fails before a client waits for it.
    let handler = WorkerHandler::new(Pulse::new(index, realtime), handler.map(|make| make(index)));
    channel.send(&FromWorker::Ready.encode(), None)?;
    clock::wake_precisely();
    event_loop::EventLoop::new(channel, ledger, admission_keys, handler)?.run()
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn receive_ledger(channel: &SeqPacket) -> io::Result<(Ledger, AdmissionKeys)> {
    let mut memories = Vec::with_capacity(MEMORIES);
    let mut sizes = (0, false);
    while memories.len() < MEMORIES {
        wait_readable(channel, Some(&LEDGER_WAIT))?;
        let mut message = [0; MESSAGE_BYTES];
        let memory = channel
            .receive(&mut message)?
            .ok_or_else(|| invalid("the ledger's memory did not come"))?;
        let Ok(ToWorker::Memory { slots, accept_raw }) = ToWorker::decode(&message) else {
            return Err(invalid("the ledger must come first"));
        };
        memories.push(memory);
        sizes = (slots, accept_raw);
    }
    let (slots, accept_raw) = sizes;
    let memories = memories
        .try_into()
        .map_err(|_| invalid("a ledger has another number of memories"))?;
    Ok((
        Ledger::open(Dimensions { slots }, memories)?,
        AdmissionKeys::new(accept_raw),
    ))
}

/// Waits, for as long as it takes, for the order to be one of the workers. Its priority comes in
/// front of it, so that it is awake as soon as the order is there. `None`: it is not needed.
fn wait_for_order(channel: &SeqPacket) -> io::Result<Option<(usize, Realtime)>> {
    let mut realtime = Realtime::none();
    loop {
        wait_readable(channel, None)?;
        let mut message = [0; MESSAGE_BYTES];
        match channel.receive(&mut message) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            // The master is gone.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        match ToWorker::decode(&message) {
            Ok(ToWorker::Realtime { cores, workers }) => {
                let budget = CpuBudget::reader(cores as usize, workers as usize);
                realtime = Realtime::take(budget);
            }
            Ok(ToWorker::Serve { worker }) if (worker as usize) < WORKERS_MAX => {
                return Ok(Some((worker as usize, realtime)));
            }
            Ok(ToWorker::Quit) => return Ok(None),
            _ => return Err(invalid("no order that a spare worker can follow")),
        }
    }
}

fn wait_readable(channel: &SeqPacket, at_most: Option<&Timespec>) -> io::Result<()> {
    let ready = match poll(&mut [PollFd::new(channel, PollFlags::IN)], at_most) {
        Err(rustix::io::Errno::INTR) => return Ok(()),
        waited => waited?,
    };
    if ready == 0 {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(())
    }
}
