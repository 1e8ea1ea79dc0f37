//! Counters in the JSON: those of this version, those of a later one, and large ones.

use serde_json::Value;

use super::{
    super::run::result,
    json,
    message::{Enums, Filler, descriptor},
    object_at,
    schema::Schema,
};
use crate::v1;

#[test]
fn counts_have_the_counters_of_this_version_and_may_have_more() {
    let schema = Schema::read();
    let valid = json(&Filler::new(0, Enums::Known(0)).message(&descriptor("Run")));
    for (place, definition) in [
        ("/counts", "counts"),
        ("/groups/0/counts", "counts"),
        ("/agents/0/counts", "generator_counts"),
    ] {
        let mut definitions = schema.definitions();
        let found = definitions.find(|(name, _)| *name == definition);
        let counters = &found.expect(definition).1["required"];
        for counter in counters.as_array().expect(definition) {
            let mut mutant = valid.clone();
            object_at(&mut mutant, place).remove(counter.as_str().expect("a name"));
            assert!(!schema.is_valid(&mutant), "without {place}/{counter}");
        }
        for (value, is_valid) in [(7.into(), true), ("7".into(), false), (0.5.into(), false)] {
            let mut mutant = valid.clone();
            object_at(&mut mutant, place).insert("later".into(), value);
            assert_eq!(schema.is_valid(&mutant), is_valid, "{place}");
        }
    }
}

#[test]
fn counts_beyond_32_bits_are_exact_to_the_last_digit() {
    let count = (1 << 60) + 7;
    let mut run: v1::Run = Filler::new(0, Enums::Unknown)
        .message(&descriptor("Run"))
        .transcode_to()
        .expect("a run");
    let counts = run
        .report
        .as_mut()
        .and_then(|report| report.counts.as_mut());
    counts.expect("filled").lost = Some(count);
    let text = result(&run, None);
    let object: Value = serde_json::from_str(&text).expect("one object");
    assert_eq!(object["counts"]["lost"], count);
}
