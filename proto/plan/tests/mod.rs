//! A plan is taken or refused by the name of its field, and what is taken survives the API.

mod thresholds;

use proptest::prelude::*;

use super::*;
use crate::{
    limits::{BATCH_MAX, RATE_MILLIHERTZ_MAX, TOTAL_RATE_MILLIHERTZ_MAX},
    profile::Profile,
};

fn plan(clients: u32, profile: Profile, seconds: i64, nanos: i32) -> v1::Plan {
    let group = v1::Group {
        clients,
        profile: Some(profile.to_proto()),
        ..v1::Group::default()
    };
    v1::Plan {
        groups: vec![group],
        duration: Some(prost_types::Duration { seconds, nanos }),
        ..v1::Plan::default()
    }
}

/// A plan within the limits, with one change.
fn changed(change: impl FnOnce(&mut v1::Plan)) -> v1::Plan {
    let mut plan = plan(1, Profile::constant(1_000), 1, 0);
    change(&mut plan);
    plan
}

#[track_caller]
fn refused(plan: &v1::Plan, field: &str) -> FieldErrorKind {
    let error = Plan::try_from(plan).expect_err("out of range");
    assert_eq!(error.field, field, "{error}");
    assert!(error.problem.len() > 20, "{error}");
    error.kind
}

#[test]
fn what_is_out_of_range_is_refused_by_the_name_of_its_field() {
    let refused = |plan: &v1::Plan, field: &str| {
        assert_eq!(refused(plan, field), FieldErrorKind::OutOfRange, "{field}");
    };
    for clients in [0, CLIENTS_MAX + 1, u32::MAX] {
        refused(
            &changed(|p| p.groups[0].clients = clients),
            "groups[0].clients",
        );
    }
    let rate = "groups[0].profile.constant.rate_millihertz";
    for rate_millihertz in [0, RATE_MILLIHERTZ_MAX + 1, u64::MAX] {
        refused(&plan(1, Profile::constant(rate_millihertz), 1, 0), rate);
    }
    refused(
        &plan(11, Profile::constant(RATE_MILLIHERTZ_MAX), 1, 0),
        "groups",
    );
    refused(
        &changed(|p| p.groups[0].profile = None),
        "groups[0].profile",
    );
    refused(&changed(|p| p.groups.clear()), "groups");
    for (seconds, nanos) in [
        (0, 0),
        (-1, 0),
        (0, 999_999),
        (31_536_000, 0),
        (86_400, 1),
        (i64::MAX, i32::MAX),
        (i64::MIN, i32::MIN),
    ] {
        refused(&plan(1, Profile::Flood, seconds, nanos), "duration");
    }
    refused(&changed(|p| p.duration = None), "duration");
    refused(&changed(|p| p.groups[0].batch = 1025), "groups[0].batch");
    refused(&changed(|p| p.threads = 65), "threads");
    refused(
        &changed(|p| p.groups[0].name = "A".into()),
        "groups[0].name",
    );
    refused(&changed(|p| p.requires = vec![String::new()]), "requires");
    for names in [
        vec!["A"],
        vec![""],
        vec!["a\x1b[31m"],
        vec!["a", "a"],
        vec!["x"; 300],
    ] {
        let names = names.into_iter().map(String::from).collect();
        let agents = Some(v1::AgentSelector { names });
        refused(
            &changed(|p| p.groups[0].agents = agents),
            "groups[0].agents.names",
        );
    }
    for address in [
        "nohost",
        ":80",
        "h:0",
        "h:65536",
        "h h:80",
        "h\r\n:80",
        "2001:db8::7:80",
        "a~b:80",
        "user@h:80",
        "http://h:80",
        "::1:80",
        "[x]:80",
    ] {
        let kind = Some(v1::target::Kind::Receivers(v1::Receivers {
            address: address.into(),
        }));
        refused(
            &changed(|p| p.groups[0].target = Some(v1::Target { kind })),
            "groups[0].target.receivers.address",
        );
    }
}

#[test]
fn what_a_later_version_may_support_is_refused_as_that() {
    let unsupported = |plan: &v1::Plan, field: &str| {
        assert_eq!(refused(plan, field), FieldErrorKind::Unsupported, "{field}");
    };
    unsupported(
        &changed(|p| p.groups[0].profile = Some(v1::Profile { shape: None })),
        "groups[0].profile",
    );
    unsupported(&changed(|p| p.groups[0].phase = 9), "groups[0].phase");
    unsupported(&changed(|p| p.on_agent_loss = 3), "on_agent_loss");
    unsupported(
        &changed(|p| p.groups[0].target = Some(v1::Target { kind: None })),
        "groups[0].target",
    );
    unsupported(&changed(|p| p.requires = vec!["warp".into()]), "requires");
}

