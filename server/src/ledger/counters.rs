//! The counters of one connection: everything that one batch changes, committed as a whole. In the
//! ledger they are words. Any words are valid counters, since a dying or broken process may have
//! written anything: an unknown stage reads as a closed connection. Whether the figures fit each
//! other is checked apart.

use metronome_proto::{
    handshake::Hello,
    packet::{FRAME_BYTES, Frame},
    run_id::RunId,
};

/// 64-bit words of one connection's counters in the ledger.
pub(super) const WORDS: usize = 24;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Its first frame has not arrived whole.
    #[default]
    Opening = 0,
    /// A verified client of a run; packets come.
    Packets = 1,
    /// The client's end is in; nothing more may come but the end of the stream.
    Ended = 2,
    /// Not our protocol, and counted as it comes.
    Raw = 3,
    /// Refused; the refusal is sent, then the connection ends.
    Refused = 4,
    /// The worker has released the connection: [`End`] is how it ended.
    Closed = 5,
}

/// How a connection ended. The numbers are those of the ledger.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum End {
    /// It has not ended.
    #[default]
    NotYet = 0,
    /// End and end-ack, then the peer's FIN; or a raw client's FIN.
    Clean = 1,
    /// The peer's FIN before the client's end.
    Abrupt = 2,
    /// Reset, timed out or unreachable.
    Broken = 3,
    /// Cut by the server: the run was over.
    Cut = 4,
    /// Refused by the server.
    Refused = 5,
    /// What its worker left behind does not fit the kernel's count.
    Unrecoverable = 6,
}

/// Counters of one connection after a whole number of batches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ConnectionCounters {
    pub(crate) stage: Stage,
    pub(crate) end: End,
    /// Code of the refusal, when there is one: `metronome_proto::handshake::Refusal`.
    pub(crate) refusal: u8,
    /// Bytes of a split frame, 0 to 31, in `partial_frame`.
    pub(crate) partial_frame_bytes: u8,
    /// The client's agent reads our CLOCK_MONOTONIC, so transit and latency mean something.
    pub(crate) shares_clock: bool,
    /// Not our protocol: counted as it comes, to the end.
    pub(crate) is_raw: bool,
    /// From the verified hello.
    pub(crate) attempt: u8,
    pub(crate) agent: u16,
    pub(crate) client: u16,
    pub(crate) run: u64,
    /// Bytes taken off the socket and processed, of every kind of frame.
    pub(crate) bytes: u64,
    /// Packets counted; for a raw client the number of whole 32 bytes.
    pub(crate) packets: u64,
    /// The sequence number that comes next.
    pub(crate) next_sequence: u64,
    /// Sequence numbers left out and not seen since.
    pub(crate) gaps: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
    pub(crate) digest: u64,
    pub(crate) first_read_ns: u64,
    pub(crate) last_read_ns: u64,
    /// Due times of the first and the last packet counted, ns on the sender's clock.
    pub(crate) first_due_ns: u64,
    pub(crate) last_due_ns: u64,
    /// Packets that carry a later time of writing than the time at which they were read, of a
    /// client on our own clock.
    pub(crate) read_before_sent: u64,
    /// When the last batch was read, whatever it contained.
    pub(crate) last_batch_ns: u64,
    /// Packets sent, from the verified end frame. Valid once that has come.
    pub(crate) reported_sent: u64,
    /// The verified end has come.
    pub(crate) has_end: bool,
    /// Bytes of frames that were ever queued for this connection; the last of them lie in the
    /// slot's reply queue.
    pub(crate) reply_bytes_queued: u64,
    /// How many of these the kernel has taken. The difference never exceeds the queue.
    pub(crate) reply_bytes_sent: u64,
    pub(crate) partial_frame: [u64; FRAME_BYTES / 8],
}

