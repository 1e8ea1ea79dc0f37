//! How a running run looks to a watcher: the agents' last progress and the ledger's last counters
//! put together. No clock here: now is an argument, ns of CLOCK_MONOTONIC.

use std::time::Duration;

use metronome_proto::{
    counters::CounterList as _,
    histogram::Histogram,
    v1::{self, GeneratorCounts, RunState},
};

use super::{live_round_trips::LiveRoundTrips, share_bounds};
use crate::model::{
    AgentRecords, BehindOfGroups, LiveCounters, PathBounds, RoundTrips, Times, run::RunStateMachine,
};

/// Two readings closer than this give no rate: a late one is followed by one that is in time.
const RATE_WINDOW_NS_MIN: u64 = 250_000_000;

/// Collects what is known and makes snapshots of it.
#[derive(Debug)]
pub(super) struct SnapshotBuilder {
    run_id: String,
    /// What each agent has reported. `None` before its first report.
    reported: Vec<Option<GeneratorCounts>>,
    /// What each agent with clients of several groups has reported of them.
    behind: Vec<BehindOfGroups>,
    /// What each agent meets at the target: of meaning only while it is waited for.
    obstacles: Vec<Option<v1::Failure>>,
    /// `None` before the first reading of the ledger, as `receiver`.
    clients_connected: Option<u32>,
    receiver: Option<v1::ReceiverCounts>,
    /// Times are read less often than counters: the last ones.
    times: Option<v1::Times>,
    one_way: bool,
    /// How far off times between clocks can be. `None`: they are not shown.
    bounds: Option<PathBounds>,
    round_trips: LiveRoundTrips,
    rate: Rate,
    /// In the order of the plan.
    groups: Vec<Group>,
    worker_priority: v1::ThreadPriority,
}

/// One group of the plan, as the ledger shows it.
#[derive(Debug)]
struct Group {
    name: String,
    /// `None` before the first reading of the ledger.
    receiver: Option<v1::ReceiverCounts>,
    rate: Rate,
}

/// Packets received per 1000 s, between two readings that lie far enough apart.
#[derive(Debug, Default)]
struct Rate {
    /// When the ledger was read for it last, and packets received by then.
    last: Option<(u64, u64)>,
    millihertz: Option<u64>,
}

impl Rate {
    /// Computes it anew once a reading lies far enough behind the one before.
    fn take(&mut self, received: u64, now_ns: u64) {
        let (then_ns, before) = *self.last.get_or_insert((now_ns, received));
        let nanos = now_ns.saturating_sub(then_ns);
        if nanos >= RATE_WINDOW_NS_MIN {
            let packets = u128::from(received.saturating_sub(before));
            let millihertz = packets * 1_000_000_000_000 / u128::from(nanos);
            self.millihertz = u64::try_from(millihertz).ok();
            self.last = Some((now_ns, received));
        }
    }
}

impl SnapshotBuilder {
    /// The snapshots of a run with groups of these names.
    pub(super) fn new(run_id: String, groups: &[&str], agents: &[AgentRecords]) -> Self {
        let groups = groups.iter().map(|name| Group {
            name: (*name).to_owned(),
            receiver: None,
            rate: Rate::default(),
        });
        Self {
            run_id,
            reported: vec![None; agents.len()],
            behind: vec![BehindOfGroups::default(); agents.len()],
            obstacles: vec![None; agents.len()],
            clients_connected: None,
            receiver: None,
            times: None,
            one_way: agents.iter().all(AgentRecords::is_on_our_clock),
            bounds: None,
            round_trips: LiveRoundTrips::new(agents),
            rate: Rate::default(),
            groups: groups.collect(),
            worker_priority: v1::ThreadPriority::Unspecified,
        }
    }

    /// What the scheduler granted to the workers, all together, whenever packets had come since
    /// the reading before.
    pub(super) fn worker_priority(&self) -> v1::ThreadPriority {
        self.worker_priority
    }

