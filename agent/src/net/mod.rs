//! What one connection needs: which addresses may be loaded, the socket, the wait between two
//! tries, and errors of the operating system as codes and in words.

pub(crate) mod backoff;
pub(crate) mod connection;
pub(crate) mod error_text;
pub(crate) mod socket_error;
pub(crate) mod target;
pub(crate) mod tcp_figures;
