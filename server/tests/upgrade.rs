//! A server that is upgraded to itself in mid-run, as its agents and the API see it: a place is
//! kept for every agent that has its token, and runs, failures and counters go on.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::thread;

use metronome_proto::v1::{self, FailureCode, RunState, start::At};
use rustix::process::{Pid, Signal, kill_process};

use common::{
    Server,
    agent::{Agent, Pace, register},
    by_id, code, codes, ended, plan, received, start, watch,
};

/// The server process that has taken over; it ends with this handle.
struct Replaced(Pid);

impl Replaced {
    async fn upgrade(server: &Server) -> Self {
        let response = server.admin().await.upgrade(v1::UpgradeRequest {}).await;
        let pid = response.unwrap().into_inner().pid;
        Self(Pid::from_raw(pid.cast_signed()).unwrap())
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn resume(name: &str, resume_token: &[u8], run_ids: &[String]) -> v1::Register {
    v1::Register {
        resume_token: resume_token.into(),
        run_ids: run_ids.into(),
        ..register(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_exactly_and_only_its_own_agent_gets_its_place_back() {
    let server = Server::start(&[]);
    let (mut agent, welcome) = Agent::register_as(&server, register("a1")).await.unwrap();
    let (_idle, idle) = Agent::register_as(&server, register("idle")).await.unwrap();
    let request = start(
        common::change(plan(2, 50, 3_000), |group| {
            group.agents = Some(v1::AgentSelector {
                names: vec!["a1".into()],
            });
        }),
        "upgraded",
    );
    let run_id = server.start_run(request).await.run_id;
    let prepare = agent.receive_prepare().await;
    let clients = Agent::connect(&server, &prepare);
    agent.send_prepared(&run_id).await;
    let Some(At::StartAtNs(start_ns)) = agent.receive_start().await.at else {
        panic!("it is on the server's clock")
    };
    let sending: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let prepare = prepare.clone();
            thread::spawn(move || client.send(&prepare, start_ns, Pace::Honest))
        })
        .collect();
    server.running(&run_id).await;
    let before = server.get(&run_id).await;
    assert!(before.started_at.is_some());

    let mut runs_before = server.runs().await;
    let first = runs_before.watch_events(watch(&run_id)).await;
    let seen = first.unwrap().into_inner().message().await.unwrap();
    let number_before = seen.unwrap().number;

    let replaced = Replaced::upgrade(&server).await;
    // A connection that still goes to the old process breaks once: dial again, as the manual has
    // it.
    let (seen, too_early) = loop {
        let mut runs = server.runs().await;
        let Ok(again) = runs.watch_events(watch(&run_id)).await else {
            continue;
        };
        let Ok(Some(seen)) = again.into_inner().message().await else {
            continue;
        };
        let start = start(plan(1, 1, 1_000), "");
        match runs.start_run(start).await {
            Err(status) if !status.details().is_empty() => break (seen, status),
            Err(_) => {}
            Ok(started) => panic!("no agent is connected yet: {started:?}"),
        }
    };
    assert!(seen.number >= number_before, "the feed goes on");
    // No agent is connected yet, but they are on their way back.
    assert_eq!(too_early.code(), tonic::Code::Unavailable);
    assert_eq!(code(&too_early), FailureCode::Upgrading);
    for (name, token) in [
        ("a1", &[][..]),
        ("a1", &idle.resume_token),
        ("idle", &[0; 16]),
    ] {
        let refused = Agent::register_as(&server, resume(name, token, &[])).await;
        assert_eq!(
            code(&refused.err().unwrap()),
            FailureCode::AgentNameTaken,
            "{name}"
        );
    }
    let own = resume("a1", &welcome.resume_token, std::slice::from_ref(&run_id));
    let (mut agent, again) = Agent::register_as(&server, own).await.unwrap();
    assert_eq!(again.resume_token, welcome.resume_token);
    let own = resume("idle", &idle.resume_token, &[]);
    let (_idle, _) = Agent::register_as(&server, own).await.unwrap();
    assert_eq!(
        agent.receive_renewed_runs().await,
        std::slice::from_ref(&run_id)
    );

    // While the clients send, the agent's stream lives in the new process.
    let finished = tokio::task::spawn_blocking(|| {
        let records = sending.into_iter().map(|client| client.join().unwrap());
        records.collect::<Vec<_>>()
    });
    tokio::pin!(finished);
    let records = loop {
        tokio::select! {
            records = &mut finished => break records.unwrap(),
            _ = agent.receive_renewed_runs() => {}
        }
    };
    agent.send_records(&run_id, records).await;
    agent.send_finished(&run_id).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(received(&run), 300);
    let counts = run.report.as_ref().unwrap().counts.unwrap();
    assert_eq!(
        (counts.lost, counts.generator.unwrap().sent),
        (Some(0), 300)
    );
    assert_eq!(codes(&run), []);
    assert_eq!(run.started_at, before.started_at);
    let mut runs = server.runs().await;
    let got = runs.get_run(by_id(&run_id)).await.unwrap().into_inner();
    assert_eq!(got.run, Some(run));
    drop(replaced);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_come_back_is_lost_with_its_code_and_its_name_is_free() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = server
        .start_run(start(plan(1, 1, 3_600_000), ""))
        .await
        .run_id;
    agent.receive_prepare().await;
    agent.send_prepared(&run_id).await;
    agent.receive_start().await;
    server.running(&run_id).await;
    let _replaced = Replaced::upgrade(&server).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(run.state(), RunState::Ended);
    let agents = &run.report.as_ref().unwrap().agents;
    let failure = agents[0].failure.as_ref().unwrap();
    assert_eq!(failure.code(), FailureCode::AgentLost);
    let no_agent = server
        .runs()
        .await
        .start_run(start(plan(1, 1, 1_000), ""))
        .await;
    assert_eq!(code(&no_agent.unwrap_err()), FailureCode::NoAgent);
    Agent::register(&server, "a1").await;
}

#[tokio::test]
async fn a_run_that_is_not_running_in_time_keeps_the_server_as_it_is() {
    let server = Server::start(&["--upgrade-wait", "1s"]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = server.start_run(start(plan(1, 1, 1_000), "")).await.run_id;
    agent.receive_prepare().await;
    let upgrade = server.admin().await.upgrade(v1::UpgradeRequest {}).await;
    let status = upgrade.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert_eq!(code(&status), FailureCode::RunsNotMovable);
    assert_eq!(common::figure(&status, "run_id"), run_id);
    assert_eq!(common::figure(&status, "state"), "preparing");
    assert_eq!(server.get(&run_id).await.state(), RunState::Preparing);
}
