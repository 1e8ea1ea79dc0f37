//! The API on a real server: errors with details, health, reflection, lists.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use metronome_proto::{
    limits,
    v1::{self, FailureCode, ReasonCode, RunState, RunView, watch_events_response::Event},
};
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1 as reflection, v1alpha};
use tonic_types::StatusExt as _;

use common::{
    Server, agent::Agent, by_id, change, code, codes, easy_plan, ended, export, figure, plan,
    received, start, stop, watch,
};

/// The services of the API, by role.
const SERVICES: [&str; 4] = [
    "metronome.v1.AdminService",
    "metronome.v1.AgentService",
    "metronome.v1.FleetService",
    "metronome.v1.RunService",
];

#[tokio::test]
async fn a_plan_out_of_range_is_refused_by_the_path_of_its_field() {
    let server = Server::start(&[]);
    let mut runs = server.runs().await;
    let (easy, day_ms) = (|| plan(1, 1, 1000), 86_400_000);
    for (field, plan) in [
        ("plan.groups[0].clients", plan(0, 1, 1000)),
        ("plan.groups[0].clients", plan(10_001, 1, 1000)),
        ("plan.groups[0].clients", plan(u32::MAX, 1, 1000)),
        (
            "plan.groups[0].profile.constant.rate_millihertz",
            plan(1, 0, 1000),
        ),
        (
            "plan.groups[0].profile.constant.rate_millihertz",
            plan(1, 1 << 40, 1000),
        ),
        (
            "plan.groups[0].profile",
            change(easy(), |group| group.profile = None),
        ),
        (
            "plan.groups[0].batch",
            change(easy(), |group| group.batch = 1025),
        ),
        (
            "plan.groups[0].name",
            change(easy(), |group| group.name = "A".into()),
        ),
        (
            "plan.groups[0].target.receivers.address",
            change(easy(), |group| {
                let receivers = v1::Receivers {
                    address: "nowhere".into(),
                };
                group.target = Some(v1::Target {
                    kind: Some(v1::target::Kind::Receivers(receivers)),
                });
            }),
        ),
        ("plan.duration", plan(1, 1, 0)),
        ("plan.duration", plan(1, 1, 365 * day_ms)),
        (
            "plan.threads",
            v1::Plan {
                threads: 65,
                ..easy()
            },
        ),
        (
            "plan.groups",
            v1::Plan {
                groups: Vec::new(),
                ..easy()
            },
        ),
        (
            "plan.requires",
            v1::Plan {
                requires: vec![String::new()],
                ..easy()
            },
        ),
    ] {
        let status = runs.start_run(start(plan, "")).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field);
        assert_eq!(code(&status), FailureCode::FieldOutOfRange);
        assert_eq!(figure(&status, "field"), field);
    }
    let labelled = |key: &str, value: &str| v1::StartRunRequest {
        labels: [(key.to_owned(), value.to_owned())].into(),
        ..start(easy(), "")
    };
    for (field, request) in [
        ("plan", v1::StartRunRequest::default()),
        ("request_id", start(easy(), "no spaces")),
        ("request_id", start(easy(), &"x".repeat(65))),
        ("labels", labelled("Host", "x")),
        ("labels", labelled("host", "\x1b[2J")),
        ("labels", labelled("host", &"x".repeat(129))),
    ] {
        let status = runs.start_run(request).await.unwrap_err();
        assert_eq!(code(&status), FailureCode::FieldOutOfRange);
        assert_eq!(figure(&status, "field"), field);
    }
    let listed = runs.list_runs(v1::ListRunsRequest::default()).await;
    let listed = listed.unwrap().into_inner();
    assert_eq!(listed.runs, [], "what was refused left nothing behind");
}

