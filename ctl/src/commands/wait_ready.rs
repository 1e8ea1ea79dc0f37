//! Waiting for a server and its agents that are still coming up, as in a composition or a cluster.

use std::time::Duration;

use metronome_proto::failure::FailureKind;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::context::Context;
use crate::{client::Client, exit::Failure};

/// Short against the start of a container, long against the cost of a request.
const POLL_PERIOD: Duration = Duration::from_millis(200);

/// Connects to the server once it answers and has an agent, or all agents of `names`.
///
/// After `wait_max` whatever is there is taken: the next call reports what is missing.
pub(super) async fn wait_ready(
    context: &Context,
    wait_max: Duration,
    names: &[String],
) -> Result<Client, Failure> {
    let deadline = Instant::now() + wait_max;
    let server = async {
        loop {
            let next = Instant::now() + POLL_PERIOD;
            match context.connect().await {
                Ok(client) => return Ok(client),
                // To wait does not help.
                Err(failure) if failure.code().kind() == FailureKind::Usage => return Err(failure),
                Err(_) => sleep_until(next).await,
            }
        }
    };
    let client = match timeout_at(deadline, server).await {
        Ok(client) => client?,
        Err(_) => return context.connect().await,
    };
    let agents = async {
        loop {
            let next = Instant::now() + POLL_PERIOD;
            let agents = client.agents().await.unwrap_or_default();
            let is_there = |name: &String| agents.iter().any(|agent| agent.name == *name);
            if !agents.is_empty() && names.iter().all(is_there) {
                return;
            }
            sleep_until(next).await;
        }
    };
    let _ = timeout_at(deadline, agents).await;
    Ok(client)
}
