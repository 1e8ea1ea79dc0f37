//! The API on a real server, as a program without benchctl uses it.
//!
//! | module | subject |
//! |---|---|
//! | [`errors`] | what cannot be done, with its code, its figures and its details |
//! | [`requests`] | a run from its request to its deletion |
//! | [`lists`] | lists of runs and agents: pages, orders, filters, views |
//! | [`watch`] | the events of a run |
//! | [`server`] | what a server reports about itself: health, reflection, status and limits |

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod lists;
mod requests;
mod server;
mod watch;
