//! Reaching the server.

use std::time::Duration;

use metronome_proto::{
    MESSAGE_BYTES_MAX,
    rpc_failure::Server,
    v1::{Failure, agent_service_client::AgentServiceClient},
};
use tonic::transport::Channel;

use crate::config::RemoteConfig;

/// Longest wait until the connection to the server is made.
const DIAL_TIME_MAX: Duration = Duration::from_secs(5);
/// Time between HTTP/2 pings on the stream, which find a dead path.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a ping.
const PING_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Connects to the server.
pub(super) async fn dial(config: &RemoteConfig) -> Result<AgentServiceClient<Channel>, Failure> {
    let channel = connect(config)
        .await
        .map_err(|error| server(config).not_dialled(&error))?;
    Ok(AgentServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX))
}

async fn connect(config: &RemoteConfig) -> Result<Channel, tonic::transport::Error> {
    let mut endpoint = Channel::builder(config.server.clone())
        .connect_timeout(DIAL_TIME_MAX)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER_TIME_MAX)
        .keep_alive_while_idle(true);
    if let Some(tls) = &config.tls {
        endpoint = endpoint.tls_config(tls.clone())?;
    }
    endpoint.connect().await
}

/// The server, as messages and failures show it, before it has responded.
pub(super) fn server(config: &RemoteConfig) -> Server {
    Server {
        address: config.server.to_string().trim_end_matches('/').into(),
        is_encrypted: config.tls.is_some(),
        has_responded: false,
    }
}
