//! The manual of the API keeps to the protos: the failures are those of the protos with their
//! comments, and every call, proto and feature is named.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::PathBuf};

use metronome_proto::{DESCRIPTORS, features, v1::FailureCode};
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, source_code_info::Location};

/// Field numbers of descriptor.proto, of which the paths of comments consist.
const FILE_ENUMS: i32 = 5;
const ENUM_VALUES: i32 = 2;

/// Paths below the folder of this crate.
const FAILURES: &str = "docs/failures.md";
const API: &str = "docs/api.md";

/// What stands above the tables.
const HEAD: &str = "\
# Failures

Made from the comments of [failure.proto](../proto/metronome/v1/failure.proto) and the remedies of
`proto/failure.rs`: `METRONOME_BLESS=1 cargo test --test api` writes this file anew. It is not
edited by hand.

Whatever could not be done has one of these codes, the same in a gRPC error (the message
Failure, and `reason` of google.rpc.ErrorInfo), in a run, an agent, a client and a verdict's
reason (`failure`), and on errors of `benchctl -o json` (`error.code`). A program reads the code
and the figures, and takes a code that it does not know for `INTERNAL`; the sentence and the
remedy are for people. Codes are never given another meaning and never removed. [api.md](api.md)
has the rest.
";

fn page(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Our own protos, without those of Google.
fn protos() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let is_ours = |file: &FileDescriptorProto| file.package() == "metronome.v1";
    set.file.into_iter().filter(is_ours).collect()
}

/// A comment as one line.
fn one_line(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// docs/failures.md as it has to be: a table for each group of codes, which begins with a comment
/// of its own.
fn failures() -> String {
    let protos = protos();
    let file = protos
        .iter()
        .find(|file| file.name().ends_with("failure.proto"))
        .unwrap();
    let of_enum = file
        .enum_type
        .iter()
        .position(|list| list.name() == "FailureCode")
        .unwrap();
    let locations = &file.source_code_info.as_ref().unwrap().location;
    let by_path: BTreeMap<&[i32], &Location> = locations
        .iter()
        .map(|location| (location.path.as_slice(), location))
        .collect();
    let mut page = String::from(HEAD);
    for (index, value) in file.enum_type[of_enum].value.iter().enumerate() {
        let code = FailureCode::try_from(value.number()).unwrap();
        if code == FailureCode::Unspecified {
            continue;
        }
        let path = [FILE_ENUMS, of_enum as i32, ENUM_VALUES, index as i32];
        let location = by_path[&path[..]];
        for group in &location.leading_detached_comments {
            let group = one_line(group);
            let (title, text) = group
                .split_once(". ")
                .unwrap_or((group.trim_end_matches('.'), ""));
            writeln!(page, "\n## {title}").unwrap();
            if !text.is_empty() {
                writeln!(page, "{text}").unwrap();
            }
            writeln!(page, "\n| | code | meaning | remedy |\n|---|---|---|---|").unwrap();
        }
        let meaning = one_line(location.leading_comments());
        assert!(!meaning.is_empty(), "{code:?} has no comment");
        let (number, name, remedy) = (value.number(), code.name(), code.remedy());
        writeln!(page, "| {number} | `{name}` | {meaning} | {remedy} |").unwrap();
    }
    page
}

#[test]
fn the_page_of_failures_is_that_of_the_protos() {
    let (path, expected) = (page(FAILURES), failures());
    if env::var_os("METRONOME_BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == expected,
        "{FAILURES} is out of date: its first lines have the command that writes it anew"
    );
}

#[test]
fn the_page_of_the_api_names_every_file_service_call_and_feature() {
    let text = fs::read_to_string(page(API)).unwrap();
    let mut names: Vec<String> = Vec::new();
    for file in protos() {
        names.push(file.name().rsplit('/').next().unwrap().to_owned());
        for service in &file.service {
            names.push(service.name().to_owned());
            names.extend(service.method.iter().map(|method| method.name().to_owned()));
        }
    }
    assert!(names.len() > 20, "{names:?}");
    names.extend(features::CAPABILITIES.iter().map(|&name| name.to_owned()));
    let words: Vec<&str> = text
        .split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.')))
        .map(|word| word.trim_end_matches('.'))
        .collect();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !words.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "{API} does not name {missing:?}");
}
