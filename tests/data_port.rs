//! The data port meets peers that do not behave, and raw clients that do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use common::{Server, assert_exact, read_to_end, wait_until};
use metronome_proto::{
    handshake::{Challenge, Challenges, Hello, Key, Nonce, PROBE_CLIENT, Refusal},
    packet::{FLAG_ECHO, Packet, Probe, Reply},
    packet_size::PacketSize,
    run_id::RunId,
};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.data()).unwrap()
}

#[track_caller]
fn refused(mut stream: TcpStream, refusal: Refusal) {
    let answer = read_to_end(&mut stream);
    assert_eq!(answer, refusal.encode(), "not refused as {refusal:?}");
}

fn forged(client: u16) -> [u8; 32] {
    let hello = Hello {
        run: RunId::from_bits(1),
        agent: 0,
        client,
        attempt: 1,
    };
    hello.encode(&Key::from_bytes([1; 32]))
}

fn run_works(server: &Server) {
    let (result, _) = server.run(&["--clients", "10", "--rate", "500", "--duration", "1s"]);
    assert_exact(&result, 5_000);
}

#[test]
fn what_is_not_a_verified_hello_is_refused_with_its_reason_and_the_next_run_works() {
    let server = Server::start(&[]);
    let _agent = server.agent("a1");
    let mut garbage = connect(&server);
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    refused(garbage, Refusal::Raw);
    for client in [0, PROBE_CLIENT] {
        let mut unknown = connect(&server);
        unknown.write_all(&forged(client)).unwrap();
        refused(unknown, Refusal::Hello);
    }
    let mut probe_first = connect(&server);
    probe_first
        .write_all(&Probe { sequence: 0 }.encode())
        .unwrap();
    refused(probe_first, Refusal::Protocol);
    let mut packet_first = connect(&server);
    let packet = Packet {
        flags: 0,
        client: 0,
        sequence: 0,
        due_ns: 0,
        lateness_ns: 0,
    };
    packet_first.write_all(&packet.encode(&[])).unwrap();
    refused(packet_first, Refusal::Protocol);
    run_works(&server);
}

#[test]
fn a_hello_that_is_short_by_any_number_of_bytes_ends_and_one_that_is_late_is_refused() {
    let server = Server::start(&[]);
    let _agent = server.agent("a1");
    for bytes in 1..32 {
        let mut short = connect(&server);
        short.write_all(&forged(0)[..bytes]).unwrap();
        short.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut short), [0_u8; 0], "{bytes} bytes");
    }
    let began = Instant::now();
    let late: Vec<TcpStream> = (0..32)
        .map(|bytes| {
            let mut stream = connect(&server);
            stream.write_all(&forged(0)[..bytes]).unwrap();
            stream
        })
        .collect();
    run_works(&server);
    for stream in late {
        refused(stream, Refusal::Late);
    }
    let waited = began.elapsed();
    assert!(
        waited > Duration::from_secs(4) && waited < Duration::from_secs(15),
        "{waited:?}"
    );
    let (status, _) = server.json(&["server"]);
    assert_eq!(status["connections"]["refused_late"], 32, "{status:#}");
}

#[test]
fn a_thousand_connections_beyond_max_clients_do_not_disturb_a_run() {
    let server = Server::start(&["--accept-raw"]);
    let _agent = server.agent("a1");
    let mut idle: Vec<TcpStream> = (0..500).map(|_| connect(&server)).collect();
    idle.extend((0..500).map(|_| {
        let mut stream = connect(&server);
        let _ = stream.write_all(b"X");
        stream
    }));
    wait_until("all of them are accepted", || {
        let (status, _) = server.json(&["server"]);
        (status["connections"]["accepted"].as_u64() >= Some(1000)).then_some(())
    });
    let (status, _) = server.json(&["server"]);
    assert!(
        status["connections"]["admitted"].as_u64() <= Some(10),
        "{status:#}"
    );
    drop(idle);
    wait_until("the places are free", || {
        let (status, _) = server.json(&["server"]);
        (status["connections"]["admitted"] == 0).then_some(())
    });
    run_works(&server);
}

