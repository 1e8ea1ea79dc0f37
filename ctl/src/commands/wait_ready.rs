//! Waiting for a server and its agents that are still coming up, as in a composition or a cluster.

use std::time::Duration;

use metronome_proto::{
    failure::FailureKind,
    v1::{Agent, AgentState, FailureCode},
};
use tokio::time::{Instant, sleep_until, timeout};

use super::context::Context;
use crate::{client::Client, exit::Failure};

/// Short against the start of a container, long against the cost of a request.
const POLL_PERIOD: Duration = Duration::from_millis(200);

/// Connects to the server once it answers and has an agent that takes part in runs, or all agents
/// of `names`.
///
/// After `wait_max` a server that has answered is taken with whatever agents are there: the next
/// call reports what is missing.
///
/// # Errors
/// A flag is at fault, or the server has not answered by then.
pub(super) async fn wait_ready(
    context: &Context,
    wait_max: Duration,
    names: &[String],
) -> Result<Client, Failure> {
    let (mut answered, mut failed) = (None, None);
    let waiting = async {
        let mut connected = None;
        loop {
            let next = Instant::now() + POLL_PERIOD;
            match agents(context, &mut connected).await {
                Ok((client, agents)) => {
                    answered = Some(client);
                    if are_ready(&agents, names) {
                        return Ok(());
                    }
                }
                // To wait does not help.
                Err(failure) if failure.code().kind() == FailureKind::Usage => return Err(failure),
                Err(failure) => failed = Some(failure),
            }
            sleep_until(next).await;
        }
    };
    if let Ok(waited) = timeout(wait_max, waiting).await {
        waited?;
    }
    answered.ok_or_else(|| failed.unwrap_or_else(|| silent(context, wait_max)))
}

/// The server, connected to if it is not yet, and its agents.
async fn agents(
    context: &Context,
    connected: &mut Option<Client>,
) -> Result<(Client, Vec<Agent>), Failure> {
    let client = match connected {
        Some(client) => client,
        None => connected.insert(context.connect().await?),
    };
    let agents = client.agents().await?;
    Ok((client.clone(), agents))
}

/// The failure of a server that has neither answered nor refused in all of the wait.
fn silent(context: &Context, wait_max: Duration) -> Failure {
    let address = context.server.clone().unwrap_or_default().to_string();
    let sentence = format!("the server at {address} has not answered within {wait_max:?} (--wait)");
    Failure::new(FailureCode::ServerSilent, sentence).with("address", address)
}

/// Whether a run can be given to agents: to those of `names`, or without names to one at least that
/// is responsive. A run that names an unresponsive agent is what tries it again.
fn are_ready(agents: &[Agent], names: &[String]) -> bool {
    if names.is_empty() {
        let takes_part = |agent: &Agent| agent.state() != AgentState::Unresponsive;
        return agents.iter().any(takes_part);
    }
    let is_there = |name: &String| agents.iter().any(|agent| agent.name == *name);
    names.iter().all(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, state: AgentState) -> Agent {
        Agent {
            name: name.into(),
            state: state.into(),
            ..Agent::default()
        }
    }

    #[test]
    fn an_unresponsive_agent_is_ready_for_a_run_that_names_it_and_for_no_other() {
        let (hung, well) = (
            agent("hung", AgentState::Unresponsive),
            agent("well", AgentState::Available),
        );
        let of_old_server = agent("old", AgentState::Unspecified);
        let named = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        for (agents, names, is_ready) in [
            (&[][..], &[][..], false),
            (std::slice::from_ref(&hung), &[], false),
            (&[hung.clone(), well.clone()], &[], true),
            (&[of_old_server], &[], true),
            (&[], &["hung"], false),
            (std::slice::from_ref(&hung), &["hung"], true),
            (&[hung.clone(), well], &["hung", "gone"], false),
        ] {
            assert_eq!(
                are_ready(agents, &named(names)),
                is_ready,
                "{agents:?} {names:?}"
            );
        }
    }
}
