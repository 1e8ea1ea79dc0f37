//! Replies: what the server sends for packets that asked for it, and the round trips that they
//! show.
//!
//! | module | subject |
//! |---|---|
//! | [`stream`] | bytes of one connection, at any split → replies, round trips, last frame |
//! | [`small_histogram`] | the times of one client, in as much memory as they need |
//! | [`times`] | the round trips of one client, in its own and its group's distributions |
//! | [`live_replies`] | what is read while the load runs, for the progress of the run |
//! | [`outcome`] | what the record of a client has of its replies |
//! | [`reader`] | the one thread of a run that reads them |

pub(crate) mod live_replies;
pub(crate) mod outcome;
pub(crate) mod reader;
pub(crate) mod small_histogram;
pub(crate) mod stream;
pub(crate) mod times;
