//! Results for people. What is not known is `–`.
//!
//! | module | form |
//! |---|---|
//! | [`summary`] | a run on one screen |
//! | [`grounds`] | missed objectives, reasons, failures and notes, each with its remedy |
//! | [`environment`] | the hosts of a run |
//! | [`objectives`] | what a plan asks for, and how it came out |
//! | [`progress`] | a run as one line while it runs |
//! | [`server`] | the server on one screen |
//! | [`tables`], [`clients`] | runs, agents, workers, raw clients; the clients of a run |
//! | [`doctor`], [`settings`] | findings, settings |
//! | [`figures`] | how numbers and foreign text look in all of them |
//! | [`colour`] | whether they carry colours |

mod clients;
pub(crate) mod colour;
pub(crate) mod doctor;
mod environment;
mod figures;
mod grounds;
mod objectives;
pub(crate) mod progress;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod summary;
pub(crate) mod tables;
