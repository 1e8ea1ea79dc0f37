//! Which agents bring which clients of a run: of each group an even division, as pure functions.

use std::{fmt::Write as _, ops::Range};

use metronome_proto::{
    bounded::listed,
    features,
    limits::AGENTS_MAX,
    plan::Plan,
    v1::{Failure, FailureCode},
};

use crate::model::AgentClock;

/// An agent that was given an assignment in a run.
#[derive(Clone, Debug)]
pub(crate) struct AssignedAgent {
    pub(crate) name: String,
    /// What it brings, in the order of the groups; never empty.
    pub(crate) parts: Vec<GroupPart>,
    pub(crate) clock: AgentClock,
}

/// The clients of one group that one agent brings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct GroupPart {
    /// The index of the group in the plan.
    pub(crate) group: usize,
    /// Indices of the clients within the run; never empty.
    pub(crate) clients: Range<u32>,
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
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// In the order of the plan.
    pub(crate) groups: Vec<WantedGroup<'a>>,
    /// Features that every agent must have.
    pub(crate) features: Vec<String>,
}

/// What one group asks of its agents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedGroup<'a> {
    pub(crate) name: &'a str,
    /// Names of agents; empty for all that are responsive.
    pub(crate) agents: &'a [String],
    pub(crate) clients: u32,
}

impl<'a> Wanted<'a> {
    /// What the run of a plan asks for.
    pub(crate) fn of(plan: &'a Plan) -> Self {
        let groups = plan.groups.iter().map(|group| WantedGroup {
            name: &group.name,
            agents: &group.agents,
            clients: group.clients,
        });
        Self {
            groups: groups.collect(),
            features: plan.features(),
        }
    }

    /// The indices in the run of the clients of each group.
    fn ranges(&self) -> impl Iterator<Item = Range<u32>> {
        self.groups.iter().scan(0, |next, group| {
            let first = *next;
            *next += group.clients;
            Some(first..*next)
        })
    }
}

/// Why a run finds no agents.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    /// Names of the agents that could have taken it; empty for all.
    pub(super) agents: Vec<String>,
}

