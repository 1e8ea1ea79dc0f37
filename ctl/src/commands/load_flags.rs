//! The flags of a load, and the plan that they make: of one group, of several, or of a file.

use std::{path::Path, str::FromStr as _, time::Duration};

use metronome_proto::{
    batch::Batch,
    limits::THREADS_MAX,
    packet_size::PacketSize,
    plan::{ClockTrust, GROUP_DEFAULT, Plan},
    profile::{Profile, flags::Arrivals},
    threshold::text::{AskedThreshold, BadThreshold},
    v1::Allowance,
};
use metronome_telemetry::whole_number;

use super::{payload_file, plan_file::Source};
use crate::{
    exit::{Failure, bad_flag, marked, usage},
    flags::{self, Origin},
    plans::{
        parts::{self, AgentLoss, BadPlan, GroupParts, Phase, PlanParts},
        payload::PayloadPart,
    },
};

// Headings of the help, beside that of the load of one group.
const PLANS: &str = "Several groups, or a file";
const AGENTS: &str = "Agents";
const OBJECTIVES: &str = "Objectives";

/// What is asked of a run.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadFlags {
    /// Simulated devices, one TCP connection each: 1 to 10000 [default: 10]
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = flags::clients
    )]
    clients: Option<u32>,

    /// Packets per second of each client, 0.001 to 1000000, where 10k is 10000 [default: 10k]
    ///
    ///   10k               one rate
    ///   1k..20k           a ramp from the start of the run to its end
    ///   1k:5s,5k:5s,10k   one rate after the other; the last one stays
    ///   max               a flood: as many as the path carries
    #[arg(
        long,
        value_name = "RATE",
        allow_hyphen_values = true,
        verbatim_doc_comment
    )]
    rate: Option<Profile>,

    /// Random arrivals, independent of each other, whose mean is --rate: at most 100000 a second
    #[arg(long, value_name = "poisson")]
    arrivals: Option<Arrivals>,

    /// Packets that are due together, again and again with --every, instead of --rate: 1 to 1000000
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = flags::burst
    )]
    burst: Option<u32>,

    /// From one burst to the next: at least 1 us for each of its packets, at most 1000 s
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = flags::span
    )]
    every: Option<Duration>,

    /// How long the rate is on, in turn with --off
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = flags::span
    )]
    on: Option<Duration>,

    /// How long it is silent then
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = flags::span
    )]
    off: Option<Duration>,

    /// How long the schedule lasts: 1 ms to 24 h. Seconds, or with units: 10, 250ms, 1m30s
    /// [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = flags::duration
    )]
    duration: Option<Duration>,

    /// Leave packets that are due before this time after the start out of all times; counts have
    /// them. Less than --duration [default: 0]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = flags::span
    )]
    warm_up: Option<Duration>,

    /// What random arrivals are drawn from, 1 to 2^53 - 1: the same seed gives the same due times.
    /// Not given: one is drawn, and the result has it.
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = flags::seed
    )]
    seed: Option<u64>,

    /// Bytes of each packet, its header of 32 included: 32 to 1472 [default: 32]
    #[arg(
        long,
        value_name = "BYTES",
        allow_hyphen_values = true,
        value_parser = flags::packet_size
    )]
    packet_size: Option<PacketSize>,

    /// What follows the headers of the packets [default: zeros]
    ///
    ///   zeros        zero bytes
    ///   pattern      bytes that differ from packet to packet
    ///   FILE         records of --packet-size less 32 bytes, one a packet in
    ///                turn: at most 1 MiB, which goes with the plan
    ///   agent:NAME   the same, of a file of at most 256 MiB in the
    ///                --payload-dir of every agent
    ///
    /// A file that is called like one of these words is given as ./pattern.
    #[arg(
        long,
        value_name = "PAYLOAD",
        allow_hyphen_values = true,
        verbatim_doc_comment
    )]
    payload: Option<PayloadPart>,

    /// Packets per write, 1 to 1024, or writes per second, as 200/s for rate / 200 packets: at most
    /// 64 KiB a write [default: 1, in a flood as many as are allowed]
    #[arg(long, value_name = "N|N/s", allow_hyphen_values = true)]
    batch: Option<Batch>,

    /// How the clients of a pacing thread lie within a period of the schedule [default: auto]
    #[arg(long, value_enum)]
    phase: Option<Phase>,

    /// Ask for a reply to every Nth packet of each client, 1 to 1000000, and measure the round
    /// trips [default: to none]
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = flags::echo_every
    )]
    echo_every: Option<u32>,

    /// Clients that send in one way; repeat for up to 16 groups of a run, each with a name of its
    /// own.
    ///
    /// Parts are KEY=VALUE, with blanks between them:
    ///
    ///   name=sensors clients=1000 rate=10
    ///   name=feeds clients=10 rate=1k:5s,5k:5s,10k agents=a,b
    ///   name=alarms clients=5 burst=50 every=100ms
    ///   name=meters rate=10 packet-size=200 payload=day.bin echo-every=10
    ///
    /// The keys are name, clients, rate, arrivals, burst, every, on, off,
    /// packet-size, payload, batch, phase, echo-every, agents and target, each
    /// as the flag of that word, which is not given beside it.
    #[arg(
        help_heading = PLANS,
        long = "group",
        value_name = "KEY=VALUE …",
        value_parser = parts::group,
        verbatim_doc_comment
    )]
    groups: Vec<GroupParts>,

    /// The load from a file, YAML or JSON; - is standard input.
    ///
    /// `benchctl plan schema` prints what it may have. --duration, --seed and
    /// --no-default-objectives given here replace what the file has, --threshold adds to it; the
    /// other flags of a load do not go with it.
    #[arg(help_heading = PLANS, long, value_name = "FILE")]
    plan: Option<Source>,

    /// Agent to use, by name; repeat for several. Not given: all that are connected.
    #[arg(help_heading = AGENTS, long = "agent", value_name = "NAME")]
    agents: Vec<String>,

    /// Where agents connect, if not at the address that the server gives them by itself.
    #[arg(help_heading = AGENTS, long, value_name = "HOST:PORT")]
    target: Option<String>,

    /// Pacing threads per agent: 1 to 64 [default: 1]
    #[arg(
        help_heading = AGENTS,
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = whole_number(1..=THREADS_MAX)
    )]
    threads: Option<u32>,

    /// What follows when an agent fails, is lost, or has not connected its clients within 10 s
    /// [default: continue]
    ///
    /// What only that agent has is missing from the result either way.
    #[arg(help_heading = AGENTS, long, value_enum, value_name = "WHAT")]
    on_agent_loss: Option<AgentLoss>,

    /// Trust the wall clock of each host to the greatest error that its kernel claims, as NTP keeps
    /// it.
    ///
    /// It narrows the bounds of times between hosts, which are claimed then, not proved. A claim
    /// that the measured exchanges exclude is dropped, with a note.
    #[arg(help_heading = AGENTS, long)]
    trust_ntp: bool,

    /// Trust the wall clocks of all hosts to be at most this far apart, as PTP keeps them: 1 ns to
    /// 1 s, such as 1us. Bounds are claimed then, as with --trust-ntp.
    #[arg(
        help_heading = AGENTS,
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = flags::clock_bound
    )]
    clock_bound: Option<u64>,

    /// Reasons that leave the run valid, with a note instead: THROTTLED, STOLEN, FROZEN, SUSPENDED.
    ///
    /// They are about the hosts of the agents: a CPU quota that was used up, cores that the
    /// hypervisor gave to others, processes that were stopped all at once, a host that slept.
    /// Separate several with commas.
    #[arg(
        help_heading = OBJECTIVES,
        long,
        value_name = "CODES",
        value_delimiter = ',',
        value_parser = Allowance::from_str
    )]
    allow: Vec<Allowance>,

    /// An objective: what the run has to hold; repeat for several, at most 64.
    ///
    /// A metric, one of < <= > >= == and a limit:
    ///
    ///   lost==0               counts of packets: lost, skipped, corrupt
    ///   kept_up>=99.9%        the share of the packets that was read in time
    ///   latency.p99<200us     times need a quantile and a unit: lateness, transit,
    ///   spread.max<=15.5ms    latency, spread (limits above 10ms) with p50, max and so on
    ///   rtt_from_due.p99<1ms  round trips, with --echo-every: rtt_from_due, for short rtt,
    ///                         and rtt_from_write
    ///   NAME:lost==0          of the clients of the group of that name alone
    ///
    /// Lost and skipped packets count as slower than any limit. A load with a rate is
    /// judged by default objectives, too: lost==0, skipped==0, kept_up>=99.9% and
    /// latency.p99.9<=100ms (spread.p99.9<=100ms where an agent is not on the server's
    /// clock). A threshold of all clients replaces those on its metric; one on latency or
    /// spread replaces both. When an objective is missed, the exit code is 99.
    #[arg(
        help_heading = OBJECTIVES,
        long = "threshold",
        value_name = "OBJECTIVE",
        verbatim_doc_comment
    )]
    thresholds: Vec<String>,

    /// Judge the run by --threshold alone; without one it is not judged.
    #[arg(help_heading = OBJECTIVES, long)]
    no_default_objectives: bool,

    /// End the run within 2 s of the moment from which a --threshold cannot hold any more.
    ///
    /// It is judged over what was scheduled until then, and not held. Needs a --threshold, of which
    /// a flood takes a maximum or lost==0 alone; default objectives end no run.
    #[arg(help_heading = OBJECTIVES, long)]
    abort_on_fail: bool,
}

