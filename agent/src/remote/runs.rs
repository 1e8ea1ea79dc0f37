//! The runs of this agent. They belong to it, not to one stream: a server that is upgraded, or a
//! network that blinks, finds them as they were.
//!
//! What a run has said and must not be lost is kept here and said again on every new stream, until
//! two Renews in a row do not list the run: then the server has made its report or knows nothing of
//! it.

use std::{
    collections::{HashMap, VecDeque},
    io,
    time::Duration,
};

use metronome_proto::v1::{self, agent_message::Message as Report};
use tokio::{sync::mpsc, time::timeout};

use super::run::{self, Orders, RunHandle, Said, UNLISTED_MAX};
use crate::stop_signal::StopMode;

/// All of them, those that are over included while their last words may still be wanted.
pub(super) struct Runs {
    going_on: HashMap<String, RunHandle>,
    kept: HashMap<String, Kept>,
    say: mpsc::UnboundedSender<Said>,
    said: mpsc::UnboundedReceiver<Said>,
}

/// What one run has said.
#[derive(Default)]
struct Kept {
    reports: Vec<Report>,
    /// Renews in a row that did not list it.
    unlisted: u32,
}

impl Runs {
    pub(super) fn new() -> Self {
        let (say, said) = mpsc::unbounded_channel();
        Self {
            going_on: HashMap::new(),
            kept: HashMap::new(),
            say,
            said,
        }
    }

    /// Where a run reports to.
    pub(super) fn mouth(&self) -> mpsc::UnboundedSender<Said> {
        self.say.clone()
    }

    /// Starts a run. An earlier one of the same id is forgotten.
    pub(super) fn launch(&mut self, orders: Orders, lease_until_ns: u64) -> io::Result<()> {
        let run_id = orders.run_id.clone();
        let handle = run::launch(orders, lease_until_ns)?;
        self.kept.remove(&run_id);
        self.going_on.insert(run_id, handle);
        Ok(())
    }

    /// Ids of the runs that go on or have something to say, as a Register tells them.
    pub(super) fn ids(&self) -> Vec<String> {
        let over = self
            .kept
            .keys()
            .filter(|run_id| !self.going_on.contains_key(*run_id));
        self.going_on.keys().chain(over).cloned().collect()
    }

    /// Nothing runs.
    pub(super) fn are_over(&self) -> bool {
        self.going_on.is_empty()
    }

    pub(super) fn get(&self, run_id: &str) -> Option<&RunHandle> {
        self.going_on.get(run_id)
    }

    pub(super) fn get_mut(&mut self, run_id: &str) -> Option<&mut RunHandle> {
        self.going_on.get_mut(run_id)
    }

    /// Clients of the runs that go on.
    pub(super) fn clients(&self) -> u32 {
        self.going_on.values().map(|run| run.clients).sum()
    }

    /// The next word of any run. Can be dropped and called again without losing one.
    pub(super) async fn hear(&mut self) -> Report {
        // It cannot close while `self` lives.
        match self.said.recv().await {
            Some(said) => self.keep(said),
            None => std::future::pending().await,
        }
    }

    /// Keeps a word and returns it to be said. The run's clients are free before its last word is
    /// out, since the server may order the next run as soon as it has that.
    pub(super) fn keep(&mut self, said: Said) -> Report {
        if said.is_last {
            self.going_on.remove(&said.run_id);
        }
        self.kept
            .entry(said.run_id)
            .or_default()
            .reports
            .push(said.report.clone());
        said.report
    }

    /// All that was said and may still be wanted, for a new stream.
    pub(super) fn kept(&self) -> VecDeque<Report> {
        self.kept
            .values()
            .flat_map(|kept| kept.reports.iter().cloned())
            .collect()
    }

    /// Takes a Renew: leases of the runs that it lists last longer, others end or are forgotten.
    pub(super) fn renew(&mut self, lease_until_ns: u64, listed: &[String]) {
        for (run_id, run) in &mut self.going_on {
            run.renew(lease_until_ns, listed.contains(run_id));
        }
        let going_on = &self.going_on;
        self.kept.retain(|run_id, kept| {
            kept.unlisted = if listed.contains(run_id) {
                0
            } else {
                kept.unlisted + 1
            };
            kept.unlisted < UNLISTED_MAX || going_on.contains_key(run_id)
        });
    }

    /// How far the runs are that have started.
    pub(super) fn progress(&self) -> impl Iterator<Item = v1::Progress> {
        self.going_on
            .iter()
            .filter(|(_, run)| run.is_started())
            .map(|(run_id, run)| run.progress(run_id))
    }

    /// Ends all load, since this process is about to.
    pub(super) fn abort(&self) {
        self.going_on
            .values()
            .for_each(|run| run.stop_signal.request(StopMode::Abort));
    }

    /// Ends all load and waits until it has ended, at most for `patience`.
    pub(super) async fn end(&mut self, patience: Duration) {
        self.abort();
        let end = async {
            while !self.are_over() {
                self.hear().await;
            }
        };
        let _ = timeout(patience, end).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(run_id: &str, is_last: bool) -> Said {
        let report = Report::Failed(v1::Failed {
            run_id: run_id.into(),
            error: String::new(),
        });
        Said {
            run_id: run_id.into(),
            report,
            is_last,
        }
    }

    #[test]
    fn what_was_said_is_kept_until_two_renewals_in_a_row_do_not_list_its_run() {
        let mut runs = Runs::new();
        runs.keep(said("a", false));
        runs.keep(said("a", true));
        runs.keep(said("b", true));
        assert_eq!((runs.kept().len(), runs.ids().len()), (3, 2));
        for (listed, left) in [
            (&["a"][..], 3),
            (&[][..], 2),
            (&["a"], 2),
            (&[], 2),
            (&[], 0),
        ] {
            let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
            runs.renew(0, &listed);
            assert_eq!(runs.kept().len(), left, "{listed:?}");
        }
        assert!(runs.ids().is_empty());
    }
}
