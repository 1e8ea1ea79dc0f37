//! `metronome-server healthcheck`: asks a running server over grpc.health.v1 whether it serves.
//!
//! The same question that a Kubernetes gRPC probe asks, for places that can only run a command, such
//! as an image without a shell.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{runtime, time::timeout};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// From dialling to the answer: a healthy server takes milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// Exit code 0 when the server at `address` serves, 1 with one sentence when not.
pub(crate) fn run(address: &str) -> ExitCode {
    match probe(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn probe(address: &str) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
    let answer = runtime.block_on(async { timeout(ANSWER_TIME_MAX, ask(address)).await });
    let status = answer.unwrap_or_else(|_| bail!("no answer within {} s", ANSWER_TIME_MAX.as_secs()));
    match status.with_context(|| format!("--grpc {address}: the server there is not healthy"))? {
        ServingStatus::Serving => Ok(()),
        status => bail!("--grpc {address}: the server there says {}", status.as_str_name()),
    }
}

async fn ask(address: &str) -> anyhow::Result<ServingStatus> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await.context("it does not listen")?;
    let asked = HealthCheckRequest { service: String::new() };
    Ok(HealthClient::new(channel).check(asked).await?.into_inner().status())
}
