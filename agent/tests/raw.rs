//! `metronome-agent run` without a key sends packets without a handshake to a listener that counts
//! bytes.

mod peer;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    thread,
};

use peer::{agent, refusal, send_signal, stderr, summary};

/// Accepts `clients` connections and returns what came on each until it was closed.
fn listen(clients: usize) -> (String, thread::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener
        .local_addr()
        .expect("it is bound")
        .port()
        .to_string();
    let reading = thread::spawn(move || {
        let accept = |_| listener.accept().expect("a connection").0;
        let read = |mut stream: std::net::TcpStream| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).expect("a clean close");
                bytes
            })
        };
        let readers: Vec<_> = (0..clients).map(accept).map(read).collect();
        readers
            .into_iter()
            .map(|reader| reader.join().expect("it reads"))
            .collect()
    });
    (port, reading)
}

#[track_caller]
fn check(clients: usize, packets_each: usize, flags: &[&str]) -> serde_json::Value {
    let (port, reading) = listen(clients);
    let clients_flag = clients.to_string();
    let output = agent(
        &[
            &[
                "run",
                "--port",
                &port,
                "--clients",
                &clients_flag,
                "-o",
                "json",
            ],
            flags,
        ]
        .concat(),
    );
    let figures = summary(&output);
    for bytes in reading.join().expect("it reads") {
        assert_eq!(bytes.len(), 32 * packets_each, "{figures}");
        assert!(
            bytes.iter().all(|byte| *byte == b'X'),
            "raw packets carry nothing"
        );
    }
    let packets = (clients * packets_each) as u64;
    assert_eq!(
        (
            figures["counts"]["scheduled"].as_u64(),
            figures["counts"]["sent"].as_u64()
        ),
        (Some(packets), Some(packets))
    );
    assert_eq!(figures["lateness_us"]["count"], packets);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    figures
}

#[test]
fn every_packet_of_the_schedule_arrives() {
    check(10, 5_000, &["--rate", "10k", "--duration", "0.5"]);
}

#[test]
fn the_phases_and_threads_change_when_packets_go_but_not_which() {
    for phase in ["staggered", "spread", "aligned"] {
        check(
            5,
            200,
            &[
                "--rate",
                "1000",
                "--duration",
                "200ms",
                "--phase",
                phase,
                "--threads",
                "3",
            ],
        );
    }
}

#[test]
fn every_way_to_wait_sends_the_whole_schedule() {
    for pacing in ["sleep", "hybrid", "spin"] {
        check(
            2,
            1000,
            &[
                "--rate",
                "5k",
                "--duration",
                "0.2",
                "--pacing",
                pacing,
                "--pin-threads",
                "true",
            ],
        );
    }
}

#[test]
fn every_shape_sends_the_whole_of_its_schedule() {
    for (packets_each, flags) in [
        (75, &["--burst", "25", "--every", "100ms"][..]),
        (75, &["--burst", "25", "--every", "100ms", "--batch", "10"]),
        (300, &["--rate", "500..1500"]),
        (270, &["--rate", "300:100ms,1200"]),
        (150, &["--rate", "1k", "--on", "50ms", "--off", "50ms"]),
    ] {
        let figures = check(2, packets_each, &[flags, &["--duration", "300ms"]].concat());
        let mean_hz = packets_each as f64 / 0.3;
        assert_eq!(figures["rate"]["offered_hz"], 2.0 * mean_hz, "{figures}");
    }
}

#[test]
fn random_arrivals_of_one_seed_are_the_same_again() {
    let flags = |seed: &'static str| {
        [
            "--rate",
            "2k",
            "--arrivals",
            "poisson",
            "--duration",
            "300ms",
            "--seed",
            seed,
        ]
    };
    let each = |seed| -> Vec<usize> {
        let (port, reading) = listen(2);
        let output = agent(
            &[
                &["run", "--port", &port, "--clients", "2", "-o", "json"][..],
                &flags(seed),
            ]
            .concat(),
        );
        let figures = summary(&output);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(figures["plan"]["profile"]["shape"], "poisson");
        assert_eq!(figures["plan"]["seed"].to_string(), seed);
        assert_eq!(figures["rate"]["offered_hz"], 4000.0);
        let received = reading.join().expect("it reads");
        let mut packets: Vec<usize> = received.iter().map(|bytes| bytes.len() / 32).collect();
        packets.sort_unstable();
        packets
    };
    assert_eq!(each("7"), each("7"));
    assert_ne!(each("7"), each("8"));
}

