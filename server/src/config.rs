//! Arguments and what they mean: [`Args`] are text from the command line or the environment,
//! [`Config`] is what was decided from them, once; nothing later re-checks it.

use std::{
    env, fmt, fs,
    io::Read as _,
    net::{SocketAddr, ToSocketAddrs as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::{
    ArgAction, Parser, Subcommand,
    builder::{BoolishValueParser, RangedU64ValueParser},
};
use metronome_os::random;
use metronome_proto::{
    DATA_PORT_DEFAULT, GRPC_ADDRESS_DEFAULT, HTTP_ADDRESS_DEFAULT,
    handshake::{KEY_BYTES, Key},
    plan::CLIENTS_MAX,
    run_id::RunId,
};
use metronome_telemetry::{LogFlags, Logs};
use metronome_tls::{ServeFlags, ServerTlsConfig};

use crate::{coalescing::RxCoalesce, ledger::SLOWEST_KEPT};

/// Most worker processes.
const WORKERS_MAX: u32 = 256;
/// No process is healthy sooner, and nobody waits for longer.
const UPGRADE_WAIT_MIN: Duration = Duration::from_millis(100);
const UPGRADE_WAIT_MAX: Duration = Duration::from_secs(60 * 60);
/// Slowest packets that are kept of each connection, so that the run's own are known whoever sent
/// them.
const TRACED_PACKETS_MAX: u8 = SLOWEST_KEPT as u8;
/// A drain that takes longer than a run may last is a mistake.
const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Metronome's server: takes the packets, counts each once, and runs the measurements.
///
/// It listens on two ports: the data port, on which simulated devices connect and send 32-byte
/// packets, and the gRPC port, on which agents attend and benchctl gives orders. When both are open
/// it prints one line on standard output, "metronome-server ready: grpc ADDRESS data ADDRESS http
/// ADDRESS pid N"; all else goes to standard error.
///
/// SIGTERM or SIGINT drains: no new runs, running ones may end, results are stored, exit 0. A
/// second signal aborts. SIGHUP restarts the workers one by one. SIGUSR2 lets the executable that
/// lies now where this one was started from take over, in mid-run.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "metronome-server",
    version,
    max_term_width = 100,
    after_help = "Every flag can also be set by the environment variable shown with it; a flag wins.\n\
                  METRONOME_LOG sets what is logged (error, warn, info, debug, trace).\n\
                  OTEL_EXPORTER_OTLP_ENDPOINT turns traces on.\n\n\
                  Exit codes: 0 after a drain, 2 bad flags, 1 anything else, 130 aborted by a second signal."
)]
pub struct Args {
    /// Instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Address or name of the data port
    #[arg(long, env = "METRONOME_HOST", default_value = "127.0.0.1")]
    pub host: String,

    /// Data port; 0 lets the system choose
    #[arg(long, env = "METRONOME_PORT", default_value_t = DATA_PORT_DEFAULT)]
    pub port: u16,

    /// Worker processes that read packets, 1 to 256 [default: one per core]
    #[arg(long, env = "METRONOME_WORKERS", value_parser = RangedU64ValueParser::<u32>::new().range(1..=u64::from(WORKERS_MAX)))]
    pub workers: Option<u32>,

    /// Clients connected at once, of all runs and raw ones together, 1 to 10000
    #[arg(long, env = "METRONOME_MAX_CLIENTS", default_value_t = 10, value_parser = RangedU64ValueParser::<u32>::new().range(1..=u64::from(CLIENTS_MAX)))]
    pub max_clients: u32,

    /// Where agents and benchctl connect, HOST:PORT; port 0 lets the system choose
    #[arg(long, global = true, env = "METRONOME_GRPC", default_value = GRPC_ADDRESS_DEFAULT)]
    pub grpc: String,

    /// Count connections that do not speak the protocol as whole 32-byte packets, instead of
    /// refusing them
    #[arg(long, env = "METRONOME_ACCEPT_RAW", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub accept_raw: bool,

    /// SQLite file with the history of runs, made when missing [default:
    /// $XDG_STATE_HOME/metronome/runs.sqlite, else ~/.local/state/metronome/runs.sqlite]
    #[arg(long, env = "METRONOME_DATABASE", value_name = "PATH")]
    pub database: Option<PathBuf>,

    /// File with 64 hexadecimal digits, readable by its owner only: clients of `metronome-agent run
    /// --key-file` with the same file are taken at any time. It opens nothing else: the keys of
    /// runs come from a secret that is new at each start
    #[arg(long, env = "METRONOME_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// How long running runs may go on after SIGTERM before they are stopped
    #[arg(long, env = "METRONOME_DRAIN_TIMEOUT", default_value = "30s", value_parser = drain_timeout)]
    pub drain_timeout: Duration,

