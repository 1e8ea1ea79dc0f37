//! The signals that ask this process to end: SIGTERM, SIGINT, and SIGHUP when its terminal ends.
//! Those that come together are one ([`EndRequests`]).

use std::{
    future::pending,
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use metronome_os::{clock, end_requests::EndRequests, signals::is_ignored};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals that ask this process to end.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` when it is ignored.
    hang_up: Option<Signal>,
    requests: EndRequests,
}

/// Ctrl-C has come. Of the whole process, as the signal is.
static CTRL_C: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C has come since it was listened for.
pub(crate) fn by_ctrl_c() -> bool {
    CTRL_C.load(Ordering::Relaxed)
}

impl Signals {
    /// From here on these signals do not end the process by themselves. Call inside a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            // `nohup` has it ignored, and catching it would undo that.
            hang_up: match is_ignored(rustix::process::Signal::HUP) {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
            requests: EndRequests::default(),
        })
    }

    /// Waits for the next one that does not repeat the last.
    pub(crate) async fn next(&mut self) {
        self.any().await;
        while !self.requests.counts(clock::now_ns()) {
            self.any().await;
        }
    }

    async fn any(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = hang_up => {}
            _ = self.interrupt.recv() => CTRL_C.store(true, Ordering::Relaxed),
        }
    }
}

/// A token that the first of these signals cancels; later ones have no effect. Call inside a
/// runtime.
pub(crate) fn shutdown_token() -> io::Result<CancellationToken> {
    let mut signals = Signals::new()?;
    let shutdown = CancellationToken::new();
    let requested = shutdown.clone();
    tokio::spawn(async move {
        signals.next().await;
        requested.cancel();
    });
    Ok(shutdown)
}
