//! `metronome-agent run` with a key file: the full protocol against a peer that keeps to it, and
//! against peers that do not.

mod peer;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use metronome_proto::{handshake::Refusal, v1::FailureCode};
use peer::{Behaviour, Peer, Received, agent, key_file, stderr, summary};
use serde_json::Value;

struct Outcome {
    code: Option<i32>,
    /// Null when nothing was printed.
    figures: Value,
    errors: String,
    received: Vec<Received>,
}

impl Outcome {
    /// That there are no figures because of `code`, which JSON and text give with its way out.
    #[track_caller]
    fn failed(&self, code: FailureCode) {
        assert_eq!(self.code, Some(1), "{}", self.errors);
        let error = &self.figures["error"];
        assert_eq!(error["code"], code.name(), "{error}");
        let remedy = error["remedy"].as_str().expect("a text");
        assert!(self.errors.contains(remedy), "{}", self.errors);
        assert!(!remedy.contains("--target"), "it has no such flag: {error}");
    }

    /// The code of the failure of the client at `index`.
    #[track_caller]
    fn client_code(&self, index: usize) -> &str {
        let code = &self.figures["clients"][index]["failure"]["code"];
        code.as_str()
            .unwrap_or_else(|| panic!("no failure: {}", self.figures))
    }
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
    assert_eq!(figures["counts"]["scheduled"], 10_000);
    assert_eq!(figures["counts"]["acknowledged"], 10_000);
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
fn each_refusal_that_is_final_has_a_code_of_its_own_and_nothing_is_sent() {
    for (refusal, code) in [
        (Refusal::Hello, FailureCode::RefusedHello),
        (Refusal::Raw, FailureCode::RefusedRaw),
        (Refusal::Protocol, FailureCode::RefusedProtocol),
        (Refusal::Ended, FailureCode::RefusedEnded),
    ] {
        let outcome = run(Behaviour::Refuses(refusal), 1, &[]);
        outcome.failed(code);
        let figures = &outcome.figures["error"]["figures"];
        assert_eq!(
            (&figures["client"], &figures["tries"]),
            (&0.into(), &1.into()),
            "{figures}"
        );
        assert_eq!(outcome.received[0].unasked_bytes, 0);
    }
}

#[test]
fn a_refusal_with_a_code_of_a_later_version_is_final_and_gives_its_number() {
    let outcome = run(Behaviour::RefusesByNumber(99), 1, &[]);
    outcome.failed(FailureCode::RefusedProtocol);
    let sentence = &outcome.figures["error"]["sentence"];
    let sentence = sentence.as_str().expect("a text");
    assert!(sentence.contains("refused, code 99"), "{sentence}");
}

#[test]
fn a_refusal_or_a_close_that_may_pass_is_tried_again_with_a_higher_attempt() {
    let behaviours = [
        (Behaviour::Refuses(Refusal::Full), FailureCode::RefusedFull),
        (Behaviour::Refuses(Refusal::Late), FailureCode::RefusedLate),
        (Behaviour::ClosesUnanswered, FailureCode::ConnectionClosed),
    ];
    let check = |(behaviour, code)| {
        let outcome = run(behaviour, 10, &[]);
        outcome.failed(code);
        assert_eq!(outcome.figures["error"]["figures"]["tries"], 10);
        let attempts: Vec<u8> = (outcome.received.iter())
            .filter_map(|received| Some(received.hello?.attempt))
            .collect();
        assert_eq!(attempts, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    };
    thread::scope(|scope| {
        let checks = behaviours.map(|behaviour| scope.spawn(move || check(behaviour)));
        for check in checks {
            check.join().expect("every try was counted");
        }
    });
}

#[test]
fn a_target_that_cannot_prove_that_it_takes_part_in_the_run_gets_no_load() {
    for behaviour in [Behaviour::AcksFalsely, Behaviour::AnswersInText] {
        let outcome = run(behaviour, 1, &["--rate", "10k"]);
        outcome.failed(FailureCode::WrongProgram);
        assert_eq!(outcome.received[0].unasked_bytes, 0);
    }
}

#[test]
fn a_recorded_challenge_and_hello_ack_draw_no_packet() {
    let short = ["--rate", "1k", "--duration", "0.1"];
    let proper = run(Behaviour::Proper, 1, &short);
    assert_eq!(proper.code, Some(0), "{}", proper.errors);
    let [challenge, ack] = proper.received[0].sent[..] else {
        panic!("a challenge and an ack");
    };
    let outcome = run(Behaviour::Replays(challenge, ack), 1, &short);
    outcome.failed(FailureCode::WrongProgram);
    assert_eq!(outcome.received[0].unasked_bytes, 0);
}

#[test]
fn a_server_of_another_version_of_the_handshake_is_named_with_both_versions() {
    for (behaviour, theirs) in [
        (Behaviour::HasNoChallenges, "version 1 of the handshake"),
        (Behaviour::ChallengesAs(3), "version 3 of the handshake"),
    ] {
        let outcome = run(behaviour, 1, &[]);
        outcome.failed(FailureCode::RefusedProtocol);
        let error = &outcome.figures["error"];
        assert_eq!(error["figures"]["tries"], 1, "{error}");
        let sentence = error["sentence"].as_str().expect("a text");
        assert!(
            sentence.contains(theirs) && sentence.contains("version 2"),
            "{sentence}"
        );
        assert_eq!(outcome.received[0].unasked_bytes, 0);
    }
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
            &figures["counts"]["sent"],
            &figures["counts"]["acknowledged"]
        ),
        (&100.into(), &99.into())
    );
    assert_eq!(figures["clients"][0]["counts"]["acknowledged"], 99);
}

