//! What is written is read as the same plan.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use metronome_proto::{
    features::CAPABILITIES,
    limits::{BATCH_MAX, SEED_MAX, WRITE_BYTES_MAX},
    packet_size::PacketSize,
    payload::Records,
    plan::{ALLOWANCES, CLOCK_BOUND_NS_MAX},
    profile::{Step, Steps},
    threshold::Threshold,
};
use proptest::prelude::*;

use super::*;
use crate::plans::{file::PlanFile, payload::PayloadPart};

fn rates() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..=100_000_000_u64,
        (1..=100_000_u64).prop_map(|hz| hz * 1000)
    ]
}

fn spans_ns(ms_max: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        1_000_000..=ms_max * 1_000_000,
        (1..=ms_max).prop_map(|ms| ms * 1_000_000),
        (1..=ms_max.div_ceil(1000)).prop_map(|s| s * 1_000_000_000)
    ]
}

fn profiles() -> impl Strategy<Value = Profile> {
    let steps = prop::collection::vec((0..=1_000_000_u64, spans_ns(1000)), 1..5);
    prop_oneof![
        rates().prop_map(Profile::constant),
        rates().prop_map(|rate_millihertz| Profile::Poisson { rate_millihertz }),
        (1..1000_u32, spans_ns(5000))
            .prop_map(|(packets, every_ns)| Profile::Burst { packets, every_ns }),
        (0..=1_000_000_u64, rates()).prop_map(|(from_millihertz, to_millihertz)| Profile::Ramp {
            from_millihertz,
            to_millihertz
        }),
        (steps, rates()).prop_map(|(steps, last)| {
            let mut steps: Vec<Step> = steps
                .into_iter()
                .map(|(rate_millihertz, lasts_ns)| Step {
                    rate_millihertz,
                    lasts_ns,
                })
                .collect();
            steps.push(Step {
                rate_millihertz: last,
                lasts_ns: 0,
            });
            Profile::Steps(Steps::new(&steps).expect("few"))
        }),
        (rates(), spans_ns(5000), spans_ns(5000)).prop_map(|(rate_millihertz, on_ns, off_ns)| {
            Profile::OnOff {
                rate_millihertz,
                on_ns,
                off_ns,
            }
        }),
        Just(Profile::Flood),
    ]
}

fn groups() -> impl Strategy<Value = Group> {
    let phases = prop_oneof![
        Just(v1::Phase::Auto),
        Just(v1::Phase::Staggered),
        Just(v1::Phase::Spread),
        Just(v1::Phase::Aligned)
    ];
    let names = prop_oneof![
        "[a-z0-9-]{1,12}",
        Just("true".into()),
        Just("7".into()),
        Just("1e3".into())
    ];
    let targets = prop_oneof![Just(""), Just("host:7000"), Just("[::1]:1")];
    let agents = prop::collection::btree_set("[a-z0-9-]{1,5}|on|null|0x1", 0..4);
    let batches = 1..=BATCH_MAX;
    (
        names,
        1..600_u32,
        profiles(),
        batches,
        phases,
        agents,
        targets,
        sizes(),
    )
        .prop_map(
            |(name, clients, profile, batch, phase, agents, target, sized)| {
                let (packet_size, payload, echo_every) = sized;
                Group {
                    echo_every,
                    packet_size,
                    payload: match packet_size {
                        PacketSize::MIN => Payload::Zeros,
                        _ => payload,
                    },
                    name,
                    clients,
                    profile,
                    batch: match profile {
                        Profile::Poisson { .. } => 1,
                        _ => batch.min(WRITE_BYTES_MAX / packet_size.bytes() as u32),
                    },
                    phase,
                    agents: agents.into_iter().collect(),
                    target: target.into(),
                }
            },
        )
}

/// Sizes with payloads and echoes; records are two, and described.
fn sizes() -> impl Strategy<Value = (PacketSize, Payload, Option<NonZeroU32>)> {
    let sizes = prop_oneof![Just(32), 33..=1472_u32].prop_map(PacketSize::new);
    let names = prop_oneof![
        "[a-z0-9./ ]{1,20}",
        "[^\\x00/-][^\\x00/]{0,40}",
        Just("true".into()),
        Just("7".into())
    ];
    let shas = prop_oneof![any::<[u8; 32]>(), Just([0x11; 32]), Just([0xe0; 32])];
    let echoes = prop::option::of(1..=1_000_000_u32);
    (sizes, 0..4, names, shas, any::<bool>(), echoes).prop_map(
        |(size, kind, name, sha256, has_sha256, echo)| {
            let size = size.unwrap_or_default();
            let payload = match kind {
                0 => Payload::Zeros,
                1 => Payload::Pattern,
                2 => Payload::Records(Records {
                    name,
                    data: Arc::default(),
                    size: 2 * size.payload_bytes() as u64,
                    sha256,
                }),
                _ => Payload::AgentFile {
                    name: name
                        .replace('/', "-")
                        .replace("..", "two")
                        .replace('.', "_"),
                    sha256: has_sha256.then_some(sha256),
                },
            };
            (size, payload, echo.and_then(NonZeroU32::new))
        },
    )
}

