//! Errors of a server and of the way to it, as failures.
//!
//! What a server reports is read from google.rpc.ErrorInfo: the code, the figures, the remedy. What
//! went wrong on the way is read from the types of the errors and from the gRPC code. No decision
//! is taken from a text: those are for people. Nothing is dialled here.
//!
//! No command looks at a gRPC status.

use std::{collections::HashMap, error::Error, io, time::Duration};

use metronome_proto::v1::{FailureCode, Figure};
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

use super::address::Address;
use crate::{exit::Failure, flags};

/// `domain` of every ErrorInfo of a server.
const DOMAIN: &str = "metronome.v1";
/// The key of the metadata that is no figure.
const REMEDY: &str = "remedy";
/// The figure with the path of a field.
const FIELD: &str = "field";
/// Figures that are texts, also when they consist of digits.
const TEXT_FIGURES: &[&str] = &[
    "address",
    "agent",
    "feature",
    "field",
    "request_id",
    "run_id",
    "target",
];

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
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    // A code that only a later version has is one of its own faults to this one.
    let code = match FailureCode::from_name(&info.reason) {
        None | Some(FailureCode::Unspecified) => FailureCode::Internal,
        Some(code) => code,
    };
    let fields = fields(status, &info.metadata);
    let sentence = match fields[..] {
        [] => status.message().to_owned(),
        _ => in_flags(&fields),
    };
    let mut failure = Failure::new(code, sentence);
    add_metadata(&mut failure, info.metadata);
    if let Some((field, _)) = fields.into_iter().next() {
        let flag = flags::of_field(&field).to_owned();
        failure = failure.with(FIELD, field).with("flag", flag);
    }
    Some(failure)
}

/// The fields that the server found wrong, each with what is wrong with it.
fn fields(status: &Status, metadata: &HashMap<String, String>) -> Vec<(String, String)> {
    let bad_request = status.get_details_bad_request();
    let violations = bad_request.map(|request| request.field_violations);
    let mut fields: Vec<_> = violations
        .into_iter()
        .flatten()
        .map(|violation| (violation.field, violation.description))
        .collect();
    if let (true, Some(field)) = (fields.is_empty(), metadata.get(FIELD)) {
        fields.push((field.clone(), status.message().to_owned()));
    }
    fields
}

/// What is wrong with fields, by the names of their flags.
fn in_flags(fields: &[(String, String)]) -> String {
    let sentences = fields.iter().map(|(field, text)| {
        // Servers may or may not repeat the field in the text.
        let problem = text.strip_prefix(&format!("{field}: ")).unwrap_or(text);
        format!("{}: {problem}", flags::of_field(field))
    });
    sentences.collect::<Vec<_>>().join("; ")
}

fn add_metadata(failure: &mut Failure, metadata: HashMap<String, String>) {
    for (name, text) in metadata {
        if name == REMEDY {
            failure.remedy = text;
            continue;
        }
        let is_text = TEXT_FIGURES.contains(&name.as_str());
        let figure = match text.parse::<i64>() {
            Ok(integer) if !is_text => Figure::from(integer),
            _ => Figure::from(text),
        };
        failure.figures.insert(name, figure);
    }
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
    // broke. A server of this version has ErrorInfo in each of its own.
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

    #[test]
    fn a_field_is_named_by_its_flag_wherever_it_stands() {
        let rate = "plan.groups[0].profile.constant.rate_millihertz";
        let repeated = format!("{rate}: too high");
        let metadata = HashMap::from([(FIELD.to_owned(), rate.to_owned())]);
        let mut unsupported = ErrorDetails::new();
        unsupported.set_error_info("UNSUPPORTED", DOMAIN, metadata.clone());
        let mut bad = ErrorDetails::with_bad_request_violation(rate, "too high");
        bad.set_error_info("FIELD_OUT_OF_RANGE", DOMAIN, metadata);
        for (details, message) in [(unsupported, repeated.as_str()), (bad, "qwertz")] {
            let status = Status::with_error_details(Code::InvalidArgument, message, details);
            let failure = reported(&status).expect("one of ours");
            assert_eq!(failure.sentence, "--rate: too high");
            assert_eq!(failure.figures["flag"], "--rate".into());
        }
    }

    #[test]
    fn a_status_without_our_domain_is_none_of_ours() {
        let mut details = ErrorDetails::new();
        details.set_error_info("NO_AGENT", "googleapis.com", HashMap::new());
        let status = Status::with_error_details(Code::FailedPrecondition, "", details);
        assert_eq!(reported(&status), None);
        assert_eq!(reported(&Status::failed_precondition("no agent")), None);
    }

    #[test]
    fn figures_are_numbers_unless_their_name_is_that_of_a_text() {
        let mut failure = Failure::default();
        let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let metadata = [
            text("clients_max", "10"),
            text("agent", "7"),
            text("law", "a = b"),
            text("remedy", "wait"),
        ];
        add_metadata(&mut failure, metadata.into());
        let expected = Failure::default()
            .with("clients_max", 10_u32)
            .with("agent", "7")
            .with("law", "a = b");
        assert_eq!(failure.figures, expected.figures);
        assert_eq!(failure.remedy, "wait");
    }
}
