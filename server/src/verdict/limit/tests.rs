//! Which limit follows from what was missed and what the hosts did.

use metronome_proto::v1::{HostPoint, HostSeries, Reason, StopCause, ThreadPoint, Threshold};
use proptest::prelude::*;

use super::*;
use crate::{
    model::{Incident, WORKER_DIED},
    verdict::{rows::pair, samples::Sample},
};

const SECOND_NS: i64 = 1_000_000_000;

/// Ten seconds of one process with one thread, which did this in one of them.
fn process(role: EnvironmentRole, thread: &str, change: impl Fn(&mut HostPoint)) -> HostSeries {
    let point = |second: i64| HostPoint {
        from_ns: second * SECOND_NS,
        span_ns: SECOND_NS,
        threads: vec![ThreadPoint {
            name: thread.into(),
            run_queue_ns: Some(0),
            away_ns: (role == EnvironmentRole::Server).then_some(0),
            ..ThreadPoint::default()
        }],
        ..HostPoint::default()
    };
    let mut points: Vec<_> = (0..10).map(point).collect();
    change(&mut points[5]);
    HostSeries {
        role: role.into(),
        name: "agent-0".into(),
        points,
    }
}

fn worker(change: impl Fn(&mut HostPoint)) -> HostSeries {
    process(EnvironmentRole::Server, "worker-0", change)
}

fn agent(change: impl Fn(&mut HostPoint)) -> HostSeries {
    process(EnvironmentRole::Agent, "pacing-0", change)
}

fn objective(metric: Metric, status: OutcomeStatus, of: &[(&str, u64)]) -> Objective {
    let figures = of
        .iter()
        .map(|(name, number)| ((*name).to_owned(), (*number).into()));
    Objective {
        threshold: Some(Threshold {
            metric: metric.into(),
            ..Threshold::default()
        }),
        status: status.into(),
        figures: figures.collect(),
        ..Objective::default()
    }
}

/// A latency that so many of 1,000 packets missed.
fn slow(packets: u64) -> Objective {
    let of = [("above", packets), ("scheduled", 1_000)];
    objective(Metric::Latency, OutcomeStatus::NotHeld, &of)
}

fn valid() -> Verdict {
    Verdict {
        status: VerdictStatus::Valid.into(),
        ..Verdict::default()
    }
}

fn invalid_by(codes: &[ReasonCode]) -> Verdict {
    let reason = |code: &ReasonCode| Reason {
        code: (*code).into(),
        ..Reason::default()
    };
    Verdict {
        status: VerdictStatus::Invalid.into(),
        reasons: codes.iter().map(reason).collect(),
        ..Verdict::default()
    }
}

fn found(hosts: &[HostSeries], verdict: &Verdict, objectives: Vec<Objective>) -> Limit {
    let mut sample = Sample::of(1, 1);
    sample.plan.duration = std::time::Duration::from_secs(10);
    sample.hosts = hosts.to_vec();
    let evidence = sample.evidence();
    let rows = pair(&evidence);
    let outcome = Outcome {
        objectives,
        ..Outcome::default()
    };
    let limit = find(&evidence, &rows, verdict, &outcome);
    assert!(!limit.sentence.contains('–'), "{limit:?}");
    assert!(limit.sentence.ends_with('.'), "{limit:?}");
    limit
}

#[test]
fn a_run_that_missed_nothing_has_no_limit_however_busy_its_hosts_were() {
    let busy = [
        worker(|of| of.threads[0].away_ns = Some(500_000_000)),
        agent(|of| of.away_ns = 500_000_000),
    ];
    let held = objective(Metric::Latency, OutcomeStatus::Held, &[]);
    let few = objective(Metric::Latency, OutcomeStatus::NotJudged, &[]);
    let limit = found(&busy, &valid(), vec![held, few]);
    assert_eq!(limit.kind(), LimitKind::None);
    assert!(limit.figures.is_empty());
}

#[test]
fn packets_that_were_late_are_the_generator_s_and_its_host_names_the_cause() {
    let late = invalid_by(&[ReasonCode::Lateness]);
    for (host, words) in [
        (agent(|of| of.away_ns = 50_000_000), "did not run for 50 ms"),
        (
            agent(|of| of.threads[0].run_queue_ns = Some(300_000_000)),
            "pacing-0 of agent agent-0 waited 300 ms for a core",
        ),
        (
            agent(|of| of.threads[0].cpu_ns = SECOND_NS),
            "used its core fully for 1 s",
        ),
        (
            agent(|of| of.throttled_ns = Some(90_000_000)),
            "its CPU quota denied the control group of agent agent-0 90 ms",
        ),
    ] {
        let limit = found(&[worker(|_| ()), host], &late, Vec::new());
        assert_eq!(limit.kind(), LimitKind::Generator);
        assert!(limit.sentence.contains(words), "{limit:?}");
    }
    let unknown = found(&[], &late, Vec::new());
    assert_eq!(unknown.kind(), LimitKind::Generator);
    assert!(unknown.sentence.contains("is not known"), "{unknown:?}");
}