#[tokio::test]
async fn what_this_version_does_not_have_is_unsupported_and_never_replaced() {
    let server = Server::start(&[]);
    let _agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    let easy = || plan(1, 1, 1000);
    let two = v1::Plan {
        groups: [easy().groups, easy().groups].concat(),
        ..easy()
    };
    let requires = v1::Plan {
        requires: vec!["profile.constant".into(), "profile.warp".into()],
        ..easy()
    };
    for (field, plan) in [
        ("plan.groups", two),
        (
            "plan.groups[0].profile",
            change(easy(), |group| {
                group.profile = Some(v1::Profile { shape: None });
            }),
        ),
        (
            "plan.groups[0].phase",
            change(easy(), |group| group.phase = 4),
        ),
        (
            "plan.groups[0].phase",
            change(easy(), |group| group.phase = -1),
        ),
        (
            "plan.groups[0].target",
            change(easy(), |group| {
                group.target = Some(v1::Target { kind: None });
            }),
        ),
    ] {
        let status = runs.start_run(start(plan, "")).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{field}: {status}");
        assert_eq!(code(&status), FailureCode::Unsupported);
        assert_eq!(figure(&status, "field"), field);
        let details = status.get_details_precondition_failure().unwrap();
        assert_eq!(details.violations[0].r#type, "UNSUPPORTED");
    }
    let status = runs.start_run(start(requires, "")).await.unwrap_err();
    assert_eq!(code(&status), FailureCode::Unsupported);
    assert_eq!(figure(&status, "feature"), "profile.warp");
    let details = status.get_details_precondition_failure().unwrap();
    assert_eq!(details.violations[0].subject, "profile.warp");
    let view = v1::GetRunRequest {
        view: 7,
        ..by_id("0123456789abcdef")
    };
    let status = runs.get_run(view).await.unwrap_err();
    assert_eq!(code(&status), FailureCode::Unsupported);
}

#[tokio::test]
async fn a_run_s_plan_is_as_it_is_carried_out() {
    let server = Server::start(&[]);
    let _agent = Agent::register(&server, "a1").await;
    let labels: std::collections::BTreeMap<_, _> =
        [("host".to_owned(), "rack 7".to_owned())].into();
    let request = v1::StartRunRequest {
        labels: labels.clone(),
        ..start(plan(3, 10, 1000), "")
    };
    let run = server.start_run(request).await;
    let plan = run.plan.unwrap();
    let group = &plan.groups[0];
    assert_eq!(
        (group.name.as_str(), group.batch, plan.threads),
        ("default", 1, 1)
    );
    assert_eq!(group.phase(), v1::Phase::Staggered);
    assert_eq!(run.labels, labels);
    assert!(!run.request_id.is_empty() && run.created_at.is_some());
    assert_eq!(
        (run.started_at, run.ended_at, run.failure),
        (None, None, None)
    );
}

#[tokio::test]
async fn without_agents_a_run_fails_its_precondition() {
    let server = Server::start(&["--max-clients", "200"]);
    let mut runs = server.runs().await;
    let status = runs
        .start_run(start(plan(1, 1, 1000), ""))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(code(&status), FailureCode::NoAgent);
    let details = status.get_details_precondition_failure().unwrap();
    assert_eq!(details.violations[0].r#type, "NO_AGENT");

    let _agent = Agent::register(&server, "a1").await;
    let named = change(plan(1, 1, 1000), |group| {
        group.agents = Some(v1::AgentSelector {
            names: vec!["a1".into(), "other".into()],
        });
    });
    let status = runs.start_run(start(named, "")).await.unwrap_err();
    assert_eq!(code(&status), FailureCode::AgentNotConnected);
    assert_eq!(figure(&status, "agents"), "1");
    assert_eq!(figure(&status, "agent_names"), "other");
    let status = runs
        .start_run(start(plan(101, 1, 1000), ""))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(code(&status), FailureCode::AgentsFull);
    let figures = ["clients", "clients_free", "agents"].map(|name| figure(&status, name));
    assert_eq!(figures, ["101", "100", "1"]);
}

#[tokio::test]
async fn more_clients_than_the_server_takes_exhaust_it_and_the_next_run_works() {
    let server = Server::start(&["--max-clients", "3"]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    // No wait for other runs would help.
    let status = runs
        .start_run(start(plan(4, 1, 1000), ""))
        .await
        .unwrap_err();
    assert_eq!(code(&status), FailureCode::FieldOutOfRange);
    assert_eq!(figure(&status, "field"), "plan.groups[0].clients");
    let other = server.start_run(start(plan(2, 1, 1000), "")).await;
    agent.receive_prepare().await;
    let status = runs
        .start_run(start(plan(3, 1, 1000), ""))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(code(&status), FailureCode::ClientsFull);
    let details = status.get_details_quota_failure().unwrap();
    assert_eq!(details.violations[0].subject, "--max-clients");
    let figures = ["clients", "clients_free", "clients_max"].map(|name| figure(&status, name));
    assert_eq!(figures, ["3", "1", "3"]);
    agent
        .send_failed(
            &other.run_id,
            v1::Failure::new(FailureCode::NoRoute, "no route"),
        )
        .await;
    ended(&server, &other.run_id).await;
    let run = server.start_run(start(plan(3, 1000, 20), "")).await;
    let prepare = agent.receive_prepare().await;
    agent.run_honestly(&server, &prepare).await;
    assert_eq!(received(&ended(&server, &run.run_id).await), 60);
}

#[tokio::test]
async fn as_many_runs_go_on_at_a_time_as_the_limits_have() {
    let server = Server::start(&["--max-clients", "100"]);
    let _agent = Agent::register(&server, "a1").await;
    let runs_max = server.status().await.limits.unwrap().runs_max;
    for _ in 0..runs_max {
        server.start_run(start(plan(1, 1, 1000), "")).await;
    }
    let mut runs = server.runs().await;
    let status = runs
        .start_run(start(plan(1, 1, 1000), ""))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(code(&status), FailureCode::RunsFull);
    assert_eq!(figure(&status, "runs_max"), runs_max.to_string());
    let all = v1::StopRunRequest {
        runs: Some(v1::stop_run_request::Runs::Filter(String::new())),
    };
    let stopped = runs.stop_run(all).await.unwrap().into_inner().runs;
    assert_eq!(stopped.len(), runs_max as usize);
}

#[tokio::test]
async fn a_run_that_is_not_there_is_not_found_whatever_is_asked_of_it() {
    let server = Server::start(&[]);
    let mut runs = server.runs().await;
    let run_id = "0123456789abcdef";
    let delete = v1::DeleteRunRequest {
        run_id: run_id.into(),
    };
    let responses = [
        runs.get_run(by_id(run_id)).await.map(drop),
        runs.stop_run(stop(run_id)).await.map(drop),
        runs.watch_events(watch(run_id)).await.map(drop),
        runs.delete_run(delete).await.map(drop),
        export(&server, run_id, 0).await.map(drop),
    ];
    for response in responses {
        let status = response.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(code(&status), FailureCode::RunUnknown);
        assert_eq!(figure(&status, "run_id"), run_id);
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!(resource.resource_name, run_id);
    }
    for run_id in ["", "7", "no run id here..", "0123456789abcdef0"] {
        let status = runs.get_run(by_id(run_id)).await.unwrap_err();
        assert_eq!(code(&status), FailureCode::FieldOutOfRange);
        assert_eq!(figure(&status, "field"), "run_id");
    }
    let request = v1::GetRunRequest {
        run: Some(v1::get_run_request::Run::RequestId("x".into())),
        ..v1::GetRunRequest::default()
    };
    let status = runs.get_run(request).await.unwrap_err();
    assert_eq!(code(&status), FailureCode::RunUnknown);
    assert_eq!(figure(&status, "request_id"), "x");
    let status = runs
        .get_run(v1::GetRunRequest::default())
        .await
        .unwrap_err();
    assert_eq!(figure(&status, "field"), "run");
    let request = v1::GetRunRequest {
        run: Some(v1::get_run_request::Run::RequestId(String::new())),
        ..v1::GetRunRequest::default()
    };
    let status = runs.get_run(request).await.unwrap_err();
    assert_eq!(code(&status), FailureCode::FieldOutOfRange);
    assert_eq!(figure(&status, "field"), "request_id");
    let nothing = v1::WatchEventsRequest::default();
    let status = runs.watch_events(nothing).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(figure(&status, "field"), "runs");
}

#[tokio::test]
async fn agents_are_listed_by_name_in_pages() {
    let server = Server::start(&[]);
    let mut agents = Vec::new();
    for name in ["c", "a", "d", "b"] {
        agents.push(Agent::register(&server, name).await);
    }
    let mut fleet = server.fleet().await;
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListAgentsRequest {
            page_size: 3,
            page_token,
        };
        let page = fleet.list_agents(request).await.unwrap().into_inner();
        names.push(
            page.agents
                .into_iter()
                .map(|agent| agent.name)
                .collect::<Vec<_>>(),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, [vec!["a", "b", "c"], vec!["d"]]);
    let request = v1::ListAgentsRequest {
        page_token: "a".into(),
        ..v1::ListAgentsRequest::default()
    };
    let status = fleet.list_agents(request).await.unwrap_err();
    assert_eq!(code(&status), FailureCode::FieldOutOfRange);
    assert_eq!(figure(&status, "field"), "page_token");
}

#[tokio::test]
async fn every_service_is_healthy() {
    let server = Server::start(&[]);
    let mut health = HealthClient::new(server.channel().await);
    for service in SERVICES.into_iter().chain([""]) {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let response = health.check(request).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = HealthCheckRequest {
        service: "no.such.Service".into(),
    };
    assert_eq!(
        health.check(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
}

/// The answer of reflection to one question.
async fn reflect(
    server: &Server,
    question: reflection::server_reflection_request::MessageRequest,
) -> Result<reflection::server_reflection_response::MessageResponse, tonic::Status> {
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let channel = server.channel().await;
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel);
    let responses = client
        .server_reflection_info(tokio_stream::once(request))
        .await?;
    let response = responses.into_inner().message().await?.unwrap();
    Ok(response.message_response.unwrap())
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions_unless_switched_off() {
    use reflection::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let server = Server::start(&[]);
    let ask = || MessageRequest::ListServices(String::new());
    let MessageResponse::ListServicesResponse(list) = reflect(&server, ask()).await.unwrap() else {
        panic!("no list of services")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(names.iter().any(|name| name == service), "{names:?}");
    }

    let ask_alpha = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "metronome.v1.Plan".into(),
    );
    let alpha = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(ask_alpha),
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let responses = client
        .server_reflection_info(tokio_stream::once(alpha))
        .await;
    let response = responses.unwrap().into_inner().message().await.unwrap();
    let is_file = |response| {
        matches!(
            response,
            v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
        )
    };
    assert!(is_file(response.unwrap().message_response.unwrap()));

    let silent = Server::start(&["--no-reflection"]);
    let status = reflect(&silent, ask()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn reflection_has_the_comments_of_the_api_which_are_its_manual() {
    use reflection::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let server = Server::start(&[]);
    let ask = MessageRequest::FileContainingSymbol("metronome.v1.RunService".into());
    let MessageResponse::FileDescriptorResponse(files) = reflect(&server, ask).await.unwrap()
    else {
        panic!("no file")
    };
    let file = prost_types::FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).unwrap();
    // The first service (6) of the file, and its first method (2).
    let methods = &file.service[0].method;
    let of_start_run = methods
        .iter()
        .position(|method| method.name() == "StartRun")
        .unwrap();
    let path = [6, 0, 2, of_start_run as i32];
    let locations = file.source_code_info.unwrap().location;
    let comment = locations
        .iter()
        .find(|location| location.path == path)
        .and_then(|location| location.leading_comments.as_deref())
        .unwrap();
    assert!(
        comment.contains("Starts a run and returns at once"),
        "{comment}"
    );
    assert!(
        comment.contains("UNAVAILABLE: DRAINING, UPGRADING"),
        "{comment}"
    );
}

#[tokio::test]
async fn the_server_reports_what_it_is_and_its_limits() {
    let server = Server::start(&["--workers", "2", "--max-clients", "7", "--accept-raw"]);
    let status = server.status().await;
    assert_eq!(
        (status.grpc_address.as_str(), status.data_address.as_str()),
        (server.grpc.as_str(), server.data.as_str())
    );
    assert!(status.accept_raw);
    assert_eq!(status.workers.len(), 2);
    assert_eq!((status.runs_active, status.draining), (0, false));
    assert_eq!(status.database, server.database().to_str().unwrap());
    assert!(status.workers.iter().all(|worker| worker.pid != status.pid));
    assert_eq!(status.limits.unwrap(), limits::to_proto(7, 15));
    assert_eq!(status.capabilities, metronome_proto::features::CAPABILITIES);
    let recoveries = status.recoveries.unwrap();
    assert_eq!((recoveries.deaths, recoveries.pause), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_snapshots_twice_a_second_and_then_the_end() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    let run = server.start_run(start(plan(2, 100, 1500), "")).await;
    assert_eq!(run.state(), RunState::Preparing);
    let events = runs
        .watch_events(watch(&run.run_id))
        .await
        .unwrap()
        .into_inner();
    let prepare = agent.receive_prepare().await;
    let watching = tokio::spawn(events.map(Result::unwrap).collect::<Vec<_>>());
    agent.run_honestly(&server, &prepare).await;
    let events = watching.await.unwrap();
    let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
    assert!(numbers[0] > 0 && numbers.is_sorted_by(|one, next| one < next));
    let events = events.into_iter().map(|event| event.event.unwrap());
    let mut events: Vec<_> = events.collect();
    let Some(Event::RunEnded(last)) = events.pop() else {
        panic!("the end comes last")
    };
    let snapshots: Vec<_> = events
        .into_iter()
        .map(|event| match event {
            Event::Snapshot(snapshot) => snapshot,
            Event::RunEnded(_) => panic!("the end comes once"),
        })
        .collect();
    assert!(
        snapshots.len() >= 4,
        "{} snapshots in 1.5 s",
        snapshots.len()
    );
    assert!(
        snapshots
            .iter()
            .any(|snapshot| snapshot.state() == RunState::Running
                && snapshot.clients_connected == Some(2))
    );
    // What is not known comes before what is, and what is known only rises.
    assert!(snapshots.is_sorted_by_key(|snapshot| (
        snapshot.elapsed.is_some(),
        snapshot.receiver.map(|counts| counts.received),
        snapshot.generator.map(|counts| counts.sent)
    )));
    assert_eq!((snapshots[0].elapsed, snapshots[0].generator), (None, None));
    let draining = snapshots
        .iter()
        .filter(|snapshot| snapshot.state() == RunState::Draining);
    // A watcher may miss them, as any snapshot.
    for snapshot in draining {
        assert_eq!(snapshot.received_millihertz, None);
    }
    assert_eq!(received(&last), 300);
    let since_1970 = |at: Option<prost_types::Timestamp>| {
        let at = at.unwrap();
        (at.seconds, at.nanos)
    };
    let [created, started, over] =
        [last.created_at, last.started_at, last.ended_at].map(since_1970);
    assert!(created <= started && started < over, "{last:?}");
    assert!(
        over.0 - started.0 >= 1,
        "1.5 s of schedule lie between them"
    );

    // A run that has ended: the end alone, and the same as GetRun returns.
    assert_eq!(ended(&server, &run.run_id).await, last);
    assert_eq!(server.get(&run.run_id).await, last);
}

#[tokio::test]
async fn a_watcher_sees_the_clients_connect_before_the_run_starts() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let run = server.start_run(start(easy_plan(4), "")).await;
    let prepare = agent.receive_prepare().await;
    let _clients = Agent::connect(&server, &prepare);
    let events = server.runs().await.watch_events(watch(&run.run_id)).await;
    let mut events = events.unwrap().into_inner();
    loop {
        let event = events.message().await.unwrap().unwrap().event.unwrap();
        let Event::Snapshot(snapshot) = event else {
            panic!("it has ended")
        };
        assert_eq!(snapshot.state(), RunState::Preparing);
        if snapshot.clients_connected == Some(4) {
            break;
        }
    }
}

/// The records of the distributions of a run, bytes.
fn record_bytes(run: &v1::Run) -> usize {
    let report = run.report.as_ref().unwrap();
    let groups = report.groups.iter().map(|group| &group.times);
    let times = groups.chain([&report.times]).flatten();
    times
        .flat_map(|times| [&times.lateness, &times.transit, &times.latency])
        .flatten()
        .map(|distribution| distribution.hdr_v2_deflated.len())
        .sum()
}

#[tokio::test]
async fn runs_are_listed_in_pages_in_both_orders_and_by_filters() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    let mut made = Vec::new();
    for number in 0..5 {
        let request = v1::StartRunRequest {
            labels: [("number".to_owned(), number.to_string())].into(),
            ..start(plan(1, 1000, 10), "")
        };
        let run = server.start_run(request).await;
        let prepare = agent.receive_prepare().await;
        if number == 4 {
            let failure = v1::Failure::new(FailureCode::NoRoute, "no route");
            agent.send_failed(&run.run_id, failure).await;
        } else {
            agent.run_honestly(&server, &prepare).await;
        }
        ended(&server, &run.run_id).await;
        made.push(run.run_id);
    }
    let list = |filter: &str, order_by: &str, page_token: &str| v1::ListRunsRequest {
        page_size: 2,
        page_token: page_token.into(),
        filter: filter.into(),
        order_by: order_by.into(),
        ..v1::ListRunsRequest::default()
    };
    let mut all = async |filter: &str, order_by: &str| {
        let (mut listed, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = list(filter, order_by, &page_token);
            let page = runs.list_runs(request).await.unwrap().into_inner();
            assert!(page.runs.len() <= 2);
            listed.extend(page.runs.into_iter().map(|run| run.run_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return listed;
            }
        }
    };
    assert_eq!(all("", "created_at").await, made);
    let ended_runs = all("state = ENDED AND labels.number != 2", "created_at").await;
    assert_eq!(ended_runs, [&made[..2], &made[3..4]].concat());
    let third = server.get(&made[2]).await;
    let text = third.created_at.unwrap().to_string();
    assert_eq!(
        all(&format!("created_at >= \"{text}\""), "created_at").await,
        made[2..]
    );
    made.reverse();
    assert_eq!(all("", "").await, made);
    assert_eq!(all("state = failed", "created_at desc").await, made[..1]);
    assert_eq!(all("outcome = NOT_JUDGED", "").await, made[1..]);
    assert_eq!(all("outcome = HELD", "").await, [""; 0]);

    let first = runs.list_runs(list("", "", "")).await.unwrap().into_inner();
    assert!(!first.next_page_token.contains(&first.runs[1].run_id));
    for (field, request) in [
        (
            "page_size",
            v1::ListRunsRequest {
                page_size: 201,
                ..list("", "", "")
            },
        ),
        ("page_token", list("", "", "garbage")),
        (
            "page_token",
            list("state = ENDED", "", &first.next_page_token),
        ),
        ("page_token", list("", "created_at", &first.next_page_token)),
        ("order_by", list("", "run_id", "")),
        ("filter", list("state = ENDED AND colour = red", "", "")),
    ] {
        let status = runs.list_runs(request).await.unwrap_err();
        assert_eq!(code(&status), FailureCode::FieldOutOfRange);
        assert_eq!(figure(&status, "field"), field);
    }
    let bad = list("state = ENDED AND colour = red", "", "");
    let status = runs.list_runs(bad).await.unwrap_err();
    assert_eq!(figure(&status, "byte"), "18", "{status}");

    for (view, has_records) in [
        (RunView::Unspecified, false),
        (RunView::Basic, false),
        (RunView::Full, true),
    ] {
        let request = v1::ListRunsRequest {
            view: view.into(),
            ..list("state = ENDED", "", "")
        };
        let listed = runs.list_runs(request).await.unwrap().into_inner().runs;
        assert_eq!(record_bytes(&listed[0]) > 0, has_records, "{view:?}");
        let request = v1::GetRunRequest {
            view: view.into(),
            ..by_id(&listed[0].run_id)
        };
        let got = runs
            .get_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap();
        assert_eq!(record_bytes(&got) > 0, view != RunView::Basic, "{view:?}");
    }
}

#[tokio::test]
async fn a_run_is_deleted_with_all_that_was_stored_of_it_once_it_has_ended() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    let run = server.start_run(start(easy_plan(2), "to-delete")).await;
    let prepare = agent.receive_prepare().await;
    let delete = v1::DeleteRunRequest {
        run_id: run.run_id.clone(),
    };
    let early = runs.delete_run(delete.clone()).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    assert_eq!(code(&early), FailureCode::RunNotEnded);
    assert_eq!(
        code(&export(&server, &run.run_id, 0).await.unwrap_err()),
        FailureCode::RunNotEnded
    );
    agent.run_honestly(&server, &prepare).await;
    let last = ended(&server, &run.run_id).await;
    let by_request_id = v1::GetRunRequest {
        run: Some(v1::get_run_request::Run::RequestId("to-delete".into())),
        ..v1::GetRunRequest::default()
    };
    let got = runs
        .get_run(by_request_id.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(got.run, Some(last));
    runs.delete_run(delete.clone()).await.unwrap();
    for gone in [
        runs.delete_run(delete).await.map(drop),
        runs.get_run(by_request_id).await.map(drop),
        export(&server, &run.run_id, 0).await.map(drop),
    ] {
        assert_eq!(code(&gone.unwrap_err()), FailureCode::RunUnknown);
    }
}

#[tokio::test]
async fn the_same_request_is_the_same_run_and_another_one_with_its_id_an_error() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    let asked = start(plan(1, 1000, 10), "my-request.1");
    // Five callers at once get one run.
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let (mut runs, asked) = (runs.clone(), asked.clone());
            tokio::spawn(async move {
                let started = runs.start_run(asked).await.unwrap().into_inner();
                started.run.unwrap().run_id
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
    let labelled = v1::StartRunRequest {
        labels: [("host".to_owned(), "x".to_owned())].into(),
        ..asked.clone()
    };
    // What the server fills in makes another request the same plan, and not the same request.
    let spelled_out = v1::StartRunRequest {
        plan: Some(v1::Plan {
            threads: 1,
            ..asked.plan.clone().unwrap()
        }),
        ..asked.clone()
    };
    let other = start(plan(2, 1000, 10), "my-request.1");
    for other in [other, labelled, spelled_out] {
        let status = runs.start_run(other).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(code(&status), FailureCode::RequestIdTaken);
        assert_eq!(figure(&status, "run_id"), run_ids[0]);
    }

    let prepare = agent.receive_prepare().await;
    agent.run_honestly(&server, &prepare).await;
    let last = ended(&server, &run_ids[0]).await;
    let of_time = [
        ReasonCode::Lateness,
        ReasonCode::ClientLateness,
        ReasonCode::Backpressure,
    ];
    assert!(
        codes(&last).iter().all(|code| of_time.contains(code)),
        "{:?}",
        codes(&last)
    );
    assert_eq!(server.start_run(asked.clone()).await, last);

    // Also after a restart of the server, and without an agent.
    drop(agent);
    let (folder, _) = server.end(rustix::process::Signal::TERM);
    let server = Server::start_in(folder, &[]);
    assert_eq!(server.start_run(asked.clone()).await, last);

    // A run that is deleted leaves its request_id.
    let delete = v1::DeleteRunRequest {
        run_id: last.run_id.clone(),
    };
    server.runs().await.delete_run(delete).await.unwrap();
    let _agent = Agent::register(&server, "a1").await;
    let labelled = v1::StartRunRequest {
        labels: [("host".to_owned(), "x".to_owned())].into(),
        ..asked
    };
    assert_ne!(server.start_run(labelled).await.run_id, last.run_id);
}

/// A client's limit for all headers of an answer is 16 KiB; one that exceeds it loses its code.
#[tokio::test]
async fn an_error_keeps_its_code_however_long_the_request_is_that_it_repeats() {
    let server = Server::start(&[]);
    let long = "\u{1b}é".repeat(170_000);
    let named = |agents: Vec<String>| {
        change(easy_plan(1), |group| {
            group.agents = Some(v1::AgentSelector { names: agents });
        })
    };
    let names = (0..256).map(|number| format!("{number:0>63}")).collect();
    let mut labelled = start(easy_plan(1), "");
    labelled.labels.insert(long.clone(), "x".into());
    let grouped = change(easy_plan(1), |group| group.name = long.clone());
    for (request, expected) in [
        (start(named(names), ""), FailureCode::AgentNotConnected),
        (
            start(named(vec![long.clone()]), ""),
            FailureCode::FieldOutOfRange,
        ),
        (start(grouped, ""), FailureCode::FieldOutOfRange),
        (labelled, FailureCode::FieldOutOfRange),
        (start(easy_plan(1), &long), FailureCode::FieldOutOfRange),
    ] {
        let refused = server.runs().await.start_run(request).await.unwrap_err();
        assert_eq!(code(&refused), expected);
    }
}
