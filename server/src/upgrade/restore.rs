//! The new process's side of an upgrade: everything of the old server is received and checked, and
//! only then is the old one asked to commit the upgrade.

use std::{os::fd::OwnedFd, sync::Arc};

use anyhow::Context as _;
use tokio::task;

use super::{
    error::Unreadable,
    old_process::OldProcess,
    state::{ControlState, MasterState, RestoredRun, SavedRun, State},
};
use crate::ledger::Dimensions;

/// What an upgrade needs of the master of the new process. The control plane implements it.
pub(crate) trait NewMaster {
    /// Waits until every worker is up. `None`: they did not come up.
    async fn workers_are_up(&self) -> Option<()>;

    /// Takes the master's part and touches nothing. An error is one sentence.
    async fn restore(
        &self,
        state: MasterState<'static>,
        connections: Vec<OwnedFd>,
    ) -> Result<(), String>;
}

/// All that the old server had, ready to go on.
pub(crate) struct Restored {
    old_process: OldProcess,
    pub(crate) control: ControlState,
    runs: Vec<RestoredRun>,
}

/// Reports that this process is healthy, and takes the state that then comes. Nothing is touched
/// yet: when this fails the old server gets the reason and goes on.
pub(crate) async fn restore(
    old_process: OldProcess,
    master: &impl NewMaster,
    dimensions: Dimensions,
) -> anyhow::Result<Restored> {
    let old_process = Arc::new(old_process);
    let restored = receive(&old_process, master, dimensions).await;
    if let Err(error) = &restored {
        old_process.refuse(error);
    }
    let (control, runs) = restored?;
    Ok(Restored {
        old_process: Arc::into_inner(old_process)
            .context("the socket to the old server is still in use")?,
        control,
        runs,
    })
}

async fn receive(
    old_process: &Arc<OldProcess>,
    master: &impl NewMaster,
    dimensions: Dimensions,
) -> anyhow::Result<(ControlState, Vec<RestoredRun>)> {
    master
        .workers_are_up()
        .await
        .context("the workers did not come up")?;
    let from = Arc::clone(old_process);
    let receiving = task::spawn_blocking(move || {
        from.report_healthy()?;
        from.receive_state(dimensions)
    });
    let received = receiving
        .await
        .context("the old server's state could not be received")??;
    let state = State::decode(&received.bytes).map_err(Unreadable)?;
    let runs = state.runs.into_iter().map(SavedRun::restore);
    let runs = runs.collect::<Result<_, _>>().map_err(Unreadable)?;
    master
        .restore(state.master, received.connections)
        .await
        .map_err(anyhow::Error::msg)?;
    Ok((state.control, runs))
}

impl Restored {
    /// Has the old process commit the upgrade, and returns the runs, which are this process's from
    /// here on.
    ///
    /// The point of no return: whatever may fail is done before this is called, and nothing after
    /// it may.
    pub(crate) async fn take_over(self) -> anyhow::Result<Vec<RestoredRun>> {
        let old_process = self.old_process;
        task::spawn_blocking(move || old_process.take_over())
            .await
            .context("the old server could not be asked")??;
        Ok(self.runs)
    }
}