#[test]
fn raw_clients_are_counted_in_whole_packets_and_half_a_packet_is_not_one() {
    let server = Server::start(&["--accept-raw", "--workers", "2"]);
    for bytes in [32 * 100, 32 * 7 + 16, 31] {
        let mut raw = connect(&server);
        raw.write_all(&vec![b'X'; bytes]).unwrap();
        raw.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(
            raw.read(&mut [0; 1]).unwrap(),
            0,
            "the server ends it when it has read all"
        );
    }
    let status = wait_until("all are counted", || {
        let (status, _) = server.json(&["server"]);
        (status["raw"]["connections"] == 3 && status["connections"]["admitted"] == 0)
            .then_some(status)
    });
    assert_eq!(
        (
            status["raw"]["packets"].as_u64(),
            status["raw"]["bytes"].as_u64()
        ),
        (Some(107), Some(3_200 + 240 + 31))
    );
}

/// A peer that speaks the whole protocol, as docs and codecs give it, in the static run of a
/// server that has the same key file.
#[test]
fn packets_with_the_echo_flag_come_back_unchanged_whatever_happens_to_the_worker() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::start(&["--workers", "2", "--key-file", &key_file(&folder)]);

    let key = Key::derive(&[0x5A; 32], RunId::from_bits(0), 0);
    let hello = Hello {
        run: RunId::from_bits(0),
        agent: 0,
        client: 3,
        attempt: 1,
    };
    let mut client = connect(&server);
    let nonce = Nonce::from_bytes([1; 16]).unwrap();
    let key = challenged(&mut client, nonce, &key);
    let mut frame = [0; 32];
    client.write_all(&hello.encode(&key)).unwrap();
    client.read_exact(&mut frame).unwrap();
    assert!(hello.is_acked_by(&frame, &key));
    for sequence in 0..100 {
        let flags = if sequence % 2 == 0 { FLAG_ECHO } else { 0 };
        let packet = Packet {
            flags,
            client: 3,
            sequence,
            due_ns: 7 * sequence,
            lateness_ns: 1,
        };
        let reply = Reply::to(&packet).encode();
        let packet = packet.encode(&[]);
        // Half a packet before the death of its worker, half behind it.
        client.write_all(&packet[..13]).unwrap();
        if sequence % 20 == 19 {
            for pid in server.workers() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        client.write_all(&packet[13..]).unwrap();
        if flags == FLAG_ECHO {
            client.read_exact(&mut frame).unwrap();
            assert_eq!(frame, reply, "reply to {sequence}");
        }
    }
    client
        .write_all(&hello.end(100, PacketSize::MIN, &key))
        .unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let rest = read_to_end(&mut client);
    assert_eq!(rest.len(), 32, "the end-ack, once and whole");
    assert_eq!(
        hello.open_end_ack(rest[..].try_into().unwrap(), &key),
        Some(100)
    );
}

/// Bytes that the server's kernel has of a client and no worker has read. In hexadecimal digits
/// each line of the table has the address and port of both ends, the state, and both queues.
fn unread_of(client: &TcpStream) -> Option<u64> {
    let [of_client, of_server] =
        [client.local_addr(), client.peer_addr()].map(|it| format!(":{:04X}", it.unwrap().port()));
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    tables.into_iter().flatten().find_map(|table| {
        let lines = table.lines().map(|line| line.split_whitespace().collect());
        let line = { lines }
            .find(|line: &Vec<_>| line[1].ends_with(&of_server) && line[2].ends_with(&of_client))?;
        let (_, unread) = line[4].split_once(':')?;
        u64::from_str_radix(unread, 16).ok()
    })
}

