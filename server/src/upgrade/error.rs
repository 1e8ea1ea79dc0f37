//! Why a server was not upgraded and goes on, as data: a program can wait for the one and has to
//! start anew for the other.

use std::time::Duration;

use metronome_proto::{run_id::RunId, v1::RunState};

/// Why a server was not upgraded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// The new process ended, refused, or was not healthy in time. One sentence.
    #[error("{0}")]
    Failed(String),
    /// The new process does not read the state of this one. One sentence.
    #[error("{0}")]
    Incompatible(String),
    /// This server can never be upgraded. One sentence.
    #[error("{0}")]
    NotPossible(String),
    /// A run was neither RUNNING nor over in time.
    #[error(
        "run {} is {} and was not RUNNING or over within {waited:?}, which it must be",
        .run.id, .run.state.name()
    )]
    NotMovable {
        /// The run.
        run: StuckRun,
        /// How long that was waited for.
        waited: Duration,
    },
    /// The server is to end.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// A run that cannot be handed over in its state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct StuckRun {
    pub(crate) id: RunId,
    pub(crate) state: RunState,
}

/// What has no kind of its own.
impl From<String> for UpgradeError {
    fn from(sentence: String) -> Self {
        Self::Failed(sentence)
    }
}

/// The state of the old server is none that this process reads. One sentence.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(pub(super) String);
