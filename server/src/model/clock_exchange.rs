//! Exchanges of clock readings with one agent: what they prove of the offset of its
//! CLOCK_MONOTONIC to this host's, whatever the path between them.
//!
//! This side reads t1 and sends; the agent receives and reads t2, reads t3 and sends; this side
//! receives and reads t4. With θ = agent's reading − this host's reading at one instant:
//!
//! ```text
//! received after it was sent:  t2 ≥ t1 + θ,  so  θ ≤ t2 − t1
//! received after it was sent:  t4 ≥ t3 − θ,  so  θ ≥ t3 − t4
//! ```
//!
//! All exchanges of a session bound one region. Clocks are the same when the agent claims the same
//! clock and [`EXCHANGES`] exchanges leave 0 in the region. A clock that is behind is as wrong as
//! one ahead. That of an agent which probes its path in each run is else another clock: how far
//! off it is between runs follows from the exchanges of the last 20 s ([`ClockWindow`]). Those of
//! the last minutes are kept for the runs that come ([`ClockHistory`]). Times are ns. The agent's
//! readings may be anything. Absent: a clock, I/O.

use std::collections::VecDeque;

use metronome_proto::v1;

use super::{
    clock_history::{ClockHistory, FourReadings},
    clock_relation::{AgentClock, ClockOffset, ClockRelation, with_drift},
    clock_window::{ClockWindow, Exchange, WINDOW_NS},
};

/// So many answers are needed before a relation is proved.
pub(crate) const EXCHANGES: u32 = 16;
/// Exchanges that allow a greater offset than this prove nothing of use, ns: one-way times would
/// be wrong by as much.
const SAME_BOUND_NS_MAX: u64 = 100_000_000;
/// Probes without an answer that are remembered: those of the beginning, and some of the renewals.
const OPEN_MAX: usize = 2 * EXCHANGES as usize;

/// The exchanges of one session.
#[derive(Debug)]
pub(crate) struct ClockExchanges {
    /// The relation as far as the agent's own word goes …
    claimed: ClockRelation,
    /// … and what it is where that is not the same clock.
    otherwise: ClockRelation,
    /// When the probes that have no answer yet were sent.
    open: VecDeque<u64>,
    answered: u32,
    /// How long the last exchanges took beside the agent's own time, at most [`EXCHANGES`].
    round_trips_ns: VecDeque<u64>,
    region: Region,
    /// What the last exchanges allow, unless the clock is the same.
    window: ClockWindow,
    /// What they have proved for the runs that come.
    history: ClockHistory,
    /// The agent's clock and ours at the newest of these.
    newest: Option<(u64, u64)>,
    /// `None` while the agent is still measured.
    settled: Option<ClockRelation>,
}

/// What follows from an answer, or from its absence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClockEvent {
    /// The relation is known from here on.
    Settled(AgentClock),
    /// The relation was settled as the same clock, and it is this one.
    Contradicted(AgentClock),
}

/// The offsets that all exchanges allow.
#[derive(Clone, Copy, Debug)]
struct Region {
    least_ns: i128,
    most_ns: i128,
}

impl Region {
    fn narrow(&mut self, least_ns: i128, most_ns: i128) {
        self.least_ns = self.least_ns.max(least_ns);
        self.most_ns = self.most_ns.min(most_ns);
    }

    /// False of an empty region as well.
    fn allows_none(self) -> bool {
        self.least_ns <= 0 && 0 <= self.most_ns
    }

    /// The greatest offset that is allowed, ahead or behind: the error of an offset that is taken
    /// for 0. `None` where 0 is not allowed.
    fn bound_ns(self) -> Option<u64> {
        let greatest_ns = self.most_ns.max(-self.least_ns);
        self.allows_none()
            .then(|| u64::try_from(greatest_ns).ok())?
    }
}

