//! Probes of an agent, at peers that answer them in every way. Agent and peer are on one host, so
//! on one clock: each reading of the peer lies between the two of the agent.

use std::time::{Duration, Instant};

use metronome_os::clock;
use metronome_proto::{
    handshake::PROBE_CLIENT,
    v1::{
        self, FailureCode, ProbeReading, agent_service_session_request::Message as Report,
        agent_service_session_response::Message as Order, start::At,
    },
};

use crate::{
    ENDLESS, LONG_LEASE,
    master::{Agent, Master, Session, key, millis, prepare},
    peer::{
        Behaviour, Peer, Received,
        probes::{Probing, WRONG_FROM, Wrongly},
    },
    record_is_complete,
};

/// Time between two probes in these tests, ns: the shortest.
const EVERY_NS: u64 = 20_000_000;
/// Probes of a run that come ten times as often at least, and until when those do that follow: a
/// second behind the answers for which it waits, which a busy host gives late.
const OFTEN: usize = 64;
const OFTEN_NS: u64 = 2_000_000_000;
/// Answers for which a run waits.
const FIRST: usize = 16;

/// What an agent has reported of its probes.
#[derive(Default)]
struct Reported {
    readings: Vec<ProbeReading>,
    probes_sent: u64,
    wall_clocks: Vec<v1::WallClock>,
}

impl Reported {
    /// Takes reports until `is_last` is one.
    async fn until(&mut self, session: &mut Session, is_last: impl Fn(&Report, &Self) -> bool) {
        loop {
            let report = session.next(Some).await;
            if let Report::ProbeReadings(of) = &report {
                self.add(of);
            }
            if is_last(&report, self) {
                return;
            }
        }
    }

    fn add(&mut self, of: &v1::ProbeReadings) {
        assert!(of.readings.len() <= 100, "{}", of.readings.len());
        assert!(of.probes_sent >= self.probes_sent, "a count only grows");
        self.readings.extend(&of.readings);
        self.probes_sent = of.probes_sent;
        self.wall_clocks.push(of.wall_clock.expect("it is read"));
        assert!(self.readings.len() as u64 <= self.probes_sent);
        // None twice, and none overtaken: answers keep the order of their probes.
        assert!(
            self.readings
                .is_sorted_by(|one, next| one.sent_ns < next.sent_ns)
        );
        assert!(
            self.readings
                .is_sorted_by(|one, next| one.answered_ns <= next.answered_ns)
        );
        for of in &self.readings {
            let times = [of.sent_ns, of.server_ns, of.answered_ns];
            assert!(times.is_sorted(), "{of:?}");
        }
    }

    async fn until_prepared(&mut self, session: &mut Session) {
        self.until(session, |report, _| matches!(report, Report::Prepared(_)))
            .await;
    }

    /// Up to the Finished, which it returns with the records.
    async fn until_finished(
        &mut self,
        session: &mut Session,
    ) -> (Vec<v1::ClientRecord>, v1::Finished) {
        let mut records = Vec::new();
        loop {
            match session.next(Some).await {
                Report::ProbeReadings(of) => self.add(&of),
                Report::ClientRecords(more) => records.extend(more.clients),
                Report::Finished(finished) => return (records, finished),
                Report::Failed(failed) => panic!("{failed:?}"),
                _ => {}
            }
        }
    }
}

/// An order with probes.
fn probed(port: u16, clients: u32, ms: u32) -> Order {
    Order::Prepare(v1::Prepare {
        probe_every: millis(20),
        ..prepare(port, clients, ms)
    })
}

/// What the peer has received: of clients, and of the connections of probes by attempt.
fn received(peer: Peer) -> (Vec<Received>, Vec<Received>) {
    let hello = |of: &Received| of.hello.expect("every connection has one");
    let all = peer.received().into_iter();
    let (mut probes, clients): (Vec<_>, Vec<_>) =
        all.partition(|of| hello(of).client == PROBE_CLIENT);
    probes.sort_by_key(|of| hello(of).attempt);
    (clients, probes)
}

