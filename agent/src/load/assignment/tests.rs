//! Orders that are followed and those that are not, and where clients begin.

use metronome_proto::profile::Profile;
use proptest::prelude::*;

use super::*;

fn share() -> v1::AgentShare {
    v1::AgentShare {
        echo_every: 0,
        packet_bytes: 32,
        payload: None,
        group: "default".into(),
        first_client: 10,
        clients: 10,
        clients_total: 20,
        profile: Some(Profile::constant(10_000_000).to_proto()),
        batch: 1,
        phase: v1::Phase::Spread.into(),
        target: target(":8888"),
        first_in_group: 10,
    }
}

/// A share of another group, with the clients behind a gap.
fn next_share() -> v1::AgentShare {
    v1::AgentShare {
        group: "others".into(),
        first_client: 25,
        clients: 5,
        clients_total: 5,
        first_in_group: 0,
        target: target("other:9999"),
        ..share()
    }
}

fn target(address: &str) -> Option<v1::Target> {
    let address = address.into();
    Some(v1::Target {
        kind: Some(v1::target::Kind::Receivers(v1::Receivers { address })),
    })
}

fn prepare(share: v1::AgentShare) -> v1::Prepare {
    v1::Prepare {
        warm_up: None,
        probe_every: None,
        run_id: RunId::from_bits(7).to_string(),
        agent_index: 1,
        shares: vec![share],
        duration: Some(seconds(1, 0)),
        threads: 3,
        key: vec![1; 32],
        deadline: Some(seconds(10, 0)),
        traceparent: String::new(),
        tracestate: String::new(),
        requires: vec![features::CONSTANT.into()],
        seed: 11,
    }
}

fn seconds(seconds: i64, nanos: i32) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos }
}

/// The failure of an order that is bad by one `change`.
#[track_caller]
fn failure(change: impl FnOnce(&mut v1::Prepare)) -> Failure {
    let mut prepare = prepare(share());
    change(&mut prepare);
    Assignment::from_prepare(&prepare, "h")
        .expect_err("a bad order")
        .failure()
}

#[track_caller]
fn refused(field: &str, change: impl FnOnce(&mut v1::Prepare)) {
    let failure = failure(change);
    assert_eq!(failure.code(), FailureCode::OrderNotFollowed, "{failure:?}");
    assert_eq!(failure.figures["field"], field.into());
}

#[track_caller]
fn unsupported(figure: &str, name: &str, change: impl FnOnce(&mut v1::Prepare)) {
    let failure = failure(change);
    assert_eq!(failure.code(), FailureCode::Unsupported, "{failure:?}");
    assert_eq!(failure.figures.len(), 1, "{failure:?}");
    assert_eq!(failure.figures[figure], name.into());
}

#[test]
fn the_warm_up_and_the_groups_that_ask_for_replies_are_those_of_the_order() {
    let mut order = prepare(share());
    let assignment = |order: &v1::Prepare| Assignment::from_prepare(order, "h").unwrap();
    assert_eq!(assignment(&order).warm_up, Duration::ZERO);
    assert!(assignment(&order).echo_groups().is_empty());
    order.warm_up = Some(seconds(0, 500_000_000));
    order.shares.push(v1::AgentShare {
        echo_every: 7,
        ..next_share()
    });
    let assignment = assignment(&order);
    assert_eq!(assignment.warm_up, Duration::from_millis(500));
    assert_eq!(assignment.echo_groups(), ["others"]);
}

