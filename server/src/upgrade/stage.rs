//! How far an upgrade of this server is: who has asked for one, what is refused meanwhile, and what
//! a new process would be offered.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use metronome_os::clock;
use tokio::sync::{Notify, oneshot};

use super::{
    container::check_own_end,
    error::UpgradeError,
    executable::Origin,
    new_process::Deadline,
    offer::{InheritedFds, Offer},
};

/// Pid of the new server, or why this one goes on.
pub(crate) type Outcome = Result<u32, UpgradeError>;

/// What is refused during an upgrade, in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("the server is being upgraded and {0}; ask again in a moment")]
pub(crate) struct Upgrading(&'static str);

/// The stages, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Stage {
    None = 0,
    /// The new process comes up; nothing has changed.
    Starting = 1,
    /// Runs come to where they can be handed over; none is started.
    Gathering = 2,
    /// Nothing moves.
    HandingOver = 3,
}

/// The upgrade of this server: one at a time.
#[derive(Debug, Default)]
pub(crate) struct Upgrade {
    stage: AtomicU8,
    waiting: Mutex<Vec<oneshot::Sender<Outcome>>>,
    asked: Notify,
    /// `None`: an embedded server, one whose history is not kept, or one that is shutting down …
    offered: Mutex<Option<Arc<(Offer, InheritedFds)>>>,
    /// … which this one is.
    is_forbidden: AtomicBool,
    /// Where the new process is started from.
    origin: Origin,
    /// This server is to end: an upgrade that is under way is given up.
    is_given_up: Arc<AtomicBool>,
    /// For the new process to come up healthy, and once more for the runs to be where they can be
    /// handed over.
    wait: Duration,
}

impl Upgrade {
    /// The stage of a server that can be upgraded when there is something to offer.
    pub(crate) fn new(offered: Option<(Offer, InheritedFds)>, wait: Duration) -> Self {
        Self {
            offered: Mutex::new(offered.map(Arc::new)),
            wait,
            origin: Origin::of_this_process(),
            ..Self::default()
        }
    }

    /// Asks for an upgrade and waits for its outcome.
    pub(crate) async fn ask(&self) -> Outcome {
        // A server that is shutting down does not look at what it is asked any more.
        self.means()?;
        let (reply, outcome) = oneshot::channel();
        lock(&self.waiting).push(reply);
        self.asked.notify_one();
        outcome.await.unwrap_or(Err(UpgradeError::ShuttingDown))
    }

    /// Resolves when an upgrade is asked for. A request that got the outcome of another one
    /// meanwhile starts none.
    pub(crate) async fn asked(&self) {
        loop {
            self.asked.notified().await;
            if !lock(&self.waiting).is_empty() {
                return;
            }
        }
    }

    /// Sends the outcome to all that have asked.
    pub(crate) fn answer(&self, outcome: &Outcome) {
        for reply in lock(&self.waiting).drain(..) {
            let _ = reply.send(outcome.clone());
        }
    }

    /// Gives up the upgrade that is under way, as soon as it can be.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Relaxed);
    }

    /// No upgrade from here on: the ports are to close with their listeners.
    pub(crate) fn forbid(&self) {
        self.is_forbidden.store(true, Relaxed);
        *lock(&self.offered) = None;
    }

    /// No run is started while others are gathered to be handed over.
    pub(crate) fn refuse_start(&self) -> Result<(), Upgrading> {
        self.refuse_from(Stage::Gathering, "starts no run before that is done")
    }

    /// Nothing is changed while everything is handed over.
    pub(crate) fn refuse_change(&self) -> Result<(), Upgrading> {
        self.refuse_from(Stage::HandingOver, "changes nothing before that is done")
    }

    fn refuse_from(&self, stage: Stage, what: &'static str) -> Result<(), Upgrading> {
        if self.stage.load(Relaxed) < stage as u8 {
            Ok(())
        } else {
            Err(Upgrading(what))
        }
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// What to start and what to offer it.
    pub(super) fn means(&self) -> Result<(PathBuf, Arc<(Offer, InheritedFds)>), UpgradeError> {
        if self.is_forbidden.load(Relaxed) {
            return Err(UpgradeError::ShuttingDown);
        }
        check_own_end().map_err(UpgradeError::NotPossible)?;
        let offered = lock(&self.offered).clone();
        let embedded = || {
            UpgradeError::NotPossible(
                "a server of one run, or without a history that is kept, cannot be upgraded".into(),
            )
        };
        let offered = offered.ok_or_else(embedded)?;
        Ok((self.origin.new_version()?, offered))
    }

    /// The deadline of a step that begins now.
    pub(super) fn deadline(&self, wait: Duration) -> Deadline {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Deadline {
            at_ns: clock::now_ns().saturating_add(wait_ns),
            shown: format!("{wait:?}"),
            is_given_up: Arc::clone(&self.is_given_up),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code between lock and unlock can leave it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_refuses_what_the_one_before_refused() {
        let upgrade = Upgrade::default();
        let refused = |stage| {
            upgrade.enter(stage);
            (
                upgrade.refuse_start().is_err(),
                upgrade.refuse_change().is_err(),
            )
        };
        assert_eq!(refused(Stage::Starting), (false, false));
        assert_eq!(refused(Stage::Gathering), (true, false));
        assert_eq!(refused(Stage::HandingOver), (true, true));
        assert_eq!(refused(Stage::None), (false, false));
    }

    #[test]
    fn a_server_with_nothing_to_offer_cannot_be_upgraded() {
        let upgrade = Upgrade::default();
        let error = upgrade.means().unwrap_err();
        assert!(matches!(error, UpgradeError::NotPossible(_)), "{error:?}");
        upgrade.forbid();
        assert_eq!(upgrade.means().unwrap_err(), UpgradeError::ShuttingDown);
    }
}
