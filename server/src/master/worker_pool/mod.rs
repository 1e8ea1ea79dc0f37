//! The worker processes: started, watched, replaced and restarted one by one.
//!
//! | file | subject |
//! |---|---|
//! | `pool` | all workers, as the master sees them |
//! | `figures` | what they are and have done |
//! | `worker` | one worker across its processes: what outlives each of them |
//! | `process` | one process: started, watched, ended |
//! | `spare` | a process that is not one of them yet |
//! | `starter` | the thread that starts it |
//! | `message_channel` | messages to it and from it, and the queue to a full channel |
//! | `deaths` | how long to wait before the next start (pure) |
//! | `placement` | which worker gets a connection (pure) |
//! | `rolling` | whose turn it is in a rolling restart (pure) |
//! | `log` | the standard error of workers |
//!
//! Absent on purpose: the connections. What becomes of those of a dead worker is decided by the
//! recovery.

mod deaths;
mod figures;
mod log;
mod message_channel;
mod placement;
mod pool;
mod process;
mod rolling;
mod spare;
mod starter;
mod worker;

pub(super) use pool::{PoolSettings, WorkerPool};
pub(super) use worker::EndedProcess;
#[cfg(any(test, feature = "testing"))]
pub(super) use worker::Worker;
