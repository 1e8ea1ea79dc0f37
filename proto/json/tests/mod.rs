//! Messages, JSON and docs/result.schema.json have the same fields, and what is not known is null
//! in all three.
//!
//! Messages are filled by reflection, so a field that is added to the API and forgotten here or in
//! the schema fails a test.

mod always_known;
mod counts;
mod event;
mod message;
mod schema;

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _};
use serde_json::Value;

use self::{
    always_known::ALWAYS_KNOWN,
    message::{Enums, Expected, Filler, clear, descriptor, reachable},
    schema::{Properties, Schema},
};
use super::{lists, report, run::RunResult, server, snapshot};
use crate::{names::is_harmful, v1};

/// The messages that have JSON of their own, and its definition in the schema.
const ROOTS: [(&str, &str); 5] = [
    ("Run", "run"),
    ("ClientReport", "client"),
    ("Snapshot", "snapshot"),
    ("Agent", "agent"),
    ("GetServerResponse", "server"),
];

/// The alternatives of the largest oneof of the API.
const ALTERNATIVES: usize = 7;

/// Fields of the API that the JSON leaves out on purpose.
const NOT_IN_JSON: &[&str] = &[
    // A record for programs that read HdrHistograms; GetRun has it.
    "metronome.v1.Distribution.hdr_v2_deflated",
    // No answer has them.
    "metronome.v1.Records.data",
];

/// The JSON of a message.
fn json(message: &DynamicMessage) -> Value {
    fn typed<M: prost::Message + Default>(message: &DynamicMessage) -> M {
        message.transcode_to().expect("its own type")
    }
    let value = match message.descriptor().name() {
        "Run" => {
            // The rows of the clients come with the report.
            let run: v1::Run = typed(message);
            let clients = run.report.as_ref().map(|_| &[][..]);
            serde_json::to_value(RunResult::new(&run, clients))
        }
        "ClientReport" => {
            serde_json::to_value(report::Client::from(&typed::<v1::ClientReport>(message)))
        }
        "Snapshot" => {
            serde_json::to_value(snapshot::Snapshot::from(&typed::<v1::Snapshot>(message)))
        }
        "Agent" => serde_json::to_value(lists::Agent::from(&typed::<v1::Agent>(message))),
        "GetServerResponse" => serde_json::to_value(server::Server::from(&typed::<
            v1::GetServerResponse,
        >(message))),
        name => panic!("{name} has no JSON"),
    };
    value.expect("the keys are strings")
}

/// A message of which all is known, but nothing of the messages of type `emptied` within.
fn known_but(root: &MessageDescriptor, emptied: Option<&str>, alternative: usize) -> Value {
    let mut filler = Filler::new(alternative, Enums::Unknown);
    filler.emptied = emptied.map(str::to_owned);
    json(&filler.message(root))
}

fn texts_and_numbers(value: &Value, texts: &mut BTreeSet<String>, numbers: &mut Vec<f64>) {
    match value {
        Value::String(text) => {
            texts.insert(text.clone());
        }
        Value::Number(number) => numbers.extend(number.as_f64()),
        Value::Array(items) => items
            .iter()
            .for_each(|item| texts_and_numbers(item, texts, numbers)),
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            texts.insert(key.clone());
            texts_and_numbers(value, texts, numbers);
        }),
        Value::Null | Value::Bool(_) => {}
    }
}

#[test]
fn no_text_has_a_harmful_character_and_a_reader_gets_it_back() {
    let harmful: String = ('\0'..=char::MAX).filter(|&it| is_harmful(it)).collect();
    assert!(harmful.contains(['\u{7f}', '\u{9b}', '\u{202e}']));
    for text in [harmful.as_str(), "a \"ü\" \\u009b 🦀"] {
        let object = serde_json::json!({ text: [text, "b"] });
        let printed = super::text(&object);
        let shown = printed.replace('\n', "");
        assert!(!shown.contains(is_harmful), "{printed:?}");
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), object);
    }
}

