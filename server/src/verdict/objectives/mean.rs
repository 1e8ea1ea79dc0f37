//! The mean of a time over all scheduled packets, judged in whole numbers.
//!
//! A packet without a time, skipped or lost, is infinitely late: with one of them no upper limit is
//! met, and a lower one only where the others meet it alone. There is no exact sum of the times:
//! each is taken as the edge of its bucket that is worse for the objective, the upper one for an
//! upper limit, so that a mean is at most 1/128 or 8 ns above the true one and never below it. One
//! too long for a bucket is infinitely late, too.
//!
//! A late generator can only have made longer what counts from due: what it may have delayed is
//! taken as no time at all before a limit is called missed. What a spread does not show may be up
//! to 10 ms of every packet, and any time of an uncertain one.

use metronome_proto::{
    histogram::{Histogram, bucket_floor_ns, bucket_top_ns},
    v1::{Comparison, OutcomeStatus},
};

use super::{
    finding::status,
    quantile::{Ground, Question},
};
use crate::model::{UNCERTAIN_NS, UNDERSTATED_NS};

/// How it came out.
#[derive(Clone, Copy, Debug)]
pub(in crate::verdict) struct Mean {
    pub(in crate::verdict) ground: Ground,
    pub(in crate::verdict) status: OutcomeStatus,
    /// Packets that are infinitely late by the path's own doing, at least.
    pub(in crate::verdict) endless: u64,
    /// The least that the mean is without what the generator took, rounded up, ns.
    pub(in crate::verdict) least_ns: u64,
    /// The mean, ns: rounded up, of a lower limit down. `None` when it is infinite, or not known.
    pub(in crate::verdict) observed_ns: Option<u64>,
}

/// Judges the times of the packets that have one. The quantile of the question counts for nothing.
pub(in crate::verdict) fn judge(times: &Histogram, question: Question<'_>) -> Mean {
    let sums = Sums::of(times, question);
    let (ground, status) = match question.comparison {
        Comparison::Less | Comparison::LessOrEqual => upper(&sums, question),
        Comparison::Equal => equal(&sums, question),
        _ => lower(&sums, question),
    };
    Mean {
        ground,
        status,
        endless: (sums.endless)
            .saturating_sub(question.unrelated)
            .saturating_sub(question.delayed),
        least_ns: {
            let sum = sums.top_by_path.max(sums.in_transit);
            let ns = sum.div_ceil(u128::from(sums.packets).max(1));
            u64::try_from(ns).unwrap_or(u64::MAX)
        },
        observed_ns: observed(&sums, question).filter(|ns| match status {
            OutcomeStatus::Held | OutcomeStatus::NotHeld if question.hidden.is_some() => {
                let holds = question.comparison.holds(*ns, question.limit_ns);
                holds == (status == OutcomeStatus::Held)
            }
            _ => true,
        }),
    }
}

/// What the times sum up to, ns.
#[derive(Clone, Copy, Debug)]
struct Sums {
    /// By the upper and by the lower edges of the buckets.
    top: u128,
    floor: u128,
    /// The same where the packets that a late generator may have delayed took no time.
    top_by_path: u128,
    floor_by_path: u128,
    /// The parts of the times that no generator can have caused, by the lower edges.
    in_transit: u128,
    /// Packets that are infinitely late: those without a time and those too long for a bucket.
    endless: u64,
    /// Packets that have a time, or are not known to have none.
    packets: u64,
}

impl Sums {
    fn of(times: &Histogram, question: Question<'_>) -> Self {
        let top = |times: &Histogram, without| sum(times, without, bucket_top_ns);
        let floor = |times: &Histogram, without| sum(times, without, bucket_floor_ns);
        let endless = (question.missing).saturating_add(times.count_from(question.top));
        let delayed_with_time = question.delayed.saturating_sub(question.missing);
        let packets = question.scheduled.saturating_sub(question.missing);
        Self {
            top: top(times, 0),
            floor: floor(times, 0),
            top_by_path: top(times, delayed_with_time),
            floor_by_path: floor(times, question.delayed),
            in_transit: question.transit.map_or(0, |times| floor(times, 0)),
            endless,
            packets: packets.max(times.count()),
        }
    }
}

/// The sum of the times by an edge of their buckets, without so many of the longest ones.
fn sum(times: &Histogram, without: u64, edge_ns: fn(usize) -> u64) -> u128 {
    let mut left = times.count().saturating_sub(without);
    let mut sum = 0_u128;
    for (index, _, count) in times.counts() {
        let count = count.min(left);
        left -= count;
        sum = sum.saturating_add(u128::from(count) * u128::from(edge_ns(index)));
    }
    sum
}

/// So many packets with the same time each, ns.
fn all(packets: u64, each_ns: u64) -> u128 {
    u128::from(packets) * u128::from(each_ns)
}

