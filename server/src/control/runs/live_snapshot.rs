//! How a running run looks to a watcher: the agents' last progress and the ledger's last counters
//! put together. No clock here: now is an argument, ns of CLOCK_MONOTONIC.

use std::time::Duration;

use metronome_proto::{
    plan::Plan,
    v1::{self, RunState},
};

use crate::model::{AgentRecords, LiveCounters, Times, run::RunStateMachine};

/// Two readings closer than this give no rate: a late one is followed by one that is in time.
const RATE_WINDOW_NS_MIN: u64 = 250_000_000;

/// Collects what is known and makes snapshots of it.
#[derive(Debug)]
pub(super) struct SnapshotBuilder {
    plan: Plan,
    run_id: String,
    progress: Vec<v1::Progress>,
    counters: LiveCounters,
    /// Times are read less often than counters: the last ones, in the API's form.
    lateness: Option<v1::Distribution>,
    transit: Option<v1::Distribution>,
    latency: Option<v1::Distribution>,
    one_way: bool,
    /// When the schedule was over or the run was stopped: nothing more becomes due.
    over_ns: Option<u64>,
    /// When the rate was computed last, and packets received by then.
    last: Option<(u64, u64)>,
    received_hz: f64,
    number: u64,
    note: String,
}

impl SnapshotBuilder {
    pub(super) fn new(plan: Plan, run_id: String, agents: &[AgentRecords]) -> Self {
        Self {
            plan,
            run_id,
            progress: vec![v1::Progress::default(); agents.len()],
            counters: LiveCounters::default(),
            lateness: None,
            transit: None,
            latency: None,
            one_way: agents.iter().all(|agent| agent.share.clock.is_same()),
            over_ns: None,
            last: None,
            received_hz: 0.0,
            number: 0,
            note: String::new(),
        }
    }

    /// Continues from the last snapshot and the progress that another server has seen.
    pub(super) fn resume(
        &mut self,
        snapshot: v1::Snapshot,
        reported: &[(u64, u64)],
        agents: &[AgentRecords],
    ) {
        for (agent, ((sent, _), agent_records)) in reported.iter().zip(agents).enumerate() {
            self.take_progress(
                agent,
                &v1::Progress {
                    sent: *sent,
                    ..v1::Progress::default()
                },
                agent_records,
            );
        }
        self.counters = LiveCounters {
            connected: snapshot.clients_connected,
            counts: v1::ReceiverCounts {
                received: snapshot.received,
                corrupt: snapshot.corrupt,
                ..v1::ReceiverCounts::default()
            },
            ..LiveCounters::default()
        };
        (self.lateness, self.transit, self.latency) =
            (snapshot.lateness, snapshot.transit, snapshot.latency);
        self.received_hz = snapshot.received_hz;
        self.number = snapshot.number;
        self.note = snapshot.note;
    }

    /// Takes an agent's progress. Its figures only rise, and no further than its share allows.
    pub(super) fn take_progress(
        &mut self,
        agent: usize,
        progress: &v1::Progress,
        agent_records: &AgentRecords,
    ) {
        let Some(known) = self.progress.get_mut(agent) else {
            return;
        };
        let per_client = self.plan.packets_per_client().unwrap_or(u64::MAX);
        let most = per_client.saturating_mul(u64::from(agent_records.share.clients));
        known.sent = progress.sent.clamp(known.sent, most.max(known.sent));
    }

    /// Takes what the ledger shows now.
    pub(super) fn take_counters(&mut self, mut counters: LiveCounters) {
        if let Some(Times {
            lateness,
            transit,
            latency,
        }) = counters.times.take()
        {
            self.lateness = Some(lateness.distribution(false));
            self.transit = self.one_way.then(|| transit.distribution(false));
            self.latency = self.one_way.then(|| latency.distribution(false));
        }
        self.counters = counters;
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
        if state_machine.state() >= RunState::Draining {
            self.over_ns.get_or_insert(now_ns);
        }
        let received = self.counters.counts.received;
        let received_hz = self.rate_since_last(received, now_ns);
        let start_ns = state_machine.start_at_ns().unwrap_or(u64::MAX);
        let due_ns = self.over_ns.map_or(now_ns, |over_ns| over_ns.min(now_ns));
        let schedule = self.plan.schedule(start_ns);
        let due = schedule.map(|schedule| {
            schedule
                .due_by(due_ns)
                .saturating_mul(u64::from(self.plan.clients))
        });
        // The ledger is read more often than agents report; what was received was sent.
        let sent = self.reported_sent().max(received);
        let elapsed = Duration::from_nanos(now_ns.saturating_sub(start_ns));
        v1::Snapshot {
            run_id: self.run_id.clone(),
            state: state_machine.state().into(),
            elapsed: prost_types::Duration::try_from(elapsed).ok(),
            clients_connected: self.counters.connected,
            scheduled: due.unwrap_or(sent),
            sent,
            received,
            corrupt: self.counters.counts.corrupt,
            received_hz,
            lateness: self.lateness.clone(),
            transit: self.transit.clone(),
            latency: self.latency.clone(),
            number: self.number,
            note: self.note(state_machine, agents),
        }
    }

    fn reported_sent(&self) -> u64 {
        self.progress
            .iter()
            .fold(0, |sum, agent| sum.saturating_add(agent.sent))
    }