/// A whole run of two clients at a peer that answers probes so.
async fn run(probing: Probing) -> (Reported, Vec<Received>, v1::Finished) {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_probed(3, Behaviour::Proper, probing, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    session.order(probed(peer.port, 2, 600)).await;
    let mut reported = Reported::default();
    reported.until_prepared(&mut session).await;
    session.start().await;
    let (records, finished) = reported.until_finished(&mut session).await;
    records.iter().for_each(record_is_complete);
    let (clients, probes) = received(peer);
    assert_eq!((clients.len(), probes.len()), (2, 1));
    (reported, probes, finished)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_probe_is_answered_once_and_reported_in_order_with_the_readings_of_both_ends() {
    for probing in [Probing::Properly, Probing::InSingleBytes] {
        let (reported, probes, finished) = run(probing).await;
        let hello = probes[0].hello.expect("it came");
        assert_eq!((hello.attempt, hello.agent), (1, 1));
        let read_ns = &probes[0].probes.read_ns;
        let reported_ns: Vec<u64> = reported.readings.iter().map(|of| of.server_ns).collect();
        assert_eq!(reported_ns, *read_ns, "{probing:?}");
        let sent = read_ns.len() as u64;
        assert_eq!(
            [reported.probes_sent, finished.probes_sent.unwrap()],
            [sent; 2]
        );
        // In 600 ms, had the host no time for most of them.
        assert!(sent > FIRST as u64 + 5, "{sent}");
        let often_until_ns = reported.readings[0].sent_ns + OFTEN_NS;
        let gaps = reported.readings.windows(2).enumerate().skip(FIRST);
        for (n, pair) in gaps {
            let least_ns = match n < OFTEN || pair[0].sent_ns < often_until_ns {
                true => EVERY_NS / 10,
                false => EVERY_NS,
            };
            let gap_ns = pair[1].sent_ns - pair[0].sent_ns;
            assert!(gap_ns >= least_ns, "{n}: {gap_ns}");
        }
        let tcp = finished.probe_tcp.expect("the kernel has it");
        assert!(
            tcp.rtt_min_ns > Some(0) && tcp.path_mtu > Some(0),
            "{tcp:?}"
        );
        let ours_ns = clock::wall().ahead_of_monotonic_ns;
        for of in reported.wall_clocks {
            assert!(of.ahead_of_monotonic_ns.abs_diff(ours_ns) < 1_000_000_000);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_probes_are_answered_before_an_agent_is_prepared() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_probed(2, Behaviour::Proper, Probing::Properly, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    session.order(probed(peer.port, 1, ENDLESS)).await;
    let mut reported = Reported::default();
    reported.until_prepared(&mut session).await;
    assert!(
        reported.readings.len() >= FIRST,
        "{}",
        reported.readings.len()
    );
    session.stop().await;
    reported.until_finished(&mut session).await;
    // And it goes on while it waits for the start.
    let (_, probes) = received(peer);
    assert!(probes[0].probes.read_ns.len() > FIRST);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_that_are_not_answered_delay_a_run_for_a_moment_and_show_as_sent() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_probed(2, Behaviour::Proper, Probing::Never, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    let deadline_ms = 1_500;
    let Order::Prepare(order) = probed(peer.port, 1, 300) else {
        unreachable!("it is one");
    };
    let begun = Instant::now();
    session
        .order(Order::Prepare(v1::Prepare {
            deadline: millis(deadline_ms),
            ..order
        }))
        .await;
    let mut reported = Reported::default();
    reported.until_prepared(&mut session).await;
    let waited = begun.elapsed();
    let third = Duration::from_millis(u64::from(deadline_ms) / 3);
    assert!(waited >= third && waited < 3 * third, "{waited:?}");
    session.start().await;
    let (records, finished) = reported.until_finished(&mut session).await;
    records.iter().for_each(record_is_complete);
    let (_, probes) = received(peer);
    let sent = probes[0].probes.read_ns.len() as u64;
    assert!(sent > 20 && reported.readings.is_empty(), "{sent}");
    assert_eq!(
        [reported.probes_sent, finished.probes_sent.unwrap()],
        [sent; 2]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_left_out_are_missed_and_the_others_belong_to_their_probes() {
    let (reported, probes, finished) = run(Probing::EverySecond).await;
    let read_ns = &probes[0].probes.read_ns;
    let answered: Vec<u64> = read_ns.iter().copied().skip(1).step_by(2).collect();
    let reported_ns: Vec<u64> = reported.readings.iter().map(|of| of.server_ns).collect();
    assert_eq!(reported_ns, answered);
    assert_eq!(finished.probes_sent, Some(read_ns.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_hello_for_probes_is_not_answered_ends_in_good_order_and_has_sent_none() {
    let begun = Instant::now();
    let (reported, probes, finished) = run(Probing::NeverAcks).await;
    assert_eq!((reported.readings.len(), reported.probes_sent), (0, 0));
    assert!(probes[0].probes.read_ns.is_empty());
    assert_eq!((finished.probes_sent, finished.probe_tcp), (Some(0), None));
    // The try would last 5 s.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_an_order_to_probe_has_no_probes() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_with(1, Behaviour::Proper, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    session
        .order(Order::Prepare(prepare(peer.port, 1, 100)))
        .await;
    let mut reported = Reported::default();
    reported.until_prepared(&mut session).await;
    session.start().await;
    let (_, finished) = reported.until_finished(&mut session).await;
    assert!(reported.wall_clocks.is_empty(), "no report of any");
    assert_eq!((finished.probes_sent, finished.probe_tcp), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_comes_what_no_probe_asked_for_is_replaced_and_the_run_goes_on() {
    for wrongly in [
        Wrongly::Twice,
        Wrongly::Early,
        Wrongly::Garbage,
        Wrongly::Echo,
        Wrongly::Truncated,
    ] {
        let mut master = Master::start().await;
        let _agent = Agent::start(&master.address, &[]);
        let peer = Peer::start_probed(3, Behaviour::Proper, Probing::AtFirst(wrongly), key());
        let mut session = master.welcomed(LONG_LEASE).await;
        session.order(probed(peer.port, 1, ENDLESS)).await;
        let mut reported = Reported::default();
        reported.until_prepared(&mut session).await;
        session.start().await;
        let is_again = |_: &Report, of: &Reported| of.readings.len() as u64 > WRONG_FROM + 8;
        reported.until(&mut session, is_again).await;
        session.stop().await;
        let (records, finished) = reported.until_finished(&mut session).await;
        records.iter().for_each(record_is_complete);
        let (_, probes) = received(peer);
        let attempts = probes.iter().map(|of| of.hello.map(|hello| hello.attempt));
        assert!(attempts.eq([Some(1), Some(2)]), "{wrongly:?}");
        let read_ns = probes.iter().flat_map(|of| &of.probes.read_ns).copied();
        let all: Vec<u64> = read_ns.collect();
        assert_eq!(finished.probes_sent, Some(all.len() as u64), "{wrongly:?}");
        // Of the first connection what came before.
        let believed = WRONG_FROM as usize + usize::from(wrongly == Wrongly::Twice);
        let of_first = probes[0].probes.read_ns.len();
        let mut expected = all.clone();
        expected.drain(believed..of_first);
        let reported_ns: Vec<u64> = reported.readings.iter().map(|of| of.server_ns).collect();
        assert_eq!(reported_ns, expected, "{wrongly:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_end_with_the_lease_though_the_clients_have_not_ended() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    // The drain of such a client lasts two seconds.
    let unending = Behaviour::NeverAnswersTheEnd;
    let peer = Peer::start_probed(2, unending, Probing::Properly, key());
    let mut session = master.welcomed(Duration::from_millis(1_500)).await;
    session.order(probed(peer.port, 1, ENDLESS)).await;
    session.prepared().await;
    session.start().await;
    let (_, failure) = session.cut_short().await;
    assert_eq!(failure.code(), FailureCode::LeaseOver, "{failure:?}");
    let failed_ns = clock::now_ns();
    let (_, probes) = received(peer);
    let last_ns = *probes[0].probes.read_ns.last().expect("it has probed");
    assert!(failed_ns - last_ns > 1_000_000_000, "{last_ns} {failed_ns}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_is_probed_until_its_ends_are_exchanged() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let unending = Behaviour::NeverAnswersTheEnd;
    let peer = Peer::start_probed(2, unending, Probing::Properly, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    session.order(probed(peer.port, 1, ENDLESS)).await;
    session.prepared().await;
    session.start().await;
    session.progress().await;
    let stopped_ns = clock::now_ns();
    session.stop().await;
    let mut reported = Reported::default();
    let is_later = |_: &Report, of: &Reported| {
        let last = of.readings.last();
        last.is_some_and(|of| of.sent_ns > stopped_ns + 500_000_000)
    };
    reported.until(&mut session, is_later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_lost_loses_readings_of_that_time_and_repeats_none() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_probed(2, Behaviour::Proper, Probing::Properly, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    session.order(probed(peer.port, 1, ENDLESS)).await;
    let mut reported = Reported::default();
    reported.until_prepared(&mut session).await;
    session.start().await;
    let some = |more: usize| move |_: &Report, of: &Reported| of.readings.len() >= FIRST + more;
    reported.until(&mut session, some(10)).await;
    drop(session);
    let mut session = master.welcomed(LONG_LEASE).await;
    let before = reported.readings.len();
    reported.until(&mut session, some(before + 10)).await;
    session.stop().await;
    let (records, finished) = reported.until_finished(&mut session).await;
    records.iter().for_each(record_is_complete);
    let (_, probes) = received(peer);
    assert_eq!(probes.len(), 1, "the probes have a connection of their own");
    assert_eq!(
        finished.probes_sent,
        Some(probes[0].probes.read_ns.len() as u64)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_starts_at_an_instant_of_the_agents_clock() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_with(1, Behaviour::Proper, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    session
        .order(Order::Prepare(prepare(peer.port, 1, 100)))
        .await;
    session.prepared().await;
    let start_ns = clock::now_ns() + 50_000_000;
    session.start_at(Some(At::StartAtAgentNs(start_ns))).await;
    session.finished().await;
    let start = peer.received()[0].start.expect("it came");
    assert_eq!(start.start_ns - start.offset_ns, start_ns);
}
