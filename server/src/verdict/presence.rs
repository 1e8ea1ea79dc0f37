//! Presence: what is unset in a report of which nothing is known, and that no field of it is dead.
//!
//! Both tests walk every field by its descriptor, so that a field that is added to the API fails
//! them until it is decided upon.

use std::collections::BTreeSet;

use metronome_proto::{
    DESCRIPTORS, counters::CounterList as _, histogram::BUCKETS, packet_size::PacketSize,
    payload::Payload, v1,
};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _,
    Value,
};

use super::{
    Conclusion,
    samples::{PACKETS, START_NS, Sample, late},
};
use crate::model::{
    Against, ClientEnd, ClockOffset, Incident, MissedThreshold, PerTime, StartSkew,
};

/// What is known when neither end has reported anything: what was planned and who took part, and
/// the judgement. A number that has no presence of its own counts as known wherever its message is.
const KNOWN_ALL_THE_SAME: &[&str] = &[
    "client.agent",
    "client.client",
    "client.failure.code",
    "client.failure.figures",
    "client.failure.remedy",
    "client.failure.sentence",
    "client.group",
    "report.agents.agent",
    "report.agents.clients",
    "report.agents.clock.relation",
    "report.agents.clock.relation.bound_ns",
    "report.agents.failure.code",
    "report.agents.failure.figures",
    "report.agents.failure.remedy",
    "report.agents.failure.sentence",
    "report.groups.clients",
    "report.groups.group",
    "report.groups.rate.offered_millihertz",
    "report.limit.sentence",
    "report.outcome.objectives.sentence",
    "report.outcome.objectives.source",
    "report.outcome.objectives.status",
    "report.outcome.objectives.threshold.comparison",
    "report.outcome.objectives.threshold.limit",
    "report.outcome.objectives.threshold.metric",
    "report.outcome.objectives.threshold.statistic",
    "report.outcome.status",
    "report.rate.offered_millihertz",
    "report.receivers.data_address",
    "report.receivers.receiver",
    "report.verdict.laws.code",
    "report.verdict.laws.law",
    "report.verdict.laws.sentence",
    "report.verdict.laws.status",
    "report.verdict.reasons.code",
    "report.verdict.reasons.failure.code",
    "report.verdict.reasons.failure.figures",
    "report.verdict.reasons.failure.remedy",
    "report.verdict.reasons.failure.sentence",
    "report.verdict.reasons.figures",
    "report.verdict.reasons.remedy",
    "report.verdict.reasons.sentence",
    "report.verdict.reasons.status",
    "report.verdict.status",
];

/// What a conclusion has set, by the paths of the fields; elements of lists have that of the list.
#[derive(Default)]
struct Walk {
    /// Whether a number without presence of its own is set although it is 0.
    zero_is_set: bool,
    set: BTreeSet<String>,
}

impl Walk {
    fn of(conclusion: &Conclusion, zero_is_set: bool) -> BTreeSet<String> {
        let mut walk = Self {
            zero_is_set,
            ..Self::default()
        };
        walk.message("report", &dynamic("Report", &conclusion.report));
        for client in &conclusion.clients {
            walk.message("client", &dynamic("ClientReport", client));
        }
        walk.set
    }

    fn message(&mut self, path: &str, message: &DynamicMessage) {
        for field in message.descriptor().fields() {
            let path = path_of(path, &field);
            if message.has_field(&field) && is_one_of_several(&field) {
                self.set.insert(path.clone());
            }
            if message.has_field(&field) {
                self.value(path, message.get_field(&field).as_ref());
            } else if self.zero_is_set && is_number_without_presence(&field) {
                self.set.insert(path);
            }
        }
    }

    fn value(&mut self, path: String, value: &Value) {
        match value {
            Value::Message(message) if message.descriptor().fields().len() > 0 => {
                self.message(&path, message);
            }
            Value::List(values) => {
                for value in values {
                    self.value(path.clone(), value);
                }
            }
            _ => {
                self.set.insert(path);
            }
        }
    }
}

/// Which member of a oneof is set is something known by itself.
fn is_one_of_several(field: &FieldDescriptor) -> bool {
    let mut oneof = field.containing_oneof().into_iter();
    oneof.any(|oneof| !oneof.is_synthetic())
}

/// The field's path; the fields of a oneof share one.
fn path_of(path: &str, field: &FieldDescriptor) -> String {
    let oneof = field.containing_oneof();
    match oneof.filter(|_| is_one_of_several(field)) {
        Some(oneof) => format!("{path}.{}", oneof.name()),
        None => format!("{path}.{}", field.name()),
    }
}

fn is_number_without_presence(field: &FieldDescriptor) -> bool {
    let is_other = matches!(
        field.kind(),
        Kind::Message(_) | Kind::String | Kind::Bytes | Kind::Enum(_)
    );
    !is_other && !field.supports_presence() && !field.is_list()
}

fn descriptor(name: &str) -> MessageDescriptor {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the descriptors of this build");
    let name = format!("metronome.v1.{name}");
    pool.get_message_by_name(&name)
        .expect("a message of the API")
}

