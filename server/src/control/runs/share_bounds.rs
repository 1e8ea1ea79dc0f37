//! What an agent can have sent of its share, and so how much of its claims enters a sum that lasts:
//! the counters of `/metrics`, and the progress that goes on in a server that takes over. Pure.
//!
//! A claim beyond its bound is cut to the bound here. The records themselves stay as they came: the
//! laws of the verdict name what is wrong with them.
//!
//! Each client counts by the load of its own group. Where a formula has the packets that are due,
//! the bound is exact. Of random arrivals only their sum of gaps has it, which nothing here goes
//! through: their bound is so high that no seed that is drawn exceeds it ([`arrivals_within`]).

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use metronome_proto::{
    counters::CounterList as _,
    load::Load,
    plan::Plan,
    profile::Profile,
    schedule::arrivals_within,
    share::Share,
    v1::{self, GeneratorCounts},
};

use crate::{
    metrics::GroupSums,
    model::{AgentRecords, AgentShare, ReportBounds, RoundTrips, run::RunStateMachine},
};

/// Packets by which a client of a flood may be ahead of what the server has received: more than
/// any host writes between two readings and any buffers hold.
const FLOOD_AHEAD_MAX: u64 = 1 << 24;

/// Where a run stands as an agent reports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// The start instant, once it is agreed, and now, ns of CLOCK_MONOTONIC.
    pub(super) start_at_ns: Option<u64>,
    pub(super) now_ns: u64,
    /// Packets of all clients that the server has received.
    pub(super) received: u64,
}

impl Now {
    /// Now of the run with this state, of which so many packets were received.
    pub(super) fn of(machine: &RunStateMachine, received: u64, now_ns: u64) -> Self {
        Self {
            start_at_ns: machine.start_at_ns(),
            now_ns,
            received,
        }
    }
}

/// What a run adds to the counters once it has ended, beside the progress that was counted before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Added {
    /// Packets sent and skipped, by the agents' indices.
    pub(super) agents: Vec<(u64, u64)>,
    /// Packets lost, of the clients of which both ends are known.
    pub(super) lost: u64,
    /// The packets of each group, by name, those of its progress included.
    pub(super) groups: BTreeMap<String, GroupSums>,
    /// What the agents that have finished report.
    pub(super) round_trips: RoundTrips,
    /// Frames in the place of a reply that were none: at most one for each packet.
    pub(super) replies_unexpected: u64,
}

/// Most packets that a client of this load can have sent and skipped to the end, of which the
/// server has received `received`: a flood plans none.
fn packets_max(load: &Load, received: u64) -> u64 {
    match load.profile {
        Profile::Flood => received.saturating_add(FLOOD_AHEAD_MAX),
        Profile::Poisson { rate_millihertz } => {
            *arrivals_within(rate_millihertz, load.duration).end()
        }
        _ => load.packets().unwrap_or(u64::MAX),
    }
}

/// Most packets that the clients of an agent can have sent and skipped by now. None before the
/// start instant. An agent's start instant is this one, or later by the time that its order took.
/// One whose clock runs fast gets ahead of it; what it reports too early is counted when it is due.
pub(super) fn packets_due_max(plan: &Plan, agent: &AgentShare, now: Now) -> u64 {
    let Now {
        start_at_ns,
        now_ns,
        received,
    } = now;
    let Some(elapsed_ns) = start_at_ns.and_then(|start_ns| now_ns.checked_sub(start_ns)) else {
        return 0;
    };
    let elapsed = Duration::from_nanos(elapsed_ns);
    let mut has_flood = false;
    let shares = agent.shares.iter().map(|share| {
        let load = share.load(plan.duration, plan.seed);
        let per_client = match load.profile {
            Profile::Flood => {
                has_flood = true;
                FLOOD_AHEAD_MAX
            }
            Profile::Poisson { rate_millihertz } => {
                *arrivals_within(rate_millihertz, elapsed.min(load.duration)).end()
            }
            // The phase of a client makes its packets due later.
            _ => (load.schedule(0, share.clients.start))
                .and_then(|schedule| schedule.due_by(elapsed_ns))
                .unwrap_or(u64::MAX),
        };
        per_client.saturating_mul(share.clients.len() as u64)
    });
    let due = shares.fold(0, u64::saturating_add);
    due.saturating_add(if has_flood { received } else { 0 })
}

