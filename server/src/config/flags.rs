//! The flags of the server: text from the command line or the environment.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Parser, Subcommand, builder::BoolishValueParser};
use metronome_proto::{
    DATA_PORT_DEFAULT, GRPC_ADDRESS_DEFAULT, HTTP_ADDRESS_DEFAULT, limits::CLIENTS_MAX,
};
use metronome_telemetry::{LogFlags, whole_number};
use metronome_tls::ServeFlags;

use crate::{ledger::SLOWEST_KEPT, rx_batching::RxBatching};

/// Most worker processes.
pub(super) const WORKERS_MAX: u32 = 256;

/// A process cannot be healthy sooner, and a longer wait is a mistake.
const UPGRADE_WAIT_MIN: Duration = Duration::from_millis(100);
const UPGRADE_WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// The ledger keeps so many of the slowest packets of each connection, so those of the run are
/// among them.
const TRACED_PACKETS_MAX: u8 = SLOWEST_KEPT as u8;

/// A drain that takes longer than a run may last is a mistake.
const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Metronome's server: takes the packets, counts each once, and runs the measurements.
///
/// It listens on two ports: the data port, on which simulated devices connect and send small
/// packets, and the gRPC port, to which agents and benchctl connect. When both are open it prints
/// one line on standard output, "metronome-server ready: grpc ADDRESS data ADDRESS http ADDRESS pid
/// N"; all else goes to standard error.
///
/// SIGTERM or SIGINT drains: no new runs, running ones may end, results are stored, exit 0. A
/// second signal aborts. SIGHUP restarts the workers one by one; when the terminal in which the
/// server was started ends, the SIGHUP of the terminal or its shell drains. SIGHUP that is ignored
/// at the start, as with nohup, stays ignored. SIGUSR2 lets the executable that lies now where this
/// one was started from take over, in mid-run.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "metronome-server",
    version,
    after_help = "Every flag can also be set by the environment variable shown with it; a flag \
                  wins.\n\
                  METRONOME_LOG sets what is logged (error, warn, info, debug, trace).\n\
                  OTEL_EXPORTER_OTLP_ENDPOINT turns traces on.\n\n\
                  Exit codes: 0 after a drain, 3 after a drain that could not store every result, \
                  2 bad flags, 1 anything else, 130 aborted by a second signal."
)]
pub struct Args {
    /// Instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Address or name of the data port
    #[arg(long, env = "METRONOME_HOST", default_value = "127.0.0.1")]
    pub host: String,