#[test]
fn a_flood_lasts_its_time_and_every_packet_of_it_arrives_whole() {
    let (port, reading) = listen(3);
    let flags = [
        "--clients",
        "3",
        "--rate",
        "max",
        "--duration",
        "0.2",
        "--threads",
        "2",
        "-o",
        "json",
    ];
    let output = agent(&[&["run", "--port", &port], &flags[..]].concat());
    let figures = summary(&output);
    let bytes: Vec<usize> = reading
        .join()
        .expect("it reads")
        .iter()
        .map(Vec::len)
        .collect();
    assert!(
        bytes
            .iter()
            .all(|bytes| *bytes > 0 && bytes.is_multiple_of(32)),
        "{bytes:?}"
    );
    assert_eq!(
        figures["counts"]["sent"].as_u64(),
        Some(bytes.iter().sum::<usize>() as u64 / 32)
    );
    assert_eq!(figures["counts"]["scheduled"], figures["counts"]["sent"]);
    assert_eq!(
        (
            figures["plan"]["batch"].as_u64(),
            figures["counts"]["skipped"].as_u64()
        ),
        (Some(1024), Some(0))
    );
    assert!(
        figures["plan"]["profile"]["shape"] == "flood" && figures["rate"]["offered_hz"].is_null(),
        "a flood asks for no rate: {figures}"
    );
    assert!(
        figures["lateness_us"].is_null(),
        "its packets are due when they are written: {figures}"
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_flood_is_called_max_where_a_load_has_its_rate() {
    let (port, _reading) = listen(1);
    let output = agent(&[
        "run",
        "--port",
        &port,
        "--clients",
        "1",
        "--rate",
        "max",
        "--duration",
        "10ms",
    ]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("1 clients x max packets/s") && text.contains("of max offered"),
        "{text}"
    );
    for word in ["schedule", "skipped", "lateness"] {
        assert!(!text.contains(word), "a flood has no {word}: {text}");
    }
}

#[test]
fn batches_of_two_hundred_writes_a_second_go_in_one_write_each() {
    let figures = check(
        2,
        2_500,
        &["--rate", "10k", "--duration", "0.25", "--batch", "200/s"],
    );
    assert_eq!(figures["plan"]["batch"], 50);
    let writes = figures["writes"].as_u64().expect("a number");
    // 50 batches a client; a thread that was held up puts several into one write.
    assert!((2..=100).contains(&writes), "{writes}");
}

#[test]
fn a_batch_that_does_not_divide_the_schedule_ends_short() {
    check(
        1,
        100,
        &["--rate", "1000", "--duration", "0.1", "--batch", "7"],
    );
}

#[test]
fn the_json_has_the_keys_and_units_of_a_run() {
    let figures = check(2, 100, &["--rate", "1000", "--duration", "0.1"]);
    let keys = |place: &str| {
        let object = figures.pointer(place).and_then(|object| object.as_object());
        let object = object.unwrap_or_else(|| panic!("{place} of {figures}"));
        object.keys().map(String::as_str).collect::<Vec<_>>()
    };
    let counters = [
        "acknowledged",
        "arrived",
        "blocked",
        "replies_read",
        "replies_requested",
        "replies_unexpected",
        "scheduled",
        "sent",
        "skipped",
    ];
    assert_eq!(keys("/counts"), counters);
    assert_eq!(keys("/clients/1/counts"), counters);
    assert_eq!(
        keys("/clients/1"),
        ["attempts", "client", "counts", "failure"]
    );
    assert_eq!(
        keys("/lateness_us/percentiles"),
        ["p50", "p90", "p99", "p99_9", "p99_99"]
    );
    assert_eq!(
        keys("/cpu"),
        [
            "generator_ns_per_packet",
            "generator_s",
            "packets_per_write"
        ]
    );
    assert_eq!(figures["schema_version"], 2);
    assert_eq!(figures["protocol"], "raw");
    assert_eq!(figures["plan"]["profile"]["rate_hz"], 1000.0);
    assert!(figures["counts"]["acknowledged"].is_null(), "{figures}");
    assert!(figures["clients"][1]["failure"].is_null(), "{figures}");
    assert_eq!(figures["counts"]["sent"], 200);
    assert_eq!(figures["counts"]["arrived"], 200);
    let rate = |name: &str| figures["rate"][name].as_f64().expect("a number");
    assert_eq!(rate("offered_hz"), 2000.0);
    assert!(rate("achieved_hz") <= 2000.0, "{figures}");
}

#[test]
fn a_slow_load_has_the_rate_that_it_offered_and_not_that_until_its_last_packet() {
    let figures = check(2, 1, &["--rate", "2", "--duration", "0.5"]);
    assert_eq!(figures["rate"]["achieved_hz"], 4.0, "{figures}");
    assert_eq!(figures["elapsed_s"], 0.5);
}

#[test]
fn the_text_summary_names_every_figure() {
    let (port, reading) = listen(1);
    let output = agent(&["run", "--port", &port, "--rate", "100", "--duration", "0.1"]);
    assert_eq!(reading.join().expect("it reads")[0].len(), 320);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in [
        "scheduled",
        "sent",
        "skipped",
        "arrived",
        "acknowledged",
        "rate",
        "lateness",
        "p99.9",
        "CPU",
    ] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}

#[test]
fn a_raw_client_whose_peer_stops_reading_has_no_end_that_could_be_acknowledged() {
    // The kernel accepts the connections and takes what its buffers hold.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let port = port.to_string();
    let flags = "--clients 8 --rate 100k --duration 1 -o json".split(' ');
    let output = agent(
        &["run", "--port", &port]
            .into_iter()
            .chain(flags)
            .collect::<Vec<_>>(),
    );
    let figures = summary(&output);
    assert_eq!(output.status.code(), Some(4), "{figures}");
    for client in figures["clients"].as_array().expect("a list") {
        // Only a packet that was cut in the middle makes the end incomplete.
        let failure = &client["failure"];
        assert!(
            failure.is_null() || failure["code"] == "END_NOT_ACKNOWLEDGED",
            "{failure}"
        );
    }
}

#[test]
fn what_a_raw_peer_has_no_room_for_is_not_sent_after_the_end_of_the_agent() {
    // Its kernel has room for some of the 2,000 packets of a client, and ours for all of them.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("it is set");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&address.into()).expect("a free port");
    socket.listen(8).expect("it listens");
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().expect("it is bound").port();
    let flags = format!("run --port {port} --clients 2 --rate 10k --duration 0.2 -o json");
    let output = agent(&flags.split(' ').collect::<Vec<_>>());
    let figures = summary(&output);
    assert_eq!(figures["counts"]["sent"], 4_000, "{figures}");
    let arrived = figures["counts"]["arrived"].as_u64();
    assert!(arrived.expect("a number") < 4_000, "{figures}");
    for client in figures["clients"].as_array().expect("a list") {
        assert!(client["failure"].is_null(), "{client}");
        let mut bytes = Vec::new();
        let mut peer = listener.accept().expect("a connection").0;
        let error = peer.read_to_end(&mut bytes).expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(bytes.len() < 2_000 * 32, "{} bytes came", bytes.len());
    }
}

/// A load whose peer does `with` each of two connections, and how it ended.
fn against(with: fn(TcpStream), duration: &str) -> (serde_json::Value, Option<i32>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let peer = thread::spawn(move || {
        let accepted = (0..2).map(|_| listener.accept().expect("a connection").0);
        let accepted: Vec<_> = accepted.collect();
        let peers = accepted
            .into_iter()
            .map(|it| thread::spawn(move || with(it)));
        for peer in peers.collect::<Vec<_>>() {
            peer.join().expect("the peer ends");
        }
    });
    let port = port.to_string();
    let flags = ["--clients", "2", "--rate", "1k", "--duration", duration];
    let mut all = vec!["run", "--port", &port, "-o", "json"];
    all.extend(flags);
    let output = agent(&all);
    peer.join().expect("the peer ends");
    (summary(&output), output.status.code())
}

#[test]
fn what_the_peer_did_at_the_end_is_known_or_named_however_short_the_load() {
    let refuse = |mut socket: TcpStream| {
        let refusal = metronome_proto::handshake::Refusal::Raw.encode();
        socket.write_all(&refusal).expect("it takes that");
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    };
    let refuse_by_number = |mut socket: TcpStream| {
        socket.write_all(&refusal(99)).expect("it takes that");
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    };
    // Closing with all read that has come ends the stream; the connection breaks with the next.
    let close = |mut socket: TcpStream| {
        socket.read_exact(&mut [0; 32]).expect("a packet");
    };
    // Closing with packets unread resets the connection.
    let reset: fn(TcpStream) = |socket| {
        socket.peek(&mut [0]).expect("a packet");
    };
    for duration in ["0.02", "0.3"] {
        let (figures, code) = against(refuse, duration);
        assert_eq!(code, Some(1), "{figures}");
        for client in figures["clients"].as_array().expect("a list") {
            assert_eq!(client["failure"]["code"], "REFUSED_RAW", "{figures}");
        }
        let (figures, code) = against(refuse_by_number, duration);
        assert_eq!(code, Some(1), "{figures}");
        for client in figures["clients"].as_array().expect("a list") {
            let failure = &client["failure"];
            assert_eq!(failure["code"], "REFUSED_PROTOCOL", "{figures}");
            let sentence = failure["sentence"].as_str().expect("a text");
            assert!(sentence.contains("refused, code 99"), "{sentence}");
        }
        for gone in [reset, close] {
            let (figures, code) = against(gone, duration);
            assert_eq!(code, Some(1), "{figures}");
            for client in figures["clients"].as_array().expect("a list") {
                assert_eq!(client["failure"]["code"], "CONNECTION_BROKEN", "{figures}");
            }
        }
    }
}

#[test]
fn an_interrupted_load_ends_in_good_order_and_is_still_summed_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener
        .local_addr()
        .expect("it is bound")
        .port()
        .to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_metronome-agent"));
    command.args([
        "run",
        "--port",
        &port,
        "--rate",
        "1k",
        "--duration",
        "60",
        "-o",
        "json",
    ]);
    let child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the agent starts");
    let mut stream = listener.accept().expect("a connection").0;
    let mut bytes = vec![0; 320];
    stream.read_exact(&mut bytes).expect("ten packets");
    send_signal(&child, rustix::process::Signal::INT);
    // The same request still, as `timeout` repeats it.
    send_signal(&child, rustix::process::Signal::TERM);
    stream.read_to_end(&mut bytes).expect("a clean close");
    drop(stream);
    let output = child.wait_with_output().expect("it ends");
    // As a shell wants it that is to end its loop.
    assert_eq!(output.status.signal(), Some(2));
    let packets = &summary(&output)["counts"];
    assert_eq!(packets["sent"].as_u64(), Some(bytes.len() as u64 / 32));
    assert_eq!(packets["scheduled"], packets["sent"]);
}

#[test]
fn a_load_that_is_stopped_before_its_first_packet_ends_with_a_sentence() {
    // A target that takes connections and proves nothing, and a load that has yet to begin.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let key = peer::key_file().expect("a temporary file");
    let key = key.path().to_str().expect("a plain path");
    for flags in [["--key-file", key], ["--startup-delay", "1h"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metronome-agent"));
        command.args(["run", "-o", "json", "--port", &port]);
        let child = command
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        if flags[0] == "--key-file" {
            let _connection = listener.accept().expect("a connection");
            send_signal(&child, rustix::process::Signal::TERM);
            assert_stopped(&child.wait_with_output().expect("it ends"));
        } else {
            let status = format!("/proc/{}/status", child.id());
            let catches_term = || {
                let status = std::fs::read_to_string(&status).expect("it runs");
                let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
                let mask = u64::from_str_radix(caught.expect("a mask").trim(), 16);
                mask.expect("a mask") & (1 << 14) != 0
            };
            while !catches_term() {
                thread::yield_now();
            }
            send_signal(&child, rustix::process::Signal::TERM);
            assert_stopped(&child.wait_with_output().expect("it ends"));
        }
    }
}

#[track_caller]
fn assert_stopped(output: &std::process::Output) {
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(stderr(output).contains("stopped before"), "{output:?}");
    let error = summary(output);
    assert_eq!(error["error"]["code"], "INTERRUPTED", "{error:#}");
}
