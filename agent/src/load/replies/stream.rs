//! What comes back on one connection behind its hello-ack: replies in the order of the packets that
//! asked for them, then one last frame of the server, the end-ack or a refusal. Pure.
//!
//! Bytes come at any split. A reply is *expected* when it names this client and a packet that asked
//! for one, behind those of all replies before, and when its times can be those of that packet: due
//! no earlier than the run's start and than the packet answered before, and written no later than
//! the reply was read. Replies may be missing, since a server drops those of a client that reads
//! too slowly. Whether the packet was sent at all is checked at the end
//! ([`ReplyStream::answered_below`]): while the load runs, a reply may be read before the thread
//! that wrote the packet has counted it.
//!
//! Everything else is *unexpected*. After a frame that is neither a reply nor a last one it is not
//! known where the next one begins: from there on nothing is interpreted. The same after
//! [`UNEXPECTED_MAX`] replies that nothing had asked for, so that a peer without end costs no core.
//! Times are ns of CLOCK_MONOTONIC.

use std::num::NonZeroU32;

use metronome_proto::packet::{FRAME_BYTES, Frame, Kind, LATENESS_NS_MAX, Reply, kind};

/// Unexpected replies of one connection after which no more is read from it.
pub(super) const UNEXPECTED_MAX: u64 = 1000;

/// What the packets of one client ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks {
    /// Index within the run.
    pub client: u32,
    /// Packets whose sequence is a multiple of this ask for a reply.
    pub echo_every: NonZeroU32,
}

/// The times of one reply, ns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RoundTrip {
    /// From due to the reading of the reply.
    pub from_due_ns: u64,
    /// From the write to the reading of the reply. Of a packet that was more than 4.29 s late it is
    /// longer than it was, since no packet carries a longer lateness.
    pub from_write_ns: u64,
}

/// The replies of one connection as far as they were read.
#[derive(Debug)]
pub(crate) struct ReplyStream {
    asks: Asks,
    /// The lowest sequence that the next reply may have.
    next_sequence: u64,
    /// When the packet that was answered last was due, or the run's start.
    last_due_ns: u64,
    /// Packets that are due before this are of the warm-up: their times are in no distribution.
    measured_from_ns: u64,
    partial: Frame,
    partial_bytes: usize,
    read: u64,
    unexpected: u64,
}

impl ReplyStream {
    /// Before the first byte, in a run whose start is not set yet.
    pub(crate) fn new(asks: Asks) -> Self {
        Self {
            asks,
            next_sequence: 0,
            last_due_ns: 0,
            measured_from_ns: 0,
            partial: [0; FRAME_BYTES],
            partial_bytes: 0,
            read: 0,
            unexpected: 0,
        }
    }

    /// No packet is due before `start_ns`, and those that are due before `measured_from_ns` are of
    /// the warm-up. Before the first byte only.
    pub(crate) fn set_start(&mut self, start_ns: u64, measured_from_ns: u64) {
        self.last_due_ns = start_ns;
        self.measured_from_ns = measured_from_ns;
    }

    /// Replies read to packets that had asked for one and had none yet.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// Frames in the place of a reply that are none of those.
    pub(crate) fn unexpected(&self) -> u64 {
        self.unexpected
    }

    /// Every packet that was answered has a lower sequence than this. A client that has sent fewer
    /// packets got a reply to one that it had not sent.
    pub(crate) fn answered_below(&self) -> u64 {
        self.next_sequence
    }

