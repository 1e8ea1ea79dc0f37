//! The share of one agent in one run, with every limit checked once.
//!
//! Pure. It comes from a server's `Prepare` or from the flags of `metronome-agent run`.

use std::{ops::Range, time::Duration};

use metronome_proto::{
    handshake::{KEY_BYTES, Key},
    plan::{BATCH_MAX, CLIENTS_MAX, DURATION_MAX, RATE_HZ_MAX, THREADS_MAX, TOTAL_RATE_HZ_MAX},
    rate::Rate,
    run_id::RunId,
    schedule::Schedule,
    v1,
};

use crate::{
    load::ticks::{self, Place},
    net::target::{BadTarget, Target},
};

/// Longest time to connect that a server may allow.
const DEADLINE_MAX: Duration = Duration::from_secs(300);
/// Highest index of an agent in a run.
const AGENT_INDEX_MAX: u32 = 255;

/// One agent's share of a run.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    /// Where to connect.
    pub target: Target,
    /// Indices of its clients within the run.
    pub clients: Range<u32>,
    /// Clients of the run, those of other agents included.
    pub clients_total: u32,
    /// What each client sends, and how fast.
    pub load: Load,
    /// How long the load lasts: every packet of every client is due within it.
    pub duration: Duration,
    /// Packets per write.
    pub batch: u32,
    /// Never unspecified.
    pub phase: v1::Phase,
    /// Pacing threads.
    pub threads: u32,
    /// The protocol of the connections.
    pub protocol: Protocol,
    /// Longest time to connect every client.
    pub deadline: Duration,
}

/// What each client sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Load {
    /// Packets that are due by a schedule.
    Paced {
        /// Packets per 1000 s.
        rate_millihertz: u64,
        /// At least 1.
        packets_per_client: u64,
    },
    /// Without a schedule: as many packets as the connection takes.
    Flood,
}

/// The protocol of the connections of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// Packets without meaning and nothing else, as the seed's client sends them.
    Raw,
    /// Hello, verified answer, packets, end, verified answer.
    Authenticated {
        /// The run.
        run: RunId,
        /// Index of this agent in the run.
        agent: u16,
        /// Authenticates the frames.
        key: Key,
    },
}

