//! What a server refuses: the status, the code, the figures and the details of each error.

use metronome_proto::{
    profile::Profile,
    v1::{self, FailureCode, profile::Shape, watch_events_request::Runs as Watched},
};
use prost::bytes::{BufMut as _, Bytes};
use tonic::{
    Code, Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_types::StatusExt as _;

use crate::common::{
    Server, agent::Agent, by_id, change, code, easy_plan, ended, export, figure, group, plan,
    received, start, stop, watch,
};

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

fn span(millis: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: i64::from(millis / 1000),
        nanos: millis % 1000 * 1_000_000,
    })
}

/// A plan of 10 s whose one client has this load.
fn shaped(shape: Shape) -> v1::Plan {
    change(plan(1, 1, 10_000), |group| {
        group.profile = Some(v1::Profile { shape: Some(shape) });
    })
}

fn steps(steps: &[(u64, Option<i32>)]) -> v1::Plan {
    let step = |&(rate_millihertz, millis): &(u64, Option<i32>)| v1::Step {
        rate_millihertz,
        duration: millis.and_then(span),
    };
    let steps = steps.iter().map(step).collect();
    shaped(Shape::Steps(v1::Steps { steps }))
}

fn burst(packets: u32, every_millis: i32) -> v1::Plan {
    shaped(Shape::Burst(v1::Burst {
        packets,
        every: span(every_millis),
    }))
}

fn on_off(on_millis: i32, off_millis: i32) -> v1::Plan {
    shaped(Shape::OnOff(v1::OnOff {
        rate_millihertz: 1_000_000,
        on: span(on_millis),
        off: span(off_millis),
    }))
}

fn ramp(from_millihertz: u64, to_millihertz: u64) -> v1::Plan {
    shaped(Shape::Ramp(v1::Ramp {
        from_millihertz,
        to_millihertz,
    }))
}

fn poisson(rate_millihertz: u64) -> v1::Plan {
    shaped(Shape::Poisson(v1::Poisson { rate_millihertz }))
}

/// Plans with one field that no server of this version follows, and the path of that field.
fn bad_shapes() -> Vec<(&'static str, v1::Plan)> {
    const SECOND: Option<i32> = Some(1_000);
    let one_step = (1_000, SECOND);
    let rate = "plan.groups[0].profile.poisson.rate_millihertz";
    let of_steps = "plan.groups[0].profile.steps.steps";
    let of_first = "plan.groups[0].profile.steps.steps[0].duration";
    let of_second = "plan.groups[0].profile.steps.steps[1].duration";
    let duration_of_slow = |millihertz| {
        let group = group("slow", 1, Profile::constant(millihertz), &[]);
        let mut plan = plan(1, 1, 10_000);
        plan.groups.push(group);
        plan
    };
    vec![
        (rate, poisson(0)),
        (rate, poisson(100_000_001)),
        (
            "plan.groups[0].batch",
            change(poisson(1_000_000), |group| group.batch = 2),
        ),
        ("plan.groups[0].profile.burst.packets", burst(0, 1_000)),
        ("plan.groups[0].profile.burst.every", burst(1_001, 1)),
        ("plan.groups[0].profile.burst.every", burst(1, 0)),
        ("plan.groups[0].profile.ramp", ramp(0, 0)),
        (
            "plan.groups[0].profile.ramp.to_millihertz",
            ramp(0, 1_000_000_001),
        ),
        (of_steps, steps(&[])),
        (of_steps, steps(&[(0, None)])),
        (of_second, steps(&[one_step, one_step])),
        (of_first, steps(&[(1_000, Some(0)), (1_000, None)])),
        (of_first, steps(&[(1_000, None), (1_000, None)])),
        (of_steps, steps(&[(1_000, Some(10_000)), (1_000, None)])),
        (
            of_steps,
            steps(&[vec![(1_000, Some(10)); 32], vec![(1_000, None)]].concat()),
        ),
        ("plan.groups[0].profile.on_off.on", on_off(0, 1_000)),
        ("plan.groups[0].profile.on_off.off", on_off(1_000, 0)),
        // No period of it fits into the duration.
        ("plan.groups[1].profile", duration_of_slow(99)),
        ("plan.groups[0].profile", burst(1, 10_001)),
        ("plan.groups[0].profile", poisson(99)),
        ("plan.groups[0].profile", steps(&[(99, None)])),
    ]
}