fn dynamic(name: &str, message: &impl Message) -> DynamicMessage {
    let bytes = message.encode_to_vec();
    DynamicMessage::decode(descriptor(name), bytes.as_slice()).expect("a message of the API")
}

/// Every path that a message may have.
fn paths(path: &str, message: &MessageDescriptor) -> BTreeSet<String> {
    let below = |field: FieldDescriptor| {
        let path = path_of(path, &field);
        match field.kind() {
            Kind::Message(of) if !field.is_map() && of.fields().len() > 0 => {
                let mut below = paths(&path, &of);
                below.extend(is_one_of_several(&field).then_some(path));
                below
            }
            _ => BTreeSet::from([path]),
        }
    };
    message.fields().flat_map(below).collect()
}

fn as_strs(paths: &BTreeSet<String>) -> Vec<&str> {
    paths.iter().map(String::as_str).collect()
}

#[test]
fn nothing_is_set_of_which_nothing_is_known() {
    let mut sample = Sample::of(2, 2);
    (0..2).for_each(|agent| sample.forget_agent(agent));
    sample.counters = None;
    sample.start_at_ns = None;
    let set = Walk::of(&sample.conclude(), true);
    assert_eq!(as_strs(&set), KNOWN_ALL_THE_SAME);
}

#[test]
fn everything_is_set_when_everything_is_known() {
    // No run has both a broken law, and objectives that were judged; and an agent is on the
    // server's clock or not.
    let mut on_another_clock = everything_known();
    on_another_clock.agents[0].contradict_clock();
    // The spread of a client that has no uncertain packet.
    on_another_clock.counted(3, |counted| counted.counts.spread_uncertain = Some(0));
    let mut set = Walk::of(&everything_known().conclude(), false);
    set.append(&mut Walk::of(&on_another_clock.conclude(), false));
    set.append(&mut Walk::of(
        &delayed_by_the_generator(5).conclude(),
        false,
    ));
    set.append(&mut Walk::of(
        &delayed_by_the_generator(50).conclude(),
        false,
    ));
    set.append(&mut Walk::of(
        &with_replies_and_payloads().conclude(),
        false,
    ));
    set.append(&mut Walk::of(&ended_by_a_group().conclude(), false));
    let mut uneven = between_clocks();
    set.append(&mut Walk::of(&uneven.conclude(), false));
    uneven.path(1, |path| path.contradictions = 1);
    set.append(&mut Walk::of(&uneven.conclude(), false));
    let all: BTreeSet<_> = [("report", "Report"), ("client", "ClientReport")]
        .iter()
        .flat_map(|(path, name)| paths(path, &descriptor(name)))
        .filter(|path| !has_no_bound(path) && !path.contains("tcp"))
        .collect();
    let dead: Vec<_> = all.difference(&set).collect();
    assert!(dead.is_empty(), "never set: {dead:#?}");
    assert!(set.is_subset(&all));
}

/// The bound of a time that one clock has measured.
fn has_no_bound(path: &str) -> bool {
    let is_of_distribution = path.contains(".times.") || path.contains("probe_rtt");
    let is_between_clocks = path.contains(".one_way.") || path.contains(".queueing.");
    path.contains(".bound_") && is_of_distribution && !is_between_clocks
}

/// A run with an agent on the server's clock and one on another one.
fn between_clocks() -> Sample {
    let mut sample = Sample::of(2, 1);
    sample.offset_clock(1, 50_000);
    sample.path(1, |path| {
        path.is_claimed = true;
        path.probes_sent += 1;
        path.probe_rtt.add_count(BUCKETS - 1, 1);
        (path.probes_sent, path.probes_answered) = (path.probes_sent + 1, path.probes_answered + 1);
        path.clock = Some(ClockOffset {
            offset_ns: -5,
            bound_ns: 50_000,
            drift_ppb: 7,
            drift_bound_ppb: 9,
            is_claimed: true,
        });
    });
    for agent in [0, 1] {
        sample.agents[agent].start_skew = Some(StartSkew {
            ns: agent as i64,
            bound_ns: 3,
        });
    }
    sample.counted(1, |counted| {
        counted.counts.below_floor = Some(4);
        super::samples::set_between_clocks(counted, 1_000);
        (counted.one_way_p99_ns, counted.queueing_p99_ns) = (9, 8);
    });
    let times = &mut sample.counters().times;
    for times in [&mut times.one_way, &mut times.queueing] {
        // One is missing.
        *times = super::samples::times(PACKETS - 2).transit;
        times.add_count(BUCKETS - 1, 1);
    }
    sample
}

