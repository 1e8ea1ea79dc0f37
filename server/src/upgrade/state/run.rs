//! A run as it stands in the old server process, and the same run restored in the new one.
//!
//! [`SavedRun`] is what is sent; [`RestoredRun`] is a run that makes sense, whatever was sent.

use metronome_proto::{plan::Plan, run_id::RunId, v1};
use serde::{Deserialize, Serialize};

use super::protobuf::Protobuf;
use crate::model::{AgentRecords, AgentShare, run::RunStateMachine};

/// A run as it stands: RUNNING.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct SavedRun {
    pub(crate) id: RunId,
    pub(crate) run: Protobuf<v1::Run>,
    pub(crate) state_machine: RunStateMachine,
    /// In the order of their indices.
    pub(crate) agents: Vec<SavedAgent>,
    /// What each agent's progress has reported.
    pub(crate) reported: Vec<Protobuf<v1::GeneratorCounts>>,
    /// The last one that watchers saw.
    pub(crate) snapshot: Protobuf<v1::Snapshot>,
    /// The run's span, so that the rest of the run joins the same trace.
    pub(crate) traceparent: String,
}

/// What one agent has reported of the run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct SavedAgent {
    name: String,
    share: AgentShare,
    records: Protobuf<v1::ClientRecords>,
    strays: u64,
    finished: Option<Protobuf<v1::Finished>>,
    failure: Option<Protobuf<v1::Failure>>,
}

/// A run that another process has begun and that makes sense.
#[derive(Debug)]
pub(crate) struct RestoredRun {
    pub(crate) id: RunId,
    pub(crate) plan: Plan,
    pub(crate) run: v1::Run,
    pub(crate) state_machine: RunStateMachine,
    pub(crate) agents: Vec<AgentRecords>,
    pub(crate) reported: Vec<v1::GeneratorCounts>,
    pub(crate) snapshot: v1::Snapshot,
    pub(crate) traceparent: String,
}

impl SavedRun {
    /// The run, if it makes sense. An error is one sentence.
    pub(crate) fn restore(self) -> Result<RestoredRun, String> {
        let Self {
            id,
            run: Protobuf(run),
            state_machine,
            agents,
            reported,
            snapshot: Protobuf(snapshot),
            traceparent,
        } = self;
        let wrong = |what: &str| Err(format!("run {id} was handed over {what}"));
        if run.run_id != id.to_string() || snapshot.run_id != run.run_id {
            return wrong("under several names");
        }
        let Some(Ok(plan)) = run.plan.as_ref().map(Plan::try_from) else {
            return wrong("without a plan that is one");
        };
        if state_machine.state() != v1::RunState::Running {
            return wrong("when it was not RUNNING");
        }
        if agents.len() != state_machine.agents() || agents.len() != reported.len() {
            return wrong("with more or less agents than it has");
        }
        // Every client of the plan is the next agent's, in order.
        let covered = agents.iter().try_fold(0_u32, |next, agent| {
            (agent.share.first_client == next)
                .then(|| next.checked_add(agent.share.clients))
                .flatten()
        });
        if covered != Some(plan.clients()) {
            return wrong("with agents that do not bring its clients");
        }
        let agents = agents.into_iter().map(Into::into).collect();
        Ok(RestoredRun {
            id,
            plan,
            run,
            state_machine,
            agents,
            reported: reported
                .into_iter()
                .map(|Protobuf(counts)| counts)
                .collect(),
            snapshot,
            traceparent,
        })
    }
}

impl From<&AgentRecords> for SavedAgent {
    fn from(agent_records: &AgentRecords) -> Self {
        let clients = agent_records.records().cloned().collect();
        Self {
            name: agent_records.name.clone(),
            share: agent_records.share,
            records: Protobuf(v1::ClientRecords {
                run_id: String::new(),
                clients,
            }),
            strays: agent_records.strays(),
            finished: agent_records.finished().cloned().map(Protobuf),
            failure: agent_records.failure().cloned().map(Protobuf),
        }
    }
}

impl From<SavedAgent> for AgentRecords {
    fn from(agent: SavedAgent) -> Self {
        let mut agent_records = Self::new(agent.name, agent.share);
        let finished = agent.finished.map(|Protobuf(finished)| finished);
        agent_records.restore(
            agent.records.0.clients,
            agent.strays,
            finished,
            agent.failure.map(|Protobuf(failure)| failure),
        );
        agent_records
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use metronome_proto::{profile::Profile, v1::FailureCode};
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ClockRelation, run::Event};

