//! Errors in the API's form: every one is a [`Failure`], and everything in the gRPC status follows
//! from it. docs of the codes: failure.proto.

use metronome_proto::{
    plan::{FieldError, FieldErrorKind},
    run_id::RunId,
    v1::{Failure, FailureCode},
};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::upgrade::Upgrading;

/// `domain` of every ErrorInfo.
const DOMAIN: &str = "metronome.v1";

/// The figure with the path of the field of a request.
const FIELD: &str = "field";

/// The gRPC status of a failure: code, sentence, and google.rpc details for programs, of which one
/// is the failure itself.
pub(super) fn from_failure(failure: &Failure) -> Status {
    let (code, sentence) = (grpc_code(failure), failure.sentence.as_str());
    let status = Status::with_error_details(code, sentence, details(failure));
    let mut with_all = tonic_types::Status::decode(status.details()).unwrap_or_default();
    with_all.details.push(failure.to_detail());
    Status::with_details(code, sentence, with_all.encode_to_vec().into())
}

/// The details for programs without our protos.
fn details(failure: &Failure) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    let name = failure.code().name();
    let (subject, problem) = (subject(failure), problem(failure));
    match grpc_code(failure) {
        Code::InvalidArgument => {
            details.add_bad_request_violation(subject, problem);
        }
        Code::FailedPrecondition => {
            details.add_precondition_failure_violation(name, subject, problem);
        }
        Code::ResourceExhausted => {
            details.add_quota_failure_violation(subject, problem);
        }
        Code::NotFound => {
            details.set_resource_info("metronome.v1.Run", subject, "", problem);
        }
        _ => {}
    }
    let figures = failure.figures.iter();
    let figures = figures.map(|(name, figure)| (name.clone(), figure.to_string()));
    let remedy = ("remedy".to_owned(), failure.remedy.clone());
    details.set_error_info(
        name,
        DOMAIN,
        figures
            .chain([remedy])
            .collect::<std::collections::HashMap<_, _>>(),
    );
    details
}

/// What is wrong, without the path of the field: that stands beside it.
fn problem(failure: &Failure) -> &str {
    let field = failure.figures.get(FIELD).map(ToString::to_string);
    let after_field = field.and_then(|field| failure.sentence.strip_prefix(&field));
    let problem = after_field.and_then(|after| after.strip_prefix(": "));
    problem.unwrap_or(&failure.sentence)
}

/// The gRPC code, as the comments of FailureCode have it.
fn grpc_code(failure: &Failure) -> Code {
    use FailureCode as F;
    match failure.code() {
        F::FieldOutOfRange | F::AgentProtocol => Code::InvalidArgument,
        F::ClientsFull | F::RunsFull => Code::ResourceExhausted,
        F::RunUnknown => Code::NotFound,
        // Another server that took it at the same moment has a run that is not known here yet.
        F::RequestIdTaken if !failure.figures.contains_key("run_id") => Code::Aborted,
        F::RequestIdTaken | F::AgentNameTaken => Code::AlreadyExists,
        F::Draining | F::Upgrading | F::MasterGone | F::AgentLost => Code::Unavailable,
        F::AgentSilent => Code::DeadlineExceeded,
        F::Unspecified | F::HistoryFailed | F::Internal => Code::Internal,
        _ => Code::FailedPrecondition,
    }
}

/// What the failure is about: the field, or what there is not enough of, or what is in the wrong
/// state.
fn subject(failure: &Failure) -> String {
    use FailureCode as F;
    let figure = |name: &str| failure.figures.get(name).map(ToString::to_string);
    let fixed = match failure.code() {
        F::ClientsFull => Some("--max-clients"),
        F::RunsFull => Some("runs"),
        F::UpgradeFailed => Some("server"),
        F::AgentProtocol => Some("message"),
        _ => None,
    };
    let named = || {
        [FIELD, "feature", "run_id", "request_id"]
            .into_iter()
            .find_map(figure)
    };
    fixed
        .map(ToOwned::to_owned)
        .or_else(named)
        .unwrap_or_else(|| "agents".into())
}

/// A field of a request that cannot be followed; `path` is that of the message it is in, or empty.
pub(super) fn bad_field(path: &str, error: FieldError) -> Failure {
    let error = if path.is_empty() {
        error
    } else {
        error.below(path)
    };
    let code = match error.kind {
        FieldErrorKind::OutOfRange => FailureCode::FieldOutOfRange,
        FieldErrorKind::Unsupported => FailureCode::Unsupported,
    };
    Failure::new(code, error.to_string()).with(FIELD, error.field)
}

/// A field of a request that is missing or out of its range.
pub(super) fn out_of_range(field: &str, problem: impl Into<String>) -> Failure {
    bad_field("", FieldError::out_of_range(field, problem))
}

/// No run has this id.
pub(super) fn unknown_run(id: RunId) -> Failure {
    Failure::new(FailureCode::RunUnknown, format!("there is no run {id}"))
        .with("run_id", id.to_string())
}

/// The master's thread has ended, or does not answer in time.
pub(super) fn master_is_gone() -> Failure {
    let sentence = "the server's data plane does not answer";
    Failure::new(FailureCode::MasterGone, sentence)
}

/// The request would be lost in an upgrade.
pub(super) fn upgrading(upgrading: &Upgrading) -> Failure {
    Failure::new(FailureCode::Upgrading, upgrading.to_string())
}

