//! metronome-server: a master with the gRPC API, forked workers that read packets, and the ledger
//! in shared memory that both trust the kernel, not each other, to keep exact.
//!
//! ```text
//! main → control, master, worker      control → run, verdict, metrics, master, ledger, store
//! master → ledger, sys                worker → ledger, sys, proto's codecs
//! ```
//!
//! `run`, `verdict`, `metrics` and `master::placement` are pure. tokio and tonic appear only in `control`.
//! `unsafe` appears only in `sys`.

mod config;
mod control;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod ledger;
mod master;
mod metrics;
mod random;
mod run;
mod store;
mod sys;
mod text;
mod verdict;
mod worker;

use std::{
    net::{SocketAddr, TcpListener},
    process::ExitCode,
};

use anyhow::Context as _;
use metronome_proto::telemetry::Telemetry;

pub use config::{Args, Command, database_path};
pub use store::History;
pub use worker::run_if_asked as run_as_worker_if_asked;

use config::{Config, Http};
use store::Store;

/// Exit code for flags that cannot be.
const EXIT_USAGE: u8 = 2;

/// Runs a server until a signal ends it, or the subcommand that the flags name; for `main`, and for benchctl when it brings its own server.
///
/// Whoever calls this must have called [`run_as_worker_if_asked`] first, since workers are the same
/// executable. Exit codes: 0 after a drain, 2 bad flags, 1 anything else, 130 aborted.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    if let Some(Command::Healthcheck) = args.command {
        return control::probe::run(&args);
    }
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    serve(&config).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Opens everything that can be refused, in an order that leaves nothing behind, then serves.
fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    let data = bind("--port", &config.data)?;
    let grpc = bind("--grpc", &config.grpc)?;
    let http = bind_http(config.http.as_ref())?;
    let (store, aborted) = Store::open(&config.database, control::unix_ms())?;
    let data_address = data.local_addr().context("the data listener has no address")?;
    // The workers come before any other thread: the master starts them by exec, but a machine that
    // has only one thread is the simplest to leave again.
    let (master, master_thread) = master::start(master::Settings {
        listener: data,
        workers: config.workers,
        max_clients: config.max_clients,
        accept_raw: config.accept_raw,
        standing_key: config.standing_key,
        high_priority: config.high_priority,
        pin_workers: config.pin_workers,
    })?;
    let telemetry = Telemetry::start("metronome-server", &config.logs).map_err(anyhow::Error::msg)?;
    if aborted > 0 {
        tracing::warn!(runs = aborted, "runs whose server died are now listed as aborted");
    }
    let code = control::serve(config, control::Parts { grpc, http, data_address, store, master, master_thread });
    telemetry.finish();
    code
}

/// A default that is taken is no reason not to serve: two servers may share a host.
fn bind_http(http: Option<&Http>) -> anyhow::Result<Option<TcpListener>> {
    let Some(Http { addresses, is_asked_for }) = http else { return Ok(None) };
    match bind("--http", addresses) {
        Err(error) if *is_asked_for => Err(error),
        bound => Ok(bound.ok()),
    }
}

fn bind(flag: &str, addresses: &[SocketAddr]) -> anyhow::Result<TcpListener> {
    let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    TcpListener::bind(addresses).with_context(|| {
        format!("cannot listen on {shown}; end what listens there (`ss -ltnp` shows it) or choose another with {flag}")
    })
}
