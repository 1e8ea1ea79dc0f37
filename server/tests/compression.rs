//! Compressed requests on a real server: taken, and harmless however much they would be
//! decompressed to.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::fs;

use flate2::{Compress, Compression, FlushCompress};
use http_body_util::Full;
use metronome_proto::{MESSAGE_BYTES_MAX, v1};
use prost::bytes::Bytes;
use tonic::{Code, Status, codec::CompressionEncoding::Gzip};
use tower::ServiceExt as _;

use common::{Server, agent::Agent, code, easy_plan, start};

/// One method of each service.
const METHODS: [&str; 4] = [
    "metronome.v1.RunService/StartRun",
    "metronome.v1.FleetService/GetServer",
    "metronome.v1.AdminService/RestartWorkers",
    "metronome.v1.AgentService/Session",
];

const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const CHUNK_BYTES: usize = 16 << 20;

/// A gzip file of `chunks` times 16 MiB of zeros. Made of one chunk, over and over: it refers to
/// nothing before it but zeros.
fn bomb(chunks: usize) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(1 << 20);
    Compress::new(Compression::best(), false)
        .compress_vec(&vec![0; CHUNK_BYTES], &mut chunk, FlushCompress::Full)
        .unwrap();
    [&GZIP_HEADER[..], &chunk.repeat(chunks), &[3, 0]].concat()
}

/// A gRPC message that is said to be compressed with gzip, and the server's status.
async fn send(server: &Server, method: &str, compressed: &[u8]) -> Status {
    let length = u32::try_from(compressed.len()).unwrap().to_be_bytes();
    let frame = Bytes::from([&[1], &length[..], compressed].concat());
    let request = http::Request::post(format!("http://{}/{method}", server.grpc))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .header("te", "trailers")
        .body(tonic::body::Body::new(Full::new(frame)))
        .unwrap();
    let response = server.channel().await.oneshot(request).await.unwrap();
    Status::from_header_map(response.headers()).expect("an error comes without a body")
}

/// The most memory that a process has had, KiB.
fn memory_peak_kib(server: &Server) -> u64 {
    let pid = server.pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches("kB").trim();
    kib.parse().unwrap()
}

#[tokio::test]
async fn a_compressed_request_is_taken_and_no_response_is_compressed() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let runs = server.runs().await.send_compressed(Gzip);
    let mut runs = runs.accept_compressed(Gzip);
    let request = v1::StartRunRequest {
        labels: [("x".repeat(60), "y".repeat(128))].into(),
        ..start(easy_plan(1), "")
    };
    let response = runs.start_run(request.clone()).await.unwrap();
    assert!(response.metadata().get("grpc-encoding").is_none());
    let run = response.into_inner().run.unwrap();
    assert_eq!(run.labels, request.labels);
    agent.receive_prepare().await;
    let list = runs
        .list_runs(v1::ListRunsRequest::default())
        .await
        .unwrap();
    assert!(list.metadata().get("grpc-encoding").is_none());
}

#[tokio::test]
async fn what_a_request_is_decompressed_to_is_limited_and_costs_no_memory() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let (small, gib, more) = (bomb(1), bomb(64), bomb(65 * 2));
    assert!(small.len() < 32 << 10 && gib.len() < MESSAGE_BYTES_MAX);
    assert!(more.len() > MESSAGE_BYTES_MAX);
    // Once before, so that what each service needs at first is not counted.
    for method in METHODS {
        send(&server, method, &small).await;
    }
    let before_kib = memory_peak_kib(&server);
    for method in METHODS {
        for (bomb, refused) in [
            (&small, Code::ResourceExhausted),
            (&gib, Code::ResourceExhausted),
            (&more, Code::ResourceExhausted),
        ] {
            let status = send(&server, method, bomb).await;
            if method.contains("AgentService") {
                assert_eq!(code(&status), v1::FailureCode::AgentProtocol);
            } else {
                assert_eq!(status.code(), refused, "{method}: {status}");
            }
        }
        let status = send(&server, method, b"no gzip at all").await;
        assert_ne!(status.code(), Code::Ok, "{method}");
    }
    let more_kib = memory_peak_kib(&server) - before_kib;
    assert!(more_kib < 16 << 10, "{more_kib} KiB more");

    // It serves on.
    let run = server.start_run(start(easy_plan(1), "")).await;
    let prepare = agent.receive_prepare().await;
    agent.run_honestly(&server, &prepare).await;
    let run = common::ended(&server, &run.run_id).await;
    assert_eq!(common::received(&run), 10);
}