/// A run of 1,000 packets whose generator was late with so many: of more than 10 it is invalid.
fn delayed_by_the_generator(packets: u64) -> Sample {
    let mut sample = Sample::of(1, 10);
    late(&mut sample, packets);
    let thread = v1::ThreadPoint {
        name: "pacing-0".into(),
        cpu_ns: 1,
        run_queue_ns: Some(1),
        waits: Some(1),
        preemptions: Some(1),
        away_ns: Some(1),
    };
    sample.hosts = vec![v1::HostSeries {
        role: v1::EnvironmentRole::Agent.into(),
        name: "agent-0".into(),
        points: vec![v1::HostPoint {
            from_ns: 1,
            span_ns: 1_000,
            timer_late_max_ns: 1,
            timer_late_from_ns: 1,
            away_ns: 1,
            stolen_ns: Some(1),
            cores_ns: Some(2_000),
            throttled_ns: Some(1),
            pressure_ns: Some(1),
            suspended_ns: Some(1),
            clock_stepped_ns: Some(1),
            resident_bytes: Some(1),
            threads: vec![thread],
        }],
    }];
    sample
}

/// A run that the threshold of a group has ended.
fn ended_by_a_group() -> Sample {
    let mut sample = Sample::of(1, 10);
    let threshold = "latency.p99<1us".parse().expect("a threshold");
    sample.plan.groups[0].thresholds = vec![threshold];
    sample.stopped = Some(v1::StopCause::Threshold);
    sample.missed = Some(MissedThreshold {
        group: Some(0),
        threshold,
        elapsed_ns: 9,
        against: Against::Packets,
        observed: 11,
        allowed: 10,
        planned: Some(1_000),
    });
    sample
}

/// A run whose packets carry a file of the agent and ask for replies.
fn with_replies_and_payloads() -> Sample {
    let mut sample = Sample::echoing(1, 1, 1);
    sample.plan.groups[0].packet_size = PacketSize::new(132).expect("a size");
    sample.plan.groups[0].payload = Payload::AgentFile {
        name: "readings.bin".into(),
        sha256: None,
    };
    sample.drop_replies(0, 1);
    sample.reported(0, |reported| {
        reported.round_trips = Some(1_000);
        (reported.rtt_from_due_p99_ns, reported.rtt_from_write_p99_ns) = (Some(2), Some(1));
    });
    sample.last_report(0, |finished| {
        let of = &mut finished.round_trips[0];
        for buckets in [&mut of.from_due, &mut of.from_write].into_iter().flatten() {
            buckets.indices.push(BUCKETS as u32 - 1);
            buckets.counts.push(1);
        }
    });
    let read = v1::PayloadRead {
        group: sample.plan.groups[0].name.clone(),
        size: 100,
        sha256: vec![7; 32],
    };
    let prepared = sample.agents[0].prepared(vec![read], &sample.plan);
    prepared.expect("what the plan asks for");
    sample
}

/// A run of which both ends have reported everything, and no figure is 0. So much of it has gone
/// wrong.
fn everything_known() -> Sample {
    let mut sample = Sample::of(2, 2);
    sample.last_report(1, |finished| {
        finished.environment = Some(v1::Environment {
            version: "0.1.0".into(),
            host: "vm1".into(),
            kernel: "6.1.0".into(),
            boot_id: "a boot".into(),
            cores: Some(2),
            cpu_model: "a processor".into(),
            cpu_quota_cores: Some(1.5),
            priority: v1::ThreadPriority::RealTime.into(),
            ..v1::Environment::default()
        });
    });
    for client in 0..4 {
        sample.break_connection(client, 40);
        sample.reported(client, |reported| {
            reported.kernel_acknowledged_bytes = Some(60 * 32);
            let broken = v1::Failure::new(v1::FailureCode::ConnectionBroken, "it broke");
            reported.failure = Some(broken.with("address", "192.0.2.7:8888"));
        });
        sample.reported_counts(client, |counts| {
            counts.scheduled += 1;
            (counts.skipped, counts.blocked) = (1, 1);
        });
        sample.counted(client, |counted| {
            // Every counter of the list, also one that is added later.
            counted.counts = v1::ReceiverCounts {
                received: counted.counts.received,
                ..v1::ReceiverCounts::from_words(&std::array::from_fn(|word| 1 + word as u64))
            };
            counted.end = ClientEnd::Broken;
            counted.last_read_ns = START_NS + 1_500_000_000;
            counted.lateness_p99_ns = 1;
            counted.lateness_p99_9_ns = 2;
            counted.transit_p99_ns = 3;
            counted.latency_p99_ns = 4;
            counted.latency_max_ns = 5;
            counted.spread_p99_ns = 6;
            counted.timed = PerTime([1_000; 6]);
        });
    }
    let failure = v1::Failure::new(v1::FailureCode::AgentShutDown, "it was shut down");
    sample.agents[1].fail(failure);
    let counters = sample.counters();
    let mut times = super::samples::times(160);
    for times in [
        &mut times.lateness,
        &mut times.transit,
        &mut times.latency,
        &mut times.spread,
    ] {
        times.add_count(metronome_proto::histogram::BUCKETS - 1, 1);
    }
    counters.times = times;
    for worker in &mut counters.workers {
        worker.pid = 7;
        (worker.reads, worker.wakeups, worker.restarts) = (Some(3), Some(2), 1);
        (worker.pauses, worker.paused_ns) = (Some(2), Some(10));
    }
    counters.incidents.push(Incident {
        at_ns: 1,
        what: "worker died".into(),
        text: "Worker 0 died and was started anew.".into(),
    });
    sample
}
