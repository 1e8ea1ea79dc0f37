//! Connecting to a server, with or without TLS.

use std::time::Duration;

use metronome_tls::ClientTlsConfig;
use tonic::transport::Endpoint;

use super::{
    address::Address,
    errors::{dial_failure, is_refused},
    requests::Client,
};
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
    let is_encrypted = tls.is_some();
    dial(address, tls)
        .await
        .map_err(|error| dial_failure(&error, address, is_encrypted))
}

/// Connects to a server if one listens there. Without `tls` nothing is encrypted.
pub(crate) async fn connect_if_listening(
    address: &Address,
    tls: Option<ClientTlsConfig>,
) -> Result<Option<Client>, Failure> {
    let is_encrypted = tls.is_some();
    match dial(address, tls).await {
        Ok(client) => Ok(Some(client)),
        Err(error) if is_refused(&error) => Ok(None),
        Err(error) => Err(dial_failure(&error, address, is_encrypted)),
    }
}

async fn dial(
    address: &Address,
    tls: Option<ClientTlsConfig>,
) -> Result<Client, tonic::transport::Error> {
    let is_encrypted = tls.is_some();
    let scheme = if is_encrypted { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
        .connect_timeout(CONNECT_TIME_MAX)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls)?;
    }
    let channel = endpoint.connect().await?;
    Ok(Client::new(channel, address.clone(), is_encrypted))
}
