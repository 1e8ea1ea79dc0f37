//! The API on a real server: errors with details, health, reflection, lists.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use metronome_proto::v1::{self, RunState};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1 as reflection, v1alpha};
use tonic_types::StatusExt as _;

use common::{Server, agent::Agent, codes, easy_plan, ended, plan, start};

#[track_caller]
fn reason(status: &Status) -> String {
    let info = status
        .get_details_error_info()
        .expect("every error has an ErrorInfo");
    assert_eq!(info.domain, "metronome.v1");
    info.reason
}

#[tokio::test]
async fn a_plan_out_of_range_is_refused_by_the_name_of_its_field() {
    let server = Server::start(&[]);
    let mut operator = server.operator().await;
    for (field, plan) in [
        ("plan.clients", plan(0, 1.0, 1000)),
        ("plan.clients", plan(10_001, 1.0, 1000)),
        ("plan.clients", plan(u32::MAX, 1.0, 1000)),
        ("plan.rate_hz", plan(1, 0.0, 1000)),
        ("plan.rate_hz", plan(1, f64::NAN, 1000)),
        ("plan.rate_hz", plan(1, 1e12, 1000)),
        ("plan.duration", plan(1, 1.0, 0)),
        ("plan.duration", plan(1, 1.0, 365 * 86_400_000)),
        (
            "plan.batch",
            v1::Plan {
                batch: 1025,
                ..plan(1, 1.0, 1000)
            },
        ),
        (
            "plan.target",
            v1::Plan {
                target: "nowhere".into(),
                ..plan(1, 1.0, 1000)
            },
        ),
    ] {
        let status = operator.start_run(start(plan, "")).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.get_details_bad_request().unwrap().field_violations[0].field,
            field
        );
        assert!(status.message().starts_with(field), "{status}");
        assert_eq!(reason(&status), "FIELD_OUT_OF_RANGE");
    }
    for request in [
        v1::StartRunRequest::default(),
        start(plan(1, 1.0, 1), "no spaces"),
        start(plan(1, 1.0, 1), &"x".repeat(65)),
        v1::StartRunRequest {
            label: "\x1b[2J".into(),
            ..start(plan(1, 1.0, 1), "")
        },
    ] {
        assert_eq!(
            operator.start_run(request).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let runs = operator
        .list_runs(v1::ListRunsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(runs.runs, [], "what was refused left nothing behind");
}

#[tokio::test]
async fn without_agents_a_run_fails_its_precondition() {
    let server = Server::start(&[]);
    let mut operator = server.operator().await;
    let status = operator
        .start_run(start(plan(1, 1.0, 1000), ""))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "NO_AGENT")
    );
    assert_eq!(
        status
            .get_details_precondition_failure()
            .unwrap()
            .violations[0]
            .r#type,
        "NO_AGENT"
    );

    let _agent = Agent::register(&server, "a1").await;
    let named = v1::Plan {
        agents: vec!["a1".into(), "other".into()],
        ..plan(1, 1.0, 1000)
    };
    let status = operator.start_run(start(named, "")).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "AGENT_NOT_CONNECTED")
    );
    assert!(
        status.message().contains("other") && !status.message().contains("a1"),
        "{status}"
    );
    let status = operator
        .start_run(start(plan(101, 1.0, 1000), ""))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "AGENTS_FULL")
    );
}

#[tokio::test]
async fn more_clients_than_the_server_takes_exhaust_it_and_the_next_run_works() {
    let server = Server::start(&["--max-clients", "3"]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut operator = server.operator().await;
    let status = operator
        .start_run(start(plan(4, 1.0, 1000), ""))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "CLIENTS_FULL")
    );
    assert_eq!(
        status.get_details_quota_failure().unwrap().violations[0].subject,
        "--max-clients"
    );
    let run = operator
        .start_run(start(plan(3, 1000.0, 20), ""))
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    let prepare = agent.receive_prepare().await;
    assert_eq!(prepare.clients, 3);
    agent.run_honestly(&server, &prepare).await;
    assert_eq!(
        ended(&mut operator, &run.run_id)
            .await
            .report
            .unwrap()
            .packets
            .unwrap()
            .received,
        60
    );
}

