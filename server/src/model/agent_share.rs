//! An agent's part of a run: which of the run's clients the agent brings, and how its clock relates
//! to this host's.

use metronome_proto::{packet_size::PacketSize, share::Share};

use super::clock_relation::ClockRelation;

/// What one agent brings of each group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AgentShare {
    /// One today.
    pub(crate) shares: Vec<Share>,
    /// How the agent's clock related to this host's when it got the share: by this the workers
    /// record its one-way times.
    pub(crate) clock: ClockRelation,
    /// What proves that, as in [`super::AgentClock`].
    pub(crate) clock_bound_ns: Option<u64>,
}

impl AgentShare {
    /// How many clients the agent brings.
    pub(crate) fn clients(&self) -> u32 {
        let sizes = self.shares.iter().map(|share| share.clients.len());
        u32::try_from(sizes.sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// How many of them one of its pacing threads has at most, when there are so many.
    pub(crate) fn clients_of_a_thread(&self, threads: u32) -> u32 {
        self.clients().div_ceil(threads.max(1))
    }

    /// Whether the client with this index belongs to the agent.
    pub(crate) fn owns(&self, client: u32) -> bool {
        let mut shares = self.shares.iter();
        shares.any(|share| share.clients.contains(&client))
    }

    /// Bytes of each packet of the client with this index; 32 of one that is not the agent's.
    pub(crate) fn packet_size_of(&self, client: u32) -> PacketSize {
        let mut shares = self.shares.iter();
        let of_client = shares.find(|share| share.clients.contains(&client));
        of_client.map_or(PacketSize::MIN, |share| share.packet_size)
    }

    /// The indices of its clients, share by share.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        self.shares.iter().flat_map(|share| share.clients.clone())
    }
}

/// Whether these agents bring each of `clients` clients once, in whatever order.
pub(crate) fn cover<'a>(agents: impl Iterator<Item = &'a AgentShare>, clients: u32) -> bool {
    let shares = agents.flat_map(|agent| &agent.shares);
    let mut ranges: Vec<_> = shares
        .map(|share| (share.clients.start, share.clients.end))
        .collect();
    ranges.sort_unstable();
    let covered = ranges.into_iter().try_fold(0, |next, (start, end)| {
        (start == next && end > start).then_some(end)
    });
    covered == Some(clients)
}

#[cfg(any(test, feature = "testing"))]
impl AgentShare {
    /// One share of a group of as many clients as there are up to its last one, at 1 kHz.
    pub(crate) fn of(clients: std::ops::Range<u32>, clock: ClockRelation) -> Self {
        let share = Share {
            echo_every: Default::default(),
            packet_size: Default::default(),
            payload: Default::default(),
            group: metronome_proto::plan::GROUP_DEFAULT.into(),
            clients_total: clients.end,
            first_in_group: clients.start,
            clients,
            address: ":8888".into(),
            profile: metronome_proto::profile::Profile::constant(1_000_000),
            batch: 1,
            phase: metronome_proto::v1::Phase::Staggered,
        };
        Self {
            shares: vec![share],
            clock,
            clock_bound_ns: clock.is_same().then_some(50_000),
        }
    }
}

#[cfg(test)]
// A slice of one range is meant as that.
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn share(ranges: &[Range<u32>]) -> AgentShare {
        let one = |range: &Range<u32>| AgentShare::of(range.clone(), ClockRelation::Same).shares;
        AgentShare {
            shares: ranges.iter().flat_map(one).collect(),
            clock: ClockRelation::Same,
            clock_bound_ns: None,
        }
    }

    #[test]
    fn an_agent_owns_the_clients_of_all_its_shares_and_no_others() {
        let share = share(&[2..4, 7..8]);
        assert_eq!(share.indices().collect::<Vec<_>>(), [2, 3, 7]);
        assert_eq!(share.clients(), 3);
        for client in 0..10 {
            assert_eq!(share.owns(client), [2, 3, 7].contains(&client), "{client}");
        }
        assert!(!share.owns(u32::MAX));
    }

    #[test]
    fn shares_cover_a_run_when_each_client_is_in_one_of_them() {
        let covers = |agents: &[&[Range<u32>]]| {
            let agents: Vec<_> = agents.iter().map(|ranges| share(ranges)).collect();
            cover(agents.iter(), 6)
        };
        assert!(covers(&[&[0..6]]));
        assert!(covers(&[&[4..6, 0..1], &[1..4]]));
        for not_once in [
            &[&[0..5][..]][..],
            &[&[0..7]],
            &[&[0..3], &[2..6]],
            &[&[0..3, 4..6]],
            &[&[0..6], &[0..6]],
            &[&[0..6], &[6..6]],
            &[],
        ] {
            assert!(!covers(not_once), "{not_once:?}");
        }
    }
}
