//! Signals: SIGTERM and SIGINT end the server with a drain, SIGHUP restarts its workers, SIGUSR2
//! lets another process take over.

use std::{pin::pin, sync::Arc};

use anyhow::Context as _;
use rustix::process::{Pid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{control::shared::Shared, upgrade};

/// The signals that the server handles.
pub(super) struct Signals {
    /// Caught so that it does not end the process: a write beyond the limit on the size of a file
    /// then fails like one on a full disk.
    _file_size: Signal,
    hang_up: Signal,
    upgrade: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// Why the server ends.
pub(super) enum End {
    /// SIGTERM or SIGINT.
    Signal,
    /// Another process has taken over: its pid.
    Replaced(u32),
}

impl Signals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self {
            _file_size: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            hang_up: listen(SignalKind::hangup())?,
            upgrade: listen(SignalKind::user_defined2())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Resolves when the server is to end. Restarts and upgrades are carried out meanwhile.
    pub(super) async fn end(&mut self, shared: &Arc<Shared>) -> End {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: the workers are restarted");
                    let master_client = shared.master_client.clone();
                    tokio::spawn(async move { master_client.restart_workers().await });
                }
                _ = self.upgrade.recv() => {
                    if let Some(end) = self.hand_over(shared).await {
                        return end;
                    }
                }
                () = shared.upgrade.asked() => {
                    if let Some(end) = self.hand_over(shared).await {
                        return end;
                    }
                }
                () = first(&mut self.terminate, &mut self.interrupt) => return End::Signal,
            }
        }
    }

    /// Resolves at the next SIGTERM or SIGINT.
    pub(super) async fn terminated(&mut self) {
        first(&mut self.terminate, &mut self.interrupt).await;
    }

    /// Lets another process take over. `None` when that failed and this one goes on. A SIGHUP that
    /// comes meanwhile waits: the workers of the new process are new.
    async fn hand_over(&mut self, shared: &Arc<Shared>) -> Option<End> {
        let mut is_terminated = false;
        let outcome = {
            let mut upgrading = pin!(upgrade::drive(&**shared));
            loop {
                tokio::select! {
                    outcome = &mut upgrading => break outcome,
                    () = first(&mut self.terminate, &mut self.interrupt), if !is_terminated => {
                        is_terminated = true;
                        shared.upgrade.give_up();
                    }
                }
            }
        };
        shared.upgrade.answer(&outcome);
        match outcome {
            Ok(pid) => {
                if is_terminated {
                    // The signal was meant for the server, which is now the other process.
                    let new_process = i32::try_from(pid).ok().and_then(Pid::from_raw);
                    let _ = new_process.map(|pid| kill_process(pid, rustix::process::Signal::TERM));
                }
                Some(End::Replaced(pid))
            }
            Err(error) => {
                tracing::error!("upgrade failed, this server goes on: {error}");
                is_terminated.then_some(End::Signal)
            }
        }
    }
}

async fn first(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
