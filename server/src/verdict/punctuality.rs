//! How well the generator kept to the schedules, and which figures a late one may have spoiled.
//!
//! A packet is late when it was written later after its due time than a limit, or never, although
//! its connection had room: a packet that was blocked waited for the path or the receiver, and what
//! these can have done is never the generator's fault. It is not known which of the late packets
//! were blocked, so as many are taken off as were blocked in all.
//!
//! The limit depends on the period, so each group with a schedule is judged by itself, and the
//! whole run has their sums; where the groups have different limits, it has none of its own.
//! Packets that are known to have been due in the warm-up count for nothing.

use metronome_proto::{
    histogram::{QUANTILES_PPM, bucket, is_known},
    threshold::PPM,
    v1,
};

use super::{
    evidence::Evidence,
    rows::{Row, by_group, sum_of_all, total},
};
use crate::model::{TimeKind, Times};

/// The limit is the period of the schedule within these, ns. Below a millisecond no host without
/// real time keeps its word; above 10 ms a slow schedule would forgive a load that was another one.
const LIMIT_NS_MIN: u64 = 1_000_000;
const LIMIT_NS_MAX: u64 = 10_000_000;

/// More late packets than this, in hundredths of the schedule, and the load was another one.
pub(super) const LATE_PERCENT_MAX: u64 = 1;

/// A late packet may have delayed so many in all: a quantile stands when its share is this many
/// times that of the late ones.
pub(super) const DELAYED_EACH: u128 = 10;

/// That of each group, and of all together.
#[derive(Clone, Debug)]
pub(super) struct Punctualities {
    /// By the indices of the groups.
    groups: Vec<Option<Punctuality>>,
    whole: Option<Punctuality>,
}

/// The packets that were late, of all that were scheduled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Punctuality {
    /// Written more than this after their due time is late, ns. Of several groups the first one's.
    pub(super) limit_ns: u64,
    /// The period of the schedule that it belongs to, ns.
    pub(super) period_ns: u64,
    /// Packets that were written later than that, by the buckets of the histogram.
    pub(super) written_late: u128,
    /// Packets that were never written, of clients that stayed to the end: the run of any other is
    /// partial without them.
    pub(super) skipped: u128,
    /// Packets that were blocked, less those skipped ones that do not count. Of several groups as
    /// many as are taken off from the late ones of each.
    pub(super) blocked: u128,
    /// Where a generator has not reported, as many as were received.
    pub(super) scheduled: u128,
    /// Every generator has reported. If not, more may have been blocked.
    is_complete: bool,
}

impl Punctualities {
    /// Finds them.
    pub(super) fn of(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Self {
        let mut groups = vec![None; evidence.plan.groups.len()];
        for rows in by_group(rows) {
            let index = rows[0].group.index;
            groups[index] = Punctuality::of(evidence.times_of(index), rows);
        }
        // What is late in one group is not made up for by what was blocked in another.
        let known = groups.iter().flatten().copied();
        let whole = known.reduce(|sum, of| sum.with(of));
        Self { groups, whole }
    }

    /// The form of the API, of all groups together. `None` where their limits differ, so that
    /// none belongs to the late packets of all, and where that of a group is.
    pub(super) fn to_proto(&self) -> Option<v1::Punctuality> {
        let limits = |(_, of): (usize, &Punctuality)| (of.limit_ns, of.period_ns);
        let mut limits = self.groups().map(limits);
        let first = limits.next()?;
        limits
            .all(|of| of == first)
            .then(|| self.whole?.to_proto())?
    }

    /// `None` in floods, without the workers' record, and when nothing was scheduled.
    pub(super) fn whole(&self) -> Option<&Punctuality> {
        self.whole.as_ref()
    }

    /// That of one group.
    pub(super) fn of_group(&self, index: usize) -> Option<&Punctuality> {
        self.groups.get(index)?.as_ref()
    }

    /// Those that are known, with the indices of their groups.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, &Punctuality)> {
        let groups = self.groups.iter().enumerate();
        groups.filter_map(|(index, of)| Some((index, of.as_ref()?)))
    }
}

