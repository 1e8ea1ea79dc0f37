//! A plan as a file that `benchctl start --plan` takes: YAML or JSON, with the same keys.
//!
//! What is written is exact: reading it gives the same plan.

use std::{fmt::Write as _, time::Duration};

use metronome_proto::{
    json,
    names::is_harmful,
    payload::Payload,
    plan::{ClockTrust, Group, Plan},
    profile::{Profile, hz},
    v1,
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Number, Value};

use super::payload::hexadecimal;

/// Stands before the records of a run.
const RECORDS_COMMENT: &str =
    "# A run does not keep its records: the file is needed again, by its path from here.";

/// Keys with their values, in the order in which they are written.
struct Entries(Vec<(&'static str, Value)>);

/// What a plan file has.
struct PlanText {
    plan: Entries,
    groups: Vec<Entries>,
}

/// The plan as YAML.
pub(crate) fn yaml(plan: &Plan) -> String {
    let text = PlanText::of(plan);
    let mut yaml = String::new();
    for (key, value) in &text.plan.0 {
        add_line(&mut yaml, "", key, value);
    }
    yaml.push_str("groups:\n");
    for group in &text.groups {
        for (index, (key, value)) in group.0.iter().enumerate() {
            let indent = if index == 0 { "  - " } else { "    " };
            add_line(&mut yaml, indent, key, value);
        }
    }
    yaml
}

/// The plan as a JSON object and a line feed.
pub(crate) fn json(plan: &Plan) -> String {
    json::text(&PlanText::of(plan))
}

fn add_line(yaml: &mut String, indent: &str, key: &str, value: &Value) {
    // Older YAML takes these two for true and false.
    let key = match key {
        "on" | "off" => format!("\"{key}\""),
        key => key.to_owned(),
    };
    let value = match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(scalar).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries = entries.iter();
            let entries: Vec<_> = entries
                .map(|(key, value)| format!("{key}: {}", scalar(value)))
                .collect();
            if entries.iter().any(|entry| entry.starts_with("file:")) {
                // A String takes all that is written to it.
                let _ = writeln!(yaml, "{}{RECORDS_COMMENT}", " ".repeat(indent.len()));
            }
            format!("{{{}}}", entries.join(", "))
        }
        value => scalar(value),
    };
    // A String takes all that is written to it.
    let _ = writeln!(yaml, "{indent}{key}: {value}");
}

/// A value without parts. A text that YAML could take for something else has quotation marks, and
/// those of JSON are some.
fn scalar(value: &Value) -> String {
    const OTHER_WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let Value::String(text) = value else {
        return value.to_string();
    };
    let is_word = text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .chars()
            .all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || "-_".contains(one))
        && !OTHER_WORDS.contains(&text.as_str());
    let digits = text.trim_end_matches(|one: char| one.is_ascii_lowercase());
    let is_time = !digits.is_empty()
        && digits.len() < text.len()
        && digits.bytes().all(|one| one.is_ascii_digit());
    if is_word || is_time {
        return text.clone();
    }
    let mut quoted = String::new();
    for character in value.to_string().chars() {
        match is_harmful(character) {
            true => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(character));
            }
            false => quoted.push(character),
        }
    }
    quoted
}

impl PlanText {
    fn of(plan: &Plan) -> Self {
        let mut entries = Vec::new();
        if !plan.requires.is_empty() {
            entries.push(("requires", texts(&plan.requires)));
        }
        entries.push(("duration", time(plan.duration)));
        if !plan.warm_up.is_zero() {
            entries.push(("warm_up", time(plan.warm_up)));
        }
        // 0: none was drawn yet.
        if plan.seed > 0 {
            entries.push(("seed", plan.seed.into()));
        }
        entries.push(("threads", plan.threads.into()));
        let loss = match plan.on_agent_loss {
            v1::AgentLoss::Stop => "stop",
            v1::AgentLoss::Continue | v1::AgentLoss::Unspecified => "continue",
        };
        entries.push(("on_agent_loss", loss.into()));
        if !plan.clock_trust.is_none() {
            entries.push(("clock_trust", clock_trust(plan.clock_trust)));
        }
        if !plan.allow.is_empty() {
            let allowed: Vec<_> = plan.allow.iter().map(ToString::to_string).collect();
            entries.push(("allow", texts(&allowed)));
        }
        if !plan.thresholds.is_empty() {
            let thresholds: Vec<_> = plan.thresholds.iter().map(ToString::to_string).collect();
            entries.push(("thresholds", texts(&thresholds)));
        }
        if !plan.has_default_objectives {
            entries.push(("default_objectives", false.into()));
        }
        Self {
            plan: Entries(entries),
            groups: plan.groups.iter().map(group).collect(),
        }
    }
}

