//! A profile survives its text and the API, and what is none is refused by the name of its field.

use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000_000;

fn rates() -> impl Strategy<Value = u64> {
    RATE_MILLIHERTZ_MIN..=RATE_MILLIHERTZ_MAX
}

fn spans() -> impl Strategy<Value = u64> {
    prop_oneof![1..=100_u64, 1..=86_400 * S]
}

/// Profiles whose text a flag reads.
fn rates_as_text() -> impl Strategy<Value = Profile> {
    prop_oneof![
        Just(Profile::Flood),
        rates().prop_map(Profile::constant),
        (0..=RATE_MILLIHERTZ_MAX, rates(), any::<bool>()).prop_map(|(one, other, rises)| {
            let (from_millihertz, to_millihertz) = if rises { (one, other) } else { (other, one) };
            Profile::Ramp {
                from_millihertz,
                to_millihertz,
            }
        }),
        // One step alone reads as a constant rate.
        (
            prop::collection::vec((0..=RATE_MILLIHERTZ_MAX, spans()), 1..STEPS_MAX),
            rates()
        )
            .prop_map(|(steps, last)| {
                let steps = steps.into_iter().chain([(last, 0)]);
                let steps = steps.map(|(rate_millihertz, lasts_ns)| Step {
                    rate_millihertz,
                    lasts_ns,
                });
                Profile::Steps(Steps::new(&steps.collect::<Vec<_>>()).unwrap())
            }),
    ]
}

fn profiles() -> impl Strategy<Value = Profile> {
    prop_oneof![
        rates_as_text(),
        (1..=POISSON_MILLIHERTZ_MAX)
            .prop_map(|rate_millihertz| Profile::Poisson { rate_millihertz }),
        (1..=BURST_PACKETS_MAX, 0..=998 * S).prop_map(|(packets, more_ns)| Profile::Burst {
            packets,
            every_ns: u64::from(packets) * 1_000 + more_ns,
        }),
        (rates(), spans(), spans()).prop_map(|(rate_millihertz, on_ns, off_ns)| {
            Profile::OnOff {
                rate_millihertz,
                on_ns,
                off_ns,
            }
        }),
    ]
}

#[test]
fn a_rate_takes_thousands_and_millions_and_may_be_the_greatest() {
    for (text, millihertz) in [
        ("10000", 10_000_000),
        ("10k", 10_000_000),
        ("10K", 10_000_000),
        ("0.5k", 500_000),
        // As floats, 1.005 × 10^6 is no whole number.
        ("1.005k", 1_005_000),
        ("1M", 1_000_000_000),
        ("0.001", 1),
        ("33.333", 33_333),
        ("0", 0),
    ] {
        assert_eq!(text.parse(), Ok(Profile::constant(millihertz)), "{text}");
    }
    assert_eq!("max".parse(), Ok(Profile::Flood));
}

#[test]
fn two_dots_are_a_ramp_and_times_are_steps() {
    assert_eq!(
        "0..20k".parse(),
        Ok(Profile::Ramp {
            from_millihertz: 0,
            to_millihertz: 20_000_000
        })
    );
    let step = |rate_millihertz, lasts_ns| Step {
        rate_millihertz,
        lasts_ns,
    };
    let steps = [
        step(1_000_000, 5 * S),
        step(0, S / 4),
        step(5_000_000, 90 * S),
        step(10_000_000, 0),
    ];
    let profile = Profile::Steps(Steps::new(&steps).unwrap());
    assert_eq!("1k:5s,0:250ms,5k:1m30s,10k".parse(), Ok(profile));
    assert_eq!("1k:5,0:0.25,5k:90,10k".parse(), Ok(profile));
    assert_eq!(profile.to_string(), "1000:5s,0:250ms,5000:1m30s,10000");
    assert_eq!(Steps::new(&steps).unwrap().last_begins_ns(), 95 * S + S / 4);
}

