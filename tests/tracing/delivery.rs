//! How traces and metrics get to a collector: TLS, headers, compression, names.

use std::{collections::BTreeSet, fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::{
    common::{
        assert_exact,
        collector::{Collector, total},
    },
    observed::{LOAD, LOAD_PACKETS, Observed},
};

#[test]
fn headers_and_gzip_are_used_and_metrics_come_too() {
    let collector = Collector::start();
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=bench%201"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_SERVICE_NAME", "mine"),
    ];
    let observed = Observed::start(&collector, &variables);
    observed.run(&LOAD);
    observed.end();
    let metadata = collector.metadata();
    assert!(!metadata.is_empty());
    for call in &metadata {
        assert_eq!(
            call.get("x-tenant").map(|value| value.as_bytes()),
            Some(&b"bench 1"[..])
        );
        assert_eq!(
            call.get("grpc-encoding").map(|value| value.as_bytes()),
            Some(&b"gzip"[..])
        );
    }
    assert!(collector.spans().iter().all(|span| span.service == "mine"));
    let metrics = collector.metrics();
    for name in [
        "metronome.packets.received",
        "metronome.packets.sent",
        "metronome.latency",
        "metronome.lateness",
    ] {
        assert_eq!(total(&metrics, name), Some(LOAD_PACKETS as f64), "{name}");
    }
}

/// An authority that stands in no list of the system's.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name` and its key, as PEM.
fn issued_by(authority: &CertifiedIssuer<'_, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, authority)
        .unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn over_tls_a_collector_is_verified_and_so_are_we_by_it() {
    let folder = tempfile::TempDir::new().unwrap();
    let authority = authority();
    let roots = write(folder.path(), "roots.pem", &authority.pem());
    let (certificate, key) = issued_by(&authority, "localhost");
    let (client_certificate, client_key) = issued_by(&authority, "agent.example");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(authority.pem()));
    let collector = Collector::over_tls(tls);
    let variables = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", roots.as_str()),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            &write(folder.path(), "client.pem", &client_certificate),
        ),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            &write(folder.path(), "client.key", &client_key),
        ),
    ];
    let observed = Observed::start(&collector, &variables);
    observed.run(&LOAD);
    observed.end();
    let services: BTreeSet<String> = collector
        .spans()
        .into_iter()
        .map(|span| span.service)
        .collect();
    assert_eq!(
        services.iter().collect::<Vec<_>>(),
        ["benchctl", "metronome-agent", "metronome-server"]
    );
    assert_eq!(
        total(&collector.metrics(), "metronome.packets.received"),
        Some(LOAD_PACKETS as f64)
    );
}

#[test]
fn a_collector_that_cannot_be_verified_gets_nothing_and_the_run_goes_on() {
    let (certificate, key) = issued_by(&authority(), "localhost");
    let collector =
        Collector::over_tls(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key)));
    let folder = tempfile::TempDir::new().unwrap();
    let roots = write(folder.path(), "roots.pem", &authority().pem());
    let observed = Observed::start(&collector, &[("OTEL_EXPORTER_OTLP_CERTIFICATE", &roots)]);
    let output = observed
        .benchctl(&[&["start"], &LOAD[..]].concat())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("spans were not delivered to the collector at https://localhost:"),
        "{said}"
    );
    assert_exact(&crate::common::json_of(output).0, LOAD_PACKETS);
    observed.end();
    assert!(collector.spans().is_empty() && collector.metrics().is_empty());
}