    /// The next bytes, read at `read_ns`; `measured` gets each round trip behind the warm-up.
    /// Returns the frame that ends the replies, once there is one: what is behind it has no
    /// meaning, and this is not to be called again.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        read_ns: u64,
        mut measured: impl FnMut(RoundTrip),
    ) -> Option<Frame> {
        if self.partial_bytes > 0 {
            let more = bytes.len().min(FRAME_BYTES - self.partial_bytes);
            let (first, rest) = bytes.split_at(more);
            self.partial[self.partial_bytes..][..more].copy_from_slice(first);
            self.partial_bytes += more;
            bytes = rest;
            if self.partial_bytes < FRAME_BYTES {
                return None;
            }
            self.partial_bytes = 0;
            let frame = self.partial;
            if self.ends_with(&frame, read_ns, &mut measured) {
                return Some(frame);
            }
        }
        let (frames, rest) = bytes.as_chunks::<FRAME_BYTES>();
        for frame in frames {
            if self.ends_with(frame, read_ns, &mut measured) {
                return Some(*frame);
            }
        }
        self.partial[..rest.len()].copy_from_slice(rest);
        self.partial_bytes = rest.len();
        None
    }

    /// Takes one frame. Returns whether nothing behind it is interpreted.
    #[inline]
    fn ends_with(
        &mut self,
        frame: &Frame,
        read_ns: u64,
        measured: &mut impl FnMut(RoundTrip),
    ) -> bool {
        let Ok(reply) = Reply::decode(frame) else {
            let is_last = matches!(kind(frame), Some(Kind::EndAck | Kind::Refusal));
            self.unexpected += u64::from(!is_last);
            return true;
        };
        let Some(round_trip) = self.round_trip(&reply, read_ns) else {
            self.unexpected += 1;
            return self.unexpected >= UNEXPECTED_MAX;
        };
        self.read += 1;
        self.next_sequence = reply.sequence.saturating_add(1);
        self.last_due_ns = reply.due_ns;
        if reply.due_ns >= self.measured_from_ns {
            measured(round_trip);
        }
        false
    }

    /// The times of a reply that is expected; `None` of any other.
    #[inline]
    fn round_trip(&self, reply: &Reply, read_ns: u64) -> Option<RoundTrip> {
        let asked = reply.client == self.asks.client
            && reply.sequence >= self.next_sequence
            && reply
                .sequence
                .is_multiple_of(self.asks.echo_every.get().into())
            && reply.due_ns >= self.last_due_ns;
        let from_due_ns = read_ns.checked_sub(reply.due_ns)?;
        let from_write_ns = from_due_ns.checked_sub(reply.lateness_ns.into())?;
        asked.then_some(RoundTrip {
            from_due_ns,
            from_write_ns,
        })
    }
}

const _: () = assert!(LATENESS_NS_MAX == u32::MAX as u64, "it fills its field");

#[cfg(test)]
mod tests {
    use metronome_proto::{handshake::Refusal, packet::Packet};
    use proptest::prelude::*;

    use super::*;

    const START_NS: u64 = 1_000_000;
    /// Later than any reply of these tests was written.
    const READ_NS: u64 = 1 << 50;

    /// Before the first reply of client 3.
    fn stream(echo_every: u32) -> ReplyStream {
        let mut stream = ReplyStream::new(Asks {
            client: 3,
            echo_every: NonZeroU32::new(echo_every).unwrap(),
        });
        stream.set_start(START_NS, START_NS);
        stream
    }

    /// The reply to a packet of that client, due 1 µs behind the one before and 7 ns late.
    fn reply(sequence: u64) -> Reply {
        Reply {
            client: 3,
            sequence,
            due_ns: START_NS + 1_000 * sequence,
            lateness_ns: 7,
        }
    }

    /// Takes `bytes` cut at these places; returns the round trips and the last frame.
    fn take(
        stream: &mut ReplyStream,
        bytes: &[u8],
        cuts: &[prop::sample::Index],
    ) -> (Vec<RoundTrip>, Option<Frame>) {
        let mut cuts: Vec<usize> = cuts.iter().map(|at| at.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut round_trips = Vec::new();
        for cut in cuts.windows(2) {
            let part = &bytes[cut[0]..cut[1]];
            let last = stream.take(part, READ_NS, |round_trip| round_trips.push(round_trip));
            if last.is_some() {
                return (round_trips, last);
            }
        }
        (round_trips, None)
    }

    fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
        prop::collection::vec(any::<prop::sample::Index>(), 0..40)
    }