#[test]
fn a_text_that_is_no_profile_is_refused_with_what_is_wrong() {
    for text in [
        "",
        "k",
        "ten",
        "10kk",
        "10 k",
        "10m",
        "Max",
        "maximum",
        "NaN",
        "-1",
        "inf",
        "1e300",
        "0.0014",
        "0.0001",
        "2000.0004",
        "1e3",
        "..",
        "1k..",
        "..1k",
        "1k..max",
        "1..2..3",
        "1k...2k",
        "-1..1",
        "1k,2k..3k",
        ":",
        ",",
        "1k:5s",
        "1k:5s,",
        "1k,5k",
        "1k:5s:6s,5k",
        "max:5s,1k",
        "1k:x,5k",
        "1k:0s,5k",
        "1k:-5s,5k",
        "1k:NaN,5k",
        "1k:1e300,5k",
    ] {
        assert!(text.parse::<Profile>().is_err(), "{text}");
    }
    let many = "1:1s,".repeat(STEPS_MAX) + "1";
    for (text, part) in [
        ("0.0014", "the nearest one is 0.001"),
        ("2000.0004", "the nearest one is 2000"),
        ("1e3", "the nearest one is 1000"),
        ("0.0001", "0.001 to 1,000,000"),
        ("1e12", "0.001 to 1,000,000"),
        ("1k:5s", "the last rate stays to the end of the run"),
        ("1k,5k", "\"1k\" has no time; write RATE:TIME"),
        ("1k:-5s,5k", "a rate lasts more than 0 s"),
        ("1k:0s,5k", "a rate lasts more than 0 s"),
        ("1k:x,5k", "\"x\": a time is seconds"),
        (&many, "33 rates are too many; 1 to 32"),
        ("", "a ramp such as 1k..20k"),
    ] {
        let error = text.parse::<Profile>().unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_other_shapes_are_shown_by_what_they_consist_of() {
    let (on_ns, off_ns) = (S / 5, 4 * S / 5);
    for (profile, text) in [
        (
            Profile::Poisson {
                rate_millihertz: 10_000_000,
            },
            "10000 poisson",
        ),
        (
            Profile::Burst {
                packets: 50,
                every_ns: S / 10,
            },
            "50 every 100ms",
        ),
        (
            Profile::OnOff {
                rate_millihertz: 1_500,
                on_ns,
                off_ns,
            },
            "1.5, on 200ms, off 800ms",
        ),
    ] {
        assert_eq!(profile.to_string(), text);
    }
}

#[test]
fn the_highest_rate_of_a_burst_is_rounded_up_and_a_flood_has_none() {
    let burst = |packets, every_ns| Profile::Burst { packets, every_ns }.highest_millihertz();
    assert_eq!(burst(1, 3 * S), Some(334));
    assert_eq!(burst(50, S / 10), Some(500_000));
    let ramp = "5..2".parse::<Profile>().unwrap();
    assert_eq!(ramp.highest_millihertz(), Some(5_000));
    let steps = "1:1s,7:1s,2".parse::<Profile>().unwrap();
    assert_eq!(steps.highest_millihertz(), Some(7_000));
    assert_eq!(Profile::Flood.highest_millihertz(), None);
}

fn duration(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

#[track_caller]
fn refused(shape: v1::profile::Shape, wanted: &str, part: &str) {
    let profile = v1::Profile { shape: Some(shape) };
    match Profile::try_from(&profile) {
        Err(BadProfile::Field { field, problem }) => {
            assert_eq!(field, wanted, "{problem}");
            assert!(problem.contains(part), "{field}: {problem}");
        }
        other => panic!("{wanted}: {other:?}"),
    }
}

#[test]
fn a_rate_out_of_its_range_is_refused_by_the_name_of_its_field() {
    use v1::profile::Shape;
    assert_eq!(
        Profile::try_from(&v1::Profile { shape: None }),
        Err(BadProfile::Unsupported)
    );
    for rate_millihertz in [0, RATE_MILLIHERTZ_MAX + 1, u64::MAX] {
        let part = "0.001 to 1,000,000";
        let constant = v1::Constant { rate_millihertz };
        refused(Shape::Constant(constant), "constant.rate_millihertz", part);
        let on_off = v1::OnOff {
            rate_millihertz,
            on: duration(1, 0),
            off: duration(1, 0),
        };
        refused(Shape::OnOff(on_off), "on_off.rate_millihertz", part);
        let poisson = Shape::Poisson(v1::Poisson { rate_millihertz });
        refused(poisson, "poisson.rate_millihertz", "0.001 to 1");
    }
    let poisson = v1::Poisson {
        rate_millihertz: POISSON_MILLIHERTZ_MAX + 1,
    };
    refused(
        Shape::Poisson(poisson),
        "poisson.rate_millihertz",
        "0.001 to 100000 per client are allowed for random arrivals, so use more clients",
    );
    let ramp = |from_millihertz, to_millihertz| {
        Shape::Ramp(v1::Ramp {
            from_millihertz,
            to_millihertz,
        })
    };
    refused(ramp(0, 0), "ramp", "from 0 to 0 is no load");
    let (most, part) = (RATE_MILLIHERTZ_MAX, "0.001 to 1,000,000");
    refused(ramp(most + 1, 0), "ramp.from_millihertz", part);
    refused(ramp(0, u64::MAX), "ramp.to_millihertz", part);
}

#[test]
fn bursts_that_overlap_or_are_too_far_apart_are_refused() {
    use v1::profile::Shape;
    let burst = |packets, every| Shape::Burst(v1::Burst { packets, every });
    for packets in [0, BURST_PACKETS_MAX + 1, u32::MAX] {
        let part = "1 to 1000000 packets are allowed";
        refused(burst(packets, duration(999, 0)), "burst.packets", part);
    }
    let every = "burst.every";
    refused(burst(1, None), every, "missing; give more than 0 s");
    refused(burst(1, duration(0, 0)), every, "0 s is out of range");
    refused(burst(1, duration(-1, 0)), every, "-1 s is out of range");
    refused(burst(1, duration(1000, 1)), every, "at most 1000s");
    let part = "bursts of 50 packets every 49.999µs overlap; allow 1 µs for each packet, so at \
                least 50µs";
    refused(burst(50, duration(0, 49_999)), every, part);
    let exact = v1::Profile {
        shape: Some(burst(50, duration(0, 50_000))),
    };
    assert!(Profile::try_from(&exact).is_ok());
}

#[test]
fn a_time_of_steps_and_of_silence_goes_forward() {
    use v1::profile::Shape;
    for (bad, part) in [
        (None, "missing; give more than 0 s"),
        (duration(0, 0), "0 s is out of range"),
        (
            duration(-5, 0),
            "-5 s is out of range; more than 0 s, at most 24 h",
        ),
        (duration(0, -1), "out of range"),
        (duration(86_400, 1), "out of range"),
        (duration(i64::MIN, i32::MIN), "out of range"),
        (duration(i64::MAX, i32::MAX), "out of range"),
    ] {
        let step = |duration| v1::Step {
            rate_millihertz: 1,
            duration,
        };
        let steps = vec![step(duration(1, 0)), step(bad), step(None)];
        let steps = Shape::Steps(v1::Steps { steps });
        refused(steps, "steps.steps[1].duration", part);
        let on_off = |on, off| {
            Shape::OnOff(v1::OnOff {
                rate_millihertz: 1,
                on,
                off,
            })
        };
        refused(on_off(bad, duration(1, 0)), "on_off.on", part);
        refused(on_off(duration(1, 0), bad), "on_off.off", part);
    }
}

#[test]
fn steps_are_some_and_not_too_many_and_not_all_silent() {
    use v1::profile::Shape;
    let steps = |rates: &[u64], last| {
        let step = |(index, &rate_millihertz): (usize, &u64)| v1::Step {
            rate_millihertz,
            duration: if index + 1 < rates.len() {
                duration(1, 0)
            } else {
                last
            },
        };
        let steps = rates.iter().enumerate().map(step).collect();
        Shape::Steps(v1::Steps { steps })
    };
    let field = "steps.steps";
    refused(steps(&[], None), field, "0 rates; 1 to 32 are allowed");
    refused(steps(&[1; STEPS_MAX + 1], None), field, "33 rates; 1 to 32");
    refused(steps(&[0, 0], None), field, "no rate is above 0");
    refused(
        steps(&[1, 1], duration(1, 0)),
        "steps.steps[1].duration",
        "the last rate stays to the end of the run",
    );
    refused(
        steps(&[1, RATE_MILLIHERTZ_MAX + 1, 1], None),
        "steps.steps[1].rate_millihertz",
        "0.001 to 1,000,000",
    );
    assert_eq!(Steps::new(&[]), None);
    assert_eq!(Steps::new(&[Step::default(); STEPS_MAX + 1]), None);
    assert!(Steps::new(&[Step::default(); STEPS_MAX]).is_some());
}

proptest! {
    #[test]
    fn any_text_is_a_profile_or_is_refused(text: String) {
        let _ = text.parse::<Profile>();
    }

    #[test]
    fn any_text_that_looks_like_rates_is_a_profile_or_is_refused(
        text in "[0-9kM.:,sm-]{0,24}",
    ) {
        let _ = text.parse::<Profile>();
    }

    #[test]
    fn a_profile_survives_the_api(profile in profiles()) {
        prop_assert_eq!(Profile::try_from(&profile.to_proto()), Ok(profile));
    }

    #[test]
    fn a_rate_a_ramp_and_steps_survive_their_text(profile in rates_as_text()) {
        prop_assert_eq!(profile.to_string().parse(), Ok(profile));
    }
}
