//! What a run holds, given back when its driver ends, however that happens.
//!
//! A driver that dies leaves load behind: without this, its agents would not be stopped, its
//! clients' places not freed and its end not stored.

use std::sync::Arc;

use metronome_proto::{
    run_id::RunId,
    v1::{self, Failure, FailureCode, RunState},
};
use tokio::runtime;

use super::{manager::RunManager, unstored::UnstoredRun};
use crate::{
    control::agents,
    wall_clock::{self, timestamp},
};

/// Frees the agents and the name of a run when it is dropped; for a run that has not ended, it also
/// stops the load and stores that the run was aborted.
pub(super) struct RunGuard {
    runs: Arc<RunManager>,
    id: RunId,
    agents: Vec<String>,
    outcome: Outcome,
}

/// How far the run has come when its driver ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    HasNotEnded,
    HasEnded,
    /// It goes on in another process.
    HandedOver,
}

impl RunGuard {
    /// Guards a run in which these agents have assignments.
    pub(super) fn new(runs: &Arc<RunManager>, id: RunId, agents: Vec<String>) -> Self {
        Self {
            runs: Arc::clone(runs),
            id,
            agents,
            outcome: Outcome::HasNotEnded,
        }
    }

    /// The run has a report; nothing is left behind.
    pub(super) fn run_has_ended(mut self) {
        self.outcome = Outcome::HasEnded;
    }

    /// Another process has the run: nothing here is given back, since nothing here ends.
    pub(super) fn run_is_handed_over(mut self) {
        self.outcome = Outcome::HandedOver;
    }

    /// The driver died in the middle: the load ends, and the run is one that was aborted.
    fn abort(&self) {
        self.runs.outcome_counters.ended_without_report();
        for agent in &self.agents {
            // An agent that takes no orders misses its lease as well.
            self.runs
                .registry
                .order(agent, self.id, agents::stop(self.id));
        }
        // Its record is not needed.
        drop(self.runs.master_client.close_run(self.id));
        // Without a runtime this process is ending, and the next one that opens the history finds
        // the run.
        let Ok(runtime) = runtime::Handle::try_current() else {
            return;
        };
        let (runs, id) = (Arc::clone(&self.runs), self.id);
        runtime.spawn(async move {
            tracing::error!(run_id = %id, "run is aborted: its driver died");
            if let Some(active) = runs.active.find(id) {
                let run = aborted(active.run());
                let end = UnstoredRun {
                    run,
                    pages: Vec::new(),
                    series: Vec::new(),
                };
                let run = runs.history.store_end(id, end).await;
                runs.feed.run_ended(id, run);
            }
            // Only then: a caller that asks for the run must not find it unfinished.
            runs.active.remove(id);
        });
    }
}