    fn counts(stream: &ReplyStream) -> (u64, u64) {
        (stream.read(), stream.unexpected())
    }

    proptest! {
        #[test]
        fn replies_at_any_split_are_each_read_once_with_their_times_up_to_the_last_frame(
            echo_every in 1..5_u32,
            gaps in prop::collection::vec(1..4_u64, 0..60),
            cuts in cuts(),
            ends: bool,
        ) {
            let mut stream = stream(echo_every);
            let (mut bytes, mut expected, mut place) = (Vec::new(), Vec::new(), 0);
            for gap in gaps {
                let reply = reply(u64::from(echo_every) * place);
                bytes.extend(reply.encode());
                let from_due_ns = READ_NS - reply.due_ns;
                expected.push(RoundTrip { from_due_ns, from_write_ns: from_due_ns - 7 });
                place += gap;
            }
            if ends {
                bytes.extend(Refusal::Ended.encode());
                bytes.extend([9; 40]);
            }
            let (round_trips, last) = take(&mut stream, &bytes, &cuts);
            prop_assert_eq!(counts(&stream), (expected.len() as u64, 0));
            prop_assert_eq!(round_trips, expected);
            prop_assert_eq!(last, ends.then(|| Refusal::Ended.encode()));
        }

        #[test]
        fn of_any_order_with_any_repeats_each_packet_has_one_reply_at_most(
            sequences in prop::collection::vec(0..20_u64, 0..80), cuts in cuts(),
        ) {
            let mut stream = stream(2);
            let bytes: Vec<u8> = sequences.iter().flat_map(|n| reply(*n).encode()).collect();
            let (round_trips, last) = take(&mut stream, &bytes, &cuts);
            let mut answered = Vec::new();
            for sequence in &sequences {
                if sequence % 2 == 0 && answered.last().is_none_or(|last| last < sequence) {
                    answered.push(*sequence);
                }
            }
            let read = answered.len() as u64;
            prop_assert_eq!((round_trips.len() as u64, last), (read, None));
            prop_assert_eq!(counts(&stream), (read, sequences.len() as u64 - read));
            prop_assert_eq!(stream.answered_below(), answered.last().map_or(0, |last| last + 1));
        }

        #[test]
        fn garbage_counts_once_and_ends_what_is_interpreted(
            before in 0..20_u64,
            garbage: Frame,
            behind in prop::collection::vec(any::<u8>(), 0..100),
            cuts in cuts(),
        ) {
            let mut bytes: Vec<u8> = (0..before).flat_map(|n| reply(n).encode()).collect();
            bytes.extend(garbage);
            bytes.extend(behind);
            let mut stream = stream(1);
            let (round_trips, last) = take(&mut stream, &bytes, &cuts);
            prop_assert_eq!((round_trips.len() as u64, last), (before, Some(garbage)));
            prop_assert_eq!(counts(&stream), (before, 1));
        }

        #[test]
        fn a_reply_with_one_other_byte_is_none(at in 0..FRAME_BYTES, byte in 1..=255_u8) {
            let mut frame = reply(0).encode();
            frame[at] ^= byte;
            let mut stream = stream(1);
            let (round_trips, last) = take(&mut stream, &frame, &[]);
            prop_assert_eq!((round_trips.len(), stream.read()), (0, 0));
            // A kind that ends a connection is judged where its tag can be verified.
            let is_last = matches!(kind(&frame), Some(Kind::EndAck | Kind::Refusal));
            prop_assert_eq!(stream.unexpected(), u64::from(!is_last));
            prop_assert_eq!(last, Some(frame));
        }

        #[test]
        fn no_bytes_make_a_round_trip_that_is_longer_than_the_run(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            replies in prop::collection::vec((0..4_u32, 0..9_u64, 0..9_u64, any::<u32>()), 0..20),
            read_ns in 0..12_u64,
        ) {
            let mut stream = stream(1);
            stream.set_start(2, 4);
            let replies = replies.into_iter().flat_map(|(client, sequence, due_ns, lateness_ns)| {
                Reply { client, sequence, due_ns, lateness_ns: lateness_ns % 4 }.encode()
            });
            let all: Vec<u8> = replies.chain(bytes).collect();
            let mut measured = 0;
            stream.take(&all, read_ns, |round_trip| {
                measured += 1;
                assert!(round_trip.from_due_ns <= read_ns - 4);
                assert!(round_trip.from_write_ns <= round_trip.from_due_ns);
            });
            prop_assert!(measured <= stream.read());
        }
    }

