//! The packet handler of a program of yours: what it is given, and how it is called.
//!
//! | file | subject |
//! |---|---|
//! | `packets.rs` | the trait, a batch and its packets |
//! | `mark.rs` | how far a handler has come with a connection: one word of the ledger |
//! | `handling/` | hands on what was committed and not handled, and marks it |
//!
//! A worker reads, commits, handles, marks as handled, and only then reads again. So whatever dies
//! when, each packet that was counted is handed on at least once. Absent on purpose: clocks,
//! sockets, and handlers in the master.

mod handling;
mod mark;
mod packets;

pub(crate) use handling::{Handling, NotHandled, forget};
pub(crate) use packets::HandlerFactory;
pub use packets::{PacketBatch, PacketHandler, ReceivedPacket};
