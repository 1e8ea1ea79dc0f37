//! Results for people. What is not known is `–`.
//!
//! | module | form |
//! |---|---|
//! | [`summary`] | a run on one screen: its [`packets`], its [`replies`], its [`times`] |
//! | [`groups`] | the groups of a run, a row each |
//! | [`explain`] | what each line of that is |
//! | [`grounds`] | missed objectives, reasons, failures and notes, each with its remedy |
//! | [`environment`] | the hosts of a run |
//! | [`objectives`] | what a plan asks for, and how it came out |
//! | [`progress`] | a run as one line while it runs |
//! | [`server`] | the server on one screen |
//! | [`tables`], [`clients`] | runs, agents, workers, raw clients; the clients of a run |
//! | [`doctor`], [`doctor_paths`], [`settings`] | findings, paths to agents, settings |
//! | [`figures`] | how numbers and foreign text look in all of them |
//! | [`table`], [`rows`] | how they lie in the columns of a screen |
//! | [`screen`], [`colour`] | its width, and whether it takes colours |

mod clients;
pub(crate) mod colour;
pub(crate) mod doctor;
pub(crate) mod doctor_paths;
mod environment;
pub(crate) mod events;
mod explain;
pub(crate) mod figures;
mod grounds;
mod groups;
mod network;
pub(crate) mod objectives;
mod packets;
pub(crate) mod progress;
mod replies;
mod rows;
pub(crate) mod screen;
pub(crate) mod series;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod summary;
mod table;
pub(crate) mod tables;
pub(crate) mod times;
