//! What the server runs with: decided once from the flags and checked. No later code checks it
//! again.

use std::{
    env, fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use metronome_os::key_file;
use metronome_proto::{
    GRPC_ADDRESS_DEFAULT, HTTP_ADDRESS_DEFAULT,
    address::HostPort,
    handshake::{KEY_BYTES, Key},
    run_id::RunId,
};
use metronome_telemetry::Logs;
use metronome_tls::ServerTlsConfig;

use super::{
    addresses::{parse, resolve},
    flags::{Args, WORKERS_MAX},
};
use crate::rx_batching::RxBatching;

/// The settings of a server, decided and checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where the data port may be bound: the addresses of --host, at least one.
    pub(crate) data: Vec<SocketAddr>,
    /// Where the gRPC port may be bound: the addresses of --grpc, at least one.
    pub(crate) grpc: Vec<SocketAddr>,
    pub(crate) workers: u32,
    pub(crate) max_clients: u32,
    pub(crate) accept_raw: bool,
    pub(crate) database: Database,
    pub(crate) secret: Secret,
    /// The key of the static run, which is open when there is a key file.
    pub(crate) static_key: Option<Key>,
    pub(crate) drain_timeout: Duration,
    pub(crate) upgrade_wait: Duration,
    /// The server may be upgraded.
    pub(crate) can_be_upgraded: bool,
    /// benchctl has started it for one run.
    pub(crate) is_embedded: bool,
    pub(crate) reflection: bool,
    pub(crate) logs: Logs,
    /// `None`: no HTTP port.
    pub(crate) http: Option<Http>,
    pub(crate) page: Page,
    pub(crate) traced_packets: u8,
    pub(crate) high_priority: bool,
    pub(crate) pin_workers: bool,
    pub(crate) rx_batching: RxBatching,
    /// The certificates of the gRPC port. `None`: it is not encrypted.
    pub(crate) tls: Option<ServerTlsConfig>,
    /// The gRPC port takes orders from other hosts without a certificate; every result has a note
    /// about that.
    pub(crate) exposed: bool,
}

/// Where the history lies.
#[derive(Debug)]
pub(crate) struct Database {
    /// `None`: the user has named no file, and there is no folder for it.
    pub(crate) path: Option<PathBuf>,
    /// The user has named the file: a server that cannot use it does not start.
    pub(crate) is_asked_for: bool,
}

impl Database {
    fn new(asked: Option<PathBuf>) -> Self {
        Self {
            is_asked_for: asked.is_some(),
            path: database_path(asked),
        }
    }
}

/// Where the HTTP port may be bound.
#[derive(Debug)]
pub(crate) struct Http {
    /// At least one.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The user has named the address: a server that cannot bind it does not start.
    pub(crate) is_asked_for: bool,
}

/// What the HTTP port has for browsers.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The port is bound at loopback addresses, or the user wants it shown elsewhere.
    pub(crate) is_shown: bool,
    /// The host that --http names.
    pub(crate) name: String,
    /// Where a Jaeger shows traces.
    pub(crate) traces: Option<String>,
}

/// The secret from which the keys of all runs are derived. Never shown.
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
            "--grpc {}: other hosts reach this address and anyone there could give orders; use a \
             loopback address such as {GRPC_ADDRESS_DEFAULT}, ask for certificates with \
             --tls-cert, --tls-key and --tls-client-ca, or add --insecure-no-tls on a network that \
             you trust",
            args.grpc
        );
        let static_key = args
            .key_file
            .as_deref()
            .map(read_key_file)
            .transpose()?
            .map(|shared| Key::derive(&shared, RunId::from_bits(0), 0));
        let http = http(&args.http)?;
        let page = page(&args.http, http.as_ref(), args.page, args.jaeger_url)?;
        let data = HostPort {
            host: args.host,
            port: args.port,
        };
        Ok(Self {
            data: resolve("--host", &data.to_string())?,
            grpc,
            workers: args.workers.unwrap_or_else(cores),
            max_clients: args.max_clients,
            accept_raw: args.accept_raw,
            database: Database::new(args.database),
            secret: secret()?,
            static_key,
            drain_timeout: args.drain_timeout,
            upgrade_wait: args.upgrade_wait,
            can_be_upgraded: !args.embedded,
            is_embedded: args.embedded,
            reflection: !args.no_reflection,
            logs: args.logs.decide("info"),
            http,
            page,
            traced_packets: args.traced_packets,
            high_priority: args.high_priority,
            pin_workers: args.pin_workers,
            rx_batching: args.rx_coalesce,
            tls,
            exposed,
        })
    }
}

