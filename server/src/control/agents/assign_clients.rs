//! Which agents bring which clients of a run: an even division, as pure functions.

use crate::model::AgentShare;

/// An agent that was given an assignment in a run.
#[derive(Clone, Debug)]
pub(crate) struct AssignedAgent {
    pub(crate) name: String,
    pub(crate) share: AgentShare,
}

/// Why no agents could be found for a run; each is one sentence for the user.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AssignError {
    #[error("no agent is connected; start one with `metronome-agent --server URL`")]
    NoAgent,
    #[error(
        "agents named in the plan are not connected: {}; `benchctl agents` lists those that are",
        .0.join(", ")
    )]
    NotConnected(Vec<String>),
    #[error(
        "{asked} clients are asked for and the agents ({agents}) can bring {free} more; \
         ask for fewer, start another agent or raise --max-clients of an agent"
    )]
    TooFewClients {
        asked: u32,
        free: u32,
        agents: usize,
    },
}

impl AssignError {
    /// The reason for programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoAgent => "NO_AGENT",
            Self::NotConnected(_) => "AGENT_NOT_CONNECTED",
            Self::TooFewClients { .. } => "AGENTS_FULL",
        }
    }
}

/// Chooses among the connected agents (name, clients that it can still bring) those that are to
/// bring `clients` clients, in the given order and with the clients of each. No `names`: all
/// agents. Those that would get no client are left out.
pub(super) fn choose_agents(
    connected: &[(&str, u32)],
    names: &[String],
    clients: u32,
) -> Result<Vec<(String, u32)>, AssignError> {
    let is_connected = |name: &&String| connected.iter().any(|(known, _)| *known == name.as_str());
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !is_connected(name))
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Err(AssignError::NotConnected(missing));
    }
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    let (asked, capacities): (Vec<_>, Vec<_>) = connected
        .iter()
        .copied()
        .filter(|(name, _)| is_asked(name))
        .unzip();
    if asked.is_empty() {
        return Err(AssignError::NoAgent);
    }
    let shares = divide(clients, &capacities).ok_or_else(|| AssignError::TooFewClients {
        asked: clients,
        free: capacities
            .iter()
            .fold(0, |sum: u32, free| sum.saturating_add(*free)),
        agents: asked.len(),
    })?;
    let chosen = asked.into_iter().map(ToOwned::to_owned).zip(shares);
    Ok(chosen.filter(|(_, share)| *share > 0).collect())
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
