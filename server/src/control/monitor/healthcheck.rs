//! `metronome-server healthcheck`: asks a running server whether it serves, for places that can
//! only run a command, such as an image without a shell.
//!
//! It asks what a Kubernetes gRPC probe asks, over grpc.health.v1. Where the gRPC port has TLS, no
//! name in its certificate is that of the address asked, and it may want a certificate itself: then
//! the HTTP port's /readyz is asked, which has neither. A server that finds the default HTTP port
//! taken does without one, so that the answer there has to come from the server whose gRPC port is
//! the one of --grpc; at an address that was given for both there can be no other.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail, ensure};
use axum::body::{Body, to_bytes};
use http::{Request, header::HOST};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use metronome_proto::HTTP_ADDRESS_DEFAULT;
use metronome_telemetry::command_line;
use tokio::{net::TcpStream, runtime, time::timeout};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::http::GRPC_PORT_HEADER;
use crate::config::{Args, parse_address};

/// From dialling to the answer: a healthy server takes milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// A reason is one sentence.
const REASON_BYTES_MAX: usize = 4096;

/// Exit code 0 when the server that has these flags serves, 1 with one sentence when not.
pub(crate) fn run(args: &Args) -> ExitCode {
    match probe(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command_line::write_error_with_variables(&format_args!("{error:#}"), None);
            ExitCode::FAILURE
        }
    }
}

fn probe(args: &Args) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no event loop")?;
    let has_tls = args.tls.tls_cert.is_some();
    ensure!(
        !has_tls || args.http != "off",
        "--http off: where the gRPC port has TLS a server is asked at its HTTP port; \
         give both the same --http HOST:PORT"
    );
    let grpc = parse_address("--grpc", &args.grpc)?.to_string();
    let (flag, address) = if has_tls {
        ("--http", parse_address("--http", &args.http)?.to_string())
    } else {
        ("--grpc", grpc.clone())
    };
    let asking = async {
        if has_tls {
            ask_http(&address, &grpc).await
        } else {
            ask_grpc(&address).await
        }
    };
    let answer = runtime.block_on(async { timeout(ANSWER_TIME_MAX, asking).await });
    let answer =
        answer.unwrap_or_else(|_| bail!("no answer within {} s", ANSWER_TIME_MAX.as_secs()));
    answer.with_context(|| format!("{flag} {address}: the server there is not healthy"))
}

async fn ask_grpc(address: &str) -> anyhow::Result<()> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await
        .context("it does not listen")?;
    let asked = HealthCheckRequest {
        service: String::new(),
    };
    match HealthClient::new(channel)
        .check(asked)
        .await?
        .into_inner()
        .status()
    {
        ServingStatus::Serving => Ok(()),
        status => bail!("it reports {}", status.as_str_name()),
    }
}

async fn ask_http(address: &str, grpc: &str) -> anyhow::Result<()> {
    let socket = TcpStream::connect(address)
        .await
        .context("it does not listen")?;
    let (mut client, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz")
        .header(HOST, address)
        .body(Body::empty())?;
    let response = client.send_request(request).await?;
    let status = response.status();
    let port = response
        .headers()
        .get(GRPC_PORT_HEADER)
        .and_then(|port| port.to_str().ok());
    expect_server(address, grpc, port)?;
    let reason = to_bytes(Body::new(response.into_body()), REASON_BYTES_MAX).await?;
    ensure!(
        status.is_success(),
        "it reports {}",
        String::from_utf8_lossy(&reason).trim_end()
    );
    Ok(())
}

/// Whether what answers at `address` and has this gRPC port is the server of `grpc`.
fn expect_server(address: &str, grpc: &str, port: Option<&str>) -> anyhow::Result<()> {
    let is_it = port.is_some_and(|port| grpc.ends_with(&format!(":{port}")));
    let port = port.unwrap_or("unknown");
    ensure!(
        is_it || address != HTTP_ADDRESS_DEFAULT,
        "it is another one, whose gRPC port is {port}; \
         give the one of --grpc {grpc} an --http HOST:PORT of its own"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_default_address_the_server_of_the_grpc_port_has_to_answer_and_elsewhere_any_does() {
        let refused = |port| {
            expect_server(HTTP_ADDRESS_DEFAULT, "0.0.0.0:50051", port)
                .unwrap_err()
                .to_string()
        };
        assert!(expect_server(HTTP_ADDRESS_DEFAULT, "0.0.0.0:50051", Some("50051")).is_ok());
        assert!(
            refused(Some("50052"))
                .contains("gRPC port is 50052; give the one of --grpc 0.0.0.0:50051")
        );
        assert!(
            refused(Some("0051")).contains("--http"),
            "no part of a port is a port"
        );
        assert!(
            refused(None).contains("unknown"),
            "another program at that port may answer anything with success"
        );
        assert!(expect_server("127.0.0.1:9000", "127.0.0.1:50051", None).is_ok());
    }
}