/// Groups of other names, so many clients each, with the same profile.
fn groups(number: usize, clients: u32, profile: Profile) -> Vec<v1::Group> {
    let group = |index: usize| v1::Group {
        name: format!("group-{index}"),
        clients,
        profile: Some(profile.to_proto()),
        ..v1::Group::default()
    };
    (0..number).map(group).collect()
}

/// The error of a plan whose field is the one expected, with this in its text.
#[track_caller]
fn refused_with(plan: &v1::Plan, field: &str, part: &str) {
    assert_eq!(refused(plan, field), FieldErrorKind::OutOfRange, "{field}");
    let problem = Plan::try_from(plan).unwrap_err().problem;
    assert!(problem.contains(part), "{field}: {problem}");
}

fn duration_of(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

#[test]
fn there_are_1_to_16_groups_each_with_a_name_of_its_own() {
    let of = |groups| changed(|p| p.groups = groups);
    let slow = Profile::constant(1_000);
    for number in [1, 2, GROUPS_MAX] {
        let plan = Plan::try_from(&of(groups(number, 3, slow))).unwrap();
        assert_eq!(plan.groups.len(), number);
        assert_eq!(Plan::try_from(&plan.to_proto()), Ok(plan));
    }
    refused_with(&of(Vec::new()), "groups", "0 groups; 1 to 16 are allowed");
    refused_with(&of(groups(17, 3, slow)), "groups", "17 groups; 1 to 16");
    let equal = changed(|p| {
        p.groups = groups(3, 3, slow);
        p.groups[2].name = "group-0".into();
    });
    let part = "\"group-0\" is the name of two groups; give each group a name of its own";
    refused_with(&equal, "groups[2].name", part);
    // Without a name both have the same.
    let nameless = changed(|p| p.groups.push(p.groups[0].clone()));
    refused_with(
        &nameless,
        "groups[1].name",
        "\"default\" is the name of two",
    );
    let second = changed(|p| {
        p.groups = groups(2, 3, slow);
        p.groups[1].batch = 1025;
    });
    refused(&second, "groups[1].batch");
}

#[test]
fn clients_and_rates_of_all_groups_together_have_a_limit() {
    let of = |groups| changed(|p| p.groups = groups);
    let slow = Profile::constant(1_000);
    let half = CLIENTS_MAX / 2;
    assert!(Plan::try_from(&of(groups(2, half, slow))).is_ok());
    let part = "10002 clients of all groups together are too many; at most 10000";
    refused_with(&of(groups(2, half + 1, slow)), "groups", part);
    // The sum of all numbers that a group may have fits no 16 bits, and no plan.
    refused(&of(groups(GROUPS_MAX, CLIENTS_MAX, slow)), "groups");
    let fast = Profile::constant(TOTAL_RATE_MILLIHERTZ_MAX / 16);
    assert!(Plan::try_from(&of(groups(16, 1, fast))).is_ok());
    let faster = Profile::constant(TOTAL_RATE_MILLIHERTZ_MAX / 16 + 1);
    refused_with(
        &of(groups(16, 1, faster)),
        "groups",
        "at their highest rates",
    );
    // The highest rate counts, not the mean.
    let ramp = Profile::Ramp {
        from_millihertz: 0,
        to_millihertz: RATE_MILLIHERTZ_MAX,
    };
    assert!(Plan::try_from(&of(groups(10, 1, ramp))).is_ok());
    refused_with(&of(groups(11, 1, ramp)), "groups", "11000000 packets/s");
}

#[test]
fn clients_of_groups_follow_one_another() {
    let plan = changed(|p| {
        p.groups = groups(3, 1, Profile::constant(1_000));
        p.groups[0].clients = 2;
        p.groups[1].clients = 7;
    });
    let plan = Plan::try_from(&plan).unwrap();
    let ranges = plan.clients_of_groups().map(|(range, _)| range);
    assert_eq!(ranges.collect::<Vec<_>>(), [0..2, 2..9, 9..10]);
    assert_eq!(plan.clients(), 10);
    let name = |client| plan.group_of(client).map(|group| group.name.as_str());
    assert_eq!(name(1), Some("group-0"));
    assert_eq!(name(2), Some("group-1"));
    assert_eq!(name(9), Some("group-2"));
    assert_eq!(name(10), None);
}

#[test]
fn a_warm_up_is_shorter_than_the_run_and_a_seed_is_a_number_of_json() {
    let of = |span| changed(|p| p.warm_up = span);
    let taken = |span| Plan::try_from(&of(duration_of(span))).unwrap().warm_up;
    assert_eq!(Plan::try_from(&of(None)).unwrap().warm_up, Duration::ZERO);
    for span in [Duration::ZERO, Duration::from_nanos(999_999_999)] {
        assert_eq!(taken(span), span);
    }
    let part = "1s is not less than the duration of 1s; shorten it or lengthen the run";
    refused_with(&of(duration_of(Duration::from_secs(1))), "warm_up", part);
    for (seconds, nanos) in [(-1, 0), (0, -1), (86_401, 0), (i64::MIN, i32::MIN)] {
        let span = Some(prost_types::Duration { seconds, nanos });
        refused_with(&of(span), "warm_up", "s is out of range; 0 s to 24 h");
    }
    for seed in [0, 1, SEED_MAX] {
        let plan = Plan::try_from(&changed(|p| p.seed = seed)).unwrap();
        assert_eq!(plan.seed, seed);
        assert_eq!(plan.load(&plan.groups[0]).seed, seed);
        assert_eq!(Plan::try_from(&plan.to_proto()), Ok(plan));
    }
    for seed in [SEED_MAX + 1, u64::MAX] {
        refused_with(&changed(|p| p.seed = seed), "seed", "1 to 9007199254740991");
    }
}

#[test]
fn a_period_of_each_group_fits_into_the_run() {
    let too_short = |text: &str, nanos| {
        let plan = plan(1, text.parse().unwrap(), 0, nanos);
        let part = "fits into the duration";
        refused_with(&plan, "groups[0].profile", part);
    };
    let taken = |profile: Profile, seconds, nanos| {
        let plan = Plan::try_from(&plan(1, profile, seconds, nanos)).unwrap();
        assert_ne!(plan.load(&plan.groups[0]).packets(), Some(0));
    };
    let ms = 1_000_000;
    too_short("10", 99 * ms);
    taken("10".parse().unwrap(), 0, 100 * ms);
    // Half of 20 packets/s for 0.1 s.
    too_short("0..20", 99 * ms);
    taken("0..20".parse().unwrap(), 0, 100 * ms);
    let poisson = Profile::Poisson {
        rate_millihertz: 10_000,
    };
    let part = "no period of 10 poisson fits into the duration of 99ms";
    refused_with(&plan(1, poisson, 0, 99 * ms), "groups[0].profile", part);
    taken(poisson, 0, 100 * ms);
    let burst = Profile::Burst {
        packets: 5,
        every_ns: 100_000_000,
    };
    refused(&plan(1, burst, 0, 99 * ms), "groups[0].profile");
    taken(burst, 0, 100 * ms);
    taken("max".parse().unwrap(), 0, ms);
    // The last of the groups alone.
    let second = changed(|p| {
        p.groups = groups(2, 1, Profile::constant(1_000));
        p.groups[1].profile = Some(Profile::constant(999).to_proto());
    });
    refused(&second, "groups[1].profile");
}

#[test]
fn the_last_step_begins_within_the_run() {
    let steps: Profile = "100:500ms,200:400ms,300".parse().unwrap();
    for nanos in [900_000_000, 899_999_999] {
        let part = "the last rate begins after 900ms, and the run lasts";
        let field = "groups[0].profile.steps.steps";
        refused_with(&plan(1, steps, 0, nanos), field, part);
    }
    assert!(Plan::try_from(&plan(1, steps, 0, 900_000_001)).is_ok());
}

#[test]
fn a_batch_fits_its_profile() {
    let of = |profile: Profile, batch| {
        let mut plan = plan(1, profile, 1, 0);
        plan.groups[0].batch = batch;
        plan
    };
    let poisson = Profile::Poisson {
        rate_millihertz: 1_000_000,
    };
    let part = "2 packets a write do not go with random arrivals";
    refused_with(&of(poisson, 2), "groups[0].batch", part);
    let burst = Profile::Burst {
        packets: 50,
        every_ns: 100_000_000,
    };
    let part = "51 packets a write are more than a burst has, and a write ends with its burst";
    refused_with(&of(burst, 51), "groups[0].batch", part);
    for (profile, batch, taken) in [(poisson, 0, 1), (poisson, 1, 1), (burst, 50, 50)] {
        let plan = Plan::try_from(&of(profile, batch)).unwrap();
        assert_eq!(plan.groups[0].batch, taken);
    }
}

#[test]
fn an_agent_needs_the_features_of_the_profiles_of_their_groups_and_of_their_phases() {
    let of = |change: fn(&mut v1::Plan)| Plan::try_from(&changed(change)).unwrap().features();
    assert_eq!(of(|_| {}), ["profile.constant", "phase.auto"]);
    let staggered = of(|p| p.groups[0].phase = v1::Phase::Staggered.into());
    assert_eq!(staggered, ["profile.constant"]);
    // What only the server does needs no feature of an agent.
    let warm = of(|p| {
        p.warm_up = duration_of(Duration::from_millis(1));
        p.groups[0].phase = v1::Phase::Spread.into();
        p.requires = vec!["warm_up".into()];
    });
    assert_eq!(warm, ["warm_up", "profile.constant"]);
    let mixed = of(|p| {
        p.groups = groups(7, 1, Profile::Flood);
        let shapes = [
            Profile::constant(10_000),
            Profile::Poisson {
                rate_millihertz: 10_000,
            },
            Profile::Burst {
                packets: 5,
                every_ns: 100_000_000,
            },
            "1..20".parse().unwrap(),
            "10:0.1s,20".parse().unwrap(),
            Profile::OnOff {
                rate_millihertz: 100_000,
                on_ns: 1_000_000,
                off_ns: 1_000_000,
            },
        ];
        for (group, shape) in p.groups.iter_mut().zip(shapes) {
            group.profile = Some(shape.to_proto());
            group.phase = v1::Phase::Aligned.into();
        }
    });
    let all = [
        "profile.constant",
        "profile.poisson",
        "profile.burst",
        "profile.ramp",
        "profile.steps",
        "profile.on_off",
        "profile.flood",
        "phase.auto",
        "groups",
    ];
    assert_eq!(mixed, all);
    assert_eq!(features::missing(&mixed, features::CAPABILITIES), None);
}

#[test]
fn the_offered_rate_is_the_sum_of_the_means_and_unknown_with_a_flood() {
    let of = |shapes: &[&str]| {
        let plan = changed(|p| {
            p.groups = groups(shapes.len(), 10, Profile::Flood);
            for (group, shape) in p.groups.iter_mut().zip(shapes) {
                group.profile = Some(shape.parse::<Profile>().unwrap().to_proto());
            }
        });
        Plan::try_from(&plan).unwrap().offered_millihertz()
    };
    assert_eq!(of(&["1k", "0..2k"]), Some(20_000_000));
    assert_eq!(of(&["1k", "max"]), None);
}

#[test]
fn the_plan_of_the_front_page_is_a_million_packets() {
    let plan = Plan::try_from(&plan(10, "10k".parse().unwrap(), 10, 0)).unwrap();
    assert_eq!(plan.load(&plan.groups[0]).packets(), Some(100_000));
    assert_eq!(plan.offered_millihertz(), Some(100_000_000));
    let group = &plan.groups[0];
    assert_eq!(
        (group.name.as_str(), group.batch, plan.threads, group.phase),
        (GROUP_DEFAULT, 1, 1, v1::Phase::Auto)
    );
}

#[test]
fn a_flood_plans_no_packets_and_fills_its_writes() {
    let flood = Plan::try_from(&plan(10, Profile::Flood, 10, 0)).unwrap();
    assert_eq!(
        (
            flood.groups[0].batch,
            flood.load(&flood.groups[0]).packets(),
            flood.offered_millihertz()
        ),
        (BATCH_MAX, None, None)
    );
    assert_eq!(Plan::try_from(&flood.to_proto()), Ok(flood));
}

proptest! {
    #[test]
    fn any_plan_is_taken_or_refused_and_what_is_taken_survives_the_api(
        clients in any::<u32>(),
        rate_millihertz in any::<Option<u64>>(),
        (seconds, nanos) in any::<(i64, i32)>(),
        (batch, phase, threads) in any::<(u32, i32, u32)>(),
        address in any::<Option<String>>(),
        name in any::<String>(),
    ) {
        let profile = rate_millihertz.map_or(Profile::Flood, Profile::constant);
        let mut plan = plan(clients, profile, seconds, nanos);
        plan.threads = threads;
        plan.groups[0].batch = batch;
        plan.groups[0].phase = phase;
        plan.groups[0].name = name;
        plan.groups[0].target = address.map(|address| v1::Target {
            kind: Some(v1::target::Kind::Receivers(v1::Receivers { address })),
        });
        if let Ok(plan) = Plan::try_from(&plan) {
            prop_assert_eq!(Plan::try_from(&plan.to_proto()), Ok(plan));
        }
    }

    #[test]
    fn a_plan_within_the_limits_is_taken(
        clients in 1..=CLIENTS_MAX,
        rate_millihertz in 1_000..1_000_000_u64,
        ms in 1_000..86_400_000_i64,
    ) {
        let nanos = (ms % 1000) as i32 * 1_000_000;
        let plan = plan(clients, Profile::constant(rate_millihertz), ms / 1000, nanos);
        let plan = Plan::try_from(&plan).unwrap();
        let expected = u128::from(rate_millihertz) * ms.unsigned_abs() as u128 / 1_000_000;
        let packets = plan.load(&plan.groups[0]).packets().unwrap();
        prop_assert_eq!(u128::from(packets), expected);
        prop_assert_eq!(Plan::try_from(&plan.to_proto()), Ok(plan));
    }
}
