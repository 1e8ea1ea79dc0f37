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
        postcard::to_stdvec(self).map_err(|error| format!("the books cannot be written down: {error}"))
    }
}

impl Estate<Books> {
    /// Reads it. An error is one sentence.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let estate: Self = postcard::from_bytes(bytes).map_err(|error| format!("the books cannot be read: {error}"))?;
        let mut rows: Vec<_> = estate.books.runs.values().map(|book| book.row).collect();
        rows.sort_unstable();
        let is_possible = rows.iter().all(|row| (1..RUNS_MAX).contains(row)) && rows.is_sorted_by(|a, b| a < b);
        if is_possible { Ok(estate) } else { Err("the runs' rows in the ledger contradict each other".into()) }
    }
}