/// A fault of this server.
pub(super) fn internal(sentence: &str) -> Failure {
    Failure::new(FailureCode::Internal, sentence)
}

/// The id in a request.
pub(super) fn parse_run_id(text: &str) -> Result<RunId, Failure> {
    let parsed: Result<RunId, metronome_proto::run_id::BadRunId> = text.parse();
    parsed.map_err(|error| out_of_range("run_id", error.to_string()))
}

#[cfg(test)]
mod tests {
    use metronome_proto::failure::is_phrase;

    use super::*;

    const FAILURE_PROTO: &str = include_str!("../../../proto/metronome/v1/failure.proto");

    fn codes() -> impl Iterator<Item = FailureCode> {
        (0..1_000).filter_map(|number| FailureCode::try_from(number).ok())
    }

    /// The gRPC codes that the comment above a failure code gives.
    fn documented(code: FailureCode) -> Option<Vec<Code>> {
        let names = [
            ("INVALID_ARGUMENT", Code::InvalidArgument),
            ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
            ("NOT_FOUND", Code::NotFound),
            ("ALREADY_EXISTS", Code::AlreadyExists),
            ("ABORTED", Code::Aborted),
            ("UNAVAILABLE", Code::Unavailable),
            ("INTERNAL", Code::Internal),
        ];
        let (before, _) = FAILURE_PROTO.split_once(&format!(" {} = ", code.as_str_name()))?;
        let is_comment = |line: &&str| line.trim_start().starts_with("//");
        let comment: String = before
            .lines()
            .rev()
            .skip(1)
            .take_while(is_comment)
            .collect();
        let found = names.into_iter().filter(|(name, _)| comment.contains(name));
        Some(found.map(|(_, code)| code).collect())
    }

    #[test]
    fn every_code_of_a_request_has_the_grpc_code_of_the_manual() {
        for code in codes().filter(|code| (10..40).contains(&i32::from(*code))) {
            let failure = Failure::new(code, "x").with("run_id", "7");
            let documented = documented(code).unwrap();
            let expected = documented
                .first()
                .copied()
                .unwrap_or(Code::FailedPrecondition);
            assert!(
                grpc_code(&failure) == expected || documented.contains(&grpc_code(&failure)),
                "{code:?}: {documented:?}"
            );
        }
        let unsettled = Failure::new(FailureCode::RequestIdTaken, "x");
        assert_eq!(grpc_code(&unsettled), Code::Aborted);
        assert_eq!(
            grpc_code(&unsettled.with("run_id", "7")),
            Code::AlreadyExists
        );
    }

    #[test]
    fn a_status_has_all_of_its_failure_as_data() {
        for code in codes() {
            let failure = Failure::new(code, "what happened")
                .with("clients", 7_u32)
                .with("sent_percent", 98.5)
                .with("agent", "8");
            let status = from_failure(&failure);
            assert_eq!(status.message(), "what happened");
            let rpc = tonic_types::Status::decode(status.details()).unwrap();
            assert_eq!(
                (rpc.code, rpc.message.as_str()),
                (status.code().into(), "what happened")
            );
            let mut typed = rpc.details.iter().filter_map(Failure::from_detail);
            assert_eq!((typed.next(), typed.next()), (Some(failure), None));
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(
                (info.reason.as_str(), info.domain.as_str()),
                (code.name(), DOMAIN)
            );
            let metadata = |name: &str| info.metadata[name].as_str();
            assert_eq!(metadata("remedy"), code.remedy());
            assert_eq!((metadata("clients"), metadata("agent")), ("7", "8"));
            assert_eq!(metadata("sent_percent"), "98.5");
            let has = [
                details.bad_request().is_some(),
                details.precondition_failure().is_some(),
                details.quota_failure().is_some(),
                details.resource_info().is_some(),
            ];
            let expected = [
                Code::InvalidArgument,
                Code::FailedPrecondition,
                Code::ResourceExhausted,
                Code::NotFound,
            ];
            assert_eq!(
                has,
                expected.map(|expected| status.code() == expected),
                "{code:?}"
            );
        }
    }

    #[test]
    fn every_sentence_made_here_stands_behind_a_colon() {
        let id = RunId::from_bits(7);
        for failure in [
            unknown_run(id),
            master_is_gone(),
            parse_run_id("x").unwrap_err(),
            out_of_range("plan", "missing; it is what to run"),
        ] {
            assert!(is_phrase(&failure.sentence), "{failure:?}");
        }
    }

    #[test]
    fn a_bad_field_is_named_by_its_path() {
        let error = FieldError::out_of_range("batch", "1025 is out of range").below("groups[0]");
        let status = from_failure(&bad_field("plan", error));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "plan.groups[0].batch: 1025 is out of range"
        );
        let details = status.get_details_bad_request().unwrap();
        let violation = &details.field_violations[0];
        assert_eq!(
            (violation.field.as_str(), violation.description.as_str()),
            ("plan.groups[0].batch", "1025 is out of range")
        );
        let error = FieldError::unsupported("profile", "no shape of this version");
        let status = from_failure(&bad_field("plan", error));
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.get_details_precondition_failure().unwrap();
        let violation = &details.violations[0];
        assert_eq!(
            (violation.r#type.as_str(), violation.subject.as_str()),
            ("UNSUPPORTED", "plan.profile")
        );
        assert_eq!(violation.description, "no shape of this version");
    }
}