#[test]
fn an_objective_that_is_open_since_the_generator_was_late_names_it() {
    let open = objective(Metric::Latency, OutcomeStatus::NotJudged, &[("late", 7)]);
    let limit = found(
        &[agent(|of| of.away_ns = 20_000_000)],
        &valid(),
        vec![open.clone()],
    );
    assert_eq!(limit.kind(), LimitKind::Generator);
    // What the path or the receiver missed is certain, and more than that.
    let limit = found(&[worker(|_| ())], &valid(), vec![open, slow(900)]);
    assert_eq!(limit.kind(), LimitKind::Network);
}

#[test]
fn time_without_a_packet_that_is_due_does_not_hide_a_worker_that_was_away() {
    let mut host = worker(|of| of.threads[0].away_ns = Some(500_000_000));
    let point = host.points[0].clone();
    let empty = |second: i64| HostPoint {
        from_ns: second * SECOND_NS,
        ..point.clone()
    };
    host.points.splice(0..0, (-60..0).map(empty));
    host.points.extend((10..70).map(empty));
    // 500 ms of the 10 s in which packets were due, of 130 s that were seen.
    let limit = found(&[host], &valid(), vec![slow(50)]);
    assert_eq!(limit.kind(), LimitKind::Receiver, "{limit:?}");
}

#[test]
fn a_server_that_slept_is_no_fault_of_the_generator() {
    let mut verdict = invalid_by(&[ReasonCode::Suspended]);
    for (host, kind) in [
        ("server", LimitKind::Receiver),
        ("agent-0", LimitKind::Generator),
    ] {
        let figures = [
            ("host", host.into()),
            ("suspended_ns", 10_000_000_000_i64.into()),
        ];
        verdict.reasons[0].figures = super::figures(figures);
        let limit = found(&[worker(|_| ()), agent(|_| ())], &verdict, Vec::new());
        assert_eq!(limit.kind(), kind, "{limit:?}");
    }
}

#[test]
fn what_asks_for_more_than_there_was_names_no_end() {
    let mut too_fast = slow(0);
    let threshold = too_fast.threshold.as_mut().unwrap();
    threshold.comparison = Comparison::GreaterOrEqual.into();
    let limit = found(&[worker(|_| ())], &valid(), vec![too_fast]);
    assert_eq!(limit.kind(), LimitKind::Unspecified, "{limit:?}");
    // Nor does a loss of one group, of which it is not known how many were scheduled.
    let mut of_a_group = objective(Metric::Lost, OutcomeStatus::NotHeld, &[("packets", 5)]);
    of_a_group.group = "g".into();
    let limit = found(&[worker(|_| ())], &valid(), vec![of_a_group]);
    assert_eq!(limit.kind(), LimitKind::Unspecified, "{limit:?}");
}

#[test]
fn a_rate_that_was_missed_names_what_kept_the_packets_back() {
    let figures = [("received", 1_000), ("scheduled", 1_000), ("in_time", 600)];
    let mut missed = objective(Metric::RateShare, OutcomeStatus::NotHeld, &figures);
    let threshold = missed.threshold.as_mut().unwrap();
    threshold.comparison = Comparison::GreaterOrEqual.into();
    let limit = found(&[worker(|_| ())], &valid(), vec![missed.clone()]);
    assert_eq!(limit.kind(), LimitKind::Network, "{limit:?}");
    let away = worker(|of| of.threads[0].away_ns = Some(4_000_000_000));
    let limit = found(&[away], &valid(), vec![missed.clone()]);
    assert_eq!(limit.kind(), LimitKind::Receiver, "{limit:?}");
    // Beside another one it hides nothing; and of packets a second alone no share is known.
    let threshold = missed.threshold.as_mut().unwrap();
    threshold.metric = Metric::Rate.into();
    missed.figures.clear();
    let limit = found(&[worker(|_| ())], &valid(), vec![missed.clone(), slow(500)]);
    assert_eq!(limit.kind(), LimitKind::Network, "{limit:?}");
    let limit = found(&[worker(|_| ())], &valid(), vec![missed]);
    assert_eq!(limit.kind(), LimitKind::Unspecified, "{limit:?}");
}

#[test]
fn a_law_or_a_missing_part_leaves_the_limit_open() {
    for codes in [
        &[ReasonCode::BytesDiffer][..],
        &[ReasonCode::Lateness, ReasonCode::AgentLost],
    ] {
        let limit = found(&[worker(|_| ())], &invalid_by(codes), Vec::new());
        assert_eq!(limit.kind(), LimitKind::Unspecified);
    }
    let limit = found(&[], &valid(), vec![slow(10)]);
    assert_eq!(
        limit.kind(),
        LimitKind::Unspecified,
        "what the server did is not known"
    );
}

