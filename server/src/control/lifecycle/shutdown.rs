//! Signals: SIGTERM and SIGINT end the server with a drain, SIGHUP restarts its workers, SIGUSR2
//! lets another process take over. And what happens when the master dies.

use std::{
    pin::pin,
    process::{self, ExitCode},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, kill_process};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{oneshot, watch},
    task::JoinHandle as Task,
    time,
};

use crate::{
    control::{api::health::Health, lifecycle::shared::Shared},
    model::run::{CLOSE_NS, STOP_NS},
    upgrade,
    verdict::StopCause,
};

/// A stopped run ends within this, and a second for its report.
const STOPPED_RUNS_MAX: Duration = Duration::from_nanos(STOP_NS + CLOSE_NS + 1_000_000_000);
/// For calls that are being answered.
const CALLS_MAX: Duration = Duration::from_secs(2);
/// For calls that are being answered when another process serves already.
const LEAVE_MAX: Duration = Duration::from_millis(200);
/// For the master to end its workers.
const MASTER_MAX: Duration = Duration::from_secs(5);
/// 128 + SIGINT, as shells tell it.
const EXIT_ABORTED: i32 = 130;

/// The signals that the server knows.
pub(crate) struct Signals {
    hang_up: Signal,
    upgrade: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// Why the server ends.
enum End {
    Told,
    /// Another process has taken over: its pid.
    Replaced(u32),
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self {
            hang_up: listen(SignalKind::hangup())?,
            upgrade: listen(SignalKind::user_defined2())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Resolves when the server is to end; all else that is asked is done meanwhile.
    async fn end(&mut self, shared: &Arc<Shared>) -> End {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: the workers are restarted");
                    let master_client = shared.master_client.clone();
                    tokio::spawn(async move { master_client.restart_workers().await });
                }
                _ = self.upgrade.recv() => if let Some(end) = self.hand_over(shared).await { return end },
                () = shared.upgrade.asked() => if let Some(end) = self.hand_over(shared).await { return end },
                () = Self::first(&mut self.terminate, &mut self.interrupt) => return End::Told,
            }
        }
    }

    /// Lets another process take over. `None` when that failed and this one goes on. A SIGHUP that
    /// comes meanwhile waits: the workers of whoever takes over are new.
    async fn hand_over(&mut self, shared: &Arc<Shared>) -> Option<End> {
        let mut is_told = false;
        let outcome = {
            let mut upgrading = pin!(upgrade::drive(&**shared));
            loop {
                tokio::select! {
                    outcome = &mut upgrading => break outcome,
                    () = Self::first(&mut self.terminate, &mut self.interrupt), if !is_told => {
                        is_told = true;
                        shared.upgrade.give_up();
                    }
                }
            }
        };
        shared.upgrade.answer(&outcome);
        match outcome {
            Ok(pid) => {
                if is_told {
                    // It was meant for whoever serves.
                    let new_process = i32::try_from(pid).ok().and_then(Pid::from_raw);
                    let _ = new_process.map(|pid| kill_process(pid, rustix::process::Signal::TERM));
                }
                Some(End::Replaced(pid))
            }
            Err(sentence) => {
                tracing::error!("upgrade failed, this server goes on: {sentence}");
                is_told.then_some(End::Told)
            }
        }
    }

    async fn first(terminate: &mut Signal, interrupt: &mut Signal) {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Resolves when the thread has ended, however it did.
pub(crate) fn watch_thread(thread: JoinHandle<()>) -> oneshot::Receiver<()> {
    let (ended, watcher) = oneshot::channel();
    thread::spawn(move || {
        let _ = thread.join();
        let _ = ended.send(());
    });
    watcher
}

/// The server, from the ready line to its end.
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) health: Health,
    /// Dropped: no new connections and calls.
    pub(crate) stop: watch::Sender<()>,
    pub(crate) serving: Task<Result<(), tonic::transport::Error>>,
    /// Resolves when the last metrics have gone out, or have had their time.
    pub(crate) last_push: Option<oneshot::Receiver<()>>,
    pub(crate) drain_timeout: Duration,
}

impl Server {
    /// Serves until a signal, then drains.
    pub(crate) async fn run_until(
        mut self,
        mut signals: Signals,
        mut master_gone: oneshot::Receiver<()>,
    ) -> ExitCode {
        let end = tokio::select! {
            end = signals.end(&self.shared) => end,
            _ = &mut master_gone => return failed("the master's thread has died; runs in progress are lost"),
            end = &mut self.serving => return failed(&format!("the gRPC port is no longer served: {end:?}")),
        };
        if let End::Replaced(pid) = end {
            return self.leave(pid, master_gone).await;
        }
        tokio::spawn(async move {
            Signals::first(&mut signals.terminate, &mut signals.interrupt).await;
            tracing::warn!("aborted by a second signal");
            process::exit(EXIT_ABORTED);
        });
        tokio::select! {
            () = self.drain() => {}
            _ = &mut master_gone => return failed("the master's thread died during the drain"),
        }
        self.shared.master_client.shut_down();
        if time::timeout(MASTER_MAX, master_gone).await.is_err() {
            return failed("the master did not end its workers in time");
        }
        tracing::info!("shut down");
        ExitCode::SUCCESS
    }

    /// Everything goes on in another process: agents and callers are sent there.
    async fn leave(mut self, pid: u32, master_gone: oneshot::Receiver<()>) -> ExitCode {
        // systemd ends a service with its main process, so it has to hear first which one that is
        // now.
        let _ = sd_notify::notify(&[NotifyState::MainPid(pid)]);
        self.shared.upgrade.forbid();
        self.shared
            .registry
            .dismiss("the server was upgraded; dial it again");
        self.close();
        self.shared.master_client.shut_down();
        // Watchers have streams that end only with this process.
        let _ = time::timeout(LEAVE_MAX, &mut self.serving).await;
        let _ = time::timeout(MASTER_MAX, master_gone).await;
        tracing::info!("process {pid} serves in this one's place");
        ExitCode::SUCCESS
    }

    /// No new connections and calls.
    fn close(&mut self) {
        self.stop.send_replace(());
        let (closed, _) = watch::channel(());
        drop(std::mem::replace(&mut self.stop, closed));
    }

    /// No new runs; those that run may end within the drain timeout; then they are stopped.
    async fn drain(&mut self) {
        self.shared.start_draining();
        self.shared.upgrade.forbid();
        self.health.set(false).await;
        tracing::info!(
            runs = self.shared.runs.count(),
            "shutting down; runs have {:?} to end",
            self.drain_timeout
        );
        // A start that is under way may still become a run.
        drop(self.shared.starting.lock().await);
        if time::timeout(self.drain_timeout, self.shared.runs.all_ended())
            .await
            .is_err()
        {
            for (id, run) in self.shared.runs.all() {
                tracing::warn!(run_id = %id, "run is stopped: the drain timeout is over");
                run.stop(StopCause::Shutdown);
            }
            if time::timeout(STOPPED_RUNS_MAX, self.shared.runs.all_ended())
                .await
                .is_err()
            {
                tracing::error!("runs did not end in time; they will be listed as aborted");
            }
        }
        self.shared.registry.dismiss("the server is shutting down");
        self.close();
        let _ = time::timeout(CALLS_MAX, &mut self.serving).await;
        if let Some(last_push) = self.last_push.take() {
            let _ = time::timeout(CALLS_MAX, last_push).await;
        }
    }
}

fn failed(sentence: &str) -> ExitCode {
    tracing::error!("{sentence}");
    ExitCode::FAILURE
}
