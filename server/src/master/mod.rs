//! The master: accepts, places, supervises and recovers, on one plain thread with one epoll loop.
//!
//! It is a loop over four parts that do not use each other:
//!
//! | part | has |
//! |---|---|
//! | `acceptor::Acceptor` | the listener of the data port |
//! | `connection_table::ConnectionTable` | the sockets of all connections, and who reads each |
//! | `worker_pool::WorkerPool` | the worker processes and the messages to and from them |
//! | `run_counters::RunCounters` | what was counted, by run (pure) |
//!
//! | file | subject |
//! |---|---|
//! | `event_loop` | wait, dispatch, tick |
//! | `events` | what it waits for |
//! | `parts` | the four together: a connection is taken in, placed, credited, released |
//! | `recovery` | what happens when a worker ends |
//! | `replay` | counting what a worker had taken and not committed |
//! | `runs` | runs let in and closed |
//! | `run_table` | rows of the ledger for them, and those that are to end (pure) |
//! | `client_places` | places of clients in the ledger |
//! | `server_status` | the server as a whole |
//! | `request` | what the control plane may ask for |
//! | `admission` | what it takes to let a run in |
//! | `limits` | how many connections there may be |
//! | `settings`, `start` | starting it |
//! | `hand_over`, `restore` | an upgrade, in the old and in the new process |
//!
//! Each file uses those that stand below it, never the reverse: `start` the loop, the loop what is
//! done, this the parts. The master owns the listener, the workers and the ledger, and never reads
//! from a connection that a worker has. Workers are started from this thread only: the signal that
//! ends them with the master is bound to it.

mod acceptor;
pub(crate) mod admission;
mod client_places;
mod connection_table;
mod event_loop;
mod events;
#[cfg(test)]
pub(crate) mod example;
mod hand_over;
mod kernel_figures;
mod limits;
mod parts;
mod recovery;
mod replay;
pub(crate) mod request;
mod restore;
mod run_counters;
mod run_table;
mod runs;
mod server_status;
mod settings;
mod start;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;
mod worker_pool;

pub(crate) use self::{
    limits::{DESCRIPTORS_PER_WORKER, RUNS_MAX},
    request::{Handle, Request},
    settings::Settings,
    start::start,
};
