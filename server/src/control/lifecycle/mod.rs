//! The server from its ready line to its end.
//!
//! | file | subject |
//! |---|---|
//! | [`startup`] | puts the parts together and serves |
//! | [`limited_listener`] | the accept loop of both ports, with at most so many connections |
//! | [`opening_connection`] | a connection whose opening has a deadline |
//! | [`signals`] | SIGTERM, SIGINT, SIGHUP and SIGUSR2 |
//! | [`upgrade`] | what is saved for an upgrade, and restored in the new process |
//! | [`shutdown`] | the end: a drain, an upgrade, or a failure |

mod limited_listener;
mod opening_connection;
mod shutdown;
mod signals;
mod startup;
mod upgrade;

pub(crate) use startup::{Settings, serve};