    fn counts(sent: u64) -> v1::GeneratorCounts {
        v1::GeneratorCounts {
            sent,
            ..v1::GeneratorCounts::default()
        }
    }

    fn plan(clients: u32) -> v1::Plan {
        let duration = prost_types::Duration::try_from(Duration::from_secs(10)).ok();
        v1::Plan {
            groups: vec![v1::Group {
                clients,
                profile: Some(Profile::constant(100_000).to_proto()),
                ..v1::Group::default()
            }],
            duration,
            ..v1::Plan::default()
        }
    }

    /// A run of so many agents with `clients` clients each, RUNNING, with figures made from `seed`.
    pub(in super::super) fn saved_run(agents: u32, clients: u32, seed: u64) -> SavedRun {
        let id = RunId::from_bits(seed);
        let run_id = id.to_string();
        let now_ns = seed % 1_000_000;
        let mut state_machine = RunStateMachine::begin(agents as usize, 10_000_000_000, now_ns).0;
        for agent in 0..agents as usize {
            state_machine = state_machine.step(Event::AgentPrepared(agent), now_ns).0;
        }
        let start_at_ns = state_machine.wake_at_ns().unwrap();
        state_machine = state_machine.step(Event::Tick, start_at_ns).0;
        let plan = Some(Plan::try_from(&plan(agents * clients)).unwrap().to_proto());
        let clock = if seed.is_multiple_of(2) {
            ClockRelation::Same
        } else {
            ClockRelation::Unknown
        };
        let agent_records = |agent: u32| {
            let mut agent_records = AgentRecords::new(
                format!("a{agent}"),
                AgentShare::new(agent * clients, clients, clock),
            );
            let client = agent * clients;
            let record = v1::ClientRecord {
                client,
                counts: Some(counts(seed)),
                digest: !seed,
                ..v1::ClientRecord::default()
            };
            agent_records.take(v1::ClientRecords {
                run_id: String::new(),
                clients: vec![
                    record,
                    v1::ClientRecord {
                        client,
                        ..v1::ClientRecord::default()
                    },
                ],
            });
            if agent == 1 {
                agent_records.finish(v1::Finished {
                    cpu_ns: seed,
                    ..v1::Finished::default()
                });
                let failure = v1::Failure::new(FailureCode::AgentLost, "its stream broke");
                agent_records.fail(failure.with("agent", "a1"));
            }
            agent_records
        };
        SavedRun {
            id,
            run: Protobuf(v1::Run {
                run_id: run_id.clone(),
                plan,
                labels: [("host".to_owned(), "x".to_owned())].into(),
                ..v1::Run::default()
            }),
            state_machine,
            agents: (0..agents)
                .map(|agent| SavedAgent::from(&agent_records(agent)))
                .collect(),
            reported: (0..u64::from(agents))
                .map(|agent| Protobuf(counts(agent)))
                .collect(),
            snapshot: Protobuf(v1::Snapshot {
                run_id,
                generator: Some(counts(seed)),
                number: 3,
                ..v1::Snapshot::default()
            }),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        }
    }

    proptest! {
        #[test]
        fn a_saved_run_is_restored_as_it_was(seed: u64, agents in 1..4_u32, clients in 1..5_u32) {
            let before = saved_run(agents, clients, seed);
            let restored = before.clone().restore().unwrap();
            let again: Vec<SavedAgent> = restored.agents.iter().map(Into::into).collect();
            prop_assert_eq!(again, before.agents);
            prop_assert_eq!(restored.state_machine, before.state_machine);
            let reported: Vec<_> = restored.reported.into_iter().map(Protobuf).collect();
            prop_assert_eq!(reported, before.reported);
            prop_assert_eq!(restored.snapshot, before.snapshot.0);
        }
    }

    #[test]
    fn a_run_that_makes_no_sense_is_refused_with_what_is_wrong() {
        let refused = |change: fn(&mut SavedRun), words: &str| {
            let mut run = saved_run(2, 3, 5);
            change(&mut run);
            let sentence = run.restore().expect_err(words);
            assert!(sentence.contains(words), "{sentence}");
        };
        refused(|run| run.id = RunId::from_bits(6), "several names");
        refused(|run| run.run.0.plan = None, "plan");
        refused(
            |run| run.state_machine = RunStateMachine::begin(2, 1, 0).0,
            "RUNNING",
        );
        refused(|run| run.reported.clear(), "more or less agents");
        refused(
            |run| run.agents[1].share.first_client = 2,
            "do not bring its clients",
        );
        refused(
            |run| run.agents[1].share.clients = u32::MAX,
            "do not bring its clients",
        );
    }
}
