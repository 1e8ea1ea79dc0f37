//! Errors of a server as benchctl shows them: with its flags for fields, and without codes of its
//! own. Why a call failed is the subject of [`metronome_proto::rpc_failure`]. Nothing is dialled
//! here.
//!
//! No command looks at a gRPC status.

use metronome_proto::{rpc_failure::Server, v1::FailureCode};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::address::Address;
use crate::{exit::Failure, flags::Origin};

/// The figure with the path of a field.
const FIELD: &str = "field";

/// The server at this address, as failures show it. `has_responded`: a response, or a failure that
/// it reported, has come from there.
pub(super) fn server(address: &Address, is_encrypted: bool, has_responded: bool) -> Server {
    Server {
        address: address.to_string(),
        is_encrypted,
        has_responded,
    }
}

/// What listens at the default address is no server of ours, since it does what `words` has.
pub(super) fn foreign(address: &Address, code: FailureCode, words: &str) -> Failure {
    let sentence = format!(
        "no Metronome server answers at the default address {address}: the program there {words}"
    );
    Failure::new(code, sentence).with("address", address.to_string())
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

/// The failure that the server reports, in which a field is named by where it was given. `None`
/// when the status is none of its own.
pub(super) fn reported(status: &Status, origin: &Origin) -> Option<Failure> {
    let mut failure = Failure::from_details(status.details())?;
    // These are benchctl's own: of a server they would set its exit code.
    if let FailureCode::Interrupted | FailureCode::HostFailed = failure.code() {
        failure.set_code(FailureCode::Internal);
        failure.remedy = FailureCode::Internal.remedy().into();
    }
    let field = failure.figures.get(FIELD).map(ToString::to_string);
    let Some(field) = field else {
        return Some(failure);
    };
    let (flag, words) = origin.name(&field);
    if let Some(problem) = problem(status, &field) {
        failure.sentence = format!("{words}: {problem}");
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

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    /// The status of a server with these details, and the failure as the last of them.
    fn status_of(failure: &Failure, details: ErrorDetails) -> Status {
        let status = Status::with_error_details(Code::InvalidArgument, "qwertz", details);
        let mut rpc = tonic_types::Status::decode(status.details()).expect("its own details");
        rpc.details.push(failure.to_detail());
        Status::with_details(Code::InvalidArgument, "qwertz", rpc.encode_to_vec().into())
    }

    #[test]
    fn a_field_is_named_by_its_flag_wherever_it_stands() {
        let of_groups = Origin::Groups(vec!["sensors".into()]);
        let rate = "plan.groups[0].profile.constant.rate_millihertz";
        let bad = ErrorDetails::with_bad_request_violation(rate, "too high");
        let mut unsupported = ErrorDetails::new();
        unsupported.add_precondition_failure_violation("UNSUPPORTED", rate, "too high");
        for details in [unsupported, bad] {
            let sentence = format!("{rate}: too high");
            let failure = Failure::new(FailureCode::FieldOutOfRange, sentence).with(FIELD, rate);
            let status = status_of(&failure, details);
            for (origin, flag, words) in [
                (&Origin::Flags, "--rate", "--rate"),
                (&of_groups, "--group", "--group name=sensors rate"),
            ] {
                let failure = reported(&status, origin).expect("one of ours");
                assert_eq!(failure.sentence, format!("{words}: too high"));
                assert_eq!(failure.figures["flag"], flag.into());
            }
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
        assert_eq!(reported(&status, &Origin::Flags), None);
        assert_eq!(
            reported(&Status::failed_precondition("no agent"), &Origin::Flags),
            None
        );
    }

    #[test]
    fn figures_have_the_type_that_the_server_gave_them() {
        let failure = Failure::new(FailureCode::ClientsFull, "too many")
            .with("max_clients", 10_u32)
            .with("sent_percent", 98.0)
            .with("agent", "7");
        let status = status_of(&failure, ErrorDetails::new());
        assert_eq!(reported(&status, &Origin::Flags), Some(failure));
    }

    #[test]
    fn a_code_of_benchctl_itself_is_a_fault_of_the_server_that_reports_it() {
        for code in [FailureCode::Interrupted, FailureCode::HostFailed] {
            let status = status_of(&Failure::new(code, "oh"), ErrorDetails::new());
            let expected = Failure::new(FailureCode::Internal, "oh");
            assert_eq!(reported(&status, &Origin::Flags), Some(expected));
        }
    }

    #[test]
    fn a_code_of_a_later_version_is_one_of_its_own_faults() {
        let later = Failure {
            code: 999,
            remedy: "wait for spring".into(),
            ..Failure::default()
        };
        let failure =
            reported(&status_of(&later, ErrorDetails::new()), &Origin::Flags).expect("one of ours");
        assert_eq!(
            (failure.code(), failure.remedy.as_str()),
            (FailureCode::Internal, "wait for spring")
        );
    }
}
