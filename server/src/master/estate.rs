//! What a master leaves to its successor besides the ledger and the connections, as bytes.
//!
//! The books go as they are. What comes is checked: a successor may be given anything.

use metronome_proto::histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{books::Books, seats::Reservation, workers::Legacy};
use crate::ledger::{AgentKey, MESSAGE_BYTES, RUNS_MAX, ToWorker};

/// All of it. `B` is the books, borrowed by who leaves them and owned by who takes them.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Estate<B> {
    pub(super) seats: Vec<Reservation>,
    /// Last generation of each slot.
    pub(super) generations: Vec<u32>,
    pub(super) gates: Vec<Gatekey>,
    pub(super) books: B,
    pub(super) workers: Vec<Legacy>,
    pub(super) recovered_packets: u64,
    pub(super) connections_lost: u64,
    pub(super) pauses: Histogram,
    pub(super) row_closed_ns: [u64; RUNS_MAX],
}

/// An agent whose hellos are verified, as a worker is told of it.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Gatekey(Vec<u8>);

impl std::fmt::Debug for Gatekey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Gatekey(…)")
    }
}

impl From<AgentKey> for Gatekey {
    fn from(agent: AgentKey) -> Self {
        Self(ToWorker::Admit(agent).encode().to_vec())
    }
}

impl Gatekey {
    /// The agent. An error is one sentence.
    pub(super) fn agent(&self) -> Result<AgentKey, String> {
        let message: Option<&[u8; MESSAGE_BYTES]> = self.0.as_slice().try_into().ok();
        match message.map(ToWorker::decode) {
            Some(Ok(ToWorker::Admit(agent))) if (agent.row as usize) < RUNS_MAX => Ok(agent),
            _ => Err("an agent's key cannot be read".into()),
        }
    }
}

impl<B: Serialize> Estate<B> {
    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        postcard::to_stdvec(self)
            .map_err(|error| format!("the books cannot be written down: {error}"))
    }
}

impl Estate<Books> {
    /// Reads it. An error is one sentence.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let estate: Self = postcard::from_bytes(bytes)
            .map_err(|error| format!("the books cannot be read: {error}"))?;
        let mut rows: Vec<_> = estate.books.runs.values().map(|book| book.row).collect();
        rows.sort_unstable();
        let is_possible =
            rows.iter().all(|row| (1..RUNS_MAX).contains(row)) && rows.is_sorted_by(|a, b| a < b);
        if is_possible {
            Ok(estate)
        } else {
            Err("the runs' rows in the ledger contradict each other".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use metronome_proto::{handshake::Key, run_id::RunId};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ledger::{Account, Dimensions, End, Ledger},
        master::{
            books::Ended,
            request::{Admission, WorkerCount},
            seats::{Seats, Unread},
        },
        upgrade::{FORMAT_VERSION, fingerprint},
    };

    fn key(row: u32) -> AgentKey {
        AgentKey {
            row,
            run: RunId::from_bits(7),
            agent: 1,
            key: Key::from_bytes([9; 32]),
            first_client: 3,
            clients: 4,
            shares_clock: true,
            standing: false,
        }
    }

    fn books(row: usize, seed: u64) -> Books {
        let mut books = Books::default();
        books.accepted = seed;
        let admission = Admission {
            run: RunId::from_bits(seed),
            clients: 5,
            agents: Vec::new(),
        };
        books.open(
            &admission,
            row,
            vec![
                WorkerCount {
                    packets: seed,
                    ..WorkerCount::default()
                };
                2
            ],
        );
        books.note_incident(seed, "worker died", "it did");
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let client = Account {
            run: seed,
            attempt: 1,
            packets: 3,
            end: End::Clean,
            ..Account::default()
        };
        for account in [
            client,
            Account {
                is_raw: true,
                attempt: 0,
                ..client
            },
        ] {
            let (record, peer) = (&ledger.slots()[0], ([127, 0, 0, 1], 1).into());
            books.book(&Ended {
                account: &account,
                record,
                peer,
                worker: Some(1),
                bytes_taken: Some(seed),
            });
        }
        books
    }

    fn encoded(row: usize, seed: u64) -> Vec<u8> {
        let mut pauses = Histogram::default();
        pauses.record(seed);
        let mut seats = Seats::new(4);
        let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let slot = seats
            .take(socket, ([127, 0, 0, 1], 1).into(), seed)
            .unwrap();
        seats.get_mut(slot).unwrap().unread = Some(Unread {
            since_ns: seed,
            worked_ns: 1,
        });
        let estate = Estate {
            generations: seats.generations().to_vec(),
            gates: vec![key(1).into()],
            books: &books(row, seed),
            workers: vec![Legacy::default(); 2],
            recovered_packets: seed,
            connections_lost: 1,
            pauses,
            row_closed_ns: [seed; RUNS_MAX],
            seats: seats.reservations(),
        };
        estate.encode().unwrap()
    }

    proptest! {
        #[test]
        fn the_books_come_back_as_they_were(seed: u64, row in 1..RUNS_MAX) {
            let bytes = encoded(row, seed);
            let estate = Estate::decode(&bytes).unwrap();
            prop_assert_eq!(estate.encode().unwrap(), bytes);
            prop_assert_eq!(estate.books.reserved_clients(), 5);
        }

        #[test]
        fn garbage_is_refused_or_makes_sense_and_never_a_panic(bytes: Vec<u8>, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut damaged = encoded(1, 77);
            let position = at.index(damaged.len());
            damaged[position] = byte;
            let shorter = damaged[..cut.index(damaged.len())].to_vec();
            for bytes in [bytes, damaged, shorter] {
                if let Ok(estate) = Estate::decode(&bytes) {
                    let keys: Result<Vec<_>, _> = estate.gates.iter().map(Gatekey::agent).collect();
                    prop_assert!(keys.map_or(true, |keys| keys.iter().all(|key| (key.row as usize) < RUNS_MAX)));
                }
            }
        }
    }

    #[test]
    fn a_change_of_what_is_handed_over_raises_the_format_version() {
        let known = (2, 18_266_699_312_504_421_679);
        let ours = (
            FORMAT_VERSION,
            fingerprint(&encoded(1, 0x0123_4567_89ab_cdef)),
        );
        assert_eq!(
            ours, known,
            "raise FORMAT_VERSION and note the new fingerprint"
        );
    }

    #[test]
    fn rows_that_do_not_exist_and_keys_that_cannot_be_read_are_refused() {
        assert!(Estate::decode(&encoded(RUNS_MAX, 1)).is_err());
        assert!(
            Estate::decode(&encoded(0, 1)).is_err(),
            "the standing run has no book"
        );
        let agent = Gatekey::from(key(2)).agent().unwrap();
        assert_eq!(
            (agent.row, agent.agent, agent.key),
            (2, 1, Key::from_bytes([9; 32]))
        );
        assert!(Gatekey::from(key(RUNS_MAX as u32)).agent().is_err());
        assert!(Gatekey(vec![0; 5]).agent().is_err());
        assert!(
            format!("{:?}", Gatekey::from(key(1))).contains('…'),
            "a key is never shown"
        );
    }
}
