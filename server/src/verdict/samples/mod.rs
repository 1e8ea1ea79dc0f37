//! A run in which everything went well, of any groups, for tests to spoil.

mod clocks;
mod records;
mod replies;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use metronome_proto::{
    histogram::Histogram,
    load::Load,
    plan::{GROUP_DEFAULT, Group, Plan},
    profile::Profile,
    v1::{self, Failure, FailureCode, LawStatus, ReasonCode},
};

pub(super) use clocks::set_between_clocks;
pub(super) use records::due_times;
use records::{clean_counters, clean_record, counted};

use super::{Conclusion, conclude, evidence::Evidence};
use crate::model::{
    AgentRecords, AgentShare, ClientCounters, ClientEnd, ClientStart, ClockRelation, FinalCounters,
    MissedThreshold, PerTime, TIME_KINDS, TimeKind, Times,
};

/// Packets of each client, where they are sent at 1 kHz.
pub(super) const PACKETS: u64 = 100;

/// When the sample's run starts, ns.
pub(super) const START_NS: u64 = 1_000_000_000;

/// Both ends' records of a run of 100 ms, two workers.
pub(super) struct Sample {
    pub(super) plan: Plan,
    pub(super) agents: Vec<AgentRecords>,
    pub(super) counters: Option<FinalCounters>,
    pub(super) start_at_ns: Option<u64>,
    pub(super) stopped: Option<v1::StopCause>,
    pub(super) missed: Option<MissedThreshold>,
    pub(super) finished_early: BTreeMap<usize, u64>,
    pub(super) notes: Vec<v1::Note>,
    pub(super) hosts: Vec<v1::HostSeries>,
}

/// A plan of 100 ms with so many clients of each profile, each a group of its own.
pub(super) fn plan(groups: &[(Profile, u32)]) -> Plan {
    let group = |(index, (profile, clients)): (usize, &(Profile, u32))| Group {
        echo_every: Default::default(),
        packet_size: Default::default(),
        payload: Default::default(),
        name: match index {
            0 => GROUP_DEFAULT.into(),
            _ => format!("group-{index}"),
        },
        clients: *clients,
        profile: *profile,
        batch: 1,
        phase: v1::Phase::Staggered,
        agents: Vec::new(),
        target: String::new(),
        thresholds: Vec::new(),
    };
    Plan {
        groups: groups.iter().enumerate().map(group).collect(),
        duration: Duration::from_millis(PACKETS),
        warm_up: Duration::ZERO,
        seed: 7,
        threads: 1,
        thresholds: Vec::new(),
        has_default_objectives: true,
        abort_on_fail: false,
        on_agent_loss: v1::AgentLoss::Continue,
        requires: Vec::new(),
        clock_trust: Default::default(),
        allow: Vec::new(),
    }
}

impl Sample {
    /// 100 packets per client at 1 kHz, of `agents` agents with `clients_each` clients each.
    pub(super) fn of(agents: u32, clients_each: u32) -> Self {
        let clients = agents * clients_each;
        Self::of_plan(agents, plan(&[(Profile::constant(1_000_000), clients)]))
    }

    /// So many agents share the clients of a plan evenly. A client of a flood sends 100 packets.
    pub(super) fn of_plan(agents: u32, plan: Plan) -> Self {
        let clients = plan.clients();
        let clients_each = clients / agents;
        let agent = |index: u32| {
            let clients = index * clients_each..(index + 1) * clients_each;
            let share = AgentShare::of(clients, ClockRelation::Same);
            let mut agent = AgentRecords::new(format!("agent-{index}"), share);
            agent.finish(v1::Finished {
                cpu_ns: Some(1_000_000),
                writes: Some(PACKETS),
                oversleep_max_ns: Some(1_000),
                ..v1::Finished::default()
            });
            agent
        };
        let mut sample = Self {
            agents: (0..agents).map(agent).collect(),
            counters: Some(clean_counters(clients)),
            start_at_ns: Some(START_NS),
            stopped: None,
            missed: None,
            finished_early: BTreeMap::new(),
            notes: Vec::new(),
            hosts: Vec::new(),
            plan,
        };
        for client in 0..clients {
            let load = sample.load_of(client);
            sample.send_load(client, &load, 0);
        }
        sample.retime();
        sample.retime_replies();
        sample
    }

    /// What a client is asked to send.
    pub(super) fn load_of(&self, client: u32) -> Load {
        let group = self.plan.group_of(client).expect("a client of the plan");
        self.plan.load(group)
    }

