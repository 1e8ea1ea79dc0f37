//! Errors of a server and of the way to it, as failures.
//!
//! What a server reports is the failure among the google.rpc details of its status. What went wrong
//! on the way is read from the types of the errors and from the gRPC code. No decision
//! is taken from a text: those are for people. Nothing is dialled here.
//!
//! No command looks at a gRPC status.

use std::{error::Error, io, time::Duration};

use metronome_proto::v1::FailureCode;
use prost::Message as _;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

use super::address::Address;
use crate::{exit::Failure, flags};

/// The figure with the path of a field.
const FIELD: &str = "field";

/// The other end of a connection, as far as a failure depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer<'a> {
    pub(super) address: &'a Address,
    pub(super) is_encrypted: bool,
    /// A response, or a failure that it reported, has come from there.
    pub(super) has_responded: bool,
}

/// Why no connection was made.
pub(super) fn dial_failure(
    error: &tonic::transport::Error,
    address: &Address,
    is_encrypted: bool,
) -> Failure {
    let code = dial_code(error, is_encrypted);
    of_peer(code, address, &root_cause(error), Duration::ZERO)
}

/// Whether nothing listens at the address.
pub(super) fn is_refused(error: &tonic::transport::Error) -> bool {
    has_io_error(error, &[io::ErrorKind::ConnectionRefused])
}

/// Whether another try may succeed, since the way to the server was at fault, or its moment.
pub(super) fn may_pass(failure: &Failure) -> bool {
    matches!(
        failure.code(),
        FailureCode::ServerUnreachable
            | FailureCode::ServerLost
            | FailureCode::ServerSilent
            | FailureCode::Draining
            | FailureCode::Upgrading
            | FailureCode::MasterGone
            | FailureCode::RequestIdBusy
    )
}

/// A failure of the way to the server at `address`, which was to respond within `time_max`.
pub(super) fn of_peer(
    code: FailureCode,
    address: &Address,
    cause: &str,
    time_max: Duration,
) -> Failure {
    let sentence = match code {
        FailureCode::ServerUnreachable => format!("no server answers at {address}: {cause}"),
        FailureCode::ServerSilent => format!(
            "the server at {address} did not answer within {} s",
            time_max.as_secs()
        ),
        FailureCode::ServerNotTrusted => format!(
            "TLS could not be agreed upon with the server at {address}: {cause}; --tls-ca names \
             the CA of its certificate, --tls-name a name in it"
        ),
        FailureCode::ServerIncompatible => {
            format!("what answers at {address} is no Metronome server of this version: {cause}")
        }
        _ => format!("the connection to the server at {address} broke: {cause}"),
    };
    let failure = Failure::new(code, sentence).with("address", address.to_string());
    match code {
        FailureCode::ServerSilent => failure.with("deadline_ns", time_max.as_nanos()),
        _ => failure,
    }
}

/// The failure that the server reports. `None` when the status is none of its own.
pub(super) fn reported(status: &Status) -> Option<Failure> {
    let rpc = tonic_types::Status::decode(status.details()).ok()?;
    let mut failure = rpc.details.iter().find_map(Failure::from_detail)?;
    match failure.code() {
        // A code that only a later version has is one of its own faults to this one.
        FailureCode::Unspecified => failure.set_code(FailureCode::Internal),
        // These are benchctl's own: of a server they would set its exit code.
        FailureCode::Interrupted | FailureCode::HostFailed => {
            failure.set_code(FailureCode::Internal);
            failure.remedy = FailureCode::Internal.remedy().into();
        }
        _ => {}
    }
    let field = failure.figures.get(FIELD).map(ToString::to_string);
    let Some(field) = field else {
        return Some(failure);
    };
    let flag = flags::of_field(&field);
    if let Some(problem) = problem(status, &field) {
        failure.sentence = format!("{flag}: {problem}");
    }
    Some(failure.with("flag", flag))
}

