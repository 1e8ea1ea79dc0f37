//! The control plane's part in an upgrade: what it holds, saves and gives up as the old process,
//! and what it takes up as the new one. The order of the steps is `crate::upgrade`'s.

use std::sync::Arc;

use metronome_os::seq_packet::SeqPacket;
use metronome_proto::{run_id::RunId, v1::RunState};
use tokio::time::{self, Instant};

use crate::{
    control::{
        runs::{ActiveRun, RunView, UnstoredRun, resume_runs},
        shared::Shared,
    },
    upgrade::{
        ControlState, EncodedMaster, HeldRun, OldServer, Restored, StuckRun, UnstoredReport,
        Upgrade,
    },
};

impl OldServer for Shared {
    fn upgrade(&self) -> &Upgrade {
        &self.upgrade
    }

    async fn block_starts(&self) -> impl Sized {
        self.runs.block_starts().await
    }

    async fn runs_are_movable(&self, deadline: Instant) -> Result<(), StuckRun> {
        for (id, mut run) in self.runs.active.all() {
            if time::timeout_at(deadline, run.view.wait_for(is_movable))
                .await
                .is_err()
            {
                return Err(stuck(id, &run));
            }
        }
        Ok(())
    }

    async fn when_not_restarting(&self) {
        self.master_client.when_not_restarting().await;
    }

    async fn hold_runs(&self) -> Result<Vec<HeldRun>, StuckRun> {
        let mut held = Vec::new();
        for (id, run) in self.runs.active.all() {
            let has_ended = is_over(&run.view.borrow());
            if has_ended {
                continue;
            }
            match run.freeze().await {
                Some(run) => held.push(run),
                // Those that are held go on when they are dropped.
                None => return Err(stuck(id, &run)),
            }
        }
        Ok(held)
    }

    async fn hand_over_connections(
        &self,
        socket: Arc<SeqPacket>,
        deadline_ns: u64,
    ) -> Result<EncodedMaster, String> {
        self.master_client.hand_over(socket, deadline_ns).await
    }

    async fn take_back_connections(&self) {
        self.master_client.take_back().await;
    }

    fn save(&self) -> ControlState {
        let unstored = self.runs.history.all_unstored().into_iter();
        ControlState {
            started_unix_ms: self.server.started_unix_ms,
            started_ns: self.server.started_ns,
            counters: self.counters.save(),
            newest_event: self.runs.feed.newest(),
            places: self.registry.places(),
            unstored: unstored
                .map(|(id, end)| {
                    UnstoredReport::new(id, end.run.clone(), end.pages.clone(), end.series.clone())
                })
                .collect(),
        }
    }

    fn has_been_replaced(&self) {
        self.runs.feed.close();
        self.runs.history.set_last(false);
    }
}

/// Goes on in the place of the old process.
pub(super) async fn take_over(shared: &Arc<Shared>, mut restored: Restored) -> anyhow::Result<()> {
    let control = std::mem::take(&mut restored.control);
    shared.counters.restore(control.counters);
    shared.runs.feed.go_on_above(control.newest_event);
    for place in control.places {
        shared.registry.expect_agent(place);
    }
    for report in control.unstored {
        let id = report.id;
        let (run, pages, series) = report.into_parts();
        shared
            .runs
            .history
            .keep_unstored(id, UnstoredRun { run, pages, series });
    }
    let runs = restored.take_over().await?;
    // This process is the only server from here on. The workers first: packets wait in the sockets.
    shared.master_client.begin();
    shared.runs.history.set_last(true);
    resume_runs(&shared.runs, runs);
    Ok(())
}

fn is_over(view: &RunView) -> bool {
    view.snapshot.is_none()
}

/// It can be handed over, or has ended.
fn is_movable(view: &RunView) -> bool {
    is_over(view) || view.run.state() == RunState::Running
}

fn stuck(id: RunId, run: &ActiveRun) -> StuckRun {
    let state = run.run().state();
    StuckRun { id, state }
}