#[tokio::test]
async fn a_run_that_is_not_there_is_not_found_whatever_is_asked_of_it() {
    let server = Server::start(&[]);
    let mut operator = server.operator().await;
    let run_id = "0123456789abcdef".to_owned();
    let answers = [
        operator
            .get_run(v1::GetRunRequest {
                run_id: run_id.clone(),
            })
            .await
            .map(drop),
        operator
            .stop_run(v1::StopRunRequest {
                run_id: run_id.clone(),
            })
            .await
            .map(drop),
        operator
            .watch_run(v1::WatchRunRequest {
                run_id: run_id.clone(),
            })
            .await
            .map(drop),
        operator
            .list_clients(v1::ListClientsRequest {
                run_id: run_id.clone(),
            })
            .await
            .map(drop),
    ];
    for answer in answers {
        let status = answer.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::NotFound, "RUN_UNKNOWN")
        );
        assert!(status.message().contains(&run_id), "{status}");
    }
    for run_id in ["", "7", "no run id here..", "0123456789abcdef0"] {
        let status = operator
            .get_run(v1::GetRunRequest {
                run_id: run_id.into(),
            })
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.get_details_bad_request().unwrap().field_violations[0].field,
            "run_id"
        );
    }
}

#[tokio::test]
async fn every_service_is_healthy() {
    let server = Server::start(&[]);
    let mut health = HealthClient::new(server.channel().await);
    for service in [
        "",
        "metronome.v1.OperatorService",
        "metronome.v1.AgentService",
    ] {
        let answer = health
            .check(HealthCheckRequest {
                service: service.into(),
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = HealthCheckRequest {
        service: "no.such.Service".into(),
    };
    assert_eq!(
        health.check(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions_unless_switched_off() {
    use reflection::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let expected = [
        "grpc.health.v1.Health",
        "metronome.v1.AgentService",
        "metronome.v1.OperatorService",
    ];
    let server = Server::start(&[]);
    let ask = MessageRequest::ListServices(String::new());
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(ask),
    };
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut answers = client
        .server_reflection_info(tokio_stream::once(request.clone()))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        expected
            .iter()
            .all(|name| names.contains(&(*name).to_owned())),
        "{names:?}"
    );

    let ask = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "metronome.v1.Plan".into(),
    );
    let alpha = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(ask),
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut answers = client
        .server_reflection_info(tokio_stream::once(alpha))
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let is_file = |answer| {
        matches!(
            answer,
            v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
        )
    };
    assert!(is_file(answer));

    let silent = Server::start(&["--no-reflection"]);
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(silent.channel().await);
    let status = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn the_server_reports_what_it_is() {
    let server = Server::start(&["--workers", "2", "--max-clients", "7", "--accept-raw"]);
    let status = server
        .operator()
        .await
        .get_server(v1::GetServerRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.grpc_address.as_str(), status.data_address.as_str()),
        (server.grpc.as_str(), server.data.as_str())
    );
    assert_eq!(
        (status.max_clients, status.accept_raw, status.workers.len()),
        (7, true, 2)
    );
    assert_eq!((status.runs_active, status.draining), (0, false));
    assert_eq!(status.database, server.database().to_str().unwrap());
    assert!(status.workers.iter().all(|worker| worker.pid != status.pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_snapshots_twice_a_second_and_then_the_end() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut operator = server.operator().await;
    let run = operator
        .start_run(start(plan(2, 100.0, 1500), ""))
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    assert_eq!(run.state(), RunState::Preparing);
    let request = v1::WatchRunRequest {
        run_id: run.run_id.clone(),
    };
    let events = operator
        .watch_run(request.clone())
        .await
        .unwrap()
        .into_inner();
    let prepare = agent.receive_prepare().await;
    let watching = tokio::spawn(
        events
            .map(|event| event.unwrap().event.unwrap())
            .collect::<Vec<_>>(),
    );
    agent.run_honestly(&server, &prepare).await;
    let mut events = watching.await.unwrap();
    let Some(v1::watch_run_response::Event::Ended(last)) = events.pop() else {
        panic!("the end comes last")
    };
    let snapshots: Vec<_> = events
        .into_iter()
        .map(|event| match event {
            v1::watch_run_response::Event::Snapshot(snapshot) => snapshot,
            v1::watch_run_response::Event::Ended(_) => panic!("the end comes once"),
        })
        .collect();
    assert!(
        snapshots.len() >= 4,
        "{} snapshots in 1.5 s",
        snapshots.len()
    );
    assert!(
        snapshots.iter().any(
            |snapshot| snapshot.state() == RunState::Running && snapshot.clients_connected == 2
        )
    );
    assert!(snapshots.is_sorted_by_key(|snapshot| (
        snapshot.number,
        snapshot.state,
        snapshot.received,
        snapshot.sent
    )));
    assert_eq!(last.report.as_ref().unwrap().packets.unwrap().received, 300);

    // A run that has ended: the end alone, and the same as GetRun returns.
    assert_eq!(ended(&mut operator, &run.run_id).await, last);
    let got = operator
        .get_run(v1::GetRunRequest {
            run_id: run.run_id.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(got.run, Some(last));
}

#[tokio::test]
async fn a_watcher_sees_the_clients_connect_before_the_run_starts() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut operator = server.operator().await;
    let run = operator
        .start_run(start(easy_plan(4), ""))
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    let prepare = agent.receive_prepare().await;
    let _clients = Agent::connect(&server, &prepare);
    let request = v1::WatchRunRequest { run_id: run.run_id };
    let mut events = operator.watch_run(request).await.unwrap().into_inner();
    loop {
        let event = events.message().await.unwrap().unwrap().event.unwrap();
        let v1::watch_run_response::Event::Snapshot(snapshot) = event else {
            panic!("it has ended")
        };
        assert_eq!(snapshot.state(), RunState::Preparing);
        if snapshot.clients_connected == 4 {
            break;
        }
    }
}

#[tokio::test]
async fn runs_are_listed_in_pages_newest_first_and_without_their_distributions() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut operator = server.operator().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        let run = operator
            .start_run(start(plan(1, 1000.0, 10), ""))
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap();
        let prepare = agent.receive_prepare().await;
        agent.run_honestly(&server, &prepare).await;
        ended(&mut operator, &run.run_id).await;
        made.insert(0, run.run_id);
    }
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListRunsRequest {
            page_size: 2,
            page_token,
        };
        let page = operator.list_runs(request).await.unwrap().into_inner();
        assert!(page.runs.len() <= 2);
        listed.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        listed
            .iter()
            .map(|run| run.run_id.clone())
            .collect::<Vec<_>>(),
        made
    );
    let lateness = listed[0]
        .report
        .as_ref()
        .unwrap()
        .lateness
        .as_ref()
        .unwrap();
    assert_eq!((lateness.count, lateness.hdr_v2.len()), (10, 0));
    for (page_size, page_token) in [(201, ""), (1, "garbage")] {
        let request = v1::ListRunsRequest {
            page_size,
            page_token: page_token.into(),
        };
        assert_eq!(
            operator.list_runs(request).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}

#[tokio::test]
async fn the_same_request_id_is_the_same_run_and_with_another_plan_an_error() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut operator = server.operator().await;
    let asked = start(plan(1, 1000.0, 10), "my-request.1");
    // Five callers at once get one run.
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let (mut operator, asked) = (operator.clone(), asked.clone());
            tokio::spawn(async move {
                operator
                    .start_run(asked)
                    .await
                    .unwrap()
                    .into_inner()
                    .run
                    .unwrap()
                    .run_id
            })
        })
        .collect();
    let mut run_ids = Vec::new();
    for call in calls {
        run_ids.push(call.await.unwrap());
    }
    assert!(
        run_ids.iter().all(|run_id| *run_id == run_ids[0]),
        "{run_ids:?}"
    );
    let status = operator
        .start_run(start(plan(2, 1000.0, 10), "my-request.1"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::AlreadyExists, "REQUEST_ID_TAKEN")
    );

    let prepare = agent.receive_prepare().await;
    agent.run_honestly(&server, &prepare).await;
    let last = ended(&mut operator, &run_ids[0]).await;
    let of_time = ["LATENESS", "CLIENT_LATENESS", "BACKPRESSURE"];
    assert!(
        codes(&last)
            .iter()
            .all(|code| of_time.contains(&code.as_str())),
        "{:?}",
        codes(&last)
    );
    let again = operator
        .start_run(asked.clone())
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    assert_eq!(again, last);

    // Also after a restart of the server, and without an agent.
    drop(agent);
    let (folder, _) = server.end(rustix::process::Signal::TERM);
    let server = Server::start_in(folder, &[]);
    let again = server
        .operator()
        .await
        .start_run(asked)
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    assert_eq!(again, last);
}
