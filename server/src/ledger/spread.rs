//! Spread: (read − due) of a packet, its *delay*, above the least of its client in the last 5 to
//! 10 s. It needs no common clock: the difference of two clocks is in both and falls out. The first
//! packet of that time has none, since there is nothing to compare it with. Pure.
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
//! That is the least that is certain. The most that is possible is found by marks at 10 ms: where
//! the least falls by more than that below a mark, all packets since the mark are *uncertain*, and
//! with the first mark of a window those since the last one of the window before. A packet that is
//! not uncertain is above the least of its own window by at most 10 ms more than its spread shows.
//!
//! Delays are given less that of the client's first packet, so that they are small whatever the
//! zeros of the two clocks are. Packets of the warm-up set the least and the marks as all do, and
//! are themselves neither understated nor uncertain, since no distribution has them.

use crate::model::{UNCERTAIN_NS, UNDERSTATED_NS};

/// Window of the least, ns.
const WINDOW_NS: u64 = 5_000_000_000;

/// No packet: above every delay.
const NONE: i64 = i64::MAX;

/// Words of it in the ledger.
pub(super) const WORDS: usize = 10;

/// The least delay of a client, ever and of late.
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
    /// The same at 10 ms: the least of the two when the last of these marks was set; the packets of
    /// this window since it, and those of the window before while this one has no mark.
    near_mark_ns: i64,
    since_near_mark: u64,
    before_window: u64,
}

/// What one packet has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shown {
    /// How far the packet is above the least, ns. `None` without a packet before it.
    pub(super) spread_ns: Option<u64>,
    /// Packets before it of which it shows that their spread is understated …
    pub(super) understated: u64,
    /// … and of which it shows that their spread is uncertain.
    pub(super) uncertain: u64,
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
            near_mark_ns: NONE,
            since_near_mark: 0,
            before_window: 0,
        }
    }
}

impl Spread {
    /// The least delay of all packets, ns.
    pub(super) fn least_ns(&self) -> Option<i64> {
        (self.least_ns != NONE).then_some(self.least_ns)
    }

    /// Packets that are kept for a mark to come at 100 ms, and at 10 ms.
    pub(super) fn kept(&self) -> [u64; 2] {
        [
            self.since_mark.saturating_add(self.before_mark),
            self.since_near_mark.saturating_add(self.before_window),
        ]
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
        (self.before_least_ns, self.before_window) = if elapsed_ns < 2 * WINDOW_NS {
            (self.window_least_ns, self.since_near_mark)
        } else {
            (NONE, 0)
        };
        self.window_least_ns = NONE;
        // At most the time of reading.
        self.window_ns += elapsed_ns - elapsed_ns % WINDOW_NS;
        (self.mark_ns, self.near_mark_ns) = (self.before_least_ns, self.before_least_ns);
        (self.since_mark, self.before_mark, self.since_near_mark) = (0, 0, 0);
    }

    /// Takes a packet of the batch that was begun, whose spread is recorded or not.
    #[inline]
    pub(super) fn take(&mut self, delay_ns: i64, is_recorded: bool) -> Shown {
        let before_ns = self.window_least_ns.min(self.before_least_ns);
        let (mut understated, mut uncertain) = (0, 0);
        if delay_ns < self.window_least_ns {
            self.window_least_ns = delay_ns;
            if delay_ns < self.before_least_ns {
                (understated, uncertain) = self.fall(delay_ns);
            }
        }
        let spread_ns = delay_ns
            .wrapping_sub(before_ns.min(delay_ns))
            .cast_unsigned();
        let recorded = u64::from(is_recorded);
        self.since_near_mark = self.since_near_mark.wrapping_add(recorded);
        if spread_ns <= UNDERSTATED_NS {
            self.since_mark = self.since_mark.wrapping_add(recorded);
        }
        Shown {
            spread_ns: (before_ns != NONE).then_some(spread_ns),
            understated,
            uncertain,
        }
    }

    /// Takes packets with the same delay as the one before them in their batch, so that the least
    /// stays as it is. Returns how far each of them is above it, ns. `None` where there is none.
    #[inline]
    pub(super) fn take_alike(
        &mut self,
        delay_ns: i64,
        is_recorded: bool,
        packets: u64,
    ) -> Option<u64> {
        let before_ns = self.window_least_ns.min(self.before_least_ns);
        let spread_ns = delay_ns
            .wrapping_sub(before_ns.min(delay_ns))
            .cast_unsigned();
        let recorded = if is_recorded { packets } else { 0 };
        self.since_near_mark = self.since_near_mark.wrapping_add(recorded);
        if spread_ns <= UNDERSTATED_NS {
            self.since_mark = self.since_mark.wrapping_add(recorded);
        }
        (before_ns != NONE).then_some(spread_ns)
    }