/// What the server found wrong with the field. `None` when it has no detail of it.
fn problem(status: &Status, field: &str) -> Option<String> {
    let bad_request = status.get_details_bad_request();
    let violations = bad_request.map_or_else(Vec::new, |request| request.field_violations);
    let out_of_range = violations.into_iter().map(|of| (of.field, of.description));
    let precondition = status.get_details_precondition_failure();
    let violations = precondition.map_or_else(Vec::new, |failure| failure.violations);
    let unsupported = violations
        .into_iter()
        .map(|of| (of.subject, of.description));
    let mut problems = out_of_range.chain(unsupported);
    problems.find_map(|(path, problem)| (path == field).then_some(problem))
}

/// What went wrong on the way, in a call that was to take at most `time_max`.
pub(super) fn on_the_way(status: &Status, peer: Peer<'_>, time_max: Duration) -> Failure {
    let cause = match (status.source(), status.message()) {
        (Some(error), _) => root_cause(error),
        (None, "") => status.code().description().to_owned(),
        (None, message) => message.to_owned(),
    };
    of_peer(
        code_on_the_way(status, peer),
        peer.address,
        &cause,
        time_max,
    )
}

fn code_on_the_way(status: &Status, peer: Peer<'_>) -> FailureCode {
    let source = status.source();
    if status.code() == Code::DeadlineExceeded || source.is_some_and(is_a::<TimeoutExpired>) {
        return FailureCode::ServerSilent;
    }
    if let Some(error) = source.filter(|error| is_a::<ConnectError>(*error)) {
        return dial_code(error, peer.is_encrypted);
    }
    // A status without a source came over the wire, unless the library made it of a stream that
    // broke. A server of this version has a Failure in each of its own.
    let may_be_broken = matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal
    );
    if source.is_none() && !may_be_broken {
        return FailureCode::ServerIncompatible;
    }
    // With TLS 1.3 a certificate is refused after the connection is established, in one of several
    // ways; the first call finds it broken.
    if peer.is_encrypted && !peer.has_responded {
        return FailureCode::ServerNotTrusted;
    }
    FailureCode::ServerLost
}

fn dial_code(error: &(dyn Error + 'static), is_encrypted: bool) -> FailureCode {
    // Errors of rustls are InvalidData; a peer that wants none of the handshake closes.
    let in_handshake = [
        io::ErrorKind::InvalidData,
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
    ];
    if is_encrypted && has_io_error(error, &in_handshake) {
        FailureCode::ServerNotTrusted
    } else {
        FailureCode::ServerUnreachable
    }
}

/// Libraries wrap the cause in general words; the innermost error has the particular ones.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let innermost = anyhow::Chain::new(error).last();
    innermost
        .map_or_else(|| error.to_string(), ToString::to_string)
        .to_lowercase()
}

fn is_a<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    anyhow::Chain::new(error).any(|error| error.is::<E>())
}

