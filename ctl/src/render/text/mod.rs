//! Results for people.
//!
//! | module | form |
//! |---|---|
//! | [`summary`] | a run on one screen |
//! | [`progress`] | a run as one line while it runs |
//! | [`server`] | the server on one screen |
//! | [`tables`] | runs, agents, clients, workers, raw clients |
//! | [`doctor`], [`settings`] | findings, settings |
//! | [`figures`] | how numbers and foreign text look in all of them |
//! | [`colour`] | whether they carry colours |

pub(crate) mod colour;
pub(crate) mod doctor;
mod figures;
pub(crate) mod progress;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod summary;
pub(crate) mod tables;
