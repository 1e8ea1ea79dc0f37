//! Signals: SIGTERM and SIGINT end the server with a drain; SIGHUP restarts its workers or, when
//! its terminal has gone, ends it with a drain; SIGUSR2 lets another process take over. Signals
//! that come together are one request to end ([`EndRequests`]).

use std::{future::pending, io, pin::pin, sync::Arc};

use anyhow::Context as _;
use metronome_os::{
    clock,
    end_requests::EndRequests,
    hang_ups::{self, Origin, Terminal},
};
use rustix::process::{Pid, getppid, kill_process};
use tokio::{
    net::UnixDatagram,
    signal::unix::{Signal, SignalKind, signal},
};

use super::hang_up::{HangUp, answer};
use crate::{control::shared::Shared, upgrade};

/// The signals that the server handles.
pub(super) struct Signals {
    hang_ups: HangUps,
    upgrade: Signal,
    ends: Ends,
}

/// Why the server ends.
pub(super) enum End {
    /// SIGTERM or SIGINT, or the terminal has gone.
    Signal,
    /// Another process has taken over: its pid.
    Replaced(u32),
}

impl Signals {
    /// `is_upgrade`: this process is to take over from another one, its parent.
    pub(super) fn listen(is_upgrade: bool) -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self {
            hang_ups: HangUps::listen(is_upgrade).context("SIGHUP cannot be caught")?,
            upgrade: listen(SignalKind::user_defined2())?,
            ends: Ends {
                terminate: listen(SignalKind::terminate())?,
                interrupt: listen(SignalKind::interrupt())?,
                requests: EndRequests::default(),
            },
        })
    }

    /// Resolves when the server is to end. Restarts and upgrades are carried out meanwhile.
    pub(super) async fn end(&mut self, shared: &Arc<Shared>) -> End {
        loop {
            tokio::select! {
                hang_up = self.hang_ups.next() => match hang_up {
                    HangUp::Drain => {
                        tracing::warn!("SIGHUP: the terminal of this server has gone");
                        self.ends.requests.counts(clock::now_ns());
                        return End::Signal;
                    }
                    HangUp::RestartWorkers => {
                        tracing::info!("SIGHUP: the workers are restarted");
                        let master_client = shared.master_client.clone();
                        tokio::spawn(async move { master_client.restart_workers().await });
                    }
                },
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
                () = self.ends.next() => return End::Signal,
            }
        }
    }

    /// Resolves at the next SIGTERM or SIGINT that does not repeat the last.
    pub(super) async fn terminated(&mut self) {
        self.ends.next().await;
    }

    /// Lets another process take over. `None` when that failed and this one goes on. A SIGHUP that
    /// comes meanwhile waits: the workers of the new process are new, and a terminal sends it to
    /// that process too.
    async fn hand_over(&mut self, shared: &Arc<Shared>) -> Option<End> {
        let mut is_terminated = false;
        let outcome = {
            let mut upgrading = pin!(upgrade::drive(&**shared));
            loop {
                tokio::select! {
                    outcome = &mut upgrading => break outcome,
                    () = self.ends.next(), if !is_terminated => {
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

/// The signals that end the server whatever it does.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
    requests: EndRequests,
}

impl Ends {
    /// Resolves at the next one that does not repeat the last.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            if self.requests.counts(clock::now_ns()) {
                return;
            }
        }
    }
}

/// The SIGHUPs, and what they are judged by.
struct HangUps {
    /// `None` when they are ignored.
    caught: Option<UnixDatagram>,
    had_terminal: bool,
}

impl HangUps {
    fn listen(is_upgrade: bool) -> io::Result<Self> {
        let caught = hang_ups::catch()?.map(UnixDatagram::from_std).transpose()?;
        // A session ends with its leader, and takes the terminal from the rest of it. When the old
        // process is the leader, its end is part of the upgrade.
        let leader_ends = is_upgrade && getppid() == hang_ups::session_leader();
        Ok(Self {
            caught,
            had_terminal: !leader_ends && Terminal::now() == Terminal::Present,
        })
    }

    async fn next(&self) -> HangUp {
        let mut byte = [0];
        match &self.caught {
            Some(caught) if caught.recv(&mut byte).await.is_ok() => answer(
                Origin::from_byte(byte[0]),
                self.had_terminal,
                Terminal::now(),
            ),
            // An error means that the runtime ends, and this wait with it.
            Some(_) | None => pending().await,
        }
    }
}
