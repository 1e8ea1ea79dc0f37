//! The end of the server: a drain, the hand-over to another process, or a failure.
//!
//! Two steps are kept apart. *Draining* ([`crate::control::runs::RunManager::draining`]): no run is
//! started, those that live may end. *Closing*: no connection and no call is accepted any more. A
//! second signal aborts both.

use std::{
    io,
    process::ExitCode,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use metronome_os::standard_error;
use metronome_proto::v1::{self, Failure, FailureCode, StopCause};
use metronome_telemetry::sanitise::Escaped;
use sd_notify::NotifyState;
use tokio::{
    sync::oneshot,
    task::JoinHandle as Task,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::signals::{End, Signals};
use crate::{
    control::{api::Health, shared::Shared},
    model::run::{CLOSE_NS_MAX, STOP_NS},
};

/// A stopped run ends within this, and a second for its report.
const STOPPED_RUNS_MAX: Duration = Duration::from_nanos(STOP_NS + CLOSE_NS_MAX + 1_000_000_000);
/// To store what could not be stored yet, when the runs have taken all of the drain timeout.
const LAST_TRIES_MAX: Duration = Duration::from_secs(2);
/// For calls that are being answered.
const CALLS_MAX: Duration = Duration::from_secs(2);
/// For calls that are being answered when another process serves already.
const LEAVE_MAX: Duration = Duration::from_millis(200);
/// For the master to end its workers.
const MASTER_MAX: Duration = Duration::from_secs(5);
/// After a drain that could not store every result.
const EXIT_UNSTORED: u8 = 3;
/// 128 + SIGINT, a shell's code for it.
const EXIT_ABORTED: u8 = 130;

/// Resolves when the thread has ended, for whatever reason.
///
/// # Errors
/// There is no thread that could wait for it.
pub(super) fn watch_thread(thread: JoinHandle<()>) -> io::Result<oneshot::Receiver<()>> {
    let (ended, watcher) = oneshot::channel();
    thread::Builder::new()
        .name("master-end".into())
        .spawn(move || {
            let _ = thread.join();
            let _ = ended.send(());
        })?;
    Ok(watcher)
}

/// The server, from the ready line to its end.
pub(super) struct Server {
    pub(super) shared: Arc<Shared>,
    pub(super) health: Health,
    /// Cancelled: no new connections and calls.
    pub(super) closing: CancellationToken,
    pub(super) serving: Task<()>,
    /// Ends when the last metrics have gone out, or have had their time.
    pub(super) last_push: Option<Task<()>>,
    pub(super) drain_timeout: Duration,
    /// benchctl shows its user what begins with the name of the server, and no log.
    pub(super) is_embedded: bool,
}

impl Server {
    /// Serves until a signal, then drains.
    pub(super) async fn run_until(
        mut self,
        mut signals: Signals,
        mut master_gone: oneshot::Receiver<()>,
    ) -> ExitCode {
        // On the ways out that are failures, too, no connection and no call is accepted any more.
        let _closing = self.closing.clone().drop_guard();
        let end = tokio::select! {
            end = signals.end(&self.shared) => end,
            _ = &mut master_gone => {
                return self.failed("the master's thread has died; runs in progress are lost");
            }
            end = &mut self.serving => {
                return self.failed(&format!("the gRPC port is no longer served: {end:?}"));
            }
        };
        if let End::Replaced(pid) = end {
            return self.leave(pid, master_gone).await;
        }
        // Returned from, not exited at: the last log lines are still to be written.
        let second_signal = signals.terminated();
        tokio::pin!(second_signal);
        tokio::select! {
            () = self.drain() => {}
            _ = &mut master_gone => {
                return self.failed("the master's thread died during the drain");
            }
            _ = &mut second_signal => return self.aborted(),
        }
        self.shared.master_client.shut_down();
        tokio::select! {
            ended = time::timeout(MASTER_MAX, master_gone) => if ended.is_err() {
                return self.failed("the master did not end its workers in time");
            },
            _ = &mut second_signal => return self.aborted(),
        }
        tracing::info!("shut down");
        if self.reports_lost_results() {
            ExitCode::from(EXIT_UNSTORED)
        } else {
            ExitCode::SUCCESS
        }
    }

    /// Everything goes on in another process: agents and callers are sent there.
    async fn leave(mut self, pid: u32, master_gone: oneshot::Receiver<()>) -> ExitCode {
        // systemd ends a service with its main process, so it has to learn first which one that is
        // now.
        let _ = sd_notify::notify(&[NotifyState::MainPid(pid)]);
        self.shared.upgrade.forbid();
        let sentence = "the server was upgraded; dial it again";
        self.shared
            .registry
            .dismiss(&Failure::new(FailureCode::Upgrading, sentence));
        self.closing.cancel();
        self.shared.master_client.shut_down();
        // Watchers have streams that end only with this process.
        let _ = time::timeout(LEAVE_MAX, &mut self.serving).await;
        let _ = time::timeout(MASTER_MAX, master_gone).await;
        tracing::info!("process {pid} serves in this one's place");
        ExitCode::SUCCESS
    }

    /// No new runs; those that live may end within the drain timeout; then they are stopped. What
    /// could not be stored is tried again for the rest of that time.
    async fn drain(&mut self) {
        let runs = &self.shared.runs;
        runs.draining.cancel();
        self.shared.upgrade.forbid();
        self.health.set(false).await;
        tracing::info!(
            runs = runs.active.count(),
            "shutting down; runs have {:?} to end",
            self.drain_timeout
        );
        // A start that is under way may still become a run.
        drop(runs.block_starts().await);
        let deadline = Instant::now() + self.drain_timeout;
        if time::timeout_at(deadline, runs.active.all_ended())
            .await
            .is_err()
        {
            for (id, run) in runs.active.all() {
                tracing::warn!(run_id = %id, "run is stopped: the drain timeout is over");
                run.stop(StopCause::Shutdown);
            }
            if time::timeout(STOPPED_RUNS_MAX, runs.active.all_ended())
                .await
                .is_err()
            {
                tracing::error!("runs did not end in time; they will be listed as aborted");
            }
        }
        let deadline = deadline.max(Instant::now() + LAST_TRIES_MAX);
        let mut unstored = runs.history.unstored();
        let all_stored = unstored.wait_for(|count| *count == 0);
        let _ = time::timeout_at(deadline, all_stored).await;
        self.shared.registry.dismiss(&Failure::new(
            FailureCode::Draining,
            "the server is shutting down",
        ));
        self.shared.runs.feed.close();
        self.closing.cancel();
        let _ = time::timeout(CALLS_MAX, &mut self.serving).await;
        if let Some(last_push) = self.last_push.take() {
            let _ = time::timeout(CALLS_MAX, last_push).await;
        }
    }

    fn failed(&self, sentence: &str) -> ExitCode {
        tracing::error!("{sentence}");
        self.reports_lost_results();
        ExitCode::FAILURE
    }

    fn aborted(&self) -> ExitCode {
        tracing::warn!("aborted by a second signal");
        self.reports_lost_results();
        ExitCode::from(EXIT_ABORTED)
    }

    /// Reports the results that end with this process, as they are nowhere else. False when there
    /// are none.
    fn reports_lost_results(&self) -> bool {
        let history = &self.shared.runs.history;
        let lost = history.all_unstored();
        if lost.is_empty() {
            return false;
        }
        let lost = lost
            .iter()
            .map(|(id, end)| format!("{id} ({})", word(&end.run)));
        let lost: Vec<_> = lost.collect();
        let sentence = format!(
            "results are lost, since the database {} could not be written: runs {}: {}",
            history.database(),
            lost.join(", "),
            history.why_unstored()
        );
        tracing::error!(results = lost.len(), "{sentence}");
        if self.is_embedded {
            standard_error::write_line(&format!("metronome-server: {}", Escaped(&sentence)));
        }
        true
    }
}

/// The verdict of a run.
fn word(run: &v1::Run) -> &'static str {
    let report = run.report.as_ref();
    let verdict = report.and_then(|report| report.verdict.as_ref());
    let word = verdict.and_then(|verdict| verdict.status().word());
    word.unwrap_or("without a verdict")
}
