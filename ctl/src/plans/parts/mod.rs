//! What may be given of a plan, each part by its key, and the plan that the parts make.
//!
//! The keys are the words of the flags. A part that is not given has the default that is written
//! here, or that of the server.

mod spot;
mod thresholds;

use std::time::Duration;

use clap::ValueEnum;
use metronome_proto::{
    batch::Batch,
    limits::THREADS_MAX,
    packet_size::PacketSize,
    plan::{ClockTrust, FieldErrorKind, Plan},
    profile::{
        Profile,
        flags::{Arrivals, from_parts},
    },
    threshold::{Threshold, text::AskedThreshold},
    v1::{self, Allowance, target::Kind},
};

pub(crate) use self::spot::{BadPlan, GROUP_KEYS, PLAN_KEYS, Spot};
use self::thresholds::Placed;
use super::payload::{PayloadPart, ReadFile};
use crate::flags;

/// Clients of a group when none are given.
pub(crate) const CLIENTS_DEFAULT: u32 = 10;
/// How long a run lasts when nothing is given.
pub(crate) const DURATION_DEFAULT: Duration = Duration::from_secs(10);

/// What is given of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PlanParts {
    pub(crate) requires: Vec<String>,
    pub(crate) duration: Option<Duration>,
    pub(crate) warm_up: Option<Duration>,
    pub(crate) seed: Option<u64>,
    pub(crate) threads: Option<u32>,
    pub(crate) on_agent_loss: Option<AgentLoss>,
    pub(crate) clock_trust: ClockTrust,
    pub(crate) allow: Vec<Allowance>,
    pub(crate) thresholds: Vec<AskedThreshold>,
    pub(crate) default_objectives: Option<bool>,
    pub(crate) abort_on_fail: Option<bool>,
    pub(crate) groups: Vec<GroupParts>,
}

/// What is given of a group of clients.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GroupParts {
    pub(crate) name: Option<String>,
    pub(crate) clients: Option<u32>,
    pub(crate) rate: Option<Profile>,
    pub(crate) arrivals: Option<Arrivals>,
    pub(crate) burst: Option<u32>,
    pub(crate) every: Option<Duration>,
    pub(crate) on: Option<Duration>,
    pub(crate) off: Option<Duration>,
    pub(crate) packet_size: Option<PacketSize>,
    pub(crate) payload: Option<PayloadPart>,
    pub(crate) batch: Option<Batch>,
    pub(crate) phase: Option<Phase>,
    /// 1 or more.
    pub(crate) echo_every: Option<u32>,
    /// Names; empty for all.
    pub(crate) agents: Vec<String>,
    pub(crate) target: Option<String>,
    pub(crate) thresholds: Vec<Threshold>,
}

/// The phases of `v1::Phase` without the unspecified one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Phase {
    /// Small sets of clients, spread over the period: few wake-ups, and no client waits for many
    /// others.
    Auto,
    /// One after the other, a few µs apart, all served by one wake-up.
    Staggered,
    /// Evenly over the period, a wake-up per packet.
    Spread,
    /// All at the same instant: the hardest load on the receiver.
    Aligned,
}

impl From<Phase> for v1::Phase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Auto => Self::Auto,
            Phase::Staggered => Self::Staggered,
            Phase::Spread => Self::Spread,
            Phase::Aligned => Self::Aligned,
        }
    }
}

/// What `v1::AgentLoss` offers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum AgentLoss {
    /// The others go on with their shares.
    Continue,
    /// The run ends at once.
    Stop,
}

impl From<AgentLoss> for v1::AgentLoss {
    fn from(loss: AgentLoss) -> Self {
        match loss {
            AgentLoss::Continue => Self::Continue,
            AgentLoss::Stop => Self::Stop,
        }
    }
}

fn word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let words = T::value_variants().iter();
        let words: Vec<_> = words.filter_map(ValueEnum::to_possible_value).collect();
        let words: Vec<_> = words.iter().map(|word| word.get_name()).collect();
        format!("one of {} is allowed", words.join(", "))
    })
}

