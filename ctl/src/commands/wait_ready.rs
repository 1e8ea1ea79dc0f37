//! Waiting for a server and its agents that are still coming up, as in a composition or a cluster.
//! What is waited for is reported whenever it is another thing.

use std::time::Duration;

use metronome_proto::{
    failure::FailureKind,
    v1::{Agent, AgentState, FailureCode},
};
use tokio::{
    pin,
    time::{Instant, sleep_until, timeout},
};

use super::context::Context;
use crate::{client::Client, exit::Failure, terminal::Progress};

/// Short against the start of a container, long against the cost of a request.
const POLL_PERIOD: Duration = Duration::from_millis(200);

/// A server that is well responds sooner: one that has not is what is waited for.
const SILENCE_MAX: Duration = Duration::from_secs(1);

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
    progress: &mut Progress,
) -> Result<Client, Failure> {
    let address = context.server.clone().unwrap_or_default();
    let mut wait = Wait {
        until: Instant::now() + wait_max,
        reported: String::new(),
        progress,
    };
    let (mut answered, mut failed) = (None, None);
    let waiting = async {
        let mut connected = None;
        loop {
            let next = Instant::now() + POLL_PERIOD;
            let attempt = agents(context, &mut connected);
            pin!(attempt);
            let attempted = match timeout(SILENCE_MAX, &mut attempt).await {
                Ok(attempted) => attempted,
                Err(_) => {
                    wait.report(format!("the server at {address} has not answered yet"));
                    attempt.await
                }
            };
            match attempted {
                Ok((client, agents)) => {
                    answered = Some(client);
                    match missing(&agents, names) {
                        None => return Ok(()),
                        Some(missing) => wait.report(missing),
                    }
                }
                // To wait does not help.
                Err(failure) if failure.code().kind() == FailureKind::Usage => return Err(failure),
                Err(failure) => {
                    wait.report(failure.sentence.clone());
                    failed = Some(failure);
                }
            }
            sleep_until(next).await;
        }
    };
    if let Ok(waited) = timeout(wait_max, waiting).await {
        waited?;
    }
    answered.ok_or_else(|| failed.unwrap_or_else(|| silent(context, wait_max)))
}

/// What is waited for, and for how long still.
struct Wait<'a> {
    until: Instant,
    /// What was waited for when that was last reported.
    reported: String,
    progress: &'a mut Progress,
}

impl Wait<'_> {
    /// Reports why there is still something to wait for, unless that is reported already.
    fn report(&mut self, cause: String) {
        if self.reported != cause {
            let left = shown(self.until.saturating_duration_since(Instant::now()));
            self.progress
                .note(&format!("waiting up to {left}: {cause}"));
            self.reported = cause;
        }
    }
}

/// A time that is left, in whole units, rounded up.
fn shown(left: Duration) -> String {
    let ms = left.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..600_000 => format!("{} s", ms.div_ceil(1_000)),
        _ => format!("{} min", ms.div_ceil(60_000)),
    }
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

/// The agents that a run still lacks, as a sentence: those of `names`, or without names one that is
/// responsive. `None` when it can be given to agents. A run that names an unresponsive agent is
/// what tries it again.
fn missing(agents: &[Agent], names: &[String]) -> Option<String> {
    if names.is_empty() {
        let takes_part = |agent: &Agent| agent.state() != AgentState::Unresponsive;
        return match agents.len() {
            0 => Some("no agent is connected".into()),
            _ if agents.iter().any(takes_part) => None,
            1 => Some("the one agent that is connected does not respond".into()),
            count => Some(format!(
                "none of the {count} agents that are connected responds"
            )),
        };
    }
    let is_missing = |name: &&String| agents.iter().all(|agent| agent.name != **name);
    let missing: Vec<&str> = names
        .iter()
        .filter(is_missing)
        .map(String::as_str)
        .collect();
    let there = names.len() - missing.len();
    (!missing.is_empty()).then(|| {
        let all = names.len();
        let list = missing.join(", ");
        format!("{there} of {all} agents of --agent are connected; missing: {list}")
    })
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
            let missing = missing(agents, &named(names));
            assert_eq!(
                missing.is_none(),
                is_ready,
                "{agents:?} {names:?}: {missing:?}"
            );
        }
    }
    #[test]
    fn what_is_missing_is_counted_and_named() {
        let hung = agent("hung", AgentState::Unresponsive);
        let names = ["a1", "hung"].map(String::from);
        let missing = |agents: &[Agent], names: &[String]| missing(agents, names).expect("some");
        assert_eq!(missing(&[], &[]), "no agent is connected");
        assert!(missing(std::slice::from_ref(&hung), &[]).contains("does not respond"));
        assert!(missing(&[hung.clone(), hung.clone()], &[]).contains("none of the 2"));
        assert_eq!(
            missing(&[hung], &names),
            "1 of 2 agents of --agent are connected; missing: a1"
        );
    }

    #[test]
    fn a_time_that_is_left_is_never_less_than_it_is() {
        for (ms, text) in [
            (60_000, "60 s"),
            (59_001, "60 s"),
            (300, "300 ms"),
            (0, "0 ms"),
            (3_600_000, "60 min"),
        ] {
            assert_eq!(shown(Duration::from_millis(ms)), text);
        }
    }
}