impl LoadFlags {
    /// The plan that they make.
    ///
    /// # Errors
    /// Flags that do not go together, or a value that is not allowed, named by its flag or by its
    /// place in the file.
    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        if let Some(source) = &self.plan {
            let given = self.of_a_group().into_iter().chain(self.of_a_plan());
            if let Some((flag, key)) = first(given) {
                let problem = format!(
                    "it does not go with --plan, whose file has the load; write it there, as {key}"
                );
                return Err(bad_flag(flag, problem));
            }
            return self.plan_of_file(source);
        }
        let mut parts = PlanParts {
            warm_up: self.warm_up,
            threads: self.threads,
            on_agent_loss: self.on_agent_loss,
            clock_trust: ClockTrust {
                ntp: self.trust_ntp,
                bound_ns: self.clock_bound,
            },
            allow: self.allow.clone(),
            groups: self.groups.clone(),
            ..PlanParts::default()
        };
        self.replace(&mut parts)?;
        if self.groups.is_empty() {
            parts.groups.push(self.group());
        } else if let Some((flag, key)) = first(self.of_a_group()) {
            let problem = format!(
                "it does not go with --group, since it is about one group; write it there, as \
                 {}=VALUE",
                parts::key_in_a_flag(key)
            );
            return Err(bad_flag(flag, problem));
        }
        let mut read = |path: &str| payload_file::read(Path::new(""), path);
        parts.plan(&mut read).map_err(|bad| self.explain(&bad))
    }

    /// Where the plan is given.
    pub(super) fn origin(&self) -> Origin {
        if self.plan.is_some() {
            return Origin::Argument("--plan");
        }
        let names = self.groups.iter().map(name);
        let names: Vec<_> = names.map(ToOwned::to_owned).collect();
        if names.is_empty() {
            Origin::Flags
        } else {
            Origin::Groups(names)
        }
    }

    fn plan_of_file(&self, source: &Source) -> Result<Plan, Failure> {
        let file = source.read("--plan")?;
        let mut parts = file.parts.clone();
        self.replace(&mut parts)?;
        source.plan("--plan", &file, &parts)
    }

    /// What flags may replace in a file.
    fn replace(&self, parts: &mut PlanParts) -> Result<(), Failure> {
        parts.duration = self.duration.or(parts.duration);
        parts.seed = self.seed.or(parts.seed);
        for text in &self.thresholds {
            parts.thresholds.push(threshold(text)?);
        }
        if self.no_default_objectives {
            parts.default_objectives = Some(false);
        }
        if self.abort_on_fail {
            parts.abort_on_fail = Some(true);
        }
        Ok(())
    }

    fn group(&self) -> GroupParts {
        GroupParts {
            name: None,
            clients: self.clients,
            rate: self.rate,
            arrivals: self.arrivals,
            burst: self.burst,
            every: self.every,
            on: self.on,
            off: self.off,
            packet_size: self.packet_size,
            payload: self.payload.clone(),
            batch: self.batch,
            phase: self.phase,
            echo_every: self.echo_every,
            agents: self.agents.clone(),
            target: self.target.clone(),
            thresholds: Vec::new(),
        }
    }

    /// The flags of one group, each with its key in a group and whether it is given.
    fn of_a_group(&self) -> [(&'static str, &'static str, bool); 14] {
        [
            ("--clients", "clients", self.clients.is_some()),
            ("--rate", "rate", self.rate.is_some()),
            ("--arrivals", "arrivals", self.arrivals.is_some()),
            ("--burst", "burst", self.burst.is_some()),
            ("--every", "every", self.every.is_some()),
            ("--on", "on", self.on.is_some()),
            ("--off", "off", self.off.is_some()),
            ("--packet-size", "packet_size", self.packet_size.is_some()),
            ("--payload", "payload", self.payload.is_some()),
            ("--batch", "batch", self.batch.is_some()),
            ("--phase", "phase", self.phase.is_some()),
            ("--echo-every", "echo_every", self.echo_every.is_some()),
            ("--agent", "agents", !self.agents.is_empty()),
            ("--target", "target", self.target.is_some()),
        ]
    }

    /// The flags of the whole plan that a file does not leave to them.
    fn of_a_plan(&self) -> [(&'static str, &'static str, bool); 7] {
        [
            ("--group", "groups", !self.groups.is_empty()),
            ("--warm-up", "warm_up", self.warm_up.is_some()),
            ("--threads", "threads", self.threads.is_some()),
            (
                "--on-agent-loss",
                "on_agent_loss",
                self.on_agent_loss.is_some(),
            ),
            ("--trust-ntp", "clock_trust.ntp", self.trust_ntp),
            (
                "--clock-bound",
                "clock_trust.bound",
                self.clock_bound.is_some(),
            ),
            ("--allow", "allow", !self.allow.is_empty()),
        ]
    }

    fn explain(&self, bad: &BadPlan) -> Failure {
        let field = format!("plan.{}", bad.field);
        let failure = match bad.spot.group.filter(|_| !self.groups.is_empty()) {
            Some(group) => {
                let part = flags::group_flag(name(&self.groups[group]), bad.spot.key);
                usage("--group", format!("{part}: {}", bad.problem))
            }
            None => bad_flag(self.flag_of(bad), &bad.problem),
        };
        failure.with("field", field)
    }

    fn flag_of(&self, bad: &BadPlan) -> &'static str {
        let mut flags = self.of_a_group().into_iter().chain(self.of_a_plan());
        match bad.spot.key {
            // What all groups are together follows from the one group.
            "groups" if self.groups.is_empty() => "--rate",
            "duration" => "--duration",
            "seed" => "--seed",
            "thresholds" => "--threshold",
            "abort_on_fail" => "--abort-on-fail",
            "clock_trust" => "--clock-bound",
            key => flags
                .find(|(_, of, _)| *of == key)
                .map_or("--plan", |(flag, ..)| flag),
        }
    }
}

/// An objective as the flag has it.
fn threshold(text: &str) -> Result<AskedThreshold, Failure> {
    text.parse().map_err(|bad: BadThreshold| {
        let failure = bad_flag("--threshold", format!("{text:?}: {bad}"));
        marked(failure, text, bad.byte)
    })
}

/// A group has a name only where it is given one.
fn name(group: &GroupParts) -> &str {
    group.name.as_deref().unwrap_or(GROUP_DEFAULT)
}

/// The first flag that is given, with its key.
fn first(
    flags: impl IntoIterator<Item = (&'static str, &'static str, bool)>,
) -> Option<(&'static str, &'static str)> {
    let mut given = flags.into_iter().filter(|(.., is_given)| *is_given);
    given.next().map(|(flag, key, _)| (flag, key))
}
