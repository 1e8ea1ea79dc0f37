//! metronome-server: a master with the gRPC API, forked workers that read packets, and the ledger
//! in shared memory. Master and workers do not trust each other; the kernel's counts decide.
//!
//! For programs around a server:
//!
//! | item | subject |
//! |---|---|
//! | [`Server`] | a whole server as the `main` of a program of yours |
//! | [`PacketHandler`], [`PacketBatch`], [`ReceivedPacket`] | code of yours for every packet |
//! | [`run`], [`run_as_worker_if_asked`], [`Args`] | a server inside another executable |
//! | [`History`] | the runs that servers have stored |
//!
//! How it is built:
//!
//! ```text
//! this file → control, master, worker, upgrade, store, ledger, config, wall_clock
//! control   → master, upgrade, store, config, verdict, metrics, ledger, wall_clock
//! master    → upgrade, ipc, ledger, rx_batching
//! upgrade   → ipc, metrics, ledger
//! worker    → handler, ipc, ledger, rx_batching
//! handler   → ledger
//! ipc       → ledger, rx_batching
//! store     → config, wall_clock
//! config    → ledger, rx_batching
//! verdict, metrics, ledger and all above them but store and config → model
//! ```
//!
//! `model`, `verdict`, `metrics`, `ledger`, `rx_batching` and what decides in `master` are pure
//! (tests/layers has the list). tokio and tonic appear only in `control` and in the drivers of
//! `upgrade`; `unsafe` appears in none of them.

mod config;
mod control;
mod handler;
mod ipc;
mod ledger;
mod master;
mod metrics;
mod model;
mod rx_batching;
mod store;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
mod upgrade;
mod verdict;
mod wall_clock;
mod worker;

use std::{
    env, fmt, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::ExitCode,
};

use anyhow::Context as _;
use metronome_os::{standard_error, temporary_folder::TemporaryFolder, threads::check};
use metronome_telemetry::{Telemetry, command_line};

#[doc(hidden)]
pub use config::database_path;
pub use config::{Args, Command};
pub use handler::{PacketBatch, PacketHandler, ReceivedPacket};
pub use rx_batching::RxBatching;
pub use store::{History, ListQuery, RunPage};

use config::{Config, Database, Http};
use handler::HandlerFactory;
use ledger::{Dimensions, LAYOUT, Ledger, WORDS_USED};
use store::{Store, why_not_kept};
use upgrade::{InheritedFds, Offer, OldProcess};

/// Exit code for flags that cannot be.
const EXIT_USAGE: u8 = 2;

/// The control plane's two and those that ask the store, the master and the one that waits for its
/// end.
const THREADS: usize = 7;

/// The process of a worker, and the thread for its log.
const WORKER_THREADS: usize = 2;

/// What a server with so many workers starts besides its first thread: the system counts threads
/// and processes alike.
#[doc(hidden)]
#[must_use]
pub fn threads(workers: u32) -> usize {
    THREADS + metronome_telemetry::threads() + workers as usize * WORKER_THREADS
}

/// Runs as a worker when the master has started this executable as one, and returns the exit code.
/// `None` for every other start. Call it first in `main` of an executable that can be a server
/// without a packet handler; one with a handler has [`Server::run_as_worker_if_asked`].
#[must_use]
pub fn run_as_worker_if_asked() -> Option<ExitCode> {
    Server::new().run_as_worker_if_asked()
}

/// Runs a server until a signal ends it, or the subcommand that the flags name; for `main`, and for
/// benchctl when it brings its own server.
///
/// The caller must have called [`run_as_worker_if_asked`] first, since workers are the same
/// executable. Exit codes: 0 after a drain, 3 after one that could not store every result, 2 bad
/// flags, 1 anything else, 130 aborted.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    Server::new().run(args)
}

/// A server as a program of yours: that of `metronome-server`, and a [`PacketHandler`] if you give
/// one.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use metronome_server::{PacketBatch, Server};
///
/// fn main() -> ExitCode {
///     Server::new()
///         .handler(|worker| {
///             move |batch: &PacketBatch<'_>| {
///                 for packet in batch.packets() {
///                     println!("worker {worker}: {} {}", batch.client(), packet.sequence);
///                 }
///             }
///         })
///         .main()
/// }
/// ```
///
/// Its workers are the same executable, started again: all that they share with it is the ledger.
/// They have neither its arguments nor its standard output. Their working folder is `/`, their
/// standard error is the server's log, and with a handler their environment is that of the server,
/// less the variables whose names begin with `METRONOME_`.
#[derive(Default)]
pub struct Server {
    handler: Option<HandlerFactory>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("has_handler", &self.handler.is_some())
            .finish()
    }
}