    /// How long a new process may take to come up healthy when this server is upgraded (SIGUSR2,
    /// benchctl server upgrade), and once more for the runs to be where they can be handed over
    #[arg(long, env = "METRONOME_UPGRADE_WAIT", default_value = "10s", value_name = "TIME", value_parser = upgrade_wait)]
    pub upgrade_wait: Duration,

    /// This server lasts for one run of benchctl and is never succeeded
    #[arg(long, hide = true)]
    pub embedded: bool,

    /// Do not tell the API's shape to whoever asks (grpc.reflection)
    #[arg(long, env = "METRONOME_NO_REFLECTION", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub no_reflection: bool,

    /// What becomes of log lines
    #[command(flatten)]
    pub logs: LogFlags,

    /// Where Prometheus and probes ask: /metrics, /healthz, /readyz. HOST:PORT, or `off`. When the
    /// default is taken, by another server for example, this one does without
    #[arg(long, global = true, env = "METRONOME_HTTP", value_name = "ADDRESS", default_value = HTTP_ADDRESS_DEFAULT)]
    pub http: String,

    /// Slowest packets of a run that its trace shows one by one: 0 to 10
    #[arg(long, env = "METRONOME_TRACED_PACKETS", value_name = "N", default_value_t = TRACED_PACKETS_MAX, value_parser = RangedU64ValueParser::<u8>::new().range(0..=u64::from(TRACED_PACKETS_MAX)))]
    pub traced_packets: u8,

    /// Give the workers the highest priority that the system grants: real-time (behind the pacing
    /// threads of an agent on this host) while each takes no more than its share of half of the
    /// cores, else nice -10
    #[arg(long, env = "METRONOME_HIGH_PRIORITY", default_value_t = true, action = ArgAction::Set, value_parser = BoolishValueParser::new(), value_name = "true|false")]
    pub high_priority: bool,

    /// Keep each worker on a core of its own: for servers that share their cores with no agent,
    /// since a pacing thread that is woken on a pinned worker's core has to wait for it
    #[arg(long, env = "METRONOME_PIN_WORKERS", default_value_t = false, action = ArgAction::Set, value_parser = BoolishValueParser::new(), value_name = "true|false")]
    pub pin_workers: bool,

    /// How long a worker lets packets gather before it reads on, µs: 0 reads each at once, 1 to
    /// 1000 saves CPU and makes times of reading up to that much later; `auto` is 0, and 250 for a
    /// worker that takes a whole core
    #[arg(long, env = "METRONOME_RX_COALESCE", default_value_t = RxCoalesce::Auto, value_name = "US|auto")]
    pub rx_coalesce: RxCoalesce,

    /// How the gRPC port is encrypted, and whom it lets in
    #[command(flatten)]
    pub tls: ServeFlags,

    /// Let --grpc be an address that other hosts reach, although nobody there has to show a
    /// certificate
    #[arg(long, env = "METRONOME_INSECURE_NO_TLS", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub insecure_no_tls: bool,
}

/// What the executable can do besides serving.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Subcommand)]
pub enum Command {
    /// Ask the server at --grpc whether it serves: exit code 0 when it does, 1 when not or not
    /// within 3 s. With METRONOME_TLS_CERT set, as for that server, ask at --http instead
    Healthcheck,
}

/// What the server runs with, decided and checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where the data port may be bound: the addresses of --host, at least one.
    pub(crate) data: Vec<SocketAddr>,
    /// As `data`, of --grpc.
    pub(crate) grpc: Vec<SocketAddr>,
    pub(crate) workers: u32,
    pub(crate) max_clients: u32,
    pub(crate) accept_raw: bool,
    pub(crate) database: PathBuf,
    pub(crate) secret: Secret,
    /// Of the standing run, open when there is a key file.
    pub(crate) standing_key: Option<Key>,
    pub(crate) drain_timeout: Duration,
    pub(crate) upgrade_wait: Duration,
    /// It may be upgraded.
    pub(crate) can_be_succeeded: bool,
    pub(crate) reflection: bool,
    pub(crate) logs: Logs,
    /// `None`: no HTTP port.
    pub(crate) http: Option<Http>,
    pub(crate) traced_packets: u8,
    pub(crate) high_priority: bool,
    pub(crate) pin_workers: bool,
    pub(crate) rx_coalesce: RxCoalesce,
    /// Of the gRPC port; `None`: nothing there is encrypted.
    pub(crate) tls: Option<ServerTlsConfig>,
    /// Whoever reaches the gRPC port from another host may give orders; every result tells it.
    pub(crate) exposed: bool,
}

