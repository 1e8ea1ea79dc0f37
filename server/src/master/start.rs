//! Starting the master: its thread, its workers, and what the others hold of it.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use anyhow::Context as _;
use metronome_os::wake::Waker;

use super::{event_loop::Master, request::Handle, settings::Settings};
use crate::ledger::MEMORIES;

/// A master that runs.
pub(crate) struct Started {
    pub(crate) handle: Handle,
    pub(crate) thread: JoinHandle<()>,
    /// Connections at a time.
    pub(crate) slots: u32,
    /// The descriptors of the ledger, which a new server process opens.
    pub(crate) ledger: [OwnedFd; MEMORIES],
}

/// Starts the workers and the master's thread. When it returns, clients are served, or can be once
/// the server that this one takes over from has committed the upgrade.
pub(crate) fn start(settings: Settings) -> anyhow::Result<Started> {
    let (requests, receiver) = mpsc::channel();
    let waker = Arc::new(Waker::new().context("no eventfd for the master")?);
    let handle = Handle::new(requests, Arc::clone(&waker));
    let (started, has_started) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("master".into())
        .spawn(move || {
            let high_priority = settings.high_priority;
            match Master::new(settings, receiver, waker) {
                Ok(master) => {
                    let _ = started.send(master.ledger_again());
                    master.run(high_priority);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
    let (slots, ledger) = has_started
        .recv()
        .context("the master's thread ended while it started")??;
    Ok(Started {
        handle,
        thread,
        slots,
        ledger,
    })
}
