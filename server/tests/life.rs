//! The life of the server: restarts, kills, drains.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::fs;

use metronome_os::end_requests::ONE_REQUEST;
use metronome_proto::v1::{self, FailureCode, ReasonCode, RunState};
use metronome_server::History;
use rustix::process::Signal;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use common::{
    Server,
    agent::{Agent, unsent},
    code, codes, ended, export, plan, start, stop, watch, watch_to_end,
};

/// A run whose schedule lasts an hour, RUNNING.
async fn long_run(server: &Server, agent: &mut Agent) -> String {
    let run = server.start_run(start(plan(1, 1000, 3_600_000), "")).await;
    agent.receive_prepare().await;
    agent.send_prepared(&run.run_id).await;
    agent.receive_start().await;
    server.running(&run.run_id).await;
    run.run_id
}

/// Sends the final reports of a run as if nothing had been sent.
async fn end_run(agent: &Agent, run_id: &str) {
    agent.send_records(run_id, vec![unsent(0)]).await;
    agent.send_finished(run_id).await;
}

#[tokio::test]
async fn runs_outlive_the_server_with_report_and_clients() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let request = start(plan(2, 1000, 10), "");
    let run = server.start_run(request).await;
    let prepare = agent.receive_prepare().await;
    agent.run_honestly(&server, &prepare).await;
    let last = ended(&server, &run.run_id).await;

    // Without a server, as benchctl reads it.
    let (folder, status) = server.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    let history = History::open(Some(folder.path().join("state/runs.sqlite")))
        .unwrap()
        .unwrap();
    let id = run.run_id.parse().unwrap();
    assert_eq!(history.run(id).unwrap().as_ref(), Some(&last));
    assert_eq!(history.clients(id).unwrap().len(), 2);

    let server = Server::start_in(folder, &[]);
    assert_eq!(server.get(&run.run_id).await, last);
}

#[tokio::test]
async fn a_run_cut_by_kill_9_is_aborted_for_good() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = long_run(&server, &mut agent).await;
    assert_eq!(server.get(&run_id).await.state(), RunState::Running);
    let (folder, _) = server.end(Signal::KILL);

    let history = History::open(Some(folder.path().join("state/runs.sqlite")))
        .unwrap()
        .unwrap();
    assert_eq!(
        history
            .run(run_id.parse().unwrap())
            .unwrap()
            .unwrap()
            .state(),
        RunState::Aborted
    );
    let server = Server::start_in(folder, &[]);
    let run = server.get(&run_id).await;
    assert_eq!(run.state(), RunState::Aborted);
    assert!(run.ended_at.is_some() && run.report.is_none());
    assert_eq!(
        run.failure.as_ref().unwrap().code(),
        FailureCode::ServerDied
    );
    // It is final: it can be watched and stopped, has no clients, and can be deleted.
    assert_eq!(ended(&server, &run_id).await, run);
    let mut runs = server.runs().await;
    assert!(runs.stop_run(stop(&run_id)).await.is_ok());
    assert_eq!(export(&server, &run_id, 0).await.unwrap(), [[]; 0]);
    let delete = v1::DeleteRunRequest { run_id };
    runs.delete_run(delete).await.unwrap();
}

#[tokio::test]
async fn two_servers_share_a_history_and_leave_each_others_runs_alone() {
    let first = Server::start(&[]);
    let mut agent = Agent::register(&first, "a1").await;
    let run_id = long_run(&first, &mut agent).await;
    let database = first.database();
    let second = Server::start(&["--database", database.to_str().unwrap()]);
    let seen = second.get(&run_id).await;
    assert!(
        !matches!(seen.state(), RunState::Aborted | RunState::Ended),
        "{:?}",
        seen.state()
    );
    let mut elsewhere = second.runs().await;
    let delete = v1::DeleteRunRequest {
        run_id: run_id.clone(),
    };
    for refused in [
        elsewhere.stop_run(stop(&run_id)).await.map(drop),
        elsewhere.delete_run(delete).await.map(drop),
        elsewhere.watch_events(watch(&run_id)).await.map(drop),
        export(&second, &run_id, 0).await.map(drop),
    ] {
        assert_eq!(code(&refused.unwrap_err()), FailureCode::RunElsewhere);
    }
    first.runs().await.stop_run(stop(&run_id)).await.unwrap();
    agent.receive_stop().await;
    end_run(&agent, &run_id).await;
    ended(&first, &run_id).await;
    assert_eq!(second.get(&run_id).await.state(), RunState::Ended);
}

