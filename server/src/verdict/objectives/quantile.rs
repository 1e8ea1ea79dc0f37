//! The quantile of a time over all scheduled packets, judged by exact counts.
//!
//! A packet without a time, skipped or lost, is slower than any limit. Bucket by bucket the packets
//! are taken as what is worse for the objective, so that none passes too easily. A quantile is
//! known when 10 packets lie beyond it; more packets above the limit than its share allows are a
//! certain failure all the same. A late generator can only have made longer what counts from due,
//! so an upper limit that is met all the same is met, and a lower one that is missed is missed.

use metronome_proto::{
    histogram::{Histogram, beyond, bucket, bucket_floor_ns, bucket_top_ns, is_known},
    v1::{Comparison, OutcomeStatus},
};

use super::finding::status;

/// A packet whose spread is understated was later than this, ns.
pub(super) const UNDERSTATED_NS: u64 = 100_000_000;

/// What is asked of a quantile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// Millionths, 1 to 10^6.
    pub(super) ppm: u32,
    pub(super) comparison: Comparison,
    pub(super) limit_ns: u64,
    /// Packets that were scheduled, or the most that can have been.
    pub(super) scheduled: u64,
    /// Packets without a time, as far as that is known.
    pub(super) missing: u64,
    /// Packets whose time is not shown as long as it was: more than [`UNDERSTATED_NS`].
    pub(super) understated: u64,
    /// The bucket in which every longer time lies as well.
    pub(super) top: usize,
    /// Packets that a late generator may have held up; 0 unless they may decide the quantile.
    pub(super) held_up: u64,
}

/// Why an objective came out as it did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ground {
    /// The packets were counted.
    Counted,
    /// Too few packets: fewer than 10 lie beyond the quantile.
    TooFew,
    /// A late generator may be why.
    GeneratorLate,
    /// It depends on packets whose time is understated.
    Understated,
}

/// How it came out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) ground: Ground,
    /// Held or not held by the counts; not judged on other grounds.
    pub(super) status: OutcomeStatus,
    /// Packets above the limit, those without a time among them.
    pub(super) above: u64,
    /// The packets that may lie beyond the quantile.
    pub(super) beyond: u64,
    /// The quantile, the upper edge of its bucket. `None` when it lies among the packets without a
    /// time or too long to be distinguished, or is not known.
    pub(super) observed_ns: Option<u64>,
}

/// Judges the times of the packets that have one.
pub(super) fn judge(times: &Histogram, question: Question) -> Answer {
    let beyond = beyond(question.ppm, question.scheduled);
    let missing = question.missing;
    let above = missing.saturating_add(times.count_from(first_above(question)));
    let worst = above.saturating_add(question.understated);
    // At a limit that is longer than what is known of them, they may be above it or not.
    let certain = if question.limit_ns <= UNDERSTATED_NS {
        worst
    } else {
        above
    };
    let is_spoilt = question.held_up > 0;
    let is_enough = is_known(question.ppm, question.scheduled);
    let (ground, status) = match question.comparison {
        Comparison::Less | Comparison::LessOrEqual => {
            if certain.saturating_sub(question.held_up) > beyond {
                (Ground::Counted, OutcomeStatus::NotHeld)
            } else if worst > beyond && is_spoilt {
                (Ground::GeneratorLate, OutcomeStatus::NotJudged)
            } else if worst > beyond {
                (Ground::Understated, OutcomeStatus::NotJudged)
            } else if is_enough {
                (Ground::Counted, OutcomeStatus::Held)
            } else {
                (Ground::TooFew, OutcomeStatus::NotJudged)
            }
        }
        _ if !is_enough => (Ground::TooFew, OutcomeStatus::NotJudged),
        Comparison::Equal if is_spoilt => (Ground::GeneratorLate, OutcomeStatus::NotJudged),
        Comparison::Equal => {
            let quantile = quantile(times, missing, beyond);
            let is_equal = quantile == Some(bucket(question.limit_ns));
            (Ground::Counted, status(is_equal))
        }
        _ if above > beyond && above.saturating_sub(question.held_up) <= beyond => {
            (Ground::GeneratorLate, OutcomeStatus::NotJudged)
        }
        _ => (Ground::Counted, status(above > beyond)),
    };
    let is_upper = matches!(
        question.comparison,
        Comparison::Less | Comparison::LessOrEqual
    );
    let unseen = missing.saturating_add(if is_upper { question.understated } else { 0 });
    let observed = quantile(times, unseen, beyond)
        .filter(|index| is_enough && !is_spoilt && *index < question.top);
    Answer {
        ground,
        status,
        above,
        beyond,
        observed_ns: observed.map(bucket_top_ns),
    }
}

