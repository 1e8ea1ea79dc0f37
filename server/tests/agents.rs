//! Agents on a real server: honest ones, lying ones, and those that go.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use metronome_proto::v1::{self, VerdictStatus, agent_message::Message};
use tonic::Code;

use common::{
    Server,
    agent::{Agent, Pace, register},
    codes, easy_plan, ended, plan, start,
};

async fn start_run(server: &Server, plan: v1::Plan) -> String {
    server
        .operator()
        .await
        .start_run(start(plan, ""))
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap()
        .run_id
}

fn verdict(run: &v1::Run) -> v1::Verdict {
    run.report.clone().unwrap().verdict.unwrap()
}

#[tokio::test]
async fn an_honest_run_is_valid_and_every_client_has_its_row() {
    let server = Server::start(&["--workers", "2"]);
    let mut agent = Agent::register(&server, "honest").await;
    // A second run works like the first.
    for _ in 0..2 {
        let run_id = start_run(&server, easy_plan(5)).await;
        let prepare = agent.receive_prepare().await;
        assert_eq!(
            (
                prepare.clients,
                prepare.clients_total,
                prepare.packets_per_client
            ),
            (5, 5, 10)
        );
        agent.run_honestly(&server, &prepare).await;
        let mut operator = server.operator().await;
        let run = ended(&mut operator, &run_id).await;
        assert_eq!(
            (verdict(&run).status(), codes(&run)),
            (VerdictStatus::Valid, vec![])
        );
        let report = run.report.unwrap();
        let packets = report.packets.unwrap();
        assert_eq!([packets.scheduled, packets.sent, packets.received], [50; 3]);
        assert!(report.laws.iter().all(|law| law.holds), "{:?}", report.laws);
        assert_eq!(report.transit.unwrap().count, 50);
        let mut pages = operator
            .list_clients(v1::ListClientsRequest { run_id })
            .await
            .unwrap()
            .into_inner();
        let rows = pages.message().await.unwrap().unwrap().clients;
        assert_eq!(
            rows.iter()
                .map(|row| (row.client, row.received))
                .collect::<Vec<_>>(),
            [0, 1, 2, 3, 4].map(|i| (i, 10))
        );
    }
}

#[tokio::test]
async fn an_agent_that_claims_the_impossible_makes_its_run_invalid_and_harms_nothing_else() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "liar").await;
    let run_id = start_run(&server, plan(1, 1000.0, 10)).await;
    let prepare = agent.receive_prepare().await;
    agent.send_prepared(&prepare.run_id).await;
    agent.receive_start().await;
    let progress = v1::Progress {
        run_id: run_id.clone(),
        sent: u64::MAX,
        skipped: u64::MAX,
        clients_broken: u32::MAX,
    };
    agent.send(Message::Progress(progress)).await;
    let record = |client| v1::ClientRecord {
        client,
        scheduled: u64::MAX,
        sent: u64::MAX,
        skipped: u64::MAX,
        digest: u64::MAX,
        acknowledged: Some(u64::MAX),
        kernel_acknowledged_bytes: Some(u64::MAX),
        attempts: u32::MAX,
        error: format!("\x1b[31m{}", "x".repeat(10_000)),
        blocked: u64::MAX,
    };
    agent
        .send_records(
            &run_id,
            vec![record(0), record(0), record(1), record(u32::MAX)],
        )
        .await;
    agent.send_finished(&run_id).await;
    let run = ended(&mut server.operator().await, &run_id).await;
    assert_eq!(verdict(&run).status(), VerdictStatus::Invalid);
    assert!(
        codes(&run).contains(&"RECORDS_CONTRADICT".to_owned()),
        "{:?}",
        codes(&run)
    );
    let texts = verdict(&run)
        .reasons
        .iter()
        .map(|reason| reason.text.clone())
        .collect::<String>();
    assert!(!texts.contains('\x1b'));

    let run_id = start_run(&server, plan(1, 1000.0, 10)).await;
    let prepare = agent.receive_prepare().await;
    agent.run_honestly(&server, &prepare).await;
    let run = ended(&mut server.operator().await, &run_id).await;
    assert_eq!(run.report.unwrap().packets.unwrap().received, 10);
}

