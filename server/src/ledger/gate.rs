//! Who may come in: verifies hellos, gives each client of a run its seat and each raw client one.
//!
//! A seat is one cell of shared memory, so that whichever worker gets a connection sees what every
//! other has let in. Of a run's client it holds the highest attempt that was let in and by which
//! connection: a replayed hello has an attempt that is not higher. Letting the same connection in
//! twice is harmless, since a worker may die between taking the seat and committing the account.

use std::sync::atomic::{AtomicU64, Ordering};

use metronome_proto::{
    handshake::{Hello, Key, Refusal},
    packet::Frame,
    run_id::RunId,
};

use super::{Ledger, RUNS_MAX, account::Account};

/// An agent's share of an admitted run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgentKey {
    /// Row of the run's seats, below [`RUNS_MAX`].
    pub(crate) row: u32,
    pub(crate) run: RunId,
    pub(crate) agent: u16,
    pub(crate) key: Key,
    pub(crate) first_client: u32,
    pub(crate) clients: u32,
    pub(crate) shares_clock: bool,
    /// The standing run never ends, so a client may come back with any attempt once it has left.
    pub(crate) standing: bool,
}

/// What a process knows of the admitted runs.
#[derive(Debug)]
pub(crate) struct Gates {
    agents: Vec<AgentKey>,
    accept_raw: bool,
}

impl Gates {
    /// Nobody is admitted; raw clients are when `accept_raw` says so.
    pub(crate) fn new(accept_raw: bool) -> Self {
        Self {
            agents: Vec::new(),
            accept_raw,
        }
    }

    /// From now on the hellos of this agent are verified.
    pub(crate) fn admit(&mut self, agent: AgentKey) {
        self.agents
            .retain(|known| (known.run, known.agent) != (agent.run, agent.agent));
        self.agents.push(agent);
    }

    /// From now on the run's hellos are refused.
    pub(crate) fn dismiss(&mut self, run: RunId) {
        self.agents.retain(|agent| agent.run != run);
    }

    /// Every agent whose hellos are verified.
    pub(crate) fn agents(&self) -> &[AgentKey] {
        &self.agents
    }

    fn find(&self, run: RunId, agent: u16) -> Option<&AgentKey> {
        self.agents
            .iter()
            .find(|known| known.run == run && known.agent == agent)
    }

    /// The key that made the tag of the hello of a connection.
    pub(crate) fn key_of(&self, account: &Account) -> Option<&Key> {
        self.find(RunId::from_bits(account.run), account.agent)
            .map(|agent| &agent.key)
    }
}