    /// The least of the two windows falls. Returns how many packets it shows to be understated, and
    /// how many to be uncertain.
    #[inline]
    fn fall(&mut self, least_ns: i64) -> (u64, u64) {
        self.least_ns = self.least_ns.min(least_ns);
        let (mut understated, mut uncertain) = (0, 0);
        if is_below(least_ns, self.near_mark_ns, UNCERTAIN_NS) {
            uncertain = self.since_near_mark.saturating_add(self.before_window);
            (self.since_near_mark, self.before_window) = (0, 0);
            self.near_mark_ns = least_ns;
        }
        if is_below(least_ns, self.mark_ns, UNDERSTATED_NS) {
            understated = self.before_mark;
            (self.before_mark, self.since_mark) = (self.since_mark, 0);
            self.mark_ns = least_ns;
        }
        (understated, uncertain)
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
            to_word(self.near_mark_ns),
            self.since_near_mark,
            self.before_window,
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
            near_mark,
            since_near_mark,
            before_window,
        ] = words;
        Self {
            least_ns: from_word(least),
            window_ns,
            window_least_ns: from_word(window_least),
            before_least_ns: from_word(before_least),
            mark_ns: from_word(mark),
            since_mark,
            before_mark,
            near_mark_ns: from_word(near_mark),
            since_near_mark,
            before_window,
        }
    }
}

