//! The quantile of a time over all scheduled packets, judged by exact counts.
//!
//! A packet without a time, skipped or lost, is slower than any limit. Bucket by bucket the packets
//! are taken as what is worse for the objective, so that none passes too easily. A quantile is
//! known when 10 packets lie beyond it; more packets above the limit than its share allows are a
//! certain failure all the same. A late generator can only have made longer what counts from due,
//! so an upper limit that is met all the same is met, and a lower one that is missed is missed.

use metronome_proto::{
    histogram::{Histogram, beyond, bucket, bucket_floor_ns, bucket_top_ns, is_known, shown_ns},
    v1::{Comparison, OutcomeStatus},
};

use super::finding::status;
use crate::model::{UNCERTAIN_NS, UNDERSTATED_NS, is_uncertain};

/// What is asked of a quantile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// Millionths, 1 to 10^6.
    pub(super) ppm: u32,
    pub(super) comparison: Comparison,
    pub(super) limit_ns: u64,
    /// Packets that were scheduled, or the most that can have been.
    pub(super) scheduled: u64,
    /// Packets without a time, as far as that is known.
    pub(super) missing: u64,
    /// What a spread does not show; `None` of the other times, which are shown as they were.
    pub(super) hidden: Option<Hidden>,
    /// The bucket in which every longer time lies as well.
    pub(super) top: usize,
    /// Packets that a late generator may have held up; 0 unless they may decide the quantile.
    pub(super) held_up: u64,
    /// The parts of the times that no generator can have caused, where they are known.
    pub(super) transit: Option<&'a Histogram>,
}

/// What the spreads of a run do not show. That of every packet may be as much as [`UNCERTAIN_NS`]
/// less than it was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hidden {
    /// Packets above [`UNDERSTATED_NS`] whose spread does not show it, as the workers found.
    pub(super) understated: u64,
    /// The same with all packets of clients that were held up as a whole, some of which may show
    /// it.
    pub(super) held_back: u64,
    /// Packets whose spread may be less than it was by any time.
    pub(super) uncertain: u64,
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
    /// It depends on packets whose time may have been longer than it is shown.
    Uncertain,
}

/// How it came out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) ground: Ground,
    /// Held or not held by the counts; not judged on other grounds.
    pub(super) status: OutcomeStatus,
    /// Packets that are shown above the limit, those without a time among them.
    pub(super) above: u64,
    /// Packets that were above the limit without what the generator took.
    pub(super) above_in_transit: u64,
    /// The packets that may lie beyond the quantile.
    pub(super) beyond: u64,
    /// The quantile, the upper edge of its bucket. `None` when it lies among the packets without a
    /// time or too long to be distinguished, or is not known.
    pub(super) observed_ns: Option<u64>,
}

