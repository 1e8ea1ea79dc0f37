//! The server as benchctl sees it: its address, its calls with their deadlines, and its errors as
//! failures.
//!
//! | module | subject |
//! |---|---|
//! | [`address`] | where a server listens |
//! | [`dial`] | connecting to it |
//! | [`requests`] | the calls of its API |
//! | [`deadlines`] | how long a call may take, and which calls are repeated |
//! | [`errors`] | errors as failures |
//! | [`first_bytes`] | what a peer answers that does not speak plain HTTP/2 |
//! | [`watch`] | a run watched to its end |
//! | [`follow`] | the events of a server |
//! | [`rpc_tracing`] | a span for every call |

mod address;
mod deadlines;
mod dial;
mod errors;
mod first_bytes;
mod follow;
mod requests;
mod rpc_tracing;
mod watch;

pub(crate) use address::Address;
pub(crate) use dial::{connect, connect_if_listening};
pub(crate) use follow::Wanted;
pub(crate) use requests::{Client, PAGES_MAX};
