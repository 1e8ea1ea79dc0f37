//! The services of the gRPC port, and its limits.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use metronome_proto::{
    DESCRIPTORS, MESSAGE_BYTES_MAX,
    v1::{
        admin_service_server::AdminServiceServer, agent_service_server::AgentServiceServer,
        fleet_service_server::FleetServiceServer, run_service_server::RunServiceServer,
    },
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::StreamExt as _;
use tonic::{
    codec::CompressionEncoding::Gzip,
    service::Routes,
    transport::{Server, server::Connected},
};
use tower::layer::util::{Identity, Stack};

use super::{
    admin_service::AdminService,
    answers::{AnswerBudget, Answers},
    fleet_service::FleetService,
    health::Health,
    open_calls::ConnectionCalls,
    request_body::RequestBudget,
    rpc_tracing::RpcTracing,
    run_service::RunService,
    turns::Turns,
};
use crate::{
    config::Config,
    control::{agents::AgentService, shared::Shared},
};

const STREAMS_PER_CONNECTION_MAX: u32 = 100;
/// Calls of a connection that were reset before they were taken up. Beyond it the connection is
/// closed for all its calls; h2's own 20 are passed by a client that cancels a page of calls at
/// once. Large enough for four times the streams of a connection.
const RESETS_MAX: usize = 400;
const HEADER_BYTES_MAX: u32 = 8 << 10;
/// A question of grpc.health or grpc.reflection: the name of a service, a type or a file.
/// Reflection answers before its first question, so that what has come of one is not charged.
const QUESTION_BYTES_MAX: usize = 4 << 10;
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// A peer that vanished silently is noticed within the sum of these two.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

/// The services of the gRPC port, and how they are served: every call is traced.
#[derive(Clone)]
pub(crate) struct Services {
    server: Server<Stack<RpcTracing, Identity>>,
    routes: Routes,
    budget: AnswerBudget,
    requests: RequestBudget,
}

impl Services {
    /// Serves one connection until it ends, and counts its open calls. `going`: the peer is asked
    /// to open no more calls, and the connection ends with the last one; it has to be ready when
    /// the connection was closed by the peer.
    pub(crate) async fn serve<C>(
        self,
        connection: C,
        calls: Arc<ConnectionCalls>,
        going: impl Future<Output = ()>,
    ) where
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        // A stream that ends would end the connection.
        let incoming =
            tokio_stream::once(Ok::<_, std::io::Error>(connection)).chain(tokio_stream::pending());
        let server = self.server.layer(Answers {
            calls,
            budget: self.budget,
            requests: self.requests,
        });
        let served = server.serve_with_incoming_shutdown(self.routes, incoming, going);
        if let Err(error) = served.await {
            tracing::debug!("a connection could not be served: {error}");
        }
    }
}

/// The limits of a service of ours. Requests may be compressed, and the limit holds for what they
/// are decompressed to; responses never are. Each generated server is a type of its own, so that no
/// function can take them all.
macro_rules! within_limits {
    ($service:expr) => {
        $service
            .accept_compressed(Gzip)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    };
}

/// The services, and the health that they report: SERVING from here on.
pub(crate) async fn services(
    shared: &Arc<Shared>,
    config: &Config,
) -> anyhow::Result<(Health, Services)> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health::new(reporter);
    let agent_service = AgentService::new(
        Arc::clone(&shared.registry),
        Arc::clone(&shared.counters.agents),
        Arc::clone(&shared.runs.pauses),
    );
    let turns = Turns::new();
    let runs = RunService::new(Arc::clone(shared), turns.clone());
    let runs = within_limits!(RunServiceServer::new(runs));
    let fleet = FleetService::new(Arc::clone(shared), turns);
    let fleet = within_limits!(FleetServiceServer::new(fleet));
    let admin = within_limits!(AdminServiceServer::new(AdminService::new(Arc::clone(
        shared
    ))));
    let agents = within_limits!(AgentServiceServer::new(agent_service));
    health.set(true).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The details of errors, so that a client without any protos can read them.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let mut server = Server::builder();
    if let Some(tls) = &config.tls {
        server = server
            .tls_config(tls.clone())
            .context("TLS cannot be set up")?;
    }
    let server = server
        .layer(RpcTracing::new(Arc::clone(&shared.counters.calls)))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER));
    let mut routes = Routes::default()
        .add_service(runs)
        .add_service(fleet)
        .add_service(admin)
        .add_service(agents)
        .add_service(health_service.max_decoding_message_size(QUESTION_BYTES_MAX));
    if config.reflection {
        let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
        routes = routes
            .add_service(v1.max_decoding_message_size(QUESTION_BYTES_MAX))
            .add_service(v1alpha.max_decoding_message_size(QUESTION_BYTES_MAX));
    }
    let services = Services {
        server,
        routes: routes.prepare(),
        budget: AnswerBudget::new(),
        requests: RequestBudget::new(),
    };
    Ok((health, services))
}
