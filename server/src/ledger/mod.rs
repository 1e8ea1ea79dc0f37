//! The ledger: what the workers have counted, in shared memory that outlives any of them.
//!
//! Each connection has a [`Slot`]; one process at a time writes to it. A batch goes like this, and
//! the order of the stores is what makes it recoverable:
//!
//! 1. the worker receives into the slot's buffer, which is shared memory;
//! 2. it stores the time of the read, and before that, for a client on another clock, the line by
//!    which times between the two are taken;
//! 3. it adds every packet's times to the slot's histograms, in the order of the packets, and puts
//!    replies into the reply queue;
//! 4. it writes all [`ConnectionCounters`] into the idle one of two copies;
//! 5. it flips one index. From here on the batch is counted.
//!
//! A worker may die between any two stores. The bytes that it had taken off the socket are then in
//! the buffer, and the kernel's count gives their number. So [`replay`] completes the batch exactly
//! once, in whichever process. Everything in between is pure (no clock, no socket) and is tested
//! with a death at every store.
//!
//! The master treats the ledger as untrusted input: it checks indices and sums, follows no pointer
//! and waits for nothing. The ledger does not know how processes talk to each other, nor who may
//! come in: it asks an [`Authenticate`].

mod authenticate;
mod batch;
#[cfg(test)]
mod between_clocks;
mod clock_lines;
mod commit_writer;
mod counters;
#[cfg(test)]
mod deaths;
mod due_times;
mod frames;
mod load_check;
mod load_words;
mod memory;
mod opening;
mod pace;
mod probes;
mod reach;
mod replay;
mod replies;
#[cfg(test)]
mod sizes;
mod slot;
mod slowest;
mod spread;
mod time_recorder;
mod trains;
mod usual_times;
#[cfg(test)]
mod world;

pub(crate) use authenticate::{Authenticate, Authenticated};
pub(crate) use batch::{place_partial_frame, process_batch};
pub(crate) use clock_lines::AgentLine;
pub(crate) use commit_writer::{CommitWriter, ReleaseStore};
#[cfg(any(test, feature = "testing"))]
pub(crate) use counters::HISTOGRAMS;
pub(crate) use counters::{ConnectionCounters, Stage, USED as WORDS_USED};
pub(crate) use frames::{BATCHES_AFTER_CUT, BUFFER_BYTES, REPLY_QUEUE_FRAMES};
pub(crate) use load_check::LoadCheck;
#[cfg(test)]
pub(crate) use load_words::tests::loads;
pub(crate) use load_words::{ClientLoad, LOAD_WORDS};
pub(crate) use memory::{Dimensions, LAYOUT, Ledger, MEMORIES, RUNS_MAX, WORKERS_MAX, WorkerLine};
pub(crate) use pace::with_pace_counts;
pub(crate) use replay::replay;
pub(crate) use replies::{receive_limit, refuse};
pub(crate) use slot::Slot;
pub(crate) use slowest::KEPT as SLOWEST_KEPT;
pub(crate) use usual_times::allocate_usual_times;
