//! The old process's side of an upgrade, from the request to the moment at which the new process
//! serves; or back to where nothing had been asked.

use std::{sync::Arc, time::Duration};

use metronome_os::{clock, seq_packet::SeqPacket};
use tokio::{
    sync::oneshot,
    task,
    time::{self, Instant},
};

use super::{
    error::{StuckRun, UpgradeError},
    new_process::NewProcess,
    stage::{Outcome, Stage, Upgrade},
    state::{self, ControlState, EncodedMaster, SavedRun},
};

/// For the hand-over itself, in which no client is read: far more than it takes, and less than it
/// takes to break a connection.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);

/// A master whose workers are not being restarted reports that at once, on a busy machine a little
/// later; what takes longer is a restart.
const NOT_RESTARTING_REPORTED_MAX: Duration = Duration::from_secs(1);

/// What an upgrade needs of the server that is to be replaced. The control plane implements it, so
/// that this folder depends neither on it nor on the master's thread.
pub(crate) trait OldServer {
    /// The upgrade that this server is in.
    fn upgrade(&self) -> &Upgrade;

    /// No run is started while the value that this returns lives. A start that is under way has
    /// become a run by then, or has failed.
    async fn block_starts(&self) -> impl Sized;

    /// Waits until each run is RUNNING or over, one after the other. At the deadline: which one is
    /// not.
    async fn runs_are_movable(&self, deadline: Instant) -> Result<(), StuckRun>;

    /// Waits until no worker is being restarted.
    async fn when_not_restarting(&self);

    /// Holds every run that has not ended. When one is not RUNNING none is held.
    async fn hold_runs(&self) -> Result<Vec<HeldRun>, StuckRun>;

    /// Lets the workers quit, recovers what they had taken, and sends the connections through the
    /// socket. The rest of the master is what this returns. Until `deadline_ns`.
    async fn hand_over_connections(
        &self,
        socket: Arc<SeqPacket>,
        deadline_ns: u64,
    ) -> Result<EncodedMaster, String>;

    /// Undoes [`Self::hand_over_connections`], however far it has come.
    async fn take_back_connections(&self);

    /// The control plane's part of the state.
    fn save(&self) -> ControlState;

    /// Another process serves: what is shared with it, such as the name in the history, does not
    /// end with this process any more.
    fn has_been_replaced(&self);
}

/// A run that stands still. It goes on here when this value is dropped.
#[derive(Debug)]
pub(crate) struct HeldRun {
    pub(crate) saved: SavedRun,
    /// Used: the new process has the run, so this one leaves it.
    pub(crate) release: oneshot::Sender<()>,
}

/// Starts a new process and lets it take over. On an error everything goes on here.
pub(crate) async fn drive(server: &impl OldServer) -> Outcome {
    let upgrade = server.upgrade();
    let (executable, offered) = upgrade.means()?;
    tracing::info!("upgrade: starting {}", executable.display());
    upgrade.enter(Stage::Starting);
    let deadline = upgrade.deadline(upgrade.wait());
    let starting = blocking(move || {
        let (offer, inherited) = &*offered;
        NewProcess::start(&executable, offer, inherited, &deadline)
    });
    let outcome = match starting.await {
        Ok(new_process) => hand_over(server, new_process).await,
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        server.take_back_connections().await;
        upgrade.enter(Stage::None);
    }
    outcome
}

/// The order of the steps is what makes an error at any of them harmless:
///
/// 1. No run starts any more, then each run is held. A held run does nothing until it is released
///    or dropped, so what is saved of it stays true.
/// 2. The workers quit and the master recovers what they had taken. From here on no process reads a
///    client, so the ledger and the kernel agree; the packets wait in the sockets.
/// 3. The state is saved, after both, and sent. The new process builds everything from it and
///    touches nothing.
/// 4. Go: the point of no return. Everything up to it is undone by dropping `held` and
///    `new_process`, which ends the process, and by taking back the connections, of which this
///    process has kept every socket. Nothing after it may fail.
/// 5. This process gives up its name in the history and the runs, and ends.
async fn hand_over(server: &impl OldServer, mut new_process: NewProcess) -> Outcome {
    let upgrade = server.upgrade();
    upgrade.enter(Stage::Gathering);
    let _no_run_starts = server.block_starts().await;
    let held = hold_runs(server).await?;
    let since_ns = clock::now_ns();
    let deadline = upgrade.deadline(HAND_OVER_MAX);
    let handed_over = server
        .hand_over_connections(new_process.socket(), deadline.at_ns)
        .await;
    let master = match handed_over {
        Ok(master) => master,
        Err(sentence) => {
            return blocking(move || {
                let sentence = new_process.end(&deadline).unwrap_or(sentence);
                Err(sentence.into())
            })
            .await;
        }
    };
    let connections = master.connections;
    let control = server.save();
    // Dropped on an error, the second part lets the runs go on here.
    let (saved, held): (Vec<_>, Vec<_>) =
        held.into_iter().map(|run| (run.saved, run.release)).unzip();
    let pid = blocking(move || {
        let pid = new_process.pid();
        let state = state::encode(master, &control, &saved)?;
        new_process.send_state(&state, connections, &deadline)?;
        new_process.commit(&deadline)?;
        Ok(pid)
    })
    .await?;
    server.has_been_replaced();
    let runs = held.len();
    for release in held {
        let _ = release.send(());
    }
    let pause_us = clock::now_ns().saturating_sub(since_ns) / 1_000;
    tracing::info!(
        pid,
        runs,
        connections,
        pause_us,
        "upgrade: another process has taken over"
    );
    Ok(pid)
}

/// Holds every run that has not ended, once all are RUNNING at the same time.
async fn hold_runs(server: &impl OldServer) -> Result<Vec<HeldRun>, UpgradeError> {
    let upgrade = server.upgrade();
    let wait = upgrade.wait();
    let deadline = Instant::now() + wait;
    loop {
        server
            .runs_are_movable(deadline)
            .await
            .map_err(|run| UpgradeError::NotMovable { run, waited: wait })?;
        // While runs are held their clients are not read, so that what can be waited for is waited
        // for before.
        if time::timeout_at(deadline, server.when_not_restarting())
            .await
            .is_err()
        {
            return Err(still_restarting(wait).into());
        }
        // From here on a stop is refused, and one that a run has not looked at yet keeps it from
        // being held.
        upgrade.enter(Stage::HandingOver);
        // So is a restart of the workers; one that came between the last answer and this line is
        // waited for, and stops are taken meanwhile.
        if time::timeout(NOT_RESTARTING_REPORTED_MAX, server.when_not_restarting())
            .await
            .is_err()
        {
            upgrade.enter(Stage::Gathering);
            continue;
        }
        match server.hold_runs().await {
            Ok(held) => return Ok(held),
            Err(run) if Instant::now() >= deadline => {
                return Err(UpgradeError::NotMovable { run, waited: wait });
            }
            // It has gone on to DRAINING between the look and the request; the others go on too.
            Err(_) => upgrade.enter(Stage::Gathering),
        }
    }
}

fn still_restarting(wait: Duration) -> String {
    format!(
        "workers were still being restarted after {wait:?}, or the data plane did not answer; \
         ask again later"
    )
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UpgradeError> + Send + 'static,
) -> Result<T, UpgradeError> {
    task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(UpgradeError::Failed(
            "the upgrade itself failed; this is a bug".into(),
        ))
    })
}
