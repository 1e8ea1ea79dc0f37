//! Probes of a run: what proves how the agent's clock relates to the server's, and how the path is.
//!
//! | module | subject |
//! |---|---|
//! | [`log`] | which probes are open, and the readings that wait to be reported; pure |
//! | [`prober`] | the thread that sends them on a connection of its own |

pub(crate) mod log;
pub(crate) mod prober;