#[tokio::test]
async fn a_drain_refuses_new_runs_lets_old_ones_end_and_stores_them() {
    let mut server = Server::start(&["--drain-timeout", "50s"]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = long_run(&server, &mut agent).await;
    let (mut runs, mut fleet) = (server.runs().await, server.fleet().await);
    let mut health = HealthClient::new(server.channel().await);
    let watched = HealthCheckRequest {
        service: "metronome.v1.RunService".into(),
    };
    let mut health = health.watch(watched).await.unwrap().into_inner();
    assert_eq!(
        health.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    server.signal(Signal::TERM);
    assert_eq!(
        health.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    let draining = fleet.get_server(v1::GetServerRequest {}).await.unwrap();
    assert!(draining.into_inner().draining);
    let status = runs
        .start_run(start(plan(1, 1, 1000), ""))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(code(&status), FailureCode::Draining);
    let upgrade = server.admin().await.upgrade(v1::UpgradeRequest {}).await;
    let status = upgrade.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(code(&status), FailureCode::Draining);

    // The watcher gets the end although the server is going.
    let watching = tokio::spawn({
        let (mut runs, run_id) = (runs.clone(), run_id.clone());
        async move { watch_to_end(&mut runs, &run_id).await }
    });
    end_run(&agent, &run_id).await;
    assert_eq!(watching.await.unwrap().state(), RunState::Ended);
    assert_eq!(server.wait().code(), Some(0));
    let history = History::open(Some(server.database())).unwrap().unwrap();
    assert_eq!(
        history
            .run(run_id.parse().unwrap())
            .unwrap()
            .unwrap()
            .state(),
        RunState::Ended
    );
}

#[tokio::test]
async fn after_the_drain_timeout_runs_are_stopped_and_stored() {
    let mut server = Server::start(&["--drain-timeout", "100ms"]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = long_run(&server, &mut agent).await;
    server.signal(Signal::INT);
    agent.receive_stop().await;
    end_run(&agent, &run_id).await;
    assert_eq!(server.wait().code(), Some(0));
    let history = History::open(Some(server.database())).unwrap().unwrap();
    let run = history.run(run_id.parse().unwrap()).unwrap().unwrap();
    assert!(
        codes(&run).contains(&ReasonCode::Stopped),
        "{:?}",
        codes(&run)
    );
}

#[tokio::test]
async fn a_second_signal_aborts() {
    let mut server = Server::start(&["--drain-timeout", "1h"]);
    let mut agent = Agent::register(&server, "a1").await;
    long_run(&server, &mut agent).await;
    let mut fleet = server.fleet().await;
    server.signal(Signal::TERM);
    // Signals that come before the first was seen are one.
    while !fleet
        .get_server(v1::GetServerRequest {})
        .await
        .unwrap()
        .into_inner()
        .draining
    {}
    // `timeout` sends it to its child and at once to the group of both: one signal still.
    server.signal(Signal::INT);
    tokio::time::sleep(ONE_REQUEST).await;
    let info = fleet.get_server(v1::GetServerRequest {}).await;
    assert!(info.unwrap().into_inner().draining);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(130));
}

#[tokio::test]
async fn the_health_check_distinguishes_serving_draining_and_absent_servers() {
    let mut server = Server::start(&["--drain-timeout", "1h"]);
    let ask = |address: &str| common::output(&["healthcheck", "--grpc", address]);
    assert_eq!(ask(&server.grpc).status.code(), Some(0));
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = long_run(&server, &mut agent).await;
    let mut fleet = server.fleet().await;
    server.signal(Signal::TERM);
    while !fleet
        .get_server(v1::GetServerRequest {})
        .await
        .unwrap()
        .into_inner()
        .draining
    {}
    // The health service follows the drain within the same step.
    let mut draining = ask(&server.grpc);
    while draining.status.success() {
        draining = ask(&server.grpc);
    }
    assert_eq!(draining.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&draining.stderr).contains("NOT_SERVING"),
        "{draining:?}"
    );
    end_run(&agent, &run_id).await;
    assert_eq!(server.wait().code(), Some(0));
    let absent = ask(&server.grpc);
    assert_eq!(absent.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&absent.stderr).contains("--grpc"),
        "{absent:?}"
    );
}

#[tokio::test]
async fn a_worker_keeps_no_capability_but_that_for_priorities() {
    let server = Server::start(&["--workers", "2"]);
    let status = server.status().await;
    assert_eq!(status.workers.len(), 2);
    for worker in status.workers {
        let status = fs::read_to_string(format!("/proc/{}/status", worker.pid)).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
        };
        // CAP_SYS_NICE is number 23.
        assert!([0, 1 << 23].contains(&field("CapPrm:")), "{status}");
        assert_eq!(field("CapEff:"), field("CapPrm:"), "{status}");
        assert_eq!((field("CapInh:"), field("NoNewPrivs:")), (0, 1), "{status}");
    }
}