fn has_io_error(error: &(dyn Error + 'static), kinds: &[io::ErrorKind]) -> bool {
    anyhow::Chain::new(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| kinds.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    /// A status of the library's making.
    fn caused_by(error: impl Error + Send + Sync + 'static) -> Status {
        Status::from_error(Box::new(error))
    }

    fn code_of(status: &Status, is_encrypted: bool, has_responded: bool) -> FailureCode {
        let address = Address::default();
        let peer = Peer {
            address: &address,
            is_encrypted,
            has_responded,
        };
        let failure = on_the_way(status, peer, Duration::from_secs(10));
        assert!(failure.sentence.contains("127.0.0.1:50051"), "{failure:?}");
        failure.code()
    }

    fn io_error(kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, "Timeout expired; h2 protocol error; no agent")
    }

    #[test]
    fn what_went_wrong_on_the_way_is_read_from_types_and_codes() {
        use FailureCode::{
            ServerIncompatible, ServerLost, ServerNotTrusted, ServerSilent, ServerUnreachable,
        };
        let reset = || caused_by(io_error(io::ErrorKind::ConnectionReset));
        let dial = |kind| caused_by(ConnectError(Box::new(io_error(kind))));
        for (status, is_encrypted, has_responded, code) in [
            (caused_by(TimeoutExpired(())), false, false, ServerSilent),
            (Status::deadline_exceeded(""), false, true, ServerSilent),
            (Status::unimplemented(""), false, false, ServerIncompatible),
            (Status::not_found(""), false, false, ServerIncompatible),
            (Status::unavailable(""), false, true, ServerLost),
            (
                Status::cancelled("Timeout expired"),
                false,
                true,
                ServerLost,
            ),
            (reset(), false, true, ServerLost),
            (reset(), true, true, ServerLost),
            // A certificate that the server refused.
            (reset(), true, false, ServerNotTrusted),
            (
                dial(io::ErrorKind::ConnectionRefused),
                true,
                true,
                ServerUnreachable,
            ),
            (
                dial(io::ErrorKind::InvalidData),
                true,
                true,
                ServerNotTrusted,
            ),
            (
                dial(io::ErrorKind::InvalidData),
                false,
                true,
                ServerUnreachable,
            ),
        ] {
            let made = code_of(&status, is_encrypted, has_responded);
            assert_eq!(made, code, "{status:?}");
        }
    }

    /// The status of a server with these details, and the failure as the last of them.
    fn status_of(failure: &Failure, details: ErrorDetails) -> Status {
        let status = Status::with_error_details(Code::InvalidArgument, "qwertz", details);
        let mut rpc = tonic_types::Status::decode(status.details()).expect("its own details");
        rpc.details.push(failure.to_detail());
        Status::with_details(Code::InvalidArgument, "qwertz", rpc.encode_to_vec().into())
    }

    #[test]
    fn a_field_is_named_by_its_flag_wherever_it_stands() {
        let rate = "plan.groups[0].profile.constant.rate_millihertz";
        let bad = ErrorDetails::with_bad_request_violation(rate, "too high");
        let mut unsupported = ErrorDetails::new();
        unsupported.add_precondition_failure_violation("UNSUPPORTED", rate, "too high");
        for details in [unsupported, bad] {
            let sentence = format!("{rate}: too high");
            let failure = Failure::new(FailureCode::FieldOutOfRange, sentence).with(FIELD, rate);
            let failure = reported(&status_of(&failure, details)).expect("one of ours");
            assert_eq!(failure.sentence, "--rate: too high");
            assert_eq!(failure.figures["flag"], "--rate".into());
        }
    }

    #[test]
    fn a_status_without_a_failure_is_none_of_ours() {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            "NO_AGENT",
            "googleapis.com",
            std::collections::HashMap::new(),
        );
        let status = Status::with_error_details(Code::FailedPrecondition, "", details);
        assert_eq!(reported(&status), None);
        assert_eq!(reported(&Status::failed_precondition("no agent")), None);
    }

    #[test]
    fn figures_have_the_type_that_the_server_gave_them() {
        let failure = Failure::new(FailureCode::ClientsFull, "too many")
            .with("clients_max", 10_u32)
            .with("sent_percent", 98.0)
            .with("agent", "7");
        let status = status_of(&failure, ErrorDetails::new());
        assert_eq!(reported(&status), Some(failure));
    }

    #[test]
    fn a_code_of_benchctl_itself_is_a_fault_of_the_server_that_reports_it() {
        for code in [FailureCode::Interrupted, FailureCode::HostFailed] {
            let status = status_of(&Failure::new(code, "oh"), ErrorDetails::new());
            let expected = Failure::new(FailureCode::Internal, "oh");
            assert_eq!(reported(&status), Some(expected));
        }
    }

    #[test]
    fn a_code_of_a_later_version_is_one_of_its_own_faults() {
        let later = Failure {
            code: 999,
            remedy: "wait for spring".into(),
            ..Failure::default()
        };
        let failure = reported(&status_of(&later, ErrorDetails::new())).expect("one of ours");
        assert_eq!(
            (failure.code(), failure.remedy.as_str()),
            (FailureCode::Internal, "wait for spring")
        );
    }
}
