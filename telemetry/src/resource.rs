//! The identity of this process for a collector: OpenTelemetry's resource attributes.

use std::sync::LazyLock;

use opentelemetry::KeyValue;
use opentelemetry_sdk::{
    Resource,
    resource::TelemetryResourceDetector,
    trace::{IdGenerator as _, RandomIdGenerator},
};
use percent_encoding::percent_decode_str;

use crate::{conventions::SCHEMA_URL, variables::Variables};

const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// One for all that this process sends, in the form of a random UUID.
static INSTANCE: LazyLock<String> = LazyLock::new(|| {
    let random = u128::from_be_bytes(RandomIdGenerator::default().new_trace_id().to_bytes());
    uuid(random)
});

/// The attributes of this process. The user's `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`
/// win.
#[must_use]
pub fn resource(service: &'static str, variables: &Variables<'_>) -> Resource {
    let ours = [
        KeyValue::new("service.name", service),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", INSTANCE.clone()),
        KeyValue::new("host.name", metronome_os::host::name()),
        KeyValue::new("process.pid", i64::from(std::process::id())),
    ];
    let name = variables.text("OTEL_SERVICE_NAME");
    let name = name.map(|name| KeyValue::new("service.name", name));
    // The last one of a name holds.
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(ours)
        .with_attributes(given(variables))
        .with_attributes(name)
        .with_schema_url([], SCHEMA_URL)
        .build()
}

/// The user's own, values percent-encoded. A list with a fault is ignored as a whole, as the
/// specification has it.
fn given(variables: &Variables<'_>) -> Vec<KeyValue> {
    let text = variables.text(ATTRIBUTES).unwrap_or_default();
    let pairs = text.split_terminator(',').map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let name = name.trim();
        (!name.is_empty()).then(|| KeyValue::new(name.to_owned(), value.into_owned()))
    });
    pairs.collect::<Option<_>>().unwrap_or_else(|| {
        variables.ignore(format!(
            "{ATTRIBUTES} is ignored: it takes NAME=VALUE,NAME=VALUE with values percent-encoded"
        ));
        Vec::new()
    })
}

/// A UUID of version 4.
fn uuid(random: u128) -> String {
    let version_and_variant = (0xf << 76) | (0b11 << 62);
    let digits = format!(
        "{:032x}",
        random & !version_and_variant | (4 << 76) | (0b10 << 62)
    );
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use opentelemetry::Key;

    use super::*;

    fn of(variables: &[(&str, &str)], name: &'static str) -> (Option<String>, Vec<String>) {
        let read = |asked: &str| {
            let found = variables.iter().find(|(name, _)| *name == asked);
            found.map(|(_, value)| (*value).to_owned())
        };
        let variables = Variables::new(&read);
        let resource = resource("metronome-server", &variables);
        assert_eq!(resource.schema_url(), Some(SCHEMA_URL));
        let value = resource.get(&Key::from_static_str(name));
        (value.map(|value| value.to_string()), variables.ignored())
    }

    #[test]
    fn the_users_attributes_win_and_a_list_with_a_fault_is_ignored() {
        let name = "service.name";
        let check = |variables: &[_], value: &str| {
            assert_eq!(of(variables, name), (Some(value.to_owned()), Vec::new()));
        };
        check(&[], "metronome-server");
        check(&[(ATTRIBUTES, "a=1, service.name = it%20 ,")], "it ");
        check(
            &[(ATTRIBUTES, "service.name=a"), ("OTEL_SERVICE_NAME", "b")],
            "b",
        );
        for fault in [
            "service.name=a,nonsense",
            "service.name=a,=b",
            "service.name=a,x=%ff",
        ] {
            let (value, ignored) = of(&[(ATTRIBUTES, fault)], name);
            assert_eq!(value.as_deref(), Some("metronome-server"));
            assert_eq!(ignored.len(), 1, "{ignored:?}");
        }
    }

    #[test]
    fn a_process_has_one_instance_id_which_is_a_uuid() {
        let id = || of(&[], "service.instance.id").0.unwrap();
        assert_eq!(id(), id());
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
