//! Sizes, payloads and echoes of plan files that are refused.

use super::refused;

#[test]
fn a_size_a_payload_or_an_echo_that_is_none_is_refused_where_it_stands() {
    const SIZE: &str = "packet_size: 42, ";
    let of = |text: &str| format!("groups:\n  - {{{text}}}\n");
    for (text, column, words, by_schema) in [
        (
            "packet_size: 31",
            19,
            &["packet_size", "32 to 1472"][..],
            true,
        ),
        (
            "packet_size: 1473",
            19,
            &["packet_size", "32 to 1472"],
            true,
        ),
        ("packet_size: 0", 19, &["packet_size", "32 to 1472"], true),
        (
            "packet_size: 64.5",
            19,
            &["packet_size", "whole number"],
            true,
        ),
        (
            "packet_size: \"64\"",
            19,
            &["packet_size", "quotation"],
            true,
        ),
        (
            "packet-size: 64",
            6,
            &["\"packet-size\"", "packet_size"],
            true,
        ),
        ("echo_every: 0", 18, &["echo_every", "1 to 1000000"], true),
        (
            "echo_every: 1000001",
            18,
            &["echo_every", "1 to 1000000"],
            true,
        ),
        (
            "payload: noise",
            15,
            &["payload", "{file: PATH}", "\"noise\""],
            true,
        ),
        ("payload: [zeros]", 15, &["payload", "a list"], true),
        ("payload: {}", 15, &["payload", "{agent_file: NAME}"], true),
        (
            "payload: {path: a}",
            16,
            &["\"path\"", "file, agent_file, sha256"],
            true,
        ),
        (
            "payload: {file: a, agent_file: b}",
            37,
            &["agent_file", "file stands there"],
            true,
        ),
        (
            "payload: {file: a, file: b}",
            25,
            &["\"file\"", "twice"],
            false,
        ),
        ("payload: {file: 7}", 22, &["file", "quotation"], true),
        (
            "payload: {file: \"\"}",
            22,
            &["file", "path of a file"],
            true,
        ),
        (
            "payload: {file: \"-\"}",
            22,
            &["file", "standard input"],
            true,
        ),
        (
            "payload: {file: a, sha256: abc}",
            33,
            &["sha256", "64 hex"],
            true,
        ),
        (
            "payload: {agent_file: a/b}",
            28,
            &["agent_file", "without a slash"],
            true,
        ),
        (
            "payload: {agent_file: ..}",
            28,
            &["agent_file", "without a slash"],
            true,
        ),
        (
            "payload: pattern",
            15,
            &["groups[0].payload", "no room"],
            true,
        ),
        (
            "packet_size: 32, payload: {file: a}",
            32,
            &["groups[0].payload", "no room"],
            true,
        ),
        (
            "packet_size: 42, payload: {file: missing}",
            32,
            &["payload", "missing: it cannot"],
            false,
        ),
        (
            "packet_size: 43, payload: {file: a}",
            32,
            &["payload", "20 bytes", "multiple of 11"],
            false,
        ),
        (
            "packet_size: 1472, batch: 45",
            32,
            &["batch", "65536 bytes", "at most 44"],
            false,
        ),
    ] {
        // What is wrong with the payload is wrong whatever the size.
        let is_of_payload = text.starts_with("payload: ") && !words[0].starts_with("groups");
        let (text, column) = match is_of_payload {
            true => (format!("{SIZE}{text}"), column + SIZE.len()),
            false => (text.to_owned(), column),
        };
        refused(&of(&text), (2, column), words, by_schema);
    }
    let other = "7".repeat(64);
    let text = format!("packet_size: 42, payload: {{file: a, sha256: \"{other}\"}}");
    refused(
        &of(&text),
        (2, 32),
        &["groups[0].payload", "another SHA-256"],
        false,
    );
}