/// A client that has sent more than one receive takes resets the connection while its worker is
/// stopped. Then the worker goes on, or it is killed and others take over.
#[test]
fn packets_that_came_before_a_reset_are_counted_though_their_replies_cannot_be_sent() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::start(&["--workers", "2", "--key-file", &key_file(&folder)]);
    let key = Key::derive(&[0x5A; 32], RunId::from_bits(0), 0);
    for (round, then) in [Signal::CONT, Signal::KILL].into_iter().enumerate() {
        let hello = Hello {
            run: RunId::from_bits(0),
            agent: 0,
            client: 3,
            attempt: 1,
        };
        let mut client = connect(&server);
        let key = challenged(&mut client, Nonce::from_bytes([1; 16]).unwrap(), &key);
        client.write_all(&hello.encode(&key)).unwrap();
        client.read_exact(&mut [0; 32]).unwrap();
        let workers = server.workers();
        for worker in &workers {
            kill_process(*worker, Signal::STOP).unwrap();
        }
        let asking = |sequence| Packet {
            flags: FLAG_ECHO,
            client: 3,
            sequence,
            due_ns: 7 * sequence,
            lateness_ns: 1,
        };
        let bytes: Vec<u8> = (0..1_500)
            .flat_map(|sequence| asking(sequence).encode(&[]))
            .collect();
        client.write_all(&bytes).unwrap();
        wait_until("the server's kernel has all of it", || {
            (unread_of(&client) == Some(bytes.len() as u64)).then_some(())
        });
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        for worker in workers {
            // The master kills one that hangs, when this test has to wait for a core.
            let _ = kill_process(worker, then);
        }
        let status = wait_until("the client has ended", || {
            let (status, _) = server.json(&["server"]);
            (status["connections"]["admitted"] == 0).then_some(status)
        });
        let read_by = |worker: &Value| worker["packets"].as_u64().unwrap();
        let read: u64 = status["workers"]
            .as_array()
            .unwrap()
            .iter()
            .map(read_by)
            .sum();
        let recovered = status["recoveries"]["packets"].as_u64().unwrap();
        let sent = 1_500 * (1 + round as u64);
        assert_eq!(read + recovered, sent, "{then:?}: {status:#}");
    }
}

/// What somebody on the path has recorded of a client of the static run is refused while that is
/// there, after it has gone, and by the next server with the same key file.
#[test]
fn a_recorded_hello_of_the_static_run_is_refused_whenever_it_is_sent_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = key_file(&folder);
    let flags = ["--workers", "2", "--key-file", &path];
    let server = Server::start(&flags);
    let key = Key::derive(&[0x5A; 32], RunId::from_bits(0), 0);
    let hello = Hello {
        run: RunId::from_bits(0),
        agent: 0,
        client: 3,
        attempt: 1,
    };
    let nonce = Nonce::from_bytes([1; 16]).unwrap();
    let mut client = connect(&server);
    let recorded = hello.encode(&challenged(&mut client, nonce, &key));
    client.write_all(&recorded).unwrap();
    client.read_exact(&mut [0; 32]).unwrap();
    let replay = |server: &Server| {
        let mut with_challenge = connect(server);
        with_challenge.write_all(&nonce.challenge()).unwrap();
        with_challenge.read_exact(&mut [0; 32]).unwrap();
        // Its worker dies between the two frames: the challenge is that of the ledger.
        for pid in server.workers() {
            let _ = kill_process(pid, Signal::KILL);
        }
        with_challenge.write_all(&recorded).unwrap();
        refused(with_challenge, Refusal::Hello);
        let mut both = connect(server);
        both.write_all(&[nonce.challenge(), recorded].concat())
            .unwrap();
        let answer = read_to_end(&mut both);
        assert_eq!(answer.len(), 64);
        assert_eq!(answer[32..], Refusal::Hello.encode());
        let mut alone = connect(server);
        alone.write_all(&recorded).unwrap();
        refused(alone, Refusal::Version);
    };
    replay(&server);
    drop(client);
    wait_until("the client's place is free", || {
        let (status, _) = server.json(&["server"]);
        (status["connections"]["admitted"] == 0).then_some(())
    });
    replay(&server);
    drop(server);
    let server = Server::start(&flags);
    replay(&server);
    // A fresh one is welcome, with the very attempt that was used before.
    let mut client = connect(&server);
    let key = challenged(&mut client, nonce, &key);
    client.write_all(&hello.encode(&key)).unwrap();
    let mut frame = [0; 32];
    client.read_exact(&mut frame).unwrap();
    assert!(hello.is_acked_by(&frame, &key));
}

