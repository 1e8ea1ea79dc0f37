//! What an agent can have sent of its share, and so how much of its claims enters a sum that lasts:
//! the counters of `/metrics`, and the progress that goes on in a server that takes over. Pure.
//!
//! A claim beyond its bound is cut to the bound here. The records themselves stay as they came: the
//! laws of the verdict name what is wrong with them.

use metronome_proto::{
    counters::CounterList as _,
    plan::Plan,
    v1::{self, GeneratorCounts},
};

use crate::model::{AgentRecords, ReportBounds, run::RunStateMachine};

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
}

/// Most packets that so many clients can have sent and skipped to the end, of which the server has
/// received `received`: a flood plans none.
pub(super) fn packets_max(plan: &Plan, clients: u32, received: u64) -> u64 {
    let clients = u64::from(clients);
    match plan.load(plan.first_group()).packets() {
        Some(per_client) => per_client.saturating_mul(clients),
        None => received.saturating_add(FLOOD_AHEAD_MAX.saturating_mul(clients)),
    }
}

/// Most packets that so many clients can have sent and skipped by now. None before the start
/// instant. An agent's start instant is this one, or later by the time that its order took. One
/// whose clock runs fast gets ahead of it; what it reports too early is counted when it is due.
pub(super) fn packets_due_max(plan: &Plan, clients: u32, now: Now) -> u64 {
    let Now {
        start_at_ns,
        now_ns,
        received,
    } = now;
    let Some(start_at_ns) = start_at_ns.filter(|start_at_ns| *start_at_ns <= now_ns) else {
        return 0;
    };
    match plan.first_schedule(start_at_ns) {
        // The phase of a client makes its packets due later.
        Some(schedule) => schedule
            .due_by(now_ns)
            .unwrap_or(u64::MAX)
            .saturating_mul(clients.into()),
        None => packets_max(plan, clients, received),
    }
}

