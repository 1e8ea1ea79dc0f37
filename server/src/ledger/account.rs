//! The account of one connection: everything that one batch changes, committed as a whole.
//!
//! As words it is what two processes share. Any words are an account, since a dying or broken
//! process may have written anything: what is unknown reads as an ended connection.

use metronome_proto::{
    handshake::Hello,
    packet::{FRAME_BYTES, Frame},
    run_id::RunId,
};

/// 64-bit words of an account in the ledger.
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
    /// Refused; the refusal is owed, then it ends.
    Refused = 4,
    /// The worker has let go: [`End`] says how.
    Closed = 5,
}

/// How a connection ended. The numbers are the ledger's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum End {
    /// It has not.
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
    /// What its worker left behind does not fit what the kernel says.
    Unrecoverable = 6,
}

/// What is known of one connection after a whole number of batches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Account {
    pub(crate) stage: Stage,
    pub(crate) end: End,
    /// Code of the refusal, when there is one: `metronome_proto::handshake::Refusal`.
    pub(crate) refusal: u8,
    /// Bytes of a split frame, 0 to 31, in `rest`.
    pub(crate) rest_bytes: u8,
    /// Transit and latency mean something: the client's agent has our clock.
    pub(crate) shares_clock: bool,
    /// Not our protocol: counted as it comes, to the end.
    pub(crate) is_raw: bool,
    /// From the verified hello.
    pub(crate) attempt: u8,
    pub(crate) agent: u16,
    pub(crate) client: u16,
    pub(crate) run: u64,
    /// Bytes taken off the socket and worked off, every kind of frame.
    pub(crate) bytes: u64,
    /// Packets counted; of a raw client, whole 32 bytes.
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
    /// Packets that were read before they say they were written, by a client on our own clock.
    pub(crate) acausal: u64,
    /// When the last batch was read, whatever was in it.
    pub(crate) worked_ns: u64,
    /// Packets sent, as the verified end told. Valid once the stage is Ended or later.
    pub(crate) told_sent: u64,
    /// The verified end has come.
    pub(crate) has_end: bool,
    /// Bytes of frames that this connection is to be sent, in all; they lie in the slot's outbox.
    pub(crate) owed: u64,
    /// Of these, given to the kernel. Less than the outbox behind `owed`.
    pub(crate) written: u64,
    pub(crate) rest: [u64; FRAME_BYTES / 8],
}

impl Account {
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

    /// How it ends when the server cuts it now: cleanly when all that was left is the peer's FIN.
    pub(crate) fn end_of_cut(&self) -> End {
        let is_done = self.stage == Stage::Ended && self.written == self.owed;
        if is_done { End::Clean } else { End::Cut }
    }

    /// Whether its figures fit each other. Those of a broken worker may not, and then nothing must
    /// be added to them: each of these sums is bounded by the bytes, which the kernel knows.
    pub(crate) fn is_possible(&self) -> bool {
        let (frames, rest) = (
            self.bytes / FRAME_BYTES as u64,
            self.bytes % FRAME_BYTES as u64,
        );
        let counted = [self.packets, self.duplicated, self.corrupt];
        let counted = counted.into_iter().try_fold(0_u64, u64::checked_add);
        // Every frame is answered by one at most, and the last refusal may answer none.
        let owed_max = (frames + 1).checked_mul(FRAME_BYTES as u64);
        counted.is_some_and(|counted| counted <= frames)
            && u64::from(self.rest_bytes) == rest
            && self.reordered <= self.packets
            && self.acausal <= self.packets
            && self.gaps <= self.next_sequence
            && owed_max.is_some_and(|owed_max| self.owed <= owed_max)
            && self.written <= self.owed
    }

    /// The bytes of a split frame, zeros behind them.
    pub(crate) fn rest_frame(&self) -> Frame {
        let mut frame = [0; FRAME_BYTES];
        for (bytes, word) in frame.chunks_exact_mut(8).zip(self.rest) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        frame
    }

    /// Keeps the first `bytes` of `frame` as the rest.
    pub(super) fn set_rest(&mut self, frame: &Frame, bytes: usize) {
        self.rest_bytes = bytes as u8;
        for (index, word) in self.rest.iter_mut().enumerate() {
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
            self.rest_bytes,
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
            self.told_sent,
            self.owed,
            self.written,
            self.rest[0],
            self.rest[1],
            self.rest[2],
            self.rest[3],
            self.worked_ns,
            self.first_due_ns,
            self.last_due_ns,
            self.acausal,
        ]
    }

    pub(super) fn from_words(words: &[u64; WORDS]) -> Self {
        let [
            stage,
            end,
            refusal,
            rest_bytes,
            attempt,
            shares_clock,
            has_end,
            is_raw,
        ] = words[0].to_le_bytes();
        Self {
            stage: stage_of(stage),
            end: end_of(end),
            refusal,
            rest_bytes: rest_bytes.min(FRAME_BYTES as u8 - 1),
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
            told_sent: words[13],
            owed: words[14],
            written: words[15],
            rest: [words[16], words[17], words[18], words[19]],
            worked_ns: words[20],
            first_due_ns: words[21],
            last_due_ns: words[22],
            acausal: words[23],
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
        fn any_words_are_an_account_and_an_account_survives_its_words(words: [u64; WORDS]) {
            let account = Account::from_words(&words);
            prop_assert!(account.rest_bytes < 32);
            prop_assert_eq!(Account::from_words(&account.to_words()), account);
        }

        #[test]
        fn the_rest_of_a_frame_comes_back_as_it_was(frame: [u8; 32], bytes in 0..32_usize) {
            let mut account = Account::default();
            account.set_rest(&frame, bytes);
            prop_assert_eq!(&account.rest_frame()[..bytes], &frame[..bytes]);
            prop_assert!(account.rest_frame()[bytes..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn figures_that_contradict_each_other_are_impossible() {
        let possible = Account {
            bytes: 70,
            rest_bytes: 6,
            packets: 1,
            next_sequence: 1,
            owed: 64,
            ..Account::default()
        };
        assert!(possible.is_possible());
        for impossible in [
            Account {
                packets: 3,
                ..possible
            },
            Account {
                packets: u64::MAX,
                duplicated: u64::MAX,
                ..possible
            },
            Account {
                rest_bytes: 7,
                ..possible
            },
            Account {
                gaps: 2,
                ..possible
            },
            Account {
                reordered: 2,
                ..possible
            },
            Account {
                acausal: 2,
                ..possible
            },
            Account {
                owed: 97,
                ..possible
            },
            Account {
                written: 65,
                ..possible
            },
        ] {
            assert!(!impossible.is_possible(), "{impossible:?}");
        }
    }

    #[test]
    fn zeroed_memory_is_a_connection_that_has_just_been_opened() {
        assert_eq!(Account::from_words(&[0; WORDS]), Account::default());
        assert_eq!(Account::default().stage, Stage::Opening);
    }
}
