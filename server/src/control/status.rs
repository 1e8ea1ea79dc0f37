//! Errors in the API's form: every one is a [`Failure`], and everything in the gRPC status follows
//! from it. docs of the codes: failure.proto.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use metronome_proto::{
    failure::ERROR_DOMAIN,
    plan::{FieldError, FieldErrorKind},
    run_id::RunId,
    v1::{Failure, FailureCode, figure::Value},
};
use metronome_telemetry::sanitise::printable;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::upgrade::{StuckRun, UpgradeError, Upgrading};

/// The figure with the path of the field of a request.
const FIELD: &str = "field";

/// Most bytes of the headers that a status takes. Clients accept 8 KiB at least.
const HEADER_BYTES_MAX: usize = 4 << 10;

/// Most bytes of a sentence in a status, and what is tried when it does not fit: most text takes
/// one byte in a header for each of its own, some three.
const SENTENCE_BYTES_MAX: [usize; 6] = [512, 256, 128, 64, 32, 16];

/// The gRPC status of a failure: code, sentence, and google.rpc details for programs, of which one
/// is the failure itself. A status travels in headers, so what a request made long is cut here.
pub(super) fn from_failure(failure: &Failure) -> Status {
    let mut statuses = SENTENCE_BYTES_MAX
        .into_iter()
        .map(|bytes_max| of_bounded(&fit_for_headers(failure, bytes_max)));
    let fits = |status: &Status| header_bytes(status) <= HEADER_BYTES_MAX;
    let fitting = statuses.find(fits);
    // No failure is that large: its sentence and each of its figures are bounded.
    of_handler(fitting.unwrap_or_else(|| Status::new(grpc_code(failure), failure.code().name())))
}

/// The source of a status that a handler has made. It does not go over the wire.
#[derive(Debug)]
struct OfHandler;

impl fmt::Display for OfHandler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a handler has ended the call")
    }
}

impl Error for OfHandler {}

/// The status, marked as one that a handler has made.
pub(super) fn of_handler(mut status: Status) -> Status {
    status.set_source(Arc::new(OfHandler));
    status
}

/// Whether a handler has made it; the library has made every other.
pub(super) fn is_of_handler(status: &Status) -> bool {
    status.source().is_some_and(<dyn Error>::is::<OfHandler>)
}

fn of_bounded(failure: &Failure) -> Status {
    let (code, sentence) = (grpc_code(failure), failure.sentence.as_str());
    let status = Status::with_error_details(code, sentence, details(failure));
    let mut with_all = tonic_types::Status::decode(status.details()).unwrap_or_default();
    with_all.details.push(failure.to_detail());
    Status::with_details(code, sentence, with_all.encode_to_vec().into())
}

/// Names and values of the headers.
fn header_bytes(status: &Status) -> usize {
    let mut headers = http::HeaderMap::new();
    match status.add_header(&mut headers) {
        Ok(()) => headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum(),
        Err(_) => usize::MAX,
    }
}

/// The failure with its texts printable and cut.
fn fit_for_headers(failure: &Failure, sentence_bytes_max: usize) -> Failure {
    let clean = |text: &str| printable(text, PRINTABLE_BYTES_MAX);
    let mut fitting = failure.clone();
    for figure in fitting.figures.values_mut() {
        match &mut figure.value {
            Some(Value::Text(text)) => *text = clean(text),
            Some(Value::Texts(texts)) => {
                texts.values.iter_mut().for_each(|text| *text = clean(text));
            }
            _ => {}
        }
    }
    fitting.sentence = clean(&failure.sentence);
    fitting.remedy = printable(&failure.remedy, REMEDY_BYTES_MAX);
    let mut fitting = fitting.bounded(sentence_bytes_max);
    // What was cut must stand behind a colon as well.
    fitting.sentence = fitting.sentence.trim_end_matches([' ', '.', ',']).into();
    fitting
}

/// Most bytes of a text that is cut further.
const PRINTABLE_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a remedy: ours are shorter.
const REMEDY_BYTES_MAX: usize = 256;

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
        ERROR_DOMAIN,
        figures
            .chain([remedy])
            .collect::<std::collections::HashMap<_, _>>(),
    );
    if let Some(delay) = retry_delay(failure.code()) {
        details.set_retry_info(Some(delay));
    }
    details
}

