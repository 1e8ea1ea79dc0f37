//! The runs of this agent. They belong to it, not to one stream: a server that is upgraded, or a
//! network that fails for a moment, finds them as they were.
//!
//! The messages of a run that must not be lost are kept here and sent again on every new stream,
//! until two Renews in a row do not list the run: then the server has made its report, or has no
//! such run.

use std::{
    collections::{HashMap, VecDeque},
    io,
    time::Duration,
};

use metronome_proto::{
    limits::RUNS_PER_AGENT_MAX,
    v1::{self, agent_service_session_request::Message},
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    run::{Report, RunSpec},
    run_handle::{self, RunHandle, UNLISTED_MAX},
};
use crate::stop_signal::{Lease, StopMode};

/// All runs, the finished ones included while their last messages may still be wanted.
pub(super) struct Runs {
    running: HashMap<String, RunHandle>,
    retained: HashMap<String, Retained>,
    report_sender: mpsc::UnboundedSender<Report>,
    reports: mpsc::UnboundedReceiver<Report>,
}

/// The messages of one run.
#[derive(Default)]
struct Retained {
    messages: Vec<Message>,
    /// Renews in a row that did not list the run.
    unlisted: u32,
}

impl Runs {
    pub(super) fn new() -> Self {
        let (report_sender, reports) = mpsc::unbounded_channel();
        Self {
            running: HashMap::new(),
            retained: HashMap::new(),
            report_sender,
            reports,
        }
    }

    /// Where a run sends its reports.
    pub(super) fn report_sender(&self) -> mpsc::UnboundedSender<Report> {
        self.report_sender.clone()
    }

    /// Starts a run. The messages of an earlier run of the same id are dropped.
    pub(super) fn launch(&mut self, spec: RunSpec, lease: Lease) -> io::Result<()> {
        let run_id = spec.run_id.clone();
        let handle = run_handle::launch(spec, lease)?;
        self.retained.remove(&run_id);
        self.running.insert(run_id, handle);
        Ok(())
    }

    /// Ids of the runs that are running or have messages, for a Register: at most
    /// [`RUNS_PER_AGENT_MAX`], the running ones first.
    pub(super) fn ids(&self) -> Vec<String> {
        let finished = self
            .retained
            .keys()
            .filter(|run_id| !self.running.contains_key(*run_id));
        let all = self.running.keys().chain(finished);
        all.take(RUNS_PER_AGENT_MAX).cloned().collect()
    }

    /// Whether no run is running.
    pub(super) fn are_over(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn get(&self, run_id: &str) -> Option<&RunHandle> {
        self.running.get(run_id)
    }

    pub(super) fn get_mut(&mut self, run_id: &str) -> Option<&mut RunHandle> {
        self.running.get_mut(run_id)
    }

    /// Clients of the running runs.
    pub(super) fn clients(&self) -> u32 {
        self.running.values().map(|run| run.clients).sum()
    }

    /// The next report of any run, to be retained. Cancel safe: a report is lost in no case.
    pub(super) async fn next_report(&mut self) -> Report {
        // The channel cannot close while `self` lives.
        match self.reports.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }

    /// Retains the message of a report and returns it to be sent. The clients of a run are free
    /// before its last message is sent, since the server may order the next run as soon as it has
    /// that.
    pub(super) fn retain(&mut self, report: Report) -> Message {
        if report.is_last {
            self.running.remove(&report.run_id);
        }
        self.retained
            .entry(report.run_id)
            .or_default()
            .messages
            .push(report.message.clone());
        report.message
    }

    /// All messages that may still be wanted, for a new stream.
    pub(super) fn retained(&self) -> VecDeque<Message> {
        self.retained
            .values()
            .flat_map(|retained| retained.messages.iter().cloned())
            .collect()
    }

    /// Takes a Renew: extends the leases of the runs that it lists; other runs end, or their
    /// messages are dropped.
    pub(super) fn renew(&mut self, lease: Lease, listed: &[String]) {
        for (run_id, run) in &mut self.running {
            run.renew(lease, listed.contains(run_id));
        }
        let running = &self.running;
        self.retained.retain(|run_id, retained| {
            retained.unlisted = if listed.contains(run_id) {
                0
            } else {
                retained.unlisted + 1
            };
            retained.unlisted < UNLISTED_MAX || running.contains_key(run_id)
        });
    }

    /// The progress of every run that has one.
    pub(super) fn progress(&self) -> impl Iterator<Item = v1::Progress> {
        self.running
            .iter()
            .filter_map(|(run_id, run)| run.progress(run_id))
    }

    /// What the probes of a run have read since this was asked last. Not retained: a new stream has
    /// newer ones.
    pub(super) fn probe_readings(&self, run_id: &str) -> Option<Message> {
        let readings = self.running.get(run_id)?.probe_readings(run_id);
        readings.map(Message::ProbeReadings)
    }

    /// The same of every run.
    pub(super) fn all_probe_readings(&self) -> impl Iterator<Item = Message> {
        let runs = self.running.keys();
        runs.filter_map(|run_id| self.probe_readings(run_id))
    }

    /// Ends all load, since this process is about to end.
    pub(super) fn abort(&self) {
        self.running
            .values()
            .for_each(|run| run.stop_signal.request(StopMode::Abort));
    }

    /// Ends all load and waits until it has ended, at most for `wait_max`.
    pub(super) async fn abort_and_wait(&mut self, wait_max: Duration) {
        self.abort();
        let end = async {
            while !self.are_over() {
                let report = self.next_report().await;
                self.retain(report);
            }
        };
        let _ = timeout(wait_max, end).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(run_id: &str, is_last: bool) -> Report {
        let message = Message::Failed(v1::Failed {
            run_id: run_id.into(),
            failure: None,
        });
        Report {
            run_id: run_id.into(),
            message,
            is_last,
        }
    }

    #[test]
    fn messages_are_retained_until_two_renewals_in_a_row_do_not_list_their_run() {
        let mut runs = Runs::new();
        let lease = Lease {
            from_ns: 0,
            length_ns: 0,
        };
        runs.retain(report("a", false));
        runs.retain(report("a", true));
        runs.retain(report("b", true));
        assert_eq!((runs.retained().len(), runs.ids().len()), (3, 2));
        for (listed, left) in [
            (&["a"][..], 3),
            (&[][..], 2),
            (&["a"], 2),
            (&[], 2),
            (&[], 0),
        ] {
            let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
            runs.renew(lease, &listed);
            assert_eq!(runs.retained().len(), left, "{listed:?}");
        }
        assert!(runs.ids().is_empty());
    }
}