    /// A client starts so much later than the run and sends this load in whole, whatever the plan
    /// asks it for. Its agent reports it as it was, and the workers hold it against the plan.
    pub(super) fn send_load(&mut self, client: u32, load: &Load, offset_ns: u64) {
        let due = due_times(load, client);
        let start = ClientStart {
            start_ns: START_NS + offset_ns,
            offset_ns,
        };
        let due: Vec<_> = due.iter().map(|due_ns| start.start_ns + due_ns).collect();
        self.send_due(client, start, &due);
    }

    /// A client sends packets that are due then, all of its schedule by its agent's report.
    pub(super) fn send_due(&mut self, client: u32, start: ClientStart, due: &[u64]) {
        let packets = due.len() as u64;
        let counted = counted(&self.plan, client, start, due);
        let warm_up = counted.counts.warm_up.unwrap_or(0);
        let group = self.plan.group_of(client).expect("a client of the plan");
        let record = clean_record(group, client, packets, warm_up);
        let counters = self.counters();
        let before = counters.clients[client as usize].counts.received;
        counters.workers[0].packets = counters.workers[0].packets + packets - before;
        counters.clients[client as usize] = counted;
        let agent = self.agents.iter_mut().find(|agent| agent.owns(client));
        let agent = agent.expect("a client of the sample");
        if agent.record(client).is_none() {
            agent.take(v1::ClientRecords {
                run_id: String::new(),
                clients: vec![record],
            });
            return;
        }
        self.reported(client, |reported| *reported = record);
    }

