//! The history of runs, in an embedded SQLite file that several servers may share.
//!
//! A run is written twice: when it is made, and when it has ended, with its report and its client
//! rows. In between the file holds only which server owns the run; when that server ends without
//! having finished the run, the run is ABORTED (see [`owner`]).
//!
//! | file | subject |
//! |---|---|
//! | [`sqlite`] | [`Store`]: the file open for reading and writing by one server |
//! | [`history`] | [`History`]: the file open for reading only, without a server |
//! | [`rows`] | runs and client rows from and to the API's messages |
//! | [`owner`] | which server owns an unfinished run, and whether it still lives |
//! | [`schema`] | the tables, and how an older file is brought up to date |
//!
//! Absent on purpose: async, and any other form of a run than the API's messages.

mod history;
mod owner;
mod rows;
mod schema;
mod sqlite;

pub use history::History;
pub(crate) use history::without_records;
pub(crate) use rows::is_final;
pub(crate) use sqlite::{InsertError, Store};