/// Chooses among the connected agents those that are to bring the clients of a run, in the given
/// order and with the clients of each. Those that would get no client are left out.
///
/// The clients of each group are divided evenly. The groups that may use the fewest agents are
/// served first, so that those that may use any do not take the only place of another; groups with
/// as many are served in the order of the plan. What is left over of an even division goes to the
/// agents with the fewest clients of the run so far. A group whose agents overlap with those of
/// another one without being among them may be refused although some other division would do.
///
/// An agent without a feature of the plan refuses the run instead of being left out: the load would
/// come from other hosts than those that were meant.
pub(super) fn choose_agents(
    connected: &[Candidate<'_>],
    wanted: &Wanted<'_>,
) -> Result<Vec<(String, Vec<GroupPart>)>, Refusal> {
    refuse_missing(connected, wanted)?;
    // Clients of each group, by the indices of the agents.
    let mut counts = vec![vec![0; connected.len()]; wanted.groups.len()];
    let mut brought = vec![0_u32; connected.len()];
    let mut order: Vec<usize> = (0..wanted.groups.len()).collect();
    order.sort_by_key(|group| match wanted.groups[*group].agents.len() {
        0 => usize::MAX,
        agents => agents,
    });
    for group in order {
        counts[group] = divide_group(connected, wanted, group, &brought)?;
        for (sum, clients) in brought.iter_mut().zip(&counts[group]) {
            *sum += clients;
        }
    }
    let mut parts = vec![Vec::new(); connected.len()];
    for (group, (range, counts)) in wanted.ranges().zip(counts).enumerate() {
        let mut first = range.start;
        for (parts, clients) in parts.iter_mut().zip(counts).filter(|(_, count)| *count > 0) {
            let clients = first..first + clients;
            first = clients.end;
            parts.push(GroupPart { group, clients });
        }
    }
    let chosen = connected.iter().zip(parts);
    let chosen: Vec<_> = chosen.filter(|(_, parts)| !parts.is_empty()).collect();
    if chosen.len() > AGENTS_MAX {
        return Err(refused(too_many(chosen.len())));
    }
    for (agent, _) in &chosen {
        if let Some(feature) = features::missing(&wanted.features, agent.capabilities) {
            return Err(refused(unsupported(agent.name, feature)));
        }
    }
    let named = chosen
        .into_iter()
        .map(|(agent, parts)| (agent.name.to_owned(), parts));
    Ok(named.collect())
}

/// The clients of one group that each agent brings, beside those that it brings of other groups.
fn divide_group(
    connected: &[Candidate<'_>],
    wanted: &Wanted<'_>,
    group: usize,
    brought: &[u32],
) -> Result<Vec<u32>, Refusal> {
    let WantedGroup {
        agents: names,
        clients,
        ..
    } = wanted.groups[group];
    let is_asked = |known: &Candidate<'_>| match names {
        [] => !known.is_unresponsive,
        names => names.iter().any(|asked| asked == known.name),
    };
    let asked = (0..connected.len()).filter(|agent| is_asked(&connected[*agent]));
    let mut asked: Vec<_> = asked.collect();
    let refusal = |failure: Failure| Refusal {
        failure,
        agents: names.to_vec(),
    };
    if asked.is_empty() {
        return Err(refusal(none_asked(connected)));
    }
    asked.sort_by_key(|agent| brought[*agent]);
    let capacities = asked
        .iter()
        .map(|agent| connected[*agent].free.saturating_sub(brought[*agent]));
    let capacities: Vec<_> = capacities.collect();
    let left_out = match names {
        [] => connected.len() - asked.len(),
        _ => 0,
    };
    let shares = divide(clients, &capacities).ok_or_else(|| {
        let failure = full(clients, &capacities, left_out);
        refusal(of_group(wanted, group, failure))
    })?;
    let mut counts = vec![0; connected.len()];
    for (agent, share) in asked.into_iter().zip(shares) {
        counts[agent] = share;
    }
    Ok(counts)
}

/// The failure, which names the group where there are several.
fn of_group(wanted: &Wanted<'_>, group: usize, failure: Failure) -> Failure {
    if wanted.groups.len() == 1 {
        return failure;
    }
    let name = wanted.groups[group].name;
    let sentence = format!("group {name}: {}", failure.sentence);
    Failure {
        sentence,
        ..failure
    }
    .with("group", name)
}

fn refused(failure: Failure) -> Refusal {
    Refusal {
        failure,
        agents: Vec::new(),
    }
}

/// Names of agents that are not connected, of all groups.
fn refuse_missing(connected: &[Candidate<'_>], wanted: &Wanted<'_>) -> Result<(), Refusal> {
    let mut named: Vec<_> = wanted.groups.iter().flat_map(|it| it.agents).collect();
    named.sort_unstable();
    named.dedup();
    let is_connected = |name: &String| connected.iter().any(|known| known.name == name.as_str());
    let missing = named.iter().filter(|name| !is_connected(name));
    let missing: Vec<String> = missing.copied().cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        failure: not_connected(&missing),
        agents: named.into_iter().cloned().collect(),
    })
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

    fn one_group(agents: &[String], clients: u32, features: Vec<String>) -> Wanted<'_> {
        Wanted {
            groups: vec![WantedGroup {
                name: "default",
                agents,
                clients,
            }],
            features,
        }
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
        let names = owned(names);
        let wanted = one_group(&names, clients, owned(features));
        choose_agents(&connected, &wanted)
            .map(|chosen| chosen.len())
            .map_err(|refusal| refusal.failure)
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
            let chosen = choose_agents(connected, &one_group(&names, clients, Vec::new()));
            chosen
                .map(|agents| agents.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
                .map_err(|refusal| refusal.failure)
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
            choose_agents(&connected, &one_group(&[], clients, Vec::new()))
                .map_err(|refusal| refusal.failure.code())
        };
        let most = AGENTS_MAX as u32;
        assert_eq!(choose(most).map(|chosen| chosen.len()), Ok(AGENTS_MAX));
        assert_eq!(choose(most + 1), Err(FailureCode::TooManyAgents));
        assert_eq!(choose(most + 2), Err(FailureCode::AgentsFull));
    }

    fn agent(name: &str, free: u32) -> Candidate<'_> {
        Candidate {
            name,
            free,
            capabilities: &[],
            is_unresponsive: false,
        }
    }

    /// Groups, each with its number of clients and the names of its agents.
    type Groups<'a> = &'a [(u32, &'a [&'a str])];

    /// What an agent gets: the indices of groups with those of clients.
    type Parts = Vec<(usize, Range<u32>)>;

    fn divided(
        connected: &[Candidate<'_>],
        groups: Groups<'_>,
    ) -> Result<Vec<(String, Parts)>, Failure> {
        let names: Vec<_> = (0..groups.len()).map(|index| format!("g{index}")).collect();
        let agents: Vec<Vec<String>> = (groups.iter())
            .map(|(_, agents)| agents.iter().map(|&name| name.to_owned()).collect())
            .collect();
        let groups = groups.iter().zip(names.iter().zip(&agents));
        let groups = groups.map(|((clients, _), (name, agents))| WantedGroup {
            name,
            agents,
            clients: *clients,
        });
        let wanted = Wanted {
            groups: groups.collect(),
            features: Vec::new(),
        };
        let parts = |parts: Vec<GroupPart>| {
            let parts = parts.into_iter();
            parts.map(|part| (part.group, part.clients)).collect()
        };
        choose_agents(connected, &wanted)
            .map(|chosen| {
                let chosen = chosen.into_iter();
                chosen.map(|(name, of)| (name, parts(of))).collect()
            })
            .map_err(|refusal| refusal.failure)
    }

    #[test]
    fn each_group_goes_to_its_agents_and_has_the_indices_behind_those_before_it() {
        let connected = [agent("a", 100), agent("b", 100), agent("c", 100)];
        let of = |name: &str, parts: &[(usize, Range<u32>)]| (name.to_owned(), parts.to_vec());
        assert_eq!(
            divided(&connected, &[(4, &["a", "b"]), (3, &["c"])]),
            Ok(vec![
                of("a", &[(0, 0..2)]),
                of("b", &[(0, 2..4)]),
                of("c", &[(1, 4..7)]),
            ])
        );
        assert_eq!(
            divided(&connected[..1], &[(4, &[]), (3, &["a"]), (1, &[])]),
            Ok(vec![of("a", &[(0, 0..4), (1, 4..7), (2, 7..8)])])
        );
        assert_eq!(
            divided(&connected, &[(1, &[]), (1, &[]), (4, &[])]),
            Ok(vec![
                of("a", &[(0, 0..1), (2, 2..3)]),
                of("b", &[(1, 1..2), (2, 3..4)]),
                of("c", &[(2, 4..6)]),
            ]),
            "what is left over goes to those with the fewest"
        );
    }

    #[test]
    fn a_group_that_may_use_any_agent_leaves_room_for_one_that_may_not() {
        let connected = [agent("a", 4), agent("b", 4)];
        let chosen = divided(&connected, &[(4, &[]), (4, &["a"])]).unwrap();
        assert_eq!(chosen[0], ("a".into(), vec![(1, 4..8)]));
        assert_eq!(chosen[1], ("b".into(), vec![(0, 0..4)]));
    }

    #[test]
    fn a_group_without_room_is_named_and_so_are_all_agents_that_are_missing() {
        let connected = [agent("a", 4), agent("b", 4)];
        let full = divided(&connected, &[(3, &["a"]), (2, &["a"]), (1, &[])]).unwrap_err();
        assert_eq!(full.code(), FailureCode::AgentsFull);
        assert_eq!(
            full.sentence,
            "group g1: 2 clients are asked for, and the agents (1) can bring 1 more"
        );
        assert_eq!(full.figures["group"], "g1".into());
        let one = divided(&connected, &[(9, &[])]).unwrap_err();
        assert!(!one.figures.contains_key("group"), "there is only one");
        let missing = divided(&connected, &[(1, &["y", "a"]), (1, &["x", "y"])]).unwrap_err();
        assert_eq!(missing.code(), FailureCode::AgentNotConnected);
        let names = ["x", "y"].map(String::from).to_vec();
        assert_eq!(missing.figures["agent_names"], names.into());
    }

    proptest! {
        #[test]
        fn every_client_of_every_group_is_given_once_within_what_agents_take(
            free in prop::collection::vec(0..=50_u32, 1..6),
            groups in prop::collection::vec(
                (1..=20_u32, prop::collection::vec(0..6_usize, 0..3)),
                1..=16,
            ),
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let connected: Vec<_> =
                free.iter().zip(names).map(|(free, name)| agent(name, *free)).collect();
            let groups: Vec<(u32, Vec<&str>)> = groups
                .into_iter()
                .map(|(clients, agents)| {
                    let mut agents: Vec<_> =
                        agents.into_iter().map(|agent| names[agent % free.len()]).collect();
                    agents.sort_unstable();
                    agents.dedup();
                    (clients, agents)
                })
                .collect();
            let asked: Vec<_> =
                groups.iter().map(|(clients, agents)| (*clients, &agents[..])).collect();
            let total: u32 = groups.iter().map(|(clients, _)| clients).sum();
            let Ok(chosen) = divided(&connected, &asked) else {
                let is_any = groups.iter().all(|(_, agents)| agents.is_empty());
                prop_assert!(!is_any || total > free.iter().sum::<u32>());
                return Ok(());
            };
            let mut given = vec![0; total as usize];
            for (name, parts) in &chosen {
                let mut clients = 0;
                for (group, range) in parts {
                    clients += range.len() as u32;
                    let (_, agents) = &groups[*group];
                    prop_assert!(agents.is_empty() || agents.contains(&name.as_str()));
                    let first: u32 = groups[..*group].iter().map(|(clients, _)| clients).sum();
                    prop_assert!(first <= range.start && range.end <= first + groups[*group].0);
                    range.clone().for_each(|client| given[client as usize] += 1);
                }
                let at = names.iter().position(|known| known == name).unwrap();
                prop_assert!(clients <= free[at]);
                prop_assert!(parts.is_sorted_by(|one, next| one.0 < next.0));
            }
            prop_assert!(given.iter().all(|times| *times == 1), "{given:?}");
        }

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