    /// An agent was found on another clock: its one-way times mean nothing.
    pub(super) fn forget_one_way(&mut self) {
        self.one_way = false;
        if let Some(times) = &mut self.times {
            (times.transit, times.latency) = (None, None);
        }
        let groups = self.groups.iter_mut().map(|group| &mut group.receiver);
        for receiver in groups.chain([&mut self.receiver]).flatten() {
            receiver.read_before_written = None;
        }
    }

    /// How far off the times between clocks of the next reading can be. `None`: that is not known
    /// of all agents on other clocks, and those that were shown are not any more.
    pub(super) fn take_bounds(&mut self, bounds: Option<PathBounds>) {
        self.bounds = bounds;
        if let Some(times) = &mut self.times {
            times.one_way = times.one_way.take().filter(|_| bounds.is_some());
            let has_queueing = bounds.is_some_and(|of| of.queueing_ns.is_some());
            times.queueing = times.queueing.take().filter(|_| has_queueing);
        }
    }

    /// Continues from the last snapshot and the progress that another server has seen. The rate
    /// begins anew: the first reading of one's own brings what came in during the hand-over.
    pub(super) fn resume(
        &mut self,
        snapshot: v1::Snapshot,
        reported: Vec<Option<GeneratorCounts>>,
    ) {
        self.reported = reported;
        self.clients_connected = snapshot.clients_connected;
        self.receiver = snapshot.receiver;
        if let Some(times) = &snapshot.times {
            self.round_trips.resume(times);
        }
        self.times = snapshot.times;
        for (group, shown) in self.groups.iter_mut().zip(snapshot.groups) {
            group.receiver = shown.receiver;
        }
    }

    /// What each agent has reported.
    pub(super) fn reported(&self) -> &[Option<GeneratorCounts>] {
        &self.reported
    }

    /// What each agent with clients of several groups has reported of them.
    pub(super) fn behind(&self) -> &[BehindOfGroups] {
        &self.behind
    }

    /// That of one agent, for what it reports next.
    pub(super) fn behind_of(&mut self, agent: usize) -> Option<&mut BehindOfGroups> {
        self.behind.get_mut(agent)
    }

    /// The round trips that the agents have reported, by the groups of the plan.
    pub(super) fn round_trips_of_groups(&self) -> Vec<RoundTrips> {
        let names = self.groups.iter().map(|group| group.name.as_str());
        names.map(|name| self.round_trips.of_group(name)).collect()
    }

    /// Whether it is known how far off times between clocks can be.
    pub(super) fn has_bounds(&self) -> bool {
        self.bounds.is_some()
    }

    /// Packets of all clients in the last reading of the ledger; 0 before the first.
    pub(super) fn received(&self) -> u64 {
        self.receiver.map_or(0, |receiver| receiver.received)
    }

    /// Takes the progress of an agent that can have sent and skipped at most so many packets.
    /// Returns how many more than before it has sent and skipped.
    pub(super) fn take_progress(
        &mut self,
        agent: usize,
        counts: &GeneratorCounts,
        packets_max: u64,
    ) -> (u64, u64) {
        let Some(known) = self.reported.get_mut(agent) else {
            return (0, 0);
        };
        let before = known.unwrap_or_default();
        let now = share_bounds::progress(&before, counts, packets_max);
        *known = Some(now);
        (now.sent - before.sent, now.skipped - before.skipped)
    }

    /// Takes the round trips that an agent has reported, all so far.
    pub(super) fn take_round_trips(&mut self, agent: usize, reported: Vec<v1::RoundTrips>) {
        self.round_trips.take(agent, reported);
    }

    /// All round trips so far. `None` before every agent has reported.
    pub(super) fn round_trips(&self) -> Option<RoundTrips> {
        self.round_trips.of_all()
    }

    /// Takes what an agent meets at the target, or that nothing stands in its way.
    pub(super) fn take_obstacle(&mut self, agent: usize, obstacle: Option<v1::Failure>) {
        if let Some(known) = self.obstacles.get_mut(agent) {
            *known = obstacle;
        }
    }

