//! Who a connection belongs to: the question that the ledger asks when a first frame is complete.
//!
//! The ledger counts and does not decide who may come in. An implementation may keep its own state,
//! but must be idempotent for one connection: a worker may die between the answer and the commit of
//! the batch, and the process that replays the batch asks again.

use metronome_proto::{
    handshake::{Challenges, Hello, Key, Nonce, Refusal},
    packet::Frame,
};

use super::{clock_lines::AgentLine, counters::ConnectionCounters, load_words::ClientLoad};
use crate::model::ClockRelation;

/// Admits connections.
pub(crate) trait Authenticate {
    /// What a client of the static run has drawn, from its first frame.
    fn challenge(&self, challenge: &Frame) -> Result<Nonce, Refusal>;

    /// Verifies a hello and takes the client's place in its run. `challenges` are those of a
    /// connection that began with them, which those of the static run do and no others.
    fn client(
        &self,
        hello: &Frame,
        challenges: Option<&Challenges>,
    ) -> Result<Authenticated, Refusal>;

    /// Takes a place for a client that does not speak the protocol.
    fn raw(&self) -> Result<(), Refusal>;

    /// Where the present line between this host's clock and that of the client's agent is.
    fn line_of(&self, counters: &ConnectionCounters) -> Option<&AgentLine>;

    /// The key of an authenticated client, for its end and the replies. `None` once its run is
    /// over.
    fn key_of(&self, counters: &ConnectionCounters, challenges: Option<&Challenges>)
    -> Option<Key>;
}

/// A client whose hello was verified, or the connection of an agent's probes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Authenticated {
    pub(crate) hello: Hello,
    /// It carries probes and no packets.
    pub(crate) is_probes: bool,
    /// How the clock of the client's agent relates to this host's.
    pub(crate) clock: ClockRelation,
    /// What the run's plan asks of it. `None` for a client of the static run.
    pub(crate) load: Option<ClientLoad>,
    /// The place of its group in the plan; 0 in the static run.
    pub(crate) group: u16,
    /// The row of its run's tables.
    pub(crate) row: u16,
}