/// The gate as one connection meets it.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    pub(crate) gates: &'a Gates,
    pub(crate) ledger: &'a Ledger,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Gate<'_> {
    /// Takes a hello: true with it when the client's agent shares our clock.
    pub(super) fn hello(&self, frame: &Frame) -> Result<(Hello, bool), Refusal> {
        let claimed = Hello::claimed(frame).ok_or(Refusal::Protocol)?;
        let agent = self
            .gates
            .find(claimed.run, claimed.agent)
            .ok_or(Refusal::Hello)?;
        let hello = Hello::open(frame, &agent.key).ok_or(Refusal::Hello)?;
        let client = u32::from(hello.client);
        let is_agents_own = client
            .checked_sub(agent.first_client)
            .is_some_and(|index| index < agent.clients);
        let seats = self
            .ledger
            .seats(agent.row as usize)
            .ok_or(Refusal::Hello)?;
        let seat = seats
            .get(client as usize)
            .filter(|_| is_agents_own)
            .ok_or(Refusal::Hello)?;
        if hello.attempt == 0 || !self.take_seat(seat, hello.attempt, agent.standing) {
            return Err(Refusal::Hello);
        }
        Ok((hello, agent.shares_clock))
    }

    /// Takes a raw client.
    pub(super) fn raw(&self) -> Result<(), Refusal> {
        if !self.gates.accept_raw {
            return Err(Refusal::Raw);
        }
        let seats = self.ledger.seats(RUNS_MAX).ok_or(Refusal::Full)?;
        let open = self.ledger.raw_seats().load(Ordering::Acquire) as usize;
        let seats = &seats[..open.min(seats.len())];
        let mine = self.ticket(1);
        if seats
            .iter()
            .any(|seat| seat.load(Ordering::Acquire) == mine)
        {
            return Ok(());
        }
        let take = |seat: &AtomicU64| {
            seat.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        if seats.iter().any(take) {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    fn take_seat(&self, seat: &AtomicU64, attempt: u8, standing: bool) -> bool {
        let mine = self.ticket(attempt);
        let taken = seat.fetch_update(Ordering::AcqRel, Ordering::Acquire, |theirs| {
            let is_free = theirs == 0 || (!standing && attempt > (theirs >> 56) as u8);
            (theirs == mine || is_free).then_some(mine)
        });
        taken.is_ok()
    }

    fn ticket(&self, attempt: u8) -> u64 {
        ticket(self.slot, self.generation, attempt)
    }
}

/// What stands in a seat: the attempt, the slot (24 bits), its generation. Never 0, since attempts
/// and generations start at 1.
pub(crate) fn ticket(slot: u32, generation: u32, attempt: u8) -> u64 {
    u64::from(attempt) << 56 | u64::from(slot & 0x00FF_FFFF) << 32 | u64::from(generation)
}

#[cfg(test)]
mod tests {
    use super::{super::Dimensions, *};

    const RUN: RunId = RunId::from_bits(77);

    fn ledger() -> Ledger {
        let ledger = Ledger::create(Dimensions { slots: 4 }).unwrap();
        ledger.raw_seats().store(2, Ordering::Release);
        ledger
    }

    fn gates() -> Gates {
        let mut gates = Gates::new(true);
        for agent in 0..2 {
            gates.admit(AgentKey {
                row: 3,
                run: RUN,
                agent,
                key: Key::from_bytes([agent as u8; 32]),
                first_client: u32::from(agent) * 10,
                clients: 10,
                shares_clock: agent == 0,
                standing: false,
            });
        }
        gates
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
    fn a_hello_is_let_in_once_and_its_replay_on_another_connection_is_not() {
        let (ledger, gates) = (ledger(), gates());
        let on = |slot| Gate {
            gates: &gates,
            ledger: &ledger,
            slot,
            generation: 1,
        };
        assert!(on(0).hello(&hello(0, 4, 1)).is_ok());
        assert!(
            on(0).hello(&hello(0, 4, 1)).is_ok(),
            "the same connection, after a death of its worker"
        );
        assert_eq!(
            on(1).hello(&hello(0, 4, 1)),
            Err(Refusal::Hello),
            "a replay"
        );
        assert!(on(1).hello(&hello(0, 4, 2)).is_ok(), "a higher attempt");
        assert_eq!(
            on(2).hello(&hello(0, 4, 1)),
            Err(Refusal::Hello),
            "a lower attempt"
        );
    }

    #[test]
    fn an_agent_brings_its_own_clients_only() {
        let (ledger, gates) = (ledger(), gates());
        let gate = Gate {
            gates: &gates,
            ledger: &ledger,
            slot: 0,
            generation: 1,
        };
        assert!(
            gate.hello(&hello(0, 9, 1))
                .is_ok_and(|(_, shares_clock)| shares_clock)
        );
        assert!(
            gate.hello(&hello(1, 10, 1))
                .is_ok_and(|(_, shares_clock)| !shares_clock)
        );
        for (agent, client, attempt) in [
            (0, 10, 1),
            (1, 9, 1),
            (1, 20, 1),
            (1, u16::MAX, 1),
            (0, 3, 0),
        ] {
            assert_eq!(
                gate.hello(&hello(agent, client, attempt)),
                Err(Refusal::Hello),
                "{agent} {client} {attempt}"
            );
        }
    }

    #[test]
    fn after_the_run_and_for_unknown_agents_hellos_are_refused() {
        let (ledger, mut gates) = (ledger(), gates());
        let unknown = Gate {
            gates: &gates,
            ledger: &ledger,
            slot: 0,
            generation: 1,
        };
        assert_eq!(unknown.hello(&hello(2, 0, 1)), Err(Refusal::Hello));
        assert_eq!(unknown.hello(&[0; 32]), Err(Refusal::Protocol));
        gates.dismiss(RUN);
        let after = Gate {
            gates: &gates,
            ledger: &ledger,
            slot: 0,
            generation: 1,
        };
        assert_eq!(after.hello(&hello(0, 0, 1)), Err(Refusal::Hello));
    }

    #[test]
    fn raw_clients_get_the_seats_there_are_and_keep_them() {
        let (ledger, gates) = (ledger(), gates());
        let on = |slot| Gate {
            gates: &gates,
            ledger: &ledger,
            slot,
            generation: 1,
        };
        assert_eq!(
            (on(0).raw(), on(1).raw(), on(2).raw()),
            (Ok(()), Ok(()), Err(Refusal::Full))
        );
        assert_eq!((on(0).raw(), on(1).raw()), (Ok(()), Ok(())));
        let closed = Gates::new(false);
        assert_eq!(
            Gate {
                gates: &closed,
                ..on(3)
            }
            .raw(),
            Err(Refusal::Raw)
        );
    }
}
