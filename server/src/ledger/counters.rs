//! The counters of one connection: everything that one batch changes, committed as a whole. In the
//! ledger they are words. Any words are valid counters, since a dying or broken process may have
//! written anything: an unknown stage reads as a closed connection. Whether the figures fit each
//! other is checked apart.
//!
//! | words | figure |
//! |---|---|
//! | 0 | a byte each: stage, end, code of the refusal, attempt, has_end, is_raw, bits; one *free* |
//! | 1 | 16 bits each: client, agent, group, bytes of the split frame |
//! | 2 | run |
//! | 3 | 16 bits each: clocks, 0 unknown, 1 same, 2 offset; bytes a packet, 0 for 32; row; *free* |
//! | 4 | bytes |
//! | 5, 6 | next sequence, digest |
//! | 7, 8 | first and last read, ns |
//! | 9, 10 | first and last due, ns |
//! | 11 | last batch read, ns |
//! | 12 | packets sent, from the end frame |
//! | 13, 14 | bytes of replies queued, sent |
//! | 15 – 18 | the bytes of a split frame of 32; of a longer one they lie elsewhere in the slot |
//! | 19 – 22 | times that the first four histograms must hold |
//! | 23 | batches |
//! | 24, 25 | from the start frame: the client's start, how much later than the run's it is, ns |
//! | 26, 27 | place of the next packet of the schedule, and when it is due after the start, ns |
//! | 28 | the least read − due of all packets, ns |
//! | 29 | when the present window of the spread began, ns |
//! | 30, 31 | the least read − due of the present window and of the one before, ns |
//! | 32 – 34 | mark of the spread at 100 ms, ns; packets since it, packets before it |
//! | 35 – 37 | mark of the spread at 10 ms, ns; packets since it, those of the window before |
//! | 38 – 55 | `metronome.v1.ReceiverCounts`: field number n is word 37 + n; the rest is *free* |
//! | 56, 57 | times that the next two histograms must hold, of a client on another clock |
//! | 58, 59 | *times that the last two histograms must hold* |
//! | 60 – 63 | *free* |
//!
//! The bits: 1 a load, 2 a start, 4 a schedule, 8 which of two places has the bytes of a split
//! frame above 32, 16 probes instead of packets. The row is that of the run's tables. Words 24 and
//! 25 have a meaning with a start, 26 to 37 with a schedule, 54 and 55 with an offset. What the
//! schedule is lies elsewhere in the slot. Read − due is counted from that of the client's first
//! packet. A least is stored so that a word of 0 is that of no packet.
//!
//! What is in italics is room for what is planned: no word of it is stored or read, so it costs
//! nothing and is 0, and a server of the version that begins to use it can take over this ledger. A
//! word of 0 therefore has to mean that nothing was counted.

use metronome_proto::{
    counters::{self, CounterList as _},
    handshake::Hello,
    packet::{FRAME_BYTES, Frame},
    packet_size::PacketSize,
    run_id::RunId,
    v1::ReceiverCounts,
};

use super::pace::{self, Pace, with_pace_counts};
use crate::model::{ClientEnd, ClientStart, ClockRelation, PerTime, TIME_KINDS, TimeKind};

/// 64-bit words of one connection's counters in the ledger, a whole number of cache lines.
pub(super) const WORDS: usize = 64;

/// Histograms in use: one of each kind of time.
pub(crate) const HISTOGRAMS: usize = TIME_KINDS;

/// Words in front of those of the start, and of the pace.
const START_AT: usize = 24;
const PACE_AT: usize = START_AT + 2;

/// Bits of byte 6 of word 0.
const HAS_LOAD: u8 = 1;
const HAS_START: u8 = 2;
const HAS_PACE: u8 = 4;
const HAS_PARTIAL_IN_SECOND: u8 = 8;
const IS_PROBES: u8 = 16;

/// Words in front of the list of counters.
const COUNTS_AT: usize = PACE_AT + pace::WORDS;

/// Words in front of the times of the histograms of a client on another clock.
const BETWEEN_CLOCKS_AT: usize = COUNTS_AT + counters::WORDS;

/// Words that are stored and read.
pub(crate) const USED: usize = BETWEEN_CLOCKS_AT + 2;

