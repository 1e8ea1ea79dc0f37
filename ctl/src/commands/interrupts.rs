//! Ctrl-C, once, twice and again. SIGTERM counts as one: it, too, should leave a report.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    exit::{Failure, host_failed},
    measure::StopRequests,
};

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
        let ctrl_c = listen(SignalKind::interrupt())?;
        let terminate = listen(SignalKind::terminate())?;
        tokio::spawn(count(ctrl_c, terminate, tokens.clone()));
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

async fn count(mut ctrl_c: Signal, mut terminate: Signal, tokens: [CancellationToken; 3]) {
    for token in tokens {
        tokio::select! {
            _ = ctrl_c.recv() => {}
            _ = terminate.recv() => {}
        }
        token.cancel();
    }
}