impl Punctuality {
    /// That of the clients of one group. `None` in a flood, without the workers' record, and when
    /// nothing was scheduled.
    fn of(times: Option<&Times>, rows: &[Row<'_>]) -> Option<Self> {
        let period_ns = rows.first()?.group.period_ns()?;
        let limit_ns = limit_ns(period_ns);
        let staying = |row: &Row<'_>| row.measured_skipped().filter(|_| row.exchanged_ends());
        let blocked = |row: &Row<'_>| {
            let counts = row.generator()?;
            Some(if row.exchanged_ends() {
                counts.blocked
            } else {
                counts.blocked.saturating_sub(counts.skipped)
            })
        };
        let scheduled = |row: &Row<'_>| row.measured_scheduled().or(row.measured_received());
        let of = Self {
            limit_ns,
            period_ns,
            written_late: times?.lateness.count_from(bucket(limit_ns) + 1).into(),
            skipped: total(rows, staying),
            blocked: total(rows, blocked),
            scheduled: total(rows, scheduled),
            is_complete: sum_of_all(rows, Row::scheduled).is_some(),
        };
        (of.scheduled > 0).then_some(of)
    }

    /// Both together.
    fn with(self, other: Self) -> Self {
        Self {
            written_late: self.written_late + other.written_late,
            skipped: self.skipped + other.skipped,
            blocked: self.taken_off() + other.taken_off(),
            scheduled: self.scheduled + other.scheduled,
            is_complete: self.is_complete && other.is_complete,
            ..self
        }
    }

    /// Blocked packets, as many as there are late ones.
    fn taken_off(&self) -> u128 {
        self.blocked.min(self.written_late + self.skipped)
    }

    pub(super) fn late(&self) -> u128 {
        (self.written_late + self.skipped).saturating_sub(self.blocked)
    }

    /// The late share of the scheduled packets, percent. `None` where it cannot be true: an agent
    /// claims more late packets than were scheduled.
    pub(super) fn late_percent(&self) -> Option<f64> {
        let is_possible = self.late() <= self.scheduled;
        is_possible.then(|| (self.late() * 100) as f64 / self.scheduled as f64)
    }

    pub(super) fn limit_periods(&self) -> f64 {
        self.limit_ns as f64 / self.period_ns as f64
    }

    /// The load was not what was asked for, and it is known that the generator is why.
    pub(super) fn is_another_load(&self) -> bool {
        self.is_complete && self.late() * 100 > self.scheduled * u128::from(LATE_PERCENT_MAX)
    }

    /// Packets that the late ones may have delayed, themselves among them.
    pub(super) fn delayed(&self) -> u128 {
        self.late() * DELAYED_EACH
    }

    /// The late packets could be those beyond this quantile of a time that counts from due.
    pub(super) fn spoils(&self, ppm: u32) -> bool {
        let beyond = self.scheduled * u128::from(PPM.saturating_sub(ppm));
        beyond < self.delayed() * u128::from(PPM)
    }

    /// The largest quantile of those shown that stands, in millionths; 0 when none does. `None`
    /// when all stand, and of another load, of which no figure is to be used.
    pub(super) fn valid_to_ppm(&self) -> Option<u32> {
        if self.is_another_load() {
            return None;
        }
        let scheduled = u64::try_from(self.scheduled).unwrap_or(u64::MAX);
        let shown = || {
            QUANTILES_PPM
                .into_iter()
                .filter(|ppm| is_known(*ppm, scheduled))
        };
        let is_one_spoilt = shown().any(|ppm| self.spoils(ppm));
        is_one_spoilt.then(|| shown().filter(|ppm| !self.spoils(*ppm)).max().unwrap_or(0))
    }

    /// Whether a quantile of a time that counts from due is shown: it is not spoilt, or the verdict
    /// is on all figures.
    pub(super) fn shows(&self, ppm: u32) -> bool {
        self.is_another_load() || !self.spoils(ppm)
    }

