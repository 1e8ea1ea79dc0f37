//! An agent's share of a run: which of the run's clients the agent brings.
//!
//! An upgrade hands it over as it is, so a change of a field is a change of the upgrade's format.

use serde::{Deserialize, Serialize};

use super::clock_relation::ClockRelation;

/// The clients `first_client` to `first_client + clients` − 1 of a run, brought by one agent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct AgentShare {
    pub(crate) first_client: u32,
    pub(crate) clients: u32,
    /// How the agent's clock relates to this host's.
    pub(crate) clock: ClockRelation,
}

impl AgentShare {
    pub(crate) fn new(first_client: u32, clients: u32, clock: ClockRelation) -> Self {
        Self {
            first_client,
            clients,
            clock,
        }
    }

    /// Whether the client with this index belongs to the share.
    pub(crate) fn owns(&self, client: u32) -> bool {
        client
            .checked_sub(self.first_client)
            .is_some_and(|index| index < self.clients)
    }

    /// The indices of its clients. Stops at the largest u32, whatever the share claims.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        self.first_client..self.first_client.saturating_add(self.clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_owns_its_clients_and_no_others() {
        let share = AgentShare::new(2, 2, ClockRelation::Same);
        assert_eq!(share.indices().collect::<Vec<_>>(), [2, 3]);
        for client in [0, 1, 4, u32::MAX] {
            assert!(!share.owns(client), "{client}");
        }
    }
}
