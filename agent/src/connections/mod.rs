//! The beginning and the end of the connections of a load: every client is connected before the
//! first packet is due, and its connection is ended after the last one.

pub(crate) mod connect;
mod connect_limit;
pub(crate) mod drain;
pub(crate) mod outlook;
pub(crate) mod try_connect;