    /// Takes what the ledger shows at `now_ns`.
    pub(super) fn take_counters(&mut self, counters: LiveCounters, now_ns: u64) {
        if let Some(Times {
            lateness,
            transit,
            latency,
            spread,
            one_way,
            queueing,
        }) = counters.times
        {
            let on_one_clock =
                |times: &Histogram| self.one_way.then(|| times.distribution(false)).flatten();
            let is_claimed = self.bounds.is_some_and(|of| of.is_claimed);
            let between_clocks = |times: &Histogram, bound_ns: Option<u64>| {
                Some(v1::Distribution {
                    bound_ns: Some(i64::try_from(bound_ns?).unwrap_or(i64::MAX)),
                    bound_is_claimed: is_claimed,
                    ..times.distribution(false)?
                })
            };
            let times = v1::Times {
                lateness: lateness.distribution(false),
                transit: on_one_clock(&transit),
                latency: on_one_clock(&latency),
                spread: spread.distribution(false),
                one_way: between_clocks(&one_way, self.bounds.map(|of| of.one_way_ns)),
                queueing: between_clocks(&queueing, self.bounds.and_then(|of| of.queueing_ns)),
                ..self.round_trips.shown()
            };
            self.times = (times != v1::Times::default()).then_some(times);
        }
        if counters.counts.received > self.received() {
            let priorities = counters.priorities.iter();
            self.worker_priority =
                priorities.fold(self.worker_priority, |all, one| all.with(one.to_proto()));
        }
        self.clients_connected = Some(counters.connected);
        let one_way = self.one_way;
        let shown = |counts: v1::ReceiverCounts| v1::ReceiverCounts {
            // Also as long as no client of a foreign clock has connected.
            read_before_written: counts.read_before_written.filter(|_| one_way),
            ..counts
        };
        self.receiver = Some(shown(counters.counts));
        self.rate.take(counters.counts.received, now_ns);
        for (group, counts) in self.groups.iter_mut().zip(counters.counts_of_groups) {
            group.receiver = Some(shown(counts));
            group.rate.take(counts.received, now_ns);
        }
    }

    /// The run as it looks at `now_ns`.
    pub(super) fn build(
        &self,
        state_machine: &RunStateMachine,
        agents: &[AgentRecords],
        now_ns: u64,
    ) -> v1::Snapshot {
        let start_at_ns = state_machine.start_at_ns();
        let since_start_ns = start_at_ns.and_then(|start_ns| now_ns.checked_sub(start_ns));
        let elapsed = since_start_ns.map(Duration::from_nanos);
        let state = state_machine.state();
        let is_draining = state == RunState::Draining;
        v1::Snapshot {
            run_id: self.run_id.clone(),
            state: state.into(),
            elapsed: elapsed.and_then(|elapsed| prost_types::Duration::try_from(elapsed).ok()),
            clients_connected: self.clients_connected,
            generator: self.generator(),
            receiver: self.receiver,
            received_millihertz: self.rate.millihertz.filter(|_| !is_draining),
            times: self.times.clone(),
            waiting_for: state_machine
                .waiting_for()
                .filter_map(|agent| Some(agents.get(agent)?.name.clone()))
                .collect(),
            failures: agents
                .iter()
                .filter_map(AgentRecords::failure)
                .cloned()
                .collect(),
            obstacles: (state == RunState::Preparing)
                .then(|| state_machine.waiting_for())
                .into_iter()
                .flatten()
                .filter_map(|agent| self.obstacles.get(agent)?.clone())
                .collect(),
            groups: self.groups(is_draining),
            // The series has it, and the hosts have them.
            latest_point: None,
            latest_hosts: Vec::new(),
        }
    }

    /// The groups, once the ledger has shown all of them.
    fn groups(&self, is_draining: bool) -> Vec<v1::GroupSnapshot> {
        let shown = self.groups.iter().map(|group| {
            Some(v1::GroupSnapshot {
                name: group.name.clone(),
                receiver: Some(group.receiver?),
                received_millihertz: group.rate.millihertz.filter(|_| !is_draining),
            })
        });
        shown.collect::<Option<_>>().unwrap_or_default()
    }

