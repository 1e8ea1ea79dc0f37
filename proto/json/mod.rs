//! The JSON of Metronome: what benchctl prints with `-o json`, one object each.
//!
//! | module | object |
//! |---|---|
//! | [`run`] | a run: its plan, its state, its report |
//! | [`report`] | the parts of a report, and a client row |
//! | `environment` | where the processes of a run ran |
//! | [`counts`], [`times`] | counters by name, distributions of times |
//! | [`failure`], [`error`] | why something could not be done; a command that could not do it |
//! | [`snapshot`] | a run in progress |
//! | [`event`] | an event of a server's feed, in one line |
//! | [`server`], [`lists`] | the server; runs, agents, and what was done to a run or a server |
//! | [`values`] | words, seconds and instants, which texts for people have as well |
//!
//! docs/result.schema.json describes every object; tests walk the messages of the API by reflection
//! and compare messages, objects and schema. Units are in the names: _us microseconds, _s seconds,
//! _hz per second, _ns nanoseconds. Nothing is left out: what is not known is null. A field is
//! never removed or given another meaning without a new [`SCHEMA_VERSION`].

pub mod counts;
mod environment;
pub mod error;
pub mod event;
pub mod failure;
mod host;
pub mod lists;
pub mod path;
pub mod report;
pub mod run;
pub mod series;
pub mod server;
pub mod snapshot;
pub mod times;
pub mod values;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::names::is_harmful;

/// The version of docs/result.schema.json and of every object.
pub const SCHEMA_VERSION: u32 = 2;

/// An object as text with a line feed. Characters that could rewrite a terminal are escaped, those
/// included that JSON itself allows in a string: DEL, C1 and the marks of [`is_harmful`].
#[must_use]
pub fn text(object: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(object)
        .expect("the objects have string keys only, so they serialize");
    harmless(&json) + "\n"
}

/// An object in one line, without a line feed: else as [`text`].
#[must_use]
pub fn line(object: &impl Serialize) -> String {
    let json = serde_json::to_string(object)
        .expect("the objects have string keys only, so they serialize");
    harmless(&json)
}

fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        // Line feeds are between the values: within a string they are escaped already.
        if is_harmful(character) && character != '\n' {
            for unit in character.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(character);
        }
    }
    text
}
