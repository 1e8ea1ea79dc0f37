//! How a running run looks to a watcher: the agents' last words and the ledger's last reading put
//! together. No clock here: now is an argument, ns of CLOCK_MONOTONIC.

use std::time::Duration;

use metronome_proto::{
    plan::Plan,
    v1::{self, RunState},
};

use crate::{
    master::request::{RunReading, Times},
    run::Life,
    verdict::AgentAccount,
};

/// Two readings closer than this tell no rate: one that was asked for late is followed by one in
/// time.
const RATE_WINDOW_NS_MIN: u64 = 250_000_000;

/// Collects what is known and makes snapshots of it.
#[derive(Debug)]
pub(super) struct Observer {
    plan: Plan,
    run_id: String,
    progress: Vec<v1::Progress>,
    reading: RunReading,
    /// Times were asked for less often than counters; the last ones, as the API tells them.
    lateness: Option<v1::Distribution>,
    transit: Option<v1::Distribution>,
    latency: Option<v1::Distribution>,
    one_way: bool,
    /// When the schedule was over or the run was stopped: nothing more becomes due.
    over_ns: Option<u64>,
    /// When the rate was told last, and packets received by then.
    last: Option<(u64, u64)>,
    received_hz: f64,
    number: u64,
    trouble: String,
}

impl Observer {
    pub(super) fn new(plan: Plan, run_id: String, agents: &[AgentAccount]) -> Self {
        Self {
            plan,
            run_id,
            progress: vec![v1::Progress::default(); agents.len()],
            reading: RunReading::default(),
            lateness: None,
            transit: None,
            latency: None,
            one_way: agents.iter().all(|agent| agent.shares_clock),
            over_ns: None,
            last: None,
            received_hz: 0.0,
            number: 0,
            trouble: String::new(),
        }
    }

    /// Goes on from the last snapshot and the progress that another server has seen.
    pub(super) fn go_on(
        &mut self,
        snapshot: v1::Snapshot,
        told: &[(u64, u64)],
        agents: &[AgentAccount],
    ) {
        for (agent, ((sent, _), part)) in told.iter().zip(agents).enumerate() {
            self.take_progress(
                agent,
                &v1::Progress {
                    sent: *sent,
                    ..v1::Progress::default()
                },
                part,
            );
        }
        self.reading = RunReading {
            connected: snapshot.clients_connected,
            received: snapshot.received,
            corrupt: snapshot.corrupt,
            ..RunReading::default()
        };
        (self.lateness, self.transit, self.latency) =
            (snapshot.lateness, snapshot.transit, snapshot.latency);
        self.received_hz = snapshot.received_hz;
        self.number = snapshot.number;
        self.trouble = snapshot.remark;
    }

    /// An agent told how far it is. Its figures only rise, and no further than its part allows.
    pub(super) fn take_progress(&mut self, agent: usize, told: &v1::Progress, part: &AgentAccount) {
        let Some(known) = self.progress.get_mut(agent) else {
            return;
        };
        let per_client = self.plan.packets_per_client().unwrap_or(u64::MAX);
        let most = per_client.saturating_mul(u64::from(part.clients));
        known.sent = told.sent.clamp(known.sent, most.max(known.sent));
    }

    /// The ledger was read.
    pub(super) fn take_reading(&mut self, mut reading: RunReading) {
        if let Some(Times {
            lateness,
            transit,
            latency,
        }) = reading.times.take()
        {
            self.lateness = Some(lateness.distribution(false));
            self.transit = self.one_way.then(|| transit.distribution(false));
            self.latency = self.one_way.then(|| latency.distribution(false));
        }
        self.reading = reading;
    }

    /// What went wrong last, for the remark.
    pub(super) fn take_trouble(&mut self, trouble: String) {
        self.trouble = trouble;
    }

    /// The run as it looks at `now_ns`.
    pub(super) fn snapshot(
        &mut self,
        life: &Life,
        agents: &[AgentAccount],
        now_ns: u64,
    ) -> v1::Snapshot {
        self.number = self.number.saturating_add(1);
        if life.state() >= RunState::Draining {
            self.over_ns.get_or_insert(now_ns);
        }
        let received = self.reading.received;
        let received_hz = self.rate_since_last(received, now_ns);
        let start_ns = life.start_at_ns().unwrap_or(u64::MAX);
        let due_ns = self.over_ns.map_or(now_ns, |over_ns| over_ns.min(now_ns));
        let schedule = self.plan.schedule(start_ns);
        let due = schedule.map(|schedule| {
            schedule
                .due_by(due_ns)
                .saturating_mul(u64::from(self.plan.clients))
        });
        // The ledger is read more often than agents tell; what was received was sent.
        let sent = self.told_sent().max(received);
        let elapsed = Duration::from_nanos(now_ns.saturating_sub(start_ns));
        v1::Snapshot {
            run_id: self.run_id.clone(),
            state: life.state().into(),
            elapsed: prost_types::Duration::try_from(elapsed).ok(),
            clients_connected: self.reading.connected,
            scheduled: due.unwrap_or(sent),
            sent,
            received,
            corrupt: self.reading.corrupt,
            received_hz,
            lateness: self.lateness.clone(),
            transit: self.transit.clone(),
            latency: self.latency.clone(),
            number: self.number,
            remark: self.remark(life, agents),
        }
    }