    pub(super) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            hosts: &self.hosts,
            plan: &self.plan,
            agents: &self.agents,
            counters: self.counters.as_ref(),
            start_at_ns: self.start_at_ns,
            data_address: "192.0.2.7:8888",
            stopped: self.stopped,
            missed: self.missed,
            finished_early: &self.finished_early,
            notes: &self.notes,
        }
    }

    pub(super) fn conclude(&self) -> Conclusion {
        conclude(&self.evidence())
    }

    /// Changes what its agent reported of one client.
    pub(super) fn reported(&mut self, client: u32, change: impl FnOnce(&mut v1::ClientRecord)) {
        let agent = self
            .agents
            .iter_mut()
            .find(|agent| agent.owns(client))
            .expect("a client of the sample");
        let mut clients: Vec<_> = agent
            .clients()
            .filter_map(|client| agent.record(client).cloned())
            .collect();
        change(
            clients
                .iter_mut()
                .find(|record| record.client == client)
                .expect("a client of the sample"),
        );
        let finished = agent
            .finished()
            .cloned()
            .expect("the sample's agents finish");
        forget_reports(agent);
        agent.take(v1::ClientRecords {
            run_id: String::new(),
            clients,
        });
        agent.finish(finished);
    }

    /// Changes the packets that its agent reported of one client.
    pub(super) fn reported_counts(
        &mut self,
        client: u32,
        change: impl FnOnce(&mut v1::GeneratorCounts),
    ) {
        self.reported(client, |reported| {
            change(reported.counts.as_mut().expect("the sample has counts"));
        });
    }

    /// Changes the last report of one agent.
    pub(super) fn last_report(&mut self, agent: usize, change: impl FnOnce(&mut v1::Finished)) {
        let agent = &mut self.agents[agent];
        let finished = agent.finished().cloned();
        let mut finished = finished.expect("the sample's agents finish");
        change(&mut finished);
        let clients = agent.records().cloned().collect();
        forget_reports(agent);
        agent.take(v1::ClientRecords {
            run_id: String::new(),
            clients,
        });
        agent.finish(finished);
    }

    /// One agent has never reported anything.
    pub(super) fn forget_agent(&mut self, agent: usize) {
        forget_reports(&mut self.agents[agent]);
    }

    /// Changes what the workers counted of one client. The bytes stay those of its frames, unless
    /// the change is one of them.
    pub(super) fn counted(&mut self, client: u32, change: impl FnOnce(&mut ClientCounters)) {
        let group = self.plan.group_of(client).expect("a client of the plan");
        let size = group.packet_size.bytes() as u64;
        let counted = &mut self.counters().clients[client as usize];
        let frames = |of: &ClientCounters| of.counts.received + u64::from(of.start.is_some());
        let (frames_before, bytes_before) = (frames(counted), counted.bytes);
        change(counted);
        let more = frames(counted)
            .wrapping_sub(frames_before)
            .wrapping_mul(size);
        if counted.bytes == bytes_before && counted.bytes_taken == Some(bytes_before) {
            counted.bytes = bytes_before.wrapping_add(more);
            counted.bytes_taken = Some(counted.bytes);
        }
    }

    pub(super) fn counters(&mut self) -> &mut FinalCounters {
        self.counters.as_mut().expect("the sample has counters")
    }

    /// Every packet received after the warm-up has the times that it must have, 10 µs each; the
    /// first of a client has no spread.
    pub(super) fn retime(&mut self) {
        let ours = self
            .agents
            .iter()
            .filter(|of| of.is_recorded_on_our_clock());
        let ours: BTreeSet<u32> = ours.flat_map(AgentRecords::clients).collect();
        let others = self.agents.iter();
        let others = others.filter(|of| of.share.clock.has_lines());
        let others: BTreeSet<u32> = others.flat_map(AgentRecords::clients).collect();
        let plan = self.plan.clone();
        let mut groups = Vec::new();
        for (clients, group) in plan.clients_of_groups() {
            let mut sums = PerTime([0; TIME_KINDS]);
            for counted in &mut self.counters().clients {
                if !clients.contains(&counted.client) {
                    continue;
                }
                let counts = counted.counts;
                let warm_up = counts.warm_up.unwrap_or(0);
                let measured = counts.received - warm_up;
                let paced = if group.profile.is_flood() {
                    0
                } else {
                    measured
                };
                let one_way = if ours.contains(&counted.client) {
                    measured
                } else {
                    0
                };
                let with_spread = paced.saturating_sub(u64::from(warm_up == 0));
                set_timed(counted, [paced, one_way, one_way, with_spread]);
                if others.contains(&counted.client) {
                    set_between_clocks(counted, measured);
                }
                sums = TimeKind::ALL.map(|kind| sums[kind] + counted.timed[kind]);
            }
            let PerTime([lateness, transit, latency, spread, one_way, queueing]) =
                sums.map(|count| times(count).lateness);
            groups.push(Times {
                lateness,
                transit,
                latency,
                spread,
                one_way,
                queueing,
            });
        }
        self.set_times(groups);
    }

    /// The times of each group, and of all together.
    pub(super) fn set_times(&mut self, groups: Vec<Times>) {
        let mut all = Times::default();
        groups.iter().for_each(|times| all.merge(times));
        let counters = self.counters();
        counters.times = all;
        // Of one group, whose times are those of the run, tests change the latter alone.
        counters.times_of_groups = if groups.len() > 1 { groups } else { Vec::new() };
    }

    /// The run has a warm-up, and all was sent as planned.
    pub(super) fn warm_up(&mut self, warm_up: Duration) {
        self.plan.warm_up = warm_up;
        for client in 0..self.plan.clients() {
            let load = self.load_of(client);
            self.send_load(client, &load, 0);
        }
        self.retime();
        self.retime_replies();
    }

    /// The same packets as a flood: none has a place in a schedule, and none is late.
    pub(super) fn flood(&mut self) {
        self.plan.groups[0].profile = Profile::Flood;
        for client in 0..self.plan.clients() {
            self.counted(client, |counted| {
                let counts = &mut counted.counts;
                (counts.off_schedule, counts.left_out) = (None, None);
                (counts.in_time, counts.warm_up_left_out) = (None, None);
                (counts.spread_understated, counts.spread_uncertain) = (None, None);
                counted.least_ns = None;
            });
        }
        self.retime();
    }

    /// So many packets of a client were due, and all of them came.
    pub(super) fn send(&mut self, client: u32, packets: u64) {
        self.reported(client, |reported| {
            let counts = reported.counts.as_mut().expect("the sample has counts");
            (counts.scheduled, counts.sent) = (packets, packets);
            reported.acknowledged = Some(packets);
            reported.kernel_acknowledged_bytes = Some(packets * 32);
        });
        let before = self.counters().clients[client as usize].counts.received;
        let worker = &mut self.counters().workers[0];
        worker.packets = worker.packets - before + packets;
        self.counted(client, |counted| {
            (counted.counts.received, counted.counts.in_time) = (packets, Some(packets));
            (counted.next_sequence, counted.reported_sent) = (packets, Some(packets));
            counted.last_due_ns = counted.first_due_ns.max(due_ns(packets.saturating_sub(1)));
        });
    }

    /// One client loses its last packets on a broken connection, all figures consistent.
    pub(super) fn break_connection(&mut self, client: u32, received: u64) {
        self.reported(client, |reported| {
            reported.acknowledged = None;
            reported.kernel_acknowledged_bytes = Some(received * 32);
            let failure = Failure::new(FailureCode::ConnectionBroken, "the connection broke");
            reported.failure = Some(failure);
        });
        let lost = PACKETS
            - self.counters().clients[client as usize]
                .counts
                .received
                .min(received);
        self.counted(client, |counted| {
            counted.counts.received = received;
            counted.counts.in_time = counted.counts.in_time.and(Some(received));
            counted.next_sequence = received;
            counted.last_due_ns = due_ns(received.saturating_sub(1));
            counted.reported_sent = None;
            counted.digest = 0;
            counted.end = ClientEnd::Broken;
        });
        self.counters().workers[0].packets -= lost;
        self.retime();
    }
}

