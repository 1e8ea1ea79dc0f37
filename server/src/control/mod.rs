//! The gRPC API: what operators and agents see of the server, and the only place with tokio and
//! tonic.
//!
//! | module | subject |
//! |---|---|
//! | [`operator`] | OperatorService: what people and scripts ask |
//! | [`agent_service`] | AgentService: one stream per agent |
//! | [`start`] | StartRun, from the request to a run that lives |
//! | [`driver`] | one task per run: brings events to its state machine and performs the actions |
//! | [`guard`] | what a run gives back when its driver ends, however that happens |
//! | [`snapshot`] | how a running run looks to a watcher |
//! | [`registry`], [`division`] | the agents connected, and who brings which clients |
//! | [`runs`] | the runs that have not ended |
//! | [`master_client`] | questions to the master, with an answer to await |
//! | [`health`] | grpc.health.v1 |
//! | [`calls`] | every call: its span and how long it took |
//! | [`telling`] | what a trace tells of a run at its end |
//! | [`tally`], [`metrics`] | what is counted here, and all that monitoring may read |
//! | [`http`], [`push`] | metrics for Prometheus, metrics over OTLP |
//! | [`listener`], [`shutdown`], [`answer`] | connections, the end of the server, errors with details |
//! | [`probe`] | the health of another server: the one call that goes out |

mod agents;
mod api;
mod lifecycle;
mod master_client;
pub(crate) mod monitor;
mod runs;
mod status;

use std::{
    io::{Write as _, stdout},
    net::{SocketAddr, TcpListener},
    process::{self, ExitCode},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;
use metronome_proto::{
    DESCRIPTORS, HTTP_ADDRESS_DEFAULT, MESSAGE_BYTES_MAX,
    v1::{
        agent_service_server::AgentServiceServer, operator_service_server::OperatorServiceServer,
    },
};
use sd_notify::NotifyState;
use tokio::{runtime, sync::watch, task::JoinHandle as Task};
use tonic::transport::{Server, server::Router};
use tower::layer::util::{Identity, Stack};

use crate::{
    config::Config,
    ledger::Dimensions,
    master::Handle,
    store::Store,
    upgrade::{self, InheritedFds, Offer, OldProcess, Upgrade},
};
use agents::AgentService;
use api::{health::Health, operator::Operator, rpc_tracing::RpcTracing};
use lifecycle::{
    listener::Intake,
    shared::{ServerInfo, Shared},
    shutdown,
    upgrade::take_over,
};
use master_client::MasterClient;
use monitor::{http, metrics::Metrics, push};

/// Two threads serve the API of any load; more would take cores from the workers.
const THREADS: usize = 2;
const STREAMS_PER_CONNECTION_MAX: u32 = 100;
const HEADER_BYTES_MAX: u32 = 8 << 10;
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// A peer that is gone without a word is noticed within the sum of these two.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

/// The services of the gRPC port, every call watched.
type Watched = Stack<RpcTracing, Identity>;

/// What the control plane works with: everything is open already.
pub(crate) struct Parts {
    pub(crate) grpc: TcpListener,
    pub(crate) http: Option<TcpListener>,
    pub(crate) data_address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) master: Handle,
    pub(crate) master_thread: JoinHandle<()>,
    /// What a new process would be offered in an upgrade; `None` for a server that cannot be upgraded.
    pub(crate) offered: Option<(Offer, InheritedFds)>,
    /// The server that this one is to replace.
    pub(crate) old_process: Option<OldProcess>,
    pub(crate) dimensions: Dimensions,
}

