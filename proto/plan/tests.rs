//! A plan is taken or refused by the name of its field, and what is taken survives the API.

use proptest::prelude::*;

use super::*;
use crate::limits::{BATCH_MAX, RATE_MILLIHERTZ_MAX, RATE_MILLIHERTZ_MIN};
use crate::profile::Profile;

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
        rate,
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
    unsupported(&changed(|p| p.groups.push(p.groups[0].clone())), "groups");
}

#[test]
fn the_plan_of_the_front_page_is_a_million_packets() {
    let plan = Plan::try_from(&plan(10, "10k".parse().unwrap(), 10, 0)).unwrap();
    assert_eq!(plan.load(&plan.groups[0]).packets(), Some(100_000));
    assert_eq!(plan.offered_millihertz(), Some(100_000_000));
    let group = &plan.groups[0];
    assert_eq!(
        (group.name.as_str(), group.batch, plan.threads, group.phase),
        (GROUP_DEFAULT, 1, 1, v1::Phase::Staggered)
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
        rate_millihertz in RATE_MILLIHERTZ_MIN..1_000_000,
        ms in 1..86_400_000_i64,
    ) {
        let nanos = (ms % 1000) as i32 * 1_000_000;
        let plan = plan(clients, Profile::constant(rate_millihertz), ms / 1000, nanos);
        let plan = Plan::try_from(&plan).unwrap();
        let expected = (rate_millihertz as f64 * ms as f64 / 1e6).max(1.0);
        prop_assert!((plan.load(&plan.groups[0]).packets().unwrap() as f64 - expected).abs() <= 1.0);
        prop_assert_eq!(Plan::try_from(&plan.to_proto()), Ok(plan));
    }
}