    /// Data port; 0 lets the system choose
    #[arg(
        long,
        env = "METRONOME_PORT",
        default_value_t = DATA_PORT_DEFAULT,
        allow_hyphen_values = true,
        value_parser = whole_number(0..=u16::MAX)
    )]
    pub port: u16,

    /// Worker processes that read packets, 1 to 256 [default: one per core]
    #[arg(
        long,
        env = "METRONOME_WORKERS",
        allow_hyphen_values = true,
        value_parser = whole_number(1..=WORKERS_MAX)
    )]
    pub workers: Option<u32>,

    /// Clients connected at once, of all runs and raw ones together, 1 to 10000
    #[arg(
        long,
        env = "METRONOME_MAX_CLIENTS",
        default_value_t = 10,
        allow_hyphen_values = true,
        value_parser = whole_number(1..=CLIENTS_MAX)
    )]
    pub max_clients: u32,

    /// Where agents and benchctl connect, HOST:PORT; port 0 lets the system choose
    #[arg(long, global = true, env = "METRONOME_GRPC", default_value = GRPC_ADDRESS_DEFAULT)]
    pub grpc: String,

    /// Count connections that do not speak the protocol as whole 32-byte packets, instead of
    /// refusing them. One that sends nothing for 20 minutes is ended.
    #[arg(
        long,
        env = "METRONOME_ACCEPT_RAW",
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new()
    )]
    pub accept_raw: bool,

    /// SQLite file with the history of runs, made when missing [default:
    /// $XDG_STATE_HOME/metronome/runs.sqlite, else ~/.local/state/metronome/runs.sqlite; where that
    /// cannot be written, none is kept]
    #[arg(long, env = "METRONOME_DATABASE", value_name = "PATH")]
    pub database: Option<PathBuf>,

    /// File with 64 hexadecimal digits, readable by its owner only: clients of `metronome-agent run
    /// --key-file` with the same file are accepted at any time. It gives access to nothing else:
    /// the keys of runs come from a secret that is new at each start
    #[arg(long, env = "METRONOME_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// How long running runs may go on after SIGTERM before they are stopped: at most 24 h.
    /// Seconds, or with units: 30, 500ms, 2m
    #[arg(
        long,
        env = "METRONOME_DRAIN_TIMEOUT",
        default_value = "30s",
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = drain_timeout
    )]
    pub drain_timeout: Duration,

    /// How long a new process may take to come up healthy when this server is upgraded (SIGUSR2,
    /// benchctl server upgrade), and once more for the runs to be where they can be handed over
    #[arg(
        long,
        env = "METRONOME_UPGRADE_WAIT",
        default_value = "10s",
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = upgrade_wait
    )]
    pub upgrade_wait: Duration,

    /// An embedded server ends with its run and cannot be upgraded
    #[arg(long, hide = true)]
    pub embedded: bool,

    /// Disable gRPC server reflection
    #[arg(
        long,
        env = "METRONOME_NO_REFLECTION",
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new()
    )]
    pub no_reflection: bool,

    /// Where log lines go, and in which form
    #[command(flatten)]
    pub logs: LogFlags,

    /// HTTP port for the page of runs (/), Prometheus and probes (/metrics, /healthz, /readyz):
    /// HOST:PORT, or `off`. When the default is taken, by another server for example, this one does
    /// without
    #[arg(
        long,
        global = true,
        env = "METRONOME_HTTP",
        value_name = "ADDRESS",
        default_value = HTTP_ADDRESS_DEFAULT
    )]
    pub http: String,

    /// Serve the page and its API on an address of --http that other hosts reach, too: everyone
    /// there can read every run. On a loopback address they are always there
    #[arg(
        long,
        env = "METRONOME_PAGE",
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new()
    )]
    pub page: bool,

    /// Address of the user interface of Jaeger, http:// or https://: the page of a run links to the
    /// trace of the run there
    #[arg(long, env = "METRONOME_JAEGER_URL", value_name = "URL")]
    pub jaeger_url: Option<String>,

    /// Slowest packets of a run that its trace shows one by one: 0 to 10
    #[arg(
        long,
        env = "METRONOME_TRACED_PACKETS",
        value_name = "N",
        default_value_t = TRACED_PACKETS_MAX,
        allow_hyphen_values = true,
        value_parser = whole_number(0..=TRACED_PACKETS_MAX)
    )]
    pub traced_packets: u8,

    /// Give the workers the highest priority that the system grants: real-time (behind the pacing
    /// threads of an agent on this host) while each takes no more than its share of half of the
    /// cores, else nice -10
    #[arg(
        long,
        env = "METRONOME_HIGH_PRIORITY",
        default_value_t = true,
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new(),
        value_name = "true|false"
    )]
    pub high_priority: bool,

    /// Keep each worker on a core of its own: for servers that share their cores with no agent,
    /// since a pacing thread that is woken on a pinned worker's core has to wait for it
    #[arg(
        long,
        env = "METRONOME_PIN_WORKERS",
        default_value_t = false,
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new(),
        value_name = "true|false"
    )]
    pub pin_workers: bool,

    /// Batched reads: how long a worker pauses between two reads, µs. 0 reads each packet at once;
    /// 1 to 1000 saves CPU and makes read times up to that much later; `auto` is 0, and 250 for a
    /// worker that uses a whole core
    #[arg(
        long,
        env = "METRONOME_RX_COALESCE",
        default_value_t = RxBatching::Auto,
        allow_hyphen_values = true,
        value_name = "US|auto"
    )]
    pub rx_coalesce: RxBatching,

    /// How the gRPC port is encrypted, and which certificates it accepts
    #[command(flatten)]
    pub tls: ServeFlags,

    /// Allow --grpc to be an address that other hosts reach, although no certificate is asked for
    #[arg(
        long,
        env = "METRONOME_INSECURE_NO_TLS",
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new()
    )]
    pub insecure_no_tls: bool,
}

/// What the executable can do besides serving.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Subcommand)]
pub enum Command {
    /// Ask the server at --grpc whether it serves: exit code 0 when it does, 1 when not or not
    /// within 3 s. With METRONOME_TLS_CERT set, as for that server, ask at --http instead
    Healthcheck,
}

fn drain_timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout > DRAIN_TIMEOUT_MAX {
        return Err("at most 24h are allowed".into());
    }
    Ok(timeout)
}

fn upgrade_wait(text: &str) -> Result<Duration, String> {
    let wait = duration(text)?;
    if !(UPGRADE_WAIT_MIN..=UPGRADE_WAIT_MAX).contains(&wait) {
        return Err("100ms to 1h are allowed".into());
    }
    Ok(wait)
}

fn duration(text: &str) -> Result<Duration, String> {
    metronome_proto::duration::parse(text).map_err(|error| error.to_string())
}
