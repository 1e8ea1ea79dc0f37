//! The errors that the gRPC library answers by itself, before a call reaches a service: in the
//! API's form, and with the code that the API has for them.
//!
//! They are known by what they lack: every error of ours has details. What each was follows from
//! its code alone; words are not read.

use http::HeaderMap;
use metronome_proto::{
    MESSAGE_BYTES_MAX,
    v1::{Failure, FailureCode},
};
use tonic::{Code, Status, body::Body};

use crate::control::status;

/// The compressions that the server has, with which the library answers one that it has not.
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// The answer, or its error in the API's form.
pub(super) fn explained(answer: http::Response<Body>) -> http::Response<Body> {
    let Some(failure) = failure(answer.headers()) else {
        return answer;
    };
    let mut explained = status::from_failure(&failure).into_http::<Body>();
    if let Some(accepted) = answer.headers().get(ACCEPT_ENCODING) {
        let accepted = accepted.clone();
        explained.headers_mut().insert(ACCEPT_ENCODING, accepted);
    }
    explained
}

/// The failure of an error of the library. `None` where there is none, or another has its own form.
fn failure(headers: &HeaderMap) -> Option<Failure> {
    let library = Status::from_header_map(headers).filter(|status| status.details().is_empty())?;
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
