//! A body of the API: made in turn, packed where the reader can unpack it, and held for few readers
//! at once. So memory is bounded whatever is asked and however slowly it is read.

use std::{io::Write as _, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse as _, Response},
};
use flate2::{Compression, write::GzEncoder};
use metronome_proto::{
    json::error,
    v1::{Failure, FailureCode},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
};
use tokio_stream::{self as stream, StreamExt as _};

use crate::control::{
    api::{Turn, Turns},
    status,
};

/// Answers that are held for their readers.
const HELD_MAX: usize = 16;
/// Smaller ones are not packed.
const PACKED_BYTES_MIN: usize = 2 << 10;
/// What the connection is given at a time.
const PIECE_BYTES: usize = 64 << 10;

const JSON: &str = "application/json";

/// Makes answers.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    turns: Turns,
    held: Arc<Semaphore>,
}

/// The right to make one answer, and to hold it.
pub(super) struct Place {
    turn: Turn,
    held: OwnedSemaphorePermit,
}

/// What an answer is made of.
pub(super) struct Made {
    pub(super) content_type: &'static str,
    pub(super) text: String,
    /// Where the next page is.
    pub(super) next: Option<String>,
}

impl Made {
    pub(super) fn json(text: String) -> Self {
        Self {
            content_type: JSON,
            text,
            next: None,
        }
    }
}

impl Maker {
    pub(super) fn new(turns: Turns) -> Self {
        Self {
            turns,
            held: Arc::new(Semaphore::new(HELD_MAX)),
        }
    }

    /// Waits for the turn to make an answer.
    pub(super) async fn place(&self) -> Result<Place, Failure> {
        let turn = self.turns.take().await?;
        let held = Arc::clone(&self.held).try_acquire_owned().map_err(|_| {
            let sentence = format!("{HELD_MAX} answers wait to be read by those who asked");
            Failure::new(FailureCode::AnswersFull, sentence)
        })?;
        Ok(Place { turn, held })
    }
}

/// An answer of what `make` makes, on a thread that may block.
pub(super) async fn respond(
    place: Place,
    headers: &HeaderMap,
    make: impl FnOnce() -> Made + Send + 'static,
) -> Response {
    let is_packed = accepts_gzip(headers);
    let Ok((made, bytes, is_packed)) = task::spawn_blocking(move || {
        let made = make();
        let is_packed = is_packed && made.text.len() >= PACKED_BYTES_MIN;
        let text = made.text.as_bytes();
        let bytes = if is_packed {
            packed(text)
        } else {
            text.to_vec()
        };
        (
            Made {
                text: String::new(),
                ..made
            },
            bytes,
            is_packed,
        )
    })
    .await
    else {
        return refused(&status::internal("the answer could not be made"));
    };
    let Place { turn, held } = place;
    drop(turn);
    let mut answer = (
        [
            (CONTENT_TYPE, made.content_type),
            (CACHE_CONTROL, "no-store"),
            (VARY, "accept-encoding"),
        ],
        body(bytes, held),
    )
        .into_response();
    let headers = answer.headers_mut();
    if is_packed {
        headers.insert(
            CONTENT_ENCODING,
            axum::http::HeaderValue::from_static("gzip"),
        );
    }
    if let Some(next) = made.next.and_then(|next| next.parse().ok()) {
        headers.insert(axum::http::header::LINK, next);
    }
    answer
}

/// The answer of a failure: the object that `benchctl -o json` prints.
pub(super) fn refused(failure: &Failure) -> Response {
    use FailureCode as F;
    let status = match failure.code() {
        F::FieldOutOfRange => StatusCode::BAD_REQUEST,
        F::RunUnknown => StatusCode::NOT_FOUND,
        F::RunNotEnded | F::RunElsewhere => StatusCode::CONFLICT,
        F::AnswersFull | F::Draining | F::Upgrading | F::MasterGone | F::HistoryLocked => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let headers = [(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store")];
    (status, headers, error::error(failure)).into_response()
}

/// A body that keeps its place until all of it was taken.
fn body(bytes: Vec<u8>, held: OwnedSemaphorePermit) -> Body {
    let bytes = Bytes::from(bytes);
    let starts = (0..bytes.len()).step_by(PIECE_BYTES);
    let pieces: Vec<_> = starts
        .map(|start| bytes.slice(start..bytes.len().min(start + PIECE_BYTES)))
        .collect();
    Body::from_stream(stream::iter(pieces).map(move |piece| {
        let _held = &held;
        Ok::<_, std::convert::Infallible>(piece)
    }))
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = packer.write_all(text).and_then(|()| packer.finish());
    packed.expect("memory can be written to")
}

/// Whether the reader can unpack gzip; one that forbids it with `q=0` cannot.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter();
    let mut codings = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        name.trim() == "gzip" && weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;

    use super::*;

    fn headers(accepted: &str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, accepted.parse().unwrap())])
    }

    #[test]
    fn gzip_is_taken_where_it_is_named_and_not_forbidden() {
        for (accepted, expected) in [
            ("gzip", true),
            ("gzip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.8", true),
            ("", false),
            ("br", false),
            ("gzip;q=0", false),
            ("x-gzip", false),
        ] {
            assert_eq!(accepts_gzip(&headers(accepted)), expected, "{accepted}");
        }
    }

    #[tokio::test]
    async fn a_body_is_whole_packed_or_not_and_gives_its_place_back() {
        let maker = Maker::new(Turns::new());
        let text = "{\"a\": 1}\n".repeat(50_000);
        for accepted in ["gzip", "br"] {
            let made = text.clone();
            let headers = headers(accepted);
            let place = maker.place().await.unwrap();
            let answer = respond(place, &headers, move || Made::json(made)).await;
            assert_eq!(maker.held.available_permits(), HELD_MAX - 1);
            let is_packed = answer.headers().contains_key(CONTENT_ENCODING);
            assert_eq!(is_packed, accepted == "gzip");
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            let mut unpacked = String::new();
            match is_packed {
                true => GzDecoder::new(&bytes[..])
                    .read_to_string(&mut unpacked)
                    .unwrap(),
                false => (&bytes[..]).read_to_string(&mut unpacked).unwrap(),
            };
            assert_eq!(unpacked, text);
            assert_eq!(maker.held.available_permits(), HELD_MAX);
        }
    }

    #[tokio::test]
    async fn answers_that_nobody_reads_are_few() {
        let maker = Maker::new(Turns::new());
        let mut waiting = Vec::new();
        for _ in 0..HELD_MAX {
            let place = maker.place().await.unwrap();
            waiting.push(respond(place, &HeaderMap::new(), || Made::json("{}".into())).await);
        }
        let refused = maker.place().await.map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), FailureCode::AnswersFull);
        waiting.pop();
        assert!(maker.place().await.is_ok());
    }
}
