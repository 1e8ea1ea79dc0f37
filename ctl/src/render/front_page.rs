//! A run with every figure known, for tests of exact texts.

use metronome_proto::{threshold::Threshold, v1};

/// The run of the front page.
pub(crate) fn run_of_the_front_page() -> v1::Run {
    let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let instant = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    v1::Run {
        run_id: "0199f0c2a1b2c3d4".into(),
        request_id: "b0d1".into(),
        labels: [("page".into(), "front".into())].into(),
        plan: Some(v1::Plan {
            groups: vec![group()],
            duration: duration(10),
            threads: 1,
            ..v1::Plan::default()
        }),
        state: v1::RunState::Ended.into(),
        created_at: instant(1_767_323_045),
        started_at: instant(1_767_323_046),
        ended_at: instant(1_767_323_056),
        report: Some(report()),
        ..v1::Run::default()
    }
}

fn group() -> v1::Group {
    v1::Group {
        echo_every: 0,
        packet_bytes: 32,
        payload: None,
        name: "default".into(),
        clients: 10,
        profile: Some(v1::Profile {
            shape: Some(v1::profile::Shape::Constant(v1::Constant {
                rate_millihertz: 10_000_000,
            })),
        }),
        batch: 1,
        phase: v1::Phase::Auto.into(),
        agents: None,
        target: None,
    }
}

/// Counts of a run in which `packets` were sent and read.
pub(super) fn counts(packets: u64) -> v1::Counts {
    v1::Counts {
        replies_unanswered: None,
        generator: Some(v1::GeneratorCounts {
            scheduled: packets,
            sent: packets,
            ..v1::GeneratorCounts::default()
        }),
        receiver: Some(v1::ReceiverCounts {
            received: packets,
            read_before_written: Some(0),
            off_schedule: Some(0),
            left_out: Some(0),
            in_time: Some(packets),
            spread_understated: Some(0),
            spread_uncertain: Some(0),
            warm_up: Some(0),
            warm_up_left_out: Some(0),
            ..v1::ReceiverCounts::default()
        }),
        lost: Some(0),
        lost_unacknowledged: Some(0),
        lost_unread: Some(0),
    }
}

fn environment((role, name): (v1::EnvironmentRole, &str)) -> v1::Environment {
    v1::Environment {
        role: role.into(),
        name: name.into(),
        version: "0.1.0".into(),
        host: "vm1".into(),
        kernel: "6.1.0".into(),
        boot_id: "b0".into(),
        cores: Some(2),
        priority: v1::ThreadPriority::RealTime.into(),
        ..v1::Environment::default()
    }
}

fn report() -> v1::Report {
    let worker = |worker| v1::WorkerReport {
        worker,
        packets: 500_000,
        ..v1::WorkerReport::default()
    };
    v1::Report {
        verdict: Some(v1::Verdict {
            status: v1::VerdictStatus::Valid.into(),
            laws: vec![v1::Law {
                code: v1::ReasonCode::LossNotPlaced.into(),
                law: "sent = received + lost".into(),
                status: v1::LawStatus::Holds.into(),
                ..v1::Law::default()
            }],
            punctuality: Some(v1::Punctuality {
                limit_ns: 1_000_000,
                limit_periods: 10.0,
                late: 0,
                late_percent: 0.0,
            }),
            ..v1::Verdict::default()
        }),
        outcome: Some(outcome()),
        counts: Some(counts(1_000_000)),
        times: Some(v1::Times {
            one_way: None,
            queueing: None,
            rtt_from_due: None,
            rtt_from_write: None,
            lateness: Some(times()),
            transit: Some(times()),
            latency: Some(times()),
            spread: Some(times()),
        }),
        environments: [
            (v1::EnvironmentRole::Server, "server"),
            (v1::EnvironmentRole::Agent, "vm1-5678"),
        ]
        .map(environment)
        .into(),
        receivers: vec![v1::ReceiverReport {
            data_address: "127.0.0.1:8888".into(),
            receiver: "server".into(),
            workers: (0..2).map(worker).collect(),
        }],
        rate: Some(v1::Rate {
            offered_millihertz: Some(100_000_000),
            achieved_millihertz: Some(99_998_200),
        }),
        cpu: Some(v1::Cpu {
            generator_ns: Some(1_520_000_000),
            receiver_ns: Some(980_000_000),
            generator_ns_per_packet: Some(1520.0),
            receiver_ns_per_packet: Some(980.0),
            packets_per_write: Some(1.0),
            packets_per_read: Some(1.02),
        }),
        elapsed: Some(prost_types::Duration {
            seconds: 10,
            nanos: 0,
        }),
        ..v1::Report::default()
    }
}

/// The default objectives, all met.
fn outcome() -> v1::Outcome {
    use v1::objective::Observed::{ObservedCount, ObservedNs, ObservedSharePpm};
    let objectives = [
        ("lost==0", ObservedCount(0)),
        ("skipped==0", ObservedCount(0)),
        ("kept_up>=99.9%", ObservedSharePpm(1_000_000)),
        ("latency.p99.9<=100ms", ObservedNs(101_000)),
    ];
    let objective = |(threshold, observed): (&str, _)| v1::Objective {
        threshold: threshold.parse().ok().map(Threshold::to_proto),
        source: v1::ObjectiveSource::Default.into(),
        status: v1::OutcomeStatus::Held.into(),
        observed: Some(observed),
        sentence: format!("{threshold} was met"),
        ..v1::Objective::default()
    };
    v1::Outcome {
        status: v1::OutcomeStatus::Held.into(),
        objectives: objectives.map(objective).to_vec(),
    }
}

fn times() -> v1::Distribution {
    let quantile = |(ppm, ns)| v1::Quantile { ppm, ns };
    let quantiles = [
        (500_000, 4_100),
        (900_000, 9_800),
        (990_000, 38_200),
        (999_000, 101_000),
        (999_900, 402_000),
    ];
    v1::Distribution {
        count: 1_000_000,
        quantiles: quantiles.map(quantile).to_vec(),
        min_ns: 2_000,
        max_ns: 1_204_000,
        mean_ns: 6_000.0,
        missing: Some(0),
        ..v1::Distribution::default()
    }
}
