//! The stream between an agent and a server: lost and taken up again, refused, never answered.

use std::time::Duration;

use metronome_os::clock;
use metronome_proto::v1::{
    self, FailureCode, agent_service_session_request::Message as Report,
    agent_service_session_response::Message as Order,
};

use crate::{
    LONG_LEASE,
    master::{Agent, Master, RUN, TOKEN},
    record_is_complete, running,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_comes_back_with_its_run_when_its_stream_is_lost_and_the_load_goes_on() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let (mut session, peer) = running(&mut master, 2, LONG_LEASE).await;
    let sent_before = session.progress().await;
    drop(session);
    let mut session = master.welcomed(LONG_LEASE).await;
    assert_eq!(session.registered.run_ids, [RUN]);
    assert_eq!(
        session.registered.resume_token, TOKEN,
        "it takes its own place back"
    );
    // What may have been lost is sent again.
    session.prepared().await;
    assert!(session.progress().await >= sent_before);
    session.stop().await;
    let (records, _) = session.finished().await;
    records.iter().for_each(record_is_complete);
    assert!(
        records.iter().all(|record| record.attempts == 1),
        "no client has connected again"
    );
    assert_eq!(peer.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_probe_of_the_clock_is_answered_with_readings_between_its_sending_and_the_receipt() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let mut session = master.welcomed(LONG_LEASE).await;
    for _ in 0..40 {
        let server_ns = clock::now_ns();
        session
            .order(Order::ClockProbe(v1::ClockProbe { server_ns }))
            .await;
        let reading = session
            .next(|report| match report {
                Report::ClockReading(reading) => Some(reading),
                _ => None,
            })
            .await;
        // Both are on one host, so on one clock.
        let order = [
            server_ns,
            reading.received_ns,
            reading.sent_ns,
            clock::now_ns(),
        ];
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(reading.server_ns, server_ns);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn last_reports_are_sent_again_on_a_new_stream_until_the_server_no_longer_lists_the_run() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let (mut session, peer) = running(&mut master, 2, LONG_LEASE).await;
    session.stop().await;
    let reported = session.finished().await;
    drop((session, peer.received()));
    let mut session = master.welcomed(LONG_LEASE).await;
    assert_eq!(session.registered.run_ids, [RUN]);
    assert_eq!(session.finished().await, reported);
    for _ in 0..2 {
        session.order(Order::Renew(v1::Renew::default())).await;
    }
    // Any answer comes after the Renews were read.
    session
        .order(Order::Prepare(v1::Prepare {
            run_id: "00000000000000bb".into(),
            ..v1::Prepare::default()
        }))
        .await;
    session.failed().await;
    drop(session);
    assert_eq!(
        master.welcomed(LONG_LEASE).await.registered.run_ids,
        ["00000000000000bb"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_the_load_ends_with_its_lease() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let (session, peer) = running(&mut master, 2, Duration::from_millis(1500)).await;
    drop((session, master));
    assert!(
        peer.received()
            .iter()
            .all(|received| received.end == Some(received.packets)),
        "load ended in good order"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_name_is_taken_tries_again() {
    // As after an upgrade: the name is kept for the agent that had it, for 3 s.
    let code = FailureCode::AgentNameTaken;
    let refusal = v1::Failure::new(code, "another agent named twin is connected");
    let mut master = Master::start_refusing(2, refusal.clone()).await;
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let file = log.reopen().expect("it is there");
    let agent = Agent::start_logging(&master.address, &["--name", "twin"], file.into());
    let session = master.welcomed(LONG_LEASE).await;
    assert_eq!(session.registered.name, "twin");
    assert!(agent.terminate().await.0.success());
    let log = std::fs::read_to_string(log.path()).expect("it is text");
    for part in [code.name(), code.remedy(), &refusal.sentence] {
        assert_eq!(log.matches(part).count(), 1, "{part:?} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_server_ends_when_it_is_stopped() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound").to_string();
    let mut agent = Agent::start(&address, &[]);
    // It is up once it dials, and never gets an answer.
    let (_silent, _) = free.accept().expect("the agent dials");
    assert!(agent.is_running());
    let (status, stdout) = agent.terminate().await;
    assert!(status.success() && stdout.is_empty(), "{status} {stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_protocol_version_is_left_and_tried_again() {
    let mut master = Master::start().await;
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let file = log.reopen().expect("it is there");
    let _agent = Agent::start_logging(&master.address, &[], file.into());
    let session = master.session().await;
    session
        .order(Order::Welcome(v1::Welcome {
            protocol_version: 3,
            ..v1::Welcome::default()
        }))
        .await;
    let again = master.session().await;
    assert_eq!(again.registered.name, session.registered.name);
    let log = std::fs::read_to_string(log.path()).expect("it is text");
    let code = FailureCode::Unsupported;
    assert!(
        log.contains(code.name()) && log.contains(code.remedy()),
        "{log}"
    );
}