#[test]
fn what_an_agent_cannot_follow_is_refused_by_the_name_of_its_field() {
    assert!(Assignment::from_prepare(&prepare(share()), "h").is_ok());
    refused("shares", |p| p.shares.clear());
    refused("shares", |p| p.shares = vec![share(); 17]);
    for warm_up in [seconds(1, 0), seconds(-1, 0), seconds(0, -1)] {
        refused("warm_up", |p| p.warm_up = Some(warm_up));
    }
    refused("shares[0].clients", |p| p.shares[0].clients = 0);
    refused("shares[1].clients", |p| {
        p.shares.push(next_share());
        p.shares[1].clients = 0;
    });
    for first_client in [0, 10, 19] {
        refused("shares[1].first_client", |p| {
            p.shares.push(next_share());
            p.shares[1].first_client = first_client;
        });
    }
    refused("shares", |p| {
        let profile = Some(Profile::constant(900_000_000).to_proto());
        p.shares = vec![share(), next_share()];
        p.shares[0].profile = profile.clone();
        p.shares[0].clients_total = 10;
        p.shares[0].first_in_group = 0;
        p.shares[1].profile = profile;
    });
    refused("shares[0].profile", |p| {
        p.shares[0].profile = Some(Profile::constant(1).to_proto());
    });
    refused("seed", |p| p.seed = 0);
    refused("seed", |p| p.seed = 1 << 53);
    for address in ["nowhere", "", ":0"] {
        refused("shares[0].target.receivers.address", |p| {
            p.shares[0].target = target(address);
        });
    }
    refused("shares[0].target", |p| p.shares[0].target = None);
    refused("shares[0].first_in_group", |p| {
        p.shares[0].first_in_group = 11;
    });
    refused("threads", |p| p.threads = 0);
    refused("threads", |p| p.threads = 65);
    refused("key", |p| p.key = vec![1; 31]);
    refused("run_id", |p| p.run_id = "\x1b[31m".into());
    refused("agent_index", |p| p.agent_index = 256);
    refused("requires", |p| p.requires = vec![String::new()]);
    refused("deadline", |p| p.deadline = None);
    for (s, nanos) in [
        (0, 0),
        (-1, 0),
        (301, 0),
        (i64::MIN, i32::MIN),
        (1, 1_000_000_000),
    ] {
        refused("deadline", |p| p.deadline = Some(seconds(s, nanos)));
    }
    refused("duration", |p| p.duration = None);
    for (s, nanos) in [(0, 0), (-1, 0), (86_400, 1), (i64::MIN, i32::MIN)] {
        refused("duration", |p| p.duration = Some(seconds(s, nanos)));
    }
}

#[test]
fn what_this_version_does_not_have_is_unsupported_and_never_another_load() {
    unsupported("feature", "warp", |p| {
        p.requires = vec![features::FLOOD.into(), "warp".into()];
    });
    unsupported("field", "shares[0].phase", |p| p.shares[0].phase = 99);
    unsupported("field", "shares[0].profile", |p| {
        p.shares[0].profile = Some(v1::Profile { shape: None });
    });
    unsupported("field", "shares[0].target", |p| {
        p.shares[0].target = Some(v1::Target { kind: None });
    });
}

#[test]
fn shares_of_several_groups_keep_their_own_targets_and_loads() {
    let shares = vec![
        share(),
        v1::AgentShare {
            profile: Some(Profile::Flood.to_proto()),
            batch: 64,
            ..next_share()
        },
    ];
    let prepare = v1::Prepare {
        shares,
        ..prepare(share())
    };
    let assignment = Assignment::from_prepare(&prepare, "h").unwrap();
    assert_eq!(assignment.client_count(), 15);
    assert!(assignment.clients().eq((10..20).chain(25..30)));
    for (client, share, is_flood) in [(10, 0, false), (19, 0, false), (25, 1, true), (29, 1, true)]
    {
        assert_eq!(assignment.share_of(client), share);
        assert_eq!(assignment.is_flood(client), is_flood);
    }
    let targets = assignment.shares.iter().map(|of| of.target.to_string());
    assert!(targets.eq(["h:8888", "other:9999"]));
    assert_eq!(assignment.load(&assignment.shares[0].share).seed, 11);
    // Three threads: one floods, two share the others.
    assert_eq!(assignment.thread_count(), 3);
}

/// Offsets of every client of the first share, in the order of the clients.
fn offsets_ns(assignment: &Assignment) -> Vec<u64> {
    let share = &assignment.shares[0].share;
    let parts = assignment.thread_parts().into_iter();
    let ranges = parts.flat_map(|part| part.clients);
    let of_first = ranges.filter(|(share, _)| *share == 0);
    of_first
        .flat_map(|(_, range)| assignment.offsets_ns(share, &range))
        .collect()
}