impl Server {
    /// A server that counts packets and calls no code of yours.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has every worker hand its packets to a handler of its own.
    ///
    /// `make` is called once in each worker process before it reads anything, with the worker's
    /// index: 0 to the number of workers less one. The process that comes after one that has died
    /// has the same index. One that panics there, or needs more than 10 s, is started again, at
    /// growing intervals; meanwhile the clients wait.
    #[must_use]
    pub fn handler<H>(mut self, make: impl Fn(usize) -> H + 'static) -> Self
    where
        H: PacketHandler + 'static,
    {
        self.handler = Some(Box::new(move |worker| Box::new(make(worker))));
        self
    }

    /// The whole `main` of a server: a worker where the master has started this executable as one,
    /// or the server of the command line's flags. Call it before anything else, with no other
    /// thread running.
    #[must_use]
    pub fn main(self) -> ExitCode {
        if let Some(code) = self.run_as_worker_if_asked() {
            return code;
        }
        if let Err(code) = metronome_os::start::prepare(|| threads(0)) {
            return code;
        }
        self.run(command_line::parse(env::args_os()))
    }

    /// Runs as a worker when the master has started this executable as one, and returns the exit
    /// code. `None` for every other start. For a `main` of more than a server: call it there before
    /// anything else.
    #[must_use]
    pub fn run_as_worker_if_asked(&self) -> Option<ExitCode> {
        // A worker is this executable again, started by exec: a forked copy of threads and locks
        // would be unsound.
        worker::run_if_asked(self.handler.as_ref())
    }

    /// Runs it until a signal ends it, or the subcommand that the flags name, as [`run`] does and
    /// with the same exit codes.
    #[must_use]
    pub fn run(&self, args: Args) -> ExitCode {
        run_with(args, self.handler.is_some())
    }
}

fn run_with(args: Args, has_handler: bool) -> ExitCode {
    if let Some(Command::Healthcheck) = args.command {
        return control::run_healthcheck(&args);
    }
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => {
            if let Ok(Some(old_process)) = OldProcess::of_this_process() {
                old_process.refuse(&error);
            }
            command_line::write_error_with_variables(&format_args!("{error:#}"), None);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    serve(config, has_handler).unwrap_or_else(|error| {
        let sentence = format_args!("{error:#}");
        match error.downcast_ref() {
            Some(AtFlag { flag, .. }) => {
                command_line::write_error_with_variables(&sentence, Some(flag));
            }
            None => command_line::write_error(&sentence),
        }
        ExitCode::FAILURE
    })
}

/// Why the value of a flag, which is allowed, cannot be used here and now.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
struct AtFlag {
    flag: &'static str,
    sentence: String,
}

/// What is open before anything is served.
struct Opened {
    data: TcpListener,
    grpc: TcpListener,
    http: Option<TcpListener>,
    store: Store,
    /// Why the history is not kept, and where it lies until the end.
    not_kept: Option<(String, TemporaryFolder)>,
    /// Runs whose server was gone.
    aborted: usize,
    /// The ledger of the server that this one is to replace.
    ledger: Option<Ledger>,
}

fn serve(mut config: Config, has_handler: bool) -> anyhow::Result<ExitCode> {
    // Workers start before the threads of the control plane, and would take them away.
    let can_start = check(threads(config.workers)).map_err(|error| {
        anyhow::Error::from(AtFlag {
            flag: "--workers",
            sentence: error.to_string(),
        })
    });
    let Some(old_process) = OldProcess::of_this_process()? else {
        can_start?;
        let opened = open(&config)?;
        return serve_with(&config, has_handler, opened, None);
    };
    match can_start.and_then(|()| open_inherited(&mut config, &old_process)) {
        Ok(opened) => serve_with(&config, has_handler, opened, Some(old_process)),
        Err(error) => {
            old_process.refuse(&error);
            Err(error)
        }
    }
}

/// Opens everything that can be refused, in an order that leaves nothing behind.
fn open(config: &Config) -> anyhow::Result<Opened> {
    let data = bind("--port", &config.data)?;
    let grpc = bind("--grpc", &config.grpc)?;
    let http = bind_http(config.http.as_ref())?;
    let not_kept = not_kept(&config.database)?;
    let temporary = not_kept
        .as_ref()
        .map(|(_, folder)| folder.path().join("runs.sqlite"));
    let path = temporary.or_else(|| config.database.path.clone());
    let path = path.context("there is no place for the history")?;
    let (store, aborted) = Store::open(&path, wall_clock::unix_ms()).map_err(|error| AtFlag {
        flag: "--database",
        sentence: format!("{error:#}"),
    })?;
    Ok(Opened {
        data,
        grpc,
        http,
        store,
        not_kept,
        aborted,
        ledger: None,
    })
}

/// Why no history is kept, with a place for it until the end. A file that the user has named is
/// used or refused.
fn not_kept(database: &Database) -> anyhow::Result<Option<(String, TemporaryFolder)>> {
    if database.is_asked_for {
        return Ok(None);
    }
    let Some(why) = why_not_kept(database.path.as_deref()) else {
        return Ok(None);
    };
    let state = database.path.as_deref().and_then(Path::parent);
    let folder = TemporaryFolder::new(state).with_context(|| {
        format!("there is no place for the history: {why}; name its file with METRONOME_DATABASE")
    })?;
    Ok(Some((why, folder)))
}

/// Opens what the server that this one is to replace has handed over. What is laid out for so many
/// clients and workers stays so, whatever the flags say.
fn open_inherited(config: &mut Config, old_process: &OldProcess) -> anyhow::Result<Opened> {
    let (offer, inherited) = old_process.offer()?;
    let path = config.database.path.as_deref();
    let path = path.context("nothing names a place for the history any more")?;
    let store = Store::inherit(path, &offer.owner, inherited.lock)?;
    let ledger = Ledger::open(Dimensions { slots: offer.slots }, inherited.ledger)
        .context("the old server's ledger")?;
    (config.workers, config.max_clients, config.accept_raw) =
        (offer.workers, offer.max_clients, offer.accept_raw);
    Ok(Opened {
        data: inherited.data.into(),
        grpc: inherited.grpc.into(),
        http: inherited.http.map(Into::into),
        store,
        not_kept: None,
        aborted: 0,
        ledger: Some(ledger),
    })
}

fn serve_with(
    config: &Config,
    has_handler: bool,
    opened: Opened,
    old_process: Option<OldProcess>,
) -> anyhow::Result<ExitCode> {
    let Opened {
        data,
        grpc,
        http,
        store,
        not_kept,
        aborted,
        ledger,
    } = opened;
    let data_address = data
        .local_addr()
        .context("the data listener has no address")?;
    let data_again = data
        .try_clone()
        .context("the data listener cannot be held twice")?;
    // The workers come before any other thread: the master starts them by exec, but a machine that
    // has only one thread is the simplest to leave again.
    let started = master::start(master::Settings {
        listener: data,
        workers: config.workers,
        max_clients: config.max_clients,
        accept_raw: config.accept_raw,
        static_key: config.static_key,
        high_priority: config.high_priority,
        pin_workers: config.pin_workers,
        rx_batching: config.rx_batching,
        has_handler,
        ledger,
    })?;
    let dimensions = Dimensions {
        slots: started.slots,
    };
    let offered = if config.can_be_upgraded && not_kept.is_none() {
        let offer = offer(config, started.slots, http.is_some(), &store);
        let lock = store.owner().1;
        let inherited =
            InheritedFds::duplicate(data_again, &grpc, lock, started.ledger, http.as_ref())
                .context("what an upgrade would hand over cannot be held twice")?;
        Some((offer, inherited))
    } else {
        None
    };
    let telemetry =
        Telemetry::start("metronome-server", &config.logs).map_err(anyhow::Error::msg)?;
    report_history(
        config,
        not_kept.as_ref().map(|(why, _)| why.as_str()),
        aborted,
    );
    let settings = control::Settings {
        grpc,
        http,
        data_address,
        store,
        master: started.handle,
        master_thread: started.thread,
        offered,
        old_process,
        dimensions,
    };
    let code = control::serve(config, settings);
    telemetry.finish();
    code
}

/// Reports the runs that were aborted, and why the history ends with this server, if it does: for
/// an embedded one to the user of benchctl, who gets the lines that begin with the name of the
/// executable.
fn report_history(config: &Config, why_not_kept: Option<&str>, aborted: usize) {
    if aborted > 0 {
        tracing::warn!(
            runs = aborted,
            "runs without a result whose server is gone are now listed as aborted"
        );
    }
    let Some(why) = why_not_kept else {
        return;
    };
    let sentence = format!("no history is kept: {why}; name its file with METRONOME_DATABASE");
    if config.is_embedded {
        standard_error::write_line(&format!("metronome-server: {sentence}"));
    } else {
        tracing::warn!("{sentence} or --database");
    }
}

/// What this server would offer a new process in an upgrade.
fn offer(config: &Config, slots: u32, has_http: bool, store: &Store) -> Offer {
    Offer {
        layout: LAYOUT.to_vec(),
        words_used: WORDS_USED as u32,
        slots,
        workers: config.workers,
        max_clients: config.max_clients,
        accept_raw: config.accept_raw,
        owner: store.owner().0.to_owned(),
        has_http,
    }
}

/// A default that is taken is no reason not to serve: two servers may share a host.
fn bind_http(http: Option<&Http>) -> anyhow::Result<Option<TcpListener>> {
    let Some(Http {
        addresses,
        is_asked_for,
    }) = http
    else {
        return Ok(None);
    };
    match bind("--http", addresses) {
        Err(error) if *is_asked_for => Err(error),
        bound => Ok(bound.ok()),
    }
}

fn bind(flag: &'static str, addresses: &[SocketAddr]) -> anyhow::Result<TcpListener> {
    let shown = addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ");
    TcpListener::bind(addresses).map_err(|error| {
        // The port is free where the address is not one of this host.
        let is_foreign = error.kind() == io::ErrorKind::AddrNotAvailable;
        let flag = if is_foreign && flag == "--port" {
            "--host"
        } else {
            flag
        };
        let way_out = if is_foreign {
            format!("choose an address of this host with {flag}")
        } else {
            format!("end what listens there (`ss -ltnp` shows it) or choose another with {flag}")
        };
        let sentence = format!("cannot listen on {shown}; {way_out}: {error}");
        anyhow::Error::from(AtFlag { flag, sentence })
    })
}
