//! The server from its ready line to its end.
//!
//! | file | subject |
//! |---|---|
//! | [`serve`] | puts the parts together and serves |
//! | [`limited_listener`] | the accept loop of both ports, with at most so many connections |
//! | [`opening_connection`] | a connection whose opening has a deadline |
//! | [`signals`] | SIGTERM, SIGINT, SIGHUP and SIGUSR2 |
//! | [`upgrade`] | what is saved for an upgrade, and restored in the new process |
//! | [`shutdown`] | the end: a drain, an upgrade, or a failure |

mod limited_listener;
mod opening_connection;
mod serve;
mod shutdown;
mod signals;
mod upgrade;

pub(crate) use serve::{Parts, serve};
