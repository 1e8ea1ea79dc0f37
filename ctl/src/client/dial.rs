//! Connecting to a server, with or without TLS.

use std::time::Duration;

use metronome_proto::rpc_failure::{Server, is_refused};
use metronome_tls::ClientTlsConfig;
use tonic::transport::{Channel, Endpoint};

use super::{address::Address, errors, requests::Client};
use crate::exit::Failure;

/// A server on the same continent that does not take a connection in this time is not there.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// A peer that vanished without a FIN is noticed after interval + time-out.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a server that has to be there. Without `tls` nothing is encrypted.
pub(crate) async fn connect(
    address: &Address,
    tls: Option<ClientTlsConfig>,
) -> Result<Client, Failure> {
    let server = errors::server(address, tls.is_some(), false);
    let dialled = dial(&server, tls).await;
    let channel = dialled.map_err(|error| server.not_dialled(&error))?;
    Ok(Client::new(channel, address, server.is_encrypted))
}

/// Connects to a server if one listens there. Without `tls` nothing is encrypted.
pub(crate) async fn connect_if_listening(
    address: &Address,
    tls: Option<ClientTlsConfig>,
) -> Result<Option<Client>, Failure> {
    let server = errors::server(address, tls.is_some(), false);
    match dial(&server, tls).await {
        Ok(channel) => Ok(Some(Client::new(channel, address, server.is_encrypted))),
        Err(error) if is_refused(&error) => Ok(None),
        Err(error) => Err(server.not_dialled(&error)),
    }
}

async fn dial(
    server: &Server,
    tls: Option<ClientTlsConfig>,
) -> Result<Channel, tonic::transport::Error> {
    let scheme = if server.is_encrypted { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", server.address))?
        .connect_timeout(CONNECT_TIME_MAX)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls)?;
    }
    endpoint.connect().await
}
