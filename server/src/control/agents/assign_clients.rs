//! Which agents bring which clients of a run: an even division, as pure functions.

use std::{fmt::Write as _, ops::Range};

use metronome_proto::{
    bounded::listed,
    features,
    limits::AGENTS_MAX,
    v1::{Failure, FailureCode},
};

use crate::model::AgentClock;

/// An agent that was given an assignment in a run.
#[derive(Clone, Debug)]
pub(crate) struct AssignedAgent {
    pub(crate) name: String,
    /// Indices of its clients within the run.
    pub(crate) clients: Range<u32>,
    pub(crate) clock: AgentClock,
}

/// A connected agent, as far as the choice depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) name: &'a str,
    /// Clients that it can still bring.
    pub(super) free: u32,
    pub(super) capabilities: &'a [String],
    /// It did not answer the last Prepare in time.
    pub(super) is_unresponsive: bool,
}

/// What a run asks of its agents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Names of agents; empty for all that are responsive.
    pub(crate) names: &'a [String],
    pub(crate) clients: u32,
    /// Features that every agent must have.
    pub(crate) features: &'a [String],
}

/// Chooses among the connected agents those that are to bring the clients of a run, in the given
/// order and with the clients of each. Those that would get no client are left out.
///
/// An agent without a feature of the plan refuses the run instead of being left out: the load would
/// come from other hosts than those that were meant.
pub(super) fn choose_agents(
    connected: &[Candidate<'_>],
    wanted: Wanted<'_>,
) -> Result<Vec<(String, u32)>, Failure> {
    let Wanted { names, clients, .. } = wanted;
    let is_connected = |name: &&String| connected.iter().any(|known| known.name == name.as_str());
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !is_connected(name))
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Err(not_connected(&missing));
    }
    let is_asked = |known: &&Candidate<'_>| match names {
        [] => !known.is_unresponsive,
        names => names.iter().any(|asked| asked == known.name),
    };
    let asked: Vec<_> = connected.iter().filter(is_asked).collect();
    if asked.is_empty() {
        return Err(none_asked(connected));
    }
    let capacities: Vec<_> = asked.iter().map(|agent| agent.free).collect();
    let left_out = if names.is_empty() {
        connected.len() - asked.len()
    } else {
        0
    };
    let shares =
        divide(clients, &capacities).ok_or_else(|| full(clients, &capacities, left_out))?;
    let chosen = asked
        .into_iter()
        .zip(shares)
        .filter(|(_, share)| *share > 0);
    let chosen: Vec<_> = chosen.collect();
    if chosen.len() > AGENTS_MAX {
        return Err(too_many(chosen.len()));
    }
    for (agent, _) in &chosen {
        if let Some(feature) = features::missing(wanted.features, agent.capabilities) {
            return Err(unsupported(agent.name, feature));
        }
    }
    let named = chosen
        .into_iter()
        .map(|(agent, share)| (agent.name.to_owned(), share));
    Ok(named.collect())
}

fn not_connected(missing: &[String]) -> Failure {
    let what = "agents named in the plan are not connected";
    naming(FailureCode::AgentNotConnected, what, missing)
}

