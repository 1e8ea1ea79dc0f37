//! The load of a client as words: in the slot of its connection, and in the message by which the
//! workers are to admit it.
//!
//! | words | figure |
//! |---|---|
//! | 0 | shape, 8 bits, 0 for no load; steps, 8; bytes a packet, 16; packets a write, 32 |
//! | 1, 2, 3 | duration in ns, seed, warm-up of the run in ns |
//! | 4 … | what the shape has: rates in millihertz, times in ns, packets; of each step two words |
//!
//! Words are not trusted: what no checked plan can have is no load. Words that a shape does not
//! need are neither written nor read.

use std::time::Duration;

use metronome_proto::{
    limits::{BATCH_MAX, DURATION_MAX, DURATION_MIN, SEED_MAX, STEPS_MAX, WRITE_BYTES_MAX},
    load::Load,
    packet_size::PacketSize,
    profile::{Profile, Step, Steps},
};

/// Words that the largest load takes, in whole cache lines.
pub(crate) const LOAD_WORDS: usize = 72;

/// Words in front of those of the shape.
const SHAPE_AT: usize = 4;

const _: () = assert!(SHAPE_AT + 2 * STEPS_MAX <= LOAD_WORDS);

/// What is asked of a client that the control plane has sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ClientLoad {
    pub(crate) load: Load,
    /// Packets due before this time after the start of the run are in no histogram, ns.
    pub(crate) warm_up_ns: u64,
    /// Bytes of each of its packets, and of every other frame after its hello.
    pub(crate) packet_size: PacketSize,
}