/// An agent has reported nothing. What its probes have shown is the server's own.
fn forget_reports(agent: &mut AgentRecords) {
    let mut silent = AgentRecords::new(agent.name.clone(), agent.share.clone());
    (silent.path, silent.start_skew) = (agent.path.take(), agent.start_skew);
    *agent = silent;
}

/// So many packets were written 2 ms late, none of them blocked.
pub(super) fn late(sample: &mut Sample, packets: u64) {
    let counters = sample.counters();
    let all = counters.times.lateness.count();
    let mut lateness = times(all - packets).lateness;
    lateness.add_count(metronome_proto::histogram::bucket(2_000_000), packets);
    counters.times.lateness = lateness;
}

/// A run that was spoiled like this is invalid, for these reasons and no others.
#[track_caller]
pub(super) fn breaks(expected: &[ReasonCode], spoil: impl FnOnce(&mut Sample)) {
    let mut sample = Sample::of(2, 2);
    spoil(&mut sample);
    let conclusion = sample.conclude();
    assert_eq!(codes(&conclusion), expected);
    let verdict = verdict(&conclusion);
    assert_eq!(verdict.status(), v1::VerdictStatus::Invalid);
    let is_broken = |law: &&v1::Law| law.status() == LawStatus::Broken;
    let broken: Vec<_> = verdict.laws.iter().filter(is_broken).collect();
    assert!(
        !broken.is_empty() && broken.iter().all(|law| !law.figures.is_empty()),
        "{:?}",
        verdict.laws
    );
}

pub(super) fn verdict(conclusion: &Conclusion) -> &v1::Verdict {
    let verdict = conclusion.report.verdict.as_ref();
    verdict.expect("a report has a verdict")
}

/// The codes of a conclusion's reasons.
pub(super) fn codes(conclusion: &Conclusion) -> Vec<ReasonCode> {
    let reasons = verdict(conclusion).reasons.iter();
    reasons.map(v1::Reason::code).collect()
}

/// How a law came out, by its code.
pub(super) fn law(conclusion: &Conclusion, code: ReasonCode) -> &v1::Law {
    let mut laws = verdict(conclusion).laws.iter();
    let law = laws.find(|law| law.code() == code);
    law.expect("a verdict has every law")
}

/// Takes out every sentence, so that the others can be compared.
pub(super) fn blank_sentences(conclusion: &mut Conclusion) {
    let report = &mut conclusion.report;
    let verdict = report.verdict.as_mut().expect("a report has a verdict");
    let notes = verdict.notes.iter_mut().map(|note| &mut note.sentence);
    let laws = verdict.laws.iter_mut().map(|law| &mut law.sentence);
    let reasons = verdict.reasons.iter_mut();
    let (sentences, causes): (Vec<_>, Vec<_>) = reasons
        .map(|reason| (&mut reason.sentence, &mut reason.failure))
        .unzip();
    laws.chain(notes).chain(sentences).for_each(String::clear);
    let agents = report.agents.iter_mut().map(|agent| &mut agent.failure);
    let clients = conclusion.clients.iter_mut();
    let failures = clients.map(|client| &mut client.failure).chain(agents);
    let failures = failures.chain(causes).flatten();
    failures.for_each(|failure| failure.sentence.clear());
}

/// A client has so many times of lateness, transit, latency and spread, counted and in its
/// histograms, and none by lines between clocks.
pub(super) fn set_timed(counted: &mut ClientCounters, counts: [u64; 4]) {
    let [lateness, transit, latency, spread] = counts;
    let counts = [lateness, transit, latency, spread, 0, 0];
    (counted.timed, counted.histogram_counts) = (PerTime(counts), PerTime(counts));
}

/// A histogram of each kind with `count` values of 10 µs.
pub(super) fn times(count: u64) -> Times {
    let mut histogram = Histogram::default();
    histogram.add_count(metronome_proto::histogram::bucket(10_000), count);
    Times {
        lateness: histogram.clone(),
        transit: histogram.clone(),
        latency: histogram.clone(),
        spread: histogram,
        ..Times::default()
    }
}

/// When a packet of the sample is due, ns: one every millisecond.
pub(super) fn due_ns(sequence: u64) -> u64 {
    START_NS + sequence * 1_000_000
}
