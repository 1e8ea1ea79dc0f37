//! What a browser shows of runs: the page that a server serves, the report that stands in one file,
//! and plots for documents.
//!
//! | module | subject |
//! |---|---|
//! | [`assets`] | the files of the page, as they lie in `assets/` |
//! | [`document`] | the page's document, and the same for a report |
//! | `modules` | the modules of the page as one script |
//! | [`report`] | runs and their series as one file |
//! | [`plots`] | the series of a run as SVG |
//!
//! Page and report have the same modules and the same data: the JSON of [`metronome_proto::json`].
//! All of it is pure: who serves it is the server's business, who writes it benchctl's. Absent on
//! purpose: anything that changes a run, and any address of another host.

pub mod assets;
pub mod document;
mod modules;
pub mod plots;
pub mod report;
