//! The flags of `metronome-agent`, and what they mean once checked.
//!
//! Flags are text in [`Args`], checked once into [`RemoteConfig`]; nothing later checks them again.
//! The flags of `metronome-agent run` are in [`crate::standalone`].

use std::{io, path::PathBuf};

use clap::{Parser, Subcommand};
use http::Uri;
use ipnet::IpNet;
use metronome_os::host;
use metronome_proto::{
    GRPC_ADDRESS_DEFAULT,
    address::{HostPort, NotHostPort, shown},
    limits::{CLIENTS_MAX, NAME_BYTES_MAX},
    names::is_name,
};
use metronome_telemetry::{LogFlags, Logs, whole_number};
use metronome_tls::{ClientTlsConfig, DialFlags, TlsError};

use crate::{
    load::pacing::PacingOptions,
    net::{
        error_text::within_sentence,
        target::{Allowed, parse_network},
    },
    payload::{AgentFiles, PayloadSources, Payloads},
    standalone::{EXIT_CODES_HELP, RunArgs},
};

/// Generate paced load: small packets over TCP, each due at its own instant.
///
/// Without a subcommand, connect to a server and carry out its runs until stopped. The agent only
/// loads the host of that server, unless --allow-target adds others, and only after that host has
/// proved that it takes part in the run. Only load systems you own.
#[derive(Debug, Parser)]
#[command(
    name = "metronome-agent",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

impl Args {
    /// Whether results and errors are to be JSON.
    pub(crate) fn asks_for_json(&self) -> bool {
        matches!(&self.command, Some(Command::Run(run)) if run.asks_for_json())
    }
}

/// What an agent can do besides carrying out the runs of a server.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load one target now, without a server that controls it. Only load systems you own.
    #[command(after_help = EXIT_CODES_HELP)]
    Run(Box<RunArgs>),
}

/// Flags of an agent that a server controls.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoteArgs {
    /// The server's gRPC address: a URL or HOST:PORT; https:// or --tls-ca for a server with TLS.
    #[arg(long, value_name = "URL", env = "METRONOME_SERVER", default_value = GRPC_ADDRESS_DEFAULT)]
    server: String,
    /// Name to be listed under: 1 to 63 characters of a-z, 0-9 and - [default: host name and
    /// process id]
    #[arg(long, env = "METRONOME_AGENT_NAME")]
    name: Option<String>,
    /// Most clients at a time; no server can raise it.
    #[arg(
        long,
        value_name = "N",
        env = "METRONOME_MAX_CLIENTS",
        default_value_t = CLIENTS_MAX,
        allow_hyphen_values = true,
        value_parser = whole_number(1..=CLIENTS_MAX),
    )]
    max_clients: u32,
    /// A network that may be loaded besides the server's host, for example 192.0.2.0/24.
    /// Repeatable.
    #[arg(long = "allow-target", value_name = "CIDR", value_parser = parse_network)]
    allow_target: Vec<IpNet>,
    /// Folder with files whose records plans may name as payloads: regular files in the folder
    /// itself, at most 256 MiB for a run, and no links. It is opened at the start.
    #[arg(long, value_name = "DIR", env = "METRONOME_PAYLOAD_DIR")]
    payload_dir: Option<PathBuf>,
    #[command(flatten)]
    tls: DialFlags,
    #[command(flatten)]
    pacing: PacingOptions,
    #[command(flatten)]
    logs: LogFlags,
}

/// An agent that a server controls, every flag checked.
#[derive(Debug)]
pub(crate) struct RemoteConfig {
    /// Where to dial; the scheme is https when there is TLS, else http; there is a host.
    pub server: Uri,
    /// `None`: nothing is encrypted.
    pub tls: Option<ClientTlsConfig>,
    /// Without brackets around an IPv6 address.
    pub server_host: String,
    /// A valid agent name.
    pub name: String,
    /// 1 to 10000.
    pub max_clients: u32,
    /// Where load may go.
    pub allowed: Allowed,
    /// What plans may name as payloads: the files of `--payload-dir`, and no sources until the
    /// program adds some.
    pub payloads: Payloads,
    /// How pacing threads run.
    pub pacing: PacingOptions,
    /// Where log lines go, in which form.
    pub logs: Logs,
}

/// A flag whose value cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadFlag {
    /// Neither a URL nor HOST:PORT.
    #[error("--server {0:?} is no address; {1}, or a URL such as http://127.0.0.1:50051")]
    Server(String, NotHostPort),
    /// Another protocol than ours.
    #[error(
        "--server {0:?}: only http:// and https:// are supported; leave the scheme out or write \
         one of them"
    )]
    Scheme(String),
    /// TLS flags that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not an agent's name.
    #[error(
        "--name {0:?} is no agent name; use 1 to 63 characters of a-z, 0-9 and -, for example \
         load-1"
    )]
    Name(String),
    /// No folder, or none of ours to read.
    #[error(
        "--payload-dir {0:?} cannot be opened: {why}; give a folder that this user can read",
        why = within_sentence(.1)
    )]
    PayloadDir(PathBuf, io::Error),
}

impl BadFlag {
    /// The flag that the error is about.
    pub(crate) fn flag(&self) -> &'static str {
        match self {
            Self::Server(..) | Self::Scheme(_) => "--server",
            Self::Tls(error) => error.flag(),
            Self::Name(_) => "--name",
            Self::PayloadDir(..) => "--payload-dir",
        }
    }
}

