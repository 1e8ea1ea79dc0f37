//! What all JSON objects have in common.

use serde::Serialize;

/// The version of docs/result.schema.json and of all other objects.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// An object as text with a line feed.
pub(super) fn text(object: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(object)
        .expect("the types have string keys only, so they serialize");
    json + "\n"
}