/// A run that will never have a report, since the task that drove it died.
fn aborted(run: v1::Run) -> v1::Run {
    let sentence = "the task of the server that drove the run died";
    let mut run = v1::Run {
        failure: Some(Failure::new(FailureCode::Internal, sentence)),
        ended_at: Some(timestamp(wall_clock::unix_ms())),
        ..run
    };
    run.set_state(RunState::Aborted);
    run
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        match self.outcome {
            Outcome::HandedOver => {}
            Outcome::HasEnded => {
                self.runs.registry.release(self.id);
                self.runs.active.remove(self.id);
            }
            Outcome::HasNotEnded => {
                self.abort();
                self.runs.registry.release(self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use metronome_os::wake::Waker;

    use super::{
        super::active::{ActiveRun, RunView},
        *,
    };
    use crate::{
        config::Secret,
        control::{
            agents::{AgentInfo, Arrival, Order, Wanted, WantedGroup},
            master_client::MasterClient,
            server_info::ServerInfo,
        },
        master::{Handle, Request},
        model::{AgentClock, ResumeToken},
        store::Store,
        upgrade::Upgrade,
    };

    const ID: RunId = RunId::from_bits(7);

    fn run_manager(directory: &tempfile::TempDir) -> (Arc<RunManager>, mpsc::Receiver<Request>) {
        let address = ([127, 0, 0, 1], 1).into();
        let server = ServerInfo {
            data_address: address,
            grpc_address: address,
            max_clients: 1,
            accept_raw: false,
            traced_packets: 0,
            started_unix_ms: 0,
            started_ns: 0,
            notes: Vec::new(),
        };
        let (sender, requests) = mpsc::channel();
        let master = Handle::new(sender, Arc::new(Waker::new().unwrap()));
        let store = Store::open(&directory.path().join("runs.sqlite"), 0)
            .unwrap()
            .0;
        store.insert(&run(), &[0; 32]).unwrap();
        let runs = RunManager::new(
            Arc::new(server),
            Secret([0; 32]),
            MasterClient::new(master),
            Arc::default(),
            Arc::default(),
            store,
            Arc::new(Upgrade::default()),
        );
        (Arc::new(runs), requests)
    }

    fn run() -> v1::Run {
        let created_at = Some(timestamp(1));
        v1::Run {
            run_id: ID.to_string(),
            state: RunState::Running.into(),
            created_at,
            ..v1::Run::default()
        }
    }

    #[tokio::test]
    async fn a_driver_that_dies_stops_its_agents_closes_its_run_and_leaves_it_aborted() {
        let directory = tempfile::tempdir().unwrap();
        let (runs, requests) = run_manager(&directory);
        let (orders, mut heard) = tokio::sync::mpsc::channel(2);
        let info = AgentInfo {
            name: "a".into(),
            version: String::new(),
            protocol_version: 1,
            capabilities: Vec::new(),
            peer: None,
            connected_unix_ms: 0,
            capacity: v1::Capacity {
                max_clients: 1,
                cores: 1,
            },
        };
        let arrival = Arrival {
            info,
            orders: orders.clone(),
            runs: &[],
            shown: &[],
            fresh: ResumeToken::new([1; 16]),
        };
        runs.registry.join(arrival).unwrap();
        runs.registry
            .settle_clock("a", &orders, AgentClock::default());
        let group = WantedGroup {
            name: "default",
            agents: &[],
            clients: 1,
        };
        let wanted = Wanted {
            groups: vec![group],
            features: Vec::new(),
        };
        runs.registry
            .assign(ID, &wanted, &tokio::sync::mpsc::channel(1).0)
            .unwrap();
        let (active, _ends) = ActiveRun::new(RunView {
            run: run(),
            snapshot: Some(v1::Snapshot::default()),
        });
        runs.active.add(ID, active);
        let earlier = v1::Report::default();
        runs.outcome_counters.run_ended(&earlier, 1, None);
        let guard = RunGuard::new(&runs, ID, vec!["a".into()]);
        let driver = tokio::spawn(async move {
            let _guard = guard;
            panic!("a bug of the driver");
        });
        assert!(driver.await.unwrap_err().is_panic());
        let mut order = async || heard.recv().await.unwrap().unwrap().message.unwrap();
        assert!(matches!(order().await, Order::Welcome(_)));
        let Order::Stop(stop) = order().await else {
            panic!("not Stop")
        };
        assert_eq!(stop.run_id, ID.to_string());
        assert!(matches!(
            requests.recv(),
            Ok(Request::CloseRun { run: ID, .. })
        ));
        runs.active.all_ended().await;
        assert_eq!(runs.find(ID).await.unwrap().state(), RunState::Aborted);
        // What is shown of the last run would be how an earlier one came out.
        assert_eq!(runs.outcome_counters.last_run(), None);
    }

    #[tokio::test]
    async fn after_the_report_only_what_was_held_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let (runs, requests) = run_manager(&directory);
        RunGuard::new(&runs, ID, vec!["a".into()]).run_has_ended();
        RunGuard::new(&runs, ID, vec!["a".into()]).run_is_handed_over();
        assert!(requests.try_recv().is_err());
        assert_eq!(runs.find(ID).await.unwrap().state(), RunState::Running);
    }
}
