//! Reads what [`crate::metrics`] exports: the master's ledger, the control plane's counters, this
//! process.
//!
//! The text that is scraped is kept for a second: however many ask, the ledger's histograms are
//! read and written out once.

use std::{sync::Arc, time::Duration};

use hyper::body::Bytes;
use metronome_os::{host, process::cpu_ns};
use metronome_telemetry::{self as telemetry, sanitise};
use rustix::process::getpid;
use tokio::{sync::Mutex, time::Instant};

use super::counters::Counters;
use crate::{
    control::{master_client::MasterClient, runs::RunManager, server_info::ServerInfo},
    metrics::{Family, Figures, ProcessFigures, families, write},
};

const KEPT_FOR: Duration = Duration::from_secs(1);

/// Reads the metrics and keeps the newest text of them.
pub(crate) struct Readings {
    server: Arc<ServerInfo>,
    master_client: MasterClient,
    runs: Arc<RunManager>,
    counters: Counters,
    /// Held while a reading is made, so that those who ask meanwhile share it.
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Readings {
    pub(crate) fn new(
        server: Arc<ServerInfo>,
        master_client: MasterClient,
        runs: Arc<RunManager>,
        counters: Counters,
    ) -> Self {
        Self {
            server,
            master_client,
            runs,
            counters,
            last: Mutex::default(),
        }
    }

    /// All families as they are now. `None` when the master does not reply.
    pub(super) async fn read(&self) -> Option<Vec<Family>> {
        Some(families(&self.figures().await?))
    }

    /// All families as Prometheus reads them, at most a second old. `None` when the master does
    /// not reply.
    pub(super) async fn text(&self) -> Option<Bytes> {
        let mut last = self.last.lock().await;
        if let Some((_, text)) = last.as_ref().filter(|(at, _)| at.elapsed() < KEPT_FOR) {
            return Some(text.clone());
        }
        let text = Bytes::from(write(&self.read().await?));
        *last = Some((Instant::now(), text.clone()));
        Some(text)
    }

    /// Why no run could be started now. `None` when one could.
    pub(super) async fn unready(&self) -> Option<String> {
        if self.runs.draining.is_cancelled() {
            return Some("draining: the server shuts down and starts no runs".into());
        }
        let history = &self.runs.history;
        let unstored = *history.unstored().borrow();
        match self.master_client.read_server().await {
            None => Some("the data plane does not answer".into()),
            Some(status) if !status.recoveries.crash_loops.is_empty() => {
                Some("a worker dies again and again".into())
            }
            Some(_) if unstored > 0 => Some(sanitise::sentence(&format!(
                "the history cannot be written, results that wait for it: {unstored}: {}",
                history.why_unstored()
            ))),
            Some(_) => None,
        }
    }

    /// Whether the master replies.
    pub(super) async fn is_alive(&self) -> bool {
        self.master_client.read_server().await.is_some()
    }

    /// When counting began, ns since 1970.
    pub(super) fn began_unix_ns(&self) -> u64 {
        self.server.started_unix_ms.saturating_mul(1_000_000)
    }

    async fn figures(&self) -> Option<Figures> {
        let unstored = *self.runs.history.unstored().borrow();
        let group_times = self.master_client.read_group_times().await?;
        Some(Figures {
            server: self.master_client.read_server().await?,
            totals: self.master_client.read_totals().await?,
            control: self.counters.figures(
                self.runs.active.count(),
                unstored,
                self.runs.active.groups(group_times),
            ),
            process: process(self.server.started_unix_ms),
            max_clients: self.server.max_clients,
            is_draining: self.runs.draining.is_cancelled(),
            spans_dropped: telemetry::spans_dropped(),
        })
    }
}

fn process(started_unix_ms: u64) -> ProcessFigures {
    ProcessFigures {
        cpu_s: cpu_ns(getpid()).map(|ns| ns as f64 / 1e9),
        resident_bytes: host::resident_bytes(),
        descriptors: host::open_descriptors(),
        started_unix_s: started_unix_ms as f64 / 1e3,
    }
}
