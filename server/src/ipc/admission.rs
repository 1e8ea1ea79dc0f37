//! Admission of clients: verifies hellos, and gives each client of a run and each raw client its
//! place.
//!
//! A place is one cell of the run's client table in shared memory, so that every worker sees what
//! the others have admitted. For a client of a run the cell holds the highest attempt that was
//! admitted, and the connection: a hello that was recorded and sent again has no higher attempt.
//! Admitting the same connection twice is harmless, and must be: a worker may die between taking
//! the place and committing the counters, and the process that replays the batch asks again.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use metronome_proto::{
    handshake::{
        Challenge, Challenges, HANDSHAKE_VERSION, Hello, Key, Nonce, PROBE_CLIENT, Refusal,
    },
    packet::Frame,
    run_id::RunId,
};

use crate::{
    ledger::{
        AgentLine, Authenticate, Authenticated, ClientLoad, ConnectionCounters, Ledger, RUNS_MAX,
        Stage,
    },
    model::ClockRelation,
};

/// What is needed to admit clients of one agent: those of one of its shares, and the key of its
/// hellos.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionKey {
    /// Row of the run's client table, below [`RUNS_MAX`].
    pub(crate) row: u32,
    pub(crate) run: RunId,
    pub(crate) agent: u16,
    pub(crate) key: Key,
    /// Indices of the clients within the run.
    pub(crate) clients: Range<u32>,
    /// How the agent's clock relates to this host's.
    pub(crate) clock: ClockRelation,
    /// What is asked of each of the clients. `None` in the static run.
    pub(crate) load: Option<ClientLoad>,
    /// The place of their group in the plan; 0 in the static run.
    pub(crate) group: u16,
    /// The run is the static one, which never ends: a client may come back with any attempt once it
    /// has left. So `key` is not that of its hellos, but that of which each connection has its own.
    pub(crate) is_static: bool,
}

impl AdmissionKey {
    /// The key of a connection with these challenges, which only one of the static run needs.
    fn key_on(&self, challenges: Option<&Challenges>) -> Option<Key> {
        if self.is_static {
            challenges.map(|both| self.key.of_connection(both))
        } else {
            Some(self.key)
        }
    }
}

/// The keys of all admitted runs, as one process has them.
#[derive(Debug)]
pub(crate) struct AdmissionKeys {
    agents: Vec<AdmissionKey>,
    accept_raw: bool,
}

impl AdmissionKeys {
    /// No run is admitted yet; raw clients are if `accept_raw` is set.
    pub(crate) fn new(accept_raw: bool) -> Self {
        Self {
            agents: Vec::new(),
            accept_raw,
        }
    }

    /// From now on the hellos of these clients are verified.
    pub(crate) fn admit(&mut self, agent: AdmissionKey) {
        let is_same = |known: &AdmissionKey| {
            (known.run, known.agent, &known.clients) == (agent.run, agent.agent, &agent.clients)
        };
        self.agents.retain(|known| !is_same(known));
        self.agents.push(agent);
    }

    /// From now on the run's hellos are refused.
    pub(crate) fn dismiss(&mut self, run: RunId) {
        self.agents.retain(|agent| agent.run != run);
    }

    /// All whose hellos are verified.
    pub(crate) fn agents(&self) -> &[AdmissionKey] {
        &self.agents
    }

    /// The shares of an agent in a run; all have the same key.
    fn of(&self, run: RunId, agent: u16) -> impl Iterator<Item = &AdmissionKey> {
        let shares = self.agents.iter();
        shares.filter(move |known| known.run == run && known.agent == agent)
    }
}

