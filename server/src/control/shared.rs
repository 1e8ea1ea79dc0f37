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
use metronome_telemetry::rate_limited_log::RateLimit;
use tokio::{sync::Mutex, task};
use tonic::{Code, Status};

use super::{
    answer,
    data_plane::DataPlane,
    identity::{self, ClockIdentity},
    registry::Registry,
    runs::Runs,
    tally::Tally,
    upgrade::Upgrade,
};
use crate::{
    config::{Config, Secret},
    store::Store,
};

/// What does not change while the server lives; of a successor, what it took over included.
#[derive(Debug)]
pub(super) struct About {
    pub(super) data_address: SocketAddr,
    pub(super) grpc_address: SocketAddr,
    pub(super) max_clients: u32,
    pub(super) accept_raw: bool,
    /// Slowest packets that a run's trace shows.
    pub(super) traced_packets: usize,
    pub(super) started_unix_ms: u64,
    pub(super) started_ns: u64,
    pub(super) clock: ClockIdentity,
    /// Remarks that every report carries.
    pub(super) notes: Vec<String>,
}

impl About {
    /// `started`: the server that this one succeeds, label and CLOCK_MONOTONIC.
    pub(super) fn new(
        config: &Config,
        data_address: SocketAddr,
        grpc_address: SocketAddr,
        started: Option<(u64, u64)>,
    ) -> Self {
        let (started_unix_ms, started_ns) =
            started.unwrap_or_else(|| (identity::unix_ms(), clock::now_ns()));
        let exposed = "The server's gRPC port takes orders from other hosts without a certificate (--insecure-no-tls).";
        Self {
            data_address,
            grpc_address,
            max_clients: config.max_clients,
            accept_raw: config.accept_raw,
            traced_packets: config.traced_packets.into(),
            started_unix_ms,
            started_ns,
            clock: ClockIdentity::of_this_process(),
            notes: config
                .exposed
                .then(|| exposed.to_owned())
                .into_iter()
                .collect(),
        }
    }
}

/// The server behind the API.
pub(super) struct Shared {
    pub(super) about: About,
    pub(super) secret: Secret,
    pub(super) data_plane: DataPlane,
    pub(super) registry: Registry,
    pub(super) runs: Runs,
    pub(super) tally: Tally,
    /// Held from the look for a request_id to the run that has it.
    pub(super) starting: Mutex<()>,
    pub(super) upgrade: Upgrade,
    store: Arc<Store>,
    draining: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        about: About,
        secret: Secret,
        store: Store,
        data_plane: DataPlane,
        upgrade: Upgrade,
    ) -> Self {
        Self {
            about,
            secret,
            data_plane,
            upgrade,
            registry: Registry::default(),
            runs: Runs::default(),
            tally: Tally::default(),
            starting: Mutex::default(),
            store: Arc::new(store),
            draining: AtomicBool::new(false),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// From now on no run is started.
    pub(super) fn start_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// A successor has this server's runs: they do not end with this process.
    pub(super) fn is_succeeded(&self) {
        self.store.set_last(false);
    }

    /// This server has the runs of another one, which is gone.
    pub(super) fn succeeds(&self) {
        self.store.set_last(true);
    }

    pub(super) fn database(&self) -> String {
        self.store.path().display().to_string()
    }

    /// Asks the history on a thread that may block.
    pub(super) async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        task::spawn_blocking(move || work(&store))
            .await
            .map_err(|_| {
                answer::plain(
                    Code::Internal,
                    "HISTORY_FAILED",
                    "the history could not be asked",
                )
            })
    }

    /// One run, wherever it is known best: while it lives here, then in the history.
    pub(super) async fn find_run(&self, id: RunId) -> Result<v1::Run, Status> {
        if let Some(active) = self.runs.find(id) {
            return Ok(active.run());
        }
        if let Some(unsaved) = self.runs.find_unsaved(id) {
            return Ok(unsaved.run);
        }
        let stored = self.with_store(move |store| store.run(id)).await?;
        stored
            .map_err(|error| unreadable(&error))?
            .ok_or_else(|| answer::unknown_run(id))
    }
}

/// Whoever may ask can ask by the thousand.
static UNREADABLE: RateLimit = RateLimit::new(10, 10_000_000_000);

/// The history could not be read.
pub(super) fn unreadable(error: &rusqlite::Error) -> Status {
    if let Some(withheld) = UNREADABLE.admit(clock::now_ns()) {
        tracing::error!(withheld, "the history cannot be read: {error}");
    }
    answer::plain(
        Code::Internal,
        "HISTORY_FAILED",
        &format!("the history cannot be read: {error}"),
    )
}