/// None of the connected agents takes part in a run that names none.
fn none_asked(connected: &[Candidate<'_>]) -> Failure {
    if connected.is_empty() {
        let sentence = "no agent is connected";
        return Failure::new(FailureCode::NoAgent, sentence);
    }
    let names: Vec<_> = connected
        .iter()
        .map(|agent| agent.name.to_owned())
        .collect();
    let what = "every agent that is connected did not answer its last order to prepare a run";
    naming(FailureCode::AgentsUnresponsive, what, &names)
}

/// A failure of several agents; the sentence and the figures name the first ones.
fn naming(code: FailureCode, what: &str, agents: &[String]) -> Failure {
    Failure::new(code, format!("{what}: {}", listed(agents)))
        .with("agents", agents.len())
        .with("agent_names", agents.to_vec())
}

fn full(clients: u32, capacities: &[u32], unresponsive: usize) -> Failure {
    let free = capacities.iter().map(|free| u64::from(*free)).sum::<u64>();
    let agents = capacities.len();
    let mut sentence =
        format!("{clients} clients are asked for, and the agents ({agents}) can bring {free} more");
    if unresponsive > 0 {
        let _ = write!(
            sentence,
            "; {unresponsive} are left out because they are unresponsive"
        );
    }
    let failure = Failure::new(FailureCode::AgentsFull, sentence)
        .with("clients", clients)
        .with("clients_free", free)
        .with("agents", agents);
    match unresponsive {
        0 => failure,
        _ => failure.with("agents_unresponsive", unresponsive),
    }
}

fn too_many(agents: usize) -> Failure {
    let sentence = format!("{agents} agents are too many for one run, which takes {AGENTS_MAX}");
    Failure::new(FailureCode::TooManyAgents, sentence)
        .with("agents", agents)
        .with("agents_max", AGENTS_MAX)
}

fn unsupported(agent: &str, feature: &str) -> Failure {
    let sentence = format!("agent {agent} does not have the feature {feature} of the plan");
    Failure::new(FailureCode::Unsupported, sentence)
        .with("agent", agent)
        .with("feature", feature)
}

/// Divides `clients` evenly among agents that take at most `capacities[i]` each; the first ones get
/// the remainder, and what one cannot take the others do. `None` when they cannot take them all.
fn divide(clients: u32, capacities: &[u32]) -> Option<Vec<u32>> {
    // As water fills vessels of different heights: everyone up to one level, or to its brim.
    let filled = |level: u32| {
        capacities
            .iter()
            .map(|capacity| u64::from(*capacity.min(&level)))
            .sum::<u64>()
    };
    let wanted = u64::from(clients);
    if filled(clients) < wanted {
        return None;
    }
    let (mut level, mut too_high) = (0, clients.saturating_add(1));
    while too_high - level > 1 {
        let middle = level + (too_high - level) / 2;
        if filled(middle) <= wanted {
            level = middle;
        } else {
            too_high = middle;
        }
    }
    let mut remainder = wanted - filled(level);
    let share = |capacity: &u32| {
        let one_more = remainder > 0 && *capacity > level;
        remainder -= u64::from(one_more);
        capacity.min(&level) + u32::from(one_more)
    };
    Some(capacities.iter().map(share).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_ones_get_the_remainder_and_the_strong_carry_for_the_weak() {
        assert_eq!(divide(10, &[100]), Some(vec![10]));
        assert_eq!(divide(10, &[100; 3]), Some(vec![4, 3, 3]));
        assert_eq!(divide(10, &[2, 100, 100]), Some(vec![2, 4, 4]));
        assert_eq!(divide(2, &[100; 3]), Some(vec![1, 1, 0]));
        assert_eq!(divide(10, &[4, 5]), None);
        assert_eq!(divide(10, &[]), None);
        assert_eq!(divide(10, &[0, 10]), Some(vec![0, 10]));
    }

    fn choose(names: &[&str], clients: u32, features: &[&str]) -> Result<usize, Failure> {
        let owned = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.into())
                .collect::<Vec<String>>()
        };
        let (old, new) = (owned(&["a"]), owned(&["a", "b"]));
        let candidate = |name, capabilities| Candidate {
            name,
            free: 10,
            capabilities,
            is_unresponsive: false,
        };
        let connected = [candidate("new", &new), candidate("old", &old)];
        let (names, features) = (owned(names), owned(features));
        let wanted = Wanted {
            names: &names,
            clients,
            features: &features,
        };
        choose_agents(&connected, wanted).map(|chosen| chosen.len())
    }

    #[test]
    fn an_agent_without_a_feature_of_the_plan_is_not_given_the_run() {
        assert_eq!(choose(&[], 4, &["a"]), Ok(2));
        assert_eq!(choose(&["new"], 4, &["a", "b"]), Ok(1));
        assert_eq!(
            choose(&[], 1, &["a", "b"]),
            Ok(1),
            "the old one gets no client"
        );
        let refused = choose(&[], 4, &["a", "b"]).unwrap_err();
        assert_eq!(refused.code(), FailureCode::Unsupported);
        let figure = |name: &str| refused.figures[name].to_string();
        assert_eq!(
            (figure("agent"), figure("feature")),
            ("old".into(), "b".into())
        );
    }

    #[test]
    fn an_unresponsive_agent_gets_only_runs_that_name_it() {
        let agent = |name, is_unresponsive| Candidate {
            name,
            free: 10,
            capabilities: &[],
            is_unresponsive,
        };
        let choose = |connected: &[Candidate<'_>], names: &[&str], clients| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let wanted = Wanted {
                names: &names,
                clients,
                features: &[],
            };
            let chosen = choose_agents(connected, wanted);
            chosen.map(|agents| agents.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        let one_of_two = [agent("hung", true), agent("well", false)];
        assert_eq!(choose(&one_of_two, &[], 4), Ok(vec!["well".into()]));
        assert_eq!(choose(&one_of_two, &["hung"], 4), Ok(vec!["hung".into()]));
        let full = choose(&one_of_two, &[], 11).unwrap_err();
        assert_eq!(full.code(), FailureCode::AgentsFull);
        assert_eq!(full.figures["agents_unresponsive"], 1_u64.into());
        let full = choose(&one_of_two, &["well"], 11).unwrap_err();
        assert!(!full.figures.contains_key("agents_unresponsive"));
        let all = choose(&[agent("hung", true)], &[], 1).unwrap_err();
        assert_eq!(all.code(), FailureCode::AgentsUnresponsive);
        assert_eq!(
            all.sentence,
            "every agent that is connected did not answer its last order to prepare a run: hung"
        );
        assert_eq!(all.figures["agents"], 1_u64.into());
    }

    #[test]
    fn more_agents_than_a_run_takes_are_refused() {
        let names: Vec<_> = (0..=AGENTS_MAX).map(|number| number.to_string()).collect();
        let connected: Vec<_> = names
            .iter()
            .map(|name| Candidate {
                name,
                free: 1,
                capabilities: &[],
                is_unresponsive: false,
            })
            .collect();
        let choose = |clients| {
            let wanted = Wanted {
                names: &[],
                clients,
                features: &[],
            };
            choose_agents(&connected, wanted).map_err(|failure| failure.code())
        };
        let most = AGENTS_MAX as u32;
        assert_eq!(choose(most).map(|chosen| chosen.len()), Ok(AGENTS_MAX));
        assert_eq!(choose(most + 1), Err(FailureCode::TooManyAgents));
        assert_eq!(choose(most + 2), Err(FailureCode::AgentsFull));
    }

    proptest! {
        #[test]
        fn every_client_is_given_once_and_no_agent_gets_more_than_it_takes(
            clients in 1..=10_000_u32, capacities in prop::collection::vec(0..=10_000_u32, 0..20),
        ) {
            let enough = capacities.iter().sum::<u32>() >= clients;
            let shares = divide(clients, &capacities);
            prop_assert_eq!(shares.is_some(), enough);
            if let Some(shares) = shares {
                prop_assert_eq!(shares.iter().sum::<u32>(), clients);
                let each = || shares.iter().zip(&capacities);
                prop_assert!(each().all(|(share, capacity)| share <= capacity));
                let most = shares.iter().max().copied().unwrap_or(0);
                let mut could_take_more = each().filter(|(share, capacity)| share < capacity);
                prop_assert!(could_take_more.all(|(share, _)| share + 1 >= most), "{:?}", shares);
            }
        }
    }
}
