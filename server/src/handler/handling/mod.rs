//! Hands on the packets of a connection that are committed and not handled, and marks them.
//!
//! The order of the stores, behind the commit of a batch:
//!
//! 1. one more try, in the mark;
//! 2. the handler is called;
//! 3. the mark moves to the end of the last whole frame, without tries.
//!
//! Until the third of them nothing else is received, so the batch still lies in the slot's buffer:
//! byte 0 of the buffer is the byte of the stream at which the mark stands, since the bytes of a
//! split frame are put in front of those that are received. A process that replays what a worker
//! has left commits it and leaves the mark, so the next worker finds it here in the same way.
//!
//! A master calls no handler. Where a run is over, it therefore has a worker end the connection.

use std::sync::atomic::Ordering;

use metronome_proto::{packet::FRAME_BYTES, run_id::RunId};

use super::{
    mark::Mark,
    packets::{PacketBatch, PacketHandler},
};
use crate::ledger::{BUFFER_BYTES, CommitWriter, ConnectionCounters, Slot};

const WORD_BYTES: usize = size_of::<u64>();

/// Why packets that are committed are not handed on. The client cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotHandled {
    /// The handler was called three times in a row and has never come to the end.
    Failed,
    /// The mark does not fit the committed counters: the ledger is damaged.
    Impossible,
}

/// The handler of a worker, with room for one batch.
pub(crate) struct Handling {
    handler: Box<dyn PacketHandler>,
    /// A copy of the batch: others may write to the shared memory at any time.
    bytes: Box<[u8]>,
}

impl Handling {
    pub(crate) fn new(handler: Box<dyn PacketHandler>) -> Self {
        Self {
            handler,
            bytes: vec![0; BUFFER_BYTES].into(),
        }
    }

    /// Takes over a connection: hands on what the worker before this one has left. To be called
    /// before anything is received. Of a connection that a server without a handler has read so far
    /// only what comes from here on is handed on.
    pub(crate) fn adopt(
        &mut self,
        slot: &Slot,
        counters: &ConnectionCounters,
        writer: &impl CommitWriter,
    ) -> Result<(), NotHandled> {
        if Mark::from_word(slot.handled()).is_none() {
            slot.set_handled(Mark::at(whole_bytes(counters)).to_word(), writer);
        }
        self.handle(slot, counters, writer)
    }

    /// Hands on what is committed and not handled, and marks it.
    #[inline(never)]
    pub(crate) fn handle(
        &mut self,
        slot: &Slot,
        counters: &ConnectionCounters,
        writer: &impl CommitWriter,
    ) -> Result<(), NotHandled> {
        let mark = Mark::from_word(slot.handled()).ok_or(NotHandled::Impossible)?;
        let end = whole_bytes(counters);
        let left = end
            .checked_sub(mark.bytes)
            .and_then(|left| usize::try_from(left).ok())
            .filter(|left| *left <= BUFFER_BYTES)
            .ok_or(NotHandled::Impossible)?;
        if left == 0 {
            return Ok(());
        }
        if counters.is_client() {
            self.hand_on(slot, counters, mark, left, writer)?;
        }
        slot.set_handled(Mark::at(end).to_word(), writer);
        Ok(())
    }

    fn hand_on(
        &mut self,
        slot: &Slot,
        counters: &ConnectionCounters,
        mark: Mark,
        left: usize,
        writer: &impl CommitWriter,
    ) -> Result<(), NotHandled> {
        copy(slot, &mut self.bytes[..left.next_multiple_of(WORD_BYTES)]);
        // What precedes the packets of a client has no payload, whatever their size is.
        let first_packet_at = opening_bytes(slot).saturating_sub(mark.bytes);
        let first_packet_at = left.min(first_packet_at as usize);
        let batch = PacketBatch {
            run: RunId::from_bits(counters.run),
            client: counters.client.into(),
            size: counters.packet_size,
            bytes: &self.bytes[first_packet_at..left],
        };
        if batch.packets().next().is_none() {
            return Ok(());
        }
        let next_try = mark.next_try().ok_or(NotHandled::Failed)?;
        slot.set_handled(next_try.to_word(), writer);
        self.handler.handle(&batch);
        Ok(())
    }
}

/// Takes over a connection in a worker without a handler: one that comes behind it is not given
/// what this worker reads.
pub(crate) fn forget(slot: &Slot, writer: &impl CommitWriter) {
    if slot.handled() != 0 {
        slot.set_handled(0, writer);
    }
}

/// Where the last whole frame that is committed ends, in bytes of the stream.
fn whole_bytes(counters: &ConnectionCounters) -> u64 {
    counters
        .bytes
        .saturating_sub(counters.partial_frame_bytes.into())
}

/// The frames of 32 bytes with which a connection begins: its hello, behind a challenge in the
/// static run.
fn opening_bytes(slot: &Slot) -> u64 {
    let frames = 1 + u64::from(slot.header.challenges().is_some());
    frames * FRAME_BYTES as u64
}

/// Copies the first bytes of the buffer, a whole number of words.
fn copy(slot: &Slot, to: &mut [u8]) {
    let words = slot.buffer.0.iter();
    for (bytes, word) in to.chunks_exact_mut(WORD_BYTES).zip(words) {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
}

#[cfg(test)]
mod tests;