    #[test]
    fn what_cannot_be_the_reply_to_a_packet_is_unexpected() {
        let right = reply(4);
        let cases = [
            (Reply { client: 4, ..right }, "another client"),
            (
                Reply {
                    sequence: 5,
                    ..right
                },
                "it had not asked",
            ),
            (
                Reply {
                    due_ns: START_NS - 1,
                    ..right
                },
                "before the run",
            ),
            (
                Reply {
                    due_ns: READ_NS + 1,
                    ..right
                },
                "not due yet",
            ),
            (
                Reply {
                    due_ns: READ_NS,
                    ..right
                },
                "not written yet",
            ),
        ];
        for (reply, case) in cases {
            let mut stream = stream(2);
            let (round_trips, last) = take(&mut stream, &reply.encode(), &[]);
            assert_eq!((round_trips.len(), last), (0, None), "{case}");
            assert_eq!(counts(&stream), (0, 1), "{case}");
            take(&mut stream, &right.encode(), &[]);
            assert_eq!(counts(&stream), (1, 1), "{case}: the next one is read");
        }
    }

    #[test]
    fn a_reply_that_is_due_before_the_one_ahead_of_it_is_unexpected() {
        let mut stream = stream(1);
        let early = Reply {
            due_ns: reply(4).due_ns - 1,
            ..reply(5)
        };
        let bytes = [reply(4), early].map(|reply| reply.encode());
        take(&mut stream, bytes.as_flattened(), &[]);
        assert_eq!(counts(&stream), (1, 1));
    }

    #[test]
    fn a_peer_that_repeats_without_end_is_not_read_without_end() {
        let mut stream = stream(1);
        let bytes: Vec<u8> = (0..5_000).flat_map(|_| reply(0).encode()).collect();
        let (round_trips, last) = take(&mut stream, &bytes, &[]);
        assert_eq!((round_trips.len(), last), (1, Some(reply(0).encode())));
        assert_eq!(counts(&stream), (1, UNEXPECTED_MAX));
    }

    #[test]
    fn packets_of_the_warm_up_are_read_and_not_measured() {
        let mut stream = stream(1);
        stream.set_start(START_NS, reply(3).due_ns);
        let bytes: Vec<u8> = (0..10).flat_map(|n| reply(n).encode()).collect();
        let (round_trips, _) = take(&mut stream, &bytes, &[]);
        assert_eq!((round_trips.len(), counts(&stream)), (7, (10, 0)));
        assert_eq!(round_trips[0].from_due_ns, READ_NS - reply(3).due_ns);
    }

    #[test]
    fn an_end_ack_ends_the_replies_and_a_packet_in_their_place_is_unexpected() {
        let packet = Packet {
            flags: 0,
            client: 3,
            sequence: 0,
            due_ns: START_NS,
            lateness_ns: 0,
        };
        let mut end_ack = Refusal::Ended.encode();
        end_ack[2] = (end_ack[2] & 0xF0) | Kind::EndAck as u8;
        for (frame, unexpected) in [(end_ack, 0), (packet.encode(&[]), 1)] {
            let mut stream = stream(1);
            assert_eq!(take(&mut stream, &frame, &[]), (Vec::new(), Some(frame)));
            assert_eq!(counts(&stream), (0, unexpected));
        }
    }
}
