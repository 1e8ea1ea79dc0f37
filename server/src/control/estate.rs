//! What the control plane leaves to a successor, as bytes: the runs as they stand and what was
//! counted; the master's part goes along unread.
//!
//! What comes is checked and not trusted: [`Revived`] is a run that makes sense, whatever was sent.

use std::fmt;

use metronome_proto::{plan::Plan, run_id::RunId, v1};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    runs::{Runs, Unsaved},
    tally,
};
use crate::model::{AgentRecords, AgentShare, run::RunStateMachine};

/// All of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Estate {
    pub(super) runs: Vec<Legacy>,
    pub(super) unsaved: Vec<(
        RunId,
        Protobuf<v1::Run>,
        Vec<Protobuf<v1::ListClientsResponse>>,
    )>,
    pub(super) tally: tally::Legacy,
    /// When the first of the servers that succeeded each other was started: label and
    /// CLOCK_MONOTONIC.
    pub(super) started_unix_ms: u64,
    pub(super) started_ns: u64,
    /// As `master::request::HandedOver` has them.
    pub(super) master: Vec<u8>,
}

/// A run as it stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Legacy {
    pub(super) id: RunId,
    pub(super) run: Protobuf<v1::Run>,
    pub(super) state_machine: RunStateMachine,
    /// As the accounts.
    pub(super) agents: Vec<Agent>,
    /// What each agent's progress has told: packets sent and skipped.
    pub(super) told: Vec<(u64, u64)>,
    /// As watchers saw it last.
    pub(super) snapshot: Protobuf<v1::Snapshot>,
    /// Of the run's span, for the rest of the trace.
    pub(super) traceparent: String,
}

/// An agent's account.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Agent {
    name: String,
    first_client: u32,
    clients: u32,
    shares_clock: bool,
    records: Protobuf<v1::ClientRecords>,
    strays: u64,
    finished: Option<Protobuf<v1::Finished>>,
    error: Option<String>,
}

/// A run that another server has begun and that makes sense.
#[derive(Debug)]
pub(super) struct Revived {
    pub(super) id: RunId,
    pub(super) plan: Plan,
    pub(super) run: v1::Run,
    pub(super) state_machine: RunStateMachine,
    pub(super) accounts: Vec<AgentRecords>,
    pub(super) told: Vec<(u64, u64)>,
    pub(super) snapshot: v1::Snapshot,
    pub(super) traceparent: String,
}

impl Estate {
    /// Adds the reports that the history could not take.
    pub(super) fn set_unsaved(&mut self, runs: &Runs) {
        let pages = |pages: Vec<v1::ListClientsResponse>| pages.into_iter().map(Protobuf).collect();
        self.unsaved = runs
            .unsaved()
            .into_iter()
            .map(|(id, run)| (id, Protobuf(run.run), pages(run.pages)))
            .collect();
    }

    /// The reports that the history could not take.
    pub(super) fn unsaved(&mut self) -> impl Iterator<Item = (RunId, Unsaved)> {
        let unsaved = std::mem::take(&mut self.unsaved).into_iter();
        unsaved.map(|(id, Protobuf(run), pages)| {
            (
                id,
                Unsaved {
                    run,
                    pages: pages.into_iter().map(|Protobuf(page)| page).collect(),
                },
            )
        })
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        postcard::to_stdvec(self)
            .map_err(|error| format!("the runs cannot be written down: {error}"))
    }

    /// Reads it. An error is one sentence.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        postcard::from_bytes(bytes).map_err(|error| format!("the runs cannot be read: {error}"))
    }
}

impl Legacy {
    /// The run, if it makes sense. An error is one sentence.
    pub(super) fn revive(self) -> Result<Revived, String> {
        let Self {
            id,
            run: Protobuf(run),
            state_machine,
            agents,
            told,
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
        if agents.len() != state_machine.agents() || agents.len() != told.len() {
            return wrong("with more or less agents than it has");
        }
        // Every client of the plan is the next agent's, in order.
        let covered = agents.iter().try_fold(0_u32, |next, agent| {
            (agent.first_client == next)
                .then(|| next.checked_add(agent.clients))
                .flatten()
        });
        if covered != Some(plan.clients) {
            return wrong("with agents that do not bring its clients");
        }
        let accounts = agents.into_iter().map(Into::into).collect();
        Ok(Revived {
            id,
            plan,
            run,
            state_machine,
            accounts,
            told,
            snapshot,
            traceparent,
        })
    }
}

impl From<&AgentRecords> for Agent {
    fn from(account: &AgentRecords) -> Self {
        let clients = account.records().cloned().collect();
        Self {
            name: account.name.clone(),
            first_client: account.share.first_client,
            clients: account.share.clients,
            shares_clock: account.share.shares_clock,
            records: Protobuf(v1::ClientRecords {
                run_id: String::new(),
                clients,
            }),
            strays: account.strays(),
            finished: account.finished().cloned().map(Protobuf),
            error: account.error().map(ToOwned::to_owned),
        }
    }
}

impl From<Agent> for AgentRecords {
    fn from(agent: Agent) -> Self {
        let mut account = Self::new(
            agent.name,
            AgentShare::new(agent.first_client, agent.clients, agent.shares_clock),
        );
        let finished = agent.finished.map(|Protobuf(finished)| finished);
        account.restore(
            agent.records.0.clients,
            agent.strays,
            finished,
            agent.error.as_deref(),
        );
        account
    }
}

/// A message of the API among other state: as its own bytes.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Protobuf<M>(pub(super) M);

impl<M: fmt::Debug> fmt::Debug for Protobuf<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<M: prost::Message> Serialize for Protobuf<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.encode_to_vec().serialize(serializer)
    }
}

