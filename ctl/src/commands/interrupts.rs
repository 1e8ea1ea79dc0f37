//! Ctrl-C, once and twice. SIGTERM counts as one: whoever stops benchctl wants its report as well.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Counts the interrupts; none is lost between two waits.
#[derive(Debug)]
pub(crate) struct Interrupts {
    ctrl_c: Signal,
    terminate: Signal,
    seen: u32,
}

impl Interrupts {
    /// From now on Ctrl-C no longer ends the process by itself.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::other(format!("signals cannot be caught: {error}")))
        };
        Ok(Self {
            ctrl_c: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            seen: 0,
        })
    }

    /// Whether one has come.
    pub(crate) fn came(&self) -> bool {
        self.seen > 0
    }

    /// Returns once `count` have come in all. May be dropped at any point and called again.
    pub(crate) async fn reach(&mut self, count: u32) {
        while self.seen < count {
            tokio::select! {
                _ = self.ctrl_c.recv() => {}
                _ = self.terminate.recv() => {}
            }
            self.seen += 1;
        }
    }

    /// Returns once one more has come.
    pub(crate) async fn another(&mut self) {
        self.reach(self.seen.saturating_add(1)).await;
    }

    /// Does `work` unless `count` interrupts come first; `sentence` then says what was given up.
    pub(crate) async fn unless<T>(
        &mut self,
        count: u32,
        sentence: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            result = work => result,
            () = self.reach(count) => Err(Failure::interrupted(sentence)),
        }
    }
}