/// Whether a least is lower than a mark by more than so many ns.
#[inline]
fn is_below(least_ns: i64, mark_ns: i64, span_ns: u64) -> bool {
    least_ns < mark_ns.saturating_sub(span_ns.cast_signed())
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

    /// Times of reading and delays of packets, by rising time of reading.
    type Packets = Vec<(u64, i64)>;

    const MS: u64 = 1_000_000;

    /// What the spread shows of each packet.
    fn shown(spread: &mut Spread, packets: &Packets) -> Vec<Shown> {
        let take = |(read_ns, delay_ns): &(u64, i64)| {
            spread.begin_batch(*read_ns);
            spread.take(*delay_ns, true)
        };
        packets.iter().map(take).collect()
    }

    /// How far a packet is above the least delay of the packets `is_near` it.
    fn above_least(packets: &Packets, index: usize, is_near: impl Fn(usize, u64) -> bool) -> u64 {
        let near = packets.iter().enumerate();
        let near = near.filter(|(other, (read_ns, _))| is_near(*other, *read_ns));
        let least = near.map(|(_, (_, delay_ns))| *delay_ns).min().unwrap();
        (packets[index].1 - least).cast_unsigned()
    }

    /// Delays that go up and down by up to 3 s, in reads 0 to 12 s apart.
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
        let each = prop::collection::vec((gaps_ns, moves_ns), 1..100);
        (0..1_u64 << 50, each).prop_map(|(mut read_ns, each)| {
            let mut delay_ns = 0_i64;
            let mut packet = |(gap_ns, move_ns): (u64, i64)| {
                (read_ns, delay_ns) = (read_ns + gap_ns, delay_ns + move_ns);
                (read_ns, delay_ns)
            };
            each.into_iter().map(&mut packet).collect()
        })
    }

    /// Packets of a client at 1 kHz, of which the delay of each is that of its number, ms.
    fn with_delays(read_ns: u64, count: u64, delay_ms: impl Fn(u64) -> u64) -> Packets {
        let packet = |number| (read_ns + number * MS, (delay_ms(number) * MS).cast_signed());
        (0..count).map(packet).collect()
    }

    /// A client at 1 kHz for a second, whose packets are all read at one moment.
    fn held_for_a_second(read_ns: u64) -> Packets {
        let packet = |number: u64| (read_ns, ((999 - number) * MS).cast_signed());
        (0..1_000_u64).map(packet).collect()
    }

    fn sum(shown: &[Shown], figure: impl Fn(&Shown) -> u64) -> u64 {
        shown.iter().map(figure).sum()
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
                // The first has none, and so is 0 above itself.
                let spread_ns = shown.spread_ns.unwrap_or(0);
                prop_assert!(spread_ns >= above_least_of(WINDOW_NS));
                prop_assert!(spread_ns <= above_least_of(2 * WINDOW_NS));
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
            let spread_ns = |index: usize| shown[index].spread_ns.unwrap_or(0);
            let shows = count(&|index| spread_ns(index) > UNDERSTATED_NS);
            let is_above = |index: usize| {
                let is_near = |_, at_ns: u64| packets[index].0.abs_diff(at_ns) <= 2 * WINDOW_NS;
                above_least(&packets, index, is_near) > UNDERSTATED_NS
            };
            let is_understated = |index: usize| {
                let is_near = |other, at_ns: u64| {
                    other >= index && at_ns - packets[index].0 <= 2 * WINDOW_NS
                };
                spread_ns(index) <= UNDERSTATED_NS
                    && above_least(&packets, index, is_near) > UNDERSTATED_NS
            };
            prop_assert!(understated + shows <= count(&is_above));
            prop_assert!(understated <= count(&is_understated));
        }

        /// Those that are more than 10 ms further above the least of their own window than their
        /// spread shows are uncertain, and no packet is uncertain of which nothing came below it.
        #[test]
        fn packets_that_are_not_uncertain_show_their_spread_to_10_ms(packets in packets()) {
            let shown = shown(&mut Spread::default(), &packets);
            let window = |at_ns: u64| at_ns / WINDOW_NS;
            let count = |is_counted: &dyn Fn(usize) -> bool| {
                (0..packets.len()).filter(|index| is_counted(*index)).count() as u64
            };
            let hides = |index: usize| {
                let own = window(packets[index].0);
                let of_own = |_, at_ns: u64| window(at_ns) == own;
                let above_ns = above_least(&packets, index, of_own);
                above_ns > shown[index].spread_ns.unwrap_or(0) + UNCERTAIN_NS
            };
            let is_undercut = |index: usize| {
                let is_near = |other, at_ns: u64| {
                    other >= index && at_ns - packets[index].0 <= 2 * WINDOW_NS
                };
                above_least(&packets, index, is_near) > 0
            };
            let uncertain = sum(&shown, |of| of.uncertain);
            prop_assert!(uncertain >= count(&hides));
            prop_assert!(uncertain <= count(&is_undercut));
            let sums = shown.iter().scan((0, 0), |(understated, uncertain), of| {
                *understated += of.understated;
                *uncertain += of.uncertain;
                Some((*understated, *uncertain))
            });
            for (understated, uncertain) in sums {
                prop_assert!(understated <= uncertain);
            }
        }

        /// The first of several has no spread, and is compared with those after it: it is within
        /// 10 ms of the least of its own window, or of the next one where it is alone in its own,
        /// or it is uncertain.
        #[test]
        fn the_first_of_several_is_uncertain_or_compared_with_the_next(
            first_ns in 0..2 * WINDOW_NS,
            first_delay_ns in 0..100_000_000_i64,
            others in prop::collection::vec((0..WINDOW_NS, 0..100_000_000_i64), 1..9),
            is_alone: bool,
        ) {
            let window = first_ns / WINDOW_NS + u64::from(is_alone);
            let others = others.into_iter();
            let mut others: Packets = others
                .map(|(at_ns, delay_ns)| ((window * WINDOW_NS + at_ns).max(first_ns), delay_ns))
                .collect();
            others.sort_unstable();
            let packets = [vec![(first_ns, first_delay_ns)], others].concat();
            let shown = shown(&mut Spread::default(), &packets);
            let has_none = shown.iter().map(|of| of.spread_ns.is_none());
            prop_assert!(has_none.eq((0..packets.len()).map(|index| index == 0)));
            let above_ns = above_least(&packets, 0, |_, _| true);
            let is_uncertain = shown.iter().any(|of| of.uncertain > 0);
            prop_assert!(is_uncertain || above_ns <= UNCERTAIN_NS, "{above_ns}");
        }

        #[test]
        fn the_delay_of_the_first_packet_changes_nothing(
            packets in packets(),
            more_ns in -(1_i64 << 61)..1 << 61,
        ) {
            let moved = packets.iter();
            let moved = moved.map(|(read_ns, delay_ns)| (*read_ns, delay_ns + more_ns));
            prop_assert_eq!(
                shown(&mut Spread::default(), &packets),
                shown(&mut Spread::default(), &moved.collect())
            );
        }

        #[test]
        fn any_words_are_a_spread_and_take_any_packet(
            words: [u64; WORDS],
            packets in prop::collection::vec((any::<u64>(), any::<i64>()), 1..20),
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
            assert_eq!(shown[0].spread_ns, None);
            assert!(shown[1..].iter().all(|shown| shown.spread_ns == Some(0)));
            let understated = sum(&shown, |of| of.understated);
            assert_eq!(
                understated, 808,
                "of the 899 that were more than 100 ms above the last"
            );
            assert_eq!(
                sum(&shown, |of| of.uncertain),
                990,
                "of the 989 that were more than 10 ms above the last, and the next mark's"
            );
        }
    }

    #[test]
    fn a_hold_behind_a_quiet_time_shows_in_the_spread_itself() {
        let read_ns = 7_000_000_000;
        let quiet = (read_ns - 1_500_000_000, 0);
        let packets = [vec![quiet], held_for_a_second(read_ns)].concat();
        let shown = shown(&mut Spread::default(), &packets);
        assert_eq!(shown[1].spread_ns, Some(999_000_000));
        assert_eq!(sum(&shown, |of| of.understated + of.uncertain), 0);
    }

    #[test]
    fn a_delay_that_falls_slowly_leaves_its_spread_uncertain() {
        for read_ns in [1 << 50, 3_500_000_000] {
            // 190 ms to 0 over 3 s, the second time over the end of a window.
            let falling = with_delays(read_ns, 3_000, |number| 190 - number * 190 / 2_999);
            let shown = shown(&mut Spread::default(), &falling);
            assert!(shown[1..].iter().all(|of| of.spread_ns == Some(0)));
            let uncertain = sum(&shown, |of| of.uncertain);
            assert!((2_800..3_000).contains(&uncertain), "{uncertain}");
        }
    }

    #[test]
    fn a_fall_behind_the_end_of_a_window_leaves_the_window_before_uncertain() {
        let step = with_delays(
            4_000_000_000,
            1_500,
            |number| if number < 1_000 { 190 } else { 0 },
        );
        let shown = shown(&mut Spread::default(), &step);
        assert_eq!(sum(&shown, |of| of.uncertain), 1_000);
        // Not so the window before the last.
        let mut late = step;
        late.iter_mut()
            .skip(1_000)
            .for_each(|(read_ns, _)| *read_ns += 5_000_000_000);
        let shown = super::tests::shown(&mut Spread::default(), &late);
        assert_eq!(sum(&shown, |of| of.uncertain), 0);
    }

    #[test]
    fn a_packet_that_nothing_came_before_for_10_seconds_has_no_spread() {
        let packets = vec![(0, 5), (1, 7), (10_000_000_000, 9), (10_000_000_001, 8)];
        let shown = shown(&mut Spread::default(), &packets);
        let spreads: Vec<_> = shown.iter().map(|of| of.spread_ns).collect();
        assert_eq!(spreads, [None, Some(2), None, Some(0)]);
    }

    /// What packets of these delays show, all read in one window: spread, packets before that are
    /// understated, packets before that are uncertain.
    fn of_delays(delays_ns: &[i64]) -> Vec<(Option<u64>, u64, u64)> {
        let packets = delays_ns.iter().map(|delay_ns| (6_000_000_000, *delay_ns));
        let shown = shown(&mut Spread::default(), &packets.collect());
        let figures = |of: &Shown| (of.spread_ns, of.understated, of.uncertain);
        shown.iter().map(figures).collect()
    }

    #[test]
    fn a_mark_is_set_where_the_least_falls_by_more_than_100_ms_and_not_at_100() {
        let delays_ns = [1_000_000_000, 900_000_000, 899_999_999, 700_000_000];
        let fallen = |understated, uncertain| (Some(0), understated, uncertain);
        assert_eq!(
            of_delays(&delays_ns),
            [(None, 0, 0), fallen(0, 1), fallen(0, 0), fallen(2, 2)]
        );
    }

    #[test]
    fn a_packet_is_uncertain_where_the_least_falls_by_more_than_10_ms_and_not_at_10() {
        let delays_ns = [30_000_000, 99_000_000, 20_000_000, 19_999_999, 9_000_000];
        let fallen = |uncertain| (Some(0), 0, uncertain);
        assert_eq!(
            of_delays(&delays_ns),
            [
                (None, 0, 0),
                (Some(69_000_000), 0, 0),
                fallen(0),
                fallen(3),
                fallen(1)
            ]
        );
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
            [
                (None, 0, 0),
                (Some(100_000_000), 0, 0),
                (Some(100_000_001), 0, 0),
                (Some(0), 0, 3),
                (Some(0), 2, 1)
            ]
        );
    }

    #[test]
    fn a_window_begins_at_a_multiple_of_5_s_and_the_one_before_counts_until_the_next() {
        const S: u64 = 1_000_000_000;
        let spreads = |packets: &[(u64, i64)]| {
            let shown = shown(&mut Spread::default(), &packets.to_vec());
            let spreads = shown.iter().map(|shown| shown.spread_ns);
            spreads.collect::<Vec<_>>()
        };
        let each = [(5 * S, 0), (10 * S, 7), (15 * S - 1, 7), (15 * S, 7)];
        assert_eq!(spreads(&each), [None, Some(7), Some(7), Some(0)]);
        assert_eq!(spreads(&[(5 * S, 0), (15 * S - 1, 7)]), [None, Some(7)]);
        assert_eq!(spreads(&[(5 * S, 0), (15 * S, 7)]), [None, None]);
    }

    #[test]
    fn zeroed_words_are_no_packet() {
        assert_eq!(Spread::from_words([0; WORDS]), Spread::default());
        assert_eq!(Spread::default().least_ns(), None);
    }
}