fn plans() -> impl Strategy<Value = Plan> {
    let thresholds = [
        "lost==0",
        "latency.p99.9<200us",
        "kept_up>=99.95%",
        "spread.max<1s",
    ];
    let thresholds = prop::sample::subsequence(thresholds.to_vec(), 0..=4);
    let requires = prop::sample::subsequence(CAPABILITIES.to_vec(), 0..=3);
    (
        prop::collection::vec(groups(), 1..=4),
        spans_ns(86_400_000),
        0..900_000_u64,
        prop_oneof![Just(0), 1..=SEED_MAX],
        any::<(bool, bool)>(),
        (
            1..=64_u32,
            any::<bool>(),
            prop::option::of(1..=CLOCK_BOUND_NS_MAX),
        ),
        (
            thresholds,
            prop::sample::subsequence(ALLOWANCES.to_vec(), 0..=4),
        ),
        requires,
    )
        .prop_map(
            |(
                groups,
                duration_ns,
                warm_up,
                seed,
                (stops, defaults),
                (threads, ntp, bound_ns),
                (thresholds, allow),
                requires,
            )| {
                let duration = Duration::from_nanos(duration_ns);
                Plan {
                    groups,
                    duration,
                    warm_up: Duration::from_nanos(warm_up),
                    seed,
                    on_agent_loss: if stops {
                        v1::AgentLoss::Stop
                    } else {
                        v1::AgentLoss::Continue
                    },
                    threads,
                    clock_trust: ClockTrust { ntp, bound_ns },
                    allow,
                    thresholds: thresholds
                        .iter()
                        .map(|one| one.parse::<Threshold>().expect("one"))
                        .collect(),
                    has_default_objectives: defaults,
                    requires: requires.into_iter().map(ToOwned::to_owned).collect(),
                }
            },
        )
        .prop_filter("a plan", |plan| Plan::try_from(&plan.to_proto()).is_ok())
}

/// The plan that a text gives, its records as they are described: there are no files to be read.
fn read(text: &str) -> Plan {
    let mut file = PlanFile::parse(text).unwrap_or_else(|bad| panic!("{bad:?} in {text}"));
    let described = file.parts.groups.iter_mut().map(|group| {
        let part = group
            .payload
            .take_if(|part| matches!(part, PayloadPart::File { .. }));
        let size = group.packet_size.unwrap_or_default();
        part.map(|part| match part {
            PayloadPart::File { path, sha256 } => Payload::Records(Records {
                name: path,
                data: Arc::default(),
                size: 2 * size.payload_bytes() as u64,
                sha256: sha256.expect("what is written has one"),
            }),
            _ => unreachable!("it is a file"),
        })
    });
    let described: Vec<Option<Payload>> = described.collect();
    let plan = file.parts.plan(&mut |path| panic!("{path} is read"));
    let mut plan = plan.unwrap_or_else(|bad| panic!("{bad:?} in {text}"));
    for (group, payload) in plan.groups.iter_mut().zip(described) {
        group.payload = payload.unwrap_or_else(|| group.payload.clone());
    }
    plan
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_as_the_same_plan(plan in plans()) {
        prop_assert_eq!(read(&yaml(&plan)), plan.clone());
        prop_assert_eq!(read(&json(&plan)), plan);
    }
}

#[test]
fn a_plan_is_written_in_the_words_of_the_flags() {
    let plan = read(
        "{seed: 42, warm_up: 250ms, clock_trust: {ntp: true, bound: 1us}, allow: [frozen, STOLEN], \
         thresholds: ['lost==0'], groups: [\
         {name: sensors, clients: 1000, rate: 10, arrivals: poisson},\
         {name: 'no', rate: 1k, on: 2s, off: 1500us, agents: [a, '7'], target: 'h:1'},\
         {name: feeds, rate: '1k:5s,10k'},\
         {name: meters, packet_size: 200, payload: {file: data/day.bin, \
          sha256: aa23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}},\
         {name: own, packet_size: 33, payload: {agent_file: day-1}, echo_every: 100}]}",
    );
    let expected = "\
duration: 10s
warm_up: 250ms
seed: 42
threads: 1
on_agent_loss: continue
clock_trust: {bound: 1us, ntp: true}
allow: [\"STOLEN\", \"FROZEN\"]
thresholds: [\"lost==0\"]
groups:
  - name: sensors
    clients: 1000
    rate: 10
    arrivals: poisson
    packet_size: 32
    batch: 1
    phase: auto
  - name: \"no\"
    clients: 10
    rate: 1000
    \"on\": 2s
    \"off\": 1500us
    packet_size: 32
    batch: 1
    phase: auto
    agents: [\"7\", a]
    target: \"h:1\"
  - name: feeds
    clients: 10
    rate: \"1000:5s,10000\"
    packet_size: 32
    batch: 1
    phase: auto
  - name: meters
    clients: 10
    rate: 10000
    packet_size: 200
    # A run does not keep its records: the file is needed again, by its path from here.
    payload: {file: \"data/day.bin\", sha256: \
aa23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
    batch: 1
    phase: auto
  - name: own
    clients: 10
    rate: 10000
    packet_size: 33
    payload: {agent_file: day-1}
    batch: 1
    phase: auto
    echo_every: 100
";
    assert_eq!(yaml(&plan), expected);
}
