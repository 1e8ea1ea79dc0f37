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

/// The header that has the words of an error, escaped as in an address.
const GRPC_MESSAGE: &str = "grpc-message";

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

/// Most bytes of a message as its header has it; those of ours are shorter.
const MESSAGE_HEADER_BYTES_MAX: usize = 2 << 10;

/// Cuts the words of an error in its headers: those of grpc.reflection repeat what was asked for,
/// however long it was, and callers refuse headers that are too long.
pub(super) fn cut_message(headers: &mut http::HeaderMap) {
    let Some(message) = headers.get_mut(GRPC_MESSAGE) else {
        return;
    };
    if message.len() <= MESSAGE_HEADER_BYTES_MAX {
        return;
    }
    let mut kept = &message.as_bytes()[..MESSAGE_HEADER_BYTES_MAX];
    // Each byte beyond ASCII is three: `%C3%A4`. Half of one would be none.
    if let Some(begins) = kept.iter().rposition(|byte| *byte == b'%')
        && kept.len() - begins < 3
    {
        kept = &kept[..begins];
    }
    if let Ok(cut) = http::HeaderValue::from_bytes(kept) {
        *message = cut;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_before_an_escape_and_a_short_one_is_left_alone() {
        let cut = |text: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(GRPC_MESSAGE, text.parse().unwrap());
            cut_message(&mut headers);
            headers[GRPC_MESSAGE].to_str().unwrap().to_owned()
        };
        assert_eq!(cut("short %C3%A4"), "short %C3%A4");
        assert_eq!(cut(&"x".repeat(900_000)).len(), MESSAGE_HEADER_BYTES_MAX);
        for shift in 0..3 {
            let escaped = "x".repeat(shift) + &"%41".repeat(1_000);
            let kept = cut(&escaped);
            assert!(kept.len() > MESSAGE_HEADER_BYTES_MAX - 3, "{}", kept.len());
            assert_eq!((kept.len() - shift) % 3, 0);
        }
        cut_message(&mut http::HeaderMap::new());
    }

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
