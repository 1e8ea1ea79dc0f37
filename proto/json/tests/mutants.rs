//! Objects that benchctl never prints are not valid by the schema.

use serde_json::Value;

use super::{
    ALTERNATIVES, json,
    message::{Enums, Filler, descriptor},
    object_at,
    schema::Schema,
};
use crate::v1;

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
