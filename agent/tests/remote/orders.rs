//! Orders that an agent cannot follow, and targets that it cannot reach or that do not answer.

use metronome_proto::v1::{
    self, FailureCode, agent_service_session_response::Message as Order, start::At,
};

use crate::{
    LONG_LEASE,
    master::{Agent, Master, key, millis, prepare, target},
    peer::{Behaviour, Peer},
    record_is_complete, running,
};

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
    let _agent = Agent::start(&master.address, &["--max-clients", "5"]);
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
                probe_every: millis(19),
                ..order()
            },
            FailureCode::OrderNotFollowed,
        ),
        (
            v1::Prepare {
                probe_every: millis(1_001),
                ..order()
            },
            FailureCode::OrderNotFollowed,
        ),
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
            FailureCode::OrderNotFollowed,
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
    let _agent = Agent::start(&master.address, &["--max-clients", "5"]);
    let (mut session, peer) = running(&mut master, 3, LONG_LEASE).await;
    session
        .order(Order::Prepare(v1::Prepare {
            run_id: "00000000000000bb".into(),
            ..prepare(1, 3, 1)
        }))
        .await;
    let failure = session.failed().await;
    assert_eq!(failure.code(), FailureCode::AgentClientsFull);
    for (figure, value) in [("clients", 3_u32), ("max_clients", 5), ("clients_busy", 3)] {
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
        (
            Some(At::StartAtAgentNs(u64::MAX)),
            FailureCode::OrderNotFollowed,
        ),
        (None, FailureCode::AgentLost),
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
