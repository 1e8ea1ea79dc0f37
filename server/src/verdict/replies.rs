//! The packets that asked for a reply, the replies, and their round trips: what both ends have of
//! them put together. Times are ns.
//!
//! A packet asks when its sequence is a multiple of the group's echo_every, so how many of the
//! first n do is known. One that was skipped has no sequence: of so many in all, every
//! echo_every-th would have asked.

use std::{collections::BTreeSet, num::NonZeroU32};

use super::rows::{Row, by_group, sum_of_all};
use crate::model::RoundTrips;

/// How many of the first packets of a client ask.
pub(super) fn asking(packets: u64, echo_every: Option<NonZeroU32>) -> u64 {
    echo_every.map_or(0, |every| packets.div_ceil(every.get().into()))
}

/// What an agent has reported of the replies of one client. A record with counts that leaves one of
/// these out claims that there is none: every agent that is given such a group can count them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct AgentReplies {
    pub(super) requested: u64,
    pub(super) read: u64,
    pub(super) unexpected: u64,
    /// Replies in the distributions: those read but those of the warm-up.
    pub(super) round_trips: u64,
}

impl AgentReplies {
    /// `None` when its agent has not reported the client's packets.
    pub(super) fn of(row: &Row<'_>) -> Option<Self> {
        let counts = row.generator()?;
        Some(Self {
            requested: counts.replies_requested.unwrap_or(0),
            read: counts.replies_read.unwrap_or(0),
            unexpected: counts.replies_unexpected.unwrap_or(0),
            round_trips: row.reported?.round_trips.unwrap_or(0),
        })
    }
}

/// What the workers have counted of the replies of one client.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct WorkerReplies {
    pub(super) wanted: u64,
    pub(super) dropped: u64,
}

impl WorkerReplies {
    /// `None` without the workers' record.
    pub(super) fn of(row: &Row<'_>) -> Option<Self> {
        let counts = row.receiver?;
        Some(Self {
            wanted: counts.replies_wanted.unwrap_or(0),
            dropped: counts.replies_dropped.unwrap_or(0),
        })
    }
}

/// Packets received in the warm-up that asked, where no packet is absent. The warm-up has the first
/// packets of a schedule; in a flood it depends on when a packet was read, so it is not known.
pub(super) fn asking_in_warm_up(row: &Row<'_>) -> Option<u64> {
    let warm_up = row.receiver?.warm_up.unwrap_or(0);
    let is_known = warm_up == 0 || row.is_paced();
    is_known.then(|| asking(warm_up, row.group.echo_every))
}

/// Packets that asked, less the replies read and those dropped. `None` where one is not known, or
/// they contradict each other, which breaks a law.
pub(super) fn unanswered(row: &Row<'_>) -> Option<u64> {
    let (counts, of_workers) = (row.generator()?, row.receiver?);
    let requested = counts.replies_requested?;
    let answered = counts.replies_read?;
    requested
        .checked_sub(answered)?
        .checked_sub(of_workers.replies_dropped?)
}

