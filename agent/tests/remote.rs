//! An agent that a server controls: every step of a run over the real stream, and every way in
//! which one can end early.

mod master;
mod peer;

use std::time::{Duration, Instant};

use master::{Agent, Master, RUN, TOKEN, key, prepare, target};
use metronome_proto::v1::{
    self, FailureCode, GeneratorCounts, agent_service_session_request::Message as Report,
    agent_service_session_response::Message as Order, start::At,
};
use peer::{Behaviour, Peer};

const LONG_LEASE: Duration = Duration::from_secs(10);
/// More than any test lets a run go on: a minute at 1 kHz.
const ENDLESS: u32 = 60_000;

fn counts(record: &v1::ClientRecord) -> GeneratorCounts {
    record.counts.expect("it was connected")
}

/// Whether the schedule of a client of an endless run ended early.
fn is_cut_short(record: &v1::ClientRecord) -> bool {
    counts(record).scheduled < ENDLESS.into()
}

#[track_caller]
fn record_is_complete(record: &v1::ClientRecord) {
    let counts = counts(record);
    assert_eq!(counts.scheduled, counts.sent + counts.skipped, "{record:?}");
    assert_eq!(record.acknowledged, Some(counts.sent), "{record:?}");
    assert_eq!(
        record.kernel_acknowledged_bytes,
        Some(32 * counts.sent),
        "{record:?}"
    );
    assert_eq!((&record.failure, counts.blocked), (&None, 0), "{record:?}");
}