/// Admission of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionAdmission<'a> {
    pub(crate) admission_keys: &'a AdmissionKeys,
    pub(crate) ledger: &'a Ledger,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Authenticate for ConnectionAdmission<'_> {
    fn challenge(&self, frame: &Frame) -> Result<Nonce, Refusal> {
        let challenge = Challenge::decode(frame).ok_or(Refusal::Protocol)?;
        if challenge.version != HANDSHAKE_VERSION {
            return Err(Refusal::Version);
        }
        let nonce = challenge.nonce.ok_or(Refusal::Protocol)?;
        let is_open = self
            .admission_keys
            .agents
            .iter()
            .any(|agent| agent.is_static);
        is_open.then_some(nonce).ok_or(Refusal::Hello)
    }

    fn client(
        &self,
        frame: &Frame,
        challenges: Option<&Challenges>,
    ) -> Result<Authenticated, Refusal> {
        let claimed = Hello::claimed(frame).ok_or(Refusal::Protocol)?;
        if claimed.client == PROBE_CLIENT {
            return self.probes(frame, &claimed, challenges);
        }
        let client = u32::from(claimed.client);
        let agent = self
            .admission_keys
            .of(claimed.run, claimed.agent)
            .find(|share| share.clients.contains(&client))
            .ok_or(Refusal::Hello)?;
        if challenges.is_some() && !agent.is_static {
            return Err(Refusal::Hello);
        }
        // None: an agent of a version without challenges, or what somebody has recorded.
        let key = agent.key_on(challenges).ok_or(Refusal::Version)?;
        let hello = Hello::open(frame, &key).ok_or(Refusal::Hello)?;
        let places = self
            .ledger
            .client_table(agent.row as usize)
            .ok_or(Refusal::Hello)?;
        let place = places.get(client as usize).ok_or(Refusal::Hello)?;
        if hello.attempt == 0 || !self.take_place(place, hello.attempt, agent.is_static) {
            return Err(Refusal::Hello);
        }
        Ok(Authenticated {
            hello,
            is_probes: false,
            clock: agent.clock,
            load: agent.load,
            group: agent.group,
            row: agent.row as u16,
        })
    }

    fn raw(&self) -> Result<(), Refusal> {
        if !self.admission_keys.accept_raw {
            return Err(Refusal::Raw);
        }
        let places = self.ledger.client_table(RUNS_MAX).ok_or(Refusal::Full)?;
        let limit = self.ledger.raw_client_limit().load(Ordering::Acquire) as usize;
        let places = &places[..limit.min(places.len())];
        let mine = self.slot_token(1);
        if places
            .iter()
            .any(|place| place.load(Ordering::Acquire) == mine)
        {
            return Ok(());
        }
        let take = |place: &AtomicU64| {
            place
                .compare_exchange(0, mine, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        if places.iter().any(take) {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    #[inline]
    fn line_of(&self, counters: &ConnectionCounters) -> Option<&AgentLine> {
        self.ledger.agent_line(counters.row.into(), counters.agent)
    }

    fn key_of(
        &self,
        counters: &ConnectionCounters,
        challenges: Option<&Challenges>,
    ) -> Option<Key> {
        let of_run = RunId::from_bits(counters.run);
        let agent = self.admission_keys.of(of_run, counters.agent).next()?;
        agent.key_on(challenges)
    }
}

impl ConnectionAdmission<'_> {
    /// Verifies the hello of the connection that carries an agent's probes, and takes its place: in
    /// front of an earlier one of that agent, which [`ConnectionAdmission::is_replaced`] is then.
    fn probes(
        &self,
        frame: &Frame,
        claimed: &Hello,
        challenges: Option<&Challenges>,
    ) -> Result<Authenticated, Refusal> {
        let mut shares = self.admission_keys.of(claimed.run, claimed.agent);
        // The static run has no agent that a server asks for probes.
        let share = shares.next().filter(|share| !share.is_static);
        let share = share.filter(|_| challenges.is_none());
        let share = share.ok_or(Refusal::Hello)?;
        let hello = Hello::open(frame, &share.key).ok_or(Refusal::Hello)?;
        let place = self.ledger.probe_place(share.row as usize, hello.agent);
        let place = place.ok_or(Refusal::Hello)?;
        if hello.attempt == 0 || !self.take_place(place, hello.attempt, false) {
            return Err(Refusal::Hello);
        }
        Ok(Authenticated {
            hello,
            is_probes: true,
            clock: share.clock,
            load: None,
            group: 0,
            row: share.row as u16,
        })
    }

    /// Whether this connection carries an agent's probes and another one has taken its place.
    #[inline]
    pub(crate) fn is_replaced(&self, counters: &ConnectionCounters) -> bool {
        counters.stage == Stage::Probes && !self.has_probe_place(counters)
    }

    #[cold]
    fn has_probe_place(&self, counters: &ConnectionCounters) -> bool {
        let place = (self.ledger).probe_place(counters.row.into(), counters.agent);
        let token = place.map(|place| place.load(Ordering::Acquire));
        // Whichever attempt it was.
        token.is_some_and(|token| token << 8 == self.slot_token(0) << 8)
    }

    fn take_place(&self, place: &AtomicU64, attempt: u8, is_static: bool) -> bool {
        let mine = self.slot_token(attempt);
        let taken = place.fetch_update(Ordering::AcqRel, Ordering::Acquire, |theirs| {
            let is_free = theirs == 0 || (!is_static && attempt > (theirs >> 56) as u8);
            (theirs == mine || is_free).then_some(mine)
        });
        taken.is_ok()
    }

    fn slot_token(&self, attempt: u8) -> u64 {
        slot_token(self.slot, self.generation, attempt)
    }
}

/// What a place in a client table holds: the attempt, the slot (24 bits) and its generation. Never
/// 0, since attempts and generations start at 1.
pub(crate) fn slot_token(slot: u32, generation: u32, attempt: u8) -> u64 {
    u64::from(attempt) << 56 | u64::from(slot & 0x00FF_FFFF) << 32 | u64::from(generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::Dimensions, model::ClockRelation};

    const RUN: RunId = RunId::from_bits(77);

    fn ledger() -> Ledger {
        let ledger = Ledger::create(Dimensions { slots: 4 }).unwrap();
        ledger.raw_client_limit().store(2, Ordering::Release);
        ledger
    }

    fn admission_keys() -> AdmissionKeys {
        let mut admission_keys = AdmissionKeys::new(true);
        for agent in 0..2 {
            admission_keys.admit(AdmissionKey {
                row: 3,
                run: RUN,
                agent,
                key: Key::from_bytes([agent as u8; 32]),
                clients: u32::from(agent) * 10..u32::from(agent) * 10 + 10,
                clock: if agent == 0 {
                    ClockRelation::Same
                } else {
                    ClockRelation::Unknown
                },
                load: None,
                group: 0,
                is_static: false,
            });
        }
        admission_keys
    }

    fn hello(agent: u16, client: u16, attempt: u8) -> Frame {
        Hello {
            run: RUN,
            agent,
            client,
            attempt,
        }
        .encode(&Key::from_bytes([agent as u8; 32]))
    }

    #[test]
    fn a_hello_is_admitted_once_and_its_replay_on_another_connection_is_not() {
        let (ledger, admission_keys) = (ledger(), admission_keys());
        let on = |slot| ConnectionAdmission {
            admission_keys: &admission_keys,
            ledger: &ledger,
            slot,
            generation: 1,
        };
        assert!(on(0).client(&hello(0, 4, 1), None).is_ok());
        assert!(
            on(0).client(&hello(0, 4, 1), None).is_ok(),
            "the same connection, after a death of its worker"
        );
        assert_eq!(
            on(1).client(&hello(0, 4, 1), None),
            Err(Refusal::Hello),
            "a replay"
        );
        assert!(
            on(1).client(&hello(0, 4, 2), None).is_ok(),
            "a higher attempt"
        );
        assert_eq!(
            on(2).client(&hello(0, 4, 1), None),
            Err(Refusal::Hello),
            "a lower attempt"
        );
    }

    #[test]
    fn the_connection_of_an_agents_probes_has_a_place_of_its_own_and_no_clients() {
        let (ledger, admission_keys) = (ledger(), admission_keys());
        let on = |slot| ConnectionAdmission {
            admission_keys: &admission_keys,
            ledger: &ledger,
            slot,
            generation: 1,
        };
        let probes = |agent, attempt| hello(agent, PROBE_CLIENT, attempt);
        let admitted = on(0).client(&probes(1, 1), None).unwrap();
        assert!(admitted.is_probes && admitted.load.is_none());
        assert_eq!((admitted.hello.agent, admitted.row), (1, 3));
        assert!(on(0).client(&probes(1, 1), None).is_ok(), "after a death");
        assert_eq!(
            on(1).client(&probes(1, 1), None),
            Err(Refusal::Hello),
            "a replay"
        );
        let of_agent = ConnectionCounters {
            stage: Stage::Probes,
            is_probes: true,
            agent: 1,
            row: 3,
            ..ConnectionCounters::default()
        };
        assert!(!on(0).is_replaced(&of_agent));
        assert!(
            on(1).client(&probes(1, 2), None).is_ok(),
            "a higher attempt"
        );
        assert!(on(0).is_replaced(&of_agent) && !on(1).is_replaced(&of_agent));
        let challenges = [[1; 16], [2; 16]].map(|bytes| Nonce::from_bytes(bytes).unwrap());
        let [client, server] = challenges;
        assert_eq!(
            on(1).client(&probes(1, 3), Some(&Challenges { client, server })),
            Err(Refusal::Hello),
            "behind a challenge"
        );
        assert!(on(2).client(&probes(0, 1), None).is_ok(), "another agent");
        assert_eq!(on(3).client(&probes(1, 0), None), Err(Refusal::Hello));
        assert_eq!(
            on(3).client(&probes(2, 1), None),
            Err(Refusal::Hello),
            "no such agent"
        );
        let mut foreign = probes(1, 3);
        foreign[31] ^= 1;
        assert!(on(3).client(&foreign, None).is_err());
        let places = ledger.client_table(3).unwrap();
        assert!(
            places
                .iter()
                .all(|place| place.load(Ordering::Acquire) == 0)
        );
    }

    #[test]
    fn a_hello_of_the_static_run_is_good_on_its_own_connection_only() {
        let (ledger, mut admission_keys) = (ledger(), AdmissionKeys::new(false));
        let key = Key::from_bytes([5; 32]);
        let challenges = |client, server| Challenges {
            client: Nonce::from_bytes([client; 16]).unwrap(),
            server: Nonce::from_bytes([server; 16]).unwrap(),
        };
        let first = challenges(1, 2).client.challenge();
        fn on<'a>(
            ledger: &'a Ledger,
            admission_keys: &'a AdmissionKeys,
            slot: u32,
        ) -> ConnectionAdmission<'a> {
            ConnectionAdmission {
                admission_keys,
                ledger,
                slot,
                generation: 1,
            }
        }
        assert_eq!(
            on(&ledger, &admission_keys, 0).challenge(&first),
            Err(Refusal::Hello),
            "there is no static run"
        );
        admission_keys.admit(AdmissionKey {
            row: 0,
            run: RunId::from_bits(0),
            agent: 0,
            key,
            clients: 0..10,
            clock: ClockRelation::Same,
            load: None,
            group: 0,
            is_static: true,
        });
        let admission = on(&ledger, &admission_keys, 0);
        assert_eq!(admission.challenge(&first), Ok(challenges(1, 2).client));
        let mut later = first;
        later[3] += 1;
        assert_eq!(admission.challenge(&later), Err(Refusal::Version));
        later = first;
        later[9] = 1;
        assert_eq!(admission.challenge(&later), Err(Refusal::Protocol));
        let hello = Hello {
            run: RunId::from_bits(0),
            agent: 0,
            client: 4,
            attempt: 1,
        };
        let own = challenges(1, 2);
        let recorded = hello.encode(&key.of_connection(&own));
        for other in [challenges(1, 3), challenges(3, 2), challenges(2, 1)] {
            assert_eq!(
                admission.client(&recorded, Some(&other)),
                Err(Refusal::Hello),
                "{other:?}"
            );
        }
        for hello in [recorded, hello.encode(&key)] {
            assert_eq!(admission.client(&hello, None), Err(Refusal::Version));
        }
        assert!(admission.client(&recorded, Some(&own)).is_ok());
    }

    #[test]
    fn the_key_of_the_static_run_itself_is_that_of_no_connection() {
        let (ledger, mut admission_keys) = (ledger(), admission_keys());
        let key = Key::from_bytes([5; 32]);
        admission_keys.admit(AdmissionKey {
            run: RunId::from_bits(0),
            key,
            is_static: true,
            ..admission_keys.agents()[0].clone()
        });
        let admission = ConnectionAdmission {
            admission_keys: &admission_keys,
            ledger: &ledger,
            slot: 0,
            generation: 1,
        };
        let challenges = Challenges {
            client: Nonce::from_bytes([1; 16]).unwrap(),
            server: Nonce::from_bytes([2; 16]).unwrap(),
        };
        let key_of = |run: RunId, challenges| {
            let counters = ConnectionCounters {
                run: run.bits(),
                ..ConnectionCounters::default()
            };
            admission.key_of(&counters, challenges)
        };
        let of_static_run = |challenges| key_of(RunId::from_bits(0), challenges);
        assert!(of_static_run(None).is_none());
        let of_connection = key.of_connection(&challenges);
        assert!(of_static_run(Some(&challenges)) == Some(of_connection));
        // What is left of another connection in the slot changes no key of a run.
        for left in [None, Some(&challenges)] {
            assert!(key_of(RUN, left) == Some(Key::from_bytes([0; 32])));
        }
    }

    #[test]
    fn an_agent_brings_its_own_clients_only() {
        let (ledger, admission_keys) = (ledger(), admission_keys());
        let admission = ConnectionAdmission {
            admission_keys: &admission_keys,
            ledger: &ledger,
            slot: 0,
            generation: 1,
        };
        assert!(
            admission
                .client(&hello(0, 9, 1), None)
                .is_ok_and(|client| client.clock == ClockRelation::Same)
        );
        assert!(
            admission
                .client(&hello(1, 10, 1), None)
                .is_ok_and(|client| client.clock == ClockRelation::Unknown)
        );
        for (agent, client, attempt) in [
            (0, 10, 1),
            (1, 9, 1),
            (1, 20, 1),
            (1, u16::MAX - 1, 1),
            (0, 3, 0),
        ] {
            assert_eq!(
                admission.client(&hello(agent, client, attempt), None),
                Err(Refusal::Hello),
                "{agent} {client} {attempt}"
            );
        }
    }

    #[test]
    fn after_the_run_and_for_unknown_agents_hellos_are_refused() {
        let (ledger, mut admission_keys) = (ledger(), admission_keys());
        let unknown = ConnectionAdmission {
            admission_keys: &admission_keys,
            ledger: &ledger,
            slot: 0,
            generation: 1,
        };
        assert_eq!(unknown.client(&hello(2, 0, 1), None), Err(Refusal::Hello));
        assert_eq!(unknown.client(&[0; 32], None), Err(Refusal::Protocol));
        admission_keys.dismiss(RUN);
        let after = ConnectionAdmission {
            admission_keys: &admission_keys,
            ledger: &ledger,
            slot: 0,
            generation: 1,
        };
        assert_eq!(after.client(&hello(0, 0, 1), None), Err(Refusal::Hello));
    }

    #[test]
    fn raw_clients_get_the_places_there_are_and_keep_them() {
        let (ledger, admission_keys) = (ledger(), admission_keys());
        let on = |slot| ConnectionAdmission {
            admission_keys: &admission_keys,
            ledger: &ledger,
            slot,
            generation: 1,
        };
        assert_eq!(
            (on(0).raw(), on(1).raw(), on(2).raw()),
            (Ok(()), Ok(()), Err(Refusal::Full))
        );
        assert_eq!((on(0).raw(), on(1).raw()), (Ok(()), Ok(())));
        let closed = AdmissionKeys::new(false);
        assert_eq!(
            ConnectionAdmission {
                admission_keys: &closed,
                ..on(3)
            }
            .raw(),
            Err(Refusal::Raw)
        );
    }
}
