//! `doctor --agents`: short runs with one client of each agent, which are deleted once they are
//! over, also after Ctrl-C.
//!
//! A run has a group for each of its agents, since only groups have times of their own. Nothing is
//! measured beside another run, and one that begins meanwhile ends the measurement.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use metronome_proto::{
    features::{self, CONSTANT, GROUPS, WARM_UP},
    profile::Profile,
    v1::{self, FailureCode},
};
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

use super::super::{context::Context, interrupts::Interrupts, start::new_request_id};
use crate::{
    client::Client,
    doctor::path::{AgentPath, Paths},
    exit::{Failure, interrupted},
    measure::{Event, StopRequests, System},
    terminal::{self, Progress},
};

/// A thousand probes at 50 a second, which a p99 of them needs, and all of the 20 s of exchanges
/// that a bound rests on.
const TIME: Duration = Duration::from_secs(22);
/// With `--quick`: a bound is close to its least 6 s after the first probe (docs/clocks.md).
const QUICK_TIME: Duration = Duration::from_secs(8);
/// A young relation of the clocks is wide.
const WARM_UP_TIME: Duration = Duration::from_secs(2);
/// Packets/s of each agent: enough to see the path, too few to load it.
const RATE_MILLIHERTZ: u64 = 100_000;
/// How often the server is asked for other runs.
const OTHERS_PERIOD: Duration = Duration::from_secs(1);
/// Features of an agent without which the plan is refused.
const NEEDED: [&str; 3] = [CONSTANT, GROUPS, WARM_UP];

/// Measures the paths of the agents `names`, or of all that are connected where there are none.
///
/// # Errors
/// There is no server, no such agent, or another run; or Ctrl-C has come.
pub(super) async fn measure(
    context: &Context,
    names: &[String],
    quick: bool,
    interrupts: &Interrupts,
    progress: &mut Progress,
) -> Result<Paths, Failure> {
    let opening = open(context, names);
    let opened = interrupts.first().run_until_cancelled(opening).await;
    let (client, server, agents) =
        opened.unwrap_or_else(|| Err(interrupted("stopped before a path was measured")))?;
    let time = if quick { QUICK_TIME } else { TIME };
    let mut measurement = Measurement {
        system: System::new(client, None),
        time,
        interrupts,
    };
    let (able, unable): (Vec<_>, Vec<_>) =
        agents.into_iter().partition(|agent| lacks(agent).is_none());
    let mut paths: Vec<AgentPath> = unable.iter().map(of_unable).collect();
    for some in able.chunks(agents_at_a_time(&server)) {
        progress.note(&format!(
            "measuring the path of {} for {} s",
            number_of_agents(some),
            time.as_secs()
        ));
        paths.extend(measurement.run(some).await?);
    }
    paths.sort_by(|one, other| one.agent.cmp(&other.agent));
    Ok(Paths {
        seconds: time.as_secs_f64(),
        agents: paths,
    })
}

/// The server, and the agents that are meant.
async fn open(
    context: &Context,
    names: &[String],
) -> Result<(Client, v1::GetServerResponse, Vec<v1::Agent>), Failure> {
    let client = context.connect().await?;
    let server = client.server().await?;
    if server.runs_active > 0 {
        let sentence = "no path was measured, since that would disturb what the server measures";
        return Err(not_beside(sentence, &client, server.runs_active));
    }
    let agents = chosen(client.agents().await?, names)?;
    Ok((client, server, agents))
}

fn not_beside(sentence: &str, client: &Client, runs: u32) -> Failure {
    let plural = if runs == 1 { "" } else { "s" };
    let address = client.address();
    let sentence = format!("{sentence}: {runs} active run{plural} at {address}");
    Failure::new(FailureCode::RunsFull, sentence).with("runs_active", i64::from(runs))
}

/// Those of `names`, each once; without names all.
fn chosen(agents: Vec<v1::Agent>, names: &[String]) -> Result<Vec<v1::Agent>, Failure> {
    if agents.is_empty() {
        return Err(Failure::new(FailureCode::NoAgent, "no agent is connected"));
    }
    let is_missing = |name: &&String| agents.iter().all(|agent| agent.name != **name);
    let missing: Vec<String> = names.iter().filter(is_missing).cloned().collect();
    if !missing.is_empty() {
        let sentence = format!("not connected: {}", missing.join(", "));
        return Err(Failure::new(FailureCode::AgentNotConnected, sentence)
            .with("agents", missing.len())
            .with("agent_names", missing));
    }
    let is_meant = |agent: &v1::Agent| names.is_empty() || names.contains(&agent.name);
    Ok(agents.into_iter().filter(is_meant).collect())
}

/// What the server takes in one run: a group and a client for each.
fn agents_at_a_time(server: &v1::GetServerResponse) -> usize {
    let limits = server.limits.unwrap_or_default();
    let most = limits.groups_max.min(limits.max_clients).max(1);
    usize::try_from(most).unwrap_or(1)
}

