//! The flags of `metronome-agent run`, named as those of the Python client that it replaces, and
//! their limits.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use metronome_os::key_file::{self, KeyFileError};
use metronome_proto::{
    DATA_PORT_DEFAULT,
    address::{HostPort, shown},
    batch::{Batch, NoRateToDivide},
    handshake::Key,
    limits::{BATCH_MAX, BURST_PACKETS_MAX, CLIENTS_MAX, DURATION_MIN, SEED_MAX, THREADS_MAX},
    load::Load,
    plan::{self, FieldError, GROUP_DEFAULT},
    profile::{
        self, Profile,
        flags::{Arrivals, BadParts, part_of},
    },
    run_id::RunId,
    share::Share,
    v1,
};
use metronome_telemetry::whole_number;

use crate::{
    load::{
        assignment::{Assignment, Protocol, TargetedShare},
        pacing::PacingOptions,
    },
    net::target::{Allowed, Target},
};

/// For all clients to connect: ten tries take 15 s, those of a firewall that drops packets longer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(60);

/// Flags of `metronome-agent run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The target: a name or an address.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The target's port.
    #[arg(
        long,
        default_value_t = DATA_PORT_DEFAULT,
        allow_hyphen_values = true,
        value_parser = whole_number(1..=u16::MAX),
    )]
    port: u16,
    /// TCP connections, 1 to 10000.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_hyphen_values = true,
        value_parser = whole_number(1..=CLIENTS_MAX),
    )]
    clients: u32,
    /// Packets per second of each client: 0.001 to 1000000. 10k is 10000. 1k..20k: a ramp over the
    /// duration. 1k:5s,5k:5s,10k: one rate after the other. `max`: a flood, as many as the path
    /// carries [default: 10000]
    #[arg(
        long,
        value_name = "HZ|HZ..HZ|HZ:TIME,...|max",
        allow_hyphen_values = true
    )]
    rate: Option<Profile>,
    /// How packets arrive, with one rate: poisson for random, independent arrivals, whose mean the
    /// rate is. Without it they come at even distances.
    #[arg(long, value_name = "poisson", allow_hyphen_values = true)]
    arrivals: Option<Arrivals>,
    /// Packets of a burst, 1 to 1000000, with --every, instead of --rate.
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = whole_number(1..=BURST_PACKETS_MAX),
    )]
    burst: Option<u32>,
    /// From one burst to the next: at least 1 us for each packet.
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = parse_duration
    )]
    every: Option<Duration>,
    /// With --off: the rate for so long, then silence, again and again.
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = parse_duration
    )]
    on: Option<Duration>,
    /// With --on: how long the silence is.
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = parse_duration
    )]
    off: Option<Duration>,
    /// What random arrivals are drawn from, 1 to 9007199254740991: the same seed gives the same due
    /// times [default: drawn]
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = whole_number(1..=SEED_MAX),
    )]
    seed: Option<u64>,
    /// How long: seconds as a number, or 500ms, 10s, 1m … 1 ms to 24 h.
    #[arg(
        long,
        default_value = "10",
        allow_hyphen_values = true,
        value_parser = parse_duration
    )]
    duration: Duration,
    /// Packets per write, 1 to 1024, or writes per second, as 200/s for rate / 200 packets
    /// [default: 1, in a flood 1024]
    #[arg(long, value_name = "N|N/s", allow_hyphen_values = true)]
    batch: Option<Batch>,
    /// How the clients of one thread lie within a period.
    #[arg(long, value_enum, default_value_t = Phase::Auto)]
    phase: Phase,
    /// Pacing threads, 1 to 64.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_hyphen_values = true,
        value_parser = whole_number(1..=THREADS_MAX),
    )]
    threads: u32,
    /// File with 64 hexadecimal digits, readable by its owner only, that the server has too: speak
    /// the full protocol and verify the server. Without it packets are raw.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Index of the first client, when several of these share a server.
    #[arg(
        long,
        value_name = "I",
        default_value_t = 0,
        allow_hyphen_values = true,
        value_parser = whole_number(0..=u32::MAX),
    )]
    first_client: u32,
    #[command(flatten)]
    pacing: PacingOptions,
    /// Seconds to wait before connecting.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "CLIENT_STARTUP_DELAY",
        default_value = "0",
        allow_hyphen_values = true,
        value_parser = parse_duration,
    )]
    pub(super) startup_delay: Duration,
    /// What to print at the end.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
}

impl RunArgs {
    /// Whether the result, or the error, is to be JSON.
    pub(crate) fn asks_for_json(&self) -> bool {
        matches!(self.output, Output::Json)
    }
}

/// How the summary looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Phase {
    /// In small sets all over the period; few clients at a high rate are one set, as staggered.
    Auto,
    /// One after the other, a few microseconds apart: one wake-up serves all.
    Staggered,
    /// Evenly over the period: one wake-up per packet.
    Spread,
    /// All at the same instant.
    Aligned,
}

/// A load, every flag checked.
#[derive(Debug)]
pub(super) struct RunConfig {
    pub assignment: Assignment,
    /// HOST:PORT.
    pub target: String,
    /// What each client is to send.
    pub load: Load,
    pub allowed: Allowed,
    pub pacing: PacingOptions,
}