/// Judges the times of the packets that have one.
pub(super) fn judge(times: &Histogram, question: Question<'_>) -> Answer {
    let beyond = beyond(question.ppm, question.scheduled);
    let counted = Counted::of(times, question);
    let is_enough = is_known(question.ppm, question.scheduled);
    let (ground, status) = match question.comparison {
        Comparison::Less | Comparison::LessOrEqual => {
            if counted.surely > beyond {
                (Ground::Counted, OutcomeStatus::NotHeld)
            } else if counted.certain > beyond {
                (Ground::GeneratorLate, OutcomeStatus::NotJudged)
            } else if !is_enough {
                (Ground::TooFew, OutcomeStatus::NotJudged)
            } else if counted.possible > beyond {
                (Ground::Uncertain, OutcomeStatus::NotJudged)
            } else {
                (Ground::Counted, OutcomeStatus::Held)
            }
        }
        _ if !is_enough => (Ground::TooFew, OutcomeStatus::NotJudged),
        Comparison::Equal if question.held_up > 0 => {
            (Ground::GeneratorLate, OutcomeStatus::NotJudged)
        }
        Comparison::Equal => {
            let quantile = quantile(times, question.missing, beyond);
            let limit = bucket(question.limit_ns);
            // What is hidden can only make it longer.
            if question.hidden.is_some() && quantile.is_some_and(|of| of <= limit) {
                (Ground::Uncertain, OutcomeStatus::NotJudged)
            } else {
                (Ground::Counted, status(quantile == Some(limit)))
            }
        }
        _ if counted.surely > beyond => (Ground::Counted, OutcomeStatus::Held),
        _ if counted.certain > beyond => (Ground::GeneratorLate, OutcomeStatus::NotJudged),
        _ if counted.possible > beyond => (Ground::Uncertain, OutcomeStatus::NotJudged),
        _ => (Ground::Counted, OutcomeStatus::NotHeld),
    };
    let hidden = question.hidden.unwrap_or_default();
    let is_hidden = is_uncertain(question.ppm, hidden.uncertain, question.scheduled);
    let is_shown = is_enough && question.held_up == 0 && !is_hidden;
    let unseen = question.missing.saturating_add(hidden.understated);
    let observed =
        quantile(times, unseen, beyond).filter(|index| is_shown && *index < question.top);
    Answer {
        ground,
        status,
        above: counted.above,
        above_in_transit: counted.above_in_transit,
        beyond,
        observed_ns: observed.map(shown_ns),
    }
}

/// How many packets were above the limit; those without a time are, but for the last figure.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// Those that are shown above it.
    above: u64,
    /// At least, whatever held them up.
    certain: u64,
    /// At most.
    possible: u64,
    /// At least, without those that a late generator may have held up.
    surely: u64,
    above_in_transit: u64,
}

