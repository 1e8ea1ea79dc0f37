//! Where traces and metrics go, from the `OTEL_…` variables that the specification names.
//!
//! | variable | meaning here |
//! |---|---|
//! | `OTEL_SDK_DISABLED` | `true`: nothing goes out |
//! | `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER` | `otlp`, the default, or `none` |
//! | `OTEL_EXPORTER_OTLP[_TRACES, _METRICS]_ENDPOINT` | `http://HOST:4317`; unset: no export |
//! | `…_PROTOCOL` | `grpc`; anything else is refused with a sentence |
//! | `…_INSECURE` | `true`: an endpoint without a scheme is plain HTTP, otherwise it is HTTPS |
//! | `…_HEADERS`, `…_TIMEOUT`, `…_COMPRESSION` | as specified; compression is `gzip` or `none` |
//! | `…_CERTIFICATE`, `…_CLIENT_CERTIFICATE`, `…_CLIENT_KEY` | PEM files; default: system roots |
//!
//! The SDK ignores `OTEL_SDK_DISABLED`, the exporters' names and the certificates, and has no
//! roots, so the channel is made here.
//!
//! An endpoint may hold a password or a key and headers are one: none is ever shown. The endpoint
//! is kept without its user, password, path and query, so that no library can log them; headers are
//! marked sensitive.

use std::{fs, time::Duration};

use percent_encoding::percent_decode_str;
use tonic::{
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::variables::{Variables, shown};

/// The default that the specification prescribes, ms.
const TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// A day, ms.
const TIMEOUT_MS_MAX: u64 = 86_400_000;

const DISABLED: &str = "OTEL_SDK_DISABLED";

/// What is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Counters, gauges, histograms.
    Metrics,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }
}

/// A collector to send one signal to.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Scheme, host and port: it may be shown.
    pub endpoint: String,
    /// Sent with every call. Never shown.
    pub headers: MetadataMap,
    /// Compress with gzip.
    pub gzip: bool,
    /// For one export, tries included.
    pub timeout: Duration,
    tls: Option<ClientTlsConfig>,
}

impl Collector {
    /// The collector that the variables ask for; `None` when they ask for none.
    ///
    /// # Errors
    /// One sentence that names the variable, its value and what is allowed.
    pub fn from_variables(
        signal: Signal,
        variables: &Variables<'_>,
    ) -> Result<Option<Self>, String> {
        let named = |suffix: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_{}_{suffix}", signal.name());
            let is_own = variables.text(&own).is_some();
            if is_own {
                own
            } else {
                format!("OTEL_EXPORTER_OTLP_{suffix}")
            }
        };
        let of_signal = |suffix: &str| {
            let name = named(suffix);
            variables.text(&name).map(|value| (name, value))
        };
        let Some((variable, endpoint)) = of_signal("ENDPOINT") else {
            return Ok(None);
        };
        if variables.is_true(DISABLED) || !is_exported(signal, variables)? {
            return Ok(None);
        }
        if let Some((name, protocol)) = of_signal("PROTOCOL")
            && protocol != "grpc"
        {
            return Err(format!(
                "{name} is {}: only grpc is supported; set it to grpc and the endpoint to the \
                 collector's gRPC port, usually 4317",
                shown(&protocol)
            ));
        }
        let endpoint = with_scheme(&endpoint, variables.is_true(&named("INSECURE")));
        let (mut endpoint, had_user) = without_user(&endpoint);
        // A call of gRPC has its own path and no query.
        endpoint.truncate(host_end(&endpoint));
        if had_user {
            variables.ignore(format!(
                "{variable} has a user or a password, which is ignored: send it as \
                 OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20…"
            ));
        }
        Endpoint::from_shared(endpoint.clone()).map_err(|_| {
            let shown = shown(&endpoint);
            format!("{variable} is {shown}; write for example http://localhost:4317")
        })?;
        let tls = if endpoint.starts_with("https://") {
            Some(tls(&of_signal)?)
        } else {
            None
        };
        let headers = of_signal("HEADERS");
        let headers = headers.map(|(name, text)| headers_of(&text, &name, variables));
        let timeout_ms =
            variables.number(&named("TIMEOUT"), TIMEOUT_MS_DEFAULT, 1..=TIMEOUT_MS_MAX);
        Ok(Some(Self {
            endpoint,
            headers: headers.unwrap_or_default(),
            gzip: gzip(of_signal("COMPRESSION"))?,
            timeout: Duration::from_millis(timeout_ms),
            tls,
        }))
    }

    /// A connection that is made with the first call. Call inside the runtime that is to drive it.
    ///
    /// # Errors
    /// One sentence: the endpoint or its certificates cannot be used.
    pub fn channel(&self) -> Result<Channel, String> {
        let fault =
            |error: tonic::transport::Error| format!("{} cannot be used: {error}", self.endpoint);
        let endpoint = Endpoint::from_shared(self.endpoint.clone()).map_err(fault)?;
        let endpoint = match &self.tls {
            Some(tls) => endpoint.tls_config(tls.clone()).map_err(fault)?,
            None => endpoint,
        };
        Ok(endpoint
            .timeout(self.timeout)
            .connect_timeout(self.timeout)
            .connect_lazy())
    }
}

