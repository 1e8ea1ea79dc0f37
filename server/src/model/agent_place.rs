//! The place of an agent: what a server keeps of it from one session to the next, and hands over in
//! an upgrade.

use serde::{Deserialize, Serialize};

use super::resume_token::ResumeToken;

/// The place of one agent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct AgentPlace {
    pub(crate) name: String,
    /// What the agent shows to get it back.
    pub(crate) resume_token: ResumeToken,
    /// It did not answer the last Prepare in time: only runs that name it are given to it.
    pub(crate) is_unresponsive: bool,
}
