//! Callers that ask for much and read nothing: what waits for them has a limit, and others are
//! answered meanwhile.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::{collections::BTreeMap, fs, time::Duration};

use metronome_proto::v1::{self, FailureCode, RunView, stop_run_request::Runs};
use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::Code;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
};
use tonic_types::StatusExt as _;

use common::{DEADLINE, Server, agent::Agent, by_id, code, plan, start};

const CONNECTIONS: usize = 25;
/// Enough that the answers of all calls would take several hundred MiB.
const RUNS: usize = 40;
/// The most that a connection may have.
const STREAMS: u32 = 100;

/// The preface, then SETTINGS with INITIAL_WINDOW_SIZE 0: nothing may be sent on a stream.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
const LIST_RUNS: &str = "/metronome.v1.RunService/ListRuns";
const EXPORT_RUN: &str = "/metronome.v1.RunService/ExportRun";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = (content.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// A call, as frames.
fn call(stream: u32, path: &str, message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut data = vec![0];
    data.extend((message.len() as u32).to_be_bytes());
    data.extend(message);
    let mut frames = headers(stream, path);
    frames.extend(frame(DATA, END_STREAM, stream, &data));
    frames
}

/// The beginning of a call, whose message has still to come.
fn headers(stream: u32, path: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` of the static table, then literals without an index.
    let mut headers = vec![0x83, 0x86];
    for (name, value) in [
        (":path", path),
        (":authority", "h"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        headers.push(0);
        for text in [name, value] {
            headers.push(u8::try_from(text.len()).unwrap());
            headers.extend(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &headers)
}

/// A connection on which `calls` are made and none is given a window.
async fn without_a_window(grpc: &str, calls: impl IntoIterator<Item = Vec<u8>>) -> TcpStream {
    let mut connection = TcpStream::connect(grpc).await.unwrap();
    connection.write_all(OPENING).await.unwrap();
    for call in calls {
        connection.write_all(&call).await.unwrap();
    }
    connection
}

/// Makes all calls that a connection may have and gives none of them a window.
async fn ask_and_not_read(grpc: &str) -> TcpStream {
    let list = v1::ListRunsRequest {
        page_size: 200,
        view: RunView::Full.into(),
        ..v1::ListRunsRequest::default()
    };
    let reflected = ServerReflectionRequest {
        message_request: Some(MessageRequest::FileContainingSymbol(
            "metronome.v1.RunService".into(),
        )),
        ..ServerReflectionRequest::default()
    };
    let calls = (0..STREAMS).map(|number| {
        let stream = 2 * number + 1;
        if number % 4 == 0 {
            let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
            call(stream, path, &reflected)
        } else {
            call(stream, LIST_RUNS, &list)
        }
    });
    without_a_window(grpc, calls).await
}

/// A history of so many runs with as many labels as they may have. Returns the last one.
async fn history(server: &Server, runs: usize) -> String {
    let mut agent = Agent::register(server, "a1").await;
    let labels = (0..16).map(|at| (format!("{}{at}", "l".repeat(60)), "v".repeat(128)));
    let labels: BTreeMap<_, _> = labels.collect();
    let mut run_id = String::new();
    for number in 0..runs {
        let request = v1::StartRunRequest {
            labels: labels.clone(),
            ..start(plan(1, 1000, 10), &format!("run-{number}"))
        };
        run_id = server.start_run(request).await.run_id;
        let prepared = agent.receive_prepare().await;
        agent.run_honestly(server, &prepared).await;
        common::ended(server, &run_id).await;
    }
    run_id
}

fn resident_mib(server: &Server) -> u64 {
    let pid = server.pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn answers_that_are_not_read_take_little_memory_and_stop_no_operator() {
    let server = Server::start(&[]);
    let run_id = history(&server, RUNS).await;
    let mut runs = server.runs().await;
    let before = resident_mib(&server);
    let mut unread = Vec::new();
    for _ in 0..CONNECTIONS {
        unread.push(ask_and_not_read(&server.grpc).await);
    }
    // Their answers are made in turn; once there is no room, a call that reads is refused.
    let list = || v1::ListRunsRequest {
        page_size: 200,
        view: RunView::Full.into(),
        ..v1::ListRunsRequest::default()
    };
    let refused = async {
        loop {
            match runs.list_runs(list()).await {
                Err(status) => return status,
                Ok(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let status = timeout(DEADLINE, refused)
        .await
        .expect("the budget is used up");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(code(&status), FailureCode::AnswersFull);
    let retry = status.get_details_retry_info().unwrap();
    assert!(retry.retry_delay.is_some());
    // What changes something is done all the same.
    let stop_all = v1::StopRunRequest {
        runs: Some(Runs::Filter(String::new())),
    };
    timeout(DEADLINE, runs.stop_run(stop_all))
        .await
        .unwrap()
        .unwrap();
    let mut highest = resident_mib(&server);
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        highest = highest.max(resident_mib(&server));
    }
    println!("resident: {before} MiB before, {highest} MiB at most");
    assert!(highest < before + 100, "{before} MiB before, {highest} MiB");
    // The room is free again when they have gone.
    drop(unread);
    let read = async {
        while runs.get_run(by_id(&run_id)).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        runs.list_runs(list()).await.unwrap()
    };
    let page = timeout(DEADLINE, read).await.expect("there is room again");
    assert_eq!(page.into_inner().runs.len(), RUNS);
    println!("resident: {} MiB afterwards", resident_mib(&server));
}

/// Another client is answered within a second while `attack` goes on.
async fn answers_another(server: &Server, attack: impl IntoIterator<Item = Vec<u8>>) {
    let mut runs = server.runs().await;
    let held = without_a_window(&server.grpc, attack).await;
    // The answer to a ping shows that the calls before it were taken up.
    let held = pinged(held).await;
    for _ in 0..3 {
        let list = runs.list_runs(v1::ListRunsRequest::default());
        let page = timeout(Duration::from_secs(1), list).await;
        page.expect("within a second").unwrap();
    }
    drop(held);
}

/// Waits until the server has answered a ping on the connection.
async fn pinged(mut connection: TcpStream) -> TcpStream {
    let ping = frame(PING, 0, 0, b"attacked");
    connection.write_all(&ping).await.unwrap();
    let answered = async {
        let mut read = Vec::new();
        while !read.windows(8).any(|bytes| bytes == b"attacked") {
            connection.read_buf(&mut read).await.unwrap();
        }
    };
    timeout(DEADLINE, answered)
        .await
        .expect("a ping is answered");
    connection
}

#[tokio::test]
async fn calls_whose_messages_never_come_hold_up_no_other() {
    let server = Server::start(&[]);
    let half_open = (0..8).map(|number| headers(2 * number + 1, LIST_RUNS));
    answers_another(&server, half_open).await;
}

#[tokio::test]
async fn streams_without_a_window_hold_up_no_other() {
    let server = Server::start(&[]);
    let run_id = history(&server, 1).await;
    let export = v1::ExportRunRequest {
        run_id,
        ..v1::ExportRunRequest::default()
    };
    let exported = (0..5).map(|number| call(2 * number + 1, EXPORT_RUN, &export));
    answers_another(&server, exported).await;
    let listed = (0..5).map(|number| {
        let list = v1::ListRunsRequest::default();
        call(2 * number + 1, LIST_RUNS, &list)
    });
    answers_another(&server, listed).await;
}
