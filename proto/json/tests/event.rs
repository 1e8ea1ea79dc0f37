//! An event has the very objects that other commands print, in one line.

use prost_reflect::{DynamicMessage, ReflectMessage as _};
use serde_json::Value;

use super::{
    Enums, Filler, descriptor, json,
    schema::{Properties, Schema},
};
use crate::{json::event, v1};

/// The kinds of events, as the oneof of the API has them: at these places.
const KINDS: [&str; 7] = [
    "snapshot",
    "run_ended",
    "run_changed",
    "agent_changed",
    "worker_changed",
    "threshold_failed",
    "present",
];

fn filled(kind: usize) -> DynamicMessage {
    Filler::new(kind, Enums::Known(4)).message(&descriptor("WatchEventsResponse"))
}

fn printed(message: &DynamicMessage) -> (String, Value) {
    let event: v1::WatchEventsResponse = message.transcode_to().expect("its own type");
    let line = event::event(&event);
    let object = serde_json::from_str(&line).expect("an object");
    (line, object)
}

/// The message within an event of this kind.
fn within(message: &DynamicMessage, field: &str) -> DynamicMessage {
    let value = message.get_field_by_name(field).expect("a field");
    value.as_message().expect("a message").clone()
}

#[test]
fn every_kind_of_event_is_one_line_that_the_schema_allows() {
    let schema = Schema::read();
    let kinds = descriptor("WatchEventsResponse").oneofs().next().unwrap();
    let names = Vec::from_iter(kinds.fields().map(|field| field.name().to_owned()));
    assert_eq!(names, KINDS);
    for (index, kind) in KINDS.into_iter().enumerate() {
        let message = filled(index);
        let (line, object) = printed(&message);
        assert!(!line.contains('\n'));
        assert_eq!(object["event"], kind);
        let typed: v1::WatchEventsResponse = message.transcode_to().unwrap();
        assert_eq!(event::kind(&typed), Some(kind));
        assert!(schema.is_valid(&object), "{object:#}");
        schema.note("event", &object, &mut Properties::new());
        let mut mutant = object.clone();
        mutant["mislaid"] = 1.into();
        assert!(!schema.is_valid(&mutant), "{kind}");
    }
}

#[test]
fn an_event_has_the_object_that_others_print() {
    for (kind, field, key) in [
        (0, "snapshot", "snapshot"),
        (1, "run_ended", "run"),
        (2, "run_changed", "run"),
    ] {
        let message = filled(kind);
        let (_, object) = printed(&message);
        let mut alone = json(&within(&message, field));
        // Rows of clients are fetched by others alone.
        if key == "run" {
            alone["clients"] = Value::Null;
        }
        assert_eq!(object[key], alone, "{field}");
    }
    let message = filled(3);
    let (_, object) = printed(&message);
    let agent = within(&within(&message, "agent_changed"), "agent");
    assert_eq!(object["agent"], json(&agent));
}

#[test]
fn every_value_of_an_event_is_in_its_json() {
    for (index, kind) in KINDS.into_iter().enumerate() {
        let message = filled(index);
        let (_, object) = printed(&message);
        let of = within(&message, kind);
        // Those that have an object of their own are compared as a whole.
        for field in of.descriptor().fields().filter(|_| index > 2) {
            let mut cleared = message.clone();
            let mut part = of.clone();
            part.clear_field(&field);
            let value = prost_reflect::Value::Message(part);
            cleared.set_field_by_name(kind, value);
            let (_, without) = printed(&cleared);
            assert_ne!(without, object, "{}", field.full_name());
        }
    }
}

#[test]
fn what_is_not_known_of_an_event_is_null() {
    let schema = Schema::read();
    let state = v1::PresentState::default();
    for (kind, name) in [
        (None, "unknown"),
        (
            Some(v1::watch_events_response::Event::Present(state)),
            "present",
        ),
    ] {
        let event = v1::WatchEventsResponse {
            event: kind,
            ..v1::WatchEventsResponse::default()
        };
        let object: Value = serde_json::from_str(&event::event(&event)).unwrap();
        assert_eq!(object["event"], name);
        assert_eq!(
            (&object["number"], &object["at"]),
            (&Value::Null, &Value::Null)
        );
        assert!(schema.is_valid(&object), "{object:#}");
    }
}
