//! Who a connection belongs to: the question that the ledger asks when a first frame is complete.
//!
//! The ledger counts and does not decide who may come in. An implementation may keep its own state,
//! but must be idempotent for one connection: a worker may die between the answer and the commit of
//! the batch, and the process that replays the batch asks again.

use metronome_proto::{
    handshake::{Challenges, Hello, Key, Nonce, Refusal},
    packet::Frame,
    schedule::Schedule,
};

use super::counters::ConnectionCounters;
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

    /// The key of an authenticated client, for its end and the replies. `None` once its run is
    /// over.
    fn key_of(&self, counters: &ConnectionCounters, challenges: Option<&Challenges>)
    -> Option<Key>;
}

/// A client whose hello was verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Authenticated {
    pub(crate) hello: Hello,
    /// How the clock of the client's agent relates to this host's.
    pub(crate) clock: ClockRelation,
    /// The schedule of the run's plan, from 0 on: the client's phase is the agent's. `None` in a
    /// flood, and for a client that no plan has sent.
    pub(crate) schedule: Option<Schedule>,
}
