//! How a running run looks to a watcher: the agents' last progress and the ledger's last counters
//! put together. No clock here: now is an argument, ns of CLOCK_MONOTONIC.

use std::time::Duration;

use metronome_proto::{
    counters::CounterList as _,
    plan::Plan,
    v1::{self, GeneratorCounts, RunState},
};

use crate::model::{AgentRecords, LiveCounters, Times, run::RunStateMachine};

/// Two readings closer than this give no rate: a late one is followed by one that is in time.
const RATE_WINDOW_NS_MIN: u64 = 250_000_000;

/// Collects what is known and makes snapshots of it.
#[derive(Debug)]
pub(super) struct SnapshotBuilder {
    plan: Plan,
    run_id: String,
    /// What each agent has reported.
    reported: Vec<GeneratorCounts>,
    clients_connected: u32,
    /// `None` before the first reading of the ledger.
    receiver: Option<v1::ReceiverCounts>,
    /// Times are read less often than counters: the last ones.
    times: Option<v1::Times>,
    one_way: bool,
    /// When the rate was computed last, and packets received by then.
    last: Option<(u64, u64)>,
    received_millihertz: Option<u64>,
    number: u64,
    note: String,
}

impl SnapshotBuilder {
    pub(super) fn new(plan: Plan, run_id: String, agents: &[AgentRecords]) -> Self {
        Self {
            plan,
            run_id,
            reported: vec![GeneratorCounts::default(); agents.len()],
            clients_connected: 0,
            receiver: None,
            times: None,
            one_way: agents.iter().all(|agent| agent.share.clock.is_same()),
            last: None,
            received_millihertz: None,
            number: 0,
            note: String::new(),
        }
    }

    /// Continues from the last snapshot and the progress that another server has seen.
    pub(super) fn resume(&mut self, snapshot: v1::Snapshot, reported: Vec<GeneratorCounts>) {
        self.reported = reported;
        self.clients_connected = snapshot.clients_connected;
        self.receiver = snapshot.receiver;
        self.times = snapshot.times;
        self.received_millihertz = snapshot.received_millihertz;
        self.number = snapshot.number;
        self.note = snapshot.note;
    }

    /// What each agent has reported.
    pub(super) fn reported(&self) -> &[GeneratorCounts] {
        &self.reported
    }

    /// Takes an agent's progress. Its figures only rise, and no further than its share allows.
    /// Returns how many packets more it has sent and skipped.
    pub(super) fn take_progress(
        &mut self,
        agent: usize,
        counts: &GeneratorCounts,
        agent_records: &AgentRecords,
    ) -> (u64, u64) {
        let Some(known) = self.reported.get_mut(agent) else {
            return (0, 0);
        };
        let per_client = self.plan.packets_per_client().unwrap_or(u64::MAX);
        let most = per_client.saturating_mul(u64::from(agent_records.share.clients));
        let before = *known;
        let mut words = before.to_words();
        for (word, reported) in words.iter_mut().zip(counts.to_words()) {
            *word = reported.clamp(*word, most.max(*word));
        }
        *known = GeneratorCounts::from_words(&words);
        (known.sent - before.sent, known.skipped - before.skipped)
    }

    /// Takes what the ledger shows now.
    pub(super) fn take_counters(&mut self, counters: LiveCounters) {
        if let Some(Times {
            lateness,
            transit,
            latency,
        }) = counters.times
        {
            let one_way = |times: &metronome_proto::histogram::Histogram| {
                self.one_way.then(|| times.distribution(false)).flatten()
            };
            let times = v1::Times {
                lateness: lateness.distribution(false),
                transit: one_way(&transit),
                latency: one_way(&latency),
            };
            self.times = (times != v1::Times::default()).then_some(times);
        }
        self.clients_connected = counters.connected;
        self.receiver = Some(counters.counts);
    }

    /// Takes what went wrong last, for the note.
    pub(super) fn take_note(&mut self, note: String) {
        self.note = note;
    }

