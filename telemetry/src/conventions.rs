//! The names of what is sent: OpenTelemetry's semantic conventions, in one version, and our own
//! names below `metronome.`.
//!
//! Every name of the conventions has a dot, and so has every name of ours that is sent as it is.
//! The fields of spans and log lines are short, since they stand in lines for people; on their way
//! out they get our namespace.

use std::borrow::Cow;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SpanData;

/// The version of the conventions, as resources and scopes name it.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// What made the spans.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("metronome")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build()
}

/// The name of an attribute as it is sent.
#[must_use]
pub fn attribute(field: &str) -> Cow<'_, str> {
    match field {
        "run_id" => "metronome.run.id".into(),
        field if field.contains('.') => field.into(),
        field => format!("metronome.{field}").into(),
    }
}

/// Gives all attributes of a span and of its events the names that they are sent under.
pub(crate) fn name_attributes(span: &mut SpanData) {
    for event in &mut span.events.events {
        // Where in our sources an event is made is of no use to its reader.
        event
            .attributes
            .retain(|pair| pair.key.as_str() != "target");
    }
    let of_events = span.events.events.iter_mut();
    of_events
        .map(|event| &mut event.attributes)
        .chain([&mut span.attributes])
        .flatten()
        .for_each(rename);
}

fn rename(pair: &mut KeyValue) {
    let name = attribute(pair.key.as_str());
    if name != pair.key.as_str() {
        pair.key = name.into_owned().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_gets_our_namespace_and_a_name_of_the_conventions_stays() {
        for (field, name) in [
            ("agent", "metronome.agent"),
            ("run_id", "metronome.run.id"),
            ("metronome.packets.sent", "metronome.packets.sent"),
            ("rpc.method", "rpc.method"),
        ] {
            assert_eq!(attribute(field), name);
            let mut pair = KeyValue::new(field, 1);
            rename(&mut pair);
            assert_eq!(pair.key.as_str(), name);
        }
    }
}
