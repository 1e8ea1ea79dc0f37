//! Thresholds in the form of the API and as text.

use proptest::prelude::*;

use super::{text::*, *};

/// Those that no value reaches are among them.
fn any_thresholds() -> impl Strategy<Value = Threshold> {
    let limits = prop_oneof![Just(0), Just(u64::from(PPM)), 0..1_u64 << 50];
    (
        prop::sample::select(METRICS.to_vec()),
        prop::option::of(1..=PPM),
        prop::sample::select(COMPARISONS.map(|(_, comparison)| comparison).to_vec()),
        limits,
    )
        .prop_map(|(metric, ppm, comparison, limit)| {
            let kind = metric.kind().unwrap();
            Threshold {
                metric,
                quantile_ppm: ppm.filter(|_| kind == MetricKind::Time),
                comparison,
                limit: match kind {
                    MetricKind::Share => limit % u64::from(PPM + 1),
                    MetricKind::Time | MetricKind::Count | MetricKind::Rate => limit,
                },
            }
        })
}

fn thresholds() -> impl Strategy<Value = Threshold> {
    any_thresholds().prop_filter("it can hold", |threshold| threshold.checked().is_ok())
}

proptest! {
    #[test]
    fn a_threshold_is_refused_when_no_value_can_be_found_to_lie_as_it_asks(
        threshold in any_thresholds(),
    ) {
        let max = match threshold.metric.kind().unwrap() {
            MetricKind::Share => u64::from(PPM),
            MetricKind::Time | MetricKind::Count | MetricKind::Rate => u64::MAX,
        };
        let can_hold = [0, threshold.limit, max]
            .into_iter()
            .any(|observed| threshold.comparison.holds(observed, threshold.limit));
        let is_upper = matches!(
            threshold.comparison,
            Comparison::Less | Comparison::LessOrEqual
        );
        let is_proved = threshold.metric != Metric::Spread
            || !is_upper
            || threshold.limit > SPREAD_PROVED_NS;
        let can_hold = can_hold && is_proved;
        prop_assert_eq!(threshold.checked().is_ok(), can_hold);
        prop_assert_eq!(Threshold::try_from(&threshold.to_proto()).is_ok(), can_hold);
        prop_assert_eq!(threshold.to_string().parse::<Threshold>().is_ok(), can_hold);
    }

    #[test]
    fn a_threshold_survives_its_text_and_the_api(threshold in thresholds()) {
        prop_assert_eq!(threshold.to_string().parse(), Ok(threshold));
        prop_assert_eq!(Threshold::try_from(&threshold.to_proto()), Ok(threshold));
    }

    #[test]
    fn any_text_is_a_threshold_or_is_refused_at_a_place_in_it(
        text in prop_oneof![any::<String>(), "[a-z:. _=<>0-9%é]{0,20}"],
    ) {
        for bad in [
            text.parse::<Threshold>().err(),
            text.parse::<AskedThreshold>().err(),
        ].into_iter().flatten() {
            prop_assert!(text.is_char_boundary(bad.byte), "{bad:?}");
        }
    }

    #[test]
    fn a_threshold_of_a_group_has_its_name_before_it(threshold in thresholds()) {
        let asked: AskedThreshold = format!("front-1:{threshold}").parse().unwrap();
        prop_assert_eq!(asked.group.as_deref(), Some("front-1"));
        prop_assert_eq!(asked.threshold, threshold);
        let asked: AskedThreshold = threshold.to_string().parse().unwrap();
        prop_assert_eq!((asked.group, asked.threshold), (None, threshold));
    }
}

#[test]
fn rtt_is_short_for_the_round_trip_from_due() {
    let long: Threshold = "rtt_from_due.p99<1ms".parse().unwrap();
    assert_eq!("rtt.p99<1ms".parse(), Ok(long));
    assert_eq!(long.to_string(), "rtt_from_due.p99<1ms");
    let problem = "rtt<1ms".parse::<Threshold>().unwrap_err().problem;
    assert!(problem.contains("rtt.p99"), "{problem}");
}

