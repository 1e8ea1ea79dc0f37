//! Plan files that are taken or refused: by the parser, by the plan, and by the schema alike.

mod payloads;

use std::{fs, path::Path};

use jsonschema::Validator;
use metronome_proto::{
    payload::{Payload, Records},
    plan::Plan,
    v1,
};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::plans::{SCHEMA, payload::ReadFile};

/// What each file has: two records of packets of 42 bytes.
const RECORDS: &[u8] = b"one recordtwo record";

fn plan(text: &str) -> Result<Plan, BadPart> {
    plan_with(text, &mut |path| match path {
        "missing" => Err("it cannot be read".to_owned()),
        _ => Ok(RECORDS.to_vec()),
    })
}

fn plan_with(text: &str, read: &mut ReadFile<'_>) -> Result<Plan, BadPart> {
    let file = PlanFile::parse(text)?;
    file.parts.plan(read).map_err(|bad| file.explain(bad))
}

fn schema() -> Validator {
    let schema: Json = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is one");
    jsonschema::validator_for(&schema).expect("the schema is one")
}

/// A file as any reader of YAML 1.2 takes it.
fn value(text: &str) -> Json {
    fn of(node: &Node) -> Json {
        match &node.value {
            Value::List(nodes) => nodes.iter().map(of).collect(),
            Value::Map(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|entry| (entry.key.clone(), of(&entry.node)));
                Json::Object(entries.collect())
            }
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => Json::Null,
                ScalarKind::Bool(is) => is.into(),
                ScalarKind::Whole | ScalarKind::Number => {
                    serde_json::from_str(&scalar.text).unwrap_or(Json::Null)
                }
                ScalarKind::Text => scalar.text.as_str().into(),
            },
        }
    }
    of(&tree::parse(text).expect("it is YAML"))
}

/// Refused with these words at this place, by the schema too where `by_schema`.
#[track_caller]
fn refused(text: &str, (line, column): (usize, usize), words: &[&str], by_schema: bool) {
    let bad = plan(text).expect_err(text);
    assert_eq!(
        (bad.place.line, bad.place.column),
        (line, column),
        "{bad:?}"
    );
    for word in words {
        assert!(bad.sentence.contains(word), "no {word:?} in {bad:?}");
    }
    let is_valid = schema().is_valid(&value(text));
    assert_eq!(is_valid, !by_schema, "the schema about {text}");
}

const MIXED: &str = "\
requires: [profile.poisson]
duration: 10s
warm_up: 2
seed: 42
threads: 2
on_agent_loss: stop
clock_trust: {ntp: true, bound: 50us}
allow: [STOLEN, throttled]
thresholds: [\"latency.p99<200us\", lost==0]
default_objectives: false
groups:
  - name: sensors
    clients: 1000
    rate: 10
    arrivals: poisson
    batch: 1
    phase: auto
    packet_size: 200
    payload: pattern
    echo_every: 100
    agents: [a, b]
    target: host:7000
  - name: feeds
    rate: 1k:5s,5k:4s,10k
  - name: alarms
    clients: 5
    burst: 50
    every: 100ms
  - name: shifts
    rate: 0.5
    on: 2s
    off: 1s
    phase: spread
  - {name: ramp, rate: 1k..20k, batch: 8}
  - {name: records, packet_size: 42, payload: {file: data/day.bin}}
  - name: agents
    packet_size: 1472
    payload:
      agent_file: day.bin
      sha256: 0123456789abcdefABCDEF0123456789abcdef0123456789abcdef0123456789
  - {name: none, payload: zeros}
  - {name: writes, rate: 10k, batch: 200/s}
  - {name: flood, rate: max}
";

#[test]
fn a_file_has_every_key_and_the_schema_has_them_too() {
    let file = PlanFile::parse(MIXED).expect("a plan");
    assert_eq!(file.parts.groups.len(), 10);
    let plan = plan(MIXED).expect("a plan");
    assert_eq!(plan.seed, 42);
    assert_eq!(plan.groups[0].agents, ["a", "b"]);
    assert_eq!(plan.groups[8].batch, 50);
    assert_eq!(plan.groups[0].packet_size.bytes(), 200);
    assert_eq!(plan.groups[0].payload, Payload::Pattern);
    assert_eq!(plan.groups[0].echo_every.map(u32::from), Some(100));
    let records = Records::new("data/day.bin", RECORDS);
    assert_eq!(plan.groups[5].payload, Payload::Records(records));
    assert_eq!(plan.groups[7].payload, Payload::Zeros);
    assert_eq!(plan.groups[1].packet_size.bytes(), 32);
    assert_eq!(plan.groups[1].echo_every, None);
    assert!(plan.clock_trust.ntp);
    assert_eq!(
        plan.allow,
        [v1::Allowance::Throttled, v1::Allowance::Stolen]
    );
    assert_eq!(plan.clock_trust.bound_ns, Some(50_000));
    assert!(!plan.has_default_objectives);
    assert_eq!(plan.thresholds.len(), 2);
    schema()
        .validate(&value(MIXED))
        .expect("the schema takes it");
    for key in PLAN_KEYS {
        assert!(MIXED.contains(&format!("{key}:")), "{key}");
    }
    for key in GROUP_KEYS {
        assert!(MIXED.contains(&format!("{key}:")), "{key}");
    }
}

#[test]
fn the_schema_has_the_keys_of_the_parser_and_no_other() {
    let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
    let keys = |of: &Json| {
        let mut keys: Vec<String> = of["properties"]
            .as_object()
            .expect("properties")
            .keys()
            .cloned()
            .collect();
        keys.sort();
        keys
    };
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&schema), sorted(&PLAN_KEYS));
    assert_eq!(keys(&schema["$defs"]["group"]), sorted(&GROUP_KEYS));
    let clock_trust = &schema["properties"]["clock_trust"];
    assert_eq!(keys(clock_trust), sorted(&CLOCK_TRUST_KEYS));
}

