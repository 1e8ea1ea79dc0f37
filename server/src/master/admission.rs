//! What it takes to let a run in, and why one cannot be.

use std::time::Duration;

use metronome_proto::{handshake::Key, run_id::RunId, share::Share};

use crate::model::AgentShare;

/// A run whose clients may connect.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) run: RunId,
    /// Clients of all agents: indices 0 to `clients` − 1.
    pub(crate) clients: u32,
    /// For how long each client sends.
    pub(crate) duration: Duration,
    /// Packets due before this time after the start are in no distribution.
    pub(crate) warm_up: Duration,
    /// What random arrivals are drawn from.
    pub(crate) seed: u64,
    /// Names of the groups, in the order of the plan.
    pub(crate) groups: Vec<String>,
    /// Each agent's share and the key of its hellos, in the order of the agents' indices.
    pub(crate) agents: Vec<(AgentShare, Key)>,
}

impl Admission {
    /// The place of a share's group in the plan; behind the last one where it is none of the run's.
    pub(crate) fn group_of(&self, share: &Share) -> u16 {
        let place = self.groups.iter().position(|name| *name == share.group);
        u16::try_from(place.unwrap_or(self.groups.len())).unwrap_or(u16::MAX)
    }
}

/// Why a run cannot be let in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AdmitError {
    /// The caller refuses the run with this sentence.
    #[error(
        "{asked} clients are asked for and {free} of --max-clients {max} are free; \
         stop a run, ask for fewer or start the server with more"
    )]
    Full { asked: u32, free: u32, max: u32 },
    /// The caller refuses the run with this sentence, too.
    #[error("{max} runs are going on, which is the most; stop one or wait")]
    TooManyRuns { max: u32 },
}
