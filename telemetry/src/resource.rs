//! The identity of this process for a collector: OpenTelemetry's resource attributes.

use opentelemetry::KeyValue;
use opentelemetry_sdk::{
    Resource,
    trace::{IdGenerator as _, RandomIdGenerator},
};

use crate::variables::read_variable;

/// The attributes of this process. The user's `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`
/// win.
#[must_use]
pub fn resource(service: &'static str) -> Resource {
    let ours = [
        ("service.name", service.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        (
            "service.instance.id",
            RandomIdGenerator::default().new_trace_id().to_string(),
        ),
        ("host.name", metronome_os::host::name()),
    ];
    let given = read_variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_given = |name: &str| {
        let named = given
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .any(|(key, _)| key.trim() == name);
        named || (name == "service.name" && read_variable("OTEL_SERVICE_NAME").is_some())
    };
    let ours = ours
        .into_iter()
        .filter(|(name, _)| !is_given(name))
        .map(|(name, value)| KeyValue::new(name, value));
    Resource::builder()
        .with_attributes(ours)
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}
