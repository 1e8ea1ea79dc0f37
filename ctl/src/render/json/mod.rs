//! Results for programs: exactly one JSON object each.
//!
//! The objects of the API's messages are part of the contract ([`metronome_proto::json`]); those of
//! benchctl's own findings are here, by the same rules. docs/result.schema.json describes them all.

pub(crate) mod doctor;
pub(crate) mod doctor_paths;
pub(crate) mod settings;

pub(crate) use metronome_proto::json::{error, event, lists, run, series, server};

/// An object that docs/result.schema.json describes.
#[cfg(test)]
#[track_caller]
fn assert_valid(text: &str) -> serde_json::Value {
    let schema = include_str!("../../../../docs/result.schema.json");
    let schema = serde_json::from_str(schema).expect("JSON");
    let object = serde_json::from_str(text).expect("one JSON object");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema of draft 2020-12");
    assert!(validator.is_valid(&object), "{object:#}");
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::front_page::run_of_the_front_page;

    #[test]
    fn the_run_of_the_front_page_is_valid_and_has_its_figures() {
        let object = assert_valid(&run::result(&run_of_the_front_page(), None));
        for (place, expected) in [
            ("/state", "ended".into()),
            ("/labels/page", "front".into()),
            ("/created_at", "2026-01-02T03:04:05.000Z".into()),
            ("/plan/duration_s", 10.0.into()),
            ("/plan/groups/0/profile/shape", "constant".into()),
            ("/plan/groups/0/profile/rate_hz", 10_000.0.into()),
            ("/plan/groups/0/target", serde_json::Value::Null),
            ("/verdict/status", "valid".into()),
            ("/verdict/laws/0/status", "holds".into()),
            ("/verdict/valid_to", serde_json::Value::Null),
            ("/verdict/punctuality/limit_us", 1_000.0.into()),
            ("/outcome/status", "held".into()),
            ("/outcome/objectives/3/metric", "latency".into()),
            ("/outcome/objectives/3/quantile", "p99.9".into()),
            ("/outcome/objectives/3/comparison", "<=".into()),
            ("/outcome/objectives/3/limit", 100_000.0.into()),
            ("/outcome/objectives/3/observed", 101.0.into()),
            ("/outcome/objectives/3/unit", "us".into()),
            ("/outcome/objectives/2/observed", 100.0.into()),
            ("/plan/default_objectives", true.into()),
            ("/latency_us/missing", 0.into()),
            ("/unstored", false.into()),
            ("/counts/received", 1_000_000.into()),
            ("/rate/achieved_hz", 99_998.2.into()),
            ("/latency_us/percentiles/p99_99", 402.0.into()),
            ("/latency_us/max", 1_204.0.into()),
            ("/cpu/generator_s", 1.52.into()),
            ("/receivers/0/workers/1/packets", 500_000.into()),
        ] {
            assert_eq!(object.pointer(place), Some(&expected), "{place}");
        }
    }
}