#[tokio::test]
async fn a_burst_that_passes_for_a_paced_load_makes_the_run_invalid() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "hasty").await;
    for (pace, code) in [
        (Pace::AtOnce, "READ_BEFORE_WRITTEN"),
        (Pace::AtOnceAndDueThen, "SCHEDULE_NOT_FOLLOWED"),
    ] {
        let run_id = start_run(&server, easy_plan(2)).await;
        let prepare = agent.receive_prepare().await;
        agent.run(&server, &prepare, pace).await;
        let run = ended(&mut server.operator().await, &run_id).await;
        assert_eq!(
            run.report.as_ref().unwrap().packets.unwrap().received,
            20,
            "as many as planned"
        );
        assert_eq!(verdict(&run).status(), VerdictStatus::Invalid, "{pace:?}");
        assert!(
            codes(&run).contains(&code.to_owned()),
            "{pace:?} {:?}",
            codes(&run)
        );
    }
}

#[tokio::test]
async fn the_run_goes_on_without_an_agent_that_is_lost() {
    let server = Server::start(&[]);
    let (lost, mut left) = (
        Agent::register(&server, "a-lost").await,
        Agent::register(&server, "b-left").await,
    );
    let run_id = start_run(&server, easy_plan(2)).await;
    let prepare = left.receive_prepare().await;
    assert_eq!(
        (prepare.agent_index, prepare.first_client, prepare.clients),
        (1, 1, 1)
    );
    drop(lost);
    left.run_honestly(&server, &prepare).await;
    let run = ended(&mut server.operator().await, &run_id).await;
    assert_eq!(
        (verdict(&run).status(), codes(&run)),
        (VerdictStatus::Partial, vec!["AGENT_LOST".to_owned()])
    );
    assert_eq!(run.report.unwrap().packets.unwrap().received, 10);
}

#[tokio::test]
async fn a_silent_agent_is_lost_after_three_seconds_and_its_name_is_free_again() {
    let server = Server::start(&[]);
    let mut silent = Agent::register(&server, "a1").await;
    let run_id = start_run(&server, plan(1, 1000.0, 10)).await;
    let heard_at = std::time::Instant::now();
    let status = loop {
        if let Err(status) = silent.receive_anything().await {
            break status;
        }
    };
    assert!(
        (2..8).contains(&heard_at.elapsed().as_secs()),
        "{:?}",
        heard_at.elapsed()
    );
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let run = ended(&mut server.operator().await, &run_id).await;
    assert_eq!(codes(&run), ["NOTHING_SENT", "AGENT_LOST"]);
    Agent::register(&server, "a1").await;
}

#[tokio::test]
async fn what_an_agent_cannot_do_it_reports_and_the_report_repeats() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = start_run(&server, plan(1, 1000.0, 10)).await;
    agent.receive_prepare().await;
    let error = "connection refused by 127.0.0.1:1".to_owned();
    agent
        .send(Message::Failed(v1::Failed {
            run_id: run_id.clone(),
            error: error.clone(),
        }))
        .await;
    let run = ended(&mut server.operator().await, &run_id).await;
    assert_eq!(codes(&run), ["NOTHING_SENT", "AGENT_LOST"]);
    assert_eq!(run.report.as_ref().unwrap().agents[0].error, error);
    assert!(verdict(&run).reasons[1].text.contains(&error));
}

#[tokio::test]
async fn a_stop_reaches_the_agents_and_the_run_is_partial() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut operator = server.operator().await;
    for stop_all in [false, true] {
        let run_id = start_run(&server, plan(1, 1000.0, 3_600_000)).await;
        let prepare = agent.receive_prepare().await;
        agent.send_prepared(&prepare.run_id).await;
        agent.receive_start().await;
        if stop_all {
            let stopped = operator
                .stop_all(v1::StopAllRequest {})
                .await
                .unwrap()
                .into_inner();
            assert_eq!(stopped.run_ids, std::slice::from_ref(&run_id));
        } else {
            operator
                .stop_run(v1::StopRunRequest {
                    run_id: run_id.clone(),
                })
                .await
                .unwrap();
        }
        assert_eq!(agent.receive_stop().await.run_id, run_id);
        agent
            .send_records(&run_id, vec![v1::ClientRecord::default()])
            .await;
        agent.send_finished(&run_id).await;
        let run = ended(&mut operator, &run_id).await;
        assert!(
            codes(&run).contains(&"STOPPED".to_owned()),
            "{:?}",
            codes(&run)
        );
        // Stopping what has ended changes nothing.
        let again = operator
            .stop_run(v1::StopRunRequest { run_id })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(again.run, Some(run));
    }
}