/// Serves the API until a signal, then drains. The exit code is the server's.
pub(crate) fn serve(config: &Config, parts: Parts) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .context("the threads of the control plane cannot be started")?;
    let code = runtime.block_on(serve_until_signal(config, parts));
    // A question to the database that hangs must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn serve_until_signal(config: &Config, parts: Parts) -> anyhow::Result<ExitCode> {
    let signals = shutdown::Signals::listen()?;
    let grpc_address = parts
        .grpc
        .local_addr()
        .context("the gRPC listener has no address")?;
    let master_gone = shutdown::watch_thread(parts.master_thread);
    let master_client = MasterClient::new(parts.master);
    let restored = match parts.old_process {
        Some(old_process) => {
            Some(upgrade::restore(old_process, &master_client, parts.dimensions).await?)
        }
        None => None,
    };
    let started = restored.as_ref().map(|restored| {
        (
            restored.control.started_unix_ms,
            restored.control.started_ns,
        )
    });
    let server = ServerInfo::new(config, parts.data_address, grpc_address, started);
    let upgrade = Upgrade::new(parts.offered, config.upgrade_wait);
    let shared = Arc::new(Shared::new(
        server,
        config.secret,
        parts.store,
        master_client,
        upgrade,
    ));

    let (health, router) = services(&shared, config).await?;
    if let Some(restored) = restored {
        take_over(&shared, restored).await?;
    }
    let (stop, stopped) = watch::channel(());
    let metrics = Arc::new(Metrics::new(Arc::clone(&shared)));
    let http_address = parts.http.as_ref().and_then(|http| http.local_addr().ok());
    match parts.http {
        Some(http) => {
            let intake = Intake::http(http)?;
            http::serve(
                intake,
                grpc_address.port(),
                Arc::clone(&metrics),
                until_closed(stopped.clone()),
            );
        }
        None if config.http.is_some() => {
            tracing::warn!(
                "{HTTP_ADDRESS_DEFAULT} is taken, so there is no HTTP port; give another with --http, or --http off"
            );
        }
        None => {}
    }
    let last_push = push::start(metrics, stopped.clone());
    let incoming = Intake::grpc(parts.grpc, parts.dimensions.slots, config.workers)?.stream();
    let serving: Task<_> =
        tokio::spawn(router.serve_with_incoming_shutdown(incoming, until_closed(stopped)));
    tokio::spawn(health.clone().follow_workers(Arc::clone(&shared)));
    announce(grpc_address, parts.data_address, http_address);
    Ok(shutdown::Server {
        shared,
        health,
        stop,
        serving,
        last_push,
        drain_timeout: config.drain_timeout,
    }
    .run_until(signals, master_gone)
    .await)
}

async fn services(
    shared: &Arc<Shared>,
    config: &Config,
) -> anyhow::Result<(Health, Router<Watched>)> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health::new(reporter);
    let operator = OperatorServiceServer::new(Operator::new(Arc::clone(shared)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let agents = AgentServiceServer::new(AgentService::new(
        Arc::clone(&shared.registry),
        Arc::clone(&shared.counters.agents),
    ))
    .max_decoding_message_size(MESSAGE_BYTES_MAX)
    .max_encoding_message_size(MESSAGE_BYTES_MAX);
    health.set(true).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut server = Server::builder();
    if let Some(tls) = &config.tls {
        server = server
            .tls_config(tls.clone())
            .context("TLS cannot be set up")?;
    }
    let with_reflection = config.reflection;
    let router = server
        .layer(RpcTracing::new(Arc::clone(shared)))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .add_service(operator)
        .add_service(agents)
        .add_service(health_service)
        .add_optional_service(
            with_reflection
                .then(|| reflection().build_v1())
                .transpose()?,
        )
        .add_optional_service(
            with_reflection
                .then(|| reflection().build_v1alpha())
                .transpose()?,
        );
    Ok((health, router))
}

/// Resolves when the other end is dropped.
async fn until_closed(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

/// The one line on standard output, by which scripts know that both ports are open; systemd has its
/// own way.
fn announce(grpc: SocketAddr, data: SocketAddr, http: Option<SocketAddr>) {
    let http = http.map(|http| format!(" http {http}")).unwrap_or_default();
    let line = format!(
        "metronome-server ready: grpc {grpc} data {data}{http} pid {}\n",
        process::id()
    );
    // Whoever started us may not read it; that is no reason not to serve.
    let _ = stdout()
        .write_all(line.as_bytes())
        .and_then(|()| stdout().flush());
    tracing::info!("{}", line.trim_end());
    // Without a service manager this does nothing.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}