async fn running(master: &mut Master, clients: u32, lease: Duration) -> (master::Session, Peer) {
    let peer = Peer::start_with(clients as usize, Behaviour::Proper, key());
    let mut session = master.welcomed(lease).await;
    session
        .order(Order::Prepare(prepare(peer.port, clients, ENDLESS)))
        .await;
    session.prepared().await;
    session.start().await;
    let progressed = |report| match report {
        Report::Progress(progress) => progress.counts.filter(|counts| counts.sent > 0),
        _ => None,
    };
    let counts = session.next(progressed).await;
    assert!(
        counts.scheduled >= counts.sent + counts.skipped,
        "{counts:?}"
    );
    (session, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_from_prepare_to_the_final_records() {
    let mut master = Master::start().await;
    let agent = Agent::start(&master.address, &["--name", "load-1"]);
    let peer = Peer::start_with(4, Behaviour::Proper, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    assert_eq!(session.registered.name, "load-1");
    let versions = [
        session.registered.protocol_version_min,
        session.registered.protocol_version_max,
    ];
    assert_eq!(versions, [1, 1]);
    assert_eq!(
        session.registered.capabilities,
        ["profile.constant", "profile.flood"]
    );
    assert!(session.registered.resume_token.is_empty());
    let capacity = session.registered.capacity.expect("it is known");
    assert!(capacity.clients_max == 10_000 && capacity.cores > 0);
    let clock = session.registered.clock.as_ref().expect("it is known");
    assert!(!clock.boot_id.is_empty());
    session.order_something_unknown().await;
    session
        .order(Order::Prepare(prepare(peer.port, 4, 700)))
        .await;
    session.prepared().await;
    session.start().await;
    let (records, finished) = session.finished().await;
    assert_eq!(records.len(), 4);
    let mut received = peer.received();
    received.sort_by_key(|received| received.hello.map(|hello| hello.client));
    for (record, received) in records.iter().zip(&received) {
        record_is_complete(record);
        assert_eq!((counts(record).scheduled, counts(record).sent), (700, 700));
        assert_eq!((record.digest, record.attempts), (received.digest, 1));
        assert_eq!(received.packets, 700);
    }
    assert!(finished.cpu_ns > Some(0) && finished.writes > Some(0));
    assert!(finished.oversleep_max_ns.is_some());
    let (status, stdout) = agent.terminate().await;
    assert!(status.success());
    let ready = format!(
        "metronome-agent ready: name load-1 server http://{}\n",
        master.address
    );
    assert_eq!(stdout, ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stopped_in_the_middle_ends_in_good_order() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let (mut session, peer) = running(&mut master, 3, LONG_LEASE).await;
    session.stop().await;
    let (records, _) = session.finished().await;
    assert_eq!(records.len(), 3);
    records.iter().for_each(record_is_complete);
    assert!(
        records
            .iter()
            .all(|record| counts(record).sent > 0 && is_cut_short(record))
    );
    assert!(
        peer.received()
            .iter()
            .all(|received| received.end == Some(received.packets))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stopped_before_its_start_sends_nothing_and_ends_in_good_order() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_with(2, Behaviour::Proper, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    session
        .order(Order::Prepare(prepare(peer.port, 2, ENDLESS)))
        .await;
    session.prepared().await;
    session.stop().await;
    let (records, finished) = session.finished().await;
    records.iter().for_each(record_is_complete);
    // No pacing thread has run, so nothing was measured about one.
    assert_eq!((finished.cpu_ns, finished.oversleep_max_ns), (None, None));
    assert_eq!(finished.writes, Some(0));
    assert!(
        peer.received()
            .iter()
            .all(|received| received.end == Some(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stopped_while_it_connects_fails_at_once() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_with(1, Behaviour::NeverAcks, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    session
        .order(Order::Prepare(prepare(peer.port, 1, ENDLESS)))
        .await;
    session.stop().await;
    let (records, failure) = session.cut_short().await;
    assert_eq!(failure.code(), FailureCode::Stopped);
    assert_eq!((records.len(), records[0].counts), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn load_ends_by_itself_when_the_lease_is_not_renewed() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let begun = Instant::now();
    let (mut session, peer) = running(&mut master, 2, Duration::from_millis(1500)).await;
    let (records, failure) = session.cut_short().await;
    assert_eq!(failure.code(), FailureCode::LeaseOver, "{failure:?}");
    assert!(begun.elapsed() >= Duration::from_millis(1500));
    records.iter().for_each(record_is_complete);
    assert!(records.iter().all(is_cut_short));
    drop(peer.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_lease_lets_the_load_go_on() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let lease = Duration::from_millis(1500);
    let (mut session, peer) = running(&mut master, 1, lease).await;
    let begun = Instant::now();
    while begun.elapsed() < 2 * lease {
        let progressed = |report| matches!(report, Report::Progress(_)).then_some(());
        session.next(progressed).await;
        session
            .order(Order::Renew(v1::Renew {
                run_ids: vec![RUN.into()],
            }))
            .await;
    }
    session.stop().await;
    let (records, _) = session.finished().await;
    records.iter().for_each(record_is_complete);
    assert!(counts(&records[0]).sent > 2500, "{records:?}");
    drop(peer.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_two_renewals_in_a_row_do_not_list_ends() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let (mut session, peer) = running(&mut master, 1, LONG_LEASE).await;
    let renew = |run_ids: &[&str]| {
        Order::Renew(v1::Renew {
            run_ids: run_ids.iter().map(ToString::to_string).collect(),
        })
    };
    // Once may be a matter of messages that crossed.
    for listed in [&[][..], &[RUN], &["0123456789abcdef"]] {
        session.order(renew(listed)).await;
    }
    let before = session.progress().await;
    while session.progress().await <= before {}
    session.order(renew(&[])).await;
    let (records, failure) = session.cut_short().await;
    assert_eq!(failure.code(), FailureCode::RunNotListed, "{failure:?}");
    records.iter().for_each(record_is_complete);
    assert!(is_cut_short(&records[0]));
    drop(peer.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_reports_its_runs_first() {
    let mut master = Master::start().await;
    let agent = Agent::start(&master.address, &[]);
    let (mut session, peer) = running(&mut master, 2, LONG_LEASE).await;
    let stopped = Instant::now();
    let (ended, (records, failure)) = tokio::join!(agent.terminate(), session.cut_short());
    assert_eq!(failure.code(), FailureCode::AgentShutDown, "{failure:?}");
    assert!(ended.0.success());
    assert!(
        stopped.elapsed() < Duration::from_secs(3),
        "{:?}",
        stopped.elapsed()
    );
    records.iter().for_each(record_is_complete);
    drop(peer.received());
}

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
            protocol_version: 2,
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

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_was_not_answered_is_tried_again() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_with(2, Behaviour::AcksTheSecondHello, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    session
        .order(Order::Prepare(prepare(peer.port, 1, 10)))
        .await;
    session.prepared().await;
    session.start().await;
    let (records, _) = session.finished().await;
    records.iter().for_each(record_is_complete);
    assert_eq!(peer.received()[0].unasked_bytes, 0);
}

/// The order, with its only share changed.
fn with_share(mut order: v1::Prepare, change: fn(&mut v1::AgentShare)) -> v1::Prepare {
    change(&mut order.shares[0]);
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_an_agent_cannot_follow_are_answered_and_the_next_run_works() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &["--clients-max", "5"]);
    let mut session = master.welcomed(LONG_LEASE).await;
    let order = || prepare(1, 1, 1);
    let orders = [
        (
            with_share(order(), |share| share.target = target("192.0.2.1:80")),
            FailureCode::TargetNotAllowed,
        ),
        (
            with_share(order(), |share| share.target = target("169.254.169.254:80")),
            FailureCode::TargetNotAllowed,
        ),
        (
            with_share(order(), |share| share.target = target("host.invalid:80")),
            FailureCode::TargetUnknown,
        ),
        (prepare(1, 6, 1), FailureCode::AgentClientsFull),
        (
            v1::Prepare {
                key: vec![0; 5],
                ..order()
            },
            FailureCode::OrderNotFollowed,
        ),
        (
            v1::Prepare {
                run_id: "\x1b[31m".into(),
                ..order()
            },
            FailureCode::OrderNotFollowed,
        ),
        (v1::Prepare::default(), FailureCode::OrderNotFollowed),
        (
            v1::Prepare {
                requires: vec!["warp".into()],
                ..order()
            },
            FailureCode::Unsupported,
        ),
        (
            with_share(order(), |share| {
                share.profile = Some(v1::Profile { shape: None });
            }),
            FailureCode::Unsupported,
        ),
        (
            with_share(order(), |share| share.phase = 77),
            FailureCode::Unsupported,
        ),
        (
            v1::Prepare {
                shares: [order().shares, order().shares].concat(),
                ..order()
            },
            FailureCode::Unsupported,
        ),
    ];
    for (order, code) in orders {
        session.order(Order::Prepare(order)).await;
        let failure = session.failed().await;
        assert_eq!(failure.code(), code, "{failure:?}");
        assert_eq!(failure.remedy, code.remedy());
        let lacks = failure.figures.contains_key("agent");
        assert_eq!(lacks, code == FailureCode::Unsupported, "{failure:?}");
    }
    let peer = Peer::start_with(5, Behaviour::Proper, key());
    session
        .order(Order::Prepare(prepare(peer.port, 5, 10)))
        .await;
    session.prepared().await;
    session.start().await;
    session
        .finished()
        .await
        .0
        .iter()
        .for_each(record_is_complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_other_runs_use_are_not_free() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &["--clients-max", "5"]);
    let (mut session, peer) = running(&mut master, 3, LONG_LEASE).await;
    session
        .order(Order::Prepare(v1::Prepare {
            run_id: "00000000000000bb".into(),
            ..prepare(1, 3, 1)
        }))
        .await;
    let failure = session.failed().await;
    assert_eq!(failure.code(), FailureCode::AgentClientsFull);
    for (figure, value) in [("clients", 3_u32), ("clients_max", 5), ("clients_busy", 3)] {
        assert_eq!(failure.figures[figure], value.into(), "{figure}");
    }
    session.stop().await;
    session.finished().await;
    drop(peer.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_connections_is_reported_with_the_client_and_the_tries() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let mut session = master.welcomed(LONG_LEASE).await;
    let deadline = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    session
        .order(Order::Prepare(v1::Prepare {
            deadline,
            ..prepare(port, 3, 10)
        }))
        .await;
    let (records, failure) = session.cut_short().await;
    assert_eq!(failure.code(), FailureCode::ConnectionRefused);
    assert_eq!(
        failure.figures["address"],
        format!("127.0.0.1:{port}").into()
    );
    assert!(failure.figures.contains_key("client") && failure.figures.contains_key("tries"));
    assert_eq!(records.len(), 3);
    for record in &records {
        assert_eq!(
            (record.counts, record.kernel_acknowledged_bytes),
            (None, None)
        );
        let code = record.failure.as_ref().expect("it failed").code();
        let tried = if record.attempts == 0 {
            FailureCode::NotTried
        } else {
            FailureCode::ConnectionRefused
        };
        assert_eq!(code, tried);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_takes_the_connection_and_never_answers_the_hello_is_no_firewall() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_with(1, Behaviour::NeverAcks, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    let deadline = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    session
        .order(Order::Prepare(v1::Prepare {
            deadline,
            ..prepare(peer.port, 1, 10)
        }))
        .await;
    let (records, failure) = session.cut_short().await;
    assert_eq!(failure.code(), FailureCode::HelloNotAnswered, "{failure:?}");
    let address = format!("127.0.0.1:{}", peer.port);
    assert_eq!(failure.figures["address"], address.into());
    let of_client = records[0].failure.as_ref().expect("it failed");
    assert_eq!(of_client.code(), FailureCode::HelloNotAnswered);
    assert_eq!(peer.received()[0].unasked_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_followed_ends_the_run_instead_of_starting_it_now() {
    for (at, code) in [
        (Some(At::StartAtNs(u64::MAX)), FailureCode::OrderNotFollowed),
        (None, FailureCode::Unsupported),
    ] {
        let mut master = Master::start().await;
        let _agent = Agent::start(&master.address, &[]);
        let peer = Peer::start_with(1, Behaviour::Proper, key());
        let mut session = master.welcomed(LONG_LEASE).await;
        session
            .order(Order::Prepare(prepare(peer.port, 1, 10)))
            .await;
        session.prepared().await;
        session.start_at(at).await;
        let failure = session.failed().await;
        assert_eq!(failure.code(), code, "{failure:?}");
        assert_eq!(peer.received()[0].packets, 0);
    }
}
