//! Errors of a server and of the connection to it, as one sentence and an exit code.
//!
//! No command looks at a gRPC status; only a watch does, to decide whether to try again.

use std::{error::Error, io};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{address::Address, deadlines::ANSWER_TIME_MAX};
use crate::{exit::Failure, flags};

/// What tonic says of a call that took longer than that.
const TOO_LATE: &str = "Timeout expired";

pub(super) fn explain(status: &Status, address: &Address, is_encrypted: bool) -> Failure {
    let violations = violations(status);
    let message = status.message();
    match status.code() {
        Code::InvalidArgument if !violations.is_empty() => Failure::usage(violations),
        Code::InvalidArgument => Failure::usage(message),
        // A server that names the way out itself has it in backticks.
        Code::FailedPrecondition if !message.contains('`') => Failure::other(format!(
            "{message}; `benchctl agents` lists the agents connected, `metronome-agent --server {address}` starts one"
        )),
        Code::Unimplemented => Failure::other(format!(
            "what answers at {address} is no Metronome server of this version ({message})"
        )),
        Code::Cancelled | Code::DeadlineExceeded if message.contains(TOO_LATE) => {
            Failure::other(format!(
                "the server at {address} did not answer within {} s",
                ANSWER_TIME_MAX.as_secs()
            ))
        }
        _ => Failure::other(match io_cause(status) {
            // With TLS 1.3 a certificate is refused after the connection stands, in one of several
            // ways.
            Some(cause) if is_encrypted => format!(
                "the connection to the server at {address} broke: {cause}; if it has --tls-client-ca, --tls-cert must name a certificate that this CA has signed"
            ),
            // A server that waits for a handshake answers plain requests with anything but a
            // refusal.
            Some(cause)
                if status
                    .source()
                    .is_none_or(|error| !is_of_kind(error, io::ErrorKind::ConnectionRefused)) =>
            {
                format!(
                    "the connection to the server at {address} broke: {cause}; one with TLS wants https:// or --tls-ca"
                )
            }
            Some(cause) => format!("the connection to the server at {address} broke: {cause}"),
            None if message.is_empty() => {
                format!("the server at {address} answered: {}", status.code())
            }
            None => message.to_owned(),
        }),
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
fn io_cause(status: &Status) -> Option<String> {
    // A status that came over the wire has no source; one that the library made has, mostly.
    let made_here = status
        .message()
        .strip_prefix("h2 protocol error: ")
        .map(ToOwned::to_owned);
    status.source().map(deepest).or(made_here)
}

pub(super) fn cause(error: &tonic::transport::Error) -> String {
    deepest(error).to_lowercase()
}

/// Libraries wrap the cause in general words; the innermost error has the particular ones.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let innermost = chain(error).last();
    innermost.map_or_else(|| error.to_string(), ToString::to_string)
}

/// What the system said of a connection that did not come about; rustls says InvalidData.
pub(super) fn is_of_kind(error: &(dyn Error + 'static), kind: io::ErrorKind) -> bool {
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == kind)
}

/// An error and what caused it, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        error.source()
    })
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