/// What bounds the final report of an agent that comes now.
pub(super) fn final_report(plan: &Plan, agent: &AgentRecords, now: Now) -> ReportBounds {
    let since_ns = |start_ns| now.now_ns.saturating_sub(start_ns);
    let elapsed_ns = now.start_at_ns.map_or(0, since_ns);
    agent.bounds(plan, elapsed_ns, packets_max(plan, 1, now.received))
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
    GeneratorCounts {
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
    // The clients are in the order of their agents.
    let owners = agents.iter().enumerate();
    let owners = owners.flat_map(|(index, agent)| agent.clients().map(move |_| index));
    for (agent, report) in owners.zip(clients) {
        let counts = report.counts.unwrap_or_default();
        let received = counts.receiver.map(|receiver| receiver.received);
        let most = packets_max(plan, 1, received.unwrap_or(0));
        let (sum, sum_max) = &mut sums[agent];
        *sum_max = sum_max.saturating_add(most);
        let Some(generator) = counts.generator else {
            continue;
        };
        let bounded = progress(&GeneratorCounts::zero(), &generator, most);
        *sum = sum.plus(&bounded);
        if let Some(received) = received {
            lost = lost.saturating_add(bounded.sent.saturating_sub(received));
        }
    }
    let more = |(index, (records, most)): (usize, (GeneratorCounts, u64))| {
        let known = reported.get(index).copied().flatten().unwrap_or_default();
        let now = progress(&known, &records, most);
        (now.sent - known.sent, now.skipped - known.skipped)
    };
    Added {
        agents: sums.into_iter().enumerate().map(more).collect(),
        lost,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{plan::Group, profile::Profile};
    use proptest::prelude::*;

    use super::*;
    use crate::model::{AgentShare, ClockRelation};

    const SECOND_NS: u64 = 1_000_000_000;
    /// Packets of each client of the plan.
    const PLANNED: u64 = 1_000;

    fn plan(profile: Profile) -> Plan {
        Plan {
            group: Group {
                name: "default".into(),
                clients: 4,
                profile,
                batch: 1,
                phase: v1::Phase::Staggered,
                agents: Vec::new(),
                target: String::new(),
            },
            duration: Duration::from_secs(1),
            threads: 1,
            thresholds: Vec::new(),
            has_default_objectives: true,
            on_agent_loss: metronome_proto::v1::AgentLoss::Continue,
            requires: Vec::new(),
        }
    }

    fn paced() -> Plan {
        plan(Profile::constant(PLANNED * 1_000))
    }

    /// Two agents with two clients each.
    fn agents() -> [AgentRecords; 2] {
        [0..2, 2..4].map(|clients| {
            AgentRecords::new("a".into(), AgentShare::of(clients, ClockRelation::Same))
        })
    }

    fn counts(sent: u64, skipped: u64) -> GeneratorCounts {
        GeneratorCounts {
            scheduled: sent.saturating_add(skipped),
            sent,
            skipped,
            blocked: 0,
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
        clients.iter().map(row).collect()
    }

    #[test]
    fn what_is_known_to_be_lost_is_counted_though_not_all_is_known() {
        let clients = rows(&[
            (Some((1_000, 0)), Some(990)),
            (None, Some(500)),
            (Some((700, 300)), None),
            (Some((900, 100)), Some(895)),
        ]);
        let added = added_at_end(
            &paced(),
            &agents(),
            &clients,
            &[None, Some(counts(100, 50))],
        );
        assert_eq!(added.lost, 15);
        assert_eq!(added.agents, [(1_000, 0), (1_500, 350)]);
    }

    #[test]
    fn a_liar_adds_no_more_than_its_share_to_what_lasts() {
        let lie = (Some((1 << 63, u64::MAX)), Some(870));
        let clients = rows(&[lie, lie, (Some((1_000, 0)), Some(1_000)), (None, None)]);
        let paced = added_at_end(&paced(), &agents(), &clients, &[None; 2]);
        assert_eq!((paced.lost, &paced.agents[0]), (260, &(2_000, 0)));
        let flood = added_at_end(&plan(Profile::Flood), &agents(), &clients, &[None; 2]);
        let most = 2 * FLOOD_AHEAD_MAX;
        assert_eq!((flood.lost, &flood.agents[0]), (most, &(most + 1_740, 0)));
    }

    #[test]
    fn what_a_liar_has_claimed_in_time_leaves_no_room_for_more() {
        let known = progress(&counts(0, 0), &counts(u64::MAX, u64::MAX), 2_000);
        assert_eq!((known.sent, known.skipped), (2_000, 0));
        let clients = rows(&[(Some((870, 130)), Some(870)); 4]);
        let added = added_at_end(&paced(), &agents(), &clients, &[Some(known), None]);
        assert_eq!(added.agents, [(0, 0), (1_740, 260)]);
    }

    #[test]
    fn nothing_is_sent_before_it_is_due() {
        let due = |plan: &Plan, start_at_ns, now_ns| {
            let now = Now {
                start_at_ns,
                now_ns,
                received: 7,
            };
            packets_due_max(plan, 2, now)
        };
        let paced = paced();
        assert_eq!(due(&paced, None, SECOND_NS), 0);
        assert_eq!(due(&paced, Some(SECOND_NS), SECOND_NS - 1), 0);
        assert_eq!(due(&paced, Some(SECOND_NS), SECOND_NS), 2);
        assert_eq!(due(&paced, Some(SECOND_NS), SECOND_NS * 3 / 2), 2 * 501);
        assert_eq!(due(&paced, Some(SECOND_NS), u64::MAX), 2 * PLANNED);
        let flood = plan(Profile::Flood);
        assert_eq!(due(&flood, None, SECOND_NS), 0);
        assert_eq!(due(&flood, Some(1), SECOND_NS), 2 * FLOOD_AHEAD_MAX + 7);
    }

    proptest! {
        #[test]
        fn progress_never_falls_and_never_exceeds_what_is_due(
            reports in prop::collection::vec((any::<[u64; 4]>(), 0..5_000_u64), 1..20),
        ) {
            let (mut known, mut most) = (GeneratorCounts::zero(), 0);
            for ([scheduled, sent, skipped, blocked], more) in reports {
                most += more;
                let reported = GeneratorCounts { scheduled, sent, skipped, blocked };
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
            let added = added_at_end(&paced(), &agents(), &records, &reported);
            for (agent, clients) in clients.chunks(2).enumerate() {
                let sums = (clients[0].0 + clients[1].0, clients[0].1 + clients[1].1);
                let ended = (counted[agent].0 + added.agents[agent].0,
                    counted[agent].1 + added.agents[agent].1);
                prop_assert_eq!(ended, sums);
            }
        }
    }
}
