//! Lists of runs and of agents: pages, orders, filters and views.

use metronome_proto::{
    threshold::Threshold,
    v1::{self, FailureCode, RunView},
};

use crate::common::{Server, agent::Agent, by_id, code, ended, figure, plan, start};

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
    // The outcome of each but the last, which fails, whatever the host does.
    let thresholds = [Some("lost=0"), Some("lost>0"), None, None, None];
    for (number, threshold) in thresholds.into_iter().enumerate() {
        let threshold = threshold.map(|text| text.parse::<Threshold>().unwrap().to_proto());
        let judged_by_it_alone = v1::Plan {
            thresholds: threshold.into_iter().collect(),
            no_default_objectives: true,
            ..plan(1, 1000, 10)
        };
        let request = v1::StartRunRequest {
            labels: [("number".to_owned(), number.to_string())].into(),
            ..start(judged_by_it_alone, "")
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
    assert_eq!(all("outcome = HELD", "").await, made[4..]);
    assert_eq!(all("outcome = NOT_HELD", "").await, made[3..4]);
    assert_eq!(all("outcome = NOT_JUDGED", "").await, made[1..3]);

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