#[test]
fn every_value_of_a_message_is_in_its_json() {
    for (root, _) in ROOTS {
        for alternative in 0..ALTERNATIVES {
            let mut filler = Filler::new(alternative, Enums::Unknown);
            let json = json(&filler.message(&descriptor(root)));
            let (mut texts, mut numbers) = (BTreeSet::new(), Vec::new());
            texts_and_numbers(&json, &mut texts, &mut numbers);
            assert!(filler.filled.len() > 5);
            for (field, expected) in &filler.filled {
                let has = |number: &f64| {
                    let is = |of: &f64| (of - number).abs() <= number.abs() * 1e-12;
                    numbers.iter().any(is)
                };
                let is_there = match expected {
                    Expected::Text(text) => texts.contains(text),
                    Expected::Number(units) => units.iter().any(has),
                };
                assert!(
                    is_there,
                    "{field} ({expected:?}) is not in the JSON of {root}"
                );
            }
        }
    }
}

#[test]
fn a_field_that_is_cleared_changes_the_json() {
    for (root, _) in ROOTS {
        let filled = (0..ALTERNATIVES)
            .map(|alternative| Filler::new(alternative, Enums::Unknown).message(&descriptor(root)));
        let filled = Vec::from_iter(filled);
        for field in reachable(&descriptor(root))
            .iter()
            .flat_map(MessageDescriptor::fields)
        {
            let mut changes = filled.iter().filter_map(|message| {
                let mut cleared = message.clone();
                clear(&mut cleared, &field).then(|| json(&cleared) != json(message))
            });
            let name = field.full_name();
            let is_left_out = NOT_IN_JSON.contains(&name);
            assert_eq!(
                changes.any(|change| change),
                !is_left_out,
                "{name} of {root}"
            );
        }
    }
}

/// Every property of the schema that messages have, from messages of which all is known, nothing is
/// known, or nothing of one type within.
fn properties(schema: &Schema) -> Properties {
    let mut found = Properties::new();
    for (root, definition) in ROOTS {
        let root = descriptor(root);
        let types = reachable(&root);
        let emptied = types.iter().map(|of| Some(of.full_name()));
        for emptied in emptied.chain([None]) {
            for alternative in 0..ALTERNATIVES {
                let json = known_but(&root, emptied, alternative);
                schema.note(definition, &json, &mut found);
            }
        }
    }
    found
}

#[test]
fn the_schema_allows_null_exactly_where_a_value_may_be_unknown() {
    for (name, property) in properties(&Schema::read()) {
        assert_eq!(property.may_be_null, property.was_null, "{name}");
    }
}

#[test]
fn what_is_not_known_is_null_or_empty_and_the_rest_is_listed() {
    let listed = ALWAYS_KNOWN.iter().flat_map(|(definition, names)| {
        let names = names.iter();
        names.map(move |name| format!("{definition}/{name}"))
    });
    let listed = BTreeSet::from_iter(listed);
    let properties = properties(&Schema::read()).into_iter();
    let always = properties.filter(|(name, property)| {
        let is_in_a_map = name.ends_with("/*");
        property.was_known && !property.was_null && !property.was_empty && !is_in_a_map
    });
    assert_eq!(BTreeSet::from_iter(always.map(|(name, _)| name)), listed);
}

#[test]
fn when_all_is_known_nothing_is_null() {
    for (root, definition) in ROOTS {
        let mut found = Properties::new();
        let json = known_but(&descriptor(root), None, 0);
        Schema::read().note(definition, &json, &mut found);
        for (name, property) in found {
            // The relation of the first alternative is `same`, which has no offset.
            let is_of_an_offset = name == "clock/offset_us" || name.starts_with("clock/drift_");
            // A point of the series has times without a count of those that are missing.
            let is_of_a_point = root == "Snapshot" && name == "times/missing";
            let may_be_null = is_of_an_offset || is_of_a_point;
            assert_eq!(property.was_null, may_be_null, "{root}: {name}");
            // Client rows are no part of the message.
            assert_eq!(property.was_empty, name == "run/clients", "{root}: {name}");
        }
    }
}

