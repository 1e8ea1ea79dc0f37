//! Probes of a run: what proves how the agent's clock relates to the server's, and how the path is.
//!
//! | module | subject |
//! |---|---|
//! | [`open_probes`] | which probes of a connection are open, and what an answer reads; pure |
//! | [`log`](mod@log) | what was read and waits to be reported; pure |
//! | [`line`](mod@line) | one connection that carries probes |
//! | [`prober`] | the thread that sends them on a connection of its own |

mod line;
pub(crate) mod log;
mod open_probes;
pub(crate) mod prober;
