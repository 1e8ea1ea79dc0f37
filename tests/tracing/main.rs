//! What collectors of traces and metrics get to see of a run, on the three real executables: with a
//! collector in the test itself, and with collectors that refuse, hang or are not there.
//!
//! | module | subject |
//! |---|---|
//! | [`observed`] | server and agent that send to a collector |
//! | [`tree`] | one run is one trace; its spans, their parents and attributes, as documented |
//! | [`incidents`] | what goes wrong is an event of the right span |
//! | [`delivery`] | TLS, headers, gzip |
//! | [`scrape`] | the HTTP port |
//! | [`variables`] | variables that are nonsense or secret |
//! | [`absence`] | a collector that does not take what it is given |
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod absence;
#[path = "../common/mod.rs"]
mod common;
mod delivery;
mod incidents;
mod observed;
mod scrape;
mod tree;
mod variables;
