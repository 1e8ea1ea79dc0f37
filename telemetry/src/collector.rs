//! Where traces and metrics go, from the `OTEL_…` variables that the specification names.
//!
//! | variable | meaning here |
//! |---|---|
//! | `OTEL_SDK_DISABLED` | `true`: nothing goes out |
//! | `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER` | `otlp`, the default, or `none` |
//! | `OTEL_EXPORTER_OTLP[_TRACES, _METRICS]_ENDPOINT` | `http://HOST:4317`; unset: no export |
//! | `…_PROTOCOL` | `grpc`; anything else is refused with a sentence |
//! | `…_INSECURE` | `true`: an endpoint without a scheme is plain HTTP, otherwise it is HTTPS |
//! | `…_HEADERS`, `…_TIMEOUT`, `…_COMPRESSION` | as specified; compression is `gzip` |
//! | `…_CERTIFICATE`, `…_CLIENT_CERTIFICATE`, `…_CLIENT_KEY` | PEM files; default: system roots |
//!
//! The SDK ignores `OTEL_SDK_DISABLED`, the exporters' names and the certificates, and has no
//! roots, so the channel is made here. Variables come through a function: tests need no
//! environment.

use std::{fs, time::Duration};

use percent_encoding::percent_decode_str;
use tonic::{
    metadata::{MetadataKey, MetadataMap},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// The default that the specification prescribes.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

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
    /// With its scheme.
    pub endpoint: String,
    /// Sent with every call.
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
    /// An error is one sentence that names the variable, its value and what is allowed.
    pub fn from_variables(
        signal: Signal,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let of_signal = |suffix: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_{}_{suffix}", signal.name());
            let shared = format!("OTEL_EXPORTER_OTLP_{suffix}");
            read(&own)
                .map(|value| (own, value))
                .or_else(|| read(&shared).map(|value| (shared, value)))
        };
        let exporter = format!("OTEL_{}_EXPORTER", signal.name());
        let is_off = read("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let Some((variable, endpoint)) = of_signal("ENDPOINT").filter(|_| !is_off) else {
            return Ok(None);
        };
        match read(&exporter).as_deref().map(str::trim) {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => return Err(format!("{exporter} is {other}; otlp and none are known")),
        }
        let value_of = |suffix| of_signal(suffix).map(|(_, value)| value.trim().to_owned());
        if let Some(protocol) = value_of("PROTOCOL").filter(|protocol| protocol != "grpc") {
            let problem = "only grpc is supported; set it to grpc and the endpoint to the \
                           collector's gRPC port, usually 4317";
            return Err(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: {problem}"
            ));
        }
        let insecure = value_of("INSECURE").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let endpoint = with_scheme(endpoint.trim(), insecure);
        Endpoint::from_shared(endpoint.clone()).map_err(|_| {
            format!("{variable} is {endpoint}; write for example http://localhost:4317")
        })?;
        let tls = if endpoint.starts_with("https://") {
            Some(tls(&of_signal)?)
        } else {
            None
        };
        Ok(Some(Self {
            endpoint,
            headers: headers(&value_of("HEADERS").unwrap_or_default()),
            gzip: gzip(value_of("COMPRESSION"))?,
            timeout: value_of("TIMEOUT")
                .and_then(|ms| ms.parse().ok())
                .map_or(TIMEOUT_DEFAULT, Duration::from_millis),
            tls,
        }))
    }

    /// A connection that is made with the first call. Call inside the runtime that is to drive it.
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

/// `name=value,name=value`, values percent-encoded. What is malformed is left out.
fn headers(text: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    for (name, value) in text.split(',').filter_map(|pair| pair.split_once('=')) {
        let key = MetadataKey::from_bytes(name.trim().to_ascii_lowercase().as_bytes());
        if let (Ok(key), Ok(value)) = (
            key,
            percent_decode_str(value.trim()).decode_utf8_lossy().parse(),
        ) {
            headers.insert(key, value);
        }
    }
    headers
}

fn gzip(compression: Option<String>) -> Result<bool, String> {
    match compression.as_deref() {
        None | Some("none") => Ok(false),
        Some("gzip") => Ok(true),
        Some(other) => Err(format!(
            "OTEL_EXPORTER_OTLP_COMPRESSION is {other}; gzip and none are known"
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
        let read = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Collector::from_variables(Signal::Traces, &read)
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
        let collector = collector(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", text)])
            .unwrap()
            .unwrap();
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
}