    /// What the agents have reported, once all have. The ledger is read more often than they
    /// report, and what was received was sent.
    pub(super) fn generator(&self) -> Option<GeneratorCounts> {
        let mut reported = self.reported.iter();
        let sum = reported.try_fold(GeneratorCounts::zero(), |sum, agent| {
            Some(sum.plus(agent.as_ref()?))
        })?;
        let sent = sum.sent.max(self.received());
        Some(GeneratorCounts {
            sent,
            scheduled: sum.scheduled.max(sent.saturating_add(sum.skipped)),
            ..sum
        })
    }
}

/// How a run of these agents looks after each of some readings of the ledger, a second apart.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn snapshots(agents: &[AgentRecords], readings: Vec<LiveCounters>) -> Vec<v1::Snapshot> {
    const SECOND_NS: u64 = 1_000_000_000;
    let mut builder = SnapshotBuilder::new(String::new(), &["default"], agents);
    let (machine, _) = RunStateMachine::begin(agents.len(), SECOND_NS, v1::AgentLoss::Continue, 0);
    let mut now_ns = 0;
    let mut shown = |reading| {
        now_ns += SECOND_NS;
        builder.take_counters(reading, now_ns);
        builder.build(&machine, agents, now_ns)
    };
    readings.into_iter().map(&mut shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AgentShare, ClockRelation, WorkerPriority, run::Event, start_lead::START_LEAD_NS,
    };

    const SECOND_NS: u64 = 1_000_000_000;

    fn agents(clock: ClockRelation) -> [AgentRecords; 1] {
        [AgentRecords::new("a".into(), AgentShare::of(0..2, clock))]
    }

    fn builder(agents: &[AgentRecords]) -> SnapshotBuilder {
        SnapshotBuilder::new("7".into(), &["x", "y"], agents)
    }

    fn received(received: u64) -> LiveCounters {
        LiveCounters {
            counts: v1::ReceiverCounts {
                received,
                ..v1::ReceiverCounts::zero()
            },
            connected: 2,
            ..LiveCounters::default()
        }
    }

    #[test]
    fn the_priority_of_the_workers_is_that_of_the_times_in_which_packets_came() {
        use v1::ThreadPriority as P;
        let mut builder = builder(&agents(ClockRelation::Same));
        let mut shown = |packets, priorities: &[WorkerPriority]| {
            let counters = LiveCounters {
                priorities: priorities.to_vec(),
                ..received(packets)
            };
            builder.take_counters(counters, SECOND_NS);
            builder.worker_priority()
        };
        let (real_time, ordinary) = (WorkerPriority::RealTime, WorkerPriority::Ordinary);
        assert_eq!(shown(0, &[ordinary]), P::Unspecified);
        assert_eq!(shown(1, &[real_time, real_time]), P::RealTime);
        assert_eq!(shown(1, &[ordinary]), P::RealTime);
        assert_eq!(shown(2, &[]), P::RealTime);
        assert_eq!(shown(3, &[real_time, ordinary]), P::Mixed);
    }

    fn sent(sent: u64, skipped: u64) -> GeneratorCounts {
        GeneratorCounts {
            scheduled: sent + skipped,
            sent,
            skipped,
            blocked: 0,
            ..GeneratorCounts::default()
        }
    }

    #[test]
    fn nothing_is_shown_before_it_is_known() {
        let agents = agents(ClockRelation::Same);
        let mut builder = builder(&agents);
        let (state_machine, _) =
            RunStateMachine::begin(1, 10 * SECOND_NS, v1::AgentLoss::Continue, 0);
        let first = builder.build(&state_machine, &agents, 0);
        assert_eq!(first.state(), RunState::Preparing);
        assert_eq!(
            (first.waiting_for, first.failures),
            (vec!["a".into()], vec![])
        );
        assert_eq!((first.elapsed, first.generator), (None, None));
        assert_eq!((first.receiver, first.received_millihertz), (None, None));
        assert_eq!(first.times, None);
        let counters = LiveCounters {
            times: Some(Times::default()),
            ..received(0)
        };
        builder.take_counters(counters, 0);
        let second = builder.build(&state_machine, &agents, SECOND_NS);
        assert_eq!(second.receiver, Some(v1::ReceiverCounts::zero()));
        assert_eq!((second.received_millihertz, second.times), (None, None));
    }

    #[test]
    fn snapshots_show_what_was_sent_and_received() {
        let agents = agents(ClockRelation::Same);
        let mut builder = builder(&agents);
        let (state_machine, _) =
            RunStateMachine::begin(1, 10 * SECOND_NS, v1::AgentLoss::Continue, 0);
        let (state_machine, _) = state_machine.step(Event::AgentPrepared(0), 0);
        let more = builder.take_progress(0, &sent(1_500, 2), 2_000);
        assert_eq!(more, (1_500, 2));
        builder.take_counters(received(1_000), START_LEAD_NS);
        let first = builder.build(&state_machine, &agents, START_LEAD_NS);
        assert_eq!(first.generator, Some(sent(1_500, 2)));
        builder.take_counters(received(2_000), START_LEAD_NS + SECOND_NS);
        let second = builder.build(&state_machine, &agents, START_LEAD_NS + SECOND_NS);
        assert_eq!(
            second.generator,
            Some(sent(2_000, 2)),
            "what is received was sent"
        );
        assert_eq!(second.receiver.unwrap().received, 2_000);
        assert_eq!(second.elapsed.unwrap().seconds, 1);
        assert_eq!(second.received_millihertz, Some(1_000_000));
    }

    #[test]
    fn each_group_has_its_own_counts_and_rate_once_the_ledger_has_them() {
        let agents = agents(ClockRelation::Same);
        let mut builder = builder(&agents);
        let (machine, _) = RunStateMachine::begin(1, 10 * SECOND_NS, v1::AgentLoss::Continue, 0);
        let reading = |counts: [u64; 2]| LiveCounters {
            counts_of_groups: counts.map(|packets| received(packets).counts).to_vec(),
            ..received(counts[0] + counts[1])
        };
        let shown = |builder: &SnapshotBuilder| {
            let groups = builder.build(&machine, &agents, SECOND_NS).groups;
            let figures = groups.into_iter().map(|group| {
                let received = group.receiver.unwrap().received;
                (group.name, received, group.received_millihertz)
            });
            figures.collect::<Vec<_>>()
        };
        builder.take_counters(received(5), 0);
        assert_eq!(shown(&builder), [], "not by group");
        builder.take_counters(reading([5, 0]), SECOND_NS);
        builder.take_counters(reading([25, 3]), 2 * SECOND_NS);
        let expected = [
            ("x".to_owned(), 25, Some(20_000)),
            ("y".to_owned(), 3, Some(3_000)),
        ];
        assert_eq!(shown(&builder), expected);
        let mut resumed = SnapshotBuilder::new("7".into(), &["x", "y"], &agents);
        resumed.resume(builder.build(&machine, &agents, 0), vec![None]);
        let expected = [("x".to_owned(), 25, None), ("y".to_owned(), 3, None)];
        assert_eq!(shown(&resumed), expected, "the rate begins anew");
    }

    #[test]
    fn the_generators_counts_are_shown_once_every_agent_has_reported() {
        let agents = [0..1, 1..2].map(|clients| {
            AgentRecords::new("a".into(), AgentShare::of(clients, ClockRelation::Same))
        });
        let mut builder = builder(&agents);
        let (state_machine, _) = RunStateMachine::begin(2, SECOND_NS, v1::AgentLoss::Continue, 0);
        builder.take_progress(0, &sent(5, 0), 10);
        let shown = builder.build(&state_machine, &agents, 0).generator;
        assert_eq!(shown, None);
        builder.take_progress(1, &sent(0, 0), 10);
        let shown = builder.build(&state_machine, &agents, 0).generator;
        assert_eq!(shown, Some(sent(5, 0)));
    }

    #[test]
    fn the_rate_is_that_between_two_readings_and_ends_with_the_schedule() {
        let agents = agents(ClockRelation::Same);
        let mut builder = builder(&agents);
        let (state_machine, _) = RunStateMachine::begin(1, SECOND_NS, v1::AgentLoss::Continue, 0);
        let (state_machine, _) = state_machine.step(Event::AgentPrepared(0), 0);
        let (state_machine, _) = state_machine.step(Event::Tick, START_LEAD_NS);
        let rate = |builder: &SnapshotBuilder, state_machine, now_ns| {
            builder
                .build(state_machine, &agents, now_ns)
                .received_millihertz
        };
        builder.take_counters(received(0), 0);
        // However late it is looked at: no second reading, no rate.
        assert_eq!(rate(&builder, &state_machine, SECOND_NS / 2), None);
        builder.take_counters(received(10), SECOND_NS / 8);
        assert_eq!(rate(&builder, &state_machine, SECOND_NS / 2), None);
        builder.take_counters(received(100), SECOND_NS / 4);
        let per_1000_s = Some(400_000);
        assert_eq!(rate(&builder, &state_machine, SECOND_NS / 2), per_1000_s);
        let over_ns = START_LEAD_NS + SECOND_NS;
        let (draining, _) = state_machine.clone().step(Event::Tick, over_ns);
        assert_eq!(draining.state(), RunState::Draining);
        assert_eq!(rate(&builder, &draining, over_ns), None);
    }

    #[test]
    fn what_a_run_waits_for_and_what_went_wrong_are_shown_as_data() {
        let mut agents = [0..1, 1..2].map(|clients| {
            let name = format!("a{}", clients.start);
            AgentRecords::new(name, AgentShare::of(clients, ClockRelation::Same))
        });
        let mut builder = builder(&agents);
        let (state_machine, _) = RunStateMachine::begin(2, SECOND_NS, v1::AgentLoss::Continue, 0);
        let obstacle = v1::Failure::new(v1::FailureCode::ConnectionTimedOut, "no answer");
        (0..3).for_each(|agent| builder.take_obstacle(agent, Some(obstacle.clone())));
        let shown = builder.build(&state_machine, &agents, 0);
        assert_eq!(shown.obstacles, [obstacle.clone(), obstacle.clone()]);
        let (state_machine, _) = state_machine.step(Event::AgentPrepared(0), 0);
        let shown = builder.build(&state_machine, &agents, 0);
        assert_eq!(shown.waiting_for, ["a1"]);
        assert_eq!(
            shown.obstacles,
            [obstacle],
            "that of the agent that is waited for"
        );
        builder.take_obstacle(1, None);
        assert!(
            builder
                .build(&state_machine, &agents, 0)
                .obstacles
                .is_empty()
        );
        let failure = v1::Failure::new(v1::FailureCode::NoRoute, "there is no route");
        agents[1].fail(failure.clone());
        let (state_machine, _) = state_machine.step(Event::AgentGone(1), 0);
        let (running, _) = state_machine.step(Event::Tick, START_LEAD_NS);
        let shown = builder.build(&running, &agents, START_LEAD_NS);
        assert!(shown.waiting_for.is_empty());
        assert_eq!(shown.failures, [failure.with("agent", "a1")]);
        let (draining, _) = running.step(Event::Tick, START_LEAD_NS + SECOND_NS);
        let shown = builder.build(&draining, &agents, START_LEAD_NS + SECOND_NS);
        assert_eq!(shown.waiting_for, ["a0"]);
        assert!(shown.obstacles.is_empty(), "of preparing");
    }

    #[test]
    fn one_way_times_are_shown_on_one_clock_only() {
        for (clock, is_shown) in [(ClockRelation::Same, true), (ClockRelation::Unknown, false)] {
            let agents = agents(clock);
            let mut builder = builder(&agents);
            let mut times = Times::default();
            times.lateness.record(5);
            times.transit.record(5);
            times.latency.record(5);
            let counters = LiveCounters {
                times: Some(times),
                ..received(1)
            };
            builder.take_counters(counters, 0);
            let (state_machine, _) =
                RunStateMachine::begin(1, SECOND_NS, v1::AgentLoss::Continue, 0);
            let shown = builder.build(&state_machine, &agents, 0);
            let counted = shown.receiver.unwrap().read_before_written;
            assert_eq!(counted, is_shown.then_some(0));
            let times = shown.times.unwrap();
            assert_eq!(times.lateness.unwrap().count, 1);
            let one_way = (times.transit.is_some(), times.latency.is_some());
            assert_eq!(one_way, (is_shown, is_shown));
        }
    }

    #[test]
    fn times_between_clocks_are_shown_with_their_bound_and_not_without() {
        let agents = agents(ClockRelation::Offset);
        let mut builder = builder(&agents);
        let (machine, _) = RunStateMachine::begin(1, SECOND_NS, v1::AgentLoss::Continue, 0);
        let mut times = Times::default();
        times.one_way.record(5);
        times.queueing.record(5);
        let reading = || LiveCounters {
            times: Some(times.clone()),
            ..received(1)
        };
        let bounds = |queueing_ns| {
            Some(PathBounds {
                one_way_ns: 70,
                queueing_ns,
                is_claimed: true,
            })
        };
        let bound = |of: Option<v1::Distribution>| of.map(|of| (of.bound_ns, of.bound_is_claimed));
        let claimed = |ns| Some((Some(ns), true));
        for (bounds, one_way, queueing) in [
            (None, None, None),
            (bounds(Some(9)), claimed(70), claimed(9)),
            (bounds(None), claimed(70), None),
        ] {
            builder.take_bounds(bounds);
            builder.take_counters(reading(), 0);
            let shown = builder
                .build(&machine, &agents, 0)
                .times
                .unwrap_or_default();
            assert_eq!(
                (bound(shown.one_way), bound(shown.queueing)),
                (one_way, queueing)
            );
        }
        // Once they are known to be wrong, at once.
        builder.take_bounds(None);
        let shown = builder
            .build(&machine, &agents, 0)
            .times
            .unwrap_or_default();
        assert_eq!((shown.one_way, shown.queueing), (None, None));
    }

    #[test]
    fn what_another_server_has_shown_goes_on_from_there() {
        let agents = agents(ClockRelation::Same);
        let shown = v1::Snapshot {
            receiver: Some(received(900).counts),
            clients_connected: Some(2),
            received_millihertz: Some(1),
            ..v1::Snapshot::default()
        };
        let mut builder = builder(&agents);
        builder.resume(shown, vec![Some(sent(1_000, 0))]);
        assert_eq!(builder.reported(), [Some(sent(1_000, 0))]);
        let (state_machine, _) = RunStateMachine::begin(1, SECOND_NS, v1::AgentLoss::Continue, 0);
        let (state_machine, _) = state_machine.step(Event::AgentPrepared(0), 0);
        let next = builder.build(&state_machine, &agents, START_LEAD_NS);
        assert_eq!(next.receiver.unwrap().received, 900);
        assert_eq!(next.generator.unwrap().sent, 1_000);
        assert_eq!(
            (next.clients_connected, next.received_millihertz),
            (Some(2), None)
        );
        // The first reading of one's own brings at once what came in during the hand-over.
        let later_ns = START_LEAD_NS + 20_000_000;
        builder.take_counters(received(5_000), later_ns);
        let next = builder.build(&state_machine, &agents, later_ns);
        assert_eq!(next.received_millihertz, None);
    }

    #[test]
    fn progress_gives_how_much_more_an_agent_has_done_within_its_bound() {
        let agents = agents(ClockRelation::Same);
        let mut builder = builder(&agents);
        assert_eq!(builder.take_progress(0, &sent(5, 1), 10), (5, 1));
        assert_eq!(builder.take_progress(0, &sent(1_000, 1), 10), (4, 0));
        assert_eq!(builder.reported()[0].map(|known| known.sent), Some(9));
        assert_eq!(builder.take_progress(9, &sent(1, 1), 10), (0, 0));
    }
}
