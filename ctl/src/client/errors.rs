//! Errors of a server and of the connection to it, as one sentence and an exit code.
//!
//! No command looks at a gRPC status; only a watch does, to decide whether to try again.

use std::{error::Error, io};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{address::Address, deadlines::RESPONSE_TIME_MAX};
use crate::{exit::Failure, flags};

/// Part of the message that tonic gives a call which exceeded its deadline.
const DEADLINE_MESSAGE: &str = "Timeout expired";

/// The status that the server at `address` returned, or that its connection led to.
pub(super) fn explain(status: &Status, address: &Address, is_encrypted: bool) -> Failure {
    let violations = violations(status);
    let message = status.message();
    match status.code() {
        Code::InvalidArgument if !violations.is_empty() => Failure::usage(violations),
        Code::InvalidArgument => Failure::usage(message),
        // A message that names the way out itself has it in backticks.
        Code::FailedPrecondition if !message.contains('`') => Failure::other(format!(
            "{message}; `benchctl agents` lists the agents connected, \
             `metronome-agent --server {address}` starts one"
        )),
        Code::Unimplemented => Failure::other(format!(
            "what answers at {address} is no Metronome server of this version ({message})"
        )),
        Code::Cancelled | Code::DeadlineExceeded if message.contains(DEADLINE_MESSAGE) => {
            Failure::other(format!(
                "the server at {address} did not answer within {} s",
                RESPONSE_TIME_MAX.as_secs()
            ))
        }
        code => Failure::other(match transport_cause(status) {
            Some(cause) => {
                let remedy = broken_connection_remedy(status, is_encrypted);
                format!("the connection to the server at {address} broke: {cause}{remedy}")
            }
            None if message.is_empty() => format!("the server at {address} answered: {code}"),
            None => message.to_owned(),
        }),
    }
}

/// What to try after a broken connection, as the end of a sentence.
fn broken_connection_remedy(status: &Status, is_encrypted: bool) -> &'static str {
    let is_refused = status
        .source()
        .is_some_and(|error| has_io_error(error, io::ErrorKind::ConnectionRefused));
    match (is_encrypted, is_refused) {
        // With TLS 1.3 a certificate is refused after the connection is established, in one of
        // several ways.
        (true, _) => {
            "; if it has --tls-client-ca, --tls-cert must name a certificate \
             that this CA has signed"
        }
        // A server that waits for a handshake answers plain requests with anything but a refusal.
        (false, false) => "; one with TLS wants https:// or --tls-ca",
        (false, true) => "",
    }
}

/// The fields that the server found wrong, by the names of their flags.
fn violations(status: &Status) -> String {
    let Some(request) = status.get_details_bad_request() else {
        return String::new();
    };
    let sentences = request.field_violations.iter().map(|violation| {
        let prefix = format!("{}: ", violation.field);
        // Servers may or may not repeat the field in the text.
        let problem = violation
            .description
            .strip_prefix(&prefix)
            .unwrap_or(&violation.description);
        format!("{}: {problem}", flags::of_field(&violation.field))
    });
    sentences.collect::<Vec<_>>().join("; ")
}

/// Why the transport failed, when it did.
fn transport_cause(status: &Status) -> Option<String> {
    // A status that came over the wire has no source; one that the library made has, mostly.
    let made_here = status
        .message()
        .strip_prefix("h2 protocol error: ")
        .map(ToOwned::to_owned);
    status.source().map(root_cause).or(made_here)
}

/// Why no connection was made.
pub(super) fn dial_cause(error: &tonic::transport::Error) -> String {
    root_cause(error).to_lowercase()
}

/// Libraries wrap the cause in general words; the innermost error has the particular ones.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let innermost = anyhow::Chain::new(error).last();
    innermost.map_or_else(|| error.to_string(), ToString::to_string)
}

/// Whether an error of this kind is among the causes; errors of rustls are InvalidData.
pub(super) fn has_io_error(error: &(dyn Error + 'static), kind: io::ErrorKind) -> bool {
    anyhow::Chain::new(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == kind)
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_field_that_the_server_refuses_is_named_by_its_flag() {
        let details =
            ErrorDetails::with_bad_request_violation("plan.rate_hz", "1e12 is out of range");
        let status = Status::with_error_details(Code::InvalidArgument, "bad plan", details);
        assert_eq!(
            explain(&status, &Address::default(), false),
            Failure::usage("--rate: 1e12 is out of range")
        );
    }

    #[test]
    fn a_missing_agent_comes_with_the_way_out() {
        let failure = explain(
            &Status::failed_precondition("no agent is connected"),
            &Address::default(),
            false,
        );
        assert_eq!(failure.exit, Exit::Other);
        assert!(
            failure
                .sentence
                .contains("metronome-agent --server 127.0.0.1:50051"),
            "{}",
            failure.sentence
        );
    }
}
