//! The part of one agent in one run, with every limit checked once.
//!
//! Pure. It comes from a server's `Prepare` or from the flags of `metronome-agent run`.

use std::{
    ops::{Range, RangeInclusive},
    time::Duration,
};

use metronome_proto::{
    features,
    handshake::{KEY_BYTES, Key},
    limits::{AGENTS_MAX, DURATION_MIN, GROUPS_MAX, SEED_MAX, THREADS_MAX},
    load::Load,
    names::check_features,
    plan::{self, FieldError, FieldErrorKind, within},
    run_id::RunId,
    share::Share,
    v1::{self, Failure, FailureCode},
};

use crate::{
    load::{
        phase::{self, Position, Room},
        threads::{self, ThreadPart},
    },
    net::target::Target,
};

/// Longest time to connect that a server may allow.
const DEADLINE_MAX: Duration = Duration::from_secs(300);

/// The time between two probes that a server may ask for.
const PROBE_EVERY: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(1);

/// What one agent does in a run.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    /// 1 to [`GROUPS_MAX`], with rising indices of clients.
    pub shares: Vec<TargetedShare>,
    /// How long the load lasts: every packet of every client is due within it.
    pub duration: Duration,
    /// Round trips of packets that are due before this time after the start are in no distribution.
    pub warm_up: Duration,
    /// What random arrivals are drawn from.
    pub seed: u64,
    /// Pacing threads.
    pub threads: u32,
    /// The protocol of the connections.
    pub protocol: Protocol,
    /// Longest time to connect every client.
    pub deadline: Duration,
    /// The time between two probes of the path and the clocks. `None`: no probes.
    pub probe_every: Option<Duration>,
}

/// What an agent brings of one group.
#[derive(Clone, Debug)]
pub(crate) struct TargetedShare {
    /// The clients and the load of each.
    pub share: Share,
    /// Where they connect.
    pub target: Target,
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
        let duration = plan::duration("duration", prepare.duration.as_ref(), DURATION_MIN)?;
        Ok(Self {
            shares: shares(&prepare.shares, duration, server_host)?,
            duration,
            warm_up: warm_up(prepare.warm_up.as_ref(), duration)?,
            seed: seed(prepare.seed)?,
            threads: within("threads", prepare.threads, 1, THREADS_MAX)?,
            protocol: protocol(prepare)?,
            deadline: deadline(prepare.deadline.as_ref())?,
            probe_every: probe_every(prepare.probe_every.as_ref())?,
        })
    }

    /// How many clients, of all shares.
    pub(crate) fn client_count(&self) -> u32 {
        self.shares
            .iter()
            .map(|of| of.share.clients.len() as u32)
            .sum()
    }

    /// The indices of all clients, rising.
    pub(crate) fn clients(&self) -> impl Iterator<Item = u32> {
        self.shares.iter().flat_map(|of| of.share.clients.clone())
    }

    /// The position of the share that has the client with this index; of one that none has, that of
    /// the last one.
    pub(crate) fn share_of(&self, client: u32) -> usize {
        let before = self
            .shares
            .partition_point(|of| of.share.clients.end <= client);
        before.min(self.shares.len().saturating_sub(1))
    }

    /// Whether the client with this index has no schedule.
    pub(crate) fn is_flood(&self, client: u32) -> bool {
        let share = self.shares.get(self.share_of(client));
        share.is_some_and(|of| of.share.profile.is_flood())
    }

    /// The names of the groups whose packets ask for replies, each once.
    pub(crate) fn echo_groups(&self) -> Vec<&str> {
        let shares = self.shares.iter().map(|of| &of.share);
        let mut names = Vec::new();
        for share in shares.filter(|share| share.echo_every.is_some()) {
            if !names.contains(&share.group.as_str()) {
                names.push(share.group.as_str());
            }
        }
        names
    }

    /// The group of each share, by its name.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.shares.iter().map(|of| of.share.group.as_str())
    }

    /// The place of the first share that is of the same group as this one.
    pub(super) fn place_of_group(&self, share: usize) -> usize {
        let name = self.groups().nth(share);
        self.groups()
            .position(|group| Some(group) == name)
            .unwrap_or(share)
    }

    /// The load of each client of a share.
    pub(crate) fn load(&self, share: &Share) -> Load {
        share.load(self.duration, self.seed)
    }

    /// What each pacing thread has of it.
    pub(super) fn thread_parts(&self) -> Vec<ThreadPart> {
        let shares = self.shares.iter().map(|of| &of.share);
        let clients = |share: &Share| (share.clients.clone(), share.profile.is_flood());
        threads::parts(&shares.map(clients).collect::<Vec<_>>(), self.threads)
    }

    /// How many pacing threads there are.
    pub(super) fn thread_count(&self) -> usize {
        self.thread_parts().len()
    }

    /// How much later than the run the clients of `range` start, ns, in their order; they are those
    /// that one thread has of `share`.
    pub(crate) fn offsets_ns(&self, share: &Share, range: &Range<u32>) -> Vec<u64> {
        let room = self.room(share);
        let offset_ns = |client: u32| {
            let position = Position {
                in_thread: client - range.start,
                of_thread: range.end - range.start,
                in_group: share.first_in_group + (client - share.clients.start),
                of_group: share.clients_total,
                group_begins: share.clients.start.saturating_sub(share.first_in_group),
            };
            phase::offset_ns(share.phase, room, position)
        };
        range.clone().map(offset_ns).collect()
    }

    /// The room for the clients of a share: a period at the lowest rate, bounded by the end.
    fn room(&self, share: &Share) -> Room {
        let load = self.load(share);
        let Some(schedule) = load.schedule(0, share.clients.start) else {
            return Room {
                ns: 0,
                shortest_ns: 0,
                writes: 1,
            };
        };
        let room_ns = schedule.room_ns(self.duration_ns());
        Room {
            ns: room_ns,
            shortest_ns: room_ns.min(load.shortest_gap_ns()),
            writes: schedule.due_together().div_ceil(schedule.batch()),
        }
    }

    /// When every client has to be connected, ns, if that is begun at `now_ns`.
    pub(crate) fn connected_by_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_add(self.deadline.as_nanos() as u64)
    }

    /// How long the load lasts, ns.
    pub(crate) fn duration_ns(&self) -> u64 {
        u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX)
    }
}