/// A field of a `Prepare` that this agent cannot follow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadPrepare {
    /// A number out of its range.
    #[error("{field}: {value} is out of range; this agent takes {min} to {max}")]
    Range {
        /// Its name in the API.
        field: &'static str,
        /// The value that came.
        value: u64,
        /// Lowest allowed.
        min: u64,
        /// Highest allowed.
        max: u64,
    },
    /// Neither HOST:PORT nor :PORT.
    #[error("target: {0}")]
    Target(#[from] BadTarget),
    /// A value of another kind that cannot be used.
    #[error("{field}: {problem}")]
    Other {
        /// Its name in the API.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Assignment {
    /// Reads the order of a server. `server_host` replaces an empty host of the target;
    /// `clients_max` is the agent's own limit.
    pub(crate) fn from_prepare(
        prepare: &v1::Prepare,
        server_host: &str,
        clients_max: u32,
    ) -> Result<Self, BadPrepare> {
        let clients = within("clients", prepare.clients, 1, clients_max)?;
        let first = within(
            "first_client",
            prepare.first_client,
            0,
            CLIENTS_MAX - clients,
        )?;
        let assignment = Self {
            target: Target::parse(&prepare.target, server_host)?,
            clients: first..first + clients,
            clients_total: within(
                "clients_total",
                prepare.clients_total,
                first + clients,
                CLIENTS_MAX,
            )?,
            load: load(prepare)?,
            duration: schedule_duration(prepare.duration.as_ref())?,
            batch: within("batch", prepare.batch, 1, BATCH_MAX)?,
            phase: phase(prepare.phase)?,
            threads: within("threads", prepare.threads, 1, THREADS_MAX)?,
            protocol: protocol(prepare)?,
            deadline: deadline(prepare.deadline.as_ref())?,
        };
        assignment.check_volume()?;
        Ok(assignment)
    }

    /// How many clients.
    pub(crate) fn client_count(&self) -> u32 {
        self.clients.end - self.clients.start
    }

    /// How fast each client sends.
    pub(crate) fn rate(&self) -> Rate {
        match self.load {
            Load::Paced {
                rate_millihertz, ..
            } => Rate::Millihertz(rate_millihertz),
            Load::Flood => Rate::Max,
        }
    }

    /// The schedule of a client of phase 0 when the run starts at `start_ns`. `None` for a flood.
    pub(crate) fn schedule(&self, start_ns: u64) -> Option<Schedule> {
        match self.load {
            Load::Paced {
                rate_millihertz,
                packets_per_client,
            } => Some(Schedule {
                start_ns,
                rate_millihertz,
                batch: self.batch,
                packets: packets_per_client,
            }),
            Load::Flood => None,
        }
    }

    /// The clients of each pacing thread: as even as can be, none empty.
    pub(super) fn clients_by_thread(&self) -> Vec<Range<u32>> {
        let clients = self.client_count();
        let threads = self.threads.clamp(1, clients);
        let cut = |thread: u32| {
            self.clients.start
                + (u64::from(clients) * u64::from(thread) / u64::from(threads)) as u32
        };
        (0..threads)
            .map(|thread| cut(thread)..cut(thread + 1))
            .collect()
    }

    /// How much later than the run `client` starts, ns; `of_thread` are the clients of its thread.
    pub(crate) fn offset_ns(&self, of_thread: &Range<u32>, client: u32) -> u64 {
        let place = Place {
            in_thread: client - of_thread.start,
            of_thread: of_thread.end - of_thread.start,
            in_run: client,
            of_run: self.clients_total,
        };
        let room_ns = self
            .schedule(0)
            .map_or(0, |schedule| schedule.room_ns(self.duration_ns()));
        ticks::offset_ns(self.phase, room_ns, place)
    }

    /// How long the load lasts, ns.
    pub(crate) fn duration_ns(&self) -> u64 {
        u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Checks that no server makes an agent send more, or for longer, than a plan may ask for.
    fn check_volume(&self) -> Result<(), BadPrepare> {
        let Load::Paced {
            rate_millihertz,
            packets_per_client,
        } = self.load
        else {
            return Ok(());
        };
        let packets_max = u128::from(rate_millihertz) * u128::from(DURATION_MAX.as_secs()) / 1000;
        let packets_max = u64::try_from(packets_max).unwrap_or(u64::MAX).max(1);
        range("packets_per_client", packets_per_client, 1, packets_max)?;
        let total_millihertz_max = (TOTAL_RATE_HZ_MAX * 1e3) as u64;
        range(
            "rate_millihertz",
            rate_millihertz,
            1,
            total_millihertz_max / u64::from(self.client_count()),
        )?;
        Ok(())
    }
}

fn load(prepare: &v1::Prepare) -> Result<Load, BadPrepare> {
    if prepare.flood {
        range("rate_millihertz", prepare.rate_millihertz, 0, 0)?;
        return Ok(Load::Flood);
    }
    let rate_millihertz = range(
        "rate_millihertz",
        prepare.rate_millihertz,
        1,
        (RATE_HZ_MAX * 1e3) as u64,
    )?;
    Ok(Load::Paced {
        rate_millihertz,
        packets_per_client: prepare.packets_per_client,
    })
}

fn protocol(prepare: &v1::Prepare) -> Result<Protocol, BadPrepare> {
    let other = |field, problem| BadPrepare::Other { field, problem };
    let key: [u8; KEY_BYTES] = prepare
        .key
        .as_slice()
        .try_into()
        .map_err(|_| other("key", "a key has 32 bytes"))?;
    Ok(Protocol::Authenticated {
        run: prepare
            .run_id
            .parse()
            .map_err(|_| other("run_id", "a run id is 16 hexadecimal digits"))?,
        agent: within("agent_index", prepare.agent_index, 0, AGENT_INDEX_MAX)? as u16,
        key: Key::from_bytes(key),
    })
}

fn phase(asked: i32) -> Result<v1::Phase, BadPrepare> {
    match v1::Phase::try_from(asked) {
        Ok(v1::Phase::Unspecified) => Ok(v1::Phase::Staggered),
        Ok(phase) => Ok(phase),
        Err(_) => Err(BadPrepare::Other {
            field: "phase",
            problem: "this agent has no such phase",
        }),
    }
}

fn deadline(asked: Option<&prost_types::Duration>) -> Result<Duration, BadPrepare> {
    let error = BadPrepare::Other {
        field: "deadline",
        problem: "it must be more than 0 s and at most 300 s",
    };
    asked
        .and_then(duration)
        .filter(|deadline| !deadline.is_zero() && *deadline <= DEADLINE_MAX)
        .ok_or(error)
}

fn schedule_duration(asked: Option<&prost_types::Duration>) -> Result<Duration, BadPrepare> {
    let error = BadPrepare::Other {
        field: "duration",
        problem: "it must be more than 0 s and at most 24 h",
    };
    asked
        .and_then(duration)
        .filter(|duration| !duration.is_zero() && *duration <= DURATION_MAX)
        .ok_or(error)
}

/// A duration from the wire, which may hold anything. `None` when it is negative or malformed.
pub(crate) fn duration(wire: &prost_types::Duration) -> Option<Duration> {
    // Not Duration::try_from: prost-types 0.14 overflows on the lowest i64, which a peer may send.
    let seconds = u64::try_from(wire.seconds).ok()?;
    let nanos = u32::try_from(wire.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

fn within(field: &'static str, value: u32, min: u32, max: u32) -> Result<u32, BadPrepare> {
    range(field, value.into(), min.into(), max.into()).map(|_| value)
}

fn range(field: &'static str, value: u64, min: u64, max: u64) -> Result<u64, BadPrepare> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(BadPrepare::Range {
            field,
            value,
            min,
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::plan::Plan;
    use proptest::prelude::*;

    use super::*;

    fn prepare() -> v1::Prepare {
        v1::Prepare {
            run_id: RunId::from_bits(7).to_string(),
            target: ":8888".into(),
            agent_index: 1,
            first_client: 10,
            clients: 10,
            packets_per_client: 1000,
            rate_millihertz: 10_000_000,
            batch: 1,
            phase: v1::Phase::Spread.into(),
            threads: 3,
            key: vec![1; 32],
            deadline: Some(prost_types::Duration {
                seconds: 10,
                nanos: 0,
            }),
            traceparent: String::new(),
            clients_total: 20,
            duration: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            flood: false,
        }
    }

    #[track_caller]
    fn refused(field: &str, change: impl FnOnce(&mut v1::Prepare)) {
        let mut prepare = prepare();
        change(&mut prepare);
        let error = Assignment::from_prepare(&prepare, "h", 100)
            .expect_err(field)
            .to_string();
        assert!(error.starts_with(field), "{error}");
    }

    #[test]
    fn what_an_agent_cannot_follow_is_refused_by_the_name_of_its_field() {
        assert!(Assignment::from_prepare(&prepare(), "h", 100).is_ok());
        refused("clients:", |p| p.clients = 0);
        refused("clients:", |p| p.clients = 101);
        refused("first_client:", |p| p.first_client = u32::MAX);
        refused("clients_total:", |p| p.clients_total = 19);
        refused("packets_per_client:", |p| p.packets_per_client = 0);
        refused("packets_per_client:", |p| {
            p.packets_per_client = 864_000_001;
        });
        refused("rate_millihertz:", |p| p.rate_millihertz = 0);
        refused("rate_millihertz:", |p| p.rate_millihertz = u64::MAX);
        refused("rate_millihertz:", |p| p.flood = true);
        refused("rate_millihertz:", |p| {
            (p.rate_millihertz, p.clients, p.clients_total) = (1_000_000_000, 100, 200);
        });
        refused("batch:", |p| p.batch = 0);
        refused("phase:", |p| p.phase = -1);
        refused("threads:", |p| p.threads = 65);
        refused("key:", |p| p.key = vec![1; 31]);
        refused("run_id:", |p| p.run_id = "\x1b[31m".into());
        refused("agent_index:", |p| p.agent_index = 256);
        refused("target:", |p| p.target = "nowhere".into());
        refused("deadline:", |p| p.deadline = None);
        for (seconds, nanos) in [
            (0, 0),
            (-1, 0),
            (301, 0),
            (i64::MIN, i32::MIN),
            (1, 1_000_000_000),
        ] {
            refused("deadline:", |p| {
                p.deadline = Some(prost_types::Duration { seconds, nanos });
            });
        }
        refused("duration:", |p| p.duration = None);
        for (seconds, nanos) in [(0, 0), (-1, 0), (86_400, 1), (i64::MIN, i32::MIN)] {
            refused("duration:", |p| {
                p.duration = Some(prost_types::Duration { seconds, nanos });
            });
        }
    }

    proptest! {
        #[test]
        fn threads_have_every_client_once_and_evenly(
            first in 0..100_u32, clients in 1..2000_u32, threads in 1..=64_u32,
        ) {
            let prepare = v1::Prepare {
                first_client: first,
                clients,
                threads,
                clients_total: first + clients,
                rate_millihertz: 1000,
                ..prepare()
            };
            let assignment = Assignment::from_prepare(&prepare, "h", CLIENTS_MAX).unwrap();
            let ranges = assignment.clients_by_thread();
            prop_assert_eq!(ranges.len() as u32, threads.min(clients));
            prop_assert!(ranges.iter().cloned().flatten().eq(assignment.clients.clone()));
            let sizes = ranges.iter().map(|range| range.len());
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }

        #[test]
        fn offsets_rise_within_a_lane_and_no_packet_is_due_after_the_run(
            clients in 1..300_u32, threads in 1..=8_u32, rate_hz in 0.001..20_000.0_f64,
            ms in 1..100_000_i64, batch in 1..=1024_u32, phase in 1..=3,
        ) {
            let nanos = (ms % 1000) as i32 * 1_000_000;
            let duration = prost_types::Duration { seconds: ms / 1000, nanos };
            let asked = v1::Plan {
                clients,
                rate_hz,
                duration: Some(duration),
                batch,
                phase,
                threads,
                ..v1::Plan::default()
            };
            let plan = Plan::try_from(&asked).unwrap();
            let prepare = v1::Prepare {
                first_client: 0,
                clients,
                threads,
                clients_total: clients,
                rate_millihertz: (plan.rate_hz() * 1e3).round() as u64,
                batch,
                phase,
                packets_per_client: plan.packets_per_client().unwrap(),
                duration: Some(duration),
                ..prepare()
            };
            let assignment = Assignment::from_prepare(&prepare, "h", CLIENTS_MAX).unwrap();
            let schedule = assignment.schedule(0).unwrap();
            let last_ns = schedule.end_ns();
            for range in assignment.clients_by_thread() {
                let offset_ns = |client| assignment.offset_ns(&range, client);
                let offsets: Vec<u64> = range.clone().map(offset_ns).collect();
                prop_assert!(offsets.is_sorted());
                prop_assert!(offsets.iter().all(|offset| *offset < schedule.period_ns()));
                let is_in_time =
                    |offset| u128::from(offset + last_ns) <= plan.duration.as_nanos();
                prop_assert!(offsets.iter().all(is_in_time));
            }
        }
    }
}
