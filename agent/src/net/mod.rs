//! What one connection needs: which addresses may be loaded, the socket, the wait between two
//! tries, and errors of the operating system in words.

pub(crate) mod backoff;
pub(crate) mod connection;
pub(crate) mod error_text;
pub(crate) mod target;