impl ConnectionCounters {
    /// The hello that opened the connection, once it is verified.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            run: RunId::from_bits(self.run),
            agent: self.agent,
            client: self.client,
            attempt: self.attempt,
        }
    }

    /// A client of a run: its hello was verified.
    pub(crate) fn is_client(&self) -> bool {
        self.attempt > 0
    }

    /// How the connection ends when the server cuts it now: cleanly when only the peer's FIN was
    /// still to come.
    pub(crate) fn end_of_cut(&self) -> End {
        let is_done = self.stage == Stage::Ended && !self.has_pending_replies();
        if is_done { End::Clean } else { End::Cut }
    }

    /// Whether the kernel has not yet taken all replies.
    #[inline]
    pub(crate) fn has_pending_replies(&self) -> bool {
        self.reply_bytes_sent < self.reply_bytes_queued
    }

    /// Whether the figures fit each other. Those of a broken worker may not, and then nothing must
    /// be added to them: each of these sums is bounded by the bytes, which the kernel counts too.
    pub(crate) fn is_possible(&self) -> bool {
        let (frames, partial_bytes) = (
            self.bytes / FRAME_BYTES as u64,
            self.bytes % FRAME_BYTES as u64,
        );
        let counted = [self.packets, self.duplicated, self.corrupt];
        let counted = counted.into_iter().try_fold(0_u64, u64::checked_add);
        // Each frame causes one reply at most, and the last refusal may have no frame as its cause.
        let queued_max = (frames + 1).checked_mul(FRAME_BYTES as u64);
        counted.is_some_and(|counted| counted <= frames)
            && u64::from(self.partial_frame_bytes) == partial_bytes
            && self.reordered <= self.packets
            && self.read_before_sent <= self.packets
            && self.gaps <= self.next_sequence
            && queued_max.is_some_and(|queued_max| self.reply_bytes_queued <= queued_max)
            && self.reply_bytes_sent <= self.reply_bytes_queued
    }

    /// The bytes of a split frame, zeros behind them.
    pub(super) fn partial_frame(&self) -> Frame {
        let mut frame = [0; FRAME_BYTES];
        for (bytes, word) in frame.chunks_exact_mut(8).zip(self.partial_frame) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        frame
    }

    /// Keeps the first `bytes` of `frame` as the partial frame.
    pub(super) fn set_partial_frame(&mut self, frame: &Frame, bytes: usize) {
        self.partial_frame_bytes = bytes as u8;
        for (index, word) in self.partial_frame.iter_mut().enumerate() {
            let kept = std::array::from_fn(|byte| {
                if index * 8 + byte < bytes {
                    frame[index * 8 + byte]
                } else {
                    0
                }
            });
            *word = u64::from_ne_bytes(kept);
        }
    }

    pub(super) fn to_words(self) -> [u64; WORDS] {
        let flags = [
            self.stage as u8,
            self.end as u8,
            self.refusal,
            self.partial_frame_bytes,
            self.attempt,
            u8::from(self.shares_clock),
            u8::from(self.has_end),
            u8::from(self.is_raw),
        ];
        [
            u64::from_le_bytes(flags),
            u64::from(self.agent) << 16 | u64::from(self.client),
            self.run,
            self.bytes,
            self.packets,
            self.next_sequence,
            self.gaps,
            self.duplicated,
            self.reordered,
            self.corrupt,
            self.digest,
            self.first_read_ns,
            self.last_read_ns,
            self.reported_sent,
            self.reply_bytes_queued,
            self.reply_bytes_sent,
            self.partial_frame[0],
            self.partial_frame[1],
            self.partial_frame[2],
            self.partial_frame[3],
            self.last_batch_ns,
            self.first_due_ns,
            self.last_due_ns,
            self.read_before_sent,
        ]
    }

    pub(super) fn from_words(words: &[u64; WORDS]) -> Self {
        let [
            stage,
            end,
            refusal,
            partial_frame_bytes,
            attempt,
            shares_clock,
            has_end,
            is_raw,
        ] = words[0].to_le_bytes();
        Self {
            stage: stage_of(stage),
            end: end_of(end),
            refusal,
            partial_frame_bytes: partial_frame_bytes.min(FRAME_BYTES as u8 - 1),
            attempt,
            shares_clock: shares_clock != 0,
            has_end: has_end != 0,
            is_raw: is_raw != 0,
            agent: (words[1] >> 16) as u16,
            client: words[1] as u16,
            run: words[2],
            bytes: words[3],
            packets: words[4],
            next_sequence: words[5],
            gaps: words[6],
            duplicated: words[7],
            reordered: words[8],
            corrupt: words[9],
            digest: words[10],
            first_read_ns: words[11],
            last_read_ns: words[12],
            reported_sent: words[13],
            reply_bytes_queued: words[14],
            reply_bytes_sent: words[15],
            partial_frame: [words[16], words[17], words[18], words[19]],
            last_batch_ns: words[20],
            first_due_ns: words[21],
            last_due_ns: words[22],
            read_before_sent: words[23],
        }
    }
}

fn stage_of(number: u8) -> Stage {
    match number {
        0 => Stage::Opening,
        1 => Stage::Packets,
        2 => Stage::Ended,
        3 => Stage::Raw,
        4 => Stage::Refused,
        _ => Stage::Closed,
    }
}

fn end_of(number: u8) -> End {
    match number {
        0 => End::NotYet,
        1 => End::Clean,
        2 => End::Abrupt,
        3 => End::Broken,
        4 => End::Cut,
        5 => End::Refused,
        _ => End::Unrecoverable,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_words_are_counters_and_counters_survive_their_words(words: [u64; WORDS]) {
            let counters = ConnectionCounters::from_words(&words);
            prop_assert!(counters.partial_frame_bytes < 32);
            prop_assert_eq!(ConnectionCounters::from_words(&counters.to_words()), counters);
        }

        #[test]
        fn a_partial_frame_comes_back_as_it_was(frame: [u8; 32], bytes in 0..32_usize) {
            let mut counters = ConnectionCounters::default();
            counters.set_partial_frame(&frame, bytes);
            prop_assert_eq!(&counters.partial_frame()[..bytes], &frame[..bytes]);
            prop_assert!(counters.partial_frame()[bytes..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn figures_that_contradict_each_other_are_impossible() {
        let possible = ConnectionCounters {
            bytes: 70,
            partial_frame_bytes: 6,
            packets: 1,
            next_sequence: 1,
            reply_bytes_queued: 64,
            ..ConnectionCounters::default()
        };
        assert!(possible.is_possible());
        for impossible in [
            ConnectionCounters {
                packets: 3,
                ..possible
            },
            ConnectionCounters {
                packets: u64::MAX,
                duplicated: u64::MAX,
                ..possible
            },
            ConnectionCounters {
                partial_frame_bytes: 7,
                ..possible
            },
            ConnectionCounters {
                gaps: 2,
                ..possible
            },
            ConnectionCounters {
                reordered: 2,
                ..possible
            },
            ConnectionCounters {
                read_before_sent: 2,
                ..possible
            },
            ConnectionCounters {
                reply_bytes_queued: 97,
                ..possible
            },
            ConnectionCounters {
                reply_bytes_sent: 65,
                ..possible
            },
        ] {
            assert!(!impossible.is_possible(), "{impossible:?}");
        }
    }

    #[test]
    fn zeroed_memory_is_a_connection_that_has_just_been_opened() {
        assert_eq!(
            ConnectionCounters::from_words(&[0; WORDS]),
            ConnectionCounters::default()
        );
        assert_eq!(ConnectionCounters::default().stage, Stage::Opening);
    }
}
