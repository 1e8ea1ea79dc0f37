//! A run as it stands in the old server process, and the same run restored in the new one.
//!
//! [`SavedRun`] is what is sent; [`RestoredRun`] is a run that makes sense, whatever was sent.

use metronome_proto::{plan::Plan, run_id::RunId, share::Share, v1};
use serde::{Deserialize, Serialize};

use super::protobuf::Protobuf;
use crate::model::{
    AgentRecords, AgentShare, ClockRelation, RunPath, SavedPath, cover, run::RunStateMachine,
};

/// A run as it stands: RUNNING.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct SavedRun {
    pub(crate) id: RunId,
    pub(crate) run: Protobuf<v1::Run>,
    pub(crate) state_machine: RunStateMachine,
    /// In the order of their indices.
    pub(crate) agents: Vec<SavedAgent>,
    /// What each agent's progress has reported, if any has come.
    pub(crate) reported: Vec<Option<Protobuf<v1::GeneratorCounts>>>,
    /// What the probes of each agent on another clock have shown.
    pub(crate) paths: Vec<Option<SavedPath>>,
    /// What its processes and their hosts did until then: the server, then each agent.
    pub(crate) series: Protobuf<v1::Series>,
    /// The last one that watchers saw.
    pub(crate) snapshot: Protobuf<v1::Snapshot>,
    /// The run's span, so that the rest of the run joins the same trace.
    pub(crate) traceparent: String,
    /// What other systems attach to the trace.
    pub(crate) tracestate: String,
}

/// What one agent has reported of the run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct SavedAgent {
    name: String,
    /// In the form of the API, so that each is checked when it is restored. Without the payloads:
    /// the agents have them, and nothing that is left to do needs them.
    shares: Vec<Protobuf<v1::AgentShare>>,
    clock: ClockRelation,
    clock_bound_ns: Option<u64>,
    is_clock_contradicted: bool,
    records: Protobuf<v1::ClientRecords>,
    strays: u64,
    finished: Option<Protobuf<v1::Finished>>,
    failure: Option<Protobuf<v1::Failure>>,
    /// What it has read for the payloads of its shares.
    payloads: Vec<Protobuf<v1::PayloadRead>>,
}

/// A run that another process has begun and that makes sense.
#[derive(Debug)]
pub(crate) struct RestoredRun {
    pub(crate) id: RunId,
    pub(crate) plan: Plan,
    pub(crate) run: v1::Run,
    pub(crate) state_machine: RunStateMachine,
    pub(crate) agents: Vec<AgentRecords>,
    pub(crate) reported: Vec<Option<v1::GeneratorCounts>>,
    pub(crate) paths: Vec<Option<RunPath>>,
    pub(crate) series: v1::Series,
    pub(crate) snapshot: v1::Snapshot,
    pub(crate) traceparent: String,
    pub(crate) tracestate: String,
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
            paths,
            series: Protobuf(series),
            snapshot: Protobuf(snapshot),
            traceparent,
            tracestate,
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
        let of_each = [state_machine.agents(), reported.len(), paths.len()];
        if of_each.into_iter().any(|number| number != agents.len()) {
            return wrong("with more or less agents than it has");
        }
        let agents = agents.into_iter().map(SavedAgent::restore);
        let Some(agents) = agents.collect::<Option<Vec<_>>>() else {
            return wrong("with a share that is none");
        };
        if !cover(agents.iter().map(|agent| &agent.share), plan.clients()) {
            return wrong("with agents that do not bring its clients");
        }
        let trust = plan.clock_trust;
        Ok(RestoredRun {
            id,
            plan,
            run,
            state_machine,
            agents,
            reported: reported
                .into_iter()
                .map(|counts| counts.map(|Protobuf(counts)| counts))
                .collect(),
            paths: paths
                .into_iter()
                .map(|path| path.map(|path| path.restore(trust)))
                .collect(),
            series,
            snapshot,
            traceparent,
            tracestate,
        })
    }
}