fn read_key_file(path: &Path) -> anyhow::Result<[u8; KEY_BYTES]> {
    key_file::read(path).map_err(|error| anyhow!("--key-file {} {error}", path.display()))
}

/// A new secret, which the keys of all runs are derived from.
fn secret() -> anyhow::Result<Secret> {
    let mut secret = [0; KEY_BYTES];
    getrandom::fill(&mut secret).context("the system gives no random bytes for the secret")?;
    Ok(Secret(secret))
}

/// The file of the history: `asked`, or a file in the user's state directory. `None` when there is
/// no such directory.
#[must_use]
pub fn database_path(asked: Option<PathBuf>) -> Option<PathBuf> {
    let directory = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = || {
        directory("XDG_STATE_HOME")
            .or_else(|| directory("HOME").map(|home| home.join(".local/state")))
    };
    asked.or_else(|| state().map(|state| state.join("metronome/runs.sqlite")))
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

fn page(
    address: &str,
    http: Option<&Http>,
    is_asked_for: bool,
    traces: Option<String>,
) -> anyhow::Result<Page> {
    ensure!(
        traces.as_deref().is_none_or(is_web_address),
        "--jaeger-url is no address of a page; write for example http://127.0.0.1:16686"
    );
    let Some(http) = http else {
        ensure!(
            !is_asked_for,
            "--page needs an HTTP port, and --http is off"
        );
        return Ok(Page {
            is_shown: false,
            name: String::new(),
            traces,
        });
    };
    let is_local = http.addresses.iter().all(|of| of.ip().is_loopback());
    Ok(Page {
        is_shown: is_local || is_asked_for,
        name: parse("--http", address)?.host,
        traces,
    })
}

/// Whether a link may lead there: no script, and nothing that hides.
fn is_web_address(text: &str) -> bool {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let is_plain =
        |character: char| character.is_ascii_graphic() && !"\"<>\\^`{|}@?#".contains(character);
    rest.is_some_and(|rest| !rest.is_empty() && rest.len() <= 1024 && rest.chars().all(is_plain))
}

fn cores() -> u32 {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    u32::try_from(cores).unwrap_or(WORKERS_MAX).min(WORKERS_MAX)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _};

    use clap::Parser as _;

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
    fn the_defaults_are_those_of_the_readme() {
        let config = decide(&[]).unwrap();
        assert_eq!(config.data, ["127.0.0.1:8888".parse().unwrap()]);
        assert_eq!(config.grpc, ["127.0.0.1:50051".parse().unwrap()]);
        assert_eq!((config.max_clients, config.workers), (10, cores()));
        assert!(config.high_priority && !config.pin_workers && config.reflection);
        assert!(!config.accept_raw && !config.exposed);
        assert!(config.static_key.is_none());
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
    fn the_page_is_shown_on_loopback_addresses_and_elsewhere_when_it_is_asked_for() {
        let shown = |flags: &[&str]| decide(flags).unwrap().page.is_shown;
        assert!(shown(&[]));
        assert!(shown(&["--http", "[::1]:0"]));
        assert!(!shown(&["--http", "0.0.0.0:0"]));
        assert!(!shown(&["--http", "off"]));
        assert!(shown(&["--http", "0.0.0.0:0", "--page"]));
        refused(&["--http", "off", "--page"], "--page needs an HTTP port");
    }

    #[test]
    fn a_link_to_traces_leads_to_a_page() {
        let traces = |url: &str| decide(&["--jaeger-url", url]).map(|config| config.page.traces);
        for url in ["http://127.0.0.1:16686", "https://jaeger.example/ui/"] {
            assert_eq!(traces(url).unwrap().as_deref(), Some(url));
        }
        for url in [
            "javascript:alert(1)",
            "http://",
            "http://a/\"><b>",
            "",
            "http://u:p@a/",
        ] {
            refused(&["--jaeger-url", url], "--jaeger-url");
        }
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
        let mut shared = [0; KEY_BYTES];
        hex::decode_to_slice(&digits, &mut shared).unwrap();
        assert_eq!(
            config.static_key,
            Some(Key::derive(&shared, RunId::from_bits(0), 0))
        );
        assert_ne!(
            config.secret.0, shared,
            "the key file gives no key of a run"
        );
        assert!(
            format!("{config:?}").contains("Secret(…)"),
            "a secret is never shown"
        );

        for (mode, text, expected) in [
            (0o644, digits.clone(), "mode 644"),
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
