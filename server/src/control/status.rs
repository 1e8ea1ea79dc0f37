//! Errors in the API's form: a code, one sentence, and google.rpc details for programs.

use metronome_proto::{plan::PlanError, run_id::RunId};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::upgrade::Upgrading;

/// `domain` of every ErrorInfo.
const DOMAIN: &str = "metronome.v1";

/// A field of a request that is out of range.
pub(super) fn bad_field(field: &str, problem: &str) -> Status {
    let mut details = ErrorDetails::with_bad_request_violation(field, problem);
    add_info(&mut details, "FIELD_OUT_OF_RANGE");
    Status::with_error_details(
        Code::InvalidArgument,
        format!("{field}: {problem}"),
        details,
    )
}

/// A field of a plan that is out of range.
pub(super) fn bad_plan(error: &PlanError) -> Status {
    bad_field(&format!("plan.{}", error.field), &error.problem)
}

/// The state of the server does not allow the request. `reason` also is the violation's type.
pub(super) fn precondition(reason: &str, subject: &str, sentence: &str) -> Status {
    let mut details = ErrorDetails::with_precondition_failure_violation(reason, subject, sentence);
    add_info(&mut details, reason);
    Status::with_error_details(Code::FailedPrecondition, sentence, details)
}

/// There is not enough of `subject`, a flag of the server.
pub(super) fn quota(reason: &str, subject: &str, sentence: &str) -> Status {
    let mut details = ErrorDetails::with_quota_failure_violation(subject, sentence);
    add_info(&mut details, reason);
    Status::with_error_details(Code::ResourceExhausted, sentence, details)
}

/// No run has this id.
pub(super) fn unknown_run(id: RunId) -> Status {
    let sentence = format!("there is no run {id}; `benchctl runs` lists those there are");
    let mut details =
        ErrorDetails::with_resource_info("metronome.v1.Run", id.to_string(), "", sentence.as_str());
    add_info(&mut details, "RUN_UNKNOWN");
    Status::with_error_details(Code::NotFound, sentence, details)
}

impl From<Upgrading> for Status {
    fn from(upgrading: Upgrading) -> Self {
        plain(Code::Unavailable, "UPGRADING", &upgrading.to_string())
    }
}

/// Any other error.
pub(crate) fn plain(code: Code, reason: &str, sentence: &str) -> Status {
    let mut details = ErrorDetails::new();
    add_info(&mut details, reason);
    Status::with_error_details(code, sentence, details)
}

/// The master's thread has ended, or does not answer in time.
pub(super) fn master_is_gone() -> Status {
    plain(
        Code::Unavailable,
        "MASTER_GONE",
        "the server's data plane does not answer",
    )
}

/// The id in a request.
pub(super) fn parse_run_id(text: &str) -> Result<RunId, Status> {
    text.parse()
        .map_err(|error: metronome_proto::run_id::BadRunId| bad_field("run_id", &error.to_string()))
}

fn add_info(details: &mut ErrorDetails, reason: &str) {
    details.set_error_info(reason, DOMAIN, std::collections::HashMap::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_names_its_reason_and_ours_is_the_domain() {
        for (status, code, reason) in [
            (
                bad_field("plan.rate_hz", "too high"),
                Code::InvalidArgument,
                "FIELD_OUT_OF_RANGE",
            ),
            (
                precondition("NO_AGENT", "agents", "none"),
                Code::FailedPrecondition,
                "NO_AGENT",
            ),
            (
                quota("CLIENTS_FULL", "--max-clients", "full"),
                Code::ResourceExhausted,
                "CLIENTS_FULL",
            ),
            (
                unknown_run(RunId::from_bits(1)),
                Code::NotFound,
                "RUN_UNKNOWN",
            ),
            (
                plain(Code::Unavailable, "DRAINING", "draining"),
                Code::Unavailable,
                "DRAINING",
            ),
        ] {
            assert_eq!(status.code(), code);
            let info = status.get_details_error_info().unwrap();
            assert_eq!(
                (info.reason.as_str(), info.domain.as_str()),
                (reason, DOMAIN)
            );
        }
        let details = bad_field("plan.rate_hz", "too high")
            .get_details_bad_request()
            .unwrap();
        assert_eq!(details.field_violations[0].field, "plan.rate_hz");
    }
}
