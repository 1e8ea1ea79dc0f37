//! Runs of every shape and of several groups: what was sent as planned is valid, and what was not
//! is not, whatever figures go with it.

use std::time::Duration;

use metronome_proto::{
    load::Load,
    profile::{Profile, Step, Steps},
    v1::{GeneratorCounts, LawStatus, OutcomeStatus, ReasonCode, StopCause, VerdictStatus},
};

use crate::{
    model::{ClientStart, ClockRelation},
    verdict::samples::{START_NS, Sample, codes, due_times, law, plan, verdict},
};

/// Each shape at 1 kHz or about that in the mean, within the sample's 100 ms.
fn shapes() -> [(&'static str, Profile); 6] {
    let steps = [(500_000, 40), (0, 10), (2_000_000, 0)].map(|(rate_millihertz, ms)| Step {
        rate_millihertz,
        lasts_ns: ms * 1_000_000,
    });
    [
        ("constant", Profile::constant(1_000_000)),
        (
            "poisson",
            Profile::Poisson {
                rate_millihertz: 1_000_000,
            },
        ),
        (
            "burst",
            Profile::Burst {
                packets: 10,
                every_ns: 10_000_000,
            },
        ),
        (
            "ramp",
            Profile::Ramp {
                from_millihertz: 200_000,
                to_millihertz: 1_800_000,
            },
        ),
        ("steps", Profile::Steps(Steps::new(&steps).expect("steps"))),
        (
            "on_off",
            Profile::OnOff {
                rate_millihertz: 2_000_000,
                on_ns: 20_000_000,
                off_ns: 20_000_000,
            },
        ),
    ]
}

/// Two agents, each with two clients of one shape.
fn of(profile: Profile) -> Sample {
    Sample::of_plan(2, plan(&[(profile, 4)]))
}

/// A run of all shapes and a flood, a group each.
fn mixed() -> Sample {
    let groups: Vec<_> = shapes()
        .into_iter()
        .map(|(_, profile)| (profile, 2))
        .chain([(Profile::Flood, 2)])
        .collect();
    Sample::of_plan(2, plan(&groups))
}

#[track_caller]
fn is_valid(sample: &Sample, name: &str) {
    let conclusion = sample.conclude();
    assert_eq!(verdict(&conclusion).reasons, [], "{name}");
}

/// It is invalid, for this reason among others.
#[track_caller]
fn is_invalid(sample: &Sample, expected: ReasonCode, name: &str) {
    let conclusion = sample.conclude();
    let found = codes(&conclusion);
    assert!(found.contains(&expected), "{name}: {found:?}");
    assert_eq!(verdict(&conclusion).status(), VerdictStatus::Invalid);
    let sentences = verdict(&conclusion).reasons.iter();
    for sentence in sentences.map(|of| &of.sentence) {
        assert!(!sentence.contains('–'), "{name}: {sentence}");
    }
}

#[test]
fn a_run_of_each_shape_that_was_sent_as_planned_keeps_every_law() {
    for (name, profile) in shapes() {
        let sample = of(profile);
        is_valid(&sample, name);
        let conclusion = sample.conclude();
        let laws = &verdict(&conclusion).laws;
        let holds = laws.iter().all(|law| law.status() == LawStatus::Holds);
        assert!(holds, "{name}: {laws:?}");
    }
    is_valid(&mixed(), "mixed");
}

#[test]
fn a_client_of_each_shape_with_a_phase_keeps_every_law() {
    for (name, profile) in shapes() {
        let mut sample = of(profile);
        let load = sample.load_of(1);
        let schedule = load.schedule(0, 1).unwrap();
        let room_ns = schedule.room_ns(100_000_000);
        for (offset_ns, is_within) in [(room_ns.saturating_sub(1), true), (room_ns.max(1), false)] {
            sample.send_load(1, &load, offset_ns);
            sample.retime();
            if is_within {
                is_valid(&sample, name);
            } else {
                is_invalid(&sample, ReasonCode::StartedElsewhen, name);
            }
        }
    }
}

/// A client that sends this load instead of its own spoils the run.
fn is_found(mut sample: Sample, client: u32, load: &Load, name: &str) {
    sample.send_load(client, load, 0);
    sample.retime();
    let conclusion = sample.conclude();
    let status = verdict(&conclusion).status();
    assert_eq!(status, VerdictStatus::Invalid, "{name}");
}

#[test]
fn another_load_than_the_plans_is_found_in_each_shape() {
    for (name, profile) in shapes() {
        let honest = of(profile).load_of(1);
        let mut others: Vec<Load> = shapes()
            .into_iter()
            .filter(|(_, other)| *other != profile)
            .map(|(_, profile)| Load { profile, ..honest })
            .collect();
        // At another rate, and one that is over early.
        others.extend([0.9, 1.1].map(|factor| Load {
            duration: honest.duration.mul_f64(factor),
            ..honest
        }));
        if let Profile::Poisson { .. } = profile {
            others.push(Load { seed: 8, ..honest });
        }
        for other in others {
            if due_times(&other, 1) == due_times(&honest, 1) {
                continue;
            }
            is_found(of(profile), 1, &other, &format!("{name}: {other:?}"));
        }
    }
}

#[test]
fn a_client_that_sends_the_arrivals_of_another_one_is_found() {
    let (_, poisson) = shapes()[1];
    let mut sample = of(poisson);
    let due = due_times(&sample.load_of(2), 2);
    let start = ClientStart {
        start_ns: START_NS,
        offset_ns: 0,
    };
    let due: Vec<_> = due.iter().map(|due_ns| START_NS + due_ns).collect();
    sample.send_due(1, start, &due);
    sample.retime();
    is_invalid(&sample, ReasonCode::ScheduleNotFollowed, "poisson");
}

#[test]
fn a_packet_too_many_or_too_few_is_found_in_each_shape() {
    for (name, profile) in shapes() {
        for change in [-1_i64, 1] {
            let mut sample = of(profile);
            sample.reported_counts(1, |counts| {
                counts.scheduled = counts.scheduled.wrapping_add_signed(change);
                counts.sent = counts.scheduled;
            });
            is_invalid(&sample, ReasonCode::PlanNotScheduled, name);
        }
        // Both ends agree that the last packet was never due.
        let mut sample = of(profile);
        let mut due = due_times(&sample.load_of(1), 1);
        due.pop();
        let start = ClientStart {
            start_ns: START_NS,
            offset_ns: 0,
        };
        let due: Vec<_> = due.iter().map(|due_ns| START_NS + due_ns).collect();
        sample.send_due(1, start, &due);
        sample.retime();
        is_invalid(&sample, ReasonCode::PlanNotScheduled, name);
    }
}

#[test]
fn a_shifted_start_is_found_in_each_shape() {
    for (name, profile) in shapes() {
        for is_ours in [true, false] {
            let mut sample = of(profile);
            let due = due_times(&sample.load_of(1), 1);
            let start = ClientStart {
                start_ns: START_NS + 1_000,
                offset_ns: 0,
            };
            let due: Vec<_> = due.iter().map(|due_ns| start.start_ns + due_ns).collect();
            sample.send_due(1, start, &due);
            if is_ours {
                sample.retime();
            } else {
                sample.forget_clock(0);
            }
            is_invalid(&sample, ReasonCode::StartedElsewhen, name);
        }
        // The start of the schedule, but not of the packets.
        let mut sample = of(profile);
        sample.counted(1, |counted| {
            counted.first_due_ns += 1;
            counted.last_due_ns += 1;
        });
        let is_random = matches!(profile, Profile::Poisson { .. });
        if !is_random {
            is_invalid(&sample, ReasonCode::ScheduleNotFollowed, name);
        }
    }
}

#[test]
fn a_client_that_skips_keeps_the_laws_in_each_shape() {
    for (name, profile) in shapes() {
        let mut sample = of(profile);
        let all = due_times(&sample.load_of(1), 1);
        let start = ClientStart {
            start_ns: START_NS,
            offset_ns: 0,
        };
        // The first, some in the middle, and the last ones: of a burst the last of it.
        let sent = |index: &usize| !matches!(index, 0 | 35..=39) && index + 2 < all.len();
        let due: Vec<_> = (0..all.len())
            .filter(sent)
            .map(|index| START_NS + all[index])
            .collect();
        sample.send_due(1, start, &due);
        let skipped = (all.len() - due.len()) as u64;
        sample.reported_counts(1, |counts| {
            (counts.skipped, counts.blocked) = (skipped, skipped);
            counts.scheduled += skipped;
        });
        sample.retime();
        is_valid(&sample, name);
        // It claims that it left out fewer than it did.
        sample.reported_counts(1, |counts| {
            counts.skipped -= 3;
            counts.scheduled -= 3;
        });
        is_invalid(&sample, ReasonCode::PlanNotScheduled, name);
    }
}

#[test]
fn a_client_of_one_group_that_sends_the_load_of_another_is_found() {
    let sample = mixed();
    let clients = sample.plan.clients();
    for client in (0..clients).step_by(2) {
        for other in (1..clients).step_by(2) {
            let (own, load) = (sample.load_of(client), sample.load_of(other));
            let is_same = due_times(&own, client) == due_times(&load, client);
            if is_same || own.profile == Profile::Flood {
                continue;
            }
            is_found(mixed(), client, &load, &format!("{client} as {other}"));
        }
    }
}

#[test]
fn a_plan_of_floods_and_others_is_checked_for_those_that_plan_packets() {
    let conclusion = mixed().conclude();
    let planned = law(&conclusion, ReasonCode::PlanNotScheduled);
    assert_eq!(planned.status(), LawStatus::Holds);
    assert_eq!(planned.figures["clients"], 12_u32.into());
    assert_eq!(planned.figures["clients_total"], 14_u32.into());
    assert!(planned.sentence.contains("checked for 12 of 14 clients"));
}

/// Random arrivals at 100 kHz for 60 s, too many to be walked, of which the first client has sent
/// those of the first 20 ms.
fn long_arrivals() -> Sample {
    let mut sample = of(Profile::Poisson {
        rate_millihertz: 100_000_000,
    });
    let load = Load {
        duration: Duration::from_millis(20),
        ..sample.load_of(0)
    };
    sample.plan.duration = Duration::from_secs(60);
    sample.send_load(0, &load, 0);
    sample.retime();
    sample
}

/// How the law came out, and its sentence, where the first client has scheduled so many.
fn long_law(change: impl Fn(&mut GeneratorCounts)) -> (LawStatus, String) {
    let mut sample = long_arrivals();
    for client in 1..4 {
        sample.reported(client, |reported| reported.counts = None);
    }
    sample.reported_counts(0, change);
    let conclusion = sample.conclude();
    let planned = law(&conclusion, ReasonCode::PlanNotScheduled);
    (planned.status(), planned.sentence.clone())
}

#[test]
fn a_client_with_long_random_arrivals_that_quits_is_found() {
    is_invalid(&long_arrivals(), ReasonCode::PlanNotScheduled, "quits");
    let (status, sentence) = long_law(|_| {});
    assert_eq!(status, LawStatus::Broken);
    assert!(
        sentence.contains("clients with long random arrivals (1) by bounds: ")
            && !sentence.contains("0 = 0"),
        "{sentence}"
    );
    let first = sentence.split_once("first client 0: ").unwrap().1;
    assert!(
        first.contains(" of 5,97") && first.contains(" to 6,02"),
        "{sentence}"
    );
    // Of a run that was stopped it is not asked.
    let mut stopped = long_arrivals();
    stopped.stopped = Some(StopCause::Operator);
    let conclusion = stopped.conclude();
    let planned = law(&conclusion, ReasonCode::PlanNotScheduled);
    assert_eq!(planned.status(), LawStatus::Holds, "{planned:?}");
}

#[test]
fn long_random_arrivals_are_as_many_as_their_bounds_allow() {
    let claims = |scheduled: u64| {
        long_law(move |counts| {
            counts.skipped = scheduled - counts.sent;
            counts.scheduled = scheduled;
        })
        .0
    };
    for scheduled in [5_980_000, 6_000_000, 6_020_000] {
        assert_eq!(claims(scheduled), LawStatus::Holds, "{scheduled}");
    }
    for scheduled in [3_000, 5_970_000, 6_030_000, 1 << 63, u64::MAX] {
        assert_eq!(claims(scheduled), LawStatus::Broken, "{scheduled}");
    }
}

#[test]
fn a_client_that_skips_the_rest_of_long_random_arrivals_misses_its_objectives() {
    let mut sample = of(Profile::Poisson {
        rate_millihertz: 1_000_000,
    });
    let quits = |sample: &mut Sample| {
        for client in 0..4 {
            let load = Load {
                duration: Duration::from_millis(100),
                ..sample.load_of(client)
            };
            sample.send_load(client, &load, 0);
        }
        sample.retime();
    };
    sample.plan.duration = Duration::from_secs(1_200);
    quits(&mut sample);
    is_invalid(&sample, ReasonCode::PlanNotScheduled, "quits");
    for client in 0..4 {
        sample.reported_counts(client, |counts| {
            counts.skipped = 1_200_000 - counts.sent;
            counts.blocked = counts.skipped;
            counts.scheduled = 1_200_000;
        });
    }
    let conclusion = sample.conclude();
    let planned = law(&conclusion, ReasonCode::PlanNotScheduled);
    assert_eq!(planned.status(), LawStatus::Holds, "{planned:?}");
    assert_eq!(planned.figures["clients_by_bounds"], 4_u32.into());
    let outcome = conclusion.report.outcome.expect("it is judged");
    assert_eq!(outcome.status(), OutcomeStatus::NotHeld);
}

#[test]
fn a_client_whose_arrivals_plan_no_packet_has_sent_all_of_them() {
    let rare = Profile::Poisson {
        rate_millihertz: 10_000,
    };
    let sample = Sample::of_plan(2, plan(&[(rare, 10)]));
    let idle = (0..10).filter(|client| due_times(&sample.load_of(*client), *client).is_empty());
    assert!((1..10).contains(&idle.count()), "some and not all");
    is_valid(&sample, "rare arrivals");
}

#[test]
fn the_packets_of_a_warm_up_are_in_no_histogram_and_those_are_the_plans() {
    for (name, profile) in shapes() {
        let mut sample = of(profile);
        sample.warm_up(Duration::from_millis(30));
        is_valid(&sample, name);
        let warm_up = sample.counters().clients[1].counts.warm_up;
        assert!(warm_up.is_some_and(|packets| packets > 0), "{name}");
        if matches!(profile, Profile::Poisson { .. }) {
            continue;
        }
        for change in [-1_i64, 1] {
            let mut sample = of(profile);
            sample.warm_up(Duration::from_millis(30));
            sample.counted(1, |counted| {
                let warm_up = counted.counts.warm_up.as_mut().expect("it is counted");
                *warm_up = warm_up.wrapping_add_signed(change);
            });
            sample.retime();
            is_invalid(&sample, ReasonCode::HistogramMiscounted, name);
        }
    }
    let mut sample = mixed();
    sample.warm_up(Duration::from_millis(30));
    is_valid(&sample, "mixed");
    // Without one nothing is of it.
    let mut sample = mixed();
    sample.counted(13, |counted| counted.counts.warm_up = Some(1));
    sample.retime();
    is_invalid(&sample, ReasonCode::HistogramMiscounted, "a flood");
}

#[test]
fn times_that_are_put_down_to_another_group_are_found() {
    let mut sample = mixed();
    let mut groups = sample.counters().times_of_groups.clone();
    groups.swap(0, 6);
    sample.counters().times_of_groups = groups;
    let conclusion = sample.conclude();
    let counted = law(&conclusion, ReasonCode::HistogramMiscounted);
    assert_eq!(counted.status(), LawStatus::Broken);
    assert_eq!(counted.figures["group"], "default".into());
    assert!(
        counted.sentence.ends_with("in group default"),
        "{counted:?}"
    );
}

#[test]
fn a_run_whose_random_arrivals_are_none_at_all_is_invalid_and_names_the_draw() {
    let rare = Profile::Poisson {
        rate_millihertz: 1_000,
    };
    let sample = Sample::of_plan(2, plan(&[(rare, 2)]));
    assert!((0..2).all(|client| due_times(&sample.load_of(client), client).is_empty()));
    let conclusion = sample.conclude();
    assert_eq!(codes(&conclusion), [ReasonCode::NothingSent]);
    let reason = &verdict(&conclusion).reasons[0];
    assert_eq!(reason.status(), VerdictStatus::Invalid);
    assert!(reason.sentence.contains("with its seed"), "{reason:?}");
    assert!(reason.remedy.contains("longer --duration"), "{reason:?}");
}

#[test]
fn the_warm_up_of_a_flood_has_what_is_read_in_it() {
    let warm_up_ns = 30_000_000;
    let broken = |is_ours: bool, reads_ns: [u64; 2], warm_up: u64| {
        let mut sample = of(Profile::Flood);
        if !is_ours {
            sample.agents[0].share.clock = ClockRelation::Unknown;
        }
        sample.warm_up(Duration::from_nanos(warm_up_ns));
        sample.counted(0, |counted| {
            let [first, last] = reads_ns.map(|after_ns| START_NS + after_ns);
            (counted.first_read_ns, counted.last_read_ns) = (first, last);
            counted.counts.warm_up = Some(warm_up);
        });
        sample.retime();
        let conclusion = sample.conclude();
        law(&conclusion, ReasonCode::HistogramMiscounted).status() == LawStatus::Broken
    };
    for is_ours in [true, false] {
        assert!(!broken(is_ours, [0, warm_up_ns - 1], 100));
        assert!(broken(is_ours, [0, warm_up_ns - 1], 99));
        // Each packet may have been due in the warm-up, and the last one was read after it.
        assert!(!broken(is_ours, [0, warm_up_ns], 99));
    }
    assert!(broken(true, [warm_up_ns, 2 * warm_up_ns], 1));
    assert!(!broken(true, [warm_up_ns, 2 * warm_up_ns], 0));
    assert!(!broken(false, [warm_up_ns, 2 * warm_up_ns], 1));
    assert!(broken(false, [warm_up_ns, 2 * warm_up_ns - 1], 99));
}