    /// The form of the API. `None` when a generator has not reported, or what cannot be true.
    pub(super) fn to_proto(self) -> Option<v1::Punctuality> {
        let late_percent = self.late_percent().filter(|_| self.is_complete)?;
        Some(v1::Punctuality {
            limit_ns: self.limit_ns as i64,
            limit_periods: self.limit_periods(),
            late: u64::try_from(self.late()).unwrap_or(u64::MAX),
            late_percent,
        })
    }

    /// More than half of the packets were written more than a period late, and were not blocked.
    pub(super) fn is_bunched(&self, times: &Times) -> bool {
        let late = u128::from(times.lateness.count_from(bucket(self.period_ns) + 1));
        self.is_complete && late.saturating_sub(self.blocked) * 2 > self.scheduled
    }
}

/// The limit of a schedule with this period, ns.
pub(super) fn limit_ns(period_ns: u64) -> u64 {
    period_ns.clamp(LIMIT_NS_MIN, LIMIT_NS_MAX)
}

/// Whether a client was another load by itself, as far as its own figures show: more than 1 % of
/// its packets were late, and no more than 1 % were blocked, so that not all of that was the path;
/// or more than 1 % were skipped without being blocked. What its agent has not reported is not
/// known.
pub(super) fn is_late(row: &Row<'_>) -> bool {
    let Some((limit_ns, of)) = limit_of(row).zip(OfClient::of(row)) else {
        return false;
    };
    let is_over = |packets: u64| {
        u128::from(packets) * 100 > u128::from(of.scheduled) * u128::from(LATE_PERCENT_MAX)
    };
    let is_written_late = row.counted.is_some_and(|counted| {
        counted.timed[TimeKind::Lateness] >= 100
            && bucket(counted.lateness_p99_ns) > bucket(limit_ns)
    });
    (row.exchanged_ends() && is_over(of.skipped)) || (is_written_late && !is_over(of.blocked))
}

/// Whether the late packets of a client could be those beyond its own p99 of a time that counts
/// from due: more than 0.1 % of its packets. Without its agent's report none is known to be
/// blocked.
pub(super) fn spoils_p99(row: &Row<'_>) -> bool {
    let Some(limit_ns) = limit_of(row) else {
        return false;
    };
    let of = OfClient::of(row).unwrap_or_default();
    let is_written_late = row
        .counted
        .is_some_and(|counted| bucket(counted.lateness_p99_9_ns) > bucket(limit_ns));
    let is_blocked = u128::from(of.blocked) * 100 > u128::from(of.scheduled);
    u128::from(of.skipped) * 1_000 > u128::from(of.scheduled) || (is_written_late && !is_blocked)
}

/// The limit of the group of a client, ns. `None` in a flood.
pub(super) fn limit_of(row: &Row<'_>) -> Option<u64> {
    row.group.period_ns().map(limit_ns)
}

/// Packets of a client after the warm-up, as its agent counts them.
#[derive(Default)]
struct OfClient {
    scheduled: u64,
    /// Skipped without being blocked.
    skipped: u64,
    blocked: u64,
}