/// After which time the same call may succeed, where nothing else has to be done for it.
fn retry_delay(code: FailureCode) -> Option<Duration> {
    match code {
        // A call that found the history locked has waited 5 s itself.
        FailureCode::AnswersFull | FailureCode::Upgrading | FailureCode::HistoryLocked => {
            Some(Duration::from_secs(1))
        }
        FailureCode::RequestIdBusy => Some(Duration::from_millis(100)),
        _ => None,
    }
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
        F::FieldOutOfRange | F::AgentProtocol | F::MessageUnreadable => Code::InvalidArgument,
        F::ClientsFull | F::RunsFull | F::AnswersFull | F::MessageTooLarge => {
            Code::ResourceExhausted
        }
        F::MethodUnknown => Code::Unimplemented,
        F::RunUnknown => Code::NotFound,
        F::RequestIdBusy | F::EventsMissed => Code::Aborted,
        F::RequestIdTaken | F::AgentNameTaken => Code::AlreadyExists,
        F::Draining | F::Upgrading | F::MasterGone | F::AgentLost | F::HistoryLocked => {
            Code::Unavailable
        }
        F::HistoryDamaged => Code::DataLoss,
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
        F::UpgradeFailed | F::UpgradeIncompatible | F::UpgradeNotPossible => Some("server"),
        F::AgentProtocol | F::MessageUnreadable | F::MessageTooLarge => Some("message"),
        F::AnswersFull => Some("answers"),
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

/// The run belongs to another server.
pub(super) fn elsewhere(id: RunId) -> Failure {
    let sentence = format!("run {id} belongs to another server that shares this database");
    Failure::new(FailureCode::RunElsewhere, sentence).with("run_id", id.to_string())
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

/// The server was not upgraded and goes on.
pub(super) fn not_upgraded(error: &UpgradeError) -> Failure {
    let code = match error {
        UpgradeError::Failed(_) => FailureCode::UpgradeFailed,
        UpgradeError::Incompatible(_) => FailureCode::UpgradeIncompatible,
        UpgradeError::NotPossible(_) => FailureCode::UpgradeNotPossible,
        UpgradeError::NotMovable { .. } => FailureCode::RunsNotMovable,
        UpgradeError::ShuttingDown => {
            return Failure::new(FailureCode::Draining, error.to_string());
        }
    };
    let sentence = format!("the server was not upgraded and goes on: {error}");
    let failure = Failure::new(code, sentence);
    match error {
        UpgradeError::NotMovable {
            run: StuckRun { id, state },
            ..
        } => failure
            .with("run_id", id.to_string())
            .with("state", state.word().unwrap_or_default()),
        _ => failure,
    }
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
    use std::collections::BTreeSet;

    use metronome_proto::{failure::is_phrase, v1::Figure};
    use proptest::prelude::*;

    use super::*;

    const API_MD: &str = include_str!("../../../docs/api.md");
    const FAILURE_PROTO: &str = include_str!("../../../proto/metronome/v1/failure.proto");

    fn codes() -> impl Iterator<Item = FailureCode> {
        (0..1_000).filter_map(|number| FailureCode::try_from(number).ok())
    }

    /// The gRPC codes that the comment above a failure code names.
    fn documented(code: FailureCode) -> Vec<Code> {
        let (before, _) = FAILURE_PROTO
            .split_once(&format!(" {} = ", code.as_str_name()))
            .unwrap();
        let is_comment = |line: &&str| line.trim_start().starts_with("//");
        let comment: Vec<&str> = before
            .lines()
            .rev()
            .skip(1)
            .take_while(is_comment)
            .collect();
        let comment = comment.join(" ");
        let words =
            comment.split(|character: char| !character.is_ascii_uppercase() && character != '_');
        let named = words.filter_map(|word| {
            let is_named =
                |code: &Code| format!("{code:?}").to_uppercase() == word.replace('_', "");
            (0..=16).map(Code::from_i32).find(is_named)
        });
        named.collect()
    }

    #[test]
    fn every_failure_has_the_grpc_code_of_its_comment() {
        for code in codes().filter(|code| *code != FailureCode::Unspecified) {
            let expected = match grpc_code(&Failure::new(code, "x")) {
                // What has no other is refused as the state of things.
                Code::FailedPrecondition => vec![],
                other => vec![other],
            };
            assert_eq!(documented(code), expected, "{code:?}");
        }
        assert_eq!(
            documented(FailureCode::AgentSilent),
            [Code::DeadlineExceeded]
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
                (code.name(), ERROR_DOMAIN)
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
    fn the_manual_lists_the_failures_with_a_delay_and_every_grpc_status() {
        let row = |name: &str| {
            let mut lines = API_MD.lines();
            let row = lines.find(|line| line.starts_with(&format!("| {name} |")));
            row.unwrap_or_else(|| panic!("no row of {name}"))
        };
        let quoted = |text: &'static str| text.split('`').skip(1).step_by(2);
        let delayed = codes().filter(|code| retry_delay(*code).is_some());
        let delayed: BTreeSet<_> = delayed.map(FailureCode::name).collect();
        assert_eq!(quoted(row("RetryInfo")).collect::<BTreeSet<_>>(), delayed);
        let (_, table) = API_MD.split_once("| gRPC status |").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let first_cells = table.lines().filter_map(|line| line.split('|').nth(1));
        let listed: BTreeSet<_> = first_cells
            .flat_map(|cell| cell.trim().split(", "))
            .collect();
        for code in codes() {
            let grpc = format!("{:?}", grpc_code(&Failure::new(code, "x")));
            let is_it = |name: &&str| name.replace('_', "").eq_ignore_ascii_case(&grpc);
            assert!(listed.iter().any(is_it), "{grpc} of {code:?}");
        }
    }

    fn any_figure() -> impl Strategy<Value = Figure> {
        prop_oneof![
            any::<i64>().prop_map(Figure::from),
            any::<f64>().prop_map(Figure::from),
            any_text().prop_map(Figure::from),
            prop::collection::vec(any_text(), 0..100).prop_map(Figure::from),
        ]
    }

    fn any_text() -> impl Strategy<Value = String> {
        (".{0,20}", 0..200_usize).prop_map(|(text, times)| text.repeat(times))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_failure_fits_4_kib_of_headers_with_its_code_and_its_figures(
            code in 0..150_i32,
            sentence in any_text(),
            figures in prop::collection::btree_map("[a-z_]{1,24}", any_figure(), 0..12),
        ) {
            let code = FailureCode::try_from(code).unwrap_or(FailureCode::Internal);
            let failure = Failure { figures, ..Failure::new(code, sentence) };
            let status = from_failure(&failure);
            prop_assert!(header_bytes(&status) <= HEADER_BYTES_MAX);
            let rpc = tonic_types::Status::decode(status.details()).unwrap();
            let typed = rpc.details.iter().find_map(Failure::from_detail).unwrap();
            prop_assert_eq!(typed.code(), code);
            prop_assert_eq!(typed.remedy.as_str(), code.remedy());
            prop_assert_eq!(typed.figures.len(), failure.figures.len().min(8));
            for (name, figure) in typed.figures {
                prop_assert!(figure.to_string().len() <= 330, "{}", name);
            }
        }
    }

    #[test]
    fn the_causes_of_a_refused_upgrade_are_codes() {
        use FailureCode as F;
        let (id, state) = (RunId::from_bits(7), metronome_proto::v1::RunState::Draining);
        let not_movable = UpgradeError::NotMovable {
            run: StuckRun { id, state },
            waited: std::time::Duration::from_secs(1),
        };
        let moved = not_upgraded(&not_movable);
        assert_eq!(moved.figures["run_id"], id.to_string().into());
        assert_eq!(moved.figures["state"], "draining".into());
        for (error, code, grpc) in [
            (not_movable, F::RunsNotMovable, Code::FailedPrecondition),
            (
                UpgradeError::Failed("x".into()),
                F::UpgradeFailed,
                Code::FailedPrecondition,
            ),
            (
                UpgradeError::Incompatible("x".into()),
                F::UpgradeIncompatible,
                Code::FailedPrecondition,
            ),
            (
                UpgradeError::NotPossible("x".into()),
                F::UpgradeNotPossible,
                Code::FailedPrecondition,
            ),
            (UpgradeError::ShuttingDown, F::Draining, Code::Unavailable),
        ] {
            let failure = not_upgraded(&error);
            assert_eq!((failure.code(), grpc_code(&failure)), (code, grpc));
            assert!(is_phrase(&failure.sentence), "{failure:?}");
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