proptest! {
    #[test]
    fn a_group_is_spread_alike_however_its_clients_are_shared_out(
        clients in 2..300_u32, cut in 1..300_u32, first in 0..9_000_u32,
        threads in 1..=8_u32, rate_millihertz in 1_000..20_000_000_u64,
        phase in prop::sample::select(vec![v1::Phase::Spread, v1::Phase::Auto]),
    ) {
        let cut = cut.min(clients - 1);
        let offsets_of = |first_in_group, part| {
            let share = v1::AgentShare {
                first_client: first + first_in_group,
                clients: part,
                clients_total: clients,
                first_in_group,
                profile: Some(Profile::constant(rate_millihertz).to_proto()),
                phase: phase.into(),
                ..share()
            };
            let prepare = v1::Prepare {
                threads,
                duration: Some(seconds(100, 0)),
                ..prepare(share)
            };
            offsets_ns(&Assignment::from_prepare(&prepare, "h").unwrap())
        };
        let whole = offsets_of(0, clients);
        let parts = [offsets_of(0, cut), offsets_of(cut, clients - cut)];
        // A thread without room for its clients one after the other has them in its own order.
        let of_thread = clients.div_ceil(threads.min(clients - cut).min(cut));
        let is_by_threads = phase == v1::Phase::Auto
            && u128::from(rate_millihertz) * u128::from(of_thread) * 10_000 >= 1_000_000_000_000;
        if !is_by_threads {
            prop_assert_eq!(parts.concat(), &whole[..]);
        }
        if phase == v1::Phase::Spread {
            prop_assert_eq!(whole[0], 0);
        }
    }

    #[test]
    fn no_packet_is_due_after_the_run_and_offsets_rise_but_where_sets_are_laid_over_the_period(
        clients in 1..300_u32, threads in 1..=8_u32, rate_millihertz in 1..20_000_000_u64,
        to_millihertz in 1..20_000_000_u64, is_ramp: bool,
        ms in 1..100_000_i64, batch in 1..=1024_u32, phase in 1..=4,
    ) {
        let profile = match is_ramp {
            false => Profile::constant(rate_millihertz),
            true => Profile::Ramp { from_millihertz: rate_millihertz, to_millihertz },
        };
        let share = v1::AgentShare {
            first_client: 0,
            clients,
            clients_total: clients,
            first_in_group: 0,
            profile: Some(profile.to_proto()),
            batch,
            phase,
            ..share()
        };
        let prepare = v1::Prepare {
            threads,
            duration: Some(seconds(ms / 1000, (ms % 1000) as i32 * 1_000_000)),
            ..prepare(share)
        };
        // A period that does not fit into the duration is refused.
        let Ok(assignment) = Assignment::from_prepare(&prepare, "h") else { return Ok(()) };
        let share = &assignment.shares[0].share;
        let schedule = assignment.load(share).schedule(0, 0).unwrap();
        let last_ns = schedule.end_ns();
        for part in assignment.thread_parts() {
            let offsets = assignment.offsets_ns(share, &part.clients[0].1);
            prop_assert!(phase == 4 || offsets.is_sorted());
            prop_assert!(offsets.iter().all(|offset| *offset < schedule.period_ns()));
            let is_in_time = |offset| offset + last_ns <= assignment.duration_ns();
            prop_assert!(offsets.iter().all(is_in_time));
        }
    }
}

#[test]
fn the_main_job_begins_as_if_it_were_staggered() {
    let offsets_of = |phase: v1::Phase| {
        let share = v1::AgentShare {
            first_client: 0,
            clients_total: 10,
            first_in_group: 0,
            phase: phase.into(),
            ..share()
        };
        let prepare = v1::Prepare {
            threads: 1,
            ..prepare(share)
        };
        offsets_ns(&Assignment::from_prepare(&prepare, "h").unwrap())
    };
    let offsets = offsets_of(v1::Phase::Auto);
    assert_eq!(offsets, (0..10).map(|n| n * 5_000).collect::<Vec<u64>>());
    assert_eq!(offsets, offsets_of(v1::Phase::Staggered));
}
