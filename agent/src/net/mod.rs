//! The way to a target: which addresses may be loaded, connecting, the connections and their ends.

pub(crate) mod backoff;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod drain;
pub(crate) mod error_text;
pub(crate) mod open_files;
pub(crate) mod target;
pub(crate) mod try_connect;
