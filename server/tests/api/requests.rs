//! A run from its request to its deletion: the plan as it is carried out, the `request_id`, and
//! what is left once it is deleted.

use metronome_proto::v1::{self, FailureCode};
use tonic::Code;

use crate::common::{
    Server, agent::Agent, code, codes, easy_plan, ended, export, figure, plan, start,
};

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
    assert_eq!(codes(&last), []);
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
