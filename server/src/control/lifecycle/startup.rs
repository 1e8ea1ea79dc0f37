//! Puts the parts of the control plane together and serves until the end.

use std::{
    net::{SocketAddr, TcpListener},
    process::{self, ExitCode},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;
use metronome_os::standard_output;
use metronome_proto::HTTP_ADDRESS_DEFAULT;
use sd_notify::NotifyState;
use tokio::{
    runtime,
    task::{self, JoinHandle as Task},
};
use tokio_util::sync::CancellationToken;

use super::{
    limited_listener::LimitedListener,
    shutdown::{Server, watch_thread},
    signals::Signals,
    upgrade::take_over,
};
use crate::{
    config::Config,
    control::{
        api,
        feed::follow_workers,
        master_client::MasterClient,
        monitor::{Readings, serve_http, start_push},
        page,
        server_info::ServerInfo,
        shared::Shared,
    },
    ledger::Dimensions,
    master::Handle,
    model::reach::{self, Mismatch},
    store::Store,
    upgrade::{self, InheritedFds, Offer, OldProcess, Upgrade},
};

/// Two threads serve the API under any load; more would take cores from the workers.
const THREADS: usize = 2;

/// Threads that ask the store, make reports and resolve names. None of them ends before the server,
/// and the first is started with it: when the host has no thread left later, what is asked waits
/// for that one, where a runtime without any would let it wait for ever. So few, because they keep
/// their places in the limit of processes, which a new worker needs as well.
const BLOCKING_THREADS_MAX: usize = 8;

/// What the control plane is given: everything is open already.
pub(crate) struct Settings {
    pub(crate) grpc: TcpListener,
    pub(crate) http: Option<TcpListener>,
    pub(crate) data_address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) master: Handle,
    pub(crate) master_thread: JoinHandle<()>,
    /// What a new process would be offered in an upgrade; `None` for a server that cannot be
    /// upgraded.
    pub(crate) offered: Option<(Offer, InheritedFds)>,
    /// The server that this one replaces.
    pub(crate) old_process: Option<OldProcess>,
    pub(crate) dimensions: Dimensions,
}

/// Serves the API until a signal, then drains. The exit code is the server's.
pub(crate) fn serve(config: &Config, settings: Settings) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(Duration::MAX)
        .thread_name("control")
        .enable_all()
        .build()
        .context("the threads of the control plane cannot be started")?;
    let code = runtime.block_on(async {
        task::spawn_blocking(|| ())
            .await
            .context("the thread that asks the store cannot be started")?;
        serve_until_signal(config, settings).await
    });
    // A query that hangs must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn serve_until_signal(config: &Config, settings: Settings) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen(settings.old_process.is_some())?;
    let grpc_address = settings
        .grpc
        .local_addr()
        .context("the gRPC listener has no address")?;
    let master_gone =
        watch_thread(settings.master_thread).context("no thread can wait for the master's end")?;
    let master_client = MasterClient::new(settings.master);
    let restored = match settings.old_process {
        Some(old_process) => {
            Some(upgrade::restore(old_process, &master_client, settings.dimensions).await?)
        }
        None => None,
    };
    let started = restored.as_ref().map(|restored| {
        (
            restored.control.started_unix_ms,
            restored.control.started_ns,
        )
    });
    let server = ServerInfo::new(config, settings.data_address, grpc_address, started);
    let upgrade = Upgrade::new(settings.offered, config.upgrade_wait);
    let shared = Arc::new(Shared::new(
        server,
        config.secret,
        settings.store,
        master_client,
        upgrade,
    ));

    let (health, services) = api::services(&shared, config).await?;
    if let Some(restored) = restored {
        take_over(&shared, restored).await?;
    }
    let runs = Arc::clone(&shared.runs);
    tokio::spawn(async move { runs.history.store_what_waits().await });
    let closing = CancellationToken::new();
    let http_address = settings
        .http
        .as_ref()
        .and_then(|http| http.local_addr().ok());
    if settings.http.is_none() && config.http.is_some() {
        tracing::warn!(
            "{HTTP_ADDRESS_DEFAULT} is taken, so there is no HTTP port; \
             give another with --http, or --http off"
        );
    }
    let last_push = serve_monitoring(&shared, config, settings.http, &closing)?;
    let (slots, workers) = (settings.dimensions.slots, config.workers);
    let listener = LimitedListener::grpc(settings.grpc, slots, workers, closing.clone())?;
    let serving: Task<_> = tokio::spawn(listener.serve_grpc(services, closing.clone()));
    let (master_client, draining) = (shared.master_client.clone(), shared.runs.draining.clone());
    tokio::spawn(health.clone().follow_workers(master_client, draining));
    let feed = Arc::clone(&shared.runs.feed);
    tokio::spawn(follow_workers(feed, shared.master_client.clone()));
    let pauses = Arc::clone(&shared.runs.pauses);
    tokio::spawn(async move { pauses.watch().await });
    announce(grpc_address, settings.data_address, http_address);
    let server = Server {
        shared,
        health,
        closing,
        serving,
        last_push,
        drain_timeout: config.drain_timeout,
        is_embedded: config.is_embedded,
    };
    Ok(server.run_until(signals, master_gone).await)
}

/// Serves the HTTP port, if there is one, and begins to push metrics. The task ends when the last
/// metrics have gone out.
fn serve_monitoring(
    shared: &Arc<Shared>,
    config: &Config,
    http: Option<TcpListener>,
    closing: &CancellationToken,
) -> anyhow::Result<Option<Task<()>>> {
    let readings = Arc::new(Readings::new(
        Arc::clone(&shared.server),
        shared.master_client.clone(),
        Arc::clone(&shared.runs),
        shared.counters.clone(),
    ));
    if let Some(http) = http {
        let bound = http
            .local_addr()
            .context("the HTTP listener has no address")?;
        let pages = page::routes(shared, &config.page, bound);
        let listener = LimitedListener::http(http, closing.clone())?;
        let grpc_port = shared.server.grpc_address.port();
        let (readings, closing) = (Arc::clone(&readings), closing.clone());
        serve_http(listener, grpc_port, readings, pages, closing);
    }
    Ok(start_push(readings, closing.clone()))
}

/// Prints the one line on standard output from which scripts learn that the ports are open,
/// notifies systemd, and logs what agents on other hosts will miss.
fn announce(grpc: SocketAddr, data: SocketAddr, http: Option<SocketAddr>) {
    let http = http.map(|http| format!(" http {http}")).unwrap_or_default();
    let line = format!(
        "metronome-server ready: grpc {grpc} data {data}{http} pid {}\n",
        process::id()
    );
    // The parent may not read it; that is no reason not to serve.
    standard_output::announce(&line);
    tracing::info!("{}", line.trim_end());
    match reach::mismatch(grpc, data) {
        Some(Mismatch::DataIsLocal(sentence)) => tracing::warn!("{sentence}"),
        Some(Mismatch::GrpcIsLocal(sentence)) => tracing::info!("{sentence}"),
        None => {}
    }
    // Without a service manager this does nothing.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}