/// An upper limit.
fn upper(sums: &Sums, question: Question<'_>) -> (Ground, OutcomeStatus) {
    let misses = |sum: u128| {
        let sum = sum.saturating_add(all(sums.packets, question.bound_ns));
        let limit = all(sums.packets, question.limit_ns);
        !question.comparison.holds(sum, limit)
    };
    let understated = question.hidden.map_or(0, |of| of.understated_at_most);
    let at_least = sums.top.max(all(understated, UNDERSTATED_NS));
    let is_open = |sum: u128| {
        question.hidden.is_some_and(|hidden| {
            let hidden_ns = all(sums.packets, UNCERTAIN_NS);
            hidden.anywhere() > 0 || misses(sum.saturating_add(hidden_ns))
        })
    };
    // Of one that was received and has no relation of the clocks the time is not known.
    let endless = sums.endless.saturating_sub(question.unrelated);
    let is_by_path = endless > question.delayed
        || misses(sums.top_by_path)
        || sums.in_transit > 0 && misses(sums.in_transit);
    if is_by_path || question.delayed == 0 && misses(at_least) {
        (Ground::Counted, OutcomeStatus::NotHeld)
    } else if endless > 0 || misses(at_least) {
        (Ground::GeneratorLate, OutcomeStatus::NotJudged)
    } else if question.unrelated > 0 || is_open(sums.top) {
        (Ground::Uncertain, OutcomeStatus::NotJudged)
    } else {
        (Ground::Counted, OutcomeStatus::Held)
    }
}

/// A lower limit: what has no time adds nothing that could meet it.
fn lower(sums: &Sums, question: Question<'_>) -> (Ground, OutcomeStatus) {
    let packets = sums.packets.saturating_add(question.missing);
    let meets = |sum: u128| {
        let sum = sum.saturating_sub(all(sums.packets, question.bound_ns));
        let limit = all(packets, question.limit_ns);
        question.comparison.holds(sum, limit)
    };
    let is_open = question.missing > 0
        || question.hidden.is_some_and(|hidden| {
            let hidden_ns = all(sums.packets, UNCERTAIN_NS);
            hidden.anywhere() > 0 || meets(sums.floor.saturating_add(hidden_ns))
        });
    if meets(sums.floor_by_path) {
        (Ground::Counted, OutcomeStatus::Held)
    } else if meets(sums.floor) {
        (Ground::GeneratorLate, OutcomeStatus::NotJudged)
    } else if is_open {
        (Ground::Uncertain, OutcomeStatus::NotJudged)
    } else {
        (Ground::Counted, OutcomeStatus::NotHeld)
    }
}

/// Equal is what lies between the means of the two edges; what is not known so exactly is open.
fn equal(sums: &Sums, question: Question<'_>) -> (Ground, OutcomeStatus) {
    if question.delayed > 0 {
        return (Ground::GeneratorLate, OutcomeStatus::NotJudged);
    }
    if sums.endless > question.unrelated {
        return (Ground::Counted, OutcomeStatus::NotHeld);
    }
    if question.unrelated > 0 {
        return (Ground::Uncertain, OutcomeStatus::NotJudged);
    }
    let bound = all(sums.packets, question.bound_ns);
    let least = sums.floor.saturating_sub(bound);
    let most = match question.hidden {
        None => sums.top.saturating_add(bound),
        Some(hidden) if hidden.anywhere() > 0 => u128::MAX,
        Some(_) => sums.top.saturating_add(all(sums.packets, UNCERTAIN_NS)),
    };
    let limit = all(sums.packets, question.limit_ns);
    let is_within = (least..=most).contains(&limit);
    let is_exact = question.bound_ns == 0 && question.hidden.is_none();
    match (is_within, is_exact) {
        (true, false) => (Ground::Uncertain, OutcomeStatus::NotJudged),
        _ => (Ground::Counted, status(is_within)),
    }
}

/// The mean with the bound of each time, where it is finite and known.
fn observed(sums: &Sums, question: Question<'_>) -> Option<u64> {
    let is_known = sums.endless == 0
        && question.delayed == 0
        && question.hidden.is_none_or(|of| of.anywhere() == 0);
    let packets = u128::from(sums.packets);
    if !is_known || packets == 0 {
        return None;
    }
    let bound_ns = u128::from(question.bound_ns);
    let ns = match question.comparison {
        Comparison::Equal => sums.top.div_ceil(packets),
        _ if question.is_upper() => sums.top.div_ceil(packets).saturating_add(bound_ns),
        _ => (sums.floor / packets).saturating_sub(bound_ns),
    };
    u64::try_from(ns).ok()
}