impl ClockExchanges {
    /// The beginning of a session with an agent that claims this relation, and probes its path in
    /// runs or does not.
    pub(crate) fn new(claimed: ClockRelation, probes_path: bool) -> Self {
        let otherwise = match probes_path {
            true => ClockRelation::Offset,
            false => ClockRelation::Unknown,
        };
        Self {
            claimed,
            otherwise,
            open: VecDeque::new(),
            answered: 0,
            round_trips_ns: VecDeque::new(),
            region: Region {
                // Far beyond every difference of two readings, and their difference is no
                // overflow.
                least_ns: i128::from(i64::MIN) * 4,
                most_ns: i128::from(i64::MAX) * 4,
            },
            window: ClockWindow::default(),
            history: ClockHistory::default(),
            newest: None,
            settled: None,
        }
    }

    /// The probe to send at `now_ns`.
    pub(crate) fn probe(&mut self, now_ns: u64) -> v1::ClockProbe {
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back(now_ns);
        v1::ClockProbe { server_ns: now_ns }
    }

    /// Takes an answer that came at `now_ns`. One to no open probe proves nothing, and neither
    /// does one that was sent before its probe had come.
    pub(crate) fn take(&mut self, reading: &v1::ClockReading, now_ns: u64) -> Option<ClockEvent> {
        if reading.sent_ns < reading.received_ns {
            return None;
        }
        let place = self.open.iter().position(|of| *of == reading.server_ns)?;
        self.open.remove(place);
        self.answered = self.answered.saturating_add(1);
        if self.round_trips_ns.len() == EXCHANGES as usize {
            self.round_trips_ns.pop_front();
        }
        let inside_ns = reading.sent_ns - reading.received_ns;
        let round_trip_ns = now_ns.saturating_sub(reading.server_ns);
        self.round_trips_ns
            .push_back(round_trip_ns.saturating_sub(inside_ns));
        self.region.narrow(
            i128::from(reading.sent_ns) - i128::from(now_ns),
            i128::from(reading.received_ns) - i128::from(reading.server_ns),
        );
        self.limit(reading, now_ns);
        match self.settled {
            None if self.answered >= EXCHANGES && !self.may_be_the_same() => {
                Some(self.settle(self.claimed, now_ns))
            }
            Some(ClockRelation::Same) if !self.region.allows_none() => {
                self.settled = Some(self.otherwise);
                Some(ClockEvent::Contradicted(self.other_clock(now_ns)))
            }
            _ => None,
        }
    }

    /// The time for the answers is over. `None` when the relation is settled.
    pub(crate) fn expire(&mut self, now_ns: u64) -> Option<ClockEvent> {
        let claimed = match self.answered >= EXCHANGES {
            true => self.claimed,
            false => ClockRelation::Unknown,
        };
        let is_open = self.settled.is_none();
        is_open.then(|| self.settle(claimed, now_ns))
    }

    /// Whether as many probes were answered as prove a relation, and all of them too slowly to
    /// prove the same clock: the next one may.
    pub(crate) fn needs_more(&self) -> bool {
        self.is_open() && self.answered >= EXCHANGES
    }

    /// The relation as it is known at `now_ns`, of a clock that is settled as another one.
    pub(crate) fn as_of(&self, now_ns: u64) -> Option<AgentClock> {
        let settled = self.settled?;
        (!settled.is_same()).then(|| self.other_clock(now_ns))
    }

    /// What the exchanges have proved for the runs that come.
    pub(crate) fn history(&self) -> &ClockHistory {
        &self.history
    }

    /// The longest of the last round trips, ns: no message to the agent took longer, as far as is
    /// known. 0 without an answer.
    pub(crate) fn round_trip_ns(&self) -> u64 {
        self.round_trips_ns.iter().copied().max().unwrap_or(0)
    }

    /// Whether the agent is still measured.
    pub(crate) fn is_open(&self) -> bool {
        self.settled.is_none()
    }

    /// What the agent claims is not excluded, and the exchanges were too slow to prove it: a host
    /// that stood still for a moment delays all that were under way.
    fn may_be_the_same(&self) -> bool {
        let bound_ns = self.region.bound_ns();
        let is_proved = bound_ns.is_some_and(|bound_ns| bound_ns <= SAME_BOUND_NS_MAX);
        self.claimed.is_same() && self.region.allows_none() && !is_proved
    }