    /// The run as it looks at `now_ns`.
    pub(super) fn build(
        &mut self,
        state_machine: &RunStateMachine,
        agents: &[AgentRecords],
        now_ns: u64,
    ) -> v1::Snapshot {
        self.number = self.number.saturating_add(1);
        let start_at_ns = state_machine.start_at_ns();
        let since_start_ns = start_at_ns.and_then(|start_ns| now_ns.checked_sub(start_ns));
        let elapsed = since_start_ns.map(Duration::from_nanos);
        v1::Snapshot {
            run_id: self.run_id.clone(),
            state: state_machine.state().into(),
            elapsed: elapsed.and_then(|elapsed| prost_types::Duration::try_from(elapsed).ok()),
            clients_connected: self.clients_connected,
            generator: elapsed.map(|_| self.generator()),
            receiver: self.receiver,
            received_millihertz: self.rate_since_last(now_ns),
            times: self.times.clone(),
            number: self.number,
            note: self.note(state_machine, agents),
        }
    }

    /// What the agents have reported. The ledger is read more often than they report, and what was
    /// received was sent.
    fn generator(&self) -> GeneratorCounts {
        let reported = self.reported.iter();
        let sum = reported.fold(GeneratorCounts::default(), |sum, agent| sum.plus(agent));
        let received = self.receiver.map_or(0, |receiver| receiver.received);
        let sent = sum.sent.max(received);
        GeneratorCounts {
            sent,
            scheduled: sum.scheduled.max(sent.saturating_add(sum.skipped)),
            ..sum
        }
    }

    /// `None` as long as there are no two readings.
    fn rate_since_last(&mut self, now_ns: u64) -> Option<u64> {
        let received = self.receiver?.received;
        let (then_ns, before) = *self.last.get_or_insert((now_ns, received));
        let nanos = now_ns.saturating_sub(then_ns);
        if nanos >= RATE_WINDOW_NS_MIN {
            let packets = u128::from(received.saturating_sub(before));
            let millihertz = packets * 1_000_000_000_000 / u128::from(nanos);
            self.received_millihertz = u64::try_from(millihertz).ok();
            self.last = Some((now_ns, received));
        }
        self.received_millihertz
    }