/// Packets of these clients that would have a round trip and have none: those that asked and got no
/// reply, and of the skipped ones those that would have asked; without those that are known to have
/// been due in the warm-up. `None` where an end has not reported.
pub(super) fn missing(rows: &[Row<'_>]) -> Option<u64> {
    let asking_rows = by_group(rows).filter(|rows| rows[0].group.echo_every.is_some());
    asking_rows
        .map(missing_in_group)
        .try_fold(0, |sum: u64, of| Some(sum.saturating_add(of?)))
}

fn missing_in_group(rows: &[Row<'_>]) -> Option<u64> {
    let without_a_reply = sum_of_all(rows, |row| {
        let of = AgentReplies::of(row)?;
        Some(match asking_in_warm_up(row) {
            Some(in_warm_up) if row.is_paced() => of
                .requested
                .saturating_sub(in_warm_up)
                .saturating_sub(of.round_trips),
            // The two ends may put the end of the warm-up of a flood at different packets.
            _ => {
                row.receiver?;
                of.requested.saturating_sub(of.read)
            }
        })
    })?;
    let skipped = sum_of_all(rows, Row::measured_skipped)?;
    let of_skipped = asking(skipped, rows[0].group.echo_every);
    Some(without_a_reply.saturating_add(of_skipped))
}

/// The indices of the groups of these clients that ask.
pub(super) fn asking_groups(rows: &[Row<'_>]) -> impl Iterator<Item = usize> {
    let groups = by_group(rows).map(|rows| &rows[0].group);
    let asking = groups.filter(|group| group.echo_every.is_some());
    asking.map(|group| group.index)
}

/// The round trips of these clients, as their agents have reported them. `None` where no packet
/// asks, and where an agent has not reported, or not in distributions.
pub(super) fn round_trips(rows: &[Row<'_>]) -> Option<RoundTrips> {
    let mut asking_rows = by_group(rows)
        .filter(|rows| rows[0].group.echo_every.is_some())
        .peekable();
    asking_rows.peek()?;
    asking_rows.try_fold(RoundTrips::default(), |sum, rows| {
        let mut agents = BTreeSet::new();
        let first_of_each = rows.iter().filter(|row| agents.insert(row.agent_index));
        let mut each = first_of_each.map(|row| row.agent);
        let name = rows[0].group.name.as_str();
        each.try_fold(sum, |sum, agent| agent.add_round_trips(sum, name))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::profile::Profile;
    use proptest::prelude::*;

    use super::*;
    use crate::verdict::{
        rows::pair,
        samples::{PACKETS, Sample, plan},
    };

    fn of(sample: &Sample) -> (Option<u64>, Option<u64>) {
        let evidence = sample.evidence();
        let rows = pair(&evidence);
        let count = round_trips(&rows).map(|of| of.from_due.count());
        (count, missing(&rows))
    }

    #[test]
    fn every_nth_packet_of_a_client_asks_beginning_with_its_first() {
        let every = NonZeroU32::new(10);
        for (packets, asked) in [(0, 0), (1, 1), (10, 1), (11, 2), (100, 10), (101, 11)] {
            assert_eq!(asking(packets, every), asked, "{packets}");
            assert_eq!(asking(packets, None), 0);
        }
        assert_eq!(asking(u64::MAX, NonZeroU32::new(1)), u64::MAX);
    }

    #[test]
    fn what_got_no_reply_and_what_was_skipped_and_would_have_asked_is_missing() {
        let mut sample = Sample::echoing(2, 2, 10);
        assert_eq!(of(&sample), (Some(40), Some(0)));
        // Two replies were dropped.
        sample.drop_replies(0, 2);
        assert_eq!(of(&sample), (Some(38), Some(2)));
        // Of 11 skipped packets of the group two would have asked.
        sample.reported_counts(1, |counts| counts.skipped = 6);
        sample.reported_counts(2, |counts| counts.skipped = 5);
        assert_eq!(of(&sample), (Some(38), Some(4)));
        let mut unknown = Sample::echoing(2, 2, 10);
        unknown.forget_agent(1);
        assert_eq!(of(&unknown), (None, None));
        let mut unknown = Sample::echoing(2, 2, 10);
        unknown.counters = None;
        assert_eq!(of(&unknown), (Some(40), None));
        assert_eq!(of(&Sample::of(1, 1)), (None, Some(0)), "no packet asks");
    }

    #[test]
    fn what_is_due_in_the_warm_up_is_neither_a_round_trip_nor_missing() {
        let mut sample = Sample::echoing(1, 2, 10);
        // The first 25 packets of each client, of which three ask.
        sample.warm_up(Duration::from_millis(25));
        assert_eq!(of(&sample), (Some(14), Some(0)));
        sample.drop_replies(1, 1);
        assert_eq!(of(&sample), (Some(13), Some(1)));
    }

    #[test]
    fn of_a_flood_what_got_no_reply_is_missing() {
        let mut plan = plan(&[(Profile::Flood, 1)]);
        plan.groups[0].echo_every = NonZeroU32::new(10);
        let mut sample = Sample::of_plan(1, plan);
        assert_eq!(of(&sample), (Some(10), Some(0)));
        sample.drop_replies(0, 3);
        assert_eq!(of(&sample), (Some(7), Some(3)));
    }

    #[test]
    fn groups_that_ask_for_none_add_nothing() {
        let mut plan = plan(&[
            (Profile::constant(1_000_000), 1),
            (Profile::constant(1_000_000), 1),
        ]);
        plan.groups[1].echo_every = NonZeroU32::new(1);
        let mut sample = Sample::of_plan(1, plan);
        assert_eq!(of(&sample), (Some(PACKETS), Some(0)));
        sample.reported_counts(0, |counts| counts.skipped = 50);
        assert_eq!(of(&sample), (Some(PACKETS), Some(0)));
    }

    proptest! {
        #[test]
        fn no_claim_of_an_agent_makes_a_sum_wrap(
            requested: Option<u64>, read: Option<u64>, skipped: u64, round_trips: Option<u64>,
            wanted: u64, dropped: u64,
        ) {
            let mut sample = Sample::echoing(2, 1, 3);
            for client in 0..2 {
                sample.reported(client, |record| {
                    record.round_trips = round_trips;
                    let counts = record.counts.as_mut().unwrap();
                    (counts.replies_requested, counts.replies_read) = (requested, read);
                    counts.skipped = skipped;
                });
                sample.counted(client, |counted| {
                    counted.counts.replies_wanted = Some(wanted);
                    counted.counts.replies_dropped = Some(dropped);
                });
            }
            let evidence = sample.evidence();
            let rows = pair(&evidence);
            let least = requested.unwrap_or(0).saturating_sub(round_trips.unwrap_or(0));
            prop_assert!(missing(&rows).unwrap() >= least);
            if let Some(unanswered) = unanswered(&rows[0]) {
                prop_assert!(unanswered <= requested.unwrap());
            }
        }
    }
}
