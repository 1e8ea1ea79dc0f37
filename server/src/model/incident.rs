//! Something that went wrong in the server while a run was going on, such as a worker's death.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The kind of the death of a worker.
pub(crate) const WORKER_DIED: &str = "worker died";

/// Most incidents that are kept of a run; later ones are only logged.
pub(crate) const INCIDENTS_MAX: usize = 100;

/// Something that went wrong.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Incident {
    /// ns of CLOCK_MONOTONIC.
    pub(crate) at_ns: u64,
    /// The kind of fault, in fixed words: "worker died".
    pub(crate) what: Cow<'static, str>,
    /// What happened, in one sentence.
    pub(crate) text: String,
}