/// Valid objects as benchctl prints them, of every root that it prints alone.
fn examples() -> Vec<Value> {
    let of = |root: &str, enums, alternative| {
        json(&Filler::new(alternative, enums).message(&descriptor(root)))
    };
    // More than the largest enum has.
    let enums = (0..100).map(Enums::Known).chain([Enums::Unknown]);
    let mut examples = Vec::new();
    for enums in enums {
        examples.push(of("Run", enums, 0));
        examples.push(of("Snapshot", enums, 1));
    }
    for alternative in 0..ALTERNATIVES {
        examples.push(of("Run", Enums::Known(4), alternative));
        examples.push(of("GetServerResponse", Enums::Unknown, alternative));
    }
    examples
}

#[test]
fn what_is_printed_is_valid() {
    let schema = Schema::read();
    for example in examples() {
        assert!(schema.is_valid(&example), "{example:#}");
    }
    let run: v1::Run = Filler::new(0, Enums::Unknown)
        .message(&descriptor("Run"))
        .transcode_to()
        .expect("a run");
    let client = Filler::new(0, Enums::Unknown).message(&descriptor("ClientReport"));
    let client: v1::ClientReport = client.transcode_to().expect("a client row");
    let agent = Filler::new(1, Enums::Unknown).message(&descriptor("Agent"));
    let agent: v1::Agent = agent.transcode_to().expect("an agent");
    let failure = v1::Failure::new(v1::FailureCode::ConnectionRefused, "nothing listens there")
        .with("address", "127.0.0.1:1")
        .with("tries", 3_u32);
    let id = "0199f0c2a1b2c3d4";
    let running = v1::Run {
        run_id: id.into(),
        state: v1::RunState::Running.into(),
        ..v1::Run::default()
    };
    for text in [
        super::run::result(&run, Some(&[client])),
        super::run::result(&running, None),
        lists::runs(&[], &["0199f0c2a1b2c3d4".into()]),
        lists::agents(&[agent]),
        lists::started(id),
        lists::stopped(std::slice::from_ref(&running)),
        lists::stopped(std::slice::from_ref(&run)),
        lists::stopped(&[]),
        lists::runs(&[run, running], &[]),
        lists::upgraded(7),
        lists::restarted(2),
        server::server(&v1::GetServerResponse::default()),
        lists::deleted(&[], std::slice::from_ref(&failure)),
        super::error::error(&failure),
    ] {
        assert!(text.ends_with("}\n"));
        let object: Value = serde_json::from_str(&text).expect("one object");
        assert!(schema.is_valid(&object), "{object:#}");
        assert_eq!(object["schema_version"], 2);
    }
}

/// The pointers to all values within.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let within: Vec<(String, &Value)> = match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => (0..)
            .map(|index: usize| index.to_string())
            .zip(items)
            .collect(),
        _ => Vec::new(),
    };
    for (key, value) in within {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, found);
        found.push(pointer);
    }
}

#[test]
fn an_object_with_a_key_more_or_less_is_not_valid() {
    let schema = Schema::read();
    for alternative in 0..ALTERNATIVES {
        for root in ["Run", "GetServerResponse"] {
            let mut filler = Filler::new(alternative, Enums::Known(0));
            let valid = json(&filler.message(&descriptor(root)));
            assert!(schema.is_valid(&valid));
            let mut places = vec![String::new()];
            pointers(&valid, "", &mut places);
            for place in places {
                // These two take any key, and counts any further counter.
                let open = ["figures", "labels", "counts"];
                let is_map = open.iter().any(|name| place.ends_with(name));
                if is_map || !valid.pointer(&place).is_some_and(Value::is_object) {
                    continue;
                }
                let keys =
                    Vec::from_iter(valid.pointer(&place).unwrap().as_object().unwrap().keys());
                for key in keys {
                    let mut mutant = valid.clone();
                    object_at(&mut mutant, &place).remove(key);
                    assert!(!schema.is_valid(&mutant), "without {place}/{key}");
                }
                let mut mutant = valid.clone();
                object_at(&mut mutant, &place).insert("mislaid".into(), 1.into());
                assert!(!schema.is_valid(&mutant), "more in {place}");
            }
        }
    }
}