/// Plans of several groups that do not go together, with the path of the field.
fn bad_groups() -> Vec<(&'static str, v1::Plan)> {
    let groups = |groups: Vec<v1::Group>| v1::Plan {
        groups,
        ..plan(1, 1, 1000)
    };
    let named = |name: &str, clients, rate_hz: u64| {
        group(name, clients, Profile::constant(rate_hz * 1000), &[])
    };
    let many = |count: usize| {
        let names = (0..count).map(|number| format!("g{number}"));
        groups(names.map(|name| named(&name, 1, 1)).collect())
    };
    vec![
        ("plan.groups", many(17)),
        (
            "plan.groups[1].name",
            groups(vec![named("x", 1, 1), named("x", 1, 1)]),
        ),
        // The name of a group that was given none.
        (
            "plan.groups[1].name",
            groups(vec![named("", 1, 1), named("default", 1, 1)]),
        ),
        (
            "plan.groups",
            groups(vec![named("x", 5_001, 1), named("y", 5_000, 1)]),
        ),
        // The server's own limit.
        (
            "plan.groups",
            groups(vec![named("x", 2_000, 1), named("y", 2_000, 1)]),
        ),
        (
            "plan.groups",
            groups(vec![named("x", 5, 1_000_000), named("y", 6, 1_000_000)]),
        ),
        (
            "plan.warm_up",
            v1::Plan {
                warm_up: span(1_000),
                ..plan(1, 1, 1000)
            },
        ),
        (
            "plan.seed",
            v1::Plan {
                seed: 1 << 53,
                ..plan(1, 1, 1000)
            },
        ),
    ]
}

#[tokio::test]
async fn a_bad_shape_or_group_is_refused_by_the_path_of_its_field_and_with_the_way_out() {
    let server = Server::start(&["--max-clients", "3000"]);
    let _agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    for (field, plan) in [bad_shapes(), bad_groups()].concat() {
        let shown = format!("{field}: {plan:?}");
        let answer = runs.start_run(start(plan, "")).await;
        let status = answer.expect_err(&shown);
        assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {status}");
        assert_eq!(code(&status), FailureCode::FieldOutOfRange, "{shown}");
        assert_eq!(figure(&status, "field"), field, "{shown}: {status}");
        assert!(status.message().contains(field), "{status}");
    }
    let listed = runs.list_runs(v1::ListRunsRequest::default()).await;
    let listed = listed.unwrap().into_inner();
    assert_eq!(listed.runs, [], "what was refused left nothing behind");
}

#[tokio::test]
async fn a_group_that_its_agents_cannot_take_is_named() {
    let server = Server::start(&["--max-clients", "1000"]);
    let _agents = [
        Agent::register(&server, "a").await,
        Agent::register(&server, "b").await,
    ];
    let mut runs = server.runs().await;
    let groups = |second: v1::Group| v1::Plan {
        groups: vec![group("first", 60, Profile::constant(1_000), &["a"]), second],
        ..plan(1, 1, 1000)
    };
    let second = |clients, agents: &[&str]| {
        groups(group("second", clients, Profile::constant(1_000), agents))
    };
    let full = runs.start_run(start(second(41, &["a"]), "")).await;
    let full = full.unwrap_err();
    assert_eq!(code(&full), FailureCode::AgentsFull);
    let figures = ["group", "clients", "clients_free", "agents"].map(|name| figure(&full, name));
    assert_eq!(figures, ["second", "41", "40", "1"]);
    assert!(full.message().contains("group second"), "{full}");
    let missing = runs.start_run(start(second(1, &["a", "x"]), "")).await;
    let missing = missing.unwrap_err();
    assert_eq!(code(&missing), FailureCode::AgentNotConnected);
    assert_eq!(figure(&missing, "agent_names"), "x");
    server.start_run(start(second(40, &["a"]), "")).await;
    server.start_run(start(group_of_b(), "")).await;
}

fn group_of_b() -> v1::Plan {
    v1::Plan {
        groups: vec![group("third", 100, Profile::constant(1_000), &["b"])],
        ..plan(1, 1, 1000)
    }
}