const _: () = assert!(ReceiverCounts::NAMES.len() <= counters::WORDS && USED <= WORDS);

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
    /// The worker has released the connection: [`ClientEnd`] is how it ended.
    Closed = 5,
    /// It began with a challenge, as those of the static run do, and was sent ours; its hello has
    /// not arrived whole.
    Challenged = 6,
    /// Verified, and of an agent's probes, which are answered.
    Probes = 7,
}

/// Where the bytes of a split frame above 32 lie. A batch writes to the place that does not count,
/// and its commit makes that the one which does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum PartialFramePlace {
    #[default]
    First,
    Second,
}

impl PartialFramePlace {
    /// The one that does not count.
    pub(super) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Counters of one connection after a whole number of batches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ConnectionCounters {
    pub(crate) stage: Stage,
    pub(crate) end: ClientEnd,
    /// Bytes of each of its frames from here on: 32 until a hello with a load is verified.
    pub(crate) packet_size: PacketSize,
    /// Bytes of a split frame, less than a frame has. Those of one of 32 are in `partial_frame`,
    /// those of a longer one in a place of the slot.
    pub(crate) partial_frame_bytes: u16,
    /// Which of the two places that is.
    pub(crate) partial_frame_place: PartialFramePlace,
    /// How the clock of the client's agent relates to this host's.
    pub(crate) clock: ClockRelation,
    /// Not our protocol: counted as it comes, to the end.
    pub(crate) is_raw: bool,
    /// It carries an agent's probes: it is no client, and has no counts.
    pub(crate) is_probes: bool,
    /// From the verified hello of a client; 0 of any other connection.
    pub(crate) attempt: u8,
    pub(crate) agent: u16,
    pub(crate) client: u16,
    /// The place of its group in the plan. Not checked: a ledger may hold anything.
    pub(crate) group: u16,
    pub(crate) run: u64,
    /// The row of the run's tables. Not checked either.
    pub(crate) row: u16,
    /// A plan has sent it: the slot has its load, and its start comes before its packets.
    pub(crate) has_load: bool,
    /// From its start frame.
    pub(crate) start: Option<ClientStart>,
    /// Bytes taken off the socket and processed, of every kind of frame.
    pub(crate) bytes: u64,
    /// A raw client has `received` only: the number of whole 32 bytes. `warm_up` and those of
    /// replies are known of every client of a run, `read_before_written` of one on this host's
    /// clock, `below_floor` of one on another whose offset is measured, the others from
    /// `off_schedule` on of one with a pace.
    pub(crate) counts: ReceiverCounts,
    /// How many times each histogram must hold.
    pub(crate) timed: PerTime<u64>,
    /// Batches that brought bytes.
    pub(crate) reads: u64,
    /// Checks of a client that has a schedule.
    pub(crate) pace: Option<Pace>,
    /// The sequence number that comes next.
    pub(crate) next_sequence: u64,
    pub(crate) digest: u64,
    pub(crate) first_read_ns: u64,
    pub(crate) last_read_ns: u64,
    /// Due times of the first and the last packet counted, ns on the sender's clock.
    pub(crate) first_due_ns: u64,
    pub(crate) last_due_ns: u64,
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

    /// A client of this run, or a connection of its probes.
    pub(crate) fn is_of(&self, run: RunId) -> bool {
        (self.is_client() || self.is_probes) && self.run == run.bits()
    }

    /// The least (read − due) of all packets less that of the first one, ns. `None` without a
    /// schedule or a packet.
    pub(crate) fn least_ns(&self) -> Option<i64> {
        self.pace.as_ref()?.least_ns()
    }

    /// How the connection ends when the server cuts it now: cleanly when only the peer's FIN was
    /// still to come.
    pub(crate) fn end_of_cut(&self) -> ClientEnd {
        let is_done = self.stage == Stage::Ended && !self.has_pending_replies();
        if is_done {
            ClientEnd::Clean
        } else {
            ClientEnd::Cut
        }
    }

    /// Whether a packet may come: a client with a load has to send its start before.
    #[inline]
    pub(super) fn takes_packets(&self) -> bool {
        self.start.is_some() || !self.has_load
    }

    /// Whether the kernel has not yet taken all replies.
    #[inline]
    pub(crate) fn has_pending_replies(&self) -> bool {
        self.reply_bytes_sent < self.reply_bytes_queued
    }

    /// Whether the figures fit each other. Those of a broken worker may not, and then nothing must
    /// be added to them: each of these sums is bounded by the bytes, which the kernel counts too.
    pub(crate) fn is_possible(&self) -> bool {
        let Some((frames, partial_bytes)) = self.frames() else {
            return false;
        };
        let counts = &self.counts;
        let [wanted, dropped] =
            [counts.replies_wanted, counts.replies_dropped].map(Option::unwrap_or_default);
        let counted = [counts.received, counts.duplicated, counts.corrupt];
        let counted = counted.into_iter().try_fold(0_u64, u64::checked_add);
        // Each frame causes one reply at most, and the last refusal may have no frame as its cause.
        let queued_max = (frames + 1).checked_mul(FRAME_BYTES as u64);
        counted.is_some_and(|counted| counted <= frames)
            && u64::from(self.partial_frame_bytes) == partial_bytes
            && counts.reordered <= counts.received
            && counts.read_before_written.unwrap_or(0) <= counts.received
            && (counts.received.checked_sub(counts.warm_up.unwrap_or(0)))
                .is_some_and(|recorded| self.timed.0.iter().all(|timed| *timed <= recorded))
            && counts.gaps <= self.next_sequence
            && self.reads <= self.bytes
            && counts.below_floor.unwrap_or(0) <= self.timed[TimeKind::Queueing]
            && self.timed[TimeKind::Queueing] <= self.timed[TimeKind::OneWay]
            && wanted <= counts.received
            && (wanted.checked_sub(dropped))
                .is_some_and(|queued| queued <= self.reply_bytes_queued / FRAME_BYTES as u64)
            && self.pace.is_none_or(|pace| pace.is_possible(counts))
            && queued_max.is_some_and(|queued_max| self.reply_bytes_queued <= queued_max)
            && self.reply_bytes_sent <= self.reply_bytes_queued
    }

    /// Its first frame, or what comes before that in the static run, has not arrived whole.
    #[inline]
    pub(super) fn awaits_hello(&self) -> bool {
        matches!(self.stage, Stage::Opening | Stage::Challenged)
    }

    /// Whole frames and the bytes of a split one that its bytes make: the hello has 32, whatever
    /// the size of those behind it. `None` for a size above 32 without a hello.
    fn frames(&self) -> Option<(u64, u64)> {
        let (hello_bytes, size) = (FRAME_BYTES as u64, self.packet_size.bytes() as u64);
        if self.packet_size == PacketSize::MIN {
            return Some((self.bytes / size, self.bytes % size));
        }
        let behind = self.bytes.checked_sub(hello_bytes)?;
        (!self.awaits_hello()).then_some((1 + behind / size, behind % size))
    }

    /// The bytes of a split frame of 32, zeros behind them.
    pub(super) fn partial_frame(&self) -> Frame {
        let mut frame = [0; FRAME_BYTES];
        for (bytes, word) in frame.chunks_exact_mut(8).zip(self.partial_frame) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        frame
    }

    /// Keeps the first `bytes` of a frame of 32 as the partial frame.
    #[inline]
    pub(super) fn set_partial_frame(&mut self, frame: &Frame, bytes: usize) {
        self.partial_frame_bytes = bytes as u16;
        self.partial_frame = [0; FRAME_BYTES / 8];
        let words = self.partial_frame.iter_mut().zip(frame[..bytes].chunks(8));
        for (word, part) in words {
            let mut kept = [0; 8];
            kept[..part.len()].copy_from_slice(part);
            *word = u64::from_ne_bytes(kept);
        }
    }

    /// Hands each word that is in use to `put`, with its index. Those of a start and of a pace are
    /// not where there is none.
    #[inline]
    pub(super) fn put_words(&self, mut put: impl FnMut(usize, u64)) {
        let (end, refusal) = end_to_bytes(self.end);
        let flags = [
            self.stage as u8,
            end,
            refusal,
            self.attempt,
            u8::from(self.has_end),
            u8::from(self.is_raw),
            (u8::from(self.has_load) * HAS_LOAD)
                | (u8::from(self.start.is_some()) * HAS_START)
                | (u8::from(self.pace.is_some()) * HAS_PACE)
                | (self.partial_frame_place as u8 * HAS_PARTIAL_IN_SECOND)
                | (u8::from(self.is_probes) * IS_PROBES),
            0,
        ];
        put(0, u64::from_le_bytes(flags));
        let place = u64::from(self.client) | u64::from(self.agent) << 16;
        let place = place | u64::from(self.group) << 32;
        put(1, place | u64::from(self.partial_frame_bytes) << 48);
        put(2, self.run);
        // So that a word of 0 is that of a connection which has just been opened.
        let above_min = self.packet_size != PacketSize::MIN;
        let packet_bytes = u64::from(above_min) * self.packet_size.bytes() as u64;
        let row = u64::from(self.row) << 32;
        put(3, u64::from(self.clock.number()) | packet_bytes << 16 | row);
        put(4, self.bytes);
        put(5, self.next_sequence);
        put(6, self.digest);
        put(7, self.first_read_ns);
        put(8, self.last_read_ns);
        put(9, self.first_due_ns);
        put(10, self.last_due_ns);
        put(11, self.last_batch_ns);
        put(12, self.reported_sent);
        put(13, self.reply_bytes_queued);
        put(14, self.reply_bytes_sent);
        put(15, self.partial_frame[0]);
        put(16, self.partial_frame[1]);
        put(17, self.partial_frame[2]);
        put(18, self.partial_frame[3]);
        put(19, self.timed[TimeKind::Lateness]);
        put(20, self.timed[TimeKind::Transit]);
        put(21, self.timed[TimeKind::Latency]);
        put(22, self.timed[TimeKind::Spread]);
        put(23, self.reads);
        if let Some(start) = self.start {
            put(START_AT, start.start_ns);
            put(START_AT + 1, start.offset_ns);
        }
        if let Some(pace) = &self.pace {
            pace.put_words(|index, word| put(PACE_AT + index, word));
        }
        let counts = self.counts.to_words().into_iter();
        for (index, word) in counts.take(ReceiverCounts::NAMES.len()).enumerate() {
            put(COUNTS_AT + index, word);
        }
        if self.clock.has_lines() {
            put(BETWEEN_CLOCKS_AT, self.timed[TimeKind::OneWay]);
            put(BETWEEN_CLOCKS_AT + 1, self.timed[TimeKind::Queueing]);
        }
    }

    #[cfg(test)]
    fn to_words(self) -> [u64; USED] {
        let mut words = [0; USED];
        self.put_words(|index, word| words[index] = word);
        words
    }

    pub(super) fn from_words(words: &[u64; USED]) -> Self {
        let [stage, end, refusal, attempt, has_end, is_raw, bits, _] = words[0].to_le_bytes();
        let counts = std::array::from_fn(|index| words[COUNTS_AT + index]);
        let clock = ClockRelation::of_number(words[3] as u16);
        let has_lines = u64::from(clock.has_lines());
        let packet_size = PacketSize::new(u32::from((words[3] >> 16) as u16)).unwrap_or_default();
        let partial_frame_place = if bits & HAS_PARTIAL_IN_SECOND == 0 {
            PartialFramePlace::First
        } else {
            PartialFramePlace::Second
        };
        let pace = std::array::from_fn(|index| words[PACE_AT + index]);
        let pace = (bits & HAS_PACE != 0).then(|| Pace::from_words(pace));
        let start = ClientStart {
            start_ns: words[START_AT],
            offset_ns: words[START_AT + 1],
        };
        let counts = ReceiverCounts::from_words(&counts);
        let counts = with_pace_counts(counts, pace.is_some());
        Self {
            stage: stage_of(stage),
            end: end_of(end, refusal),
            attempt,
            has_end: has_end != 0,
            is_raw: is_raw != 0,
            // A client is one, whatever a damaged ledger has besides.
            is_probes: bits & IS_PROBES != 0 && attempt == 0,
            client: words[1] as u16,
            agent: (words[1] >> 16) as u16,
            group: (words[1] >> 32) as u16,
            has_load: bits & HAS_LOAD != 0,
            start: (bits & HAS_START != 0).then_some(start),
            packet_size,
            partial_frame_bytes: ((words[1] >> 48) as u16).min(packet_size.bytes() as u16 - 1),
            partial_frame_place,
            run: words[2],
            row: (words[3] >> 32) as u16,
            clock,
            bytes: words[4],
            next_sequence: words[5],
            digest: words[6],
            first_read_ns: words[7],
            last_read_ns: words[8],
            first_due_ns: words[9],
            last_due_ns: words[10],
            last_batch_ns: words[11],
            reported_sent: words[12],
            reply_bytes_queued: words[13],
            reply_bytes_sent: words[14],
            partial_frame: [words[15], words[16], words[17], words[18]],
            timed: PerTime([
                words[19],
                words[20],
                words[21],
                words[22],
                words[BETWEEN_CLOCKS_AT] * has_lines,
                words[BETWEEN_CLOCKS_AT + 1] * has_lines,
            ]),
            reads: words[23],
            pace,
            counts: ReceiverCounts {
                read_before_written: counts.read_before_written.filter(|_| clock.is_same()),
                warm_up: counts.warm_up.filter(|_| attempt > 0),
                replies_wanted: counts.replies_wanted.filter(|_| attempt > 0),
                replies_dropped: counts.replies_dropped.filter(|_| attempt > 0),
                below_floor: counts.below_floor.filter(|_| clock.has_lines()),
                ..counts
            },
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
        6 => Stage::Challenged,
        7 => Stage::Probes,
        _ => Stage::Closed,
    }
}

/// The number of an end, and the code of the refusal when it is one.
fn end_to_bytes(end: ClientEnd) -> (u8, u8) {
    match end {
        ClientEnd::NotYet => (0, 0),
        ClientEnd::Clean => (1, 0),
        ClientEnd::Abrupt => (2, 0),
        ClientEnd::Broken => (3, 0),
        ClientEnd::Cut => (4, 0),
        ClientEnd::Refused(code) => (5, code),
        ClientEnd::Unrecoverable => (6, 0),
        ClientEnd::HandlerFailed => (7, 0),
    }
}

fn end_of(number: u8, refusal: u8) -> ClientEnd {
    match number {
        0 => ClientEnd::NotYet,
        1 => ClientEnd::Clean,
        2 => ClientEnd::Abrupt,
        3 => ClientEnd::Broken,
        4 => ClientEnd::Cut,
        5 => ClientEnd::Refused(refusal),
        7 => ClientEnd::HandlerFailed,
        _ => ClientEnd::Unrecoverable,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace() -> Option<Pace> {
        Some(Pace::begin((0, 0), 0))
    }

    proptest! {
        #[test]
        fn any_words_are_counters_and_counters_survive_their_words(words: [u64; USED]) {
            let counters = ConnectionCounters::from_words(&words);
            prop_assert!(usize::from(counters.partial_frame_bytes) < counters.packet_size.bytes());
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
            counts: ReceiverCounts {
                received: 1,
                ..ReceiverCounts::default()
            },
            next_sequence: 1,
            pace: pace(),
            reads: 70,
            reply_bytes_queued: 96,
            ..ConnectionCounters::default()
        };
        assert!(possible.is_possible());
        for spoil in [
            (|it| it.counts.received = 3) as fn(&mut ConnectionCounters),
            |it| (it.counts.received, it.counts.duplicated) = (u64::MAX, u64::MAX),
            |it| it.partial_frame_bytes = 7,
            |it| it.counts.gaps = 2,
            |it| it.counts.reordered = 2,
            |it| it.counts.read_before_written = Some(2),
            |it| it.timed[TimeKind::Latency] = 2,
            |it| it.timed[TimeKind::Spread] = 2,
            |it| it.counts.warm_up = Some(2),
            |it| it.reads = 71,
            |it| it.counts.below_floor = Some(1),
            |it| it.timed[TimeKind::OneWay] = 2,
            |it| it.timed[TimeKind::Queueing] = 1,
            |it| it.counts.off_schedule = Some(2),
            |it| it.counts.left_out = Some(1),
            |it| it.counts.in_time = Some(2),
            |it| it.counts.spread_uncertain = Some(2),
            |it| it.counts.spread_understated = Some(1),
            |it| it.counts.replies_wanted = Some(2),
            |it| it.counts.replies_dropped = Some(1),
            |it| (it.counts.replies_wanted, it.reply_bytes_queued) = (Some(1), 31),
            |it| it.packet_size = PacketSize::new(33).unwrap(),
            |it| it.reply_bytes_queued = 97,
            |it| it.reply_bytes_sent = 97,
        ] {
            let mut impossible = possible;
            spoil(&mut impossible);
            assert!(!impossible.is_possible(), "{impossible:?}");
        }
    }

    #[test]
    fn frames_above_32_bytes_are_counted_behind_the_hello() {
        // A hello, two frames of 200 and 6 bytes of the next.
        let possible = ConnectionCounters {
            stage: Stage::Packets,
            attempt: 1,
            packet_size: PacketSize::new(200).unwrap(),
            bytes: 32 + 2 * 200 + 6,
            partial_frame_bytes: 6,
            counts: ReceiverCounts {
                received: 3,
                ..ReceiverCounts::default()
            },
            ..ConnectionCounters::default()
        };
        assert!(possible.is_possible());
        for spoil in [
            (|it| it.counts.received = 4) as fn(&mut ConnectionCounters),
            |it| it.bytes += 1,
            |it| it.partial_frame_bytes = 206,
            |it| (it.bytes, it.partial_frame_bytes) = (6, 6),
            |it| it.stage = Stage::Opening,
            |it| it.stage = Stage::Challenged,
            |it| it.reply_bytes_queued = 32 * 4 + 1,
        ] {
            let mut impossible = possible;
            spoil(&mut impossible);
            assert!(!impossible.is_possible(), "{impossible:?}");
        }
    }

    #[test]
    fn every_stage_and_every_end_survives_its_words() {
        let stages = [
            Stage::Opening,
            Stage::Packets,
            Stage::Ended,
            Stage::Raw,
            Stage::Refused,
            Stage::Closed,
        ];
        let ends = [
            ClientEnd::NotYet,
            ClientEnd::Clean,
            ClientEnd::Abrupt,
            ClientEnd::Broken,
            ClientEnd::Cut,
            ClientEnd::Refused(3),
            ClientEnd::Unrecoverable,
            ClientEnd::HandlerFailed,
        ];
        for (stage, end) in stages
            .iter()
            .flat_map(|stage| ends.map(|end| (*stage, end)))
        {
            let counters = ConnectionCounters {
                stage,
                end,
                ..ConnectionCounters::default()
            };
            assert_eq!(
                ConnectionCounters::from_words(&counters.to_words()),
                counters
            );
        }
    }

    #[test]
    fn a_hello_survives_the_words_of_its_connection() {
        let counters = ConnectionCounters {
            attempt: 2,
            agent: 0x1234,
            client: 0xFEDC,
            group: 0xBA98,
            has_load: true,
            start: Some(ClientStart {
                start_ns: u64::MAX,
                offset_ns: 5,
            }),
            run: u64::MAX - 1,
            counts: ReceiverCounts {
                warm_up: Some(0),
                replies_wanted: Some(0),
                replies_dropped: Some(0),
                ..ReceiverCounts::default()
            },
            packet_size: PacketSize::MAX,
            partial_frame_bytes: 1471,
            partial_frame_place: PartialFramePlace::Second,
            ..ConnectionCounters::default()
        };
        let read = ConnectionCounters::from_words(&counters.to_words());
        assert_eq!(read.hello(), counters.hello());
        assert_eq!(read, counters);
    }

    #[test]
    fn a_cut_is_clean_only_behind_the_end_and_the_last_reply() {
        let cut = |stage, reply_bytes_sent| {
            let counters = ConnectionCounters {
                stage,
                reply_bytes_queued: 64,
                reply_bytes_sent,
                ..ConnectionCounters::default()
            };
            counters.end_of_cut()
        };
        assert_eq!(cut(Stage::Ended, 64), ClientEnd::Clean);
        assert_eq!(cut(Stage::Ended, 63), ClientEnd::Cut);
        assert_eq!(cut(Stage::Packets, 64), ClientEnd::Cut);
    }

    #[test]
    fn a_counter_that_is_listed_has_a_word_that_is_stored() {
        let counts = ReceiverCounts::from_words(&[1; counters::WORDS]);
        assert!(counts.values().all(|(_, value)| value == Some(1)));
        let connection = ConnectionCounters {
            counts,
            attempt: 1,
            pace: pace(),
            ..ConnectionCounters::default()
        };
        // Each of two is known on one clock only.
        for clock in [ClockRelation::Same, ClockRelation::Offset] {
            let is_same = clock.is_same();
            let counts = ReceiverCounts {
                read_before_written: is_same.then_some(1),
                below_floor: (!is_same).then_some(1),
                ..counts
            };
            let connection = ConnectionCounters {
                clock,
                counts,
                ..connection
            };
            let again = ConnectionCounters::from_words(&connection.to_words());
            assert_eq!(again, connection);
        }
    }

    #[test]
    fn zeroed_memory_is_a_connection_that_has_just_been_opened() {
        assert_eq!(
            ConnectionCounters::from_words(&[0; USED]),
            ConnectionCounters::default()
        );
        assert_eq!(ConnectionCounters::default().stage, Stage::Opening);
    }
}
