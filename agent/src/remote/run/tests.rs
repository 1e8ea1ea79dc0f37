//! A run whose payload source is code: its failure ends the run and loses nothing.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::mpsc::channel,
    thread,
};

use metronome_proto::{
    handshake::{Hello, Key},
    packet::{Frame, Kind, kind},
    packet_size::PacketSize,
    profile::Profile,
};

use super::*;
use crate::{
    load::{live_counters, pacing::WaitPolicy},
    payload::{PacketId, PayloadSource, PayloadSources},
    stop_signal::Lease,
};

const RUN: &str = "00000000000000aa";
const SECRET: [u8; 32] = [7; 32];
const SIZE: PacketSize = PacketSize::new(40).unwrap();

/// Panics at packet 50 of client 0.
struct Breaks;

impl PayloadSource for Breaks {
    fn fill(&self, packet: PacketId<'_>, payload: &mut [u8]) {
        assert_ne!((packet.client, packet.sequence), (0, 50), "no reading");
        payload.fill(1);
    }
}

/// An order for two clients at 1 kHz for a minute, whose payload the source gives.
fn order(port: u16) -> v1::Prepare {
    let duration = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let receivers = v1::Receivers {
        address: format!("127.0.0.1:{port}"),
    };
    let file = v1::AgentFile {
        name: "readings".into(),
        sha256: Vec::new(),
    };
    v1::Prepare {
        run_id: RUN.into(),
        shares: vec![v1::AgentShare {
            group: "pumps".into(),
            clients: 2,
            clients_total: 2,
            profile: Some(Profile::constant(1_000_000).to_proto()),
            batch: 1,
            phase: v1::Phase::Staggered.into(),
            target: Some(v1::Target {
                kind: Some(v1::target::Kind::Receivers(receivers)),
            }),
            packet_bytes: SIZE.bytes() as u32,
            payload: Some(v1::Payload {
                source: Some(v1::payload::Source::File(file)),
            }),
            ..v1::AgentShare::default()
        }],
        duration: Some(duration(60)),
        threads: 2,
        key: SECRET.to_vec(),
        deadline: Some(duration(30)),
        seed: 5,
        ..v1::Prepare::default()
    }
}

/// Serves one connection to its end and returns how many packets came.
fn serve(listener: &TcpListener) -> u64 {
    let (mut stream, _) = listener.accept().unwrap();
    let key = Key::from_bytes(SECRET);
    let mut first: Frame = [0; 32];
    stream.read_exact(&mut first).unwrap();
    let hello = Hello::open(&first, &key).unwrap();
    stream.write_all(&hello.ack(&key)).unwrap();
    let (mut bytes, mut packets) = (vec![0; SIZE.bytes()], 0);
    loop {
        stream.read_exact(&mut bytes).unwrap();
        let (header, rest) = bytes.split_first_chunk().unwrap();
        match kind(header) {
            Some(Kind::Start) => {}
            Some(Kind::Packet) => packets += 1,
            _ => {
                assert_eq!(hello.open_end(header, SIZE, rest, &key), Some(packets));
                stream.write_all(&hello.end_ack(packets, &key)).unwrap();
                return packets;
            }
        }
    }
}

#[test]
fn a_payload_source_that_panics_ends_the_run_with_its_failure_and_every_packet_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut sources = PayloadSources::default();
    sources.register("readings", Breaks).unwrap();
    let assignment = Assignment::from_prepare(&order(port), "127.0.0.1").unwrap();
    let live_replies = Arc::new(LiveReplies::new(assignment.echo_groups()));
    let (reports, mut reported) = mpsc::unbounded_channel();
    let run = Run {
        probes: Arc::default(),
        watch: Arc::default(),
        stop_signal: Arc::new(StopSignal::new(Lease {
            from_ns: clock::now_ns(),
            length_ns: 60_000_000_000,
        })),
        live_counters: live_counters::of_threads(&assignment),
        live_replies: live_replies.clone(),
        outlook: Arc::default(),
        spec: RunSpec {
            run_id: RUN.into(),
            agent: "load-1".into(),
            parent: TraceContext::default(),
            assignment,
            allowed: Allowed {
                server_host: Some("127.0.0.1".into()),
                networks: Vec::new(),
            },
            payloads: Payloads {
                files: None,
                sources,
            },
            pacing: PacingOptions {
                wait: WaitPolicy::Sleep,
                high_priority: false,
                pin_threads: false,
            },
            reports,
        },
    };
    let (start, started) = channel();
    start
        .send(StartOrder::At(clock::now_ns() + 1_000_000_000))
        .unwrap();
    let live_counters = Arc::clone(&run.live_counters);
    let received: u64 = thread::scope(|scope| {
        let serving = [0, 1].map(|_| scope.spawn(|| serve(&listener)));
        run.execute(&started);
        serving
            .into_iter()
            .map(|serving| serving.join().unwrap())
            .sum()
    });
    let mut records = Vec::new();
    let mut failure = None;
    while let Ok(report) = reported.try_recv() {
        match report.message {
            Message::ClientRecords(more) => records.extend(more.clients),
            Message::Failed(failed) => failure = failed.failure,
            Message::Prepared(prepared) => assert_eq!(prepared.payloads, []),
            other => panic!("{other:?}"),
        }
    }
    let failure = failure.expect("the run failed");
    assert_eq!(failure.code(), FailureCode::PayloadNotUsable, "{failure:?}");
    assert!(failure.sentence.contains("no reading"), "{failure:?}");
    assert_eq!(records.len(), 2);
    let counts = |record: &v1::ClientRecord| record.counts.unwrap();
    for record in &records {
        let counts = counts(record);
        assert_eq!(counts.scheduled, counts.sent + counts.skipped, "{record:?}");
        assert!(counts.scheduled < 60_000, "the run ends early: {record:?}");
        assert_eq!(record.acknowledged, Some(counts.sent), "{record:?}");
    }
    // What was stamped in one write with the packet of the panic was not sent either.
    assert!(counts(&records[0]).sent <= 50, "{records:?}");
    assert_eq!(records[0].failure.as_ref(), Some(&failure));
    assert_eq!(records[1].failure, None);
    let sent: u64 = records.iter().map(|record| counts(record).sent).sum();
    assert_eq!(sent, received);
    let progress = live_counters::progress(RUN, &live_counters, &[], &live_replies);
    let live = progress.counts.unwrap();
    assert_eq!((live.sent, live.replies_requested), (sent, Some(0)));
}
