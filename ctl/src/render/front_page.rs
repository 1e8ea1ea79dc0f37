//! A run with every field set, for tests of exact texts and of the schema.

use metronome_proto::v1;

/// The run of the front page.
pub(super) fn run_of_the_front_page() -> v1::Run {
    let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    v1::Run {
        run_id: "0199f0c2a1b2c3d4".into(),
        request_id: "b0d1".into(),
        plan: Some(v1::Plan {
            flood: false,
            clients: 10,
            rate_hz: 10_000.0,
            duration: duration(10),
            batch: 1,
            phase: v1::Phase::Staggered.into(),
            threads: 1,
            agents: vec!["bench1-7".into()],
            target: String::new(),
        }),
        state: v1::RunState::Ended.into(),
        created_at: Some(prost_types::Timestamp {
            seconds: 1_767_323_045,
            nanos: 0,
        }),
        ended_at: Some(prost_types::Timestamp {
            seconds: 1_767_323_056,
            nanos: 0,
        }),
        report: Some(report()),
        label: "front page".into(),
    }
}

fn report() -> v1::Report {
    v1::Report {
        verdict: Some(v1::Verdict {
            status: v1::VerdictStatus::Valid.into(),
            ..v1::Verdict::default()
        }),
        packets: Some(v1::PacketCounts {
            scheduled: 1_000_000,
            sent: 1_000_000,
            received: 1_000_000,
            ..v1::PacketCounts::default()
        }),
        rate: Some(v1::Rate {
            offered_hz: Some(100_000.0),
            achieved_hz: 99_998.2,
        }),
        lateness: Some(times()),
        transit: Some(times()),
        latency: Some(times()),
        cpu: Some(v1::Cpu {
            agent_s: 1.52,
            server_s: 0.98,
            agent_ns_per_packet: 1520.0,
            server_ns_per_packet: 980.0,
            packets_per_write: 1.0,
            packets_per_read: 1.02,
        }),
        workers: (0..2)
            .map(|worker| v1::WorkerReport {
                worker,
                packets: 500_000,
                ..v1::WorkerReport::default()
            })
            .collect(),
        agents: vec![v1::AgentReport {
            agent: "bench1-7".into(),
            clients: 10,
            sent: 1_000_000,
            ..v1::AgentReport::default()
        }],
        elapsed_s: 10.0,
        laws: vec![v1::Law {
            law: "sent = received + lost".into(),
            holds: true,
            figures: "1000000 = 1000000".into(),
        }],
    }
}

fn times() -> v1::Distribution {
    v1::Distribution {
        count: 1_000_000,
        p50_us: 4.1,
        p90_us: 9.8,
        p99_us: 38.2,
        p99_9_us: 101.0,
        p99_99_us: 402.0,
        max_us: 1204.0,
        mean_us: 6.0,
        ..v1::Distribution::default()
    }
}
