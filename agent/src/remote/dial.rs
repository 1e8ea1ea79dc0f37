//! Reaching the server, and the sentences that report why it is not reached.

use std::{error::Error, io, time::Duration};

use metronome_proto::{
    MESSAGE_BYTES_MAX,
    v1::{FailureCode, agent_service_client::AgentServiceClient},
};
use tonic::{Code, Status, transport::Channel};

use crate::config::RemoteConfig;

/// Longest wait until the connection to the server is made.
const DIAL_TIME_MAX: Duration = Duration::from_secs(5);
/// Time between HTTP/2 pings on the stream, which find a dead path.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a ping.
const PING_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Connects to the server. The error is one sentence.
pub(super) async fn dial(config: &RemoteConfig) -> Result<AgentServiceClient<Channel>, String> {
    let channel = connect(config)
        .await
        .map_err(|error| unreachable(config, &error))?;
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

/// The address of the server as messages show it.
pub(super) fn url(config: &RemoteConfig) -> String {
    config.server.to_string().trim_end_matches('/').into()
}

fn unreachable(config: &RemoteConfig, error: &tonic::transport::Error) -> String {
    let (mut cause, mut is_tls): (&dyn Error, bool) = (error, false);
    while let Some(deeper) = cause.source() {
        cause = deeper;
        // How the TLS of our stack reports a peer whose certificate or records it does not take.
        is_tls |= cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
    }
    let code = if is_tls {
        FailureCode::ServerNotTrusted
    } else {
        FailureCode::ServerUnreachable
    };
    format!(
        "no server answers at {}: {cause}; {}",
        url(config),
        code.remedy()
    )
}

/// Why the stream ended, in one sentence with the way out.
pub(super) fn refused(config: &RemoteConfig, status: &Status) -> String {
    let url = url(config);
    match status.code() {
        Code::AlreadyExists => format!(
            "the server at {url} lists another agent of the name {:?}; {}",
            config.name,
            FailureCode::AgentNameTaken.remedy()
        ),
        Code::Unimplemented => format!(
            "what answers at {url} is no Metronome server of this version; {}",
            FailureCode::ServerIncompatible.remedy()
        ),
        Code::FailedPrecondition => format!(
            "the server at {url} is of another version: {}; {}",
            status.message(),
            FailureCode::Unsupported.remedy()
        ),
        code => format!(
            "the stream to the server at {url} ended ({code:?}): {}",
            status.message()
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::Args;

    #[test]
    fn a_server_that_has_no_such_call_is_of_another_version() {
        let args = Args::parse_from(["metronome-agent", "--server", "bench1:50051"]);
        let config = RemoteConfig::try_from(args.remote).unwrap();
        let sentence = refused(&config, &Status::unimplemented(""));
        let way_out = FailureCode::ServerIncompatible.remedy();
        assert!(
            sentence.contains("http://bench1:50051") && sentence.ends_with(way_out),
            "{sentence}"
        );
    }
}