fn shares(
    shares: &[v1::AgentShare],
    duration: Duration,
    server_host: &str,
) -> Result<Vec<TargetedShare>, FieldError> {
    if !(1..=GROUPS_MAX).contains(&shares.len()) {
        let problem = format!("{} shares; 1 to {GROUPS_MAX} are allowed", shares.len());
        return Err(FieldError::out_of_range("shares", problem));
    }
    let checked = shares.iter().enumerate().map(|(index, share)| {
        targeted(share, duration, server_host)
            .map_err(|error| error.below(&format!("shares[{index}]")))
    });
    let checked: Vec<TargetedShare> = checked.collect::<Result<_, _>>()?;
    for (index, pair) in checked.windows(2).enumerate() {
        let (before, next) = (&pair[0].share.clients, &pair[1].share.clients);
        if next.start < before.end {
            let problem = format!(
                "{} is not behind the clients of the share before, {} to {}; shares have rising \
                 indices, and no client is in two",
                next.start,
                before.start,
                before.end - 1
            );
            let field = format!("shares[{}].first_client", index + 1);
            return Err(FieldError::out_of_range(field, problem));
        }
    }
    let groups = checked
        .iter()
        .map(|of| (of.share.profile, of.share.clients_total));
    plan::check_total_rate(groups)
        .map_err(|problem| FieldError::out_of_range("shares", problem))?;
    Ok(checked)
}

fn targeted(
    share: &v1::AgentShare,
    duration: Duration,
    server_host: &str,
) -> Result<TargetedShare, FieldError> {
    let share = Share::try_from(share)?;
    plan::check_duration(&share.load(duration, 0))?;
    let target = Target::parse(&share.address, server_host)
        .map_err(|bad| FieldError::out_of_range("target.receivers.address", bad.to_string()))?;
    Ok(TargetedShare { share, target })
}

fn warm_up(
    warm_up: Option<&prost_types::Duration>,
    duration: Duration,
) -> Result<Duration, FieldError> {
    let Some(warm_up) = warm_up else {
        return Ok(Duration::ZERO);
    };
    plan::from_proto(warm_up)
        .filter(|warm_up| *warm_up < duration)
        .ok_or_else(|| {
            let problem = format!("it must be at least 0 s and less than the run, {duration:?}");
            FieldError::out_of_range("warm_up", problem)
        })
}

fn seed(seed: u64) -> Result<u64, FieldError> {
    if (1..=SEED_MAX).contains(&seed) {
        return Ok(seed);
    }
    let problem = format!("{seed} is out of range; 1 to {SEED_MAX} are allowed");
    Err(FieldError::out_of_range("seed", problem))
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

fn probe_every(asked: Option<&prost_types::Duration>) -> Result<Option<Duration>, FieldError> {
    let in_range = |asked| {
        let every = plan::from_proto(asked);
        every
            .filter(|every| PROBE_EVERY.contains(every))
            .ok_or_else(|| FieldError::out_of_range("probe_every", "20 ms to 1 s are allowed"))
    };
    asked.map(in_range).transpose()
}

#[cfg(test)]
mod tests;