/// Where the HTTP port may be bound.
#[derive(Debug)]
pub(crate) struct Http {
    /// At least one.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The user has named it: a server that cannot have it does not start.
    pub(crate) is_asked_for: bool,
}

/// What the keys of all runs are derived from. Never shown.
#[derive(Clone, Copy)]
pub(crate) struct Secret(pub(crate) [u8; KEY_BYTES]);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    /// Errors are one sentence that names the flag.
    fn try_from(args: Args) -> anyhow::Result<Self> {
        let grpc = resolve("--grpc", &args.grpc)?;
        let tls = args.tls.decide()?;
        let is_local = grpc.iter().all(|address| address.ip().is_loopback());
        let exposed = !is_local && args.tls.tls_client_ca.is_none();
        ensure!(
            !exposed || args.insecure_no_tls,
            "--grpc {}: other hosts reach this address and anyone there could give orders; use a loopback address such as {GRPC_ADDRESS_DEFAULT}, ask for certificates with --tls-cert, --tls-key and --tls-client-ca, or add --insecure-no-tls on a network that you trust",
            args.grpc
        );
        let key_file = args.key_file.as_deref().map(read_key_file).transpose()?;
        let standing_key = key_file
            .as_ref()
            .map(|secret| Key::derive(&secret.0, RunId::from_bits(0), 0));
        Ok(Self {
            data: resolve("--host", &host_and_port(&args.host, args.port))?,
            grpc,
            workers: args.workers.unwrap_or_else(cores),
            max_clients: args.max_clients,
            accept_raw: args.accept_raw,
            database: database_path(args.database)?,
            secret: Secret(random::bytes()),
            standing_key,
            drain_timeout: args.drain_timeout,
            upgrade_wait: args.upgrade_wait,
            can_be_succeeded: !args.embedded,
            reflection: !args.no_reflection,
            logs: args.logs.decide("info"),
            http: http(&args.http)?,
            traced_packets: args.traced_packets,
            high_priority: args.high_priority,
            pin_workers: args.pin_workers,
            rx_coalesce: args.rx_coalesce,
            tls,
            exposed,
        })
    }
}

/// Where the history lies: what was asked for, or the user's state directory. An error when there
/// is none.
pub fn database_path(asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let directory = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = || {
        directory("XDG_STATE_HOME")
            .or_else(|| directory("HOME").map(|home| home.join(".local/state")))
    };
    asked
        .or_else(|| state().map(|state| state.join("metronome/runs.sqlite")))
        .context("--database: neither XDG_STATE_HOME nor HOME names a directory for the history; give the file's path")
}

fn http(address: &str) -> anyhow::Result<Option<Http>> {
    if address == "off" {
        return Ok(None);
    }
    let addresses = resolve("--http", address)?;
    Ok(Some(Http {
        addresses,
        is_asked_for: address != HTTP_ADDRESS_DEFAULT,
    }))
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn resolve(flag: &str, address: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let hint = "is no address of this host; write for example";
    let example = match flag {
        "--grpc" => GRPC_ADDRESS_DEFAULT,
        "--http" => HTTP_ADDRESS_DEFAULT,
        _ => "127.0.0.1",
    };
    let found = address
        .to_socket_addrs()
        .with_context(|| format!("{flag} {address} {hint} {example}"))?;
    let found: Vec<_> = found.collect();
    ensure!(!found.is_empty(), "{flag} {address} {hint} {example}");
    Ok(found)
}

fn cores() -> u32 {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    u32::try_from(cores).unwrap_or(WORKERS_MAX).min(WORKERS_MAX)
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
    humantime::parse_duration(text).map_err(|_| "write a duration such as 30s or 2m".to_owned())
}

fn read_key_file(path: &Path) -> anyhow::Result<Secret> {
    let shown = path.display();
    let file =
        fs::File::open(path).with_context(|| format!("--key-file {shown} cannot be read"))?;
    let mode = file
        .metadata()
        .with_context(|| format!("--key-file {shown} cannot be read"))?
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "--key-file {shown} can be read by others (mode {mode:03o}); run chmod 600 on it and make a new key"
        );
    }
    let mut text = String::new();
    // One byte more than a key and its line end: enough to see that the file is too long.
    let limit = 2 * KEY_BYTES as u64 + 3;
    file.take(limit)
        .read_to_string(&mut text)
        .with_context(|| format!("--key-file {shown} cannot be read"))?;
    let secret = decode_hex(text.trim_end()).with_context(|| {
        format!("--key-file {shown} must hold 64 hexadecimal digits; make one with `openssl rand -hex 32`")
    })?;
    Ok(Secret(secret))
}

