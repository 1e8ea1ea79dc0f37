//! The services of the gRPC port, and its limits.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use metronome_proto::{
    DESCRIPTORS, MESSAGE_BYTES_MAX,
    v1::{
        agent_service_server::AgentServiceServer, operator_service_server::OperatorServiceServer,
    },
};
use tonic::transport::{Server, server::Router};
use tower::layer::util::{Identity, Stack};

use super::{health::Health, operator::Operator, rpc_tracing::RpcTracing};
use crate::{
    config::Config,
    control::{agents::AgentService, shared::Shared},
};

const STREAMS_PER_CONNECTION_MAX: u32 = 100;
const HEADER_BYTES_MAX: u32 = 8 << 10;
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// A peer that vanished silently is noticed within the sum of these two.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

/// The services of the gRPC port, every call traced.
type Traced = Stack<RpcTracing, Identity>;

/// The services, and the health that they report: SERVING from here on.
pub(crate) async fn services(
    shared: &Arc<Shared>,
    config: &Config,
) -> anyhow::Result<(Health, Router<Traced>)> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health::new(reporter);
    let operator = OperatorServiceServer::new(Operator::new(Arc::clone(shared)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let agent_service = AgentService::new(
        Arc::clone(&shared.registry),
        Arc::clone(&shared.counters.agents),
    );
    let agents = AgentServiceServer::new(agent_service)
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
        .layer(RpcTracing::new(Arc::clone(&shared.counters.calls)))
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