impl OfClient {
    fn of(row: &Row<'_>) -> Option<Self> {
        let blocked = row.blocked()?;
        Some(Self {
            scheduled: row.measured_scheduled()?,
            skipped: row.measured_skipped()?.saturating_sub(blocked),
            blocked,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::verdict::{rows::pair, samples::Sample};

    fn of(late: u64, scheduled: u64) -> Punctuality {
        Punctuality {
            limit_ns: 1_000_000,
            period_ns: 100_000,
            written_late: late.into(),
            skipped: 0,
            blocked: 0,
            scheduled: scheduled.into(),
            is_complete: true,
        }
    }

    #[test]
    fn the_limit_is_the_period_within_one_and_ten_milliseconds() {
        for (period_ns, expected_ns) in [
            (1, 1_000_000),
            (5_000, 1_000_000),
            (1_000_000, 1_000_000),
            (5_000_000, 5_000_000),
            (1_000_000_000, 10_000_000),
            (u64::MAX, 10_000_000),
        ] {
            assert_eq!(limit_ns(period_ns), expected_ns);
        }
    }

    #[test]
    fn what_a_late_generator_spoils_goes_and_the_rest_stands() {
        for (late, scheduled, valid_to) in [
            (0, 1_000_000, None),
            // Ten times as many lie beyond every quantile that is shown.
            (1, 10_000, None),
            (1, 1_000_000, None),
            (10, 1_000_000, None),
            (11, 1_000_000, Some(999_000)),
            (100, 1_000_000, Some(999_000)),
            (101, 1_000_000, Some(990_000)),
            (1_000, 1_000_000, Some(990_000)),
            (1_001, 1_000_000, Some(900_000)),
            (10_000, 1_000_000, Some(900_000)),
            // Another load: the verdict is invalid.
            (10_001, 1_000_000, None),
        ] {
            assert_eq!(of(late, scheduled).valid_to_ppm(), valid_to, "{late}");
        }
        assert!(!of(10_000, 1_000_000).is_another_load());
        assert!(of(10_001, 1_000_000).is_another_load());
        assert!(of(10_000, 999_999).is_another_load());
    }

    #[test]
    fn a_client_is_judged_by_its_own_figures_when_it_has_a_hundred_packets() {
        let judged = |change: &dyn Fn(&mut Sample)| {
            let mut sample = Sample::of(1, 1);
            change(&mut sample);
            let evidence = sample.evidence();
            let row = &pair(&evidence)[0];
            (is_late(row), spoils_p99(row))
        };
        let late_of = |packets: u64, p99_ns: u64, p99_9_ns: u64| {
            judged(&|sample| {
                sample.counted(0, |counted| {
                    counted.timed[TimeKind::Lateness] = packets;
                    (counted.lateness_p99_ns, counted.lateness_p99_9_ns) = (p99_ns, p99_9_ns);
                });
            })
        };
        assert_eq!(late_of(100, 1_000_000, 1_000_000), (false, false));
        assert_eq!(late_of(100, 1_000_000, 1_020_000), (false, true));
        assert_eq!(late_of(100, 1_020_000, 1_020_000), (true, true));
        assert_eq!(late_of(99, 1_020_000, 1_020_000), (false, true));
        let blocked = |packets: u64| {
            judged(&|sample| {
                sample.counted(0, |counted| {
                    (counted.lateness_p99_ns, counted.lateness_p99_9_ns) = (1_020_000, 1_020_000);
                });
                sample.reported_counts(0, |counts| counts.blocked = packets);
            })
        };
        assert_eq!(blocked(1), (true, true), "1 % explains no 1 % of late ones");
        assert_eq!(blocked(2), (false, false));
        let one_of_999 = judged(&|sample| {
            sample.reported_counts(0, |counts| (counts.scheduled, counts.skipped) = (999, 10));
        });
        assert_eq!(one_of_999, (true, true));
        let skipped = |skipped: u64, blocked: u64, stays: bool| {
            judged(&|sample| {
                sample.reported_counts(0, |counts| {
                    counts.scheduled = 1_000;
                    (counts.skipped, counts.blocked) = (skipped, blocked);
                });
                sample.reported(0, |reported| {
                    reported.acknowledged = reported.acknowledged.filter(|_| stays);
                });
            })
        };
        assert_eq!(skipped(1, 0, true), (false, false));
        assert_eq!(skipped(2, 0, true), (false, true));
        assert_eq!(skipped(10, 0, true), (false, true));
        assert_eq!(skipped(11, 0, true), (true, true));
        assert_eq!(skipped(12, 1, true), (true, true));
        assert_eq!(skipped(12, 11, true), (false, false));
        assert_eq!(skipped(1_000, 0, false), (false, true));
        assert_eq!(judged(&|sample| sample.forget_agent(0)), (false, false));
    }

    #[test]
    fn late_packets_of_an_agent_that_has_not_reported_may_have_been_blocked() {
        let incomplete = Punctuality {
            is_complete: false,
            ..of(20_000, 1_000_000)
        };
        assert!(!incomplete.is_another_load());
        assert_eq!(incomplete.valid_to_ppm(), Some(500_000));
        assert_eq!(incomplete.to_proto(), None);
        let worse = Punctuality {
            written_late: 100_000,
            ..incomplete
        };
        assert_eq!(worse.valid_to_ppm(), Some(0));
    }

    #[test]
    fn more_late_packets_than_were_scheduled_are_no_share() {
        assert_eq!(
            of(100, 100).to_proto().map(|of| of.late_percent),
            Some(100.0)
        );
        for late in [101, 1 << 63, u64::MAX] {
            let impossible = of(late, 100);
            assert_eq!(
                (impossible.late_percent(), impossible.to_proto()),
                (None, None)
            );
            assert!(impossible.is_another_load());
        }
    }

    #[test]
    fn a_run_of_no_packets_has_no_punctuality() {
        let mut sample = Sample::of(1, 1);
        let of = |sample: &Sample| {
            let evidence = sample.evidence();
            let of = Punctualities::of(&evidence, &pair(&evidence));
            of.whole().map(|of| of.scheduled)
        };
        assert_eq!(of(&sample), Some(100));
        sample.reported_counts(0, |counts| counts.scheduled = 0);
        assert_eq!(of(&sample), None);
    }

    #[test]
    fn packets_are_bunched_when_more_than_half_are_later_than_the_period() {
        let is_bunched = |late: u64, late_ns: u64| {
            let mut sample = Sample::of(1, 1);
            let lateness = &mut sample.counters().times.lateness;
            *lateness = metronome_proto::histogram::Histogram::default();
            lateness.add_count(bucket(1_000), 100 - late);
            lateness.add_count(bucket(late_ns), late);
            let evidence = sample.evidence();
            let of = Punctualities::of(&evidence, &pair(&evidence));
            let times = evidence.times_of(0).unwrap();
            of.of_group(0).is_some_and(|of| of.is_bunched(times))
        };
        // The period is 1 ms.
        assert!(is_bunched(51, 1_020_000));
        assert!(!is_bunched(50, 1_020_000));
        assert!(!is_bunched(100, 1_000_000));
    }

    proptest! {
        #[test]
        fn a_quantile_stands_when_ten_times_the_late_packets_lie_beyond_it(
            late in 0..1_u64 << 40,
            blocked in 0..1_u64 << 40,
            scheduled in 1..1_u64 << 40,
            ppm in 1..=PPM,
        ) {
            let of = Punctuality { blocked: blocked.into(), ..of(late, scheduled) };
            let counted = late.saturating_sub(blocked);
            prop_assert_eq!(of.late(), u128::from(counted));
            let (share, rest) = (
                counted as f64 / scheduled as f64,
                f64::from(PPM - ppm) / f64::from(PPM),
            );
            if (rest - 10.0 * share).abs() > 1e-9 {
                prop_assert_eq!(of.spoils(ppm), rest < 10.0 * share);
            }
            if let Some(valid_to) = of.valid_to_ppm() {
                prop_assert!(valid_to == 0 || !of.spoils(valid_to));
                prop_assert!(valid_to >= 900_000 || scheduled < 100);
            }
        }

        #[test]
        fn one_more_late_packet_never_makes_more_stand(
            late in 0..1_000_u64,
            scheduled in 1..100_000_u64,
        ) {
            let (one, more) = (of(late, scheduled), of(late + 1, scheduled));
            for ppm in QUANTILES_PPM {
                prop_assert!(!one.spoils(ppm) || more.spoils(ppm));
            }
            prop_assert!(!one.is_another_load() || more.is_another_load());
        }
    }
}