    fn rate_since_last(&mut self, received: u64, now_ns: u64) -> f64 {
        let (then_ns, before) = *self.last.get_or_insert((now_ns, received));
        let nanos = now_ns.saturating_sub(then_ns);
        if nanos >= RATE_WINDOW_NS_MIN {
            self.received_hz = received.saturating_sub(before) as f64 * 1e9 / nanos as f64;
            self.last = Some((now_ns, received));
        }
        self.received_hz
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
    use super::*;
    use crate::model::{
        AgentShare, ClockRelation,
        run::{Event, START_LEAD_NS},
    };

    const SECOND_NS: u64 = 1_000_000_000;

    fn plan() -> Plan {
        Plan {
            clients: 2,
            rate: metronome_proto::rate::Rate::Millihertz(1_000_000),
            duration: Duration::from_secs(10),
            batch: 1,
            phase: v1::Phase::Staggered,
            threads: 1,
            agents: Vec::new(),
            target: String::new(),
        }
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

    #[test]
    fn snapshots_show_what_is_due_sent_and_received() {
        let agents = [AgentRecords::new(
            "a".into(),
            AgentShare::new(0, 2, ClockRelation::Same),
        )];
        let mut builder = SnapshotBuilder::new(plan(), "7".into(), &agents);
        let (state_machine, _) = RunStateMachine::begin(1, 10 * SECOND_NS, 0);
        let first = builder.build(&state_machine, &agents, 0);
        assert_eq!(
            (first.scheduled, first.number, first.state()),
            (0, 1, RunState::Preparing)
        );
        assert_eq!(first.note, "waiting for a to connect its clients");

        let (state_machine, _) = state_machine.step(Event::AgentPrepared(0), 0);
        builder.take_progress(
            0,
            &v1::Progress {
                sent: 1_500,
                ..v1::Progress::default()
            },
            &agents[0],
        );
        builder.take_counters(received(1_000));
        builder.build(&state_machine, &agents, START_LEAD_NS);
        builder.take_counters(received(2_000));
        let second = builder.build(&state_machine, &agents, START_LEAD_NS + SECOND_NS);
        assert_eq!(
            (second.scheduled, second.sent, second.received),
            (2_002, 2_000, 2_000)
        );
        assert_eq!((second.elapsed.unwrap().seconds, second.number), (1, 3));
        let seconds = (START_LEAD_NS + SECOND_NS) as f64 / 1e9;
        assert!(
            (second.received_hz - 2_000.0 / seconds).abs() < 1e-6,
            "since the first: {}",
            second.received_hz
        );
    }

    #[test]
    fn what_another_server_has_shown_goes_on_from_there() {
        let agents = [AgentRecords::new(
            "a".into(),
            AgentShare::new(0, 2, ClockRelation::Same),
        )];
        let shown = v1::Snapshot {
            received: 900,
            clients_connected: 2,
            number: 7,
            ..v1::Snapshot::default()
        };
        let mut builder = SnapshotBuilder::new(plan(), "7".into(), &agents);
        builder.resume(shown, &[(1_000, 0)], &agents);
        let (state_machine, _) = RunStateMachine::begin(1, SECOND_NS, 0);
        let next = builder.build(&state_machine, &agents, 0);
        assert_eq!(
            (
                next.received,
                next.sent,
                next.clients_connected,
                next.number
            ),
            (900, 1_000, 2, 8)
        );
        // The first reading of one's own brings at once what came in during the hand-over.
        builder.take_counters(received(5_000));
        assert_eq!(
            builder
                .build(&state_machine, &agents, 20_000_000)
                .received_hz
                .to_bits(),
            0.0_f64.to_bits()
        );
    }

    #[test]
    fn an_agent_cannot_make_progress_fall_or_exceed_its_share() {
        let agents = [AgentRecords::new(
            "a".into(),
            AgentShare::new(0, 2, ClockRelation::Same),
        )];
        let mut builder = SnapshotBuilder::new(plan(), "7".into(), &agents);
        let (state_machine, _) = RunStateMachine::begin(1, SECOND_NS, 0);
        for (reported, shown) in [(5, 5), (3, 5), (u64::MAX, 20_000), (0, 20_000)] {
            builder.take_progress(
                0,
                &v1::Progress {
                    sent: reported,
                    ..v1::Progress::default()
                },
                &agents[0],
            );
            assert_eq!(builder.build(&state_machine, &agents, 0).sent, shown);
        }
        builder.take_progress(9, &v1::Progress::default(), &agents[0]);
    }

    #[test]
    fn nothing_becomes_due_after_a_stop() {
        let agents = [AgentRecords::new(
            "a".into(),
            AgentShare::new(0, 2, ClockRelation::Same),
        )];
        let mut builder = SnapshotBuilder::new(plan(), "7".into(), &agents);
        let (state_machine, _) = RunStateMachine::begin(1, 10 * SECOND_NS, 0);
        let (state_machine, _) = state_machine.step(Event::AgentPrepared(0), 0);
        let (state_machine, _) =
            state_machine.step(Event::StopRequested, START_LEAD_NS + SECOND_NS);
        let at_stop = builder
            .build(&state_machine, &agents, START_LEAD_NS + SECOND_NS)
            .scheduled;
        assert_eq!(
            builder
                .build(&state_machine, &agents, START_LEAD_NS + 3 * SECOND_NS)
                .scheduled,
            at_stop
        );
    }
}