/// The same of its clients of one group, by its index in the plan.
pub(super) fn group_due_max(plan: &Plan, agent: &AgentShare, group: usize, now: Now) -> u64 {
    let name = plan.groups.get(group).map(|group| &group.name);
    let mut own = agent.clone();
    own.shares.retain(|share| Some(&share.group) == name);
    packets_due_max(plan, &own, now)
}

/// What bounds the final report of an agent that comes now.
pub(super) fn final_report(plan: &Plan, agent: &AgentRecords, now: Now) -> ReportBounds {
    let since_ns = |start_ns| now.now_ns.saturating_sub(start_ns);
    let elapsed_ns = now.start_at_ns.map_or(0, since_ns);
    let loads = agent.share.shares.iter();
    let each = loads.map(|share| packets_max(&share.load(plan.duration, plan.seed), now.received));
    agent.bounds(plan, elapsed_ns, each.max().unwrap_or(0))
}

/// An agent's progress after a further report. No figure falls, none is above `most`, and as long
/// as `known` keeps to that, nor are the packets sent and skipped together.
pub(super) fn progress(
    known: &GeneratorCounts,
    reported: &GeneratorCounts,
    most: u64,
) -> GeneratorCounts {
    let within = |reported: u64, known: u64, most: u64| reported.min(most).max(known);
    let sent = within(
        reported.sent,
        known.sent,
        most.saturating_sub(known.skipped),
    );
    let skipped = within(reported.skipped, known.skipped, most.saturating_sub(sent));
    let of_replies = |reported: Option<u64>, known: Option<u64>| {
        Some(within(reported?, known.unwrap_or(0), most))
    };
    GeneratorCounts {
        replies_requested: of_replies(reported.replies_requested, known.replies_requested),
        replies_read: of_replies(reported.replies_read, known.replies_read),
        replies_unexpected: of_replies(reported.replies_unexpected, known.replies_unexpected),
        scheduled: within(reported.scheduled, known.scheduled, most),
        sent,
        skipped,
        blocked: within(reported.blocked, known.blocked, most),
    }
}

/// What a run adds at its end to what the agents' progress, `reported`, has added before: for
/// agents that keep to their shares exactly what brings it to their records.
pub(super) fn added_at_end(
    plan: &Plan,
    agents: &[AgentRecords],
    clients: &[v1::ClientReport],
    reported: &[Option<GeneratorCounts>],
) -> Added {
    let mut sums = vec![(GeneratorCounts::zero(), 0_u64); agents.len()];
    let mut lost = 0_u64;
    let mut groups: BTreeMap<String, GroupSums> = BTreeMap::new();
    let owners = owners(agents);
    for report in clients {
        let Some((agent, share)) = owners.get(&report.client) else {
            continue;
        };
        let load = share.load(plan.duration, plan.seed);
        let counts = report.counts.unwrap_or_default();
        let received = counts.receiver.map(|receiver| receiver.received);
        let most = packets_max(&load, received.unwrap_or(0));
        let (sum, sum_max) = &mut sums[*agent];
        *sum_max = sum_max.saturating_add(most);
        let Some(generator) = counts.generator else {
            continue;
        };
        let bounded = progress(&GeneratorCounts::zero(), &generator, most);
        *sum = sum.plus(&bounded);
        let lost_of_client = received.map_or(0, |received| bounded.sent.saturating_sub(received));
        lost = lost.saturating_add(lost_of_client);
        groups
            .entry(share.group.clone())
            .or_default()
            .add(&GroupSums {
                scheduled: bounded.scheduled,
                sent: bounded.sent,
                skipped: bounded.skipped,
                lost: lost_of_client,
            });
    }
    let more = |(index, (records, most)): (usize, (GeneratorCounts, u64))| {
        let known = reported.get(index).copied().flatten().unwrap_or_default();
        let now = progress(&known, &records, most);
        (now.sent - known.sent, now.skipped - known.skipped)
    };
    let unexpected = sums.iter().map(|(counts, _)| counts.replies_unexpected);
    Added {
        replies_unexpected: unexpected.flatten().fold(0, u64::saturating_add),
        round_trips: round_trips(plan, agents),
        agents: sums.into_iter().enumerate().map(more).collect(),
        lost,
        groups,
    }
}