impl From<&AgentRecords> for SavedAgent {
    fn from(agent_records: &AgentRecords) -> Self {
        let clients = agent_records.records().cloned().collect();
        let shares = agent_records.share.shares.iter();
        let shares = shares.map(|share| v1::AgentShare {
            payload: None,
            ..share.to_proto()
        });
        Self {
            name: agent_records.name.clone(),
            shares: shares.map(Protobuf).collect(),
            clock: agent_records.share.clock,
            clock_bound_ns: agent_records.share.clock_bound_ns,
            is_clock_contradicted: agent_records.is_clock_contradicted(),
            records: Protobuf(v1::ClientRecords {
                run_id: String::new(),
                clients,
            }),
            strays: agent_records.strays(),
            finished: agent_records.finished().cloned().map(Protobuf),
            failure: agent_records.failure().cloned().map(Protobuf),
            payloads: agent_records
                .payloads()
                .iter()
                .cloned()
                .map(Protobuf)
                .collect(),
        }
    }
}

impl SavedAgent {
    /// `None` when one of its shares is none.
    fn restore(self) -> Option<AgentRecords> {
        let shares = self
            .shares
            .iter()
            .map(|Protobuf(share)| Share::try_from(share));
        let share = AgentShare {
            shares: shares.collect::<Result<_, _>>().ok()?,
            clock: self.clock,
            clock_bound_ns: self.clock_bound_ns,
        };
        let mut agent_records = AgentRecords::new(self.name, share);
        agent_records.restore(
            self.records.0.clients,
            self.strays,
            self.finished.map(|Protobuf(finished)| finished),
            self.failure.map(|Protobuf(failure)| failure),
            self.is_clock_contradicted,
            self.payloads
                .into_iter()
                .map(|Protobuf(read)| read)
                .collect(),
        );
        Some(agent_records)
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
        let mut state_machine = RunStateMachine::begin(
            agents as usize,
            10_000_000_000,
            v1::AgentLoss::Continue,
            now_ns,
        )
        .0;
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
                AgentShare::of(agent * clients..(agent + 1) * clients, clock),
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
            agent_records.share.clock_bound_ns = clock.is_same().then_some(seed);
            if agent == 1 {
                agent_records.contradict_clock();
                agent_records.finish(v1::Finished {
                    cpu_ns: Some(seed.cast_signed()),
                    ..v1::Finished::default()
                });
                let failure = v1::Failure::new(FailureCode::AgentLost, "its stream broke");
                agent_records.fail(failure);
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
                .map(|agent| (agent > 0).then(|| Protobuf(counts(agent))))
                .collect(),
            paths: (0..agents)
                .map(|agent| (agent > 0).then(SavedPath::default))
                .collect(),
            series: Protobuf(v1::Series::default()),
            snapshot: Protobuf(v1::Snapshot {
                run_id,
                generator: Some(counts(seed)),
                ..v1::Snapshot::default()
            }),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            tracestate: "vendor=1".into(),
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
            let reported = restored.reported.into_iter().map(|counts| counts.map(Protobuf));
            prop_assert_eq!(reported.collect::<Vec<_>>(), before.reported);
            let paths = restored.paths.iter().map(|path| path.as_ref().map(Into::into));
            prop_assert_eq!(paths.collect::<Vec<_>>(), before.paths);
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
            |run| run.state_machine = RunStateMachine::begin(2, 1, v1::AgentLoss::Continue, 0).0,
            "RUNNING",
        );
        refused(|run| run.reported.clear(), "more or less agents");
        refused(|run| drop(run.paths.pop()), "more or less agents");
        refused(
            |run| run.agents[1].shares[0].0.first_client = 2,
            "do not bring its clients",
        );
        refused(
            |run| run.agents[1].shares[0].0.clients = u32::MAX,
            "a share that is none",
        );
    }
}