#[test]
fn thresholds_are_written_as_users_write_them() {
    let time = |metric, ppm, comparison, limit| Threshold {
        metric,
        quantile_ppm: Some(ppm),
        comparison,
        limit,
    };
    for (text, expected) in [
        (
            "latency.p99<200us",
            time(Metric::Latency, 990_000, Comparison::Less, 200_000),
        ),
        (
            " spread.p99.99 <= 15.5 ms ",
            time(Metric::Spread, 999_900, Comparison::LessOrEqual, 15_500_000),
        ),
        (
            "lateness.max<1s",
            time(Metric::Lateness, PPM, Comparison::Less, 1_000_000_000),
        ),
    ] {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
    for (text, part) in [
        ("latency.mean<50", "with a unit"),
        ("latency.means<50us", "mean is the mean"),
        ("rate.mean>=99%", "no quantiles"),
        ("rate>=99.5", "whole packets per second"),
        ("rate>=1.5/s", "whole packets per second"),
        ("rate>=99k/h", "no rate"),
        ("rate>=k/s", "no rate"),
        ("rate>=101%", "no share"),
        ("rate<0", "never hold"),
        ("rate>100%", "never hold"),
        ("spread.mean<10ms", "known to 10 ms"),
        ("latency.p99", "comparison is missing"),
        ("latency<1ms", "needs a quantile"),
        ("latency.p99<200", "with a unit"),
        ("latency.p100<1ms", "no quantile"),
        ("latency.p0<1ms", "no quantile"),
        ("lost.p99==0", "no quantiles"),
        ("lots==0", "no metric"),
        ("lost=-1", "no number"),
        ("kept_up>=101%", "no share"),
        ("kept_up>=99.9", "no share"),
        ("latency.p99<NaNms", "no time"),
        ("latency.p99<=0.4ns", "no time"),
        ("latency.p99<=-0.4ns", "no time"),
        ("kept_up>=0.00001%", "no share"),
        ("kept_up>=99.99999%", "steps of 0.0001%"),
        ("latency.p99<=1.6ns", "whole ns"),
        ("latency.p99<1.0000001ms", "whole ns"),
        ("latency.p99<1e3ms", "no time"),
        ("latency.p99<10000000000s", "no time"),
        ("latency.p99.00001<1ms", "no quantile"),
        ("latency.p50.00000000001<1ms", "no quantile"),
        ("latency.p99<0ns", "never hold"),
        ("lost<0", "never hold"),
        ("kept_up>100%", "never hold"),
        ("lost>18446744073709551615", "never hold"),
        ("spread.p99<10ms", "known to 10 ms"),
    ] {
        let error = text.parse::<Threshold>().unwrap_err().problem;
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_rate_is_a_share_with_a_percent_sign_and_packets_a_second_without_one() {
    for (text, metric, limit, written) in [
        ("rate>=99%", Metric::RateShare, 990_000, "rate>=99%"),
        ("rate >= 99.5 %", Metric::RateShare, 995_000, "rate>=99.5%"),
        ("rate>=99k/s", Metric::Rate, 99_000, "rate>=99k/s"),
        ("rate>=99000", Metric::Rate, 99_000, "rate>=99k/s"),
        ("rate>=99000/s", Metric::Rate, 99_000, "rate>=99k/s"),
        ("rate<1.5M/s", Metric::Rate, 1_500_000, "rate<1500k/s"),
        ("rate>1M", Metric::Rate, 1_000_000, "rate>1M/s"),
        ("rate>=999", Metric::Rate, 999, "rate>=999/s"),
        ("rate==0", Metric::Rate, 0, "rate==0/s"),
    ] {
        let threshold: Threshold = text.parse().unwrap();
        assert_eq!(
            (threshold.metric, threshold.limit),
            (metric, limit),
            "{text}"
        );
        assert_eq!(threshold.to_string(), written);
        assert_eq!(threshold.statistic_name(), None);
    }
}

#[test]
fn a_mean_is_a_time_without_a_quantile() {
    let threshold: Threshold = "latency.mean<50us".parse().unwrap();
    assert!(threshold.is_mean());
    assert_eq!(threshold.statistic_name().as_deref(), Some("mean"));
    assert_eq!(threshold.to_string(), "latency.mean<50us");
    let mut bad = threshold.to_proto();
    bad.statistic = Some(Statistic::Mean(false));
    assert!(Threshold::try_from(&bad).is_err());
    let mut count = "lost==0".parse::<Threshold>().unwrap().to_proto();
    count.statistic = Some(Statistic::Mean(true));
    assert!(Threshold::try_from(&count).is_err());
}

#[test]
fn what_is_wrong_with_a_threshold_has_its_place_in_the_text() {
    for (text, byte, part) in [
        ("latncy.p99<200us", 0, "no metric"),
        (" latency.q99 < 200us", 9, "no quantile"),
        ("latency<200us", 7, "needs a quantile"),
        ("lost.p99==0", 4, "no quantiles"),
        ("latency.p99<200", 12, "with a unit"),
        ("latency.p99 < 200 ", 14, "with a unit"),
        ("rate>=1.5", 6, "whole packets per second"),
        ("lost<=5ms", 6, "whole ones without a unit"),
        ("kept_up>=1s", 9, "no share"),
        ("latency.p99 ", 11, "comparison is missing"),
        ("spread.p99<10ms", 0, "known to 10 ms"),
        ("sensors:latency.q99<200us", 16, "no quantile"),
        ("sensors: lots==0", 9, "no metric"),
        (" Sensors:lost==0", 1, "no name of a group"),
        (":lost==0", 0, "no name of a group"),
    ] {
        let bad = text.parse::<AskedThreshold>().unwrap_err();
        assert_eq!(bad.byte, byte, "{text}: {bad}");
        assert!(bad.problem.contains(part), "{text}: {bad}");
    }
    let metrics = metrics_in_words();
    for metric in METRICS {
        assert!(metrics.contains(metric.word().unwrap()), "{metrics}");
    }
}

#[test]
fn a_time_is_written_in_the_largest_unit_that_it_is_whole_in() {
    for text in [
        "latency.p99<200us",
        "latency.p99<1500us",
        "spread.p99.9<=20ms",
        "transit.max<3s",
        "lateness.max<=999ns",
        "lateness.max<=0ns",
        "kept_up>=99.9%",
    ] {
        let threshold: Threshold = text.parse().unwrap();
        assert_eq!(threshold.to_string(), text);
    }
}

#[test]
fn a_limit_is_kept_exactly_as_it_is_written() {
    for (text, limit) in [
        ("kept_up>=99.9999%", 999_999),
        ("kept_up>=99.90000000 %", 999_000),
        ("latency.p99<1.000001ms", 1_000_001),
        ("latency.p99<9223372036.854775807s", i64::MAX as u64),
        ("lost<18446744073709551615", u64::MAX),
    ] {
        let threshold: Threshold = text.parse().unwrap();
        assert_eq!(threshold.limit, limit, "{text}");
    }
}

#[test]
fn the_examples_in_an_error_are_thresholds() {
    let error = "latency.p99".parse::<Threshold>().unwrap_err().problem;
    let words = error.split([' ', ',']);
    let examples = words.filter(|word| word.parse::<Threshold>().is_ok());
    assert_eq!(examples.count(), 3, "{error}");
}

#[test]
fn equality_is_written_in_one_way_and_read_in_two() {
    for text in ["lost=0", "lost==0", "lost = 0"] {
        let threshold: Threshold = text.parse().unwrap();
        assert_eq!(threshold.to_string(), "lost==0");
    }
}

#[test]
fn a_quantile_has_the_name_of_its_percentile() {
    for (ppm, name) in [
        (500_000, "p50"),
        (999_000, "p99.9"),
        (999_900, "p99.99"),
        (50_000, "p5"),
        (1, "p0.0001"),
        (PPM, "max"),
    ] {
        assert_eq!(quantile_name(ppm), name);
    }
}

#[test]
fn what_no_threshold_can_be_is_refused() {
    let good: Threshold = "latency.p99<200us".parse().unwrap();
    let good = good.to_proto();
    for spoil in [
        |threshold: &mut v1::Threshold| threshold.metric = 99,
        |threshold: &mut v1::Threshold| threshold.comparison = 0,
        |threshold: &mut v1::Threshold| threshold.statistic = None,
        |threshold: &mut v1::Threshold| threshold.statistic = Some(Statistic::QuantilePpm(0)),
        |threshold: &mut v1::Threshold| {
            threshold.statistic = Some(Statistic::QuantilePpm(PPM + 1));
        },
        |threshold: &mut v1::Threshold| threshold.limit = None,
        |threshold: &mut v1::Threshold| threshold.limit = Some(Limit::Count(1)),
        |threshold: &mut v1::Threshold| threshold.limit = Some(Limit::Ns(-1)),
        |threshold: &mut v1::Threshold| threshold.limit = Some(Limit::Ns(0)),
    ] {
        let mut threshold = good;
        spoil(&mut threshold);
        assert!(Threshold::try_from(&threshold).is_err(), "{threshold:?}");
    }
    let mut share = "kept_up<=100%".parse::<Threshold>().unwrap().to_proto();
    assert!(Threshold::try_from(&share).is_ok());
    share.limit = Some(Limit::SharePpm(PPM + 1));
    assert!(Threshold::try_from(&share).is_err());
}

#[test]
fn each_comparison_holds_on_its_side_of_the_limit() {
    for (comparison, expected) in [
        (Comparison::Less, [true, false, false]),
        (Comparison::LessOrEqual, [true, true, false]),
        (Comparison::Equal, [false, true, false]),
        (Comparison::GreaterOrEqual, [false, true, true]),
        (Comparison::Greater, [false, false, true]),
    ] {
        assert_eq!([4, 5, 6].map(|of| comparison.holds(of, 5)), expected);
    }
}