/// The bucket of the quantile when so many packets lie beyond every bucket. `None`: it lies among
/// these.
fn quantile(times: &Histogram, unseen: u64, beyond: u64) -> Option<usize> {
    times.bucket_below(beyond.checked_sub(unseen)?)
}

/// The first bucket that counts as above the limit: for a limit that must not be passed, the first
/// that may hold a longer time, at the latest the top; for one that must be, the first that holds
/// none but longer ones.
fn first_above(question: Question) -> usize {
    let (limit_ns, index) = (question.limit_ns, bucket(question.limit_ns));
    let is_above = match question.comparison {
        Comparison::Less => bucket_top_ns(index) >= limit_ns,
        Comparison::LessOrEqual => bucket_top_ns(index) > limit_ns,
        Comparison::GreaterOrEqual => bucket_floor_ns(index) >= limit_ns,
        _ => bucket_floor_ns(index) > limit_ns,
    };
    let first = if is_above { index } else { index + 1 };
    match question.comparison {
        Comparison::Less | Comparison::LessOrEqual => first.min(question.top),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        histogram::{BUCKETS, VALUE_NS_MAX},
        threshold::PPM,
    };
    use proptest::prelude::*;

    use super::*;

    fn histogram(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&value| histogram.record(value));
        histogram
    }

    fn question(
        times: &Histogram,
        ppm: u32,
        comparison: Comparison,
        limit_ns: u64,
        scheduled: u64,
    ) -> Question {
        Question {
            ppm,
            comparison,
            limit_ns,
            scheduled,
            missing: scheduled - times.count(),
            understated: 0,
            top: BUCKETS - 1,
            held_up: 0,
        }
    }

    #[test]
    fn a_packet_without_a_time_is_slower_than_any_limit() {
        let times = histogram(&[1_000; 980]);
        let limit_ns = 60_000_000_000;
        let of = |ppm, scheduled| {
            judge(
                &times,
                question(&times, ppm, Comparison::LessOrEqual, limit_ns, scheduled),
            )
        };
        let answer = of(990_000, 990);
        assert_eq!((answer.above, answer.beyond), (10, 9));
        assert_eq!(
            (answer.status, answer.observed_ns),
            (OutcomeStatus::NotHeld, None)
        );
        let answer = of(980_000, 1_000);
        assert_eq!((answer.above, answer.beyond), (20, 20));
        assert_eq!(answer.status, OutcomeStatus::Held);
        assert_eq!(answer.observed_ns, Some(1_007));
        let answer = of(PPM, 981);
        assert_eq!(
            answer.status,
            OutcomeStatus::NotHeld,
            "the maximum is among them"
        );
    }

    #[test]
    fn few_packets_can_fail_and_not_pass() {
        let ask = |times: &Histogram| {
            judge(
                times,
                question(times, 999_000, Comparison::LessOrEqual, 5_000, 100),
            )
        };
        let answer = ask(&histogram(&[1_000; 100]));
        assert_eq!(
            (answer.status, answer.ground),
            (OutcomeStatus::NotJudged, Ground::TooFew)
        );
        assert_eq!(answer.observed_ns, None);
        let answer = ask(&histogram(&[&[1_000; 99][..], &[9_000]].concat()));
        assert_eq!(
            (answer.status, answer.ground),
            (OutcomeStatus::NotHeld, Ground::Counted)
        );
    }

    #[test]
    fn what_a_late_generator_may_have_held_up_is_not_held_against_the_path() {
        let times = histogram(&[&[1_000; 9_900][..], &[9_000; 100]].concat());
        let ask = |held_up| {
            let question = question(&times, 999_000, Comparison::LessOrEqual, 5_000, 10_000);
            let answer = judge(
                &times,
                Question {
                    held_up,
                    ..question
                },
            );
            (answer.status, answer.ground)
        };
        assert_eq!(ask(0), (OutcomeStatus::NotHeld, Ground::Counted));
        assert_eq!(ask(89), (OutcomeStatus::NotHeld, Ground::Counted));
        assert_eq!(ask(90), (OutcomeStatus::NotJudged, Ground::GeneratorLate));
    }

    #[test]
    fn a_late_generator_can_only_have_made_times_longer() {
        let times = histogram(&[&[1_000; 9_900][..], &[9_000; 100]].concat());
        let ask = |ppm, comparison, limit_ns, held_up| {
            let question = question(&times, ppm, comparison, limit_ns, 10_000);
            judge(
                &times,
                Question {
                    held_up,
                    ..question
                },
            )
        };
        let met = ask(999_000, Comparison::LessOrEqual, 10_000, 5_000);
        assert_eq!((met.status, met.observed_ns), (OutcomeStatus::Held, None));
        let of = |ppm, comparison, held_up| ask(ppm, comparison, 5_000, held_up).status;
        assert_eq!(of(980_000, Comparison::Less, 5_000), OutcomeStatus::Held);
        assert_eq!(
            of(980_000, Comparison::Greater, 5_000),
            OutcomeStatus::NotHeld
        );
        assert_eq!(of(999_000, Comparison::Greater, 89), OutcomeStatus::Held);
        assert_eq!(
            of(999_000, Comparison::Greater, 90),
            OutcomeStatus::NotJudged
        );
        assert_eq!(of(999_000, Comparison::Equal, 1), OutcomeStatus::NotJudged);
    }

    #[test]
    fn a_time_too_long_for_a_bucket_is_above_every_limit_that_must_not_be_passed() {
        let times = histogram(&[VALUE_NS_MAX + 1; 10]);
        for (comparison, limit_ns) in [
            (Comparison::LessOrEqual, VALUE_NS_MAX),
            (Comparison::Less, u64::MAX),
            (Comparison::Greater, VALUE_NS_MAX + 1),
        ] {
            let answer = judge(&times, question(&times, PPM, comparison, limit_ns, 10));
            assert_eq!(
                (answer.status, answer.observed_ns),
                (OutcomeStatus::NotHeld, None)
            );
        }
    }

    #[test]
    fn an_understated_spread_counts_as_above_the_limit_where_it_is_known_to_be() {
        let times = histogram(&[1_000; 10_000]);
        let ask = |limit_ns, understated| {
            let question = question(&times, 999_000, Comparison::LessOrEqual, limit_ns, 10_000);
            judge(
                &times,
                Question {
                    understated,
                    ..question
                },
            )
        };
        assert_eq!(ask(UNDERSTATED_NS, 10).status, OutcomeStatus::Held);
        let answer = ask(UNDERSTATED_NS, 11);
        assert_eq!(answer.status, OutcomeStatus::NotHeld);
        assert_eq!(answer.observed_ns, None);
        let answer = ask(UNDERSTATED_NS + 1, 11);
        assert_eq!(
            (answer.status, answer.ground),
            (OutcomeStatus::NotJudged, Ground::Understated)
        );
    }

    #[test]
    fn the_bucket_of_a_limit_counts_as_above_it_by_its_edge_that_decides() {
        let index = bucket(1_000_000);
        let (floor_ns, top_ns) = (bucket_floor_ns(index), bucket_top_ns(index));
        assert!(floor_ns + 1 < top_ns);
        let first = |comparison, limit_ns| {
            let question = question(&Histogram::default(), PPM, comparison, limit_ns, 1);
            first_above(question) - index
        };
        for (comparison, limit_ns, expected) in [
            (Comparison::Less, floor_ns, 0),
            (Comparison::Less, top_ns, 0),
            (Comparison::LessOrEqual, top_ns - 1, 0),
            (Comparison::LessOrEqual, top_ns, 1),
            (Comparison::GreaterOrEqual, floor_ns, 0),
            (Comparison::GreaterOrEqual, floor_ns + 1, 1),
            (Comparison::Greater, floor_ns, 1),
            (Comparison::Greater, top_ns, 1),
        ] {
            assert_eq!(
                first(comparison, limit_ns),
                expected,
                "{comparison:?} {limit_ns}"
            );
        }
    }

    #[test]
    fn late_packets_leave_open_what_they_could_decide() {
        let times = histogram(&[1_000; 10_000]);
        let open = (OutcomeStatus::NotJudged, Ground::GeneratorLate);
        let missed = (OutcomeStatus::NotHeld, Ground::Counted);
        let met = (OutcomeStatus::Held, Ground::Counted);
        for (comparison, expected) in [
            (Comparison::Equal, open),
            (Comparison::Greater, missed),
            (Comparison::GreaterOrEqual, missed),
            (Comparison::LessOrEqual, met),
            (Comparison::Less, met),
        ] {
            let question = question(&times, 999_000, comparison, 1_000_000, 10_000);
            let answer = judge(
                &times,
                Question {
                    held_up: 1,
                    ..question
                },
            );
            assert_eq!((answer.status, answer.ground), expected, "{comparison:?}");
            assert_eq!(answer.observed_ns, None);
        }
    }

    #[test]
    fn a_quantile_of_few_packets_is_no_lower_limit_and_equal_to_nothing() {
        let times = histogram(&[1_000; 100]);
        for comparison in [
            Comparison::Equal,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
        ] {
            let answer = judge(&times, question(&times, 999_000, comparison, 1_000, 100));
            assert_eq!(
                (answer.status, answer.ground),
                (OutcomeStatus::NotJudged, Ground::TooFew)
            );
        }
    }

    proptest! {
        #[test]
        fn no_objective_passes_too_easily(
            values in prop::collection::vec(0..10_000_000_000_u64, 0..200),
            missing in 0..50_u64,
            ppm in 1..=PPM,
            limit_ns in 0..10_000_000_000_u64,
            comparison in prop::sample::select(vec![
                Comparison::Less,
                Comparison::LessOrEqual,
                Comparison::Greater,
                Comparison::GreaterOrEqual,
            ]),
        ) {
            let scheduled = values.len() as u64 + missing;
            prop_assume!(scheduled > 0);
            let answer = {
                let times = histogram(&values);
                judge(&times, question(&times, ppm, comparison, limit_ns, scheduled))
            };
            let mut all = values;
            all.resize(scheduled as usize, u64::MAX);
            all.sort_unstable();
            let truth = all[(scheduled - 1 - beyond(ppm, scheduled)) as usize];
            let holds = comparison.holds(truth, limit_ns);
            prop_assert!(answer.status != OutcomeStatus::Held || holds, "{answer:?}, {truth}");
            let is_near = bucket(truth) == bucket(limit_ns);
            if is_known(ppm, scheduled) && !is_near {
                prop_assert_eq!(answer.status, status(holds));
            }
            if is_known(ppm, scheduled) {
                let top_ns = (truth != u64::MAX).then(|| bucket_top_ns(bucket(truth)));
                prop_assert_eq!(answer.observed_ns, top_ns);
            }
        }

        #[test]
        fn a_packet_more_without_a_time_never_makes_an_upper_limit_pass(
            values in prop::collection::vec(0..10_000_u64, 1..200),
            missing in 0..50_u64,
            held_up in 0..50_u64,
            ppm in 1..=PPM,
            limit_ns in 0..10_000_u64,
        ) {
            let times = histogram(&values);
            let of = |missing| {
                let scheduled = values.len() as u64 + missing;
                let question =
                    question(&times, ppm, Comparison::LessOrEqual, limit_ns, scheduled);
                judge(&times, Question { held_up, ..question }).status
            };
            let is_failed = |status| status == OutcomeStatus::NotHeld;
            prop_assert!(!is_failed(of(missing)) || is_failed(of(missing + 1)));
        }
    }
}
