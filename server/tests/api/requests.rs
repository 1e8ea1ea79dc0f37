//! A run from its request to its deletion: the plan as it is carried out, the `request_id`, and
//! what is left once it is deleted.

use std::time::Duration;

use metronome_proto::{
    limits::SEED_MAX,
    profile::Profile,
    v1::{self, FailureCode},
};
use tonic::Code;

use crate::common::{
    Server,
    agent::{Agent, shares},
    code, codes, easy_plan, ended, export, figure, group, plan, received, start, stop,
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
    assert_eq!(group.phase(), v1::Phase::Auto);
    assert!((1..=SEED_MAX).contains(&plan.seed), "{}", plan.seed);
    assert_eq!(run.labels, labels);
    assert!(!run.request_id.is_empty() && run.created_at.is_some());
    assert_eq!(
        (run.started_at, run.ended_at, run.failure),
        (None, None, None)
    );
}

#[tokio::test]
async fn a_seed_that_is_given_stays_and_one_that_is_drawn_repeats_the_run() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let seeded = v1::Plan {
        seed: 7,
        ..easy_plan(1)
    };
    for (asked, is_given) in [(seeded, true), (easy_plan(1), false)] {
        let request = start(asked, if is_given { "given" } else { "drawn" });
        let run = server.start_run(request.clone()).await;
        let plan = run.plan.clone().unwrap();
        assert_eq!(plan.seed == 7, is_given, "{}", plan.seed);
        assert_eq!(agent.receive_prepare().await.seed, plan.seed);
        let again = server.start_run(request).await;
        assert_eq!((again.run_id, again.plan), (run.run_id.clone(), run.plan));
        // The plan as it is stored is one that can be asked for.
        let repeated = server.start_run(start(plan.clone(), "")).await;
        assert_eq!(repeated.plan.as_ref(), Some(&plan));
        for run_id in [run.run_id, repeated.run_id] {
            server.runs().await.stop_run(stop(&run_id)).await.unwrap();
        }
        agent.receive_prepare().await;
        agent.receive_stop().await;
        agent.receive_stop().await;
    }
}

#[tokio::test]
async fn the_groups_of_a_run_go_to_the_agents_that_they_name() {
    let server = Server::start(&[]);
    let mut a = Agent::register(&server, "a").await;
    let mut b = Agent::register(&server, "b").await;
    let poisson = Profile::Poisson {
        rate_millihertz: 200_000,
    };
    let asked = v1::Plan {
        groups: vec![
            group("both", 4, Profile::constant(50_000), &[]),
            group("one", 3, poisson, &["b"]),
            group("rest", 1, Profile::constant(100_000), &["a"]),
        ],
        ..easy_plan(1)
    };
    let run = server.start_run(start(asked, "")).await;
    let (first, second) = (a.receive_prepare().await, b.receive_prepare().await);
    let given = |prepare: &v1::Prepare| {
        let shares = shares(prepare).into_iter();
        let places = shares.map(|of| (of.group, of.clients, of.first_in_group, of.clients_total));
        places.collect::<Vec<_>>()
    };
    let place = |name: &str, clients, first, total| (name.to_owned(), clients, first, total);
    assert_eq!(
        given(&first),
        [place("both", 0..2, 0, 4), place("rest", 7..8, 0, 1)]
    );
    assert_eq!(
        given(&second),
        [place("both", 2..4, 2, 4), place("one", 4..7, 0, 3)]
    );
    assert_eq!(first.seed, second.seed);
    tokio::join!(
        a.run_honestly(&server, &first),
        b.run_honestly(&server, &second)
    );
    let last = ended(&server, &run.run_id).await;
    assert_eq!(codes(&last), []);
    let report = last.report.clone().unwrap();
    let names: Vec<_> = report.groups.iter().map(|it| it.group.as_str()).collect();
    assert_eq!(names, ["both", "one", "rest"]);
    // What is drawn is drawn again from the seed.
    let load = shares(&second)[1].load(Duration::from_millis(200), second.seed);
    let drawn = (4..7).map(|client| {
        let schedule = load.schedule(0, client).unwrap();
        let mut cursor = schedule.first();
        while !cursor.is_over(&schedule) {
            cursor.advance(&schedule);
        }
        cursor.place()
    });
    assert_eq!(received(&last), 4 * 10 + drawn.sum::<u64>() + 20);
    let rows = export(&server, &run.run_id, 0).await.unwrap().concat();
    let clients = rows.iter().map(|row| row.client);
    assert!(clients.eq(0..8), "rows are in the order of the clients");
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