/// A flag whose value cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRunFlag {
    #[error("--{flag}: {problem}")]
    Plan { flag: String, problem: String },
    #[error("--batch {0}")]
    Batch(#[from] NoRateToDivide),
    #[error("--host {0:?} is no host; give a name or an address, for example 127.0.0.1")]
    Host(String),
    #[error("--key-file {} {problem}", .path.display())]
    KeyFile {
        path: PathBuf,
        problem: KeyFileError,
    },
}

impl BadRunFlag {
    /// The flag, `--rate`.
    pub(super) fn flag(&self) -> String {
        match self {
            Self::Plan { flag, .. } => format!("--{flag}"),
            Self::Batch(_) => "--batch".into(),
            Self::Host(_) => "--host".into(),
            Self::KeyFile { .. } => "--key-file".into(),
        }
    }
}

impl TryFrom<RunArgs> for RunConfig {
    type Error = BadRunFlag;

    fn try_from(args: RunArgs) -> Result<Self, BadRunFlag> {
        let address = HostPort {
            host: args.host.clone(),
            port: args.port,
        };
        let target = Target::parse(&address.to_string(), "")
            .map_err(|_| BadRunFlag::Host(shown(&args.host).into()))?;
        let duration = prost_types::Duration::try_from(args.duration).ok();
        let share = Share::try_from(&asked(&args, &address)?)?;
        let duration = plan::duration("duration", duration.as_ref(), DURATION_MIN)?;
        let seed = args.seed.unwrap_or_else(|| fastrand::u64(1..=SEED_MAX));
        let load = share.load(duration, seed);
        plan::check_duration(&load).map_err(|error| BadRunFlag::Plan {
            flag: "duration".into(),
            problem: error.problem,
        })?;
        let shown = target.to_string();
        let assignment = Assignment {
            shares: vec![TargetedShare { share, target }],
            seed,
            warm_up: Duration::ZERO,
            duration,
            threads: args.threads,
            protocol: args
                .key_file
                .as_deref()
                .map_or(Ok(Protocol::Raw), static_run)?,
            deadline: CONNECT_TIME_MAX,
            probe_every: None,
        };
        let networks = vec![
            ipnet::Ipv4Net::default().into(),
            ipnet::Ipv6Net::default().into(),
        ];
        Ok(Self {
            assignment,
            target: shown,
            load,
            allowed: Allowed {
                server_host: None,
                networks,
            },
            pacing: args.pacing,
        })
    }
}

impl From<BadParts> for BadRunFlag {
    fn from(BadParts { part, problem }: BadParts) -> Self {
        Self::Plan {
            flag: part.into(),
            problem,
        }
    }
}

impl From<FieldError> for BadRunFlag {
    fn from(error: FieldError) -> Self {
        let flag = if error.field.starts_with("profile") {
            part_of(&error.field).into()
        } else {
            error.field.replace('_', "-")
        };
        Self::Plan {
            flag,
            problem: error.problem,
        }
    }
}

/// The flags as a share of the API, so that the limits are in one place.
fn asked(args: &RunArgs, address: &HostPort) -> Result<v1::AgentShare, BadRunFlag> {
    let profile = profile::flags::from_parts(
        args.rate,
        args.arrivals,
        args.burst,
        args.every,
        args.on,
        args.off,
    )?;
    let phase = match args.phase {
        Phase::Auto => v1::Phase::Auto,
        Phase::Staggered => v1::Phase::Staggered,
        Phase::Spread => v1::Phase::Spread,
        Phase::Aligned => v1::Phase::Aligned,
    };
    Ok(v1::AgentShare {
        echo_every: 0,
        packet_bytes: 32,
        payload: None,
        group: GROUP_DEFAULT.into(),
        first_client: args.first_client,
        clients: args.clients,
        clients_total: args.first_client.saturating_add(args.clients),
        profile: Some(profile.to_proto()),
        batch: batch(args.batch, profile)?,
        phase: phase.into(),
        target: Some(v1::Target {
            kind: Some(v1::target::Kind::Receivers(v1::Receivers {
                address: address.to_string(),
            })),
        }),
        // The others of these have the clients before and behind.
        first_in_group: args.first_client,
    })
}

fn batch(asked: Option<Batch>, rate: Profile) -> Result<u32, BadRunFlag> {
    match (asked, rate) {
        (Some(batch), _) => Ok(batch.packets(rate)?),
        (None, Profile::Flood) => Ok(BATCH_MAX),
        (None, _) => Ok(1),
    }
}

fn static_run(path: &Path) -> Result<Protocol, BadRunFlag> {
    let error = |problem| BadRunFlag::KeyFile {
        path: path.into(),
        problem,
    };
    let secret = key_file::read(path).map_err(error)?;
    Ok(Protocol::Static {
        key: Key::derive(&secret, RunId::from_bits(0), 0),
    })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    metronome_proto::duration::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "x", "-1", "NaN", "inf", "1e300", "10 potatoes"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text: String) {
            let _ = parse_duration(&text);
        }
    }
}
