//! Crowds at the ports of the control plane: connections that do nothing, calls that never end,
//! requests that never come. Operators, agents and probes come in all the same, and at once.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::{io, net::SocketAddr, time::Duration};

use metronome_proto::v1::{self, stop_run_request::Runs};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use common::{DEADLINE, Server, agent::Agent};

/// For what an operator, an agent or a probe asks, on an overloaded host.
const PROMPT: Duration = Duration::from_secs(1);

/// More than the server has places.
const CROWD: usize = 1_100;

/// The opening of an HTTP/2 client: the preface and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// Descriptors for the crowd here, and for its connections in a server that is started afterwards.
fn raise_files() {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        ..files
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let allowed = files.maximum.unwrap_or(u64::MAX);
    assert!(allowed >= 4_096, "a limit of {allowed} files is too low");
}

/// A connection from a loopback address of its own host.
async fn connect(from: [u8; 4], to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to.parse().unwrap()).await.unwrap()
}

/// Opens HTTP/2 and returns when the server has answered.
async fn open(from: [u8; 4], to: &str) -> TcpStream {
    let mut connection = connect(from, to).await;
    connection.write_all(PREFACE).await.unwrap();
    let (kind, ..) = frame(&mut connection).await.unwrap();
    assert_eq!(kind, SETTINGS);
    connection
}

/// Kind, flags and content of the next frame.
async fn frame(connection: &mut TcpStream) -> io::Result<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    connection.read_exact(&mut head).await?;
    let bytes = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut content = vec![0; bytes as usize];
    connection.read_exact(&mut content).await?;
    Ok((head[3], head[4], content))
}

/// Answers pings until the connection ends. True when the server said goodbye first.
async fn answer_pings(mut connection: TcpStream) -> bool {
    let mut is_asked_to_go = false;
    while let Ok((kind, flags, content)) = frame(&mut connection).await {
        is_asked_to_go |= kind == GOAWAY;
        if flags & ACK == 0 && (kind == PING || kind == SETTINGS) {
            let content = if kind == PING { content } else { Vec::new() };
            let mut answer = vec![0, 0, content.len() as u8, kind, ACK, 0, 0, 0, 0];
            answer.extend(content);
            if connection.write_all(&answer).await.is_err() {
                break;
            }
        }
    }
    is_asked_to_go
}

/// A crowd that opens HTTP/2, answers pings and does nothing else for as long as it lives.
async fn idle_crowd(from: [u8; 4], size: usize, to: &str) {
    for _ in 0..size {
        tokio::spawn(answer_pings(open(from, to).await));
    }
}

/// The answer of the HTTP port to a request.
async fn get(http: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What operators, agents and probes do, each on a connection of its own.
async fn all_come_in(server: &Server, agent: &str) -> Agent {
    let started = Instant::now();
    let stop_all = v1::StopRunRequest {
        runs: Some(Runs::Filter(String::new())),
    };
    let stopped = async { server.runs().await.stop_run(stop_all).await.unwrap() };
    timeout(DEADLINE, stopped).await.expect("stop --all");
    let agent = timeout(DEADLINE, Agent::register(server, agent)).await;
    let agent = agent.expect("the agent comes in");
    let probed = async {
        let mut health = HealthClient::new(server.channel().await);
        let request = HealthCheckRequest::default();
        health.check(request).await.unwrap();
        assert!(
            get(server.http(), "/healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        assert!(get(server.http(), "/metrics").await.ends_with("# EOF\n"));
    };
    timeout(DEADLINE, probed).await.expect("the probes");
    assert!(started.elapsed() < 5 * PROMPT, "{:?}", started.elapsed());
    agent
}

fn server() -> Server {
    raise_files();
    Server::start(&["--http", "127.0.0.1:0", "--max-clients", "100"])
}

#[tokio::test]
async fn idle_connections_that_answer_pings_hold_no_port_shut() {
    let server = server();
    let (_channel, mut watching) = endless_call(&server).await;
    watching.message().await.unwrap();
    // From the address of the operators, and from others that fill what is left.
    for from in [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]] {
        idle_crowd(from, CROWD, &server.grpc).await;
        let name = format!("agent{}", from[3]);
        drop(all_come_in(&server, &name).await);
    }
    // An open call, such as an agent's session, loses its place to no crowd.
    let next = timeout(Duration::from_millis(100), watching.message()).await;
    assert!(next.is_err(), "the stream goes on: {next:?}");
}

/// A call that is open for as long as this lives.
async fn endless_call(server: &Server) -> (Channel, tonic::Streaming<HealthCheckResponse>) {
    let channel = server.channel().await;
    let mut health = HealthClient::new(channel.clone());
    let watching = health.watch(HealthCheckRequest::default()).await.unwrap();
    (channel, watching.into_inner())
}

#[tokio::test]
async fn calls_that_never_end_leave_places_for_short_ones() {
    let server = server();
    let mut calls = Vec::new();
    for _ in 0..CROWD {
        calls.push(endless_call(&server).await);
    }
    drop(all_come_in(&server, "agent").await);
    drop(all_come_in(&server, "again").await);
}

#[tokio::test]
async fn silent_connections_to_the_http_port_give_their_places_to_probes() {
    let server = server();
    let mut silent = Vec::new();
    for number in 0..200_u8 {
        let mut connection = connect([127, 0, 0, 1 + number % 3], server.http()).await;
        // Half of them have begun a request.
        if number % 2 == 0 {
            connection.write_all(b"GET /healthz HTT").await.unwrap();
        }
        silent.push(connection);
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = timeout(PROMPT, get(server.http(), path)).await;
        let answer = answer.unwrap_or_else(|_| panic!("no prompt answer of {path}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn scrapes_in_loops_are_answered_in_turn_and_hold_up_no_probe() {
    let server = server();
    let until = Instant::now() + Duration::from_secs(2);
    let mut scrapes = JoinSet::new();
    for _ in 0..12 {
        let http = server.http().to_owned();
        scrapes.spawn(async move {
            let mut answers = 0;
            while Instant::now() < until {
                assert!(get(&http, "/metrics").await.ends_with("# EOF\n"));
                answers += 1;
            }
            answers
        });
    }
    while Instant::now() < until {
        let probed = timeout(PROMPT, get(server.http(), "/healthz")).await;
        assert!(probed.unwrap().starts_with("HTTP/1.1 200"));
    }
    let answers: u32 = scrapes.join_all().await.into_iter().sum();
    // 200 a second, and those that waited when the time was over; without turns it is a multiple.
    assert!((12..=460).contains(&answers), "{answers} answers in 2 s");
}

#[tokio::test]
async fn a_connection_without_a_call_is_asked_to_go_and_one_with_a_call_stays() {
    let server = server();
    let (channel, mut watching) = endless_call(&server).await;
    watching.message().await.unwrap();
    let silent = connect([127, 0, 0, 1], &server.grpc).await;
    let idle = open([127, 0, 0, 1], &server.grpc).await;
    assert!(timeout(DEADLINE, answer_pings(idle)).await.unwrap());
    timeout(DEADLINE, answer_pings(silent)).await.unwrap();
    let next = timeout(Duration::from_millis(100), watching.message()).await;
    assert!(next.is_err(), "the stream goes on: {next:?}");
    drop(channel);
}
