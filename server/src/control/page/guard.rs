//! Who may read the page, and what browsers are allowed to do with it.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{
            CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use metronome_web::document::PAGE_POLICY;

use super::hosts::Hosts;

/// No page of another origin may load what is here, not even blindly.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// What each request is checked by.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) is_shown: bool,
    pub(super) hosts: Hosts,
}

/// Lets a request through, or refuses it with a sentence.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = match guard.refuse(&request) {
        Some((status, sentence)) => (status, sentence + "\n").into_response(),
        None => next.run(request).await,
    };
    let headers = answer.headers_mut();
    // A report has a policy of its own in its document, which is stricter.
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
        (OPENER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

impl Guard {
    /// Why a request is not answered.
    fn refuse(&self, request: &Request) -> Option<(StatusCode, String)> {
        if !self.is_shown {
            let sentence = "The page and its API are off: other hosts reach this address, and \
                everyone there could read every run. Start the server with --page, or with a \
                loopback address for --http.";
            return Some((StatusCode::FORBIDDEN, sentence.into()));
        }
        let mut named = request.headers().get_all(HOST).iter();
        let header = named.next().and_then(|host| host.to_str().ok());
        let is_one = named.next().is_none();
        let in_target = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        let is_allowed = is_one
            && header.is_some_and(|host| self.hosts.allow(host))
            && in_target.is_none_or(|host| self.hosts.allow(host));
        let instead = self.hosts.instead();
        (!is_allowed).then(|| {
            let sentence = format!(
                "This server is not the host that was asked for; ask for {instead}, or name the \
                 host in --http."
            );
            (StatusCode::MISDIRECTED_REQUEST, sentence)
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn refused(is_shown: bool, target: &str, hosts: &[&str]) -> Option<StatusCode> {
        let guard = Guard {
            is_shown,
            hosts: Hosts::new("127.0.0.1:9464".parse().unwrap(), "127.0.0.1"),
        };
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let request = request.body(Body::empty()).unwrap();
        guard.refuse(&request).map(|(status, _)| status)
    }

    #[test]
    fn one_host_of_this_server_is_served_and_every_other_request_is_not() {
        let misdirected = Some(StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(refused(true, "/", &["localhost:9464"]), None);
        assert_eq!(refused(true, "/", &[]), misdirected);
        assert_eq!(refused(true, "/", &["evil.example:9464"]), misdirected);
        let twice = ["localhost:9464", "localhost:9464"];
        assert_eq!(refused(true, "/", &twice), misdirected);
        let target = "http://evil.example:9464/";
        assert_eq!(refused(true, target, &["localhost:9464"]), misdirected);
    }

    #[test]
    fn a_page_that_is_off_shows_nothing_to_anyone() {
        let off = refused(false, "/", &["localhost:9464"]);
        assert_eq!(off, Some(StatusCode::FORBIDDEN));
    }
}
