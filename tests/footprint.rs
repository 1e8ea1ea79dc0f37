//! What the product itself costs: the memory of all its processes in mid-run, and the time from
//! StartRun to the first packet. Figures are printed; `cargo test --test footprint -- --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, Running, Server, json_of, wait_until};
use metronome_proto::{
    profile::Profile,
    v1::{self, fleet_service_client::FleetServiceClient, run_service_client::RunServiceClient},
};
use rustix::process::Pid;
use tonic::transport::Channel;

/// Server, workers and agent together, at 10 clients.
const MEMORY_KIB_MAX: u64 = 60 * 1024;
/// Far above the 100 ms of a quiet machine: this test must hold on a busy one.
const FIRST_PACKET_TIME_MAX: Duration = Duration::from_secs(1);

/// Memory of a process with each shared page divided among those that share it, KiB.
fn proportional_kib(pid: Pid) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero());
    let rollup = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn all_processes_together_stay_within_60_mib_at_10_clients() {
    let server = Server::start(&[]);
    let agent = server.agent("a1");
    let mut start = server.benchctl(&[
        "start",
        "-o",
        "json",
        "--clients",
        "10",
        "--rate",
        "2000",
        "--duration",
        "3s",
    ]);
    let child = start.spawn().unwrap();
    wait_until("packets of all clients arrive", || {
        let (status, _) = server.json(&["server"]);
        let packets = status["workers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|worker| worker["packets"].as_u64().unwrap());
        (status["connections"]["admitted"] == 10 && packets.sum::<u64>() > 10_000).then_some(())
    });
    let workers: u64 = server.workers().into_iter().map(proportional_kib).sum();
    let parts = [
        proportional_kib(server.process.pid()),
        workers,
        proportional_kib(agent.pid()),
    ];
    let sum: u64 = parts.iter().sum();
    println!(
        "memory in mid-run, KiB: server {}, workers {}, agent {}, together {sum}",
        parts[0], parts[1], parts[2]
    );
    let (result, _) = json_of(child.wait_with_output().unwrap());
    assert_eq!(
        result["counts"]["received"], 60_000,
        "it was measured in mid-run"
    );
    assert!(
        sum <= MEMORY_KIB_MAX,
        "{sum} KiB of at most {MEMORY_KIB_MAX}"
    );
}

#[tokio::test]
async fn the_first_packet_is_read_soon_after_start_run() {
    let server = Server::start(&["--workers", "1"]);
    let _agent: Running = server.agent("a1");
    let address = format!("http://{}", server.grpc());
    let mut runs = RunServiceClient::connect(address.clone()).await.unwrap();
    let mut fleet = FleetServiceClient::connect(address).await.unwrap();
    for _ in 0..5 {
        let before = packets(&mut fleet).await;
        let duration = Some(prost_types::Duration {
            seconds: 0,
            nanos: 100_000_000,
        });
        let group = v1::Group {
            clients: 10,
            profile: Some(Profile::constant(100_000).to_proto()),
            ..v1::Group::default()
        };
        let plan = v1::Plan {
            groups: vec![group],
            duration,
            ..v1::Plan::default()
        };
        let called = Instant::now();
        let request = v1::StartRunRequest {
            plan: Some(plan),
            ..v1::StartRunRequest::default()
        };
        let run_id = runs
            .start_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap()
            .run_id;
        // Seen from outside, so never too short.
        while packets(&mut fleet).await == before {
            assert!(called.elapsed() < DEADLINE, "no packet comes");
        }
        let took = called.elapsed();
        println!("StartRun to the first packet: {took:?}");
        assert!(took < FIRST_PACKET_TIME_MAX, "{took:?}");
        let mut events = runs
            .watch_events(v1::WatchEventsRequest {
                runs: Some(v1::watch_events_request::Runs::RunId(run_id)),
                ..v1::WatchEventsRequest::default()
            })
            .await
            .unwrap()
            .into_inner();
        while events.message().await.unwrap().is_some() {}
    }
}

/// Packets that the workers have counted since the server's start.
async fn packets(fleet: &mut FleetServiceClient<Channel>) -> u64 {
    let status = fleet
        .get_server(v1::GetServerRequest {})
        .await
        .unwrap()
        .into_inner();
    status.workers.iter().map(|worker| worker.packets).sum()
}
