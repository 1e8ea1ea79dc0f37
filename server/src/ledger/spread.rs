//! Spread: (read − due) of a packet above the least of its client in the last 5 to 10 s. It needs
//! no common clock: the difference of two clocks is in both and falls out. Pure.
//!
//! The least is kept in two buckets, that of the present window of 5 s and that of the window
//! before; a window begins at a multiple of 5 s of the time of reading. However long nothing came,
//! a rotation is one step.
//!
//! Where (read − due) falls, packets were delayed for longer than their spread shows: a path that
//! holds everything for 2 s and then lets it go at once makes it fall all the time, and each packet
//! sets the least. So there are *marks*. A mark is set where the least has fallen by more than
//! 100 ms since the last mark. Each packet before a mark was above that mark's least, since the
//! least was not yet as low; so when the next mark is set, each of them is more than 100 ms above
//! it. Those of them whose spread does not show it are *understated*. Each is counted once, and
//! none that is not: what lies between the last two marks, or before a rotation, is not found.
//!
//! (Read − due) is a signed difference of wrapping 64-bit numbers, since the zeros of two clocks
//! may lie anywhere.

/// Window of the least, ns.
const WINDOW_NS: u64 = 5_000_000_000;

/// How far above the least a packet must be for its spread to count as understated, ns.
pub(super) const UNDERSTATED_NS: u64 = 100_000_000;

/// No packet: above every (read − due).
const NONE: i64 = i64::MAX;

/// Words of it in the ledger.
pub(super) const WORDS: usize = 7;

/// The least (read − due) of a client, ever and of late.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Spread {
    /// The least of all packets, ns.
    least_ns: i64,
    /// When the present window began, ns of the time of reading.
    window_ns: u64,
    /// The least of the present window, and of the one before, ns.
    window_least_ns: i64,
    before_least_ns: i64,
    /// The least of the two when the last mark was set, or when the window began.
    mark_ns: i64,
    /// Packets of this window whose spread shows at most 100 ms: those since the mark …
    since_mark: u64,
    /// … and those before it that are not counted.
    before_mark: u64,
}

/// What one packet has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shown {
    /// How far the packet is above the least, ns.
    pub(super) spread_ns: u64,
    /// Packets before it of which it shows that their spread is understated.
    pub(super) understated: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            least_ns: NONE,
            window_ns: 0,
            window_least_ns: NONE,
            before_least_ns: NONE,
            mark_ns: NONE,
            since_mark: 0,
            before_mark: 0,
        }
    }
}

impl Spread {
    /// The least (read − due) of all packets, ns.
    pub(super) fn least_ns(&self) -> Option<i64> {
        (self.least_ns != NONE).then_some(self.least_ns)
    }

    /// Packets that are kept for a mark to come.
    pub(super) fn kept(&self) -> u64 {
        self.since_mark.saturating_add(self.before_mark)
    }

    /// A batch was read at `read_ns`: begins a new window if the last one is over.
    #[inline]
    pub(super) fn begin_batch(&mut self, read_ns: u64) {
        let elapsed_ns = read_ns.saturating_sub(self.window_ns);
        if elapsed_ns >= WINDOW_NS {
            self.rotate(elapsed_ns);
        }
    }

    #[cold]
    fn rotate(&mut self, elapsed_ns: u64) {
        self.before_least_ns = if elapsed_ns < 2 * WINDOW_NS {
            self.window_least_ns
        } else {
            NONE
        };
        self.window_least_ns = NONE;
        // At most the time of reading.
        self.window_ns += elapsed_ns - elapsed_ns % WINDOW_NS;
        self.mark_ns = self.before_least_ns;
        (self.since_mark, self.before_mark) = (0, 0);
    }

    /// Takes a packet of the batch that was begun.
    #[inline]
    pub(super) fn take(&mut self, read_ns: u64, due_ns: u64) -> Shown {
        let delay_ns = read_ns.wrapping_sub(due_ns).cast_signed();
        let mut understated = 0;
        if delay_ns < self.window_least_ns {
            self.window_least_ns = delay_ns;
            if delay_ns < self.before_least_ns {
                understated = self.fall(delay_ns);
            }
        }
        let least_ns = self.window_least_ns.min(self.before_least_ns);
        let spread_ns = delay_ns.wrapping_sub(least_ns).cast_unsigned();
        if spread_ns <= UNDERSTATED_NS {
            self.since_mark = self.since_mark.wrapping_add(1);
        }
        Shown {
            spread_ns,
            understated,
        }
    }

    /// The least of the two windows falls.
    #[inline]
    fn fall(&mut self, least_ns: i64) -> u64 {
        self.least_ns = self.least_ns.min(least_ns);
        if least_ns >= self.mark_ns.saturating_sub(UNDERSTATED_NS.cast_signed()) {
            return 0;
        }
        let understated = self.before_mark;
        (self.before_mark, self.since_mark) = (self.since_mark, 0);
        self.mark_ns = least_ns;
        understated
    }