#[tokio::test]
async fn a_run_stopped_before_its_first_packet_is_stopped_and_nothing_worse() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut operator = server.operator().await;
    for is_prepared in [false, true] {
        let run_id = start_run(&server, plan(1, 1.0, 3_600_000)).await;
        let prepare = agent.receive_prepare().await;
        if is_prepared {
            agent.send_prepared(&prepare.run_id).await;
            agent.receive_start().await;
        }
        operator
            .stop_run(v1::StopRunRequest {
                run_id: run_id.clone(),
            })
            .await
            .unwrap();
        agent.receive_stop().await;
        let error = "the run was stopped while its clients connected".to_owned();
        agent
            .send_records(
                &run_id,
                vec![v1::ClientRecord {
                    error: error.clone(),
                    ..Default::default()
                }],
            )
            .await;
        if is_prepared {
            agent.send_finished(&run_id).await;
        } else {
            agent
                .send(Message::Failed(v1::Failed {
                    run_id: run_id.clone(),
                    error,
                }))
                .await;
        }
        let run = ended(&mut operator, &run_id).await;
        assert_eq!(verdict(&run).status(), VerdictStatus::Partial);
        assert!(
            codes(&run).contains(&"STOPPED".to_owned()),
            "{:?}",
            codes(&run)
        );
    }
}

#[tokio::test]
async fn a_renewal_lists_the_runs_that_live_and_no_others() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    assert_eq!(agent.receive_renewed_runs().await, [""; 0]);
    let run_id = start_run(&server, easy_plan(1)).await;
    let prepare = agent.receive_prepare().await;
    assert_eq!(
        agent.receive_renewed_runs().await,
        std::slice::from_ref(&run_id)
    );
    agent.run_honestly(&server, &prepare).await;
    ended(&mut server.operator().await, &run_id).await;
    // One may have been on its way.
    while agent.receive_renewed_runs().await != [""; 0] {}
}

#[tokio::test]
async fn an_agent_whose_stream_breaks_is_lost_in_words_for_people() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = start_run(&server, easy_plan(1)).await;
    agent.receive_prepare().await;
    let error = "x".repeat(metronome_proto::MESSAGE_BYTES_MAX);
    agent
        .send_records(
            &run_id,
            vec![v1::ClientRecord {
                error,
                ..Default::default()
            }],
        )
        .await;
    let run = ended(&mut server.operator().await, &run_id).await;
    assert_eq!(
        run.report.unwrap().agents[0].error,
        "it sent a message of more than 1 MiB"
    );
}

#[tokio::test]
async fn a_name_can_be_had_once_and_what_is_no_name_not_at_all() {
    let server = Server::start(&[]);
    let _agent = Agent::register(&server, "a1").await;
    let refused = async |first: Message| match Agent::send_first(&server, first).await {
        Err(status) => status,
        Ok(_) => panic!("it was welcome"),
    };
    let taken = refused(Message::Register(register("a1"))).await;
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert!(
        taken.message().contains("a1") && taken.message().contains("--name"),
        "{taken}"
    );
    for name in ["", "A", "a b", "a\x1b[31m", &"a".repeat(64)] {
        assert_eq!(
            refused(Message::Register(register(name))).await.code(),
            Code::InvalidArgument,
            "{name:?}"
        );
    }
    for clients_max in [0, 10_001, u32::MAX] {
        let first = Message::Register(v1::Register {
            clients_max,
            ..register("b")
        });
        assert_eq!(refused(first).await.code(), Code::InvalidArgument);
    }
    assert_eq!(
        refused(Message::Alive(v1::Alive {})).await.code(),
        Code::InvalidArgument
    );
    let listed = server
        .operator()
        .await
        .list_agents(v1::ListAgentsRequest {})
        .await
        .unwrap()
        .into_inner()
        .agents;
    assert_eq!(
        listed
            .iter()
            .map(|agent| (agent.name.as_str(), agent.shares_clock))
            .collect::<Vec<_>>(),
        [("a1", true)]
    );
}

#[tokio::test]
async fn late_unknown_and_malformed_messages_do_no_harm() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    for run_id in ["0123456789abcdef", "0000000000000000"] {
        agent.send_prepared(run_id).await;
        agent
            .send_records(run_id, vec![v1::ClientRecord::default(); 1000])
            .await;
        agent.send_finished(run_id).await;
    }
    let run_id = start_run(&server, easy_plan(1)).await;
    let prepare = agent.receive_prepare().await;
    agent.run_honestly(&server, &prepare).await;
    agent.send_finished(&run_id).await;
    assert_eq!(
        verdict(&ended(&mut server.operator().await, &run_id).await).status(),
        VerdictStatus::Valid
    );

    agent.send_prepared("no run id").await;
    let status = agent.receive().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
