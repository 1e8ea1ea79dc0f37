//! Starts processes on a thread of its own, which a start keeps for some ms: meanwhile the master
//! goes on.
//!
//! The signal that ends a worker with the master is bound to the thread that has started it. So
//! this one lasts as long as the master's, and ends when the master lets go of it. It is an
//! ordinary thread, and so is at first what it starts: until a process is prepared nothing waits
//! for it, and those that read clients come before it.

use std::{
    io,
    os::fd::AsFd as _,
    os::fd::BorrowedFd,
    sync::{Arc, mpsc},
    thread,
};

use metronome_os::{process::Executable, realtime, wake::Waker};

use super::process::{Process, Start};

/// The master's end.
#[derive(Debug)]
pub(super) struct Starter {
    orders: mpsc::Sender<Start>,
    started: mpsc::Receiver<io::Result<Process>>,
    waker: Arc<Waker>,
    /// A start that was ordered has not been taken.
    is_under_way: bool,
    thread: thread::JoinHandle<()>,
}

impl Starter {
    /// Starts the thread.
    pub(super) fn new(executable: Arc<Executable>) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel::<Start>();
        let (sender, started) = mpsc::channel();
        let waker = Arc::new(Waker::new()?);
        let wakes = Arc::clone(&waker);
        let run = move || {
            realtime::be_ordinary();
            for start in ordered {
                if sender.send(start.spawn(&executable)).is_err() {
                    return;
                }
                // It fails for no eventfd. The master looks by itself, too, but later.
                let _ = wakes.wake();
            }
        };
        let thread = thread::Builder::new().name("worker-starter".into());
        let thread = thread.spawn(run)?;
        Ok(Self {
            orders,
            started,
            waker,
            is_under_way: false,
            thread,
        })
    }

    /// Whether its thread has ended, which only a panic in it does: it starts nothing any more.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Orders a start. One at a time: what is ordered meanwhile is dropped.
    pub(super) fn order(&mut self, start: Start) {
        if !self.is_under_way {
            self.is_under_way = self.orders.send(start).is_ok();
        }
    }

    /// Whether a process is being started, or has been and is not taken yet.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// The process that was ordered, or why there is none. `None` while it is being started.
    pub(super) fn take(&mut self) -> Option<io::Result<Process>> {
        self.waker.drain();
        let started = self.started.try_recv().ok()?;
        self.is_under_way = false;
        Some(started)
    }

    /// Readable when there is something to take.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

#[cfg(test)]
impl Starter {
    /// One whose thread has ended while a process was being started.
    pub(super) fn ended(executable: Arc<Executable>) -> Self {
        let mut starter = Self::new(executable).unwrap();
        // The thread ends with what orders it.
        starter.orders = mpsc::channel().0;
        starter.is_under_way = true;
        while !starter.has_ended() {
            thread::yield_now();
        }
        starter
    }
}
