//! The part of one agent in one run, with every limit checked once.
//!
//! Pure. It comes from a server's `Prepare` or from the flags of `metronome-agent run`.

use std::{ops::Range, time::Duration};

use metronome_proto::{
    features,
    handshake::{KEY_BYTES, Key},
    limits::{AGENTS_MAX, DURATION_MIN, THREADS_MAX},
    names::check_features,
    plan::{self, FieldError, FieldErrorKind, within},
    run_id::RunId,
    schedule::Schedule,
    share::Share,
    v1::{self, Failure, FailureCode},
};

use crate::{
    load::ticks::{self, Place},
    net::target::Target,
};

/// Longest time to connect that a server may allow.
const DEADLINE_MAX: Duration = Duration::from_secs(300);

/// What one agent does in a run.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    /// Its clients and the load of each.
    pub share: Share,
    /// Where to connect.
    pub target: Target,
    /// How long the load lasts: every packet of every client is due within it.
    pub duration: Duration,
    /// Pacing threads.
    pub threads: u32,
    /// The protocol of the connections.
    pub protocol: Protocol,
    /// Longest time to connect every client.
    pub deadline: Duration,
}

/// The protocol of the connections of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// Packets without meaning and nothing else: programs without Metronome's protocol send these.
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
    /// The same in the static run, in which every connection begins with a challenge from each
    /// side.
    Static {
        /// The key of which each connection has its own.
        key: Key,
    },
}

/// Why this agent cannot follow an order.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum BadOrder {
    /// It requires what this version does not have.
    #[error("{0:?} is no feature of this version")]
    Feature(String),
    /// A field that is missing, out of its range, or of a kind that this version does not have.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl BadOrder {
    /// The error as data.
    pub(crate) fn failure(&self) -> Failure {
        let failure = |code| Failure::new(code, self.to_string());
        match self {
            Self::Feature(feature) => {
                failure(FailureCode::Unsupported).with("feature", feature.as_str())
            }
            Self::Field(FieldError { field, kind, .. }) => match kind {
                FieldErrorKind::Unsupported => {
                    failure(FailureCode::Unsupported).with("field", field.as_str())
                }
                FieldErrorKind::OutOfRange => {
                    failure(FailureCode::OrderNotFollowed).with("field", field.as_str())
                }
            },
        }
    }
}

impl Assignment {
    /// Reads the order of a server. `server_host` replaces an empty host of the target.
    pub(crate) fn from_prepare(prepare: &v1::Prepare, server_host: &str) -> Result<Self, BadOrder> {
        check_features(&prepare.requires)
            .map_err(|problem| FieldError::out_of_range("requires", problem))?;
        if let Some(feature) = features::missing(&prepare.requires, features::CAPABILITIES) {
            return Err(BadOrder::Feature(feature.into()));
        }
        let below = |error: FieldError| error.below("shares[0]");
        let share = Share::try_from(the_share(&prepare.shares)?).map_err(below)?;
        let target = Target::parse(&share.address, server_host).map_err(|bad| {
            below(FieldError::out_of_range(
                "target.receivers.address",
                bad.to_string(),
            ))
        })?;
        Ok(Self {
            share,
            target,
            duration: plan::duration("duration", prepare.duration.as_ref(), DURATION_MIN)?,
            threads: within("threads", prepare.threads, 1, THREADS_MAX)?,
            protocol: protocol(prepare)?,
            deadline: deadline(prepare.deadline.as_ref())?,
        })
    }

    /// How many clients.
    pub(crate) fn client_count(&self) -> u32 {
        self.share.clients.end - self.share.clients.start
    }

    /// The schedule of a client of phase 0 when the run starts at `start_ns`. `None` for a flood.
    pub(crate) fn schedule(&self, start_ns: u64) -> Option<Schedule> {
        self.share.first_schedule(start_ns, self.duration)
    }

    /// The clients of each pacing thread: as even as can be, none empty.
    pub(super) fn clients_by_thread(&self) -> Vec<Range<u32>> {
        let clients = self.client_count();
        let threads = self.threads.clamp(1, clients);
        let cut = |thread: u32| {
            self.share.clients.start
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
            in_group: self.share.first_in_group + (client - self.share.clients.start),
            of_group: self.share.clients_total,
        };
        let room_ns = self
            .schedule(0)
            .map_or(0, |schedule| schedule.room_ns(self.duration_ns()));
        ticks::offset_ns(self.share.phase, room_ns, place)
    }

    /// How long the load lasts, ns.
    pub(crate) fn duration_ns(&self) -> u64 {
        u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX)
    }
}