impl GroupParts {
    /// Sets a part from its text; `None` when there is no such key.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Option<Result<(), String>> {
        Some(self.try_set(key, text).transpose()?.map(|_| ()))
    }

    fn try_set(&mut self, key: &str, text: &str) -> Result<Option<()>, String> {
        match key {
            "name" => self.name = Some(text.into()),
            "clients" => self.clients = Some(flags::clients(text)?),
            "rate" => self.rate = Some(text.parse()?),
            "arrivals" => self.arrivals = Some(text.parse()?),
            "burst" => self.burst = Some(flags::burst(text)?),
            "every" => self.every = Some(flags::span(text)?),
            "on" => self.on = Some(flags::span(text)?),
            "off" => self.off = Some(flags::span(text)?),
            "packet_size" => self.packet_size = Some(flags::packet_size(text)?),
            "payload" => self.payload = Some(text.parse()?),
            "batch" => self.batch = Some(text.parse().map_err(|bad| format!("{bad}"))?),
            "phase" => self.phase = Some(word(text)?),
            "echo_every" => self.echo_every = Some(flags::echo_every(text)?),
            "agents" => self.agents = text.split(',').map(ToOwned::to_owned).collect(),
            "target" => self.target = Some(text.into()),
            thresholds::KEY => {
                return Err("write it as --threshold NAME:OBJECTIVE, beside the group".into());
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    /// When each client sends, and how many packets it writes at once; 0: the default of the
    /// server.
    ///
    /// # Errors
    /// The key, and the rest of a sentence that begins with it.
    fn load(&self) -> Result<(Profile, u32), BadKey> {
        let profile = from_parts(
            self.rate,
            self.arrivals,
            self.burst,
            self.every,
            self.on,
            self.off,
        )
        .map_err(|bad| (bad.part, bad.problem))?;
        let batch = self.batch.map(|batch| batch.packets(profile)).transpose();
        let batch = batch.map_err(|bad| ("batch", bad.to_string()))?;
        Ok((profile, batch.unwrap_or_default()))
    }

    fn packet_size(&self) -> PacketSize {
        self.packet_size.unwrap_or_default()
    }

    /// What can be checked without reading a file.
    fn check(&self) -> Result<(), BadKey> {
        self.load()?;
        let room = self
            .payload
            .as_ref()
            .map_or(Ok(()), |payload| payload.check_room(self.packet_size()));
        room.map_err(|problem| ("payload", problem))
    }

    /// The group of the API, its profile within its ranges.
    ///
    /// # Errors
    /// The key, and the rest of a sentence that begins with it.
    fn to_proto(&self, read: &mut ReadFile<'_>) -> Result<v1::Group, BadKey> {
        let (profile, batch) = self.load()?;
        let payload = self.payload.as_ref();
        let payload = payload.map(|payload| payload.to_proto(self.packet_size(), read));
        let agents = (!self.agents.is_empty()).then(|| v1::AgentSelector {
            names: self.agents.clone(),
        });
        let target = self.target.clone().map(|address| v1::Target {
            kind: Some(Kind::Receivers(v1::Receivers { address })),
        });
        Ok(v1::Group {
            name: self.name.clone().unwrap_or_default(),
            clients: self.clients.unwrap_or(CLIENTS_DEFAULT),
            profile: Some(profile.to_proto()),
            packet_bytes: self.packet_size().bytes() as u32,
            payload: payload
                .transpose()
                .map_err(|problem| ("payload", problem))?,
            batch,
            phase: v1::Phase::from(self.phase.unwrap_or(Phase::Auto)).into(),
            echo_every: self.echo_every.unwrap_or_default(),
            agents,
            target,
            thresholds: self.thresholds.iter().map(|one| one.to_proto()).collect(),
        })
    }
}

/// A key, and the rest of a sentence that begins with it.
type BadKey = (&'static str, String);

/// A key of a group as the command line has it: in the spelling of the flag.
pub(crate) fn key_in_a_flag(key: &str) -> String {
    key.replace('_', "-")
}

/// The group of a text such as `name=sensors clients=1000 rate=10`. Errors complete clap's "invalid
/// value 'X' for '--group V': …".
pub(crate) fn group(text: &str) -> Result<GroupParts, String> {
    const EXAMPLE: &str = "'name=sensors clients=1000 rate=10'";
    let mut group = GroupParts::default();
    let mut given: Vec<String> = Vec::new();
    for part in text.split_whitespace() {
        let Some((key, value)) = part.split_once('=') else {
            return Err(format!(
                "{part:?} is no part of a group; write KEY=VALUE, as in {EXAMPLE}"
            ));
        };
        let name = key.replace('-', "_");
        if given.contains(&name) {
            return Err(format!(
                "{key} stands there twice; leave out one of the two"
            ));
        }
        if value.ends_with(',') || (value.contains(',') && value.contains('=')) {
            return Err(format!(
                "{key}={value}: blanks separate the parts of a group, not commas; write {EXAMPLE}"
            ));
        }
        match group.set(&name, value) {
            Some(set) => set.map_err(|problem| format!("{key}={value}: {problem}"))?,
            None => return Err(no_key(key, &GROUP_KEYS.map(key_in_a_flag))),
        }
        given.push(name);
    }
    // An empty variable of a shell is not meant to be a load.
    if given.is_empty() {
        return Err(format!("a group has at least one part; write {EXAMPLE}"));
    }
    group
        .check()
        .map_err(|(key, problem)| format!("{}: {problem}", key_in_a_flag(key)))?;
    Ok(group)
}

/// What is wrong with a key that is none of these.
pub(crate) fn no_key(key: &str, keys: &[impl AsRef<str>]) -> String {
    let key = shortened(key);
    let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
    format!("{key:?} is no key here; the keys are {}", keys.join(", "))
}

/// A text of a user as an error shows it.
pub(super) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl PlanParts {
    /// Sets a part of one value from its text; `None` when there is no such key.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Option<Result<(), String>> {
        Some(self.try_set(key, text).transpose()?.map(|_| ()))
    }

    fn try_set(&mut self, key: &str, text: &str) -> Result<Option<()>, String> {
        match key {
            "duration" => self.duration = Some(flags::duration(text)?),
            "warm_up" => self.warm_up = Some(flags::span(text)?),
            "seed" => self.seed = Some(flags::seed(text)?),
            "threads" => self.threads = Some(flags::whole(text, THREADS_MAX.into())?),
            "on_agent_loss" => self.on_agent_loss = Some(word(text)?),
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    /// The plan that they make, with the files of its payloads as `read` reads them.
    ///
    /// # Errors
    /// The first part that is not allowed.
    pub(crate) fn plan(&self, read: &mut ReadFile<'_>) -> Result<Plan, BadPlan> {
        let groups = self.groups.iter();
        let groups = groups.map(|of| (of.name.as_deref(), of.thresholds.len()));
        let thresholds = Placed::of(&self.thresholds, groups)?;
        let groups = self.groups.iter().enumerate().map(|(index, group)| {
            let group = group.to_proto(read).map(|group| v1::Group {
                thresholds: (group.thresholds.iter().copied())
                    .chain(thresholds.of_group(index))
                    .collect(),
                ..group
            });
            group.map_err(|(key, problem)| BadPlan {
                spot: Spot {
                    group: Some(index),
                    key,
                    item: None,
                },
                field: format!("groups[{index}].{}", field_of(key)),
                kind: FieldErrorKind::OutOfRange,
                problem,
            })
        });
        let duration = self.duration.unwrap_or(DURATION_DEFAULT);
        let loss = self.on_agent_loss.unwrap_or(AgentLoss::Continue);
        let plan = v1::Plan {
            groups: groups.collect::<Result<_, _>>()?,
            duration: prost_types::Duration::try_from(duration).ok(),
            warm_up: self.warm_up.and_then(|span| span.try_into().ok()),
            thresholds: thresholds.of_run(),
            no_default_objectives: self.default_objectives == Some(false),
            abort_on_fail: self.abort_on_fail == Some(true),
            on_agent_loss: v1::AgentLoss::from(loss).into(),
            seed: self.seed.unwrap_or_default(),
            threads: self.threads.unwrap_or(1),
            requires: self.requires.clone(),
            clock_trust: self.clock_trust.to_proto(),
            allow: self.allow.iter().map(|one| (*one).into()).collect(),
        };
        let plan = Plan::try_from(&plan).and_then(|plan| {
            plan.check_thresholds()?;
            Ok(plan)
        });
        plan.map_err(|error| {
            let mut bad = self.with_part(error.into());
            bad.spot = thresholds.given_at(bad.spot);
            bad
        })
    }
}

impl PlanParts {
    /// What is wrong with a profile as a whole is about what is given of it.
    fn with_part(&self, mut bad: BadPlan) -> BadPlan {
        let group = bad.spot.group.and_then(|group| self.groups.get(group));
        if bad.spot.key == "rate" && group.is_some_and(|group| group.every.is_some()) {
            bad.spot.key = "every";
        }
        bad
    }
}

/// The field of a group that a key sets.
fn field_of(key: &str) -> &str {
    match key {
        "rate" | "arrivals" | "burst" | "every" | "on" | "off" => "profile",
        "packet_size" => "packet_bytes",
        key => key,
    }
}

#[cfg(test)]
mod tests;