#[test]
fn the_same_plan_as_json_is_the_same_plan() {
    let json = value(MIXED).to_string();
    assert_eq!(plan(&json), plan(MIXED));
}

#[test]
fn what_has_the_wrong_form_is_refused_where_it_stands() {
    refused(
        "groups:\n  - clients: 5\n    colour: red\n",
        (3, 5),
        &["\"colour\"", "keys are name"],
        true,
    );
    refused("group: []\n", (1, 1), &["\"group\" is no key"], true);
    refused(
        "groups:\n  - clients: ten\n",
        (2, 14),
        &["clients", "whole number"],
        true,
    );
    refused(
        "groups:\n  - clients: \"5\"\n",
        (2, 14),
        &["quotation marks"],
        true,
    );
    // JSON has no number of these forms either.
    for text in ["017", "-017", "00", "0x10", "0o17", "1_000"] {
        let text = format!("groups: [{{clients: {text}}}]\n");
        refused(&text, (1, 20), &["clients"], true);
    }
    refused(
        "groups: [{rate: 017}]\n",
        (1, 17),
        &["zeros in front"],
        true,
    );
    refused(
        "groups: [{rate: 07.5}]\n",
        (1, 17),
        &["zeros in front"],
        true,
    );
    assert!(plan("groups: [{clients: +5, rate: 0.5}]\n").is_ok());
    refused("groups:\n  - clients:\n", (2, 12), &["nothing"], true);
    refused(
        "groups:\n  - name: 7\n",
        (2, 11),
        &["name", "quotation marks"],
        true,
    );
    refused(
        "groups:\n  clients: 5\n",
        (2, 3),
        &["groups", "behind a dash"],
        true,
    );
    refused(
        "groups: [5]\n",
        (1, 10),
        &["a group is a list of keys"],
        true,
    );
    refused(
        "groups: [{agents: a}]\n",
        (1, 19),
        &["agents", "[a, b]"],
        true,
    );
    refused("groups: [{agents: [7]}]\n", (1, 20), &["agents"], true);
    refused(
        "groups: [{}]\nseed: 0\n",
        (2, 7),
        &["seed", "1 to 9007199254740991"],
        true,
    );
    refused(
        "groups: [{}]\nseed: 1.5\n",
        (2, 7),
        &["seed", "whole number"],
        true,
    );
    refused(
        "groups: [{}]\ndefault_objectives: yes\n",
        (2, 21),
        &["true or false"],
        true,
    );
    refused(
        "groups: [{}]\nthresholds: [soon]\n",
        (2, 14),
        &["thresholds", "\"soon\""],
        true,
    );
    refused(
        "groups: [{}]\nduration: soon\n",
        (2, 11),
        &["duration", "\"soon\"", "24 h"],
        true,
    );
    refused(
        "groups: [{}]\non_agent_loss: wait\n",
        (2, 16),
        &["continue, stop"],
        true,
    );
    for (text, column, words, by_schema) in [
        ("true", 14, "{ntp: true}", true),
        ("{ptp: true}", 15, "ntp, bound", true),
        ("{ntp: 1}", 20, "true or false", true),
        ("{bound: 2s}", 22, "1 ns to 1 s", false),
        ("{bound: 0}", 22, "1 ns to 1 s", true),
        ("{bound: true}", 22, "a text with a unit", true),
    ] {
        let text = format!("groups: [{{}}]\nclock_trust: {text}\n");
        refused(&text, (2, column), &[words], by_schema);
    }
    refused("- groups\n", (1, 1), &["a plan is a list of keys"], true);
    refused(
        "groups: [{rate: fast}]\n",
        (1, 17),
        &["rate", "\"fast\"", "10k"],
        true,
    );
    refused("groups: [{rate: \"\"}]\n", (1, 17), &["rate"], true);
    refused(
        "groups: [{rate: \"1k,2k\"}]\n",
        (1, 17),
        &["rate", "no time"],
        true,
    );
}