impl Counted {
    fn of(times: &Histogram, question: Question<'_>) -> Self {
        let shown = times.count_from(first_above(question, question.limit_ns));
        let with_missing = |packets: u64| question.missing.saturating_add(packets);
        let (certain, possible) = question.hidden.map_or((shown, shown), |hidden| {
            let nearly_ns = question.limit_ns.saturating_sub(UNCERTAIN_NS);
            let nearly = times.count_from(first_above(question, nearly_ns));
            // At a limit that is longer than what is known of them, they may be above it or not.
            let certain = if question.limit_ns <= UNDERSTATED_NS {
                let understated = shown.saturating_add(hidden.understated);
                understated.max(hidden.held_back)
            } else {
                shown
            };
            let possible = nearly.saturating_add(hidden.uncertain);
            (certain, possible.max(certain))
        });
        let in_transit =
            |times: &Histogram| times.count_from(first_above(question, question.limit_ns));
        let above_in_transit = question.transit.map_or(0, in_transit);
        let certain = with_missing(certain);
        Self {
            above: with_missing(shown),
            certain,
            possible: with_missing(possible),
            surely: certain
                .saturating_sub(question.held_up)
                .max(above_in_transit),
            above_in_transit,
        }
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
fn first_above(question: Question<'_>, limit_ns: u64) -> usize {
    let index = bucket(limit_ns);
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
    ) -> Question<'static> {
        Question {
            ppm,
            comparison,
            limit_ns,
            scheduled,
            missing: scheduled - times.count(),
            hidden: None,
            top: BUCKETS - 1,
            held_up: 0,
            transit: None,
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
        let unclear = ask(999_000, Comparison::Greater, 5_000, 5_000);
        assert_eq!(
            (unclear.status, unclear.ground),
            (OutcomeStatus::NotJudged, Ground::GeneratorLate)
        );
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

    const LIMIT_NS: u64 = UNDERSTATED_NS;

    /// 9,980 spreads of 1 µs, and 10 each right below the limit and above it.
    fn spreads() -> Histogram {
        let mut spreads = histogram(&[1_000; 9_980]);
        spreads.add_count(bucket(LIMIT_NS - 9_000_000), 10);
        spreads.add_count(bucket(LIMIT_NS + 9_000_000), 10);
        spreads
    }

    fn ask_spread(ppm: u32, comparison: Comparison, limit_ns: u64, hidden: Hidden) -> Answer {
        let times = spreads();
        let question = question(&times, ppm, comparison, limit_ns, 10_000);
        let hidden = Some(hidden);
        judge(&times, Question { hidden, ..question })
    }

    #[test]
    fn an_upper_limit_of_a_spread_is_missed_by_what_is_certain_and_met_by_what_is_possible() {
        const HELD: (OutcomeStatus, Ground) = (OutcomeStatus::Held, Ground::Counted);
        const NOT_HELD: (OutcomeStatus, Ground) = (OutcomeStatus::NotHeld, Ground::Counted);
        const OPEN: (OutcomeStatus, Ground) = (OutcomeStatus::NotJudged, Ground::Uncertain);
        // 100 may be above it; 10 are shown above it and 10 right below.
        for (limit_ns, [understated, held_back, uncertain], expected) in [
            (LIMIT_NS, [0, 0, 80], HELD),
            (LIMIT_NS, [0, 0, 81], OPEN),
            (LIMIT_NS, [90, 90, 90], OPEN),
            (LIMIT_NS, [91, 91, 91], NOT_HELD),
            (LIMIT_NS, [0, 100, 100], OPEN),
            (LIMIT_NS, [0, 101, 101], NOT_HELD),
            (LIMIT_NS + 1, [91, 101, 101], OPEN),
            (UNCERTAIN_NS, [0, 0, 0], OPEN),
            (UNCERTAIN_NS + 1_100, [0, 0, 80], HELD),
        ] {
            let hidden = Hidden {
                understated,
                held_back,
                uncertain,
            };
            let answer = ask_spread(990_000, Comparison::LessOrEqual, limit_ns, hidden);
            let found = (answer.status, answer.ground);
            assert_eq!(found, expected, "{limit_ns} {hidden:?}");
            assert_eq!(answer.observed_ns.is_some(), uncertain <= 10, "{hidden:?}");
        }
    }

    #[test]
    fn other_comparisons_of_a_spread_are_open_where_what_is_hidden_decides_them() {
        let of = |comparison, limit_ns, uncertain| {
            let hidden = Hidden {
                uncertain,
                ..Hidden::default()
            };
            ask_spread(990_000, comparison, limit_ns, hidden).status
        };
        let greater = Comparison::GreaterOrEqual;
        assert_eq!(of(greater, 500, 0), OutcomeStatus::Held);
        assert_eq!(of(greater, LIMIT_NS, 80), OutcomeStatus::NotHeld);
        assert_eq!(of(greater, LIMIT_NS, 81), OutcomeStatus::NotJudged);
        assert_eq!(of(Comparison::Equal, 1_000, 0), OutcomeStatus::NotJudged);
        assert_eq!(of(Comparison::Equal, 500, 0), OutcomeStatus::NotHeld);
    }

    #[test]
    fn what_the_path_alone_took_is_above_the_limit_whatever_the_generator_did() {
        let times = histogram(&[&[1_000; 9_900][..], &[9_000; 100]].concat());
        for (in_transit, status) in [(10, OutcomeStatus::NotJudged), (11, OutcomeStatus::NotHeld)] {
            let transit = histogram(&[&vec![9_000; in_transit][..], &[500; 9_900]].concat());
            let question = question(&times, 999_000, Comparison::LessOrEqual, 5_000, 10_000);
            let question = Question {
                held_up: 10_000,
                transit: Some(&transit),
                ..question
            };
            assert_eq!(judge(&times, question).status, status);
        }
    }

    #[test]
    fn the_bucket_of_a_limit_counts_as_above_it_by_its_edge_that_decides() {
        let index = bucket(1_000_000);
        let (floor_ns, top_ns) = (bucket_floor_ns(index), bucket_top_ns(index));
        assert!(floor_ns + 1 < top_ns);
        let first = |comparison, limit_ns| {
            let question = question(&Histogram::default(), PPM, comparison, limit_ns, 1);
            first_above(question, limit_ns) - index
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