impl ClientLoad {
    /// Hands each word that it needs to `put`, with its index.
    pub(crate) fn put_words(&self, mut put: impl FnMut(usize, u64)) {
        let Load {
            profile,
            duration,
            batch,
            seed,
        } = self.load;
        put(1, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        put(2, seed);
        put(3, self.warm_up_ns);
        let mut steps = 0;
        let (shape, words) = match profile {
            Profile::Flood => (1, [0; 3]),
            Profile::Constant { rate_millihertz } => (2, [rate_millihertz, 0, 0]),
            Profile::Poisson { rate_millihertz } => (3, [rate_millihertz, 0, 0]),
            Profile::Burst { packets, every_ns } => (4, [packets.into(), every_ns, 0]),
            Profile::Ramp {
                from_millihertz,
                to_millihertz,
            } => (5, [from_millihertz, to_millihertz, 0]),
            Profile::OnOff {
                rate_millihertz,
                on_ns,
                off_ns,
            } => (6, [rate_millihertz, on_ns, off_ns]),
            Profile::Steps(of) => {
                steps = of.as_slice().len() as u64;
                for (at, step) in (SHAPE_AT..).step_by(2).zip(of.as_slice()) {
                    put(at, step.rate_millihertz);
                    put(at + 1, step.lasts_ns);
                }
                (7, [0; 3])
            }
        };
        if steps == 0 {
            (SHAPE_AT..).zip(words).for_each(|(at, word)| put(at, word));
        }
        let packet_bytes = self.packet_size.bytes() as u64;
        put(
            0,
            shape | steps << 8 | packet_bytes << 16 | u64::from(batch) << 32,
        );
    }

    /// The load, if it is one that a checked plan can have.
    pub(crate) fn from_words(words: &[u64; LOAD_WORDS]) -> Option<Self> {
        let (of_shape, _) = words[SHAPE_AT..].as_chunks::<2>();
        let [one, two, three] = [0, 1, 2].map(|index| words[SHAPE_AT + index]);
        let profile = match words[0] as u8 {
            1 => Profile::Flood,
            2 => Profile::constant(one),
            3 => Profile::Poisson {
                rate_millihertz: one,
            },
            4 => Profile::Burst {
                packets: u32::try_from(one).ok()?,
                every_ns: two,
            },
            5 => Profile::Ramp {
                from_millihertz: one,
                to_millihertz: two,
            },
            6 => Profile::OnOff {
                rate_millihertz: one,
                on_ns: two,
                off_ns: three,
            },
            7 => {
                let step = |[rate_millihertz, lasts_ns]: &[u64; 2]| Step {
                    rate_millihertz: *rate_millihertz,
                    lasts_ns: *lasts_ns,
                };
                let steps: Vec<_> = of_shape.iter().map(step).collect();
                let len = usize::from((words[0] >> 8) as u8);
                Profile::Steps(Steps::new(steps.get(..len)?)?)
            }
            _ => return None,
        };
        let load = Load {
            profile,
            duration: Duration::from_nanos(words[1]),
            batch: (words[0] >> 32) as u32,
            seed: words[2],
        };
        let warm_up_ns = words[3];
        let packet_size = PacketSize::new(u32::from((words[0] >> 16) as u16))?;
        let write_bytes = packet_size.bytes() as u64 * u64::from(load.batch);
        let is_possible = is_possible(&load)
            && warm_up_ns < words[1]
            && write_bytes <= u64::from(WRITE_BYTES_MAX);
        is_possible.then_some(Self {
            load,
            warm_up_ns,
            packet_size,
        })
    }
}

/// Whether a checked plan can have such a load.
fn is_possible(load: &Load) -> bool {
    let batches = match load.profile {
        Profile::Poisson { .. } => 1..=1,
        _ => 1..=BATCH_MAX,
    };
    let last_begins = match load.profile {
        Profile::Steps(steps) => Duration::from_nanos(steps.last_begins_ns()),
        _ => Duration::ZERO,
    };
    // The form of the API is the one whose ranges are checked.
    Profile::try_from(&load.profile.to_proto()) == Ok(load.profile)
        && (DURATION_MIN..=DURATION_MAX).contains(&load.duration)
        && batches.contains(&load.batch)
        && load.seed <= SEED_MAX
        && last_begins < load.duration
        && load.has_a_period()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const NS_PER_S: u64 = 1_000_000_000;

    fn rates() -> impl Strategy<Value = u64> {
        prop_oneof![
            1..=1_000_000_000_u64,
            900_000_000..=1_000_000_000_u64,
            1_000..1_000_000_u64
        ]
    }

    fn steps() -> impl Strategy<Value = Profile> {
        let rates = prop_oneof![1 => Just(0), 4 => rates()];
        let step = (rates, 1..NS_PER_S).prop_map(|(rate_millihertz, lasts_ns)| Step {
            rate_millihertz,
            lasts_ns,
        });
        prop::collection::vec(step, 1..=STEPS_MAX).prop_filter_map("all are silent", |mut steps| {
            steps.last_mut()?.lasts_ns = 0;
            let has_rate = steps.iter().any(|step| step.rate_millihertz > 0);
            Steps::new(&steps).filter(|_| has_rate).map(Profile::Steps)
        })
    }

    pub(crate) fn profiles() -> impl Strategy<Value = Profile> {
        prop_oneof![
            rates().prop_map(Profile::constant),
            // As many as a test can go through one by one.
            (1..=100_000_u64).prop_map(|rate_millihertz| Profile::Poisson { rate_millihertz }),
            (1..=2_000_u32, 1_u64..=1_000).prop_map(|(packets, of_each)| Profile::Burst {
                packets,
                every_ns: u64::from(packets) * 1_000 * of_each,
            }),
            (rates(), rates(), 0..3_u8).prop_map(|(from, to, silent)| Profile::Ramp {
                from_millihertz: if silent == 1 { 0 } else { from },
                to_millihertz: if silent == 2 { 0 } else { to },
            }),
            (rates(), 1..2 * NS_PER_S, 1..NS_PER_S).prop_map(|(rate_millihertz, on_ns, off_ns)| {
                Profile::OnOff {
                    rate_millihertz,
                    on_ns,
                    off_ns,
                }
            }),
            steps(),
        ]
    }

    /// Loads of every shape with a schedule, that a checked plan can have.
    pub(crate) fn loads() -> impl Strategy<Value = ClientLoad> {
        let durations_ns = 1_000_000..100 * NS_PER_S;
        (
            profiles(),
            durations_ns,
            1..=BATCH_MAX,
            1..=SEED_MAX,
            0.0..1.0,
            32..=1472_u32,
        )
            .prop_filter_map(
                "no plan can have it",
                |(profile, duration_ns, batch, seed, warm_up, packet_bytes)| {
                    let is_random = matches!(profile, Profile::Poisson { .. });
                    let load = Load {
                        profile,
                        duration: Duration::from_nanos(duration_ns),
                        batch: if is_random { 1 } else { batch },
                        seed,
                    };
                    let warm_up_ns = (duration_ns as f64 * (warm_up - 0.5)) as u64;
                    is_possible(&load).then_some(ClientLoad {
                        load,
                        warm_up_ns,
                        packet_size: PacketSize::new(packet_bytes.min(WRITE_BYTES_MAX / batch))?,
                    })
                },
            )
    }

    fn words_of(load: &ClientLoad) -> [u64; LOAD_WORDS] {
        let mut words = [0; LOAD_WORDS];
        load.put_words(|at, word| words[at] = word);
        words
    }

    proptest! {
        #[test]
        fn a_load_survives_its_words(load in loads()) {
            prop_assert_eq!(ClientLoad::from_words(&words_of(&load)), Some(load));
        }

        #[test]
        fn any_words_are_a_load_that_a_plan_can_have_or_none(
            shape in 0..10_u64,
            steps in 0..40_u64,
            batch in 0..2_000_u64,
            words in prop::collection::vec(
                prop_oneof![any::<u64>(), 0..10_u64, 0..10_000_000_000_u64],
                LOAD_WORDS - 1,
            ),
        ) {
            let mut all = [shape | steps << 8 | batch << 32; LOAD_WORDS];
            all[1..].copy_from_slice(&words);
            if let Some(load) = ClientLoad::from_words(&all) {
                prop_assert!(is_possible(&load.load));
                prop_assert_eq!(ClientLoad::from_words(&words_of(&load)), Some(load));
                let schedule = load.load.schedule(0, 7);
                prop_assert_eq!(schedule.is_none(), load.load.profile.is_flood());
            }
        }
    }

    #[test]
    fn what_no_plan_can_have_is_no_load() {
        let flood = ClientLoad {
            packet_size: PacketSize::MIN,
            load: Load {
                profile: Profile::Flood,
                duration: Duration::from_secs(1),
                batch: 1024,
                seed: SEED_MAX,
            },
            warm_up_ns: NS_PER_S - 1,
        };
        let whole = words_of(&flood);
        assert_eq!(ClientLoad::from_words(&whole), Some(flood));
        for (at, word) in [
            (0, 0),
            (0, 8 | 1 << 32),
            (0, 1),
            (0, 1 | 1025 << 32),
            (0, 2 | 1 << 32),
            (1, 999_999),
            (1, u64::MAX),
            (2, SEED_MAX + 1),
            (3, NS_PER_S),
        ] {
            let mut words = whole;
            words[at] = word;
            assert_eq!(ClientLoad::from_words(&words), None, "{at} {word}");
        }
    }
}
