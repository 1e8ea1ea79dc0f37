//! The errors that the gRPC library answers by itself, before a call reaches a service: in the
//! API's form, and with the code that the API has for them.
//!
//! A status that a handler of ours has made shows that by its source, whatever its words are, and
//! grpc.health and grpc.reflection have their own. Of what is left the request was never handled,
//! so that its code alone shows what it was; words are not read.

use metronome_proto::{
    MESSAGE_BYTES_MAX,
    v1::{Failure, FailureCode},
};
use tonic::{Code, Status, body::Body};

use crate::control::status;

/// The compressions that the server has, with which the library answers one that it has not.
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// The services that are not of this API begin so.
const STANDARD: &str = "/grpc.";

/// Whether an error at this path may be put in the API's form.
pub(super) fn is_ours(path: &str) -> bool {
    !path.starts_with(STANDARD)
}

/// The answer of a path of ours, or its error in the API's form.
pub(super) fn explained(answer: http::Response<Body>) -> http::Response<Body> {
    let made = answer.extensions().get::<Status>();
    if made.is_some_and(status::is_of_handler) {
        return answer;
    }
    let of_library = Status::from_header_map(answer.headers());
    let Some(failure) = of_library.and_then(|status| failure(&status)) else {
        return answer;
    };
    let mut explained = status::from_failure(&failure).into_http::<Body>();
    if let Some(accepted) = answer.headers().get(ACCEPT_ENCODING) {
        let accepted = accepted.clone();
        explained.headers_mut().insert(ACCEPT_ENCODING, accepted);
    }
    explained
}

/// The failure of an error of the library. `None` where it is not about the request.
fn failure(library: &Status) -> Option<Failure> {
    let failure = match library.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            let sentence =
                format!("the message is too large; at most {MESSAGE_BYTES_MAX} bytes are allowed");
            Failure::new(FailureCode::MessageTooLarge, sentence)
                .with("message_bytes_max", MESSAGE_BYTES_MAX)
        }
        Code::Internal => {
            let sentence = "the message of the request cannot be decoded";
            Failure::new(FailureCode::MessageUnreadable, sentence)
        }
        Code::Unimplemented => {
            let sentence = "the server has no such method, or not the compression of the request";
            Failure::new(FailureCode::MethodUnknown, sentence)
        }
        _ => return None,
    };
    Some(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained_code(status: Status) -> Option<FailureCode> {
        let explained = explained(status.into_http::<Body>());
        let status = Status::from_header_map(explained.headers()).unwrap();
        Failure::from_details(status.details()).map(|failure| failure.code())
    }

    #[test]
    fn the_fault_of_a_handler_is_not_that_of_a_message() {
        assert_eq!(
            explained_code(Status::internal("x")),
            Some(FailureCode::MessageUnreadable)
        );
        let fault = status::of_handler(Status::internal("x"));
        assert_eq!(explained_code(fault), None);
        let failure = Failure::new(FailureCode::Internal, "x");
        let code = explained_code(status::from_failure(&failure));
        assert_eq!(code, Some(FailureCode::Internal));
    }

    #[test]
    fn the_standard_services_keep_their_own_errors() {
        assert!(!is_ours("/grpc.health.v1.Health/Check"));
        assert!(!is_ours(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        ));
        assert!(is_ours("/metronome.v1.RunService/GetRun"));
    }
}
