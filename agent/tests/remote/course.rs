//! A run at an agent: every step, and every way in which a server, a signal or a lease ends it.

use std::time::{Duration, Instant};

use metronome_proto::{
    features,
    load::Load,
    packet,
    profile::Profile,
    v1::{
        self, FailureCode, agent_service_session_request::Message as Report,
        agent_service_session_response::Message as Order,
    },
};

use crate::{
    ENDLESS, LONG_LEASE, counts, is_cut_short,
    master::{Agent, Master, RUN, key, prepare, target},
    peer::{Behaviour, Peer},
    record_is_complete, running,
};

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
    assert_eq!(versions, [2, 2]);
    assert_eq!(session.registered.capabilities, features::CAPABILITIES);
    assert!(session.registered.resume_token.is_empty());
    let capacity = session.registered.capacity.expect("it is known");
    assert!(capacity.max_clients == 10_000 && capacity.cores > 0);
    let clock = session.registered.clock.clone().expect("it is known");
    assert!(!clock.boot_id.is_empty());
    let boot_id = clock.boot_id.clone();
    session.order_something_unknown().await;
    session.order(Order::Renew(v1::Renew::default())).await;
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
    let environment = finished.environment.expect("it is known");
    assert!(environment.cores > Some(0) && environment.boot_id == boot_id);
    assert!(!environment.host.is_empty() && !environment.kernel.is_empty());
    assert_eq!(environment.version, session.registered.version);
    // Whatever this system grants.
    assert_ne!(environment.priority(), v1::ThreadPriority::Unspecified);
    let (status, stdout) = agent.terminate().await;
    assert!(status.success());
    let ready = format!(
        "metronome-agent ready: name load-1 server http://{}\n",
        master.address
    );
    assert_eq!(stdout, ready);
}

/// Clients of three groups at two targets: random arrivals, bursts, and a flood beside them.
#[tokio::test(flavor = "multi_thread")]
async fn several_groups_send_each_its_own_load_to_its_own_target() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let (first, second) = (
        Peer::start_with(5, Behaviour::Proper, key()),
        Peer::start_with(1, Behaviour::Proper, key()),
    );
    let mut session = master.welcomed(LONG_LEASE).await;
    let random = Profile::Poisson {
        rate_millihertz: 300_000,
    };
    let bursts = Profile::Burst {
        packets: 20,
        every_ns: 100_000_000,
    };
    let mut prepare = prepare(first.port, 3, 1_000);
    prepare.threads = 1;
    let share = |first_client, clients, profile: Profile, port: u16| v1::AgentShare {
        group: format!("group-{first_client}"),
        first_client,
        clients,
        clients_total: clients,
        profile: Some(profile.to_proto()),
        phase: v1::Phase::Auto.into(),
        target: target(&format!(":{port}")),
        ..prepare.shares[0].clone()
    };
    prepare.shares = vec![
        share(0, 3, random, first.port),
        share(3, 2, bursts, first.port),
        share(7, 1, Profile::Flood, second.port),
    ];
    let seed = prepare.seed;
    session.order(Order::Prepare(prepare)).await;
    session.prepared().await;
    session.start().await;
    let (records, _) = session.finished().await;
    let clients: Vec<u32> = records.iter().map(|record| record.client).collect();
    assert_eq!(clients, [0, 1, 2, 3, 4, 7]);
    let mut received = first.received();
    received.extend(second.received());
    received.sort_by_key(|received| received.hello.map(|hello| hello.client));
    let mut run_starts = Vec::new();
    for (record, received) in records.iter().zip(&received) {
        record_is_complete(record);
        assert_eq!(record.digest, received.digest);
        let start: packet::Start = received.start.expect("a start came before the packets");
        assert_eq!(start.client, record.client);
        run_starts.push(start.start_ns - start.offset_ns);
        let profile = match record.client {
            0..3 => random,
            3..5 => bursts,
            _ => continue,
        };
        let load = Load {
            profile,
            duration: Duration::from_secs(1),
            batch: 1,
            seed,
        };
        let schedule = load
            .schedule(start.start_ns, start.client)
            .expect("no flood");
        let mut cursor = schedule.first();
        for due_ns in &received.due_ns {
            assert_eq!(*due_ns, cursor.due_ns());
            cursor.advance(&schedule);
        }
        assert!(cursor.is_over(&schedule), "the whole schedule was sent");
        assert_eq!(counts(record).scheduled, cursor.place());
    }
    run_starts.dedup();
    assert_eq!(run_starts.len(), 1, "all of one run");
    assert!(
        counts(&records[5]).sent > 1_000,
        "the flood is one: {:?}",
        records[5]
    );
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