    fn note(&self, state_machine: &RunStateMachine, agents: &[AgentRecords]) -> String {
        if !self.note.is_empty() {
            return self.note.clone();
        }
        match state_machine.state() {
            RunState::Preparing => {
                let names: Vec<_> = state_machine
                    .preparing()
                    .map(|agent| agents[agent].name.as_str())
                    .collect();
                format!("waiting for {} to connect its clients", names.join(", "))
            }
            RunState::Draining => "waiting for the final records".into(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::{plan::Group, profile::Profile};

    use super::*;
    use crate::model::{
        AgentShare, ClockRelation,
        run::{Event, START_LEAD_NS},
    };

    const SECOND_NS: u64 = 1_000_000_000;

    fn plan() -> Plan {
        Plan {
            group: Group {
                name: "default".into(),
                clients: 2,
                profile: Profile::constant(1_000_000),
                batch: 1,
                phase: v1::Phase::Staggered,
                agents: Vec::new(),
                target: String::new(),
            },
            duration: Duration::from_secs(10),
            threads: 1,
            requires: Vec::new(),
        }
    }

    fn agents(clock: ClockRelation) -> [AgentRecords; 1] {
        [AgentRecords::new("a".into(), AgentShare::new(0, 2, clock))]
    }

    fn builder(agents: &[AgentRecords]) -> SnapshotBuilder {
        SnapshotBuilder::new(plan(), "7".into(), agents)
    }

    fn received(received: u64) -> LiveCounters {
        LiveCounters {
            counts: v1::ReceiverCounts {
                received,
                ..v1::ReceiverCounts::default()
            },
            connected: 2,
            ..LiveCounters::default()
        }
    }

    fn sent(sent: u64, skipped: u64) -> GeneratorCounts {
        GeneratorCounts {
            scheduled: sent + skipped,
            sent,
            skipped,
            blocked: 0,
        }
    }

    #[test]
    fn nothing_is_shown_before_it_is_known() {
        let agents = agents(ClockRelation::Same);
        let mut builder = builder(&agents);
        let (state_machine, _) = RunStateMachine::begin(1, 10 * SECOND_NS, 0);
        let first = builder.build(&state_machine, &agents, 0);
        assert_eq!((first.number, first.state()), (1, RunState::Preparing));
        assert_eq!(first.note, "waiting for a to connect its clients");
        assert_eq!((first.elapsed, first.generator), (None, None));
        assert_eq!((first.receiver, first.received_millihertz), (None, None));
        assert_eq!(first.times, None);
        builder.take_counters(LiveCounters {
            times: Some(Times::default()),
            ..received(0)
        });
        let second = builder.build(&state_machine, &agents, SECOND_NS);
        assert_eq!(second.receiver, Some(v1::ReceiverCounts::default()));
        assert_eq!((second.received_millihertz, second.times), (None, None));
    }

    #[test]
    fn snapshots_show_what_was_sent_and_received() {
        let agents = agents(ClockRelation::Same);
        let mut builder = builder(&agents);
        let (state_machine, _) = RunStateMachine::begin(1, 10 * SECOND_NS, 0);
        let (state_machine, _) = state_machine.step(Event::AgentPrepared(0), 0);
        let more = builder.take_progress(0, &sent(1_500, 2), &agents[0]);
        assert_eq!(more, (1_500, 2));
        builder.take_counters(received(1_000));
        let first = builder.build(&state_machine, &agents, START_LEAD_NS);
        assert_eq!(first.generator, Some(sent(1_500, 2)));
        builder.take_counters(received(2_000));
        let second = builder.build(&state_machine, &agents, START_LEAD_NS + SECOND_NS);
        assert_eq!(
            second.generator,
            Some(sent(2_000, 2)),
            "what is received was sent"
        );
        assert_eq!(second.receiver.unwrap().received, 2_000);
        assert_eq!((second.elapsed.unwrap().seconds, second.number), (1, 2));
        assert_eq!(second.received_millihertz, Some(1_000_000));
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
            builder.take_counters(LiveCounters {
                times: Some(times),
                ..received(1)
            });
            let (state_machine, _) = RunStateMachine::begin(1, SECOND_NS, 0);
            let times = builder.build(&state_machine, &agents, 0).times.unwrap();
            assert_eq!(times.lateness.unwrap().count, 1);
            let one_way = (times.transit.is_some(), times.latency.is_some());
            assert_eq!(one_way, (is_shown, is_shown));
        }
    }

    #[test]
    fn what_another_server_has_shown_goes_on_from_there() {
        let agents = agents(ClockRelation::Same);
        let shown = v1::Snapshot {
            receiver: Some(received(900).counts),
            clients_connected: 2,
            number: 7,
            ..v1::Snapshot::default()
        };
        let mut builder = builder(&agents);
        builder.resume(shown, vec![sent(1_000, 0)]);
        assert_eq!(builder.reported(), [sent(1_000, 0)]);
        let (state_machine, _) = RunStateMachine::begin(1, SECOND_NS, 0);
        let (state_machine, _) = state_machine.step(Event::AgentPrepared(0), 0);
        let next = builder.build(&state_machine, &agents, START_LEAD_NS);
        assert_eq!(next.receiver.unwrap().received, 900);
        assert_eq!(next.generator.unwrap().sent, 1_000);
        assert_eq!((next.clients_connected, next.number), (2, 8));
        // The first reading of one's own brings at once what came in during the hand-over.
        builder.take_counters(received(5_000));
        let next = builder.build(&state_machine, &agents, START_LEAD_NS + 20_000_000);
        assert_eq!(next.received_millihertz, None);
    }

    #[test]
    fn an_agent_cannot_make_progress_fall_or_exceed_its_share() {
        let agents = agents(ClockRelation::Same);
        let mut builder = builder(&agents);
        for (reported, shown) in [(5, 5), (3, 5), (u64::MAX, 20_000), (0, 20_000)] {
            let before = builder.reported()[0].sent;
            let counts = GeneratorCounts {
                scheduled: reported,
                sent: reported,
                skipped: reported,
                blocked: reported,
            };
            let more = builder.take_progress(0, &counts, &agents[0]);
            assert_eq!(more, (shown - before, shown - before));
            let known = builder.reported()[0];
            assert_eq!(known.to_words()[..4], [shown; 4]);
        }
        let unknown = builder.take_progress(9, &sent(1, 1), &agents[0]);
        assert_eq!(unknown, (0, 0));
    }
}
