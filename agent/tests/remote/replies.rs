//! Packets that ask for replies, at peers that answer them in every way.

use std::time::Duration;

use metronome_proto::{
    features,
    histogram::{Histogram, bucket},
    profile::Profile,
    v1::{
        self, FailureCode, agent_service_session_request::Message as Report,
        agent_service_session_response::Message as Order,
    },
};

use crate::{
    LONG_LEASE, counts,
    master::{Agent, Master, key, prepare},
    peer::{Behaviour, Peer, Received, Replying},
    record_is_complete,
};

/// Packets of each client in these tests: at 1 kHz.
const PACKETS: u32 = 600;
/// Every fifth packet asks for a reply.
const ASKED: u64 = 120;

/// What a run has left.
struct Ended {
    records: Vec<v1::ClientRecord>,
    round_trips: Vec<v1::RoundTrips>,
    received: Vec<Received>,
}

impl Ended {
    /// Replies asked for, read and unexpected, of each client.
    fn replies(&self) -> Vec<[Option<u64>; 3]> {
        let counts = self.records.iter().map(counts);
        let replies =
            counts.map(|of| [of.replies_requested, of.replies_read, of.replies_unexpected]);
        replies.collect()
    }

    /// The two distributions, which have as many times as the clients have round trips.
    fn histograms(&self) -> [Histogram; 2] {
        let [of] = &self.round_trips[..] else {
            panic!("one group: {:?}", self.round_trips);
        };
        assert_eq!(of.group, "default");
        let histograms = [&of.from_due, &of.from_write]
            .map(|buckets| Histogram::from_buckets(buckets.as_ref()?))
            .map(|of| of.expect("it is one"));
        let all: u64 = self.records.iter().filter_map(|of| of.round_trips).sum();
        assert_eq!([0, 1].map(|of: usize| histograms[of].count()), [all; 2]);
        histograms
    }

    fn codes(&self) -> Vec<Option<FailureCode>> {
        let failures = self.records.iter().map(|record| record.failure.as_ref());
        failures.map(|of| of.map(v1::Failure::code)).collect()
    }
}

/// An order for packets of which every fifth asks for a reply.
fn echoing(port: u16, clients: u32, ms: u32) -> v1::Prepare {
    let mut prepare = prepare(port, clients, ms);
    prepare.shares[0].echo_every = 5;
    prepare.requires.push(features::ECHO.into());
    prepare
}