    fn told_sent(&self) -> u64 {
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

    fn remark(&self, life: &Life, agents: &[AgentAccount]) -> String {
        if !self.trouble.is_empty() {
            return self.trouble.clone();
        }
        match life.state() {
            RunState::Preparing => {
                let names: Vec<_> = life
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
    use crate::run::{Event, START_LEAD_NS};

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

    #[test]
    fn snapshots_tell_what_is_due_sent_and_received() {
        let agents = [AgentAccount::new("a".into(), 0, 2, true)];
        let mut observer = Observer::new(plan(), "7".into(), &agents);
        let (life, _) = Life::begin(1, 10 * SECOND_NS, 0);
        let first = observer.snapshot(&life, &agents, 0);
        assert_eq!(
            (first.scheduled, first.number, first.state()),
            (0, 1, RunState::Preparing)
        );
        assert_eq!(first.remark, "waiting for a to connect its clients");

        let (life, _) = life.step(Event::AgentPrepared(0), 0);
        observer.take_progress(
            0,
            &v1::Progress {
                sent: 1_500,
                ..v1::Progress::default()
            },
            &agents[0],
        );
        observer.take_reading(RunReading {
            received: 1_000,
            connected: 2,
            ..RunReading::default()
        });
        observer.snapshot(&life, &agents, START_LEAD_NS);
        observer.take_reading(RunReading {
            received: 2_000,
            connected: 2,
            ..RunReading::default()
        });
        let second = observer.snapshot(&life, &agents, START_LEAD_NS + SECOND_NS);
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
        let agents = [AgentAccount::new("a".into(), 0, 2, true)];
        let shown = v1::Snapshot {
            received: 900,
            clients_connected: 2,
            number: 7,
            ..v1::Snapshot::default()
        };
        let mut observer = Observer::new(plan(), "7".into(), &agents);
        observer.go_on(shown, &[(1_000, 0)], &agents);
        let (life, _) = Life::begin(1, SECOND_NS, 0);
        let next = observer.snapshot(&life, &agents, 0);
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
        observer.take_reading(RunReading {
            received: 5_000,
            connected: 2,
            ..RunReading::default()
        });
        assert_eq!(
            observer
                .snapshot(&life, &agents, 20_000_000)
                .received_hz
                .to_bits(),
            0.0_f64.to_bits()
        );
    }

    #[test]
    fn an_agent_cannot_make_progress_fall_or_exceed_its_part() {
        let agents = [AgentAccount::new("a".into(), 0, 2, true)];
        let mut observer = Observer::new(plan(), "7".into(), &agents);
        let (life, _) = Life::begin(1, SECOND_NS, 0);
        for (told, shown) in [(5, 5), (3, 5), (u64::MAX, 20_000), (0, 20_000)] {
            observer.take_progress(
                0,
                &v1::Progress {
                    sent: told,
                    ..v1::Progress::default()
                },
                &agents[0],
            );
            assert_eq!(observer.snapshot(&life, &agents, 0).sent, shown);
        }
        observer.take_progress(9, &v1::Progress::default(), &agents[0]);
    }

    #[test]
    fn nothing_becomes_due_after_a_stop() {
        let agents = [AgentAccount::new("a".into(), 0, 2, true)];
        let mut observer = Observer::new(plan(), "7".into(), &agents);
        let (life, _) = Life::begin(1, 10 * SECOND_NS, 0);
        let (life, _) = life.step(Event::AgentPrepared(0), 0);
        let (life, _) = life.step(Event::StopRequested, START_LEAD_NS + SECOND_NS);
        let at_stop = observer
            .snapshot(&life, &agents, START_LEAD_NS + SECOND_NS)
            .scheduled;
        assert_eq!(
            observer
                .snapshot(&life, &agents, START_LEAD_NS + 3 * SECOND_NS)
                .scheduled,
            at_stop
        );
    }
}