fn with_scheme(endpoint: &str, insecure: bool) -> String {
    match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false if insecure => format!("http://{endpoint}"),
        false => format!("https://{endpoint}"),
    }
}

/// Whether `OTEL_TRACES_EXPORTER` or `OTEL_METRICS_EXPORTER` wants the signal sent.
fn is_exported(signal: Signal, variables: &Variables<'_>) -> Result<bool, String> {
    let exporter = format!("OTEL_{}_EXPORTER", signal.name());
    let asked = variables.text(&exporter).unwrap_or_default();
    match asked.to_ascii_lowercase().as_str() {
        "" | "otlp" => Ok(true),
        "none" => Ok(false),
        _ => Err(format!(
            "{exporter} is {}; otlp and none are known",
            shown(&asked)
        )),
    }
}

/// An endpoint without the user and password before its host, and whether it had any.
fn without_user(endpoint: &str) -> (String, bool) {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
    // A password may hold what ends a host, if it is not encoded as it should be.
    let Some((_, host)) = rest.rsplit_once('@') else {
        return (endpoint.to_owned(), false);
    };
    let scheme_end = if scheme.is_empty() { "" } else { "://" };
    (format!("{scheme}{scheme_end}{host}"), true)
}

/// Where the path or the query of an endpoint begins, or where it ends.
fn host_end(endpoint: &str) -> usize {
    let host = endpoint.find("://").map_or(0, |scheme| scheme + 3);
    let host_len = endpoint[host..].find(['/', '?', '#']);
    host_len.map_or(endpoint.len(), |len| host + len)
}

/// An endpoint as it may be shown: scheme, host and port. User, password, path and query may hold
/// a key.
#[must_use]
pub fn redacted(endpoint: &str) -> String {
    let (endpoint, had_user) = without_user(endpoint);
    let (before, rest) = endpoint.split_at(host_end(&endpoint));
    let shown = match rest {
        "" | "/" => endpoint,
        _ => format!("{before}/…"),
    };
    match shown.split_once("://") {
        Some((scheme, rest)) if had_user => format!("{scheme}://…@{rest}"),
        None if had_user => format!("…@{shown}"),
        _ => shown,
    }
}

/// `name=value,name=value`, values percent-encoded. What is malformed is left out.
fn headers_of(text: &str, variable: &str, variables: &Variables<'_>) -> MetadataMap {
    let mut headers = MetadataMap::new();
    let mut faults = 0;
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let Some((key, value)) = header(pair) else {
            faults += 1;
            continue;
        };
        headers.insert(key, value);
    }
    if faults > 0 {
        // Neither name nor value is shown: what is malformed may be a piece of a secret.
        variables.ignore(format!(
            "{variable} has {faults} malformed headers, which are ignored: it takes \
             NAME=VALUE,NAME=VALUE with values percent-encoded"
        ));
    }
    headers
}

fn header(pair: &str) -> Option<(MetadataKey<Ascii>, MetadataValue<Ascii>)> {
    let (name, value) = pair.split_once('=')?;
    let key = MetadataKey::from_bytes(name.trim().to_ascii_lowercase().as_bytes()).ok()?;
    let value = percent_decode_str(value.trim()).decode_utf8_lossy();
    let mut value: MetadataValue<Ascii> = value.parse().ok()?;
    value.set_sensitive(true);
    Some((key, value))
}

fn gzip(compression: Option<(String, String)>) -> Result<bool, String> {
    let Some((name, compression)) = compression else {
        return Ok(false);
    };
    match compression.to_ascii_lowercase().as_str() {
        "none" => Ok(false),
        "gzip" => Ok(true),
        _ => Err(format!(
            "{name} is {}; gzip and none are known",
            shown(&compression)
        )),
    }
}