#[test]
fn a_key_that_stands_there_twice_is_refused_at_the_second() {
    for text in [
        "groups: [{}]\nseed: 1\nseed: 1\n",
        "{\"groups\": [{}],\n\"seed\": 1,\n\"seed\": 2}",
    ] {
        let bad = plan(text).expect_err("twice");
        assert_eq!((bad.place.line, bad.place.column), (3, 1), "{bad:?}");
        assert!(bad.sentence.contains("first in line 2"), "{bad:?}");
    }
}

#[test]
fn what_is_out_of_its_range_is_refused_at_the_value_or_where_it_is_missing() {
    refused(
        "groups:\n  - clients: 0\n",
        (2, 14),
        &["groups[0].clients", "1 to 10000"],
        true,
    );
    refused(
        "groups:\n  - {name: a}\n  - {name: a}\n",
        (3, 12),
        &["groups[1].name", "two groups"],
        false,
    );
    refused(
        "groups:\n  - {}\n  - {}\n",
        (3, 5),
        &["groups[1].name", "\"default\""],
        false,
    );
    refused(
        "groups: [{rate: 5k, arrivals: poisson, batch: 2}]\n",
        (1, 47),
        &["batch"],
        true,
    );
    refused(
        "groups: [{rate: 200k, arrivals: poisson}]\n",
        (1, 17),
        &["rate", "100000"],
        false,
    );
    refused("groups: [{rate: 0..0}]\n", (1, 17), &["rate"], false);
    refused(
        "groups: [{burst: 5000, every: 1ms}]\n",
        (1, 31),
        &["every", "overlap"],
        false,
    );
    refused("groups: [{burst: 5}]\n", (1, 18), &["burst", "every"], true);
    refused(
        "groups: [{burst: 5, every: 1s, rate: 5}]\n",
        (1, 18),
        &["burst", "rate"],
        true,
    );
    refused("groups: [{off: 5s}]\n", (1, 16), &["off", "on"], true);
    refused(
        "groups: [{}]\nwarm_up: 10s\n",
        (2, 10),
        &["warm_up", "shorten"],
        false,
    );
    refused(
        "groups: [{rate: 0.01}]\n",
        (1, 17),
        &["rate", "no period"],
        false,
    );
    refused(
        "groups: [{rate: \"1k:20s,2k\"}]\n",
        (1, 17),
        &["rate", "last rate"],
        false,
    );
    refused(
        "groups: [{burst: 5, every: 20s}]\n",
        (1, 28),
        &["every", "no period"],
        false,
    );
    refused("groups: []\n", (1, 9), &["groups", "1 to 16"], true);
    refused("seed: 1\n", (1, 1), &["groups", "1 to 16"], true);
    refused(
        "groups: [{}]\nthreads: 65\n",
        (2, 10),
        &["threads", "1 to 64"],
        true,
    );
    let seventeen = (0..17).map(|one| format!("  - name: g{one}\n"));
    let seventeen: String = std::iter::once("groups:\n".into())
        .chain(seventeen)
        .collect();
    refused(&seventeen, (2, 3), &["groups", "17", "1 to 16"], true);
    let many =
        "groups:\n  - {name: a, clients: 9000, rate: 1}\n  - {name: b, clients: 9000, rate: 1}\n";
    refused(many, (2, 3), &["groups", "18000"], false);
}

#[test]
fn a_plan_of_a_later_version_is_unsupported_whatever_else_it_has() {
    let text = "warp: 9\nrequires: [profile.warp]\ngroups: [{rate: warp}]\n";
    let bad = plan(text).expect_err("it is of a later version");
    assert_eq!(bad.kind, FieldErrorKind::Unsupported);
    assert_eq!((bad.place.line, bad.place.column), (2, 12), "{bad:?}");
    assert!(bad.sentence.contains("\"profile.warp\""), "{bad:?}");
}

#[test]
fn every_example_is_a_plan_for_parser_and_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plans");
    let schema = schema();
    let mut shapes = Vec::new();
    let mut read = |path: &str| fs::read(folder.join(path)).map_err(|error| error.to_string());
    for entry in fs::read_dir(&folder).expect("there are examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a text");
        let plan = plan_with(&text, &mut read).unwrap_or_else(|bad| panic!("{path:?}: {bad:?}"));
        schema
            .validate(&value(&text))
            .unwrap_or_else(|error| panic!("{path:?}: {error}"));
        shapes.extend(
            plan.groups
                .iter()
                .map(|group| std::mem::discriminant(&group.profile)),
        );
    }
    shapes.dedup();
    let mut distinct = Vec::new();
    for shape in shapes {
        if !distinct.contains(&shape) {
            distinct.push(shape);
        }
    }
    assert_eq!(distinct.len(), 7, "an example of each shape");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_by_a_place(
        text in "(groups: )?[-a:{}\\[\\],&*!?'\"# \n0-9]{0,40}",
        value in "(rate: |burst: |name: )?[a-z0-9.:,\n ]{0,20}",
    ) {
        let text = text + &value;
        if let Err(bad) = plan(&text) {
            prop_assert!(bad.place.line >= 1 && !bad.sentence.is_empty());
        }
    }
}
