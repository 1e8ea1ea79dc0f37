//! What a connection is sent: acknowledgements, replies to packets and refusals, put into the
//! slot's reply queue while a batch is processed and sent by the worker after its commit.
//!
//! A reply lies in the queue at its place in the stream of everything that the connection is sent.
//! That place follows from the committed counters, so a replay puts the same bytes into the same
//! place, and a reply that was queued twice is still sent once.

use metronome_proto::{
    handshake::Refusal,
    packet::{FRAME_BYTES, Frame, Packet, Reply},
};

use super::{
    commit_writer::CommitWriter,
    counters::{ConnectionCounters, Stage},
    frames::REPLY_QUEUE_FRAMES,
    slot::Slot,
};
use crate::model::ClientEnd;

/// Replies to packets may fill the queue up to this; behind it there is room for the end-ack.
const UNSENT_BYTES_MAX: u64 = ((REPLY_QUEUE_FRAMES - 2) * FRAME_BYTES) as u64;

/// Refuses a connection: from here on its bytes are dropped. Not committed yet.
pub(crate) fn refuse(
    slot: &Slot,
    counters: &mut ConnectionCounters,
    refusal: Refusal,
    writer: &impl CommitWriter,
) {
    counters.stage = Stage::Refused;
    counters.end = ClientEnd::Refused(refusal as u8);
    queue_reply(slot, counters, &refusal.encode(), writer);
}

/// Puts a reply behind those that are pending.
#[inline]
pub(super) fn queue_reply(
    slot: &Slot,
    counters: &mut ConnectionCounters,
    frame: &Frame,
    writer: &impl CommitWriter,
) {
    slot.set_reply(counters.reply_bytes_queued, frame, writer);
    counters.reply_bytes_queued += FRAME_BYTES as u64;
}

/// Answers a counted packet that asks for it, unless too many frames are still to be sent: a peer
/// that does not read its replies loses them and does not delay others. Both figures are committed
/// ones plus what this batch has queued, so a replay decides the same.
pub(super) fn reply_to(
    packet: &Packet,
    slot: &Slot,
    counters: &mut ConnectionCounters,
    writer: &impl CommitWriter,
) {
    *counters.counts.replies_wanted.get_or_insert(0) += 1;
    if counters.reply_bytes_queued - counters.reply_bytes_sent < UNSENT_BYTES_MAX {
        queue_reply(slot, counters, &Reply::to(packet).encode(), writer);
    } else {
        *counters.counts.replies_dropped.get_or_insert(0) += 1;
    }
}