fn tls(of_signal: &dyn Fn(&str) -> Option<(String, String)>) -> Result<ClientTlsConfig, String> {
    let file = |suffix| {
        let Some((variable, path)) = of_signal(suffix) else {
            return Ok(None);
        };
        fs::read(path.trim())
            .map(Some)
            .map_err(|error| format!("{variable} is {path}, which cannot be read: {error}"))
    };
    let mut tls = match file("CERTIFICATE")? {
        Some(roots) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots)),
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    if let (Some(certificate), Some(key)) = (file("CLIENT_CERTIFICATE")?, file("CLIENT_KEY")?) {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(variables: &[(&str, &str)]) -> Result<Option<Collector>, String> {
        followed(variables).0
    }

    /// The collector, and the sentences for what was ignored.
    fn followed(variables: &[(&str, &str)]) -> (Result<Option<Collector>, String>, Vec<String>) {
        let read = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let variables = Variables::new(&read);
        let collector = Collector::from_variables(Signal::Traces, &variables);
        (collector, variables.ignored())
    }

    #[track_caller]
    fn goes_to(variables: &[(&str, &str)], endpoint: Option<&str>) {
        let found = collector(variables)
            .unwrap()
            .map(|collector| collector.endpoint);
        assert_eq!(found.as_deref(), endpoint, "{variables:?}");
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");

    #[test]
    fn nothing_goes_out_until_an_endpoint_is_named_and_it_can_be_switched_off() {
        goes_to(&[], None);
        goes_to(&[ENDPOINT], Some("http://localhost:4317"));
        goes_to(
            &[
                ENDPOINT,
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1"),
            ],
            Some("http://t:1"),
        );
        goes_to(
            &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1")],
            None,
        );
        goes_to(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")], None);
        goes_to(
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "no")],
            Some("http://localhost:4317"),
        );
        goes_to(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], None);
        goes_to(
            &[ENDPOINT, ("OTEL_METRICS_EXPORTER", "none")],
            Some("http://localhost:4317"),
        );
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_https_unless_it_is_said_to_be_insecure() {
        let bare = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
        goes_to(&[bare], Some("https://collector:4317"));
        goes_to(
            &[bare, ("OTEL_EXPORTER_OTLP_INSECURE", "true")],
            Some("http://collector:4317"),
        );
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_the_name_of_its_variable() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ] {
            let error = collector(&[ENDPOINT, (variable, value)]).unwrap_err();
            assert!(error.contains(variable) && error.contains(value), "{error}");
        }
        let missing = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:1"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such.pem"),
        ];
        assert!(collector(&missing).unwrap_err().contains("/no/such.pem"));
        assert!(
            collector(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a b")])
                .unwrap_err()
                .contains("4317")
        );
    }

    #[test]
    fn headers_are_decoded_and_malformed_ones_left_out() {
        let text = "Authorization=Basic%20abc=, x-a = 1 ,nonsense,b\u{e4}d=1,percent=%zz%";
        let (collector, ignored) = followed(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", text)]);
        assert!(ignored[0].contains("OTEL_EXPORTER_OTLP_HEADERS has 2 malformed"));
        assert!(!ignored[0].contains("nonsense"), "{ignored:?}");
        let collector = collector.unwrap().unwrap();
        assert!(!format!("{collector:?}").contains("abc"), "{collector:?}");
        let of = |name: &str| {
            collector
                .headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(of("authorization").as_deref(), Some("Basic abc="));
        assert_eq!(of("x-a").as_deref(), Some("1"));
        assert_eq!(of("percent").as_deref(), Some("%zz%"));
        assert_eq!(collector.headers.len(), 3);
    }

    #[test]
    fn a_password_or_a_key_is_neither_kept_nor_shown() {
        for (endpoint, kept, shown) in [
            ("http://c:1", "http://c:1", "http://c:1"),
            ("http://u:secret@c:1", "http://c:1", "http://…@c:1"),
            ("http://u:sec/ret@c:1/p", "http://c:1", "http://…@c:1/…"),
            ("http://u@x:sec@ret@c:1", "http://c:1", "http://…@c:1"),
            ("u:secret@c:1", "https://c:1", "…@c:1"),
            ("http://c:1/?k=secret", "http://c:1", "http://c:1/…"),
            ("http://c:1?k=secret", "http://c:1", "http://c:1/…"),
            ("https://c:1/secret/v1", "https://c:1", "https://c:1/…"),
            ("c:1/secret#secret", "https://c:1", "c:1/…"),
            ("http://c:1/", "http://c:1", "http://c:1/"),
        ] {
            assert_eq!(redacted(endpoint), shown);
            let (collector, ignored) = followed(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
            assert_eq!(collector.unwrap().unwrap().endpoint, kept);
            assert_eq!(
                ignored.len(),
                usize::from(endpoint.contains('@')),
                "{ignored:?}"
            );
            assert!(!ignored.concat().contains("sec"), "{ignored:?}");
        }
        let error = collector(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:secret@a b")]);
        let error = error.unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn what_is_not_understood_of_the_rest_is_ignored_with_what_is_allowed() {
        for (variable, allowed) in [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1 to 86400000"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true, false"),
            ("OTEL_SDK_DISABLED", "true, false"),
        ] {
            let (collector, ignored) = followed(&[ENDPOINT, (variable, "nonsense")]);
            let collector = collector.unwrap().unwrap();
            assert_eq!(collector.timeout, Duration::from_secs(10));
            assert_eq!(ignored.len(), 1, "{ignored:?}");
            let is_named = ignored[0].starts_with(&format!("{variable} is nonsense"));
            assert!(is_named && ignored[0].contains(allowed), "{ignored:?}");
        }
    }
}