fn the_share(shares: &[v1::AgentShare]) -> Result<&v1::AgentShare, FieldError> {
    match shares {
        [one] => Ok(one),
        [] => Err(FieldError::out_of_range("shares", "missing; 1 is needed")),
        several => {
            let problem = format!("{} shares; this version takes 1", several.len());
            Err(FieldError::unsupported("shares", problem))
        }
    }
}

fn protocol(prepare: &v1::Prepare) -> Result<Protocol, FieldError> {
    let key: [u8; KEY_BYTES] = prepare
        .key
        .as_slice()
        .try_into()
        .map_err(|_| FieldError::out_of_range("key", "a key has 32 bytes"))?;
    Ok(Protocol::Authenticated {
        run: prepare
            .run_id
            .parse()
            .map_err(|_| FieldError::out_of_range("run_id", "a run id is 16 hexadecimal digits"))?,
        agent: within("agent_index", prepare.agent_index, 0, AGENTS_MAX as u32 - 1)? as u16,
        key: Key::from_bytes(key),
    })
}

fn deadline(asked: Option<&prost_types::Duration>) -> Result<Duration, FieldError> {
    asked
        .and_then(plan::from_proto)
        .filter(|deadline| !deadline.is_zero() && *deadline <= DEADLINE_MAX)
        .ok_or_else(|| {
            FieldError::out_of_range("deadline", "it must be more than 0 s and at most 300 s")
        })
}

#[cfg(test)]
mod tests {
    use metronome_proto::profile::Profile;
    use proptest::prelude::*;

    use super::*;

    fn share() -> v1::AgentShare {
        v1::AgentShare {
            group: "default".into(),
            first_client: 10,
            clients: 10,
            clients_total: 20,
            profile: Some(Profile::constant(10_000_000).to_proto()),
            batch: 1,
            phase: v1::Phase::Spread.into(),
            target: target(":8888"),
            first_in_group: 10,
        }
    }

    fn target(address: &str) -> Option<v1::Target> {
        let address = address.into();
        Some(v1::Target {
            kind: Some(v1::target::Kind::Receivers(v1::Receivers { address })),
        })
    }

    fn prepare(share: v1::AgentShare) -> v1::Prepare {
        v1::Prepare {
            run_id: RunId::from_bits(7).to_string(),
            agent_index: 1,
            shares: vec![share],
            duration: Some(seconds(1, 0)),
            threads: 3,
            key: vec![1; 32],
            deadline: Some(seconds(10, 0)),
            traceparent: String::new(),
            tracestate: String::new(),
            requires: vec![features::CONSTANT.into()],
        }
    }

    fn seconds(seconds: i64, nanos: i32) -> prost_types::Duration {
        prost_types::Duration { seconds, nanos }
    }

    /// The failure of an order that is bad by one `change`.
    #[track_caller]
    fn failure(change: impl FnOnce(&mut v1::Prepare)) -> Failure {
        let mut prepare = prepare(share());
        change(&mut prepare);
        Assignment::from_prepare(&prepare, "h")
            .expect_err("a bad order")
            .failure()
    }

    #[track_caller]
    fn refused(field: &str, change: impl FnOnce(&mut v1::Prepare)) {
        let failure = failure(change);
        assert_eq!(failure.code(), FailureCode::OrderNotFollowed, "{failure:?}");
        assert_eq!(failure.figures["field"], field.into());
    }

    #[track_caller]
    fn unsupported(figure: &str, name: &str, change: impl FnOnce(&mut v1::Prepare)) {
        let failure = failure(change);
        assert_eq!(failure.code(), FailureCode::Unsupported, "{failure:?}");
        assert_eq!(failure.figures.len(), 1, "{failure:?}");
        assert_eq!(failure.figures[figure], name.into());
    }

    #[test]
    fn what_an_agent_cannot_follow_is_refused_by_the_name_of_its_field() {
        assert!(Assignment::from_prepare(&prepare(share()), "h").is_ok());
        refused("shares", |p| p.shares.clear());
        refused("shares[0].clients", |p| p.shares[0].clients = 0);
        for address in ["nowhere", "", ":0"] {
            refused("shares[0].target.receivers.address", |p| {
                p.shares[0].target = target(address);
            });
        }
        refused("shares[0].target", |p| p.shares[0].target = None);
        refused("shares[0].first_in_group", |p| {
            p.shares[0].first_in_group = 11;
        });
        refused("threads", |p| p.threads = 0);
        refused("threads", |p| p.threads = 65);
        refused("key", |p| p.key = vec![1; 31]);
        refused("run_id", |p| p.run_id = "\x1b[31m".into());
        refused("agent_index", |p| p.agent_index = 256);
        refused("requires", |p| p.requires = vec![String::new()]);
        refused("deadline", |p| p.deadline = None);
        for (s, nanos) in [
            (0, 0),
            (-1, 0),
            (301, 0),
            (i64::MIN, i32::MIN),
            (1, 1_000_000_000),
        ] {
            refused("deadline", |p| p.deadline = Some(seconds(s, nanos)));
        }
        refused("duration", |p| p.duration = None);
        for (s, nanos) in [(0, 0), (-1, 0), (86_400, 1), (i64::MIN, i32::MIN)] {
            refused("duration", |p| p.duration = Some(seconds(s, nanos)));
        }
    }

