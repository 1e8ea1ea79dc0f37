//! What every service and every run's driver works with.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use metronome_os::clock;
use metronome_proto::{run_id::RunId, v1};
use metronome_telemetry::restraint::Restraint;
use tokio::{sync::Mutex, task};
use tonic::{Code, Status};

use crate::{
    config::{Config, Secret},
    control::{
        agents::Registry, master_client::MasterClient, monitor::Counters, runs::active::ActiveRuns,
        status,
    },
    store::Store,
    upgrade::Upgrade,
    wall_clock,
};

/// What does not change while the server lives, what it took over in an upgrade included.
#[derive(Debug)]
pub(crate) struct ServerInfo {
    pub(crate) data_address: SocketAddr,
    pub(crate) grpc_address: SocketAddr,
    pub(crate) max_clients: u32,
    pub(crate) accept_raw: bool,
    /// Slowest packets that a run's trace shows.
    pub(crate) traced_packets: usize,
    pub(crate) started_unix_ms: u64,
    pub(crate) started_ns: u64,
    /// Remarks that every report carries.
    pub(crate) notes: Vec<String>,
}

impl ServerInfo {
    /// `started`: when the server was started that this one replaces, ms since 1970 and ns of
    /// CLOCK_MONOTONIC.
    pub(crate) fn new(
        config: &Config,
        data_address: SocketAddr,
        grpc_address: SocketAddr,
        started: Option<(u64, u64)>,
    ) -> Self {
        let (started_unix_ms, started_ns) =
            started.unwrap_or_else(|| (wall_clock::unix_ms(), clock::now_ns()));
        let exposed = "The server's gRPC port takes orders from other hosts without a certificate (--insecure-no-tls).";
        Self {
            data_address,
            grpc_address,
            max_clients: config.max_clients,
            accept_raw: config.accept_raw,
            traced_packets: config.traced_packets.into(),
            started_unix_ms,
            started_ns,
            notes: config
                .exposed
                .then(|| exposed.to_owned())
                .into_iter()
                .collect(),
        }
    }
}

/// The server behind the API.
pub(crate) struct Shared {
    pub(crate) server: ServerInfo,
    pub(crate) secret: Secret,
    pub(crate) master_client: MasterClient,
    pub(crate) registry: Arc<Registry>,
    pub(crate) runs: ActiveRuns,
    pub(crate) counters: Counters,
    /// Held from the look for a request_id to the run that has it.
    pub(crate) starting: Mutex<()>,
    pub(crate) upgrade: Upgrade,
    store: Arc<Store>,
    draining: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        server: ServerInfo,
        secret: Secret,
        store: Store,
        master_client: MasterClient,
        upgrade: Upgrade,
    ) -> Self {
        Self {
            server,
            secret,
            master_client,
            upgrade,
            registry: Arc::default(),
            runs: ActiveRuns::default(),
            counters: Counters::default(),
            starting: Mutex::default(),
            store: Arc::new(store),
            draining: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// From now on no run is started.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the runs of this server, and its name in the history, end with this process: not
    /// before the old process has let go, and not any more once a new one has taken over.
    pub(crate) fn set_last(&self, is_last: bool) {
        self.store.set_last(is_last);
    }

    pub(crate) fn database(&self) -> String {
        self.store.path().display().to_string()
    }

    /// Asks the history on a thread that may block.
    pub(crate) async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        task::spawn_blocking(move || work(&store))
            .await
            .map_err(|_| {
                status::plain(
                    Code::Internal,
                    "HISTORY_FAILED",
                    "the history could not be asked",
                )
            })
    }

    /// One run, wherever it is known best: while it lives here, then in the history.
    pub(crate) async fn find_run(&self, id: RunId) -> Result<v1::Run, Status> {
        if let Some(active) = self.runs.find(id) {
            return Ok(active.run());
        }
        if let Some(unsaved) = self.runs.find_unstored(id) {
            return Ok(unsaved.run);
        }
        let stored = self.with_store(move |store| store.run(id)).await?;
        stored
            .map_err(|error| unreadable(&error))?
            .ok_or_else(|| status::unknown_run(id))
    }
}

/// Whoever may ask can ask by the thousand.
static UNREADABLE: Restraint = Restraint::new(10, 10_000_000_000);

/// The history could not be read.
pub(crate) fn unreadable(error: &rusqlite::Error) -> Status {
    if let Some(withheld) = UNREADABLE.admit(clock::now_ns()) {
        tracing::error!(withheld, "the history cannot be read: {error}");
    }
    status::plain(
        Code::Internal,
        "HISTORY_FAILED",
        &format!("the history cannot be read: {error}"),
    )
}