impl<'de, M: prost::Message + Default> Deserialize<'de> for Protobuf<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        M::decode(&bytes[..]).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::run::Event,
        upgrade::{FORMAT_VERSION, fingerprint},
    };

    fn plan(clients: u32) -> v1::Plan {
        let duration = prost_types::Duration::try_from(Duration::from_secs(10)).ok();
        v1::Plan {
            clients,
            rate_hz: 100.0,
            duration,
            ..v1::Plan::default()
        }
    }

    /// A run of so many agents with `clients` clients each, RUNNING, with figures made from `seed`.
    fn legacy(agents: u32, clients: u32, seed: u64) -> Legacy {
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
        let account = |agent: u32| {
            let mut account = AgentRecords::new(
                format!("a{agent}"),
                AgentShare::new(agent * clients, clients, seed.is_multiple_of(2)),
            );
            let client = agent * clients;
            let record = v1::ClientRecord {
                client,
                sent: seed,
                digest: !seed,
                ..v1::ClientRecord::default()
            };
            account.take(v1::ClientRecords {
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
                account.finish(v1::Finished {
                    cpu_ns: seed,
                    ..v1::Finished::default()
                });
                account.fail("its stream broke");
            }
            account
        };
        Legacy {
            id,
            run: Protobuf(v1::Run {
                run_id: run_id.clone(),
                plan,
                label: "x".into(),
                ..v1::Run::default()
            }),
            state_machine,
            agents: (0..agents)
                .map(|agent| Agent::from(&account(agent)))
                .collect(),
            told: (0..u64::from(agents)).map(|agent| (agent, seed)).collect(),
            snapshot: Protobuf(v1::Snapshot {
                run_id,
                received: seed,
                number: 3,
                ..v1::Snapshot::default()
            }),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        }
    }

    fn estate(seed: u64) -> Estate {
        let page = v1::ListClientsResponse {
            clients: vec![v1::ClientReport {
                sent: seed,
                ..v1::ClientReport::default()
            }],
        };
        Estate {
            runs: vec![legacy(2, 3, seed), legacy(1, 1, seed ^ 1)],
            unsaved: vec![(
                RunId::from_bits(9),
                Protobuf(v1::Run::default()),
                vec![Protobuf(page)],
            )],
            started_unix_ms: seed,
            started_ns: 7,
            master: vec![1, 2, 3],
            ..Estate::default()
        }
    }

    #[test]
    fn a_change_of_what_is_handed_over_raises_the_format_version() {
        let bytes = estate(0x0123_4567_89ab_cdef).encode().unwrap();
        let known = (2, 4_049_255_367_387_670_445);
        assert_eq!(
            (FORMAT_VERSION, fingerprint(&bytes)),
            known,
            "raise FORMAT_VERSION and note the new fingerprint"
        );
    }

    proptest! {
        #[test]
        fn what_is_handed_over_comes_back_as_it_was(seed: u64, agents in 1..4_u32, clients in 1..5_u32) {
            let mut before = estate(seed);
            before.runs.push(legacy(agents, clients, seed));
            let after = Estate::decode(&before.encode().unwrap()).unwrap();
            prop_assert_eq!(&after, &before);
            for (run, was) in after.runs.into_iter().zip(&before.runs) {
                let revived = run.revive().unwrap();
                let again: Vec<Agent> = revived.accounts.iter().map(Into::into).collect();
                prop_assert_eq!(&again, &was.agents);
                prop_assert_eq!((revived.state_machine, revived.told, revived.snapshot), (was.state_machine.clone(), was.told.clone(), was.snapshot.0.clone()));
            }
        }

        #[test]
        fn garbage_is_refused_or_makes_sense_and_never_a_panic(bytes: Vec<u8>, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut damaged = estate(77).encode().unwrap();
            let position = at.index(damaged.len());
            damaged[position] = byte;
            let shorter = damaged[..cut.index(damaged.len())].to_vec();
            for bytes in [bytes, damaged, shorter] {
                if let Ok(estate) = Estate::decode(&bytes) {
                    for run in estate.runs {
                        let _ = run.revive();
                    }
                }
            }
        }
    }

    #[test]
    fn a_run_that_makes_no_sense_is_refused_with_what_is_wrong() {
        let refused = |change: fn(&mut Legacy), words: &str| {
            let mut run = legacy(2, 3, 5);
            change(&mut run);
            let sentence = run.revive().expect_err(words);
            assert!(sentence.contains(words), "{sentence}");
        };
        refused(|run| run.id = RunId::from_bits(6), "several names");
        refused(|run| run.run.0.plan = None, "plan");
        refused(
            |run| run.state_machine = RunStateMachine::begin(2, 1, 0).0,
            "RUNNING",
        );
        refused(|run| run.told.clear(), "more or less agents");
        refused(
            |run| run.agents[1].first_client = 2,
            "do not bring its clients",
        );
        refused(
            |run| run.agents[1].clients = u32::MAX,
            "do not bring its clients",
        );
    }
}