/// The limit of a run with this change, on a server of one worker, worker-0.
fn of_server(host: HostSeries, packets: u64, change: impl FnOnce(&mut Sample)) -> Limit {
    let mut sample = Sample::of(2, 1);
    sample.plan.duration = std::time::Duration::from_secs(10);
    sample.hosts = vec![host];
    change(&mut sample);
    let evidence = sample.evidence();
    let group = sample.plan.groups.last().unwrap().name.clone();
    let outcome = Outcome {
        objectives: vec![Objective {
            group,
            ..slow(packets)
        }],
        ..Outcome::default()
    };
    find(&evidence, &pair(&evidence), &valid(), &outcome)
}

#[test]
fn a_worker_that_died_or_a_time_that_nobody_saw_leaves_the_network_open() {
    let died = |sample: &mut Sample| {
        sample.counters().incidents.push(Incident {
            at_ns: 1,
            what: WORKER_DIED.into(),
            text: "it did".into(),
        });
    };
    let limit = of_server(worker(|_| ()), 500, died);
    assert_eq!(limit.kind(), LimitKind::Unspecified, "{limit:?}");
    assert!(limit.sentence.contains("a worker died"), "{limit:?}");
    let away = worker(|of| of.threads[0].away_ns = Some(500_000_000));
    let limit = of_server(away, 100, died);
    assert_eq!(limit.kind(), LimitKind::Receiver, "{limit:?}");

    let hole = |points: std::ops::Range<usize>| {
        let mut host = worker(|_| ());
        host.points.drain(points);
        of_server(host, 500, |_| ())
    };
    assert_eq!(
        hole(9..10).kind(),
        LimitKind::Network,
        "a tenth of the load"
    );
    let limit = hole(4..6);
    assert_eq!(limit.kind(), LimitKind::Unspecified, "{limit:?}");
    assert_eq!(limit.figures["unseen_ns"], 2_000_000_000_i64.into());
    // A stopped run has no load after its end.
    let mut host = worker(|_| ());
    host.points.truncate(3);
    let limit = of_server(host, 500, |of| of.stopped = Some(StopCause::Operator));
    assert_eq!(limit.kind(), LimitKind::Network, "{limit:?}");
}

#[test]
fn a_worker_is_blamed_for_the_packets_that_it_read() {
    let other = worker(|of| {
        of.threads[0].name = "worker-7".into();
        of.threads[0].away_ns = Some(900_000_000);
    });
    let both = |sample: &mut Sample| {
        for point in &mut sample.hosts[0].points {
            point.threads.push(ThreadPoint {
                name: "worker-0".into(),
                away_ns: Some(0),
                ..ThreadPoint::default()
            });
        }
    };
    let limit = of_server(other.clone(), 100, |sample| {
        both(sample);
        sample.plan.groups[0].name = "g".into();
        sample
            .counters()
            .clients
            .iter_mut()
            .for_each(|of| of.worker = 0);
    });
    assert_eq!(limit.kind(), LimitKind::Network, "{limit:?}");
    let limit = of_server(other, 100, |sample| {
        both(sample);
        sample.plan.groups[0].name = String::new();
    });
    assert_eq!(
        limit.kind(),
        LimitKind::Receiver,
        "it may have read some of them"
    );
}

proptest! {
    #[test]
    fn both_ends_were_in_time_only_where_the_worker_lost_a_fifth_of_what_was_slow_at_most(
        lost_ms in 10..10_000_i64,
        packets in 1..=1_000_u64,
    ) {
        let host = worker(|of| of.threads[0].away_ns = Some(lost_ms * 1_000_000));
        let limit = found(&[host], &valid(), vec![slow(packets)]);
        let (lost, slow) = (lost_ms as f64 / 10_000.0, packets as f64 / 1_000.0);
        let expected = if lost >= slow * 0.5 {
            LimitKind::Receiver
        } else if lost > slow * 0.2 || packets < 6 {
            LimitKind::Unspecified
        } else {
            LimitKind::Network
        };
        prop_assert_eq!(limit.kind(), expected, "{:?}", limit);
    }

    #[test]
    fn what_is_too_short_to_be_seen_of_a_worker_is_no_proof_of_the_network(
        packets in 1..=1_000_u64,
    ) {
        let limit = found(&[worker(|_| ())], &valid(), vec![slow(packets)]);
        let expected = if packets < 6 { LimitKind::Unspecified } else { LimitKind::Network };
        prop_assert_eq!(limit.kind(), expected, "{:?}", limit);
    }
}
