//! `metronome-server healthcheck`: asks a running server whether it serves, for places that can only
//! run a command, such as an image without a shell.
//!
//! It asks what a Kubernetes gRPC probe asks, over grpc.health.v1. Where the gRPC port has TLS, no
//! name in its certificate is that of the address asked, and it may want a certificate itself: then
//! the HTTP port's /readyz is asked, which has neither.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail, ensure};
use axum::body::{Body, to_bytes};
use http::{Request, header::HOST};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime, time::timeout};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::config::Args;

/// From dialling to the answer: a healthy server takes milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// A reason is one sentence.
const REASON_BYTES_MAX: usize = 4096;

/// Exit code 0 when the server that has these flags serves, 1 with one sentence when not.
pub(crate) fn run(args: &Args) -> ExitCode {
    match probe(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn probe(args: &Args) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
    let has_tls = args.tls.tls_cert.is_some();
    let (flag, address) = if has_tls { ("--http", &args.http) } else { ("--grpc", &args.grpc) };
    let asking = async { if has_tls { ask_http(address).await } else { ask_grpc(address).await } };
    let answer = runtime.block_on(async { timeout(ANSWER_TIME_MAX, asking).await });
    let answer = answer.unwrap_or_else(|_| bail!("no answer within {} s", ANSWER_TIME_MAX.as_secs()));
    answer.with_context(|| format!("{flag} {address}: the server there is not healthy"))
}

async fn ask_grpc(address: &str) -> anyhow::Result<()> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await.context("it does not listen")?;
    let asked = HealthCheckRequest { service: String::new() };
    match HealthClient::new(channel).check(asked).await?.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        status => bail!("it says {}", status.as_str_name()),
    }
}

async fn ask_http(address: &str) -> anyhow::Result<()> {
    let socket = TcpStream::connect(address).await.context("it does not listen")?;
    let (mut client, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz").header(HOST, address).body(Body::empty())?;
    let response = client.send_request(request).await?;
    let status = response.status();
    let reason = to_bytes(Body::new(response.into_body()), REASON_BYTES_MAX).await?;
    ensure!(status.is_success(), "it says {}", String::from_utf8_lossy(&reason).trim_end());
    Ok(())
}
