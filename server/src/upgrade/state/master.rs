//! The master's part of the state: everything that it needs besides the ledger and the sockets.

use std::{borrow::Cow, collections::VecDeque, fmt, net::SocketAddr};

use metronome_proto::histogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    ipc::{AdmissionKey, MESSAGE_BYTES, ToWorker},
    ledger::RUNS_MAX,
    model::{RunCounters, Unread, Work},
};

/// All of it. What is large is borrowed where it is saved, and owned where it is restored.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct MasterState<'a> {
    /// In the order in which their sockets are sent.
    pub(crate) connections: Vec<SavedConnection>,
    /// Last generation of each slot.
    pub(crate) generations: Vec<u32>,
    /// The agents whose hellos are verified.
    pub(crate) admission_keys: Vec<SavedAdmissionKey>,
    pub(crate) counters: Cow<'a, RunCounters>,
    pub(crate) workers: Vec<SavedWorker>,
    pub(crate) recovered_packets: u64,
    pub(crate) connections_lost: u64,
    pub(crate) pauses: Cow<'a, Histogram>,
    pub(crate) row_closed_ns: [u64; RUNS_MAX],
}

/// A connection without its socket, for a new server process.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct SavedConnection {
    pub(crate) slot: u32,
    pub(crate) peer: SocketAddr,
    pub(crate) put_at_start: u64,
    pub(crate) credited: Work,
    pub(crate) unread: Option<Unread>,
}

/// What a worker has been across its processes, for a new server process.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct SavedWorker {
    pub(crate) restarts: u32,
    pub(crate) packets: u64,
    pub(crate) cpu_gone_ns: u64,
    pub(crate) deaths: u64,
    pub(crate) deaths_ns: VecDeque<u64>,
}

/// An agent whose hellos are verified: the message by which a worker is to verify them. Never
/// shown.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct SavedAdmissionKey(Vec<u8>);

/// The master's part as it goes over the socket.
#[derive(Debug)]
pub(crate) struct EncodedMaster {
    pub(super) bytes: Vec<u8>,
    /// How many connections were sent.
    pub(crate) connections: usize,
}

impl MasterState<'_> {
    /// Encodes it. The master's thread does this: to copy all counters for another thread would
    /// lengthen the pause in which no client is read. An error is one sentence.
    pub(crate) fn encode(&self) -> Result<EncodedMaster, String> {
        let bytes = postcard::to_stdvec(self)
            .map_err(|error| format!("the master's state cannot be encoded: {error}"))?;
        Ok(EncodedMaster {
            bytes,
            connections: self.connections.len(),
        })
    }

    /// Refuses rows of the ledger that do not exist or that two runs share. The other parts are
    /// checked where they are restored. An error is one sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut rows: Vec<_> = self.counters.rows().collect();
        rows.sort_unstable();
        // Row 0 is the static run's, which has no counters of its own.
        let is_possible =
            rows.iter().all(|row| (1..RUNS_MAX).contains(row)) && rows.is_sorted_by(|a, b| a < b);
        if is_possible {
            Ok(())
        } else {
            Err("the runs' rows in the ledger contradict each other".into())
        }
    }
}

impl fmt::Debug for SavedAdmissionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SavedAdmissionKey(…)")
    }
}

impl From<AdmissionKey> for SavedAdmissionKey {
    fn from(agent: AdmissionKey) -> Self {
        Self(ToWorker::Admit(agent.into()).encode().to_vec())
    }
}

impl SavedAdmissionKey {
    /// The agent. An error is one sentence.
    pub(crate) fn restore(&self) -> Result<AdmissionKey, String> {
        let message: Option<&[u8; MESSAGE_BYTES]> = self.0.as_slice().try_into().ok();
        match message.map(ToWorker::decode) {
            Some(Ok(ToWorker::Admit(agent))) if (agent.row as usize) < RUNS_MAX => Ok(*agent),
            _ => Err("an agent's key cannot be read".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::handshake::Key;

    use super::*;
    use crate::master::example::{agent_key, master_state};

    #[test]
    fn rows_that_do_not_exist_and_keys_that_cannot_be_read_are_refused() {
        assert_eq!(master_state(1, 1).check(), Ok(()));
        assert!(master_state(RUNS_MAX, 1).check().is_err());
        assert!(
            master_state(0, 1).check().is_err(),
            "the static run has no counters of its own"
        );
        let agent = SavedAdmissionKey::from(agent_key(2)).restore().unwrap();
        assert_eq!(
            (agent.row, agent.agent, agent.key),
            (2, 1, Key::from_bytes([9; 32]))
        );
        assert!(
            SavedAdmissionKey::from(agent_key(RUNS_MAX as u32))
                .restore()
                .is_err()
        );
        assert!(SavedAdmissionKey(vec![0; 5]).restore().is_err());
        assert!(
            format!("{:?}", SavedAdmissionKey::from(agent_key(1))).contains('…'),
            "a key is never shown"
        );
    }
}
