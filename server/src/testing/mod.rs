//! The door for fuzzers (fuzz/) and micro-benchmarks (benches/): all that another host or another
//! process lays before the server, as plain bytes and numbers, without sockets and processes.
//!
//! | file | subject |
//! |---|---|
//! | `connection` | the bytes of one client, read by workers that die |
//! | `ledger` | a slot in which anything may stand, recovered, shown, recorded and judged |
//! | `messages` | the messages between master and worker |
//! | `upgrade` | the state that an old server process sends to a new one |
//! | `plan` | plans, also for tests of other modules |
//! | `batch` | one received batch, for measuring what a worker does with it |
//!
//! Behind the feature `testing`, which no executable has. Panics are the findings: what is called
//! here asserts what must hold whatever comes.

mod batch;
mod connection;
mod ledger;
mod messages;
mod plan;
mod upgrade;

pub use batch::{Batch, Before, CLIENT, PACKETS_MAX, load_of};
pub use connection::{Connection, Counted, HELLO, KEY, LOAD, START, STATIC_KEY, WARM_UP_NS};
pub use ledger::recover_show_and_judge;
pub use messages::{HAND_OVER_BYTES, HandOver, read_hand_over};
#[cfg(test)]
pub(crate) use plan::{group_of, plan_of};
pub use upgrade::restore_state;
