//! What a run holds, given back when its driver ends, however that happens.
//!
//! A driver that dies leaves load behind: nobody would tell the agents to stop, let the clients'
//! places go or write down that the run is over.

use std::sync::Arc;

use metronome_proto::{
    run_id::RunId,
    v1::{self, server_message::Message},
};
use tokio::runtime;

use crate::{control::lifecycle::shared::Shared, wall_clock};

/// Frees the agents and the name of a run when it is dropped; of a run that has not ended also the
/// rest.
pub(crate) struct RunGuard {
    shared: Arc<Shared>,
    id: RunId,
    agents: Vec<String>,
    outcome: Outcome,
}

/// How far the run has come when its driver ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    GoesOn,
    HasEnded,
    /// It goes on in another process.
    HandedOver,
}

impl RunGuard {
    /// Of a run in which these agents have parts.
    pub(crate) fn new(shared: &Arc<Shared>, id: RunId, agents: Vec<String>) -> Self {
        Self {
            shared: Arc::clone(shared),
            id,
            agents,
            outcome: Outcome::GoesOn,
        }
    }

    /// The run has a report; nothing is left behind.
    pub(crate) fn run_has_ended(mut self) {
        self.outcome = Outcome::HasEnded;
    }

    /// Another process has the run: nothing here is given back, since nothing here ends.
    pub(crate) fn run_is_handed_over(mut self) {
        self.outcome = Outcome::HandedOver;
    }

    /// The driver is gone in the middle: the load ends, and the run is one that was aborted.
    fn abort(&self) {
        for agent in &self.agents {
            // An agent that takes no orders misses its lease as well.
            self.shared.registry.order(
                agent,
                self.id,
                Message::Stop(v1::Stop {
                    run_id: self.id.to_string(),
                }),
            );
        }
        // Nobody waits for the record.
        drop(self.shared.master_client.close_run(self.id));
        // Without a runtime this process is ending, and the next one to open the history finds the
        // run.
        let Ok(runtime) = runtime::Handle::try_current() else {
            return;
        };
        let (shared, id) = (Arc::clone(&self.shared), self.id);
        runtime.spawn(async move {
            let aborted = shared.with_store(move |store| store.abort(id, wall_clock::unix_ms())).await;
            match aborted {
                Ok(Ok(())) => tracing::error!(run_id = %id, "run is aborted: its driver died"),
                failed => tracing::error!(run_id = %id, "run's driver died, and that cannot be stored: {failed:?}"),
            }
            // After that: who asks for the run must not find it unfinished.
            shared.runs.remove(id);
        });
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        match self.outcome {
            Outcome::HandedOver => {}
            Outcome::HasEnded => {
                self.shared.registry.release(self.id);
                self.shared.runs.remove(self.id);
            }
            Outcome::GoesOn => {
                self.abort();
                self.shared.registry.release(self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use metronome_proto::v1::RunState;
    use tokio::sync::watch;

    use super::*;
    use crate::{
        config::Secret,
        control::{
            agents::AgentInfo,
            lifecycle::shared::ServerInfo,
            master_client::MasterClient,
            runs::active::{ActiveRun, RunView},
        },
        master::{Handle, Request},
        store::Store,
        upgrade::Upgrade,
        wall_clock::timestamp,
    };
    use metronome_os::wake::Waker;

    const ID: RunId = RunId::from_bits(7);

    fn shared(directory: &tempfile::TempDir) -> (Arc<Shared>, mpsc::Receiver<Request>) {
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
        store.insert(&run()).unwrap();
        let master_client = MasterClient::new(master);
        (
            Arc::new(Shared::new(
                server,
                Secret([0; 32]),
                store,
                master_client,
                Upgrade::default(),
            )),
            requests,
        )
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
        let (shared, requests) = shared(&directory);
        let (orders, mut heard) = tokio::sync::mpsc::channel(1);
        let info = AgentInfo {
            name: "a".into(),
            version: String::new(),
            peer: None,
            connected_unix_ms: 0,
            shares_clock: true,
            clients_max: 1,
            cores: 1,
        };
        assert!(shared.registry.join(info, orders, &[]).is_some());
        shared
            .registry
            .assign(ID, &[], 1, &tokio::sync::mpsc::channel(1).0)
            .unwrap();
        let view = watch::Sender::new(RunView::Running {
            run: run(),
            snapshot: v1::Snapshot::default(),
        });
        let (stop, freeze) = (
            tokio::sync::mpsc::channel(1).0,
            tokio::sync::mpsc::channel(1).0,
        );
        shared
            .runs
            .add(ID, ActiveRun::new(view.subscribe(), stop, freeze));
        let guard = RunGuard::new(&shared, ID, vec!["a".into()]);
        let driver = tokio::spawn(async move {
            let _departure = guard;
            panic!("a bug of the driver");
        });
        assert!(driver.await.unwrap_err().is_panic());
        let Some(Ok(v1::ServerMessage {
            message: Some(Message::Stop(stop)),
        })) = heard.recv().await
        else {
            panic!("not Stop")
        };
        assert_eq!(stop.run_id, ID.to_string());
        assert!(matches!(
            requests.recv(),
            Ok(Request::CloseRun { run: ID, .. })
        ));
        shared.runs.all_ended().await;
        assert_eq!(
            shared.find_run(ID).await.unwrap().state(),
            RunState::Aborted
        );
    }

    #[tokio::test]
    async fn after_the_report_only_what_was_held_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let (shared, requests) = shared(&directory);
        RunGuard::new(&shared, ID, vec!["a".into()]).run_has_ended();
        RunGuard::new(&shared, ID, vec!["a".into()]).run_is_handed_over();
        assert!(requests.try_recv().is_err());
        assert_eq!(
            shared.find_run(ID).await.unwrap().state(),
            RunState::Running
        );
    }
}
