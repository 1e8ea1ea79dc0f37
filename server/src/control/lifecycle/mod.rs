//! The server from its ready line to its end.
//!
//! | file | subject |
//! |---|---|
//! | [`startup`] | puts the parts together and serves |
//! | [`limited_listener`] | the accept loop of both ports, with at most so many connections |
//! | [`places`] | which connection has a place, and which one goes for it: pure |
//! | [`place_table`] | the places as they are taken |
//! | [`placed_connection`] | a connection, which has a place and can be cut off |
//! | [`answer_progress`] | how much of its answer a peer has taken |
//! | [`signals`] | SIGTERM, SIGINT, SIGHUP and SIGUSR2 |
//! | [`hang_up`] | what a SIGHUP means: pure |
//! | [`upgrade`] | what is saved for an upgrade, and restored in the new process |
//! | [`shutdown`] | the end: a drain, an upgrade, or a failure |

mod answer_progress;
mod hang_up;
mod limited_listener;
mod place_table;
mod placed_connection;
mod places;
mod shutdown;
mod signals;
mod startup;
mod upgrade;

pub(crate) use startup::{Settings, serve};