#[test]
fn clients_of_another_version_of_the_handshake_are_refused_with_ours_and_do_not_hang() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::start(&["--key-file", &key_file(&folder)]);
    let key = Key::derive(&[0x5A; 32], RunId::from_bits(0), 0);
    // Version 1: the hello is the first frame.
    let hello = Hello {
        run: RunId::from_bits(0),
        agent: 0,
        client: 0,
        attempt: 1,
    };
    let mut later = Nonce::from_bytes([1; 16]).unwrap().challenge();
    later[3] = 3;
    for first in [hello.encode(&key), later] {
        let mut stream = connect(&server);
        stream.write_all(&first).unwrap();
        let answer = read_to_end(&mut stream);
        assert_eq!(answer, Refusal::Version.encode());
        assert_eq!((answer[3], answer[4]), (7, 2), "the code, and our version");
    }
    // Without a key file there is no static run.
    let server = Server::start(&[]);
    let mut stream = connect(&server);
    stream
        .write_all(&Nonce::from_bytes([1; 16]).unwrap().challenge())
        .unwrap();
    refused(stream, Refusal::Hello);
}

/// A file with the key of 32 bytes 5A.
fn key_file(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("key");
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600)
        .open(&path)
        .unwrap()
        .write_all("5a".repeat(32).as_bytes())
        .unwrap();
    path.to_str().unwrap().to_owned()
}

/// Sends a challenge and takes the server's: the key of the connection.
fn challenged(client: &mut TcpStream, nonce: Nonce, key: &Key) -> Key {
    client.set_read_timeout(Some(common::DEADLINE)).unwrap();
    client.write_all(&nonce.challenge()).unwrap();
    let mut frame = [0; 32];
    client.read_exact(&mut frame).unwrap();
    let server = Challenge::decode(&frame).unwrap().nonce.unwrap();
    key.of_connection(&Challenges {
        client: nonce,
        server,
    })
}

/// A client that ends inside a packet, by a FIN or by a reset, while its worker is killed.
#[test]
fn raw_clients_that_end_anywhere_while_their_worker_dies_are_counted_to_the_byte() {
    let server = Server::start(&["--accept-raw", "--workers", "2", "--max-clients", "200"]);
    let (mut sent, mut clients) = (0, 0);
    for round in 0..24_usize {
        let mut streams: Vec<_> = (0..4).map(|_| connect(&server)).collect();
        for (index, stream) in streams.iter_mut().enumerate() {
            // Every remainder by 32 comes up, among them those that a FIN of one byte would make.
            let bytes = 32 * (1 + round % 3) + (7 * round + 31 * index) % 32 + 1;
            stream.write_all(&vec![b'X'; bytes]).unwrap();
            sent += bytes as u64;
            clients += 1;
        }
        if round % 4 == 3 {
            for pid in server.workers() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        for (index, stream) in streams.into_iter().enumerate() {
            if (round + index) % 2 == 0 {
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
            drop(stream);
        }
    }
    wait_until("every client has ended, each counted to the byte", || {
        let (status, _) = server.json(&["server"]);
        let raw = &status["raw"];
        let is_over = raw["connections"] == clients && status["connections"]["admitted"] == 0;
        is_over.then(|| assert_eq!(raw["bytes"], sent, "{status:#}"))
    });
}

/// The seed serves only as many clients at once as it has workers; its own client must see more
/// here.
#[test]
fn the_seed_s_client_drives_the_server_with_every_packet_counted() {
    let server = Server::start(&["--accept-raw", "--workers", "4"]);
    let (host, port) = server
        .data()
        .rsplit_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .unwrap();
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/seed_client.py");
    let arguments = [
        "--host",
        &host,
        "--port",
        &port,
        "--clients",
        "10",
        "--rate",
        "10000",
        "--duration",
        "2",
    ];
    let output = Command::new("python3")
        .arg(client)
        .args(arguments)
        .output()
        .expect("python3");
    let said = String::from_utf8(output.stdout).unwrap();
    let sent: u64 = said
        .split_whitespace()
        .nth(1)
        .unwrap_or_else(|| panic!("{said} {:?}", output.stderr))
        .parse()
        .unwrap();
    let status = wait_until("all ten are counted", || {
        let (status, _): (Value, _) = server.json(&["server"]);
        (status["raw"]["connections"] == 10 && status["connections"]["admitted"] == 0)
            .then_some(status)
    });
    assert_eq!(status["raw"]["packets"].as_u64(), Some(sent), "{status:#}");
    assert!(sent > 10_000);
}