    fn settle(&mut self, claimed: ClockRelation, now_ns: u64) -> ClockEvent {
        let clock = match (claimed, self.region.bound_ns()) {
            (ClockRelation::Same, Some(bound_ns)) if bound_ns <= SAME_BOUND_NS_MAX => {
                AgentClock::same(bound_ns)
            }
            _ => self.other_clock(now_ns),
        };
        self.settled = Some(clock.relation);
        ClockEvent::Settled(clock)
    }

    /// Lets an exchange limit the offset. The agent read `received_ns` after we had read
    /// `server_ns`, and `sent_ns` before we read `now_ns`. The window has one reading of ours in
    /// an exchange: what holds at `received_ns` is carried over the round trip, by more than the
    /// clocks can run apart in it.
    fn limit(&mut self, reading: &v1::ClockReading, now_ns: u64) {
        if self.settled.is_some_and(ClockRelation::is_same) {
            return;
        }
        let took_ns = now_ns.saturating_sub(reading.server_ns);
        let carried_ns = with_drift(took_ns);
        let exchange = Exchange {
            sent_ns: reading.sent_ns,
            server_ns: now_ns,
            answered_ns: reading.received_ns.saturating_add(carried_ns),
        };
        // Where one of the clocks was stepped all begins anew.
        if (self.newest).is_some_and(|(newest_ns, _)| exchange.sent_ns < newest_ns) {
            self.window = ClockWindow::default();
            self.history = ClockHistory::default();
        }
        let is_taken = self.window.take(&[exchange]).is_ok();
        match is_taken {
            true => self.history.add(FourReadings {
                asked_ns: reading.server_ns,
                received_ns: reading.received_ns,
                sent_ns: reading.sent_ns,
                answered_ns: now_ns,
            }),
            false => self.history = ClockHistory::default(),
        }
        self.newest = is_taken.then_some((exchange.sent_ns, now_ns));
    }

    fn other_clock(&self, now_ns: u64) -> AgentClock {
        AgentClock {
            relation: self.otherwise,
            bound_ns: None,
            offset: self.offset(now_ns),
        }
    }