#[cfg(test)]
mod tests {
    use metronome_proto::{histogram::BUCKETS, threshold::PPM};
    use proptest::prelude::*;

    use super::*;
    use crate::verdict::hidden::Hidden;

    const HELD: OutcomeStatus = OutcomeStatus::Held;
    const NOT_HELD: OutcomeStatus = OutcomeStatus::NotHeld;
    const OPEN: OutcomeStatus = OutcomeStatus::NotJudged;

    fn histogram(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&value| histogram.record(value));
        histogram
    }

    fn question(comparison: Comparison, limit_ns: u64, scheduled: u64) -> Question<'static> {
        Question {
            ppm: PPM,
            comparison,
            limit_ns,
            scheduled,
            missing: 0,
            unrelated: 0,
            bound_ns: 0,
            hidden: None,
            top: BUCKETS - 1,
            delayed: 0,
            transit: None,
        }
    }

    fn comparisons() -> impl Strategy<Value = Comparison> {
        prop::sample::select(vec![
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Equal,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
        ])
    }

    #[test]
    fn a_packet_that_was_received_and_has_no_time_leaves_an_upper_limit_open() {
        let times = histogram(&[1_000; 99]);
        let asked = |limit_ns, unrelated, missing| {
            let question = question(Comparison::Less, limit_ns, 100);
            judge(
                &times,
                Question {
                    unrelated,
                    missing,
                    ..question
                },
            )
            .status
        };
        assert_eq!(asked(1_000_000, 1, 1), OPEN);
        assert_eq!(asked(1_000_000, 0, 1), NOT_HELD, "it was lost");
        assert_eq!(
            asked(500, 1, 1),
            NOT_HELD,
            "the others are too slow already"
        );
    }

    #[test]
    fn one_packet_without_a_time_meets_no_upper_limit_and_helps_no_lower_one() {
        let times = histogram(&[1_000; 999]);
        let ask = |comparison, limit_ns| {
            let question = Question {
                missing: 1,
                ..question(comparison, limit_ns, 1_000)
            };
            judge(&times, question)
        };
        for comparison in [Comparison::Less, Comparison::LessOrEqual, Comparison::Equal] {
            let mean = ask(comparison, 60_000_000_000);
            assert_eq!((mean.status, mean.observed_ns), (NOT_HELD, None));
            assert_eq!(mean.endless, 1);
        }
        assert_eq!(ask(Comparison::Greater, 990).status, HELD);
        assert_eq!(ask(Comparison::Greater, 1_000).status, OPEN);
        // Without it that lower limit is missed.
        let all = histogram(&[1_000; 1_000]);
        let missed = judge(&all, question(Comparison::Greater, 1_000, 1_000));
        assert_eq!((missed.status, missed.observed_ns), (NOT_HELD, Some(1_000)));
    }

    #[test]
    fn a_time_too_long_for_a_bucket_meets_no_upper_limit() {
        let times = histogram(&[1_000, u64::MAX]);
        let mean = judge(&times, question(Comparison::Less, u64::MAX, 2));
        assert_eq!((mean.status, mean.observed_ns), (NOT_HELD, None));
    }

    #[test]
    fn what_a_late_generator_may_have_delayed_leaves_it_open() {
        // 900 of 1 µs and 100 of 100 µs: a mean of 11 µs, of 1 µs without the 100.
        let times = histogram(&[&[1_000; 900][..], &[100_000; 100]].concat());
        let transit = histogram(&[1_000; 1_000]);
        let slow = histogram(&[9_000; 1_000]);
        for (limit_ns, delayed, transit, expected) in [
            (5_000, 0, &transit, NOT_HELD),
            (5_000, 100, &transit, OPEN),
            (5_000, 50, &transit, NOT_HELD),
            (20_000, 100, &transit, HELD),
            (5_000, 1_000, &slow, NOT_HELD),
        ] {
            let question = Question {
                delayed,
                transit: Some(transit),
                ..question(Comparison::Less, limit_ns, 1_000)
            };
            let mean = judge(&times, question);
            assert_eq!(mean.status, expected, "{limit_ns} {delayed}");
            assert_eq!(mean.observed_ns.is_some(), delayed == 0);
        }
        for (limit_ns, delayed, expected) in [
            (10_000, 0, HELD),
            (10_000, 100, OPEN),
            (800, 100, HELD),
            (20_000, 100, NOT_HELD),
        ] {
            let question = Question {
                delayed,
                ..question(Comparison::GreaterOrEqual, limit_ns, 1_000)
            };
            assert_eq!(judge(&times, question).status, expected, "{limit_ns}");
        }
        // A packet that was skipped may be one of these.
        let question = |delayed| Question {
            missing: 1,
            delayed,
            ..question(Comparison::Less, 20_000, 1_001)
        };
        assert_eq!(judge(&times, question(0)).status, NOT_HELD);
        assert_eq!(judge(&times, question(10)).status, OPEN);
    }

    #[test]
    fn a_mean_of_spreads_is_met_by_what_is_possible_and_missed_by_what_is_certain() {
        let times = histogram(&[1_000_000; 1_000]);
        for (limit_ns, understated_at_most, uncertain, expected) in [
            (12_000_000, 0, 0, HELD),
            (11_000_000, 0, 0, OPEN),
            (12_000_000, 0, 1, OPEN),
            (12_000_000, 121, 121, NOT_HELD),
            (900_000, 0, 0, NOT_HELD),
        ] {
            let hidden = Hidden {
                received: 1_000,
                understated_at_most,
                uncertain,
                ..Hidden::default()
            };
            let question = Question {
                hidden: Some(hidden),
                ..question(Comparison::LessOrEqual, limit_ns, 1_000)
            };
            assert_eq!(judge(&times, question).status, expected, "{limit_ns}");
        }
    }

    #[test]
    fn packets_that_are_not_known_to_have_come_only_lower_a_mean() {
        let times = histogram(&[100_000; 100]);
        for (most, expected) in [(100, NOT_HELD), (190, NOT_HELD), (210, HELD)] {
            let mean = judge(&times, question(Comparison::Less, 50_000, most));
            assert_eq!(mean.status, expected, "{most}");
        }
    }

    proptest! {
        #[test]
        fn a_mean_is_never_shown_below_the_true_one_and_hardly_above_it(
            values in prop::collection::vec(0..60_000_000_000_u64, 1..200),
        ) {
            let packets = values.len() as u64;
            let shown = judge(&histogram(&values), question(Comparison::Less, 1, packets));
            let shown_ns = u128::from(shown.observed_ns.unwrap());
            let sum: u128 = values.iter().copied().map(u128::from).sum();
            prop_assert!(shown_ns * u128::from(packets) >= sum);
            let most = sum + sum / 100 + u128::from(packets) * 8;
            prop_assert!(shown_ns * u128::from(packets) <= most, "{shown_ns} {most}");
        }

        #[test]
        fn no_mean_passes_that_the_true_times_miss(
            values in prop::collection::vec((0..20_000_u64, 0..=2_000_u64), 1..100),
            lost in prop_oneof![Just(0), 0..3_u64],
            bound_ns in prop_oneof![Just(0), 0..3_000_u64],
            delayed in prop_oneof![Just(0), 0..50_u64],
            limit_ns in 1..25_000_u64,
            comparison in comparisons(),
        ) {
            let shown: Vec<_> = values.iter().map(|(ns, _)| *ns).collect();
            let packets = shown.len() as u64;
            let question = Question {
                missing: lost,
                bound_ns,
                delayed,
                ..question(comparison, limit_ns, packets + lost)
            };
            let mean = judge(&histogram(&shown), question);
            let true_ns = |&(ns, at): &(u64, u64)| {
                u128::from((ns + 2 * bound_ns * at / 2_000).saturating_sub(bound_ns))
            };
            let sum: u128 = values.iter().map(true_ns).sum();
            let limit = u128::from(limit_ns) * u128::from(packets);
            let holds = match lost {
                0 => comparison.holds(sum, limit),
                _ => matches!(comparison, Comparison::Greater | Comparison::GreaterOrEqual),
            };
            let is_near = comparison == Comparison::Equal;
            prop_assert!(mean.status != HELD || holds || is_near, "{mean:?} {sum}");
            // What it misses, it misses by more than an edge of its buckets.
            let is_upper = question.is_upper() && bound_ns == 0 && lost == 0 && delayed == 0;
            if is_upper && mean.status == NOT_HELD {
                let most = sum + sum / 100 + u128::from(packets) * 8;
                prop_assert!(!comparison.holds(most, limit), "{mean:?} {sum}");
            }
        }

        #[test]
        fn more_packets_without_a_time_and_longer_ones_never_make_an_upper_limit_pass(
            values in prop::collection::vec(0..10_000_u64, 1..100),
            missing in 0..5_u64,
            delayed in 0..20_u64,
            longer in 0..10_000_u64,
            limit_ns in 1..10_000_u64,
        ) {
            let of = |values: &[u64], missing| {
                let scheduled = values.len() as u64 + missing;
                let question = question(Comparison::LessOrEqual, limit_ns, scheduled);
                judge(&histogram(values), Question { missing, delayed, ..question }).status
            };
            let before = of(&values, missing);
            prop_assert!(before != NOT_HELD || of(&values, missing + 1) == NOT_HELD);
            let mut slower = values.clone();
            slower[0] += longer;
            prop_assert!(before != NOT_HELD || of(&slower, missing) == NOT_HELD);
        }
    }
}