fn number_of_agents(agents: &[v1::Agent]) -> String {
    match agents {
        [one] => format!("agent {}", one.name),
        several => format!("{} agents", several.len()),
    }
}

/// The first feature that the agent does not have.
fn lacks(agent: &v1::Agent) -> Option<String> {
    let needed = NEEDED.map(String::from);
    features::missing(&needed, &agent.capabilities).map(str::to_owned)
}

fn of_unable(agent: &v1::Agent) -> AgentPath {
    let sentence = format!(
        "agent {} is of version {}, which does not have {}",
        agent.name,
        agent.version,
        lacks(agent).unwrap_or_default()
    );
    let failure = Failure::new(FailureCode::Unsupported, sentence);
    AgentPath::refused(agent, &failure)
}

struct Measurement<'a> {
    system: System,
    time: Duration,
    interrupts: &'a Interrupts,
}

impl Measurement<'_> {
    /// One run, deleted however it ended.
    async fn run(&mut self, agents: &[v1::Agent]) -> Result<Vec<AgentPath>, Failure> {
        let client = self.system.client().clone();
        let mut run_id = None;
        let measured = self.until_end(&client, agents, &mut run_id).await;
        let paths = match measured {
            Ok(run) => {
                let of = |rows: Vec<_>| {
                    let of = |agent| AgentPath::of_run(agent, &run, &rows);
                    agents.iter().map(of).collect()
                };
                client.clients(&run.run_id).await.map(of)
            }
            Err(failure) => Err(failure),
        };
        if let Some(run_id) = run_id {
            self.delete(&client, &run_id).await;
        }
        paths
    }

    /// The run with its report, unless it was stopped.
    async fn until_end(
        &mut self,
        client: &Client,
        agents: &[v1::Agent],
        run_id: &mut Option<String>,
    ) -> Result<v1::Run, Failure> {
        let requests = self.interrupts.stop_requests();
        // Another run stops this one as Ctrl-C does.
        let stop = requests.stop.child_token();
        let requests = StopRequests { stop, ..requests };
        let request = request(agents, self.time);
        let stop = requests.stop.clone();
        let measuring = self.system.measure(request, &requests, |event| {
            if let Event::Started(run) = event {
                *run_id = Some(run.run_id.clone());
            }
        });
        let mut measuring = pin!(measuring);
        let mut others = None;
        let run = select! {
            run = &mut measuring => run,
            runs = others_of(client, &stop) => {
                others = Some(runs);
                stop.cancel();
                measuring.await
            }
        };
        match others {
            _ if self.interrupts.first().is_cancelled() => {
                let failure = run.err().map(|failure| failure.sentence);
                let sentence = "stopped before all paths were measured";
                Err(interrupted(failure.unwrap_or_else(|| sentence.into())))
            }
            Some(runs) => {
                let sentence = "the measurement was ended, since another run has begun, and what \
                                both show is not to be trusted";
                Err(not_beside(sentence, client, runs))
            }
            None => run,
        }
    }

    /// What cannot be deleted stays in the history, with its label.
    async fn delete(&self, client: &Client, run_id: &str) {
        let deleting = client.delete_run(run_id);
        let deleted = self.interrupts.next().run_until_cancelled(deleting).await;
        if let Some(Err(failure)) = deleted {
            terminal::warn(&format!(
                "run {run_id} stays in the history, with the label doctor=true: {}",
                failure.sentence
            ));
        }
    }
}

/// Waits for other runs than ours, and returns how many there are. A server that does not answer
/// has none that are known.
async fn others_of(client: &Client, stop: &CancellationToken) -> u32 {
    loop {
        sleep(OTHERS_PERIOD).await;
        let active = client.server().await.map(|server| server.runs_active);
        match active {
            Ok(runs @ 2..) if !stop.is_cancelled() => return runs - 1,
            _ => {}
        }
    }
}

fn request(agents: &[v1::Agent], time: Duration) -> v1::StartRunRequest {
    let group = |agent: &v1::Agent| v1::Group {
        name: agent.name.clone(),
        clients: 1,
        profile: Some(Profile::constant(RATE_MILLIHERTZ).to_proto()),
        agents: Some(v1::AgentSelector {
            names: vec![agent.name.clone()],
        }),
        ..v1::Group::default()
    };
    let plan = v1::Plan {
        groups: agents.iter().map(group).collect(),
        duration: prost_types::Duration::try_from(time).ok(),
        warm_up: prost_types::Duration::try_from(WARM_UP_TIME).ok(),
        no_default_objectives: true,
        ..v1::Plan::default()
    };
    v1::StartRunRequest {
        plan: Some(plan),
        request_id: new_request_id(),
        labels: BTreeMap::from([("doctor".to_owned(), "true".to_owned())]),
    }
}
