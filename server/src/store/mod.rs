//! The history of runs, in an embedded SQLite file that several servers may share.
//!
//! A run is written twice: when it is made, and when it has ended, with its report and its client
//! rows. In between the file holds only which server owns the run; when that server ends without
//! having written the end, the run is ABORTED (see [`owner`]): what became of it is not known.
//!
//! | file | subject |
//! |---|---|
//! | [`sqlite`] | [`Store`]: the file open for reading and writing by one server |
//! | [`connections`] | the connections of [`Store`], also after the file was replaced or locked |
//! | [`history`] | [`History`]: the file open for reading only, without a server |
//! | [`list`] | a page of runs: filter, order, limits |
//! | [`view`] | a run as it is shown, from how it is stored |
//! | [`rows`] | runs from and to the API's messages |
//! | [`client_pages`] | client rows from and to the API's messages |
//! | [`series_pages`] | the series from and to the API's messages |
//! | [`indexed`] | the ids of runs by an index, where their rows are lost |
//! | [`owner`] | which server owns an unfinished run, and whether it still lives |
//! | [`schema`] | the tables, and the format of the file |
//! | [`not_kept`] | whether a history can be kept where it is to lie |
//! | [`failure`] | why the file could not be used: locked, damaged, or something else |
//!
//! Absent on purpose: async, and any other form of a run than the API's messages.

mod client_pages;
mod connections;
mod failure;
mod history;
mod indexed;
mod list;
mod not_kept;
mod owner;
mod rows;
mod schema;
mod series_pages;
mod sqlite;
mod view;

pub use history::History;
pub use list::{ListQuery, RunPage};
pub(crate) use not_kept::why_not_kept;
pub(crate) use rows::RequestDigest;
pub(crate) use sqlite::{Deleted, InsertError, Store};
pub(crate) use view::{clear_records_of_parts, without_records};