fn decode_hex(digits: &str) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    let is_hex =
        digits.len() == 2 * KEY_BYTES && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn decide(arguments: &[&str]) -> anyhow::Result<Config> {
        let all = ["metronome-server", "--database", "/tmp/x"]
            .iter()
            .chain(arguments);
        Config::try_from(Args::try_parse_from(all)?)
    }

    #[track_caller]
    fn refused(arguments: &[&str], expected: &str) {
        let error = format!("{:#}", decide(arguments).expect_err("refused"));
        assert!(
            error.contains(expected),
            "{error:?} should contain {expected:?}"
        );
    }

    #[test]
    fn the_defaults_are_the_seeds() {
        let config = decide(&[]).unwrap();
        assert_eq!(config.data, ["127.0.0.1:8888".parse().unwrap()]);
        assert_eq!(config.grpc, ["127.0.0.1:50051".parse().unwrap()]);
        assert_eq!((config.max_clients, config.workers), (10, cores()));
        assert!(config.high_priority && !config.pin_workers && config.reflection);
        assert!(!config.accept_raw && !config.exposed);
        assert!(config.standing_key.is_none());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (flag, value) in [
            ("--workers", "0"),
            ("--workers", "257"),
            ("--max-clients", "0"),
            ("--max-clients", "10001"),
            ("--port", "65536"),
            ("--port", "-1"),
            ("--drain-timeout", "soon"),
            ("--drain-timeout", "25h"),
            ("--upgrade-wait", "99ms"),
            ("--upgrade-wait", "2h"),
            ("--high-priority", "perhaps"),
            ("--log-format", "xml"),
        ] {
            refused(&[&format!("{flag}={value}")], flag);
        }
        refused(&["--grpc", "nowhere"], "--grpc nowhere");
        refused(&["--http", "nowhere"], "127.0.0.1:9464");
        refused(&["--host", "no such host"], "--host");
    }

    #[test]
    fn a_grpc_address_that_others_reach_needs_consent() {
        refused(&["--grpc", "0.0.0.0:0"], "--insecure-no-tls");
        refused(&["--grpc", "[::]:0"], "--insecure-no-tls");
        assert!(
            decide(&["--grpc", "0.0.0.0:0", "--insecure-no-tls"])
                .unwrap()
                .exposed
        );
        assert!(!decide(&["--grpc", "[::1]:0"]).unwrap().exposed);
    }

    #[test]
    fn a_trace_shows_as_many_packets_as_are_kept_or_fewer() {
        let traced = |flags: &[&str]| decide(flags).map(|config| config.traced_packets).ok();
        assert_eq!(traced(&[]), Some(10));
        assert_eq!(
            ["0", "10", "11"].map(|n| traced(&["--traced-packets", n])),
            [Some(0), Some(10), None]
        );
    }

    #[test]
    fn the_http_port_may_be_another_or_off() {
        assert!(decide(&["--http", "off"]).unwrap().http.is_none());
        assert!(!decide(&[]).unwrap().http.unwrap().is_asked_for);
        let other = decide(&["--http", "127.0.0.1:0"]).unwrap().http.unwrap();
        assert!(other.is_asked_for && other.addresses == ["127.0.0.1:0".parse().unwrap()]);
    }

    #[test]
    fn an_ipv6_host_needs_no_brackets() {
        let any: SocketAddr = "[::1]:7".parse().unwrap();
        assert_eq!(
            decide(&["--host", "::1", "--port", "7"]).unwrap().data,
            [any]
        );
        assert_eq!(
            decide(&["--host", "[::1]", "--port", "7"]).unwrap().data,
            [any]
        );
    }

    #[test]
    fn a_key_file_must_be_private_and_hold_a_key() {
        let digits = "0123456789abcdefABCDEF9876543210".repeat(2);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        writeln!(file, "{digits}").unwrap();
        let config = decide(&["--key-file", &path]).unwrap();
        let shared = decode_hex(&digits).unwrap();
        assert_eq!(
            config.standing_key,
            Some(Key::derive(&shared, RunId::from_bits(0), 0))
        );
        assert_ne!(
            config.secret.0, shared,
            "whoever has the key file can derive no key of a run"
        );
        assert!(
            format!("{config:?}").contains("Secret(…)"),
            "a secret is never shown"
        );

        for (mode, text, expected) in [
            (0o640, digits.clone(), "mode 640"),
            (0o604, digits.clone(), "mode 604"),
            (0o600, digits[1..].to_owned(), "64 hexadecimal"),
            (0o600, format!("{digits}0"), "64 hexadecimal"),
            (0o600, digits.replace('0', "g"), "64 hexadecimal"),
            (0o600, String::new(), "64 hexadecimal"),
        ] {
            file.as_file().set_len(0).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            refused(&["--key-file", &path], expected);
        }
        refused(&["--key-file", "/nonexistent/key"], "cannot be read");
    }
}
