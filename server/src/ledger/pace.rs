//! What is checked and measured of each packet of a client that has a schedule: whether it is on the
//! schedule, whether path and receiver kept up with it, and how far it is above the least delay. A
//! client of a flood and one that no plan has sent have no pace.
//!
//! All of it lies among the connection's counters, the schedule as well: a replay needs no
//! admission, also of a run that is over.

use metronome_proto::{schedule::Schedule, v1::ReceiverCounts};

use super::{
    due_times::{DueTimes, is_possible},
    spread::{self, Spread},
};
use crate::model::ClockRelation;

/// The shortest time behind its last due time that a client has for its packets, ns.
const IN_TIME_NS_MIN: u64 = 10_000_000;

/// The part of the time since its first packet that a client on another clock may take longer, as a
/// shift: 1/1024, more than two clocks can drift apart.
const DRIFT_SHIFT: u32 = 10;

/// Words of it in the ledger: rate and batch, packets, place, and the spread's.
pub(super) const WORDS: usize = 3 + spread::WORDS;

/// A client's schedule and how its packets keep to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pace {
    due_times: DueTimes,
    /// When the last packet is due, on the sender's clock, and how long after that a packet is in
    /// time, ns: both follow from the schedule.
    end_ns: u64,
    allowance_ns: i64,
    spread: Spread,
}

/// A packet, as far as its pace needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paced {
    pub(super) due_ns: u64,
    pub(super) read_ns: u64,
    /// The first of the connection: its due time is the anchor.
    pub(super) is_first: bool,
    /// It came behind all before it. One that fills a gap is not compared with the schedule.
    pub(super) is_in_order: bool,
    pub(super) clock: ClockRelation,
}

impl Pace {
    /// Of a client whose hello came at `read_ns`. `None` without a schedule that is possible.
    pub(super) fn new(schedule: Option<Schedule>, read_ns: u64) -> Option<Self> {
        let mut pace = Self::at(schedule?, 0, Spread::default())?;
        pace.spread.begin_batch(read_ns);
        Some(pace)
    }

    fn at(schedule: Schedule, place: u64, spread: Spread) -> Option<Self> {
        is_possible(&schedule).then(|| Self {
            due_times: DueTimes::at(schedule, place),
            end_ns: schedule.end_ns(),
            // At most 1024 packets at a packet in 1000 s.
            allowance_ns: schedule.period_ns().max(IN_TIME_NS_MIN).cast_signed(),
            spread,
        })
    }

    /// Of a client whose first packet was due at `anchor_ns` and whose last one had this place.
    #[cfg(test)]
    pub(super) fn on(schedule: Schedule, anchor_ns: u64, place: u64) -> Option<Self> {
        let schedule = Schedule {
            start_ns: anchor_ns,
            ..schedule
        };
        Self::at(schedule, place, Spread::default())
    }

    /// The least (read − due) of all packets, ns.
    pub(super) fn least_ns(&self) -> Option<i64> {
        self.spread.least_ns()
    }

    /// A batch of the client was read.
    #[inline]
    pub(super) fn begin_batch(&mut self, read_ns: u64) {
        self.spread.begin_batch(read_ns);
    }

    /// Checks, counts and measures a packet; returns its spread, ns.
    #[inline]
    pub(super) fn take(&mut self, packet: Paced, counts: &mut ReceiverCounts) -> u64 {
        if packet.is_first {
            self.anchor(packet.due_ns);
        } else if packet.is_in_order {
            match self.due_times.take(packet.due_ns) {
                Some(0) => {}
                Some(places) => add(&mut counts.left_out, places),
                None => add(&mut counts.off_schedule, 1),
            }
        }
        let shown = self.spread.take(packet.read_ns, packet.due_ns);
        if shown.understated > 0 {
            add(&mut counts.spread_understated, shown.understated);
        }
        if self.is_in_time(&packet) {
            add(&mut counts.in_time, 1);
        }
        shown.spread_ns
    }

    #[cold]
    fn anchor(&mut self, due_ns: u64) {
        let schedule = Schedule {
            start_ns: due_ns,
            ..*self.due_times.schedule()
        };
        self.due_times = DueTimes::at(schedule, 0);
        self.end_ns = schedule.end_ns();
    }

    #[inline]
    fn is_in_time(&self, packet: &Paced) -> bool {
        let Some(least_ns) = self.spread.least_ns() else {
            return false;
        };
        let mut allowed_ns = least_ns.saturating_add(self.allowance_ns);
        if !packet.clock.is_same() {
            let since_first = packet
                .due_ns
                .saturating_sub(self.due_times.schedule().start_ns);
            allowed_ns = allowed_ns.saturating_add((since_first >> DRIFT_SHIFT).cast_signed());
        }
        packet.read_ns.wrapping_sub(self.end_ns).cast_signed() <= allowed_ns
    }

    /// Whether the figures fit each other and the packets received.
    pub(super) fn is_possible(&self, counts: &ReceiverCounts) -> bool {
        let [off_schedule, left_out, in_time, understated] = counters(counts);
        let spread_packets = self.spread.kept().checked_add(understated);
        off_schedule <= counts.received
            && left_out <= self.due_times.place()
            && in_time <= counts.received
            && spread_packets.is_some_and(|packets| packets <= counts.received)
    }

    #[inline]
    pub(super) fn to_words(self) -> [u64; WORDS] {
        let schedule = self.due_times.schedule();
        let rate_and_batch = schedule.rate_millihertz | u64::from(schedule.batch) << 32;
        let own = [rate_and_batch, schedule.packets, self.due_times.place()];
        let spread = self.spread.to_words();
        std::array::from_fn(|index| match index.checked_sub(own.len()) {
            Some(word) => spread[word],
            None => own[index],
        })
    }

    /// `None` when the words hold no schedule that is possible.
    pub(super) fn from_words(words: [u64; WORDS], anchor_ns: u64) -> Option<Self> {
        let [rate_and_batch, packets, place, spread @ ..] = words;
        let schedule = Schedule {
            start_ns: anchor_ns,
            rate_millihertz: rate_and_batch & u64::from(u32::MAX),
            batch: (rate_and_batch >> 32) as u32,
            packets,
        };
        Self::at(schedule, place, Spread::from_words(spread))
    }
}

/// Off schedule, left out, in time, understated; 0 where not known.
fn counters(counts: &ReceiverCounts) -> [u64; 4] {
    [
        counts.off_schedule,
        counts.left_out,
        counts.in_time,
        counts.spread_understated,
    ]
    .map(Option::unwrap_or_default)
}

#[inline]
fn add(counter: &mut Option<u64>, more: u64) {
    *counter = Some(counter.unwrap_or(0).wrapping_add(more));
}

/// The counters that only a client with a pace has: all 0, or unknown.
pub(super) fn with_pace_counts(counts: ReceiverCounts, has_pace: bool) -> ReceiverCounts {
    let known = |counter: Option<u64>| has_pace.then_some(counter.unwrap_or(0));
    ReceiverCounts {
        off_schedule: known(counts.off_schedule),
        left_out: known(counts.left_out),
        in_time: known(counts.in_time),
        spread_understated: known(counts.spread_understated),
        ..counts
    }
}