    /// `None` for an agent without probes, with too few answers, and with none of late.
    fn offset(&self, now_ns: u64) -> Option<ClockOffset> {
        let (at_ns, taken_ns) = self.newest?;
        let is_known = self.otherwise.has_lines() && self.answered >= EXCHANGES;
        let is_recent = now_ns.saturating_sub(taken_ns) <= WINDOW_NS;
        let extent = self
            .window
            .extent(at_ns)
            .filter(|_| is_known && is_recent)?;
        ClockOffset::of(extent, self.window.drifts()?, false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One exchange with a clock at this offset; delays and the agent's own time are free.
    fn exchange(
        exchanges: &mut ClockExchanges,
        offset_ns: i64,
        (sent_ns, forth_ns, inside_ns, back_ns): (u64, u64, u64, u64),
    ) -> Option<ClockEvent> {
        let probe = exchanges.probe(sent_ns);
        let agent = |ours_ns: u64| ours_ns.saturating_add_signed(offset_ns);
        let reading = v1::ClockReading {
            server_ns: probe.server_ns,
            received_ns: agent(sent_ns + forth_ns),
            sent_ns: agent(sent_ns + forth_ns + inside_ns),
        };
        exchanges.take(&reading, sent_ns + forth_ns + inside_ns + back_ns)
    }

    /// Sixteen exchanges, 1 s apart, each delayed by 50 µs a way.
    fn sixteen(claimed: ClockRelation, offset_ns: i64) -> (ClockExchanges, Option<ClockEvent>) {
        sixteen_of(claimed, offset_ns, 50_000)
    }

    fn sixteen_of(
        claimed: ClockRelation,
        offset_ns: i64,
        way_ns: u64,
    ) -> (ClockExchanges, Option<ClockEvent>) {
        let mut exchanges = ClockExchanges::new(claimed, false);
        let events: Vec<_> = (1..=u64::from(EXCHANGES))
            .map(|n| {
                let delays = (n * 1_000_000_000, way_ns, 1_000, way_ns);
                exchange(&mut exchanges, offset_ns, delays)
            })
            .collect();
        let (last, before) = events.split_last().unwrap();
        assert!(before.iter().all(Option::is_none), "settled too early");
        (exchanges, *last)
    }

    proptest! {
        #[test]
        fn the_true_offset_is_always_inside_whatever_the_delays(
            offset_ns in -1_000_000_000_000_i64..1_000_000_000_000,
            delays in prop::collection::vec(
                (
                    1_u64 << 41..1 << 42,
                    0..5_000_000_000_u64,
                    0..1_000_000_u64,
                    0..5_000_000_000_u64,
                ),
                1..40,
            ),
        ) {
            let mut exchanges = ClockExchanges::new(ClockRelation::Same, false);
            for delays in delays {
                exchange(&mut exchanges, offset_ns, delays);
                let Region { least_ns, most_ns } = exchanges.region;
                prop_assert!(least_ns <= offset_ns.into() && i128::from(offset_ns) <= most_ns);
            }
        }

        #[test]
        fn clocks_that_are_taken_for_the_same_are_no_further_apart_than_their_bound(
            offset_ns in -3_000_000_i64..3_000_000,
            delays in prop::collection::vec(
                (1_u64 << 41..1 << 42, 0..5_000_000_u64, 0..1_000_u64, 0..5_000_000_u64),
                EXCHANGES as usize,
            ),
        ) {
            let mut exchanges = ClockExchanges::new(ClockRelation::Same, false);
            let events = delays.iter().filter_map(|of| exchange(&mut exchanges, offset_ns, *of));
            let Some(ClockEvent::Settled(clock)) = events.last() else { panic!("not settled") };
            let is_within = |bound_ns| offset_ns.unsigned_abs() <= bound_ns;
            prop_assert!(clock.bound_ns.is_none_or(is_within), "{clock:?}");
            prop_assert_eq!(clock.bound_ns.is_some(), clock.relation.is_same());
        }

        #[test]
        fn one_clock_is_never_contradicted_and_its_bound_is_the_least_round_trip_or_less(
            delays in prop::collection::vec(
                (0..1_u64 << 40, 0..5_000_000_u64, 0..1_000_u64, 0..5_000_000_u64),
                EXCHANGES as usize..40,
            ),
        ) {
            let mut exchanges = ClockExchanges::new(ClockRelation::Same, false);
            let first = delays[..EXCHANGES as usize].iter();
            let least_ns = first.map(|(_, forth, _, back)| forth + back).min().unwrap();
            let events = delays.iter().filter_map(|delays| exchange(&mut exchanges, 0, *delays));
            let events: Vec<_> = events.collect();
            let [ClockEvent::Settled(AgentClock { relation, bound_ns, .. })] = events[..] else {
                panic!("{events:?}")
            };
            prop_assert!(relation.is_same());
            prop_assert!(bound_ns.is_some_and(|bound_ns| bound_ns <= least_ns));
        }

        #[test]
        fn readings_that_may_be_anything_are_no_panic(
            readings in prop::collection::vec(any::<(u64, u64, u64, u64)>(), 1..60),
        ) {
            let mut exchanges = ClockExchanges::new(ClockRelation::Same, false);
            for (server_ns, received_ns, sent_ns, now_ns) in readings {
                exchanges.probe(server_ns);
                exchanges.take(&v1::ClockReading { server_ns, received_ns, sent_ns }, now_ns);
            }
        }
    }

    #[test]
    fn clocks_are_the_same_when_both_the_claim_and_the_exchanges_allow_it() {
        let settled = |clock| Some(ClockEvent::Settled(clock));
        let same = settled(AgentClock::same(50_000));
        let unknown = settled(AgentClock::default());
        assert_eq!(sixteen(ClockRelation::Same, 0).1, same);
        assert_eq!(sixteen(ClockRelation::Unknown, 0).1, unknown);
        // Clones of one snapshot have one boot id: ahead is as wrong as behind.
        for offset_ns in [50_001, -50_001, 10_000_000_000, -900_000_000] {
            assert_eq!(sixteen(ClockRelation::Same, offset_ns).1, unknown);
        }
    }

    #[test]
    fn a_path_of_more_than_100_ms_a_way_proves_no_common_clock_until_an_exchange_is_nearer() {
        let same = AgentClock::same(100_000_000);
        let settled = sixteen_of(ClockRelation::Same, 0, 100_000_000).1;
        assert_eq!(settled, Some(ClockEvent::Settled(same)));
        let slow = || {
            let (exchanges, settled) = sixteen_of(ClockRelation::Same, 0, 100_000_001);
            assert!(settled.is_none() && exchanges.needs_more());
            exchanges
        };
        let unknown = Some(ClockEvent::Settled(AgentClock::default()));
        assert_eq!(slow().expire(1), unknown);
        let mut exchanges = slow();
        let one = |exchanges: &mut _, offset_ns, way_ns| {
            exchange(
                exchanges,
                offset_ns,
                (20_000_000_000, way_ns, 1_000, way_ns),
            )
        };
        assert_eq!(one(&mut exchanges, 0, 300_000_000), None);
        let near = one(&mut exchanges, 0, 70_000);
        assert_eq!(near, Some(ClockEvent::Settled(AgentClock::same(70_000))));
        assert!(!exchanges.needs_more());
        // One that excludes 0 needs no other one.
        assert_eq!(one(&mut slow(), 1_000_000, 70_000), unknown);
        // What is claimed to be another clock is settled as one at once.
        assert_eq!(
            sixteen_of(ClockRelation::Unknown, 0, 100_000_001).1,
            unknown
        );
    }

    #[test]
    fn another_clock_of_an_agent_that_probes_is_known_to_its_bound_for_as_long_as_it_answers() {
        let offset_ns = -3_600_000_000_000;
        let mut exchanges = ClockExchanges::new(ClockRelation::Unknown, true);
        let second_ns = 1_000_000_000;
        let begin_ns = 9_000 * second_ns;
        let mut one = |n: u64, offset_ns| {
            let sent_ns = begin_ns + n * second_ns;
            let event = exchange(&mut exchanges, offset_ns, (sent_ns, 50_000, 1_000, 90_000));
            let as_of = |ns| exchanges.as_of(sent_ns + 1_000_000 + ns);
            (event, as_of(0), as_of(21 * second_ns))
        };
        for n in 1..u64::from(EXCHANGES) {
            assert_eq!(one(n, offset_ns), (None, None, None));
        }
        for n in u64::from(EXCHANGES)..40 {
            let (event, clock, stale) = one(n, offset_ns);
            let is_first = n == u64::from(EXCHANGES);
            assert_eq!(event, clock.filter(|_| is_first).map(ClockEvent::Settled));
            let clock = clock.unwrap();
            assert_eq!(
                (clock.relation, clock.bound_ns),
                (ClockRelation::Offset, None)
            );
            let of = clock.offset.unwrap();
            assert!(of.bound_ns <= 80_000, "{of:?}");
            // The server's reading less the agent's.
            assert!(of.offset_ns.abs_diff(-offset_ns) <= of.bound_ns, "{of:?}");
            assert!(of.drift_ppb.unsigned_abs() <= of.drift_bound_ppb, "{of:?}");
            assert_eq!(stale.unwrap().offset, None, "20 s without an answer");
        }
        // After a step out of the window, ahead or back, it is another one at once.
        let mut offset = |n, stepped_ns| one(n, stepped_ns).1.unwrap().offset;
        let assert_is = |of: Option<ClockOffset>, stepped_ns: i64| {
            let of = of.unwrap();
            assert!(of.offset_ns.abs_diff(-stepped_ns) <= of.bound_ns, "{of:?}");
            assert!(of.bound_ns < 80_000, "{of:?}");
        };
        assert_is(offset(40, 0), 0);
        assert_is(offset(41, offset_ns), offset_ns);
        // One within it leaves it unknown for a moment.
        let stepped_ns = offset_ns + 5_000_000_000;
        assert_eq!(offset(42, stepped_ns), None);
        assert_is(offset(43, stepped_ns), stepped_ns);
    }

    #[test]
    fn the_history_for_runs_is_that_of_another_clock_since_it_was_stepped_last() {
        let second_ns = 1_000_000_000;
        let history_of = |claimed, offsets: &[i64]| {
            let mut exchanges = ClockExchanges::new(claimed, true);
            for (n, offset_ns) in (9_000..).zip(offsets) {
                exchange(
                    &mut exchanges,
                    *offset_ns,
                    (n * second_ns, 50_000, 1_000, 50_000),
                );
            }
            exchanges.history().most(0).count()
        };
        let unknown = ClockRelation::Unknown;
        assert_eq!(history_of(unknown, &[7; 40]), 40);
        assert_eq!(history_of(unknown, &[7; 400]), 181, "of the last 180 s");
        let stepped = |by_ns: i64| [[7; 20], [7 + by_ns; 20]].concat();
        // The first exchange behind a step within the window is lost to it as well.
        assert_eq!(history_of(unknown, &stepped(1_000_000)), 19);
        assert_eq!(history_of(unknown, &stepped(-1_000_000)), 19);
        // A clock that went back by more than the time since.
        assert_eq!(history_of(unknown, &stepped(-3_600 * 1_000_000_000)), 20);
        // What came before the clock was settled as the same one is of no use.
        let same = history_of(ClockRelation::Same, &[0; 40]);
        assert!(same <= EXCHANGES as usize, "{same}");
    }

    #[test]
    fn an_agent_that_probes_and_was_on_the_same_clock_is_on_another_one() {
        let mut exchanges = ClockExchanges::new(ClockRelation::Same, true);
        for n in 1..=u64::from(EXCHANGES) {
            exchange(
                &mut exchanges,
                0,
                (n * 1_000_000_000, 50_000, 1_000, 50_000),
            );
        }
        assert_eq!(exchanges.as_of(0), None);
        let mut later = || exchange(&mut exchanges, 1_000_000, (1 << 40, 50_000, 1_000, 50_000));
        let Some(ClockEvent::Contradicted(clock)) = later() else {
            panic!("it is not the same")
        };
        assert_eq!(clock.relation, ClockRelation::Offset);
        assert_eq!(later(), None);
    }

    proptest! {
        #[test]
        fn the_offset_that_is_listed_is_never_further_off_than_its_bound(
            offset_ns in -1_000_000_000_000_i64..1_000_000_000_000,
            drift_ppm in -400..400_i64,
            delays in prop::collection::vec(
                (0..400_000_000_u64, 0..5_000_000_u64, 0..400_000_000_u64),
                EXCHANGES as usize..40,
            ),
        ) {
            let mut exchanges = ClockExchanges::new(ClockRelation::Unknown, true);
            let begin_ns = 1_u64 << 42;
            let theta_ns = |ours_ns: u64| {
                let away_ns = i128::from(ours_ns) - i128::from(begin_ns);
                offset_ns + i64::try_from(away_ns * i128::from(drift_ppm) / 1_000_000).unwrap()
            };
            let agent = |ours_ns: u64| ours_ns.saturating_add_signed(theta_ns(ours_ns));
            for (n, (forth_ns, inside_ns, back_ns)) in (0..).zip(delays) {
                let sent_ns = begin_ns + n * 1_000_000_000;
                let server_ns = exchanges.probe(sent_ns).server_ns;
                let received_ns = sent_ns + forth_ns;
                let answered_ns = received_ns + inside_ns;
                let reading = v1::ClockReading {
                    server_ns,
                    received_ns: agent(received_ns),
                    sent_ns: agent(answered_ns),
                };
                exchanges.take(&reading, answered_ns + back_ns);
                if let Some(of) = exchanges.as_of(answered_ns + back_ns).and_then(|of| of.offset) {
                    // A reading is whole ns.
                    let off_ns = of.offset_ns.abs_diff(-theta_ns(answered_ns));
                    prop_assert!(off_ns <= of.bound_ns + 2, "{of:?} {off_ns}");
                }
            }
        }
    }

    #[test]
    fn the_round_trip_is_the_longest_of_the_last_sixteen_without_the_agents_own_time() {
        let mut exchanges = ClockExchanges::new(ClockRelation::Same, false);
        assert_eq!(exchanges.round_trip_ns(), 0);
        let mut add = |at_ns: u64, way_ns| {
            exchange(&mut exchanges, -7, (at_ns, way_ns, 1_000_000, 2 * way_ns));
            exchanges.round_trip_ns()
        };
        assert_eq!(add(1_000, 900), 2_700);
        for at_ns in 2_000..2_015 {
            assert_eq!(add(at_ns, 10), 2_700, "one of the last");
        }
        assert_eq!(add(3_000, 20), 60);
    }

    #[test]
    fn a_later_exchange_contradicts_once_and_for_good() {
        for offset_ns in [200_000, -200_000] {
            let (mut exchanges, _) = sixteen(ClockRelation::Same, 0);
            let mut later = |offset_ns| {
                let delays = (100_000_000_000, 50_000, 0, 50_000);
                exchange(&mut exchanges, offset_ns, delays)
            };
            assert_eq!(later(0), None);
            assert_eq!(
                later(offset_ns),
                Some(ClockEvent::Contradicted(AgentClock::default()))
            );
            assert_eq!(later(offset_ns), None);
            assert_eq!(later(0), None);
        }
    }

    #[test]
    fn fifteen_answers_or_sixteen_to_one_probe_prove_nothing() {
        let mut exchanges = ClockExchanges::new(ClockRelation::Same, false);
        for n in 1..u64::from(EXCHANGES) {
            assert_eq!(exchange(&mut exchanges, 0, (n, 1, 1, 1)), None);
        }
        let repeated = v1::ClockReading {
            server_ns: 1,
            received_ns: 2,
            sent_ns: 2,
        };
        for _ in 0..EXCHANGES {
            assert_eq!(exchanges.take(&repeated, 3), None);
        }
        assert!(exchanges.is_open());
        let unknown = ClockEvent::Settled(AgentClock::default());
        assert_eq!(exchanges.expire(99), Some(unknown));
        assert_eq!((exchanges.expire(99), exchanges.is_open()), (None, false));
        // What comes too late settles nothing any more.
        assert_eq!(exchange(&mut exchanges, 0, (99, 1, 1, 1)), None);
    }

    #[test]
    fn twice_as_many_probes_as_prove_a_relation_may_be_open() {
        let probes = 33;
        let mut exchanges = ClockExchanges::new(ClockRelation::Same, false);
        for sent_ns in 1..=probes {
            let _ = exchanges.probe(sent_ns);
        }
        for sent_ns in 1..=probes {
            let reading = v1::ClockReading {
                server_ns: sent_ns,
                received_ns: sent_ns,
                sent_ns,
            };
            let _ = exchanges.take(&reading, 1_000);
        }
        assert_eq!(exchanges.answered, 2 * EXCHANGES);
    }

    #[test]
    fn an_answer_that_was_sent_before_its_probe_came_and_a_wide_region_prove_nothing() {
        for (received_ns, sent_ns) in [(u64::MAX, 0), (0, u64::MAX)] {
            let mut exchanges = ClockExchanges::new(ClockRelation::Same, false);
            for probe in 1..=u64::from(EXCHANGES) {
                let reading = v1::ClockReading {
                    server_ns: exchanges.probe(probe).server_ns,
                    received_ns,
                    sent_ns,
                };
                let settled = exchanges.take(&reading, probe + 1);
                assert!(!matches!(
                    settled,
                    Some(ClockEvent::Settled(clock)) if clock.relation.is_same()
                ));
            }
        }
    }
}
