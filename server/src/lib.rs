//! metronome-server: a master with the gRPC API, forked workers that read packets, and the ledger
//! in shared memory that both trust the kernel, not each other, to keep exact.
//!
//! ```text
//! main → control, master, worker      control → run, verdict, master, ledger, store
//! master → ledger, sys                worker → ledger, sys, proto's codecs
//! ```
//!
//! `run`, `verdict` and `master::placement` are pure. tokio and tonic appear only in `control`.
//! `unsafe` appears only in `sys`.

mod config;
mod control;
mod ledger;
mod master;
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

pub use config::{Args, LogFormat};
pub use store::History;
pub use worker::run_if_asked as run_as_worker_if_asked;

use config::Config;
use store::Store;

/// Exit code for flags that cannot be.
const EXIT_USAGE: u8 = 2;

/// Runs a server until a signal ends it; for `main`, and for benchctl when it brings its own server.
///
/// Whoever calls this must have called [`run_as_worker_if_asked`] first, since workers are the same
/// executable. Exit codes: 0 after a drain, 2 bad flags, 1 anything else, 130 aborted.
#[must_use]
pub fn run(args: Args) -> ExitCode {
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
    let telemetry = Telemetry::start("metronome-server", "info", config.log_format.into());
    if aborted > 0 {
        tracing::warn!(runs = aborted, "runs whose server died are now listed as aborted");
    }
    let code = control::serve(config, control::Parts { grpc, data_address, store, master, master_thread });
    telemetry.finish();
    code
}

fn bind(flag: &str, addresses: &[SocketAddr]) -> anyhow::Result<TcpListener> {
    let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    TcpListener::bind(addresses).with_context(|| {
        format!("cannot listen on {shown}; end what listens there (`ss -ltnp` shows it) or choose another with {flag}")
    })
}