    #[test]
    fn what_this_version_does_not_have_is_unsupported_and_never_another_load() {
        unsupported("feature", "warp", |p| {
            p.requires = vec![features::FLOOD.into(), "warp".into()];
        });
        unsupported("field", "shares", |p| p.shares.push(share()));
        unsupported("field", "shares[0].phase", |p| p.shares[0].phase = 99);
        unsupported("field", "shares[0].profile", |p| {
            p.shares[0].profile = Some(v1::Profile { shape: None });
        });
        unsupported("field", "shares[0].target", |p| {
            p.shares[0].target = Some(v1::Target { kind: None });
        });
    }

    proptest! {
        #[test]
        fn threads_have_every_client_once_and_evenly(
            first in 0..100_u32, clients in 1..2000_u32, threads in 1..=64_u32,
        ) {
            let share = v1::AgentShare {
                first_client: first,
                clients,
                clients_total: clients,
                first_in_group: 0,
                profile: Some(Profile::constant(1000).to_proto()),
                ..share()
            };
            let prepare = v1::Prepare { threads, ..prepare(share) };
            let assignment = Assignment::from_prepare(&prepare, "h").unwrap();
            let ranges = assignment.clients_by_thread();
            prop_assert_eq!(ranges.len() as u32, threads.min(clients));
            prop_assert!(ranges.iter().cloned().flatten().eq(assignment.share.clients.clone()));
            let sizes = ranges.iter().map(|range| range.len());
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }

        #[test]
        fn a_group_is_spread_alike_however_its_clients_are_shared_out_and_numbered(
            clients in 2..300_u32, cut in 1..300_u32, first in 0..9_000_u32,
            threads in 1..=8_u32, rate_millihertz in 1..20_000_000_u64,
        ) {
            let cut = cut.min(clients - 1);
            let offsets_ns = |first_client, first_in_group, part| {
                let share = v1::AgentShare {
                    first_client,
                    clients: part,
                    clients_total: clients,
                    first_in_group,
                    profile: Some(Profile::constant(rate_millihertz).to_proto()),
                    ..share()
                };
                let prepare = v1::Prepare {
                    threads,
                    duration: Some(seconds(100, 0)),
                    ..prepare(share)
                };
                let assignment = Assignment::from_prepare(&prepare, "h").unwrap();
                let of = |range: Range<u32>| {
                    let clients = range.clone();
                    clients.map(|client| assignment.offset_ns(&range, client)).collect()
                };
                let ranges = assignment.clients_by_thread().into_iter();
                ranges.flat_map::<Vec<u64>, _>(of).collect::<Vec<u64>>()
            };
            // Other groups may have the indices between the two parts.
            let parts = [
                offsets_ns(first, 0, cut),
                offsets_ns(first + cut + 7, cut, clients - cut),
            ];
            let whole = offsets_ns(0, 0, clients);
            prop_assert_eq!(parts.concat(), &whole[..]);
            prop_assert_eq!(whole[0], 0);
        }

        #[test]
        fn offsets_rise_within_a_thread_and_no_packet_is_due_after_the_run(
            clients in 1..300_u32, threads in 1..=8_u32, rate_millihertz in 1..20_000_000_u64,
            ms in 1..100_000_i64, batch in 1..=1024_u32, phase in 1..=3,
        ) {
            let share = v1::AgentShare {
                first_client: 0,
                clients,
                clients_total: clients,
                first_in_group: 0,
                profile: Some(Profile::constant(rate_millihertz).to_proto()),
                batch,
                phase,
                ..share()
            };
            let prepare = v1::Prepare {
                threads,
                duration: Some(seconds(ms / 1000, (ms % 1000) as i32 * 1_000_000)),
                ..prepare(share)
            };
            let assignment = Assignment::from_prepare(&prepare, "h").unwrap();
            let schedule = assignment.schedule(0).unwrap();
            let last_ns = schedule.end_ns();
            for range in assignment.clients_by_thread() {
                let offset_ns = |client| assignment.offset_ns(&range, client);
                let offsets: Vec<u64> = range.clone().map(offset_ns).collect();
                prop_assert!(offsets.is_sorted());
                prop_assert!(offsets.iter().all(|offset| *offset < schedule.period_ns()));
                let is_in_time = |offset| offset + last_ns <= assignment.duration_ns();
                prop_assert!(offsets.iter().all(is_in_time));
            }
        }
    }
}
