//! The document of the page and its assets. A browser asks whether its copy is still the same.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse as _, Response},
};
use metronome_web::{assets, document};

/// Kept, and asked for again before it is used: a server may have been upgraded meanwhile.
const CACHED: &str = "no-cache";

/// The document, made once.
#[derive(Clone, Debug)]
pub(super) struct Document {
    html: Arc<str>,
    tag: Arc<str>,
}

impl Document {
    pub(super) fn new(traces: Option<&str>) -> Self {
        let html = document::page(traces);
        Self {
            tag: assets::tag(&html).into(),
            html: html.into(),
        }
    }
}

/// `/`.
pub(super) async fn document(State(document): State<Document>, headers: HeaderMap) -> Response {
    let html = document.html.to_string();
    cached(&headers, &document.tag, "text/html; charset=utf-8", html)
}

/// `/assets/…`.
pub(super) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    match assets::find(&path) {
        Some((asset, tag)) => cached(&headers, tag, asset.content_type, asset.text),
        None => (StatusCode::NOT_FOUND, "The page has no such file.\n").into_response(),
    }
}

fn cached(
    headers: &HeaderMap,
    tag: &str,
    content_type: &'static str,
    body: impl Into<axum::body::Body>,
) -> Response {
    let kept = [(ETAG, tag), (CACHE_CONTROL, CACHED)];
    let asked = headers
        .get(IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok());
    let has = |tags: &str| {
        tags.split(',')
            .any(|of| of.trim().trim_start_matches("W/") == tag)
    };
    if asked.is_some_and(has) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, [(CONTENT_TYPE, content_type)], body.into()).into_response()
}
