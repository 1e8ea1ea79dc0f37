//! `metronome-agent run` with a key file: the full protocol against a peer that keeps to it, and
//! against peers that do not.

mod peer;

use metronome_proto::handshake::Refusal;
use peer::{Behaviour, Peer, Received, agent, key_file, stderr, summary};
use serde_json::Value;

struct Outcome {
    code: Option<i32>,
    /// Null when nothing was printed.
    figures: Value,
    errors: String,
    received: Vec<Received>,
}

fn run(behaviour: Behaviour, connections: usize, flags: &[&str]) -> Outcome {
    let peer = Peer::start(connections, behaviour);
    let key = key_file().expect("a temporary file");
    let (port, key) = (
        peer.port.to_string(),
        key.path().to_str().expect("a plain path").to_owned(),
    );
    let output = agent(
        &[
            &["run", "--port", &port, "--key-file", &key, "-o", "json"],
            flags,
        ]
        .concat(),
    );
    let figures = if output.stdout.is_empty() {
        Value::Null
    } else {
        summary(&output)
    };
    Outcome {
        code: output.status.code(),
        figures,
        errors: stderr(&output),
        received: peer.received(),
    }
}

#[track_caller]
fn record_is_complete(packets: &Value) {
    let number = |name: &str| packets[name].as_u64().expect("a number");
    assert_eq!(
        number("scheduled"),
        number("sent") + number("skipped"),
        "{packets}"
    );
}

#[test]
fn what_was_sent_is_what_was_received_and_both_ends_agree() {
    let Outcome {
        code,
        figures,
        errors,
        mut received,
    } = run(
        Behaviour::Proper,
        10,
        &[
            "--clients",
            "10",
            "--rate",
            "2k",
            "--duration",
            "0.5",
            "--first-client",
            "40",
        ],
    );
    assert_eq!(code, Some(0), "{errors} {figures}");
    assert_eq!(figures["packets"]["scheduled"], 10_000);
    assert_eq!(figures["packets"]["acknowledged"], 10_000);
    received.sort_by_key(|received| received.hello.map(|hello| hello.client));
    for (index, received) in (40..50).zip(&received) {
        let hello = received.hello.expect("a hello");
        assert_eq!(
            (hello.run.bits(), hello.agent, hello.client, hello.attempt),
            (0, 0, index, 1)
        );
        assert_eq!((received.packets, received.end), (1_000, Some(1_000)));
    }
}

#[test]
fn a_refusal_is_reported_in_its_words_and_nothing_is_sent() {
    let Outcome {
        code,
        errors,
        received,
        ..
    } = run(Behaviour::Refuses(Refusal::Hello), 1, &[]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("client 0") && errors.contains("it could not verify the hello"),
        "{errors}"
    );
    assert_eq!(received[0].unasked_bytes, 0);
}

#[test]
fn a_full_server_is_tried_again_with_a_higher_attempt() {
    let Outcome {
        code,
        errors,
        received,
        ..
    } = run(Behaviour::Refuses(Refusal::Full), 10, &[]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("--max-clients") && errors.contains("after 10 tries"),
        "{errors}"
    );
    let attempts: Vec<u8> = received
        .iter()
        .filter_map(|received| Some(received.hello?.attempt))
        .collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn a_target_that_cannot_prove_that_it_takes_part_in_the_run_gets_no_load() {
    let Outcome {
        code,
        errors,
        received,
        ..
    } = run(Behaviour::AcksFalsely, 1, &["--rate", "10k"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("did not prove"), "{errors}");
    assert_eq!(received[0].unasked_bytes, 0);
}

#[test]
fn a_miscounted_end_is_not_what_was_asked_for() {
    let Outcome { code, figures, .. } = run(
        Behaviour::Miscounts,
        1,
        &["--rate", "1k", "--duration", "0.1"],
    );
    assert_eq!(code, Some(4), "{figures}");
    assert_eq!(
        (
            &figures["packets"]["sent"],
            &figures["packets"]["acknowledged"]
        ),
        (&100.into(), &99.into())
    );
    assert_eq!(figures["clients"][0]["acknowledged"], 99);
}

#[test]
fn a_missing_end_ack_is_reported() {
    for behaviour in [Behaviour::NeverEndAcks, Behaviour::HalfCloses] {
        let Outcome {
            code,
            figures,
            received,
            ..
        } = run(behaviour, 1, &["--rate", "1k", "--duration", "0.1"]);
        assert_eq!(code, Some(4), "{behaviour:?} {figures}");
        assert_eq!(figures["packets"]["sent"], 100);
        assert!(figures["clients"][0]["acknowledged"].is_null());
        assert!(
            figures["clients"][0]["error"]
                .as_str()
                .is_some_and(|error| error.contains("end-ack")),
            "{figures}"
        );
        assert_eq!((received[0].packets, received[0].end), (100, Some(100)));
    }
}

#[test]
fn a_peer_that_stops_reading_makes_skipped_packets_and_not_a_longer_run() {
    let Outcome { code, figures, .. } = run(
        Behaviour::StopsReading,
        1,
        &["--rate", "100k", "--duration", "2"],
    );
    assert_eq!(code, Some(4), "{figures}");
    record_is_complete(&figures["packets"]);
    assert_eq!(figures["packets"]["scheduled"], 200_000);
    assert!(
        figures["packets"]["skipped"]
            .as_u64()
            .is_some_and(|skipped| skipped > 100_000),
        "{figures}"
    );
}

#[test]
fn a_connection_reset_in_mid_run_leaves_the_others_running() {
    let peer = Peer::start(1, Behaviour::ResetsAfter(50));
    let key = key_file().expect("a temporary file");
    let (port, path) = (
        peer.port.to_string(),
        key.path().to_str().expect("a plain path").to_owned(),
    );
    let output = agent(&[
        "run",
        "--port",
        &port,
        "--key-file",
        &path,
        "--rate",
        "1k",
        "--duration",
        "0.5",
        "-o",
        "json",
    ]);
    let figures = summary(&output);
    assert_eq!(output.status.code(), Some(4), "{figures}");
    record_is_complete(&figures["packets"]);
    assert_eq!(figures["packets"]["scheduled"], 500);
    assert!(
        figures["clients"][0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("broke")),
        "{figures}"
    );
    assert_eq!(peer.received()[0].packets, 50);
}

#[test]
fn a_port_without_a_listener_is_reported_after_ten_tries() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener
        .local_addr()
        .expect("it is bound")
        .port()
        .to_string();
    drop(listener);
    let output = agent(&["run", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(
        errors.contains(&format!(
            "connection refused at 127.0.0.1:{port} after 10 tries"
        )),
        "{errors}"
    );
}
