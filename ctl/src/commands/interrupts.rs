//! Ctrl-C, once, twice and again. SIGTERM and the end of the terminal (SIGHUP) count as one: they,
//! too, should leave a report. Signals that come together are one ([`EndRequests`]).

use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
};

use metronome_os::{clock, end_requests::EndRequests, signals::is_ignored, standard_output};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    exit::{Failure, host_failed},
    measure::StopRequests,
};

/// Ctrl-C has come. Of the whole process, as the signal is.
static CTRL_C: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C has come since it was listened for.
pub(crate) fn by_ctrl_c() -> bool {
    CTRL_C.load(Ordering::Relaxed)
}

/// The interrupts so far: a token each, cancelled in order.
#[derive(Debug)]
pub(crate) struct Interrupts([CancellationToken; 3]);

impl Interrupts {
    /// From now on Ctrl-C no longer ends the process by itself.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| host_failed(format!("signals cannot be caught: {error}")))
        };
        let tokens: [_; 3] = std::array::from_fn(|_| CancellationToken::new());
        let signals = Signals {
            ctrl_c: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            // `nohup` has it ignored, and catching it would undo that.
            hang_up: match is_ignored(rustix::process::Signal::HUP) {
                true => None,
                false => Some(listen(SignalKind::hangup())?),
            },
        };
        tokio::spawn(count(signals, tokens.clone()));
        Ok(Self(tokens))
    }

    /// The first one.
    pub(crate) fn first(&self) -> &CancellationToken {
        &self.0[0]
    }

    /// The first one that has not come yet; when all have, the last.
    pub(crate) fn next(&self) -> &CancellationToken {
        let [first, second, third] = &self.0;
        [first, second]
            .into_iter()
            .find(|token| !token.is_cancelled())
            .unwrap_or(third)
    }

    /// Requests for a measurement: the first interrupt stops the run, the second one gives it up.
    pub(super) fn stop_requests(&self) -> StopRequests {
        let [first, second, _] = self.0.clone();
        StopRequests {
            stop: first,
            give_up: second,
        }
    }
}

struct Signals {
    ctrl_c: Signal,
    terminate: Signal,
    /// `None` when it is ignored.
    hang_up: Option<Signal>,
}

impl Signals {
    async fn next(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.ctrl_c.recv() => CTRL_C.store(true, Ordering::Relaxed),
            _ = self.terminate.recv() => {}
            _ = hang_up => {}
        }
    }
}

async fn count(mut signals: Signals, tokens: [CancellationToken; 3]) {
    let mut requests = EndRequests::default();
    for token in tokens {
        signals.next().await;
        while !requests.counts(clock::now_ns()) {
            signals.next().await;
        }
        standard_output::end_is_asked_for();
        token.cancel();
    }
}
