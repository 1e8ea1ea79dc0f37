//! Packets of other sizes than 32 bytes, and the files of an agent behind their headers.

use std::{fs, os::unix::fs::symlink, path::Path};

use metronome_proto::{
    packet_size::PacketSize,
    payload::sha256,
    v1::{self, FailureCode, agent_service_session_response::Message as Order, payload::Source},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{
    LONG_LEASE, counts,
    master::{Agent, Master, key, prepare},
    peer::{Behaviour, Peer},
    record_is_complete, record_is_complete_with,
};

/// An order whose only share has packets of this size with this payload.
fn order(port: u16, clients: u32, packet_bytes: u32, source: Option<Source>) -> v1::Prepare {
    let mut order = prepare(port, clients, 100);
    let share = &mut order.shares[0];
    share.packet_bytes = packet_bytes;
    share.payload = source.map(|source| v1::Payload {
        source: Some(source),
    });
    order
}

fn file(name: &str, sha256: &[u8]) -> Option<Source> {
    Some(Source::File(v1::AgentFile {
        name: name.into(),
        sha256: sha256.into(),
    }))
}

/// Record n of a file is so many bytes of value n.
fn records(count: u8, bytes: usize) -> Vec<u8> {
    (0..count).flat_map(|n| vec![n; bytes]).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_agent_is_what_follows_the_headers_of_packets_of_any_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &["--payload-dir", text(folder.path())]);
    let mut session = master.welcomed(LONG_LEASE).await;
    for bytes in [33, 200, 1472] {
        let size = PacketSize::new(bytes).expect("a size");
        let data = records(7, size.payload_bytes());
        fs::write(folder.path().join("readings.bin"), &data).expect("it is written");
        let peer = Peer::start_sized(3, size, Behaviour::Proper, key());
        let source = file("readings.bin", &sha256(&data));
        session
            .order(Order::Prepare(order(peer.port, 3, bytes, source)))
            .await;
        let read = v1::PayloadRead {
            group: "default".into(),
            size: data.len() as u64,
            sha256: sha256(&data).to_vec(),
        };
        assert_eq!(session.prepared().await.payloads, [read]);
        session.start().await;
        let (records, _) = session.finished().await;
        records
            .iter()
            .for_each(|record| record_is_complete_with(bytes.into(), record));
        for received in peer.received() {
            let client = received.hello.expect("a hello").client;
            let record = &records[usize::from(client)];
            assert_eq!(received.end, Some(counts(record).sent));
            assert_eq!((received.packets, received.digest), (100, record.digest));
            for (sequence, payload) in received.payloads.iter().enumerate() {
                let value = (usize::from(client) + sequence) % 7;
                assert_eq!(*payload, vec![value as u8; size.payload_bytes()]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_cannot_be_had_fails_its_run_alone_before_any_client_connects() {
    let folder = tempfile::tempdir().expect("a folder");
    let within = |name: &str| folder.path().join(name);
    fs::write(within("readings"), [7; 80]).expect("it is written");
    symlink("readings", within("link")).expect("it is made");
    mknodat(CWD, within("fifo"), FileType::Fifo, Mode::RUSR, 0).expect("it is made");
    let mut master = Master::start().await;
    let _agent = Agent::start(&master.address, &["--payload-dir", text(folder.path())]);
    let mut session = master.welcomed(LONG_LEASE).await;
    for (bytes, source, code) in [
        (40, file("none", &[]), FailureCode::PayloadNotUsable),
        (40, file("fifo", &[]), FailureCode::PayloadNotUsable),
        (40, file("link", &[]), FailureCode::PayloadNotUsable),
        (43, file("readings", &[]), FailureCode::PayloadNotUsable),
        (
            40,
            file("readings", &[1; 32]),
            FailureCode::PayloadNotUsable,
        ),
        (40, file("../readings", &[]), FailureCode::OrderNotFollowed),
        (40, file("..", &[]), FailureCode::OrderNotFollowed),
        (31, None, FailureCode::OrderNotFollowed),
        (1473, None, FailureCode::OrderNotFollowed),
        (32, file("readings", &[]), FailureCode::OrderNotFollowed),
    ] {
        // Nothing listens there.
        session
            .order(Order::Prepare(order(1, 1, bytes, source)))
            .await;
        let failure = session.failed().await;
        assert_eq!(failure.code(), code, "{failure:?}");
        let has_file = failure.figures.contains_key("file");
        assert_eq!(has_file, code == FailureCode::PayloadNotUsable);
        assert!(
            !failure.sentence.contains(text(folder.path())),
            "{failure:?}"
        );
    }
    let peer = Peer::start_with(1, Behaviour::Proper, key());
    session
        .order(Order::Prepare(order(peer.port, 1, 0, None)))
        .await;
    assert_eq!(session.prepared().await.payloads, []);
    session.start().await;
    let (records, _) = session.finished().await;
    records.iter().for_each(record_is_complete);
}
