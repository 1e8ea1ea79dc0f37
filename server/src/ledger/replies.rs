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
    frames::{BUFFER_BYTES, REPLY_QUEUE_FRAMES},
    slot::Slot,
};
use crate::model::ClientEnd;

/// Replies to packets may fill the queue up to this; behind it there is room for the end-ack.
const UNSENT_BYTES_MAX: u64 = ((REPLY_QUEUE_FRAMES - 2) * FRAME_BYTES) as u64;

/// Packets that one receive may bring of a client that asks for a reply to each of them: with the
/// answer to its hello the queue is full then, and none is dropped.
const ASKING_PER_RECEIVE_MAX: u64 = UNSENT_BYTES_MAX / FRAME_BYTES as u64 - 1;

/// Bytes of the buffer that the next receive may fill, a part of a frame in front of them included:
/// so many that the queue, when it is empty, takes the replies to all that they may ask for.
///
/// How seldom a client asks is seen from what it has asked so far, since its first packet asks and
/// then every Nth: among r packets are r / N that ask, rounded up, so r divided by them is at most
/// N. Before the first packet it may be any N, and before the hello any peer, whose frames have 32
/// bytes at least. No replay needs this: it takes what was received.
#[inline]
pub(crate) fn receive_limit(counters: &ConnectionCounters) -> usize {
    let asked = counters.counts.replies_wanted.unwrap_or(0);
    let received = counters.counts.received;
    let may_ask = counters.is_client() || counters.awaits_hello();
    if asked == 0 && (received > 0 || !may_ask) {
        return BUFFER_BYTES;
    }
    // A damaged ledger may have more that asked than came; a receive of nothing would be an end.
    let every = received.checked_div(asked).unwrap_or(1).max(1);
    let packet_bytes = counters.packet_size.bytes() as u64;
    let bytes = every.saturating_mul(ASKING_PER_RECEIVE_MAX * packet_bytes);
    usize::try_from(bytes).map_or(BUFFER_BYTES, |bytes| bytes.min(BUFFER_BYTES))
}

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

/// Whether a reply still has room. Both figures are committed ones plus what this batch has queued,
/// so a replay decides the same.
#[inline]
pub(super) fn has_room_for_reply(counters: &ConnectionCounters) -> bool {
    counters.reply_bytes_queued - counters.reply_bytes_sent < UNSENT_BYTES_MAX
}

/// Answers a counted packet that asks for it, unless too many frames are still to be sent: a peer
/// that does not read its replies loses them and does not delay others.
pub(super) fn reply_to(
    packet: &Packet,
    slot: &Slot,
    counters: &mut ConnectionCounters,
    writer: &impl CommitWriter,
) {
    *counters.counts.replies_wanted.get_or_insert(0) += 1;
    if has_room_for_reply(counters) {
        queue_reply(slot, counters, &Reply::to(packet).encode(), writer);
    } else {
        *counters.counts.replies_dropped.get_or_insert(0) += 1;
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        counters::CounterList as _, packet_size::PacketSize, v1::ReceiverCounts,
    };
    use proptest::prelude::*;

    use super::*;

    /// A client of packets of `bytes` that has sent the first `received`, each `every`th of which
    /// asks.
    fn client(bytes: u32, received: u64, every: u64) -> ConnectionCounters {
        ConnectionCounters {
            attempt: 1,
            stage: Stage::Packets,
            packet_size: PacketSize::new(bytes).unwrap(),
            counts: ReceiverCounts {
                received,
                replies_wanted: Some(received.div_ceil(every)),
                ..ReceiverCounts::zero()
            },
            ..ConnectionCounters::default()
        }
    }

    proptest! {
        #[test]
        fn the_queue_takes_the_replies_to_all_that_one_receive_brings(
            bytes in 32..=1_472_u32,
            every in prop_oneof![1..300_u64, 1..=1_000_000_u64],
            received in prop_oneof![0..2_000_u64, 0..u64::MAX / 2],
        ) {
            let limit = receive_limit(&client(bytes, received, every)) as u64;
            prop_assert!(limit >= 253 * 32 && limit <= BUFFER_BYTES as u64);
            let behind = received + limit / u64::from(bytes);
            let asking = behind.div_ceil(every) - received.div_ceil(every);
            // The answer to the hello is still there, or it was sent.
            prop_assert!(asking < 254, "{asking}");
        }

        #[test]
        fn a_client_that_asks_seldom_is_read_as_one_that_does_not_ask(
            bytes in 32..=1_472_u32, received in 1..u64::MAX / 2,
        ) {
            let every = 2 + BUFFER_BYTES as u64 / (253 * u64::from(bytes));
            let limit = receive_limit(&client(bytes, received.max(every * every), every));
            prop_assert_eq!(limit, BUFFER_BYTES);
            let silent = ConnectionCounters {
                counts: ReceiverCounts { received, ..ReceiverCounts::zero() },
                ..client(bytes, received, 1)
            };
            prop_assert_eq!(receive_limit(&silent), BUFFER_BYTES);
        }
    }

    #[test]
    fn only_one_that_may_ask_with_its_first_packet_is_read_in_parts() {
        for (stage, limit) in [
            (Stage::Opening, 253 * 32),
            (Stage::Challenged, 253 * 32),
            (Stage::Raw, BUFFER_BYTES),
            (Stage::Refused, BUFFER_BYTES),
        ] {
            let counters = ConnectionCounters {
                stage,
                ..ConnectionCounters::default()
            };
            assert_eq!(receive_limit(&counters), limit, "{stage:?}");
        }
        assert_eq!(receive_limit(&client(32, 0, 1)), 253 * 32);
        assert_eq!(receive_limit(&client(1_472, 0, 1)), BUFFER_BYTES);
        let mut damaged = client(32, 7, 1);
        damaged.counts.replies_wanted = Some(8);
        assert_eq!(receive_limit(&damaged), 253 * 32);
    }
}