#[tokio::test]
async fn what_this_version_does_not_have_is_unsupported_and_never_replaced() {
    let server = Server::start(&[]);
    let _agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    let easy = || plan(1, 1, 1000);
    let requires = v1::Plan {
        requires: vec!["profile.constant".into(), "profile.warp".into()],
        ..easy()
    };
    for (field, plan) in [
        (
            "plan.groups[0].profile",
            change(easy(), |group| {
                group.profile = Some(v1::Profile { shape: None });
            }),
        ),
        (
            "plan.groups[0].phase",
            change(easy(), |group| group.phase = 5),
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
    let figures = ["clients", "clients_free", "max_clients"].map(|name| figure(&status, name));
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
    let asked = |of, after, changes| v1::WatchEventsRequest {
        runs: Some(of),
        after,
        changes,
        followed_run_ids: Vec::new(),
    };
    let followed = |of, ids: Vec<String>| v1::WatchEventsRequest {
        followed_run_ids: ids,
        ..asked(of, None, false)
    };
    let id = || Watched::RunId("0000000000000001".into());
    for (request, field) in [
        (asked(Watched::All(false), None, false), "all"),
        (asked(Watched::All(true), None, true), "changes"),
        (asked(Watched::Filter("x".into()), None, false), "filter"),
        (asked(Watched::RunId("1".into()), None, false), "run_id"),
        (asked(id(), Some(1), false), "after"),
        (
            followed(Watched::All(true), vec!["0000000000000001".into()]),
            "followed_run_ids",
        ),
        (
            followed(Watched::Filter(String::new()), vec!["1".into()]),
            "followed_run_ids",
        ),
        (
            followed(
                Watched::Filter(String::new()),
                vec!["0000000000000001".into(); 101],
            ),
            "followed_run_ids",
        ),
    ] {
        let status = runs.watch_events(request).await.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(figure(&status, "field"), field);
    }
    let unknown = asked(id(), Some(1), true);
    let status = runs.watch_events(unknown).await.map(drop).unwrap_err();
    assert_eq!(code(&status), FailureCode::RunUnknown);
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

/// Sends a message as it is.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}

/// The error of a call with these bytes and this encoding.
async fn refused(server: &Server, path: &'static str, bytes: Vec<u8>, encoding: &str) -> Status {
    let mut client = tonic::client::Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let mut request = Request::new(Bytes::from(bytes));
    let encoding = encoding.parse().unwrap();
    request.metadata_mut().insert("grpc-encoding", encoding);
    let path = http::uri::PathAndQuery::from_static(path);
    client.unary(request, path, Raw).await.unwrap_err()
}

#[tokio::test]
async fn what_the_library_refuses_by_itself_has_a_failure_too() {
    use FailureCode::{MessageTooLarge, MessageUnreadable, MethodUnknown};

    const GET_RUN: &str = "/metronome.v1.RunService/GetRun";
    let server = Server::start(&[]);
    let not_utf8 = || vec![0x0a, 2, 0xff, 0xff];
    let of_another_type = vec![0x08, 1];
    let no_message = vec![0x0a, 200, 1];
    let large = vec![0; metronome_proto::MESSAGE_BYTES_MAX + 1];
    for (path, bytes, encoding, grpc, expected) in [
        (
            GET_RUN,
            not_utf8(),
            "identity",
            Code::InvalidArgument,
            MessageUnreadable,
        ),
        (
            GET_RUN,
            of_another_type,
            "identity",
            Code::InvalidArgument,
            MessageUnreadable,
        ),
        (
            GET_RUN,
            no_message,
            "identity",
            Code::InvalidArgument,
            MessageUnreadable,
        ),
        (
            GET_RUN,
            large,
            "identity",
            Code::ResourceExhausted,
            MessageTooLarge,
        ),
        (
            GET_RUN,
            Vec::new(),
            "br",
            Code::Unimplemented,
            MethodUnknown,
        ),
        (
            "/metronome.v1.RunService/Nothing",
            Vec::new(),
            "identity",
            Code::Unimplemented,
            MethodUnknown,
        ),
        (
            "/no.such/Method",
            not_utf8(),
            "identity",
            Code::Unimplemented,
            MethodUnknown,
        ),
    ] {
        let status = refused(&server, path, bytes, encoding).await;
        assert_eq!(status.code(), grpc, "{path}: {status:?}");
        assert_eq!(code(&status), expected, "{path}");
    }
    // The standard services answer as their protos have it.
    let health = "/grpc.health.v1.Health/Check";
    let status = refused(&server, health, not_utf8(), "identity").await;
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    assert!(status.details().is_empty(), "{status:?}");
}

#[tokio::test]
async fn an_error_stays_small_whatever_the_request_made_long() {
    let server = Server::start(&[]);
    let _agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    let names: Vec<_> = (1..=60)
        .map(|number| format!("{number}{}", "n".repeat(60)))
        .collect();
    let named = change(plan(1, 1, 1000), |group| {
        group.agents = Some(v1::AgentSelector { names });
    });
    let status = runs.start_run(start(named, "")).await.unwrap_err();
    assert_eq!(figure(&status, "agents"), "60");
    assert!(status.message().ends_with("… and 57 more"), "{status}");
    let long = "n".repeat(900_000);
    for status in [
        runs.get_run(by_id(&long)).await.unwrap_err(),
        runs.start_run(start(plan(1, 1, 1000), &long))
            .await
            .unwrap_err(),
    ] {
        assert!(status.message().len() <= 512, "{status}");
        code(&status);
    }
}