impl TryFrom<RemoteArgs> for RemoteConfig {
    type Error = BadFlag;

    fn try_from(args: RemoteArgs) -> Result<Self, BadFlag> {
        let scheme = args.server.split_once("://");
        let scheme = scheme.map(|(scheme, _)| scheme.to_ascii_lowercase());
        let tls = args.tls.decide(scheme.as_deref())?;
        let (server, server_host) = parse_server(&args.server, tls.is_some())?;
        let name = args
            .name
            .unwrap_or_else(|| default_name(&host::name(), std::process::id()));
        if !is_name(&name) {
            return Err(BadFlag::Name(name));
        }
        let files = match args.payload_dir {
            None => None,
            Some(path) => match AgentFiles::open(&path) {
                Ok(files) => Some(files.into()),
                Err(error) => return Err(BadFlag::PayloadDir(path, error)),
            },
        };
        Ok(Self {
            allowed: Allowed {
                server_host: Some(server_host.clone()),
                networks: args.allow_target,
            },
            server,
            tls,
            server_host,
            name,
            max_clients: args.max_clients,
            payloads: Payloads {
                files,
                sources: PayloadSources::default(),
            },
            pacing: args.pacing,
            logs: args.logs.decide("info"),
        })
    }
}

/// The URI to dial and its host. Without a scheme it gets the one that goes with `is_encrypted`.
fn parse_server(text: &str, is_encrypted: bool) -> Result<(Uri, String), BadFlag> {
    let bad = |not| BadFlag::Server(shown(text).into(), not);
    let scheme = if is_encrypted { "https" } else { "http" };
    let (written, authority) = text.split_once("://").unwrap_or((scheme, text));
    if !written.eq_ignore_ascii_case(scheme) {
        return Err(BadFlag::Scheme(shown(text).into()));
    }
    let address: HostPort = authority.trim_end_matches('/').parse().map_err(bad)?;
    let uri = format!("{scheme}://{address}").parse();
    let uri = uri.map_err(|_| bad(NotHostPort { instead: None }))?;
    Ok((uri, address.host))
}

/// A valid name that, with the process id in it, is unique on this host.
fn default_name(host: &str, pid: u32) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let suffix = format!("-{pid}");
    let host: String = host
        .trim()
        .chars()
        .map(fit)
        .take(NAME_BYTES_MAX - suffix.len())
        .collect();
    let host = host.trim_matches('-');
    if host.is_empty() {
        format!("agent{suffix}")
    } else {
        format!("{host}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn host_of(server: &str) -> Result<String, String> {
        parse_server(server, false)
            .map(|(_, host)| host)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_is_a_url_or_host_and_port() {
        assert_eq!(host_of("http://127.0.0.1:50051").unwrap(), "127.0.0.1");
        assert_eq!(host_of("master.example:50051").unwrap(), "master.example");
        assert_eq!(host_of("[::1]:50051").unwrap(), "::1");
        for text in [
            "",
            "host",
            "http://",
            "http://host",
            "host:0",
            "host:99999",
            "a b:1",
            ":50051",
        ] {
            assert!(host_of(text).unwrap_err().contains("--server"), "{text}");
        }
        assert!(host_of("ftp://host:1").unwrap_err().contains("http://"));
        for text in [
            "user:secret@host:1",
            "host:1/?token=secret",
            "user:secret%40host",
            "ftp://host:1?token=secret",
            "http://u:secret@host:1",
            "ftp://u:secret@host:1",
        ] {
            let error = host_of(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert_eq!(
            parse_server("host:1", true).unwrap().0.to_string(),
            "https://host:1/"
        );
    }

    #[test]
    fn only_the_scheme_that_goes_with_tls_is_taken_in_whatever_case() {
        for (text, is_encrypted, uri) in [
            ("HTTP://host:1", false, Some("http://host:1/")),
            ("hTTps://host:1/", true, Some("https://host:1/")),
            ("https://host:1", false, None),
            ("HTTP://host:1", true, None),
            ("httpx://host:1", false, None),
            ("user@host:1", false, None),
            ("http://user@host:1", false, None),
            ("http://user:word@host:1", false, None),
            ("http://host:1/path", false, None),
            ("http://host:1?query", false, None),
            ("http://http://host:1", false, None),
        ] {
            let parsed = parse_server(text, is_encrypted).ok();
            let parsed = parsed.map(|(uri, _)| uri.to_string());
            assert_eq!(parsed.as_deref(), uri, "{text}");
        }
    }

    #[test]
    fn a_scheme_in_capitals_asks_for_tls_too() {
        let args = Args::parse_from(["metronome-agent", "--server", "HTTPS://host:1"]);
        let config = RemoteConfig::try_from(args.remote).unwrap();
        assert!(config.tls.is_some());
        assert_eq!(config.server.to_string(), "https://host:1/");
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    proptest! {
        #[test]
        fn every_host_name_makes_a_valid_agent_name(host: String, pid: u32) {
            prop_assert!(is_name(&default_name(&host, pid)));
        }
    }

    #[test]
    fn the_default_name_is_the_hosts_and_the_processs() {
        assert_eq!(default_name("Web_1.example\n", 42), "web-1-example-42");
        assert_eq!(default_name("", 42), "agent-42");
    }
}