/// Only what is claimed.
fn clock_trust(trust: ClockTrust) -> Value {
    let ntp = trust.ntp.then(|| ("ntp".to_owned(), true.into()));
    let bound = trust.bound_ns.map(Duration::from_nanos);
    let bound = bound.map(|bound| ("bound".to_owned(), time(bound)));
    Value::Object(ntp.into_iter().chain(bound).collect())
}

fn group(group: &Group) -> Entries {
    let mut entries = vec![
        ("name", Value::from(group.name.as_str())),
        ("clients", group.clients.into()),
    ];
    let rates = |profile: Profile| ("rate", Value::from(profile.to_string()));
    match group.profile {
        Profile::Constant { rate_millihertz } => entries.push(("rate", rate(rate_millihertz))),
        Profile::Poisson { rate_millihertz } => entries.extend([
            ("rate", rate(rate_millihertz)),
            ("arrivals", "poisson".into()),
        ]),
        Profile::Burst { packets, every_ns } => entries.extend([
            ("burst", packets.into()),
            ("every", time(Duration::from_nanos(every_ns))),
        ]),
        Profile::OnOff {
            rate_millihertz,
            on_ns,
            off_ns,
        } => entries.extend([
            ("rate", rate(rate_millihertz)),
            ("on", time(Duration::from_nanos(on_ns))),
            ("off", time(Duration::from_nanos(off_ns))),
        ]),
        Profile::Ramp { .. } | Profile::Steps(_) | Profile::Flood => {
            entries.push(rates(group.profile));
        }
    }
    entries.push(("packet_size", group.packet_size.bytes().into()));
    if let Some(payload) = payload(&group.payload) {
        entries.push(("payload", payload));
    }
    entries.push(("batch", group.batch.into()));
    let phase = match group.phase {
        v1::Phase::Staggered => "staggered",
        v1::Phase::Spread => "spread",
        v1::Phase::Aligned => "aligned",
        v1::Phase::Auto | v1::Phase::Unspecified => "auto",
    };
    entries.push(("phase", phase.into()));
    if let Some(packets) = group.echo_every {
        entries.push(("echo_every", packets.get().into()));
    }
    if !group.agents.is_empty() {
        entries.push(("agents", texts(&group.agents)));
    }
    if !group.target.is_empty() {
        entries.push(("target", group.target.as_str().into()));
    }
    Entries(entries)
}

/// `None` for zeros.
fn payload(payload: &Payload) -> Option<Value> {
    match payload {
        Payload::Zeros => None,
        Payload::Pattern => Some("pattern".into()),
        Payload::Records(records) => {
            // A client of the API may leave the name out.
            let name = match records.name.as_str() {
                "" | "-" => "records",
                name => name,
            };
            let sha256 = hexadecimal(&records.sha256);
            Some(serde_json::json!({ "file": name, "sha256": sha256 }))
        }
        Payload::AgentFile { name, sha256: None } => {
            Some(serde_json::json!({ "agent_file": name }))
        }
        Payload::AgentFile {
            name,
            sha256: Some(sha256),
        } => Some(serde_json::json!({ "agent_file": name, "sha256": hexadecimal(sha256) })),
    }
}

fn texts(texts: &[String]) -> Value {
    Value::Array(texts.iter().map(|text| text.as_str().into()).collect())
}

/// Packets per second, whole ones as such: every rate up to the greatest is exact.
fn rate(millihertz: u64) -> Value {
    match millihertz.is_multiple_of(1000) {
        true => (millihertz / 1000).into(),
        false => Number::from_f64(hz(millihertz)).map_or(Value::Null, Value::Number),
    }
}

/// A span of time in the largest unit in which it is whole.
fn time(span: Duration) -> Value {
    let ns = span.as_nanos();
    let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
    let mut whole = units.iter().filter(|(_, unit)| ns.is_multiple_of(*unit));
    match whole.next() {
        Some((name, unit)) => format!("{}{name}", ns / unit),
        None => format!("{ns}ns"),
    }
    .into()
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Serialize for PlanText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.plan.0 {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry("groups", &self.groups)?;
        map.end()
    }
}

#[cfg(test)]
mod tests;