fn round_trips(plan: &Plan, agents: &[AgentRecords]) -> RoundTrips {
    let asking = plan.groups.iter().filter(|it| it.echo_every.is_some());
    asking.fold(RoundTrips::default(), |sum, group| {
        agents.iter().fold(sum, |mut sum, agent| {
            let of_agent = agent.add_round_trips(RoundTrips::default(), &group.name);
            sum.merge(&of_agent.unwrap_or_default());
            sum
        })
    })
}

/// The index of the agent of each client, and the share that the client is in.
fn owners(agents: &[AgentRecords]) -> HashMap<u32, (usize, &Share)> {
    let mut owners = HashMap::new();
    for (index, agent) in agents.iter().enumerate() {
        for share in &agent.share.shares {
            owners.extend(share.clients.clone().map(|client| (client, (index, share))));
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use metronome_proto::{packet_size::PacketSize, payload::Payload, plan::Group};
    use proptest::prelude::*;

    use super::*;
    use crate::{model::ClockRelation, testing::plan_of};

    const SECOND_NS: u64 = 1_000_000_000;
    /// Packets of each client of the plan.
    const PLANNED: u64 = 1_000;

    fn plan(profile: Profile) -> Plan {
        plan_of(vec![Group {
            name: "default".into(),
            clients: 4,
            profile,
            batch: 1,
            phase: v1::Phase::Staggered,
            agents: Vec::new(),
            target: String::new(),
            thresholds: Vec::new(),
            packet_size: PacketSize::MIN,
            payload: Payload::Zeros,
            echo_every: None,
        }])
    }

    fn paced() -> Profile {
        Profile::constant(PLANNED * 1_000)
    }

    fn share(clients: Range<u32>, profile: Profile) -> AgentShare {
        let mut share = AgentShare::of(clients, ClockRelation::Same);
        share.shares[0].profile = profile;
        share
    }

    /// Two agents with two clients each.
    fn agents(profile: Profile) -> [AgentRecords; 2] {
        [0..2, 2..4].map(|clients| AgentRecords::new("a".into(), share(clients, profile)))
    }

    fn counts(sent: u64, skipped: u64) -> GeneratorCounts {
        GeneratorCounts {
            scheduled: sent.saturating_add(skipped),
            sent,
            skipped,
            blocked: 0,
            ..GeneratorCounts::default()
        }
    }

    /// Packets that a client has sent and skipped, and those that were received.
    type Packets = (Option<(u64, u64)>, Option<u64>);

    fn rows(clients: &[Packets]) -> Vec<v1::ClientReport> {
        let row = |(generator, received): &Packets| v1::ClientReport {
            counts: Some(v1::Counts {
                generator: generator.map(|(sent, skipped)| counts(sent, skipped)),
                receiver: received.map(|received| v1::ReceiverCounts {
                    received,
                    ..v1::ReceiverCounts::default()
                }),
                ..v1::Counts::default()
            }),
            ..v1::ClientReport::default()
        };
        let rows = (0..).zip(clients.iter().map(row));
        rows.map(|(client, row)| v1::ClientReport { client, ..row })
            .collect()
    }

    #[test]
    fn what_is_known_to_be_lost_is_counted_though_not_all_is_known() {
        let clients = rows(&[
            (Some((1_000, 0)), Some(990)),
            (None, Some(500)),
            (Some((700, 300)), None),
            (Some((900, 100)), Some(895)),
        ]);
        let reported = [None, Some(counts(100, 50))];
        let added = added_at_end(&plan(paced()), &agents(paced()), &clients, &reported);
        assert_eq!(added.lost, 15);
        let groups: Vec<_> = added.groups.values().collect();
        let [sums] = groups[..] else {
            panic!("{groups:?}")
        };
        assert_eq!((sums.sent, sums.skipped, sums.lost), (2_600, 400, 15));
        assert_eq!(added.agents, [(1_000, 0), (1_500, 350)]);
    }

    #[test]
    fn a_liar_adds_no_more_than_its_share_to_what_lasts() {
        let lie = (Some((1 << 63, u64::MAX)), Some(870));
        let clients = rows(&[lie, lie, (Some((1_000, 0)), Some(1_000)), (None, None)]);
        let added = |profile| {
            let (plan, agents) = (plan(profile), agents(profile));
            added_at_end(&plan, &agents, &clients, &[None; 2])
        };
        let paced = added(paced());
        assert_eq!((paced.lost, &paced.agents[0]), (260, &(2_000, 0)));
        let flood = added(Profile::Flood);
        let most = 2 * FLOOD_AHEAD_MAX;
        assert_eq!((flood.lost, &flood.agents[0]), (most, &(most + 1_740, 0)));
    }

    #[test]
    fn what_a_liar_has_claimed_in_time_leaves_no_room_for_more() {
        let known = progress(&counts(0, 0), &counts(u64::MAX, u64::MAX), 2_000);
        assert_eq!((known.sent, known.skipped), (2_000, 0));
        let clients = rows(&[(Some((870, 130)), Some(870)); 4]);
        let (plan, agents) = (plan(paced()), agents(paced()));
        let added = added_at_end(&plan, &agents, &clients, &[Some(known), None]);
        assert_eq!(added.agents, [(0, 0), (1_740, 260)]);
    }

    #[test]
    fn nothing_is_sent_before_it_is_due() {
        let due = |profiles: &[Profile], start_at_ns, now_ns| {
            let now = Now {
                start_at_ns,
                now_ns,
                received: 7,
            };
            let each = |profile: &Profile| share(0..2, *profile).shares;
            let agent = AgentShare {
                shares: profiles.iter().flat_map(each).collect(),
                ..AgentShare::default()
            };
            packets_due_max(&plan(profiles[0]), &agent, now)
        };
        let (paced, flood) = (paced(), Profile::Flood);
        assert_eq!(due(&[paced], None, SECOND_NS), 0);
        assert_eq!(due(&[paced], Some(SECOND_NS), SECOND_NS - 1), 0);
        assert_eq!(due(&[paced], Some(SECOND_NS), SECOND_NS), 2);
        assert_eq!(due(&[paced], Some(SECOND_NS), SECOND_NS * 3 / 2), 2 * 501);
        assert_eq!(due(&[paced], Some(SECOND_NS), u64::MAX), 2 * PLANNED);
        assert_eq!(due(&[flood], None, SECOND_NS), 0);
        assert_eq!(due(&[flood], Some(1), SECOND_NS), 2 * FLOOD_AHEAD_MAX + 7);
        // Of each group by its own load, and what was received once.
        let burst = Profile::Burst {
            packets: 50,
            every_ns: SECOND_NS / 4,
        };
        let all = due(&[paced, burst, flood, flood], Some(0), SECOND_NS / 2);
        assert_eq!(all, 2 * 501 + 2 * 150 + 4 * FLOOD_AHEAD_MAX + 7);
    }

    #[test]
    fn each_client_counts_by_the_load_of_its_own_group() {
        let mut agent = share(0..2, Profile::constant(5_000));
        agent.shares.extend(share(2..4, paced()).shares);
        let agents = [AgentRecords::new("a".into(), agent)];
        let lie = (Some((u64::MAX, 0)), Some(0));
        let mut clients = rows(&[lie; 4]);
        clients.reverse();
        let added = added_at_end(&plan(paced()), &agents, &clients, &[None]);
        assert_eq!(added.agents, [(2 * 5 + 2 * PLANNED, 0)]);
    }

    proptest! {
        #[test]
        fn no_client_with_random_arrivals_is_outside_their_bounds(
            rate_millihertz in 1_000..=100_000_000_u64, seed: u64, client in 0..10_000_u32,
        ) {
            let load = Load {
                profile: Profile::Poisson { rate_millihertz },
                duration: Duration::from_secs(3_600),
                batch: 1,
                seed,
            };
            let schedule = load.schedule(0, client).unwrap();
            let mut cursor = schedule.first();
            for _ in 0..2_000 {
                if cursor.is_over(&schedule) {
                    break;
                }
                let due = cursor.place() + 1;
                let elapsed = Duration::from_nanos(cursor.due_ns());
                let bounds = arrivals_within(rate_millihertz, elapsed);
                prop_assert!(bounds.contains(&due), "{due} of {bounds:?}");
                cursor.advance(&schedule);
            }
        }

        #[test]
        fn progress_never_falls_and_never_exceeds_what_is_due(
            reports in prop::collection::vec((any::<[u64; 4]>(), 0..5_000_u64), 1..20),
        ) {
            let (mut known, mut most) = (GeneratorCounts::zero(), 0);
            for ([scheduled, sent, skipped, blocked], more) in reports {
                most += more;
                let reported = GeneratorCounts {
                    scheduled,
                    sent,
                    skipped,
                    blocked,
                    ..GeneratorCounts::default()
                };
                let now = progress(&known, &reported, most);
                let (before, after) = (known.to_words(), now.to_words());
                prop_assert!(before.iter().zip(after).all(|(before, after)| *before <= after));
                prop_assert!(after.iter().all(|word| *word <= most));
                prop_assert!(now.sent + now.skipped <= most);
                known = now;
            }
        }

        #[test]
        fn the_counters_of_an_agent_that_keeps_to_its_share_end_at_its_records(
            clients in prop::array::uniform4((0..=PLANNED, 0..=PLANNED)),
            shown in prop::collection::vec(0..=100_u64, 0..5),
        ) {
            let clients = clients.map(|(sent, skipped)| (sent, skipped.min(PLANNED - sent)));
            let records = rows(&clients.map(|client| (Some(client), None)));
            let mut reported = [None; 2];
            let mut counted = [(0, 0); 2];
            let mut shown = shown;
            shown.sort_unstable();
            for (agent, clients) in clients.chunks(2).enumerate() {
                for percent in &shown {
                    let part = |sum: u64| sum * percent / 100;
                    let (sent, skipped) = clients.iter().fold((0, 0), |sum, client| {
                        (sum.0 + part(client.0), sum.1 + part(client.1))
                    });
                    let known: GeneratorCounts = reported[agent].unwrap_or_default();
                    let now = progress(&known, &counts(sent, skipped), 2 * PLANNED);
                    counted[agent].0 += now.sent - known.sent;
                    counted[agent].1 += now.skipped - known.skipped;
                    reported[agent] = Some(now);
                }
            }
            let (plan, agents) = (plan(paced()), agents(paced()));
            let added = added_at_end(&plan, &agents, &records, &reported);
            for (agent, clients) in clients.chunks(2).enumerate() {
                let sums = (clients[0].0 + clients[1].0, clients[0].1 + clients[1].1);
                let ended = (counted[agent].0 + added.agents[agent].0,
                    counted[agent].1 + added.agents[agent].1);
                prop_assert_eq!(ended, sums);
            }
        }
    }
}