/// A whole run of `clients` clients at a peer that behaves so.
async fn run(behaviour: Behaviour, clients: u32, change: impl Fn(&mut v1::Prepare)) -> Ended {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_with(clients as usize, behaviour, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    let mut order = echoing(peer.port, clients, PACKETS);
    change(&mut order);
    session.order(Order::Prepare(order)).await;
    session.prepared().await;
    session.start().await;
    let (records, finished) = session.finished().await;
    let mut received = tokio::task::spawn_blocking(|| peer.received())
        .await
        .expect("the peer found no fault");
    received.sort_by_key(|received| received.hello.map(|hello| hello.client));
    Ended {
        records,
        round_trips: finished.round_trips,
        received,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reply_is_read_once_and_measured_in_single_bytes_too() {
    for how in [Replying::Properly, Replying::InSingleBytes] {
        let ended = run(Behaviour::Replies(how), 3, |_| {}).await;
        let all = [ASKED, ASKED, 0].map(Some);
        assert_eq!(ended.replies(), [all; 3], "{how:?}");
        for (record, received) in ended.records.iter().zip(&ended.received) {
            record_is_complete(record);
            assert_eq!(received.replies.asked, ASKED);
            assert_eq!(record.round_trips, Some(ASKED));
            // So few give no p99.
            let p99 = [record.rtt_from_due_p99_ns, record.rtt_from_write_p99_ns];
            assert_eq!(p99, [None; 2]);
        }
        let [from_due, from_write] = ended.histograms();
        assert!(from_write.quantile_ns(1.0) <= from_due.quantile_ns(1.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_behind_the_last_packet_have_the_time_that_they_took() {
    let ended = run(Behaviour::Replies(Replying::AtTheEnd), 2, |order| {
        order.shares[0].profile = Some(Profile::constant(10_000_000).to_proto());
    })
    .await;
    assert_eq!(ended.replies(), [[1_200, 1_200, 0].map(Some); 2]);
    ended.records.iter().for_each(record_is_complete);
    let [from_due, _] = ended.histograms();
    // Half of them were due in the first half of the run.
    let from_half = from_due.count_from(bucket(u64::from(PACKETS) * 1_000_000 / 2));
    assert!(from_half >= 1_200, "{from_half}");
    for record in &ended.records {
        let p99_ns = record.rtt_from_due_p99_ns.expect("there are enough");
        assert!(p99_ns >= i64::from(PACKETS) * 900_000, "{p99_ns}");
        assert!(record.rtt_from_write_p99_ns <= Some(p99_ns));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_replies_leaves_none_and_a_clean_end() {
    let ended = run(Behaviour::Replies(Replying::Never), 2, |_| {}).await;
    assert_eq!(ended.replies(), [[ASKED, 0, 0].map(Some); 2]);
    ended.records.iter().for_each(record_is_complete);
    assert_eq!(ended.histograms().map(|of| of.count()), [0; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_nobody_asked_for_are_unexpected_and_in_no_distribution() {
    let ended = run(Behaviour::Replies(Replying::Twice), 2, |_| {}).await;
    assert_eq!(ended.replies(), [[ASKED; 3].map(Some); 2]);
    ended.records.iter().for_each(record_is_complete);
    assert_eq!(ended.histograms().map(|of| of.count()), [2 * ASKED; 2]);
    let ended = run(Behaviour::Replies(Replying::AsAnother), 2, |_| {}).await;
    assert_eq!(ended.replies(), [[ASKED, 0, ASKED].map(Some); 2]);
    ended.records.iter().for_each(record_is_complete);
    assert_eq!(ended.histograms().map(|of| of.count()), [0; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_counts_once_and_stops_neither_the_load_nor_the_end() {
    for (how, read) in [(Replying::WithGarbage(9), 9), (Replying::WithoutEnd, 0)] {
        let ended = run(Behaviour::Replies(how), 2, |_| {}).await;
        assert_eq!(ended.replies(), [[ASKED, read, 1].map(Some); 2], "{how:?}");
        let not_acknowledged = Some(FailureCode::EndNotAcknowledged);
        assert_eq!(ended.codes(), [not_acknowledged; 2], "{how:?}");
        for (record, received) in ended.records.iter().zip(&ended.received) {
            assert_eq!(counts(record).sent, u64::from(PACKETS), "{how:?}");
            assert_eq!(received.packets, u64::from(PACKETS), "{how:?}");
            assert_eq!(record.round_trips, Some(read));
        }
        ended.histograms();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_ends_early_is_reported_as_without_replies() {
    let ended = run(Behaviour::EndsAfter(300), 2, |_| {}).await;
    // The refusal comes behind the replies: all of them are read before it.
    for [_, read, unexpected] in ended.replies() {
        assert_eq!((read, unexpected), (Some(60), Some(0)));
    }
    assert_eq!(ended.codes(), [Some(FailureCode::RefusedEnded); 2]);
    for (behaviour, code) in [
        (Behaviour::ResetsAfter(300), FailureCode::ConnectionBroken),
        (Behaviour::NeverEndAcks, FailureCode::EndNotAcknowledged),
        (
            Behaviour::AnswersTheEndInText,
            FailureCode::EndNotAcknowledged,
        ),
        (Behaviour::HalfCloses, FailureCode::EndNotAcknowledged),
    ] {
        let ended = run(behaviour, 2, |_| {}).await;
        assert_eq!(ended.codes(), [Some(code); 2], "{behaviour:?}");
        let unexpected = u64::from(behaviour == Behaviour::AnswersTheEndInText);
        for [asked, read, of] in ended.replies() {
            assert!(read <= asked, "{behaviour:?}");
            assert_eq!(of, Some(unexpected), "{behaviour:?}");
        }
        ended.histograms();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_of_the_warm_up_are_counted_and_not_measured() {
    let ended = run(Behaviour::Proper, 2, |order| {
        order.warm_up = Some(prost_types::Duration {
            seconds: 0,
            nanos: 200_000_000,
        });
    })
    .await;
    assert_eq!(ended.replies(), [[ASKED, ASKED, 0].map(Some); 2]);
    let round_trips = ended.records.iter().map(|record| record.round_trips);
    assert_eq!(round_trips.collect::<Vec<_>>(), [Some(80); 2]);
    ended.histograms();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_gets_its_replies_too() {
    let ended = run(Behaviour::Proper, 2, |order| {
        order.shares[0].profile = Some(Profile::Flood.to_proto());
        order.shares[0].batch = 64;
        order.shares[0].echo_every = 1_000;
    })
    .await;
    for ([asked, read, unexpected], received) in ended.replies().iter().zip(&ended.received) {
        assert!(*asked > Some(0), "{asked:?}");
        assert_eq!((read, *unexpected), (asked, Some(0)));
        assert_eq!(Some(received.replies.asked), *asked);
    }
    ended.records.iter().for_each(record_is_complete);
    ended.histograms();
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_shows_round_trips_and_a_stopped_run_has_all_of_its_replies() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_with(3, Behaviour::Proper, key());
    let mut session = master.welcomed(LONG_LEASE).await;
    let order = echoing(peer.port, 3, crate::ENDLESS);
    session.order(Order::Prepare(order)).await;
    session.prepared().await;
    session.start().await;
    let (shown, counts_shown) = session
        .next(|report| match report {
            Report::Progress(progress) => {
                let counts = progress.counts?;
                let [of] = &progress.round_trips[..] else {
                    panic!("one group: {progress:?}");
                };
                let from_due = Histogram::from_buckets(of.from_due.as_ref()?)?;
                (from_due.count() > 0).then_some((from_due.count(), counts))
            }
            _ => None,
        })
        .await;
    assert!(counts_shown.replies_read > Some(0) && shown > 0);
    assert_eq!(counts_shown.replies_unexpected, Some(0));
    session.stop().await;
    let (records, finished) = session.finished().await;
    let mut all = 0;
    for record in &records {
        record_is_complete(record);
        let of = counts(record);
        assert_eq!(of.replies_requested, Some(of.sent.div_ceil(5)));
        assert_eq!(of.replies_read, of.replies_requested);
        all += record.round_trips.expect("it asked");
    }
    let ended = Ended {
        records,
        round_trips: finished.round_trips,
        received: Vec::new(),
    };
    assert_eq!(ended.histograms()[0].count(), all);
    drop(peer.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_asks_for_nothing_has_no_round_trips() {
    let ended = run(Behaviour::Proper, 1, |order| {
        order.shares[0].echo_every = 0;
    })
    .await;
    assert_eq!(ended.round_trips, []);
    assert_eq!(ended.replies(), [[0, 0, 0].map(Some)]);
    assert_eq!(ended.records[0].round_trips, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_before_its_start_reads_nothing_and_ends_in_good_order() {
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &[]);
    let peer = Peer::start_with(2, Behaviour::Proper, key());
    let mut session = master.welcomed(Duration::from_secs(10)).await;
    let order = echoing(peer.port, 2, crate::ENDLESS);
    session.order(Order::Prepare(order)).await;
    session.prepared().await;
    session.stop().await;
    let (records, _) = session.finished().await;
    records.iter().for_each(record_is_complete);
    for record in &records {
        assert_eq!(counts(record).replies_read, Some(0));
    }
    drop(peer.received());
}