    #[inline]
    pub(super) fn to_words(self) -> [u64; WORDS] {
        [
            to_word(self.least_ns),
            self.window_ns,
            to_word(self.window_least_ns),
            to_word(self.before_least_ns),
            to_word(self.mark_ns),
            self.since_mark,
            self.before_mark,
        ]
    }

    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        let [
            least,
            window_ns,
            window_least,
            before_least,
            mark,
            since_mark,
            before_mark,
        ] = words;
        Self {
            least_ns: from_word(least),
            window_ns,
            window_least_ns: from_word(window_least),
            before_least_ns: from_word(before_least),
            mark_ns: from_word(mark),
            since_mark,
            before_mark,
        }
    }
}

/// So that a word of 0 is [`NONE`].
fn to_word(least_ns: i64) -> u64 {
    (least_ns ^ NONE).cast_unsigned()
}

fn from_word(word: u64) -> i64 {
    word.cast_signed() ^ NONE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads and due times of packets, by rising time of reading.
    type Packets = Vec<(u64, u64)>;

    /// What the spread shows of each packet.
    fn shown(spread: &mut Spread, packets: &Packets) -> Vec<Shown> {
        let take = |(read_ns, due_ns): &(u64, u64)| {
            spread.begin_batch(*read_ns);
            spread.take(*read_ns, *due_ns)
        };
        packets.iter().map(take).collect()
    }

    fn delay_ns((read_ns, due_ns): (u64, u64)) -> i64 {
        read_ns.wrapping_sub(due_ns).cast_signed()
    }

    /// How far a packet is above the least delay of the packets `is_near` it.
    fn above_least(packets: &Packets, index: usize, is_near: impl Fn(usize, u64) -> bool) -> u64 {
        let near = packets.iter().enumerate();
        let near = near.filter(|(other, (read_ns, _))| is_near(*other, *read_ns));
        let least = near.map(|(_, packet)| delay_ns(*packet)).min().unwrap();
        (delay_ns(packets[index]) - least).cast_unsigned()
    }

    /// Delays that go up and down by up to 3 s, in reads 0 to 12 s apart, of any two clocks.
    fn packets() -> impl Strategy<Value = Packets> {
        let gaps_ns = prop_oneof![
            5 => Just(0),
            5 => 0..100_000_000_u64,
            1 => 0..12_000_000_000_u64
        ];
        let moves_ns = prop_oneof![
            -60_000_000..60_000_000_i64,
            -3_000_000_000..3_000_000_000_i64
        ];
        let each = (gaps_ns, moves_ns);
        (0..1_u64 << 50, zeros(), prop::collection::vec(each, 1..100)).prop_map(
            |(mut read_ns, zero_ns, each)| {
                let mut delay_ns = 0_i64;
                let mut packet = |(gap_ns, move_ns): (u64, i64)| {
                    (read_ns, delay_ns) = (read_ns + gap_ns, delay_ns + move_ns);
                    let due_ns = read_ns.wrapping_sub(delay_ns.cast_unsigned());
                    (read_ns, due_ns.wrapping_add(zero_ns))
                };
                each.into_iter().map(&mut packet).collect()
            },
        )
    }

    /// Zero of a clock, up to 70 years before or behind that of the other.
    fn zeros() -> impl Strategy<Value = u64> {
        (-(1_i64 << 61)..1 << 61).prop_map(i64::cast_unsigned)
    }

    /// A client at 1 kHz for a second, whose packets are all read at one moment.
    fn held_for_a_second(read_ns: u64) -> Packets {
        let due_ns = |packet: u64| read_ns - 999_000_000 + packet * 1_000_000;
        (0..1_000_u64)
            .map(|packet| (read_ns, due_ns(packet)))
            .collect()
    }

    proptest! {
        #[test]
        fn spread_is_the_time_above_the_least_of_the_last_5_to_10_seconds(packets in packets()) {
            let shown = shown(&mut Spread::default(), &packets);
            for (index, shown) in shown.iter().enumerate() {
                let read_ns = packets[index].0;
                let above_least_of = |window_ns| {
                    let is_near = |other, at_ns| {
                        other <= index && read_ns - at_ns <= window_ns
                    };
                    above_least(&packets, index, is_near)
                };
                prop_assert!(shown.spread_ns >= above_least_of(WINDOW_NS));
                prop_assert!(shown.spread_ns <= above_least_of(2 * WINDOW_NS));
            }
        }

        /// The packets that show more than 100 ms and the understated ones together are at most
        /// those that were more than 100 ms above the least of 10 s before and 10 s after them; and
        /// the understated ones alone at most those above the least that came after them.
        #[test]
        fn understated_packets_never_are_more_than_there_were(packets in packets()) {
            let shown = shown(&mut Spread::default(), &packets);
            let understated: u64 = shown.iter().map(|shown| shown.understated).sum();
            let count = |is_counted: &dyn Fn(usize) -> bool| {
                (0..packets.len()).filter(|index| is_counted(*index)).count() as u64
            };
            let shows = count(&|index| shown[index].spread_ns > UNDERSTATED_NS);
            let is_above = |index: usize| {
                let is_near = |_, at_ns: u64| packets[index].0.abs_diff(at_ns) <= 2 * WINDOW_NS;
                above_least(&packets, index, is_near) > UNDERSTATED_NS
            };
            let is_understated = |index: usize| {
                let is_near = |other, at_ns: u64| {
                    other >= index && at_ns - packets[index].0 <= 2 * WINDOW_NS
                };
                shown[index].spread_ns <= UNDERSTATED_NS
                    && above_least(&packets, index, is_near) > UNDERSTATED_NS
            };
            prop_assert!(understated + shows <= count(&is_above));
            prop_assert!(understated <= count(&is_understated));
        }

        #[test]
        fn the_zero_of_the_senders_clock_changes_nothing(
            packets in packets(),
            zero_ns in zeros(),
        ) {
            let moved = packets.iter();
            let moved = moved.map(|(read_ns, due_ns)| (*read_ns, due_ns.wrapping_add(zero_ns)));
            prop_assert_eq!(
                shown(&mut Spread::default(), &packets),
                shown(&mut Spread::default(), &moved.collect())
            );
        }

        #[test]
        fn any_words_are_a_spread_and_take_any_packet(
            words: [u64; WORDS],
            packets in prop::collection::vec((any::<u64>(), any::<u64>()), 1..20),
        ) {
            let mut spread = Spread::from_words(words);
            prop_assert_eq!(spread.to_words(), words);
            let _ = (shown(&mut spread, &packets), spread.kept(), spread.least_ns());
        }
    }

    #[test]
    fn a_burst_after_a_hold_shows_no_spread_and_is_understated() {
        for read_ns in [7_000_000_000, 1 << 50] {
            let packets = held_for_a_second(read_ns);
            let shown = shown(&mut Spread::default(), &packets);
            assert!(shown.iter().all(|shown| shown.spread_ns == 0));
            let understated: u64 = shown.iter().map(|shown| shown.understated).sum();
            assert_eq!(
                understated, 808,
                "of the 899 that were more than 100 ms above the last"
            );
        }
    }

    #[test]
    fn a_hold_behind_a_quiet_time_shows_in_the_spread_itself() {
        let read_ns = 7_000_000_000;
        let quiet = (read_ns - 1_500_000_000, read_ns - 1_500_000_000);
        let packets = [vec![quiet], held_for_a_second(read_ns)].concat();
        let shown = shown(&mut Spread::default(), &packets);
        assert_eq!(shown[1].spread_ns, 999_000_000);
        assert!(shown.iter().all(|shown| shown.understated == 0));
    }

    /// What packets of these delays show, all read in one window.
    fn of_delays(delays_ns: &[u64]) -> Vec<(u64, u64)> {
        let read_ns = 6_000_000_000;
        let packets = delays_ns
            .iter()
            .map(|delay_ns| (read_ns, read_ns - delay_ns));
        shown(&mut Spread::default(), &packets.collect())
            .iter()
            .map(|shown| (shown.spread_ns, shown.understated))
            .collect()
    }

    #[test]
    fn a_mark_is_set_where_the_least_falls_by_more_than_100_ms_and_not_at_100() {
        let delays_ns = [1_000_000_000, 900_000_000, 899_999_999, 700_000_000];
        assert_eq!(of_delays(&delays_ns), [(0, 0), (0, 0), (0, 0), (0, 2)]);
    }

    #[test]
    fn a_packet_shows_its_delay_from_1_ns_above_100_ms_on() {
        let delays_ns = [
            500_000_000,
            600_000_000,
            600_000_001,
            300_000_000,
            100_000_000,
        ];
        assert_eq!(
            of_delays(&delays_ns),
            [(0, 0), (100_000_000, 0), (100_000_001, 0), (0, 0), (0, 2)]
        );
    }

    #[test]
    fn a_window_begins_at_a_multiple_of_5_s_and_the_one_before_counts_until_the_next() {
        const S: u64 = 1_000_000_000;
        let spreads = |reads: &[(u64, u64)]| {
            let packets = reads.iter().map(|(read, delay)| (*read, read - delay));
            let shown = shown(&mut Spread::default(), &packets.collect());
            shown
                .iter()
                .map(|shown| shown.spread_ns)
                .collect::<Vec<_>>()
        };
        let each = [(5 * S, 0), (10 * S, 7), (15 * S - 1, 7), (15 * S, 7)];
        assert_eq!(spreads(&each), [0, 7, 7, 0]);
        assert_eq!(spreads(&[(5 * S, 0), (15 * S - 1, 7)]), [0, 7]);
        assert_eq!(spreads(&[(5 * S, 0), (15 * S, 7)]), [0, 0]);
    }

    #[test]
    fn zeroed_words_are_no_packet() {
        assert_eq!(Spread::from_words([0; WORDS]), Spread::default());
        assert_eq!(Spread::default().least_ns(), None);
    }
}