#[test]
fn a_missing_end_ack_is_reported_and_leaves_the_sum_unknown() {
    let behaviours = [
        Behaviour::NeverEndAcks,
        Behaviour::HalfCloses,
        Behaviour::AnswersTheEndInText,
        Behaviour::NeverAnswersTheEnd,
    ];
    for behaviour in behaviours {
        let outcome = run(behaviour, 1, &["--rate", "1k", "--duration", "0.1"]);
        let figures = &outcome.figures;
        assert_eq!(outcome.code, Some(4), "{behaviour:?} {figures}");
        assert_eq!(figures["counts"]["sent"], 100);
        assert!(figures["clients"][0]["counts"]["acknowledged"].is_null());
        assert!(figures["counts"]["acknowledged"].is_null());
        assert_eq!(outcome.client_code(0), "END_NOT_ACKNOWLEDGED");
        let received = &outcome.received[0];
        assert_eq!((received.packets, received.end), (100, Some(100)));
    }
}

#[test]
fn a_peer_that_stops_reading_makes_skipped_packets_and_not_a_longer_run() {
    let outcome = run(
        Behaviour::StopsReading,
        1,
        &["--rate", "100k", "--duration", "2"],
    );
    let figures = &outcome.figures;
    assert_eq!(outcome.code, Some(4), "{figures}");
    assert_eq!(outcome.client_code(0), "END_NOT_ACKNOWLEDGED");
    record_is_complete(&figures["counts"]);
    assert_eq!(figures["counts"]["scheduled"], 200_000);
    assert!(
        figures["counts"]["skipped"]
            .as_u64()
            .is_some_and(|skipped| skipped > 100_000),
        "{figures}"
    );
}

#[test]
fn a_connection_reset_in_mid_run_leaves_the_others_running() {
    let outcome = run(
        Behaviour::ResetsAfter(50),
        1,
        &["--rate", "1k", "--duration", "0.5"],
    );
    let figures = &outcome.figures;
    assert_eq!(outcome.code, Some(1), "{figures}");
    record_is_complete(&figures["counts"]);
    assert_eq!(figures["counts"]["scheduled"], 500);
    assert_eq!(outcome.client_code(0), "CONNECTION_BROKEN");
    assert_eq!(outcome.received[0].packets, 50);
}

#[test]
fn a_server_that_ends_a_connection_in_mid_run_gives_its_reason() {
    let outcome = run(
        Behaviour::EndsAfter(50),
        1,
        &["--rate", "1k", "--duration", "0.5"],
    );
    assert_eq!(outcome.code, Some(1), "{}", outcome.figures);
    record_is_complete(&outcome.figures["counts"]);
    assert_eq!(outcome.client_code(0), "REFUSED_ENDED");
}

/// Twenty clients find out together that a port closes each connection: it sees one of them try.
#[test]
fn a_port_that_closes_each_connection_sees_no_more_than_ten_a_second() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let counting = thread::spawn(move || {
        let mut came = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut first = [0; 4];
            if stream.read_exact(&mut first).is_ok() && first == *b"stop" {
                return came;
            }
            came.push(Instant::now());
        }
        came
    });
    let key = key_file().expect("a temporary file");
    let (port, key) = (address.port().to_string(), key.path());
    let key = key.to_str().expect("a plain path");
    let flags = [
        "run",
        "--clients",
        "20",
        "-o",
        "json",
        "--port",
        &port,
        "--key-file",
        key,
    ];
    let output = agent(&flags);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let error = &summary(&output)["error"];
    assert_eq!(error["code"], "CONNECTION_CLOSED", "{error}");
    assert_eq!(error["figures"]["tries"], 10, "{error}");
    let mut stop = TcpStream::connect(address).expect("it listens");
    stop.write_all(b"stop").expect("it listens");
    let came = counting.join().expect("it counts");
    assert_eq!(came.len(), 10, "one client's tries, not those of twenty");
    let most = came
        .windows(11)
        .filter(|eleven| eleven[10] - eleven[0] < Duration::from_secs(1));
    assert_eq!(most.count(), 0, "{came:?}");
}

#[test]
fn a_port_without_a_listener_is_reported_after_one_and_a_half_seconds_of_refusals() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let (_, port) = address.rsplit_once(':').expect("a port");
    let begun = std::time::Instant::now();
    let output = agent(&["run", "--port", port, "-o", "json"]);
    // Ten tries would take 10 s at least.
    let taken = begun.elapsed().as_secs_f64();
    assert!((1.5..8.0).contains(&taken), "{taken}");
    assert_eq!(output.status.code(), Some(1));
    let error = &summary(&output)["error"];
    assert_eq!(error["code"], "CONNECTION_REFUSED");
    let figures = &error["figures"];
    assert_eq!(figures["address"], address);
    let tries = figures["tries"].as_u64().expect("it has tried");
    assert!((2..=5).contains(&tries), "{tries}");
}

#[test]
fn an_agent_without_descriptors_reports_its_limit_and_not_the_target() {
    // The kernel accepts the connections, which raw clients take for an answer.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    // Standard streams, the runtime's own descriptors, and few left for clients.
    let (program, flags) = (
        env!("CARGO_BIN_EXE_metronome-agent"),
        "run --clients 64 --duration 1 -o json --port",
    );
    let script = format!("ulimit -n 24; exec {program} {flags} {port}");
    let output = Command::new("sh").args(["-c", &script]).output();
    let output = output.expect("a shell");
    assert_eq!(output.status.code(), Some(1));
    let error = &summary(&output)["error"];
    assert_eq!(error["code"], "AGENT_FILES_FULL", "{error}");
    assert_eq!(error["figures"]["files_max"], 24);
}