fn object_at<'a>(value: &'a mut Value, place: &str) -> &'a mut serde_json::Map<String, Value> {
    value.pointer_mut(place).unwrap().as_object_mut().unwrap()
}

#[test]
fn a_value_of_another_kind_is_not_valid() {
    let schema = Schema::read();
    let mut ended = Filler::new(0, Enums::Unknown).message(&descriptor("Run"));
    ended.set_field_by_name(
        "state",
        prost_reflect::Value::EnumNumber(v1::RunState::Ended.into()),
    );
    let ended = json(&ended);
    assert!(schema.is_valid(&ended));
    for (place, value) in [
        ("/schema_version", 1.into()),
        ("/schema_version", Value::Null),
        ("/run_id", "7".into()),
        ("/state", "ENDED".into()),
        ("/created_at", "2026-01-02".into()),
        ("/verdict", Value::Null),
        ("/outcome", Value::Null),
        ("/groups", Value::Null),
        ("/agents", Value::Null),
        ("/receivers", Value::Null),
        ("/environments", Value::Null),
        ("/environments/0/priority", "high".into()),
        ("/plan", Value::Null),
        ("/ended_at", Value::Null),
        ("/verdict/status", "fine".into()),
        ("/verdict/reasons/0/code", "lateness".into()),
        ("/verdict/laws/0/status", true.into()),
        ("/outcome/status", "valid".into()),
        ("/counts/lost", (-1).into()),
        ("/counts/sent", 0.5.into()),
        ("/counts/sent", "1".into()),
        ("/plan/groups/0/profile/shape", "ramp".into()),
        ("/plan/groups/0/profile/rate_hz", Value::Null),
        ("/lateness_us/percentiles/p50", "4 us".into()),
        ("/lateness_us/count", Value::Null),
        ("/labels", Value::Array(Vec::new())),
        ("/agents/0/clock", "same".into()),
        ("/agents/0/clock/relation", "shared".into()),
        ("/plan/groups/0/target", ":8888".into()),
        ("/plan/groups/0/target/kind", "echo".into()),
        ("/plan/groups/0/agents", Value::Array(Vec::new())),
        ("/verdict/notes/0", "a note".into()),
        ("/verdict/notes/0/figures", Value::Array(Vec::new())),
    ] {
        let mut mutant = ended.clone();
        *mutant.pointer_mut(place).expect(place) = value;
        assert!(!schema.is_valid(&mutant), "{place}");
    }
    let mut failed = ended;
    failed["state"] = "failed".into();
    assert!(schema.is_valid(&failed));
    failed["failure"] = Value::Null;
    assert!(!schema.is_valid(&failed), "a failed run has a failure");
}

#[test]
fn every_object_of_the_schema_is_closed_and_has_all_its_keys() {
    let schema = Schema::read();
    for (name, definition) in schema.definitions() {
        let Some(properties) = definition["properties"].as_object() else {
            continue;
        };
        let further = &definition["additionalProperties"];
        if name.ends_with("counts") {
            let counter = further["$ref"].as_str().expect(name);
            assert!(counter.starts_with("#/$defs/count"), "{name}");
        } else {
            assert_eq!(*further, false, "{name}");
        }
        let required = definition["required"].as_array().expect(name).iter();
        let required = BTreeSet::from_iter(required.filter_map(Value::as_str));
        let keys = BTreeSet::from_iter(properties.keys().map(String::as_str));
        assert_eq!(required, keys, "{name}");
    }
}
