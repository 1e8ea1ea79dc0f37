//! The words of the house: one for each thing, and the field's own (docs/glossary.md).
//!
//! Words that went their own way do not come back as names of ours: modules, types and their
//! parameters, functions, constants, variants, fields, variables and renamed imports. Distinctive
//! ones are banned within any name; those with an ordinary meaning only as the very name that they
//! were. In comments, texts, documents, scripts and configurations only the patterns of sentences
//! are banned that read badly. A text of one word is a key or a name, not a sentence.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod sources;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet};

use sources::{
    Source, below,
    file::{File, Kind},
    production,
    prose::{self, Passage},
    with_prose,
};
use vocabulary::{NAMES, OPENINGS, PHRASES, VERBS, WORDS};

/// Files that must have banned words: these tables.
const EXEMPT: &[&str] = &["tests/words.rs", "tests/vocabulary/mod.rs", "CHANGELOG.md"];

const COLUMNS_MAX: usize = 100;

/// Where each banned word is, by the word as its table has it.
type Found = BTreeMap<&'static str, Vec<String>>;

#[test]
fn no_banned_names() {
    let mut found = Found::new();
    let files = ["rs", "proto"].map(|extension| below(&["."], extension));
    for source in files.iter().flatten().filter(|of| is_bound(of)) {
        for (word, replacement, place) in banned_names(source) {
            found
                .entry(word)
                .or_default()
                .push(format!("{place}: write {replacement}"));
        }
    }
    assert_none(&found);
}

#[test]
fn no_banned_prose() {
    let mut found = Found::new();
    for source in with_prose().iter().filter(|of| is_bound(of)) {
        for passage in prose::passages(source) {
            for (phrase, replacement) in banned_prose(&passage) {
                let context = around(&passage.text, phrase);
                let place = format!("{}:{}: {context}", source.path, passage.line);
                let fault = format!("{place}: write {replacement}");
                found.entry(phrase).or_default().push(fault);
            }
        }
    }
    assert_none(&found);
}

#[test]
fn no_line_is_above_a_hundred_columns() {
    let mut long = Vec::new();
    for source in below(&["."], "rs") {
        for (index, line) in source.text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                long.push(format!("{}:{}", source.path, index + 1));
            }
        }
    }
    assert!(long.is_empty(), "too long:\n{}", long.join("\n"));
}

#[test]
fn what_the_glossary_names_is_defined_where_its_row_points() {
    let documents = below(&["docs"], "md");
    let glossary = documents.iter().find(|of| of.path == "docs/glossary.md");
    let mut sources = production();
    sources.extend(below(&["proto"], "proto"));
    let defined = sources.iter().map(|source| {
        let names = defined_names(source).into_iter().map(|(_, name, _)| name);
        let modules = source.path.trim_end_matches(".rs").split('/');
        (
            source.path.as_str(),
            names
                .chain(modules.map(str::to_owned))
                .collect::<BTreeSet<_>>(),
        )
    });
    let defined = Vec::from_iter(defined);
    let mut missing = Vec::new();
    for row in glossary.unwrap().text.lines() {
        let Some((words, places)) = glossary_row(row) else {
            continue;
        };
        for place in &places {
            if !defined
                .iter()
                .any(|(path, _)| path.starts_with(place.as_str()))
            {
                missing.push(format!("{place} of {words:?} is no place"));
            }
        }
        for name in words {
            let is_there = |(path, names): &(&str, BTreeSet<String>)| {
                places.iter().any(|place| path.starts_with(place.as_str())) && names.contains(name)
            };
            if !defined.iter().any(is_there) {
                missing.push(format!("{name} is not defined in {places:?}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The names of the code in the first cell of a row, and the places in its last one.
fn glossary_row(row: &str) -> Option<(Vec<&str>, Vec<String>)> {
    let cells = Vec::from_iter(row.strip_prefix("| ")?.strip_suffix(" |")?.split(" | "));
    let [words, _, places] = cells[..] else {
        return None;
    };
    let places = places.split('`').skip(1).step_by(2).flat_map(alternatives);
    let places = Vec::from_iter(places);
    let words = words.split(|of: char| of.is_whitespace() || ",()".contains(of));
    let names = words.filter_map(|word| {
        let is_code = |of: &&str| of.contains('_') || of.contains(char::is_uppercase);
        let name = word.trim_matches('`').rsplit("::").next().filter(is_code)?;
        Some(name)
    });
    (!places.is_empty()).then(|| (names.collect(), places))
}

/// `a/b` and `a/c`, of `a/{b,c}`.
fn alternatives(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else {
        return vec![path.to_owned()];
    };
    let (each, after) = rest.split_once('}').unwrap();
    each.split(',')
        .map(|one| format!("{before}{one}{after}"))
        .collect()
}

#[track_caller]
fn assert_none(found: &Found) {
    let faults = found
        .iter()
        .map(|(word, places)| format!("`{word}` is banned:\n  {}", places.join("\n  ")));
    let faults = Vec::from_iter(faults);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn is_bound(source: &Source) -> bool {
    !EXEMPT.contains(&source.path.trim_start_matches("./"))
}

/// Each banned word in a name of this source, what to write, and where it is.
fn banned_names(source: &Source) -> Vec<(&'static str, &'static str, String)> {
    let mut banned = Vec::new();
    for (kind, name, line) in defined_names(source) {
        let words = words_of(&name);
        let place = format!("{}:{line} {name}", source.path);
        let within = WORDS.iter().filter(|(word, _)| has(&words, word, '_'));
        let verbs = VERBS.iter().filter(|(verb, _)| {
            may_be(kind, Kind::Function) && words.starts_with(&format!("_{verb}_"))
        });
        let whole = NAMES
            .iter()
            .filter(|(of, banned, _)| may_be(kind, *of) && *banned == name);
        banned.extend(
            within
                .chain(verbs)
                .map(|(word, new)| (*word, *new, place.clone())),
        );
        banned.extend(whole.map(|(_, word, new)| (*word, *new, place.clone())));
    }
    banned
}

/// What a source defines, with its lines.
fn defined_names(source: &Source) -> Vec<(Kind, String, usize)> {
    let file = source.path.rsplit('/').next().unwrap();
    let Some(own) = file.strip_suffix(".rs") else {
        let lines = source.text.lines().zip(1..);
        let names = lines.filter_map(|(text, line)| {
            let (kind, name) = proto_name(text)?;
            Some((kind, name.to_owned(), line))
        });
        return names.collect();
    };
    let definitions = File::read(source).definitions.into_iter();
    let own = (Kind::Module, own.to_owned(), 1);
    let names = definitions.map(|of| (of.kind, of.name, of.line));
    names.chain([own]).collect()
}

/// What a line of a proto defines: a message, a service, an enum, an rpc, or a field or value.
fn proto_name(line: &str) -> Option<(Kind, &str)> {
    let words = line.split("//").next()?;
    let words = words.split(|of: char| of.is_whitespace() || "({;".contains(of));
    let words = Vec::from_iter(words.filter(|word| !word.is_empty()));
    match words[..] {
        ["message" | "service" | "enum", name, ..] => Some((Kind::Type, name)),
        ["rpc", name, ..] => Some((Kind::Function, name)),
        _ => {
            let at = words.iter().position(|word| *word == "=")?;
            let is_number = words.get(at + 1)?.parse::<u32>().is_ok();
            is_number.then_some((Kind::Field, *words.get(at.checked_sub(1)?)?))
        }
    }
}

/// Whether a name of `kind` can be one of `of`: what is imported may be any item.
fn may_be(kind: Kind, of: Kind) -> bool {
    let items = [Kind::Module, Kind::Type, Kind::Function, Kind::Constant];
    kind == of || kind == Kind::Import && items.contains(&of)
}

/// Whether `word` is in `text` between two `edge`s.
fn has(text: &str, word: &str, edge: char) -> bool {
    let mut places = text.match_indices(word);
    places.any(|(at, _)| text[..at].ends_with(edge) && text[at + word.len()..].starts_with(edge))
}

/// `_words_of_it_`, of a name in whatever case.
fn words_of(name: &str) -> String {
    let mut words = String::from("_");
    let characters = Vec::from_iter(name.chars());
    for (index, character) in characters.iter().enumerate() {
        let is_upper = |at: usize| characters.get(at).is_some_and(|of| of.is_uppercase());
        let is_lower = |at: usize| characters.get(at).is_some_and(|of| of.is_lowercase());
        let begins = index > 0 && is_upper(index) && (!is_upper(index - 1) || is_lower(index + 1));
        if begins && !words.ends_with('_') {
            words.push('_');
        }
        words.extend(character.to_lowercase());
    }
    words.push('_');
    words
}

/// Each banned phrase and opening of a passage, and what to write.
fn banned_prose(passage: &Passage) -> Vec<(&'static str, &'static str)> {
    let spaced = |text: &str| {
        let words = text.split(|of: char| !of.is_alphanumeric() && of != '_' && of != '\'');
        let words = words
            .map(|word| word.trim_matches('\''))
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        format!(" {} ", words.to_lowercase())
    };
    if passage.kind == prose::Kind::Text && !passage.text.trim().contains(char::is_whitespace) {
        return Vec::new();
    }
    let text = spaced(&passage.text);
    let phrases = PHRASES.iter().filter(|(phrase, _)| has(&text, phrase, ' '));
    let is_doc = passage.kind == prose::Kind::Doc;
    let opens = |word: &str| is_doc && passage.text.split(' ').next() == Some(word);
    phrases
        .chain(OPENINGS.iter().filter(|(opening, _)| opens(opening)))
        .copied()
        .collect()
}

/// `phrase` with the characters around it.
fn around<'a>(text: &'a str, phrase: &str) -> &'a str {
    const AROUND: usize = 30;
    let at = text
        .to_lowercase()
        .find(&phrase.to_lowercase())
        .unwrap_or(0);
    let is_end = |index: &usize| text.is_char_boundary(*index);
    let first = (0..=at.saturating_sub(AROUND))
        .rev()
        .find(is_end)
        .unwrap_or(0);
    let last = (at + phrase.len() + AROUND..text.len())
        .find(is_end)
        .unwrap_or(text.len());
    text.get(first..last).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            path: "a/thing.rs".to_owned(),
            text: text.to_owned(),
        }
    }

    fn names(text: &str) -> Vec<&'static str> {
        banned_names(&source(text))
            .into_iter()
            .map(|(word, ..)| word)
            .collect()
    }

    fn phrases(text: &str) -> Vec<&'static str> {
        phrases_of("a/thing.rs", text)
    }

    fn phrases_of(path: &str, text: &str) -> Vec<&'static str> {
        let path = path.to_owned();
        let text = text.to_owned();
        let passages = prose::passages(&Source { path, text });
        let banned = passages.iter().flat_map(banned_prose);
        banned.map(|(phrase, _)| phrase).collect()
    }

    #[test]
    fn a_distinctive_word_is_banned_within_any_name() {
        for name in [
            "mod desk {}",
            "struct DeskBytes;",
            "const A_DESK: u8 = 0;",
            "enum A { TheDesk }",
            "struct A { desk_bytes: u8 }",
            "fn with_desk() {}",
            "fn f(desk: u8) {}",
            "fn f() { let a_desk = 1; }",
            "trait HTTPDesk {}",
            "use other::Thing as Desk;",
            "fn f() { use other::{self, thing as a_desk}; }",
            "#[cfg(test)] mod tests { use other::Thing as Desk; }",
            "struct A<Desk>(u8);",
            "fn f<TheDesk: Copy, const N: u8>() {}",
            "impl<const A_DESK: u8> A {}",
            "#[cfg(test)] mod tests { fn a_desk_is_full() {} }",
        ] {
            assert_eq!(names(name), ["desk"], "{name}");
        }
        assert_eq!(names("fn is_worked_off() {}"), ["worked_off"]);
    }

    #[test]
    fn what_a_proto_defines_has_names_too() {
        for (line, word) in [
            ("message DeskBytes {", "desk"),
            ("service TheDesk{", "desk"),
            ("  rpc Tell(stream A) returns (B) {}", "tell"),
            (
                "  repeated a.B volleys = 3 [deprecated = true]; // c",
                "volleys",
            ),
            ("  STATE_DESK = 0;", "desk"),
        ] {
            let source = Source {
                path: "a/thing.proto".to_owned(),
                text: line.to_owned(),
            };
            let names = banned_names(&source);
            assert_eq!(
                names.iter().map(|(word, ..)| *word).collect::<Vec<_>>(),
                [word]
            );
        }
        assert_eq!(proto_name("  // A desk = 1;"), None);
    }

    #[test]
    fn a_word_within_a_word_and_a_word_of_others_are_not_banned() {
        let text = "fn desktop(aggregate: u8) { other::desk(); x.desk(); \"desk\"; } // desk";
        assert_eq!(names(text), Vec::<&str>::new());
    }

    #[test]
    fn an_ordinary_word_is_banned_only_as_what_it_was() {
        assert_eq!(
            names("mod past; struct Rank; struct A { rest: u8 }"),
            ["past", "Rank", "rest"]
        );
        let others = "struct PastDue { past: u8 } enum Ranks { Rank } fn f(rest: u8) {}";
        assert_eq!(names(others), Vec::<&str>::new());
        assert_eq!(
            names("use a::b as Rank; use a::{b as past, c as say, d as rest};"),
            ["Rank", "past", "say"]
        );
        assert_eq!(
            names("fn f(told: u8) { let told = told; } fn g() { |told| 1; }"),
            ["told", "told", "told"]
        );
        assert_eq!(names("fn say() {} fn say_first() {}"), ["say", "say"]);
        assert_eq!(
            names("fn essay() {} fn what_they_say() {}"),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn a_phrase_is_banned_in_prose_wherever_its_line_ends() {
        assert_eq!(phrases("/// 5 were worked\n/// off."), ["worked off"]);
        assert_eq!(phrases("fn f() {} // Nobody reads it."), ["nobody"]);
        assert_eq!(
            phrases("/* It is never\n succeeded. */"),
            ["is never succeeded"]
        );
        assert_eq!(phrases(r#"fn f() { g("whoever\n is it"); }"#), ["whoever"]);
        assert_eq!(phrases("const A: &str = r#\"\"told\" it\"#;"), ["told"]);
        assert_eq!(
            phrases("fn f<'a>() { '\"'; nobody('\\''); \"it tells\"; }"),
            ["tells"]
        );
        assert_eq!(phrases("fn nobody() { told.tells(); }"), Vec::<&str>::new());
    }

    #[test]
    fn a_text_of_one_word_is_a_key_and_no_sentence() {
        assert_eq!(
            phrases("#[serde(rename = \"told\")] struct A;"),
            Vec::<&str>::new()
        );
        assert_eq!(phrases("const A: &str = \"told twice\";"), ["told"]);
    }

    #[test]
    fn a_phrase_is_banned_in_scripts_and_configurations_too() {
        let none = Vec::<&str>::new();
        for python in ["a.py", "a/b"] {
            let phrases =
                |text: &str| phrases_of(python, &format!("#!/usr/bin/env python3\n{text}"));
            assert_eq!(phrases("# It was worked\n# off."), ["worked off"]);
            assert_eq!(phrases("\"\"\"A 'text'.\n\nIt\ntells.\n\"\"\""), ["tells"]);
            assert_eq!(phrases(r"x = f'it \'tells'; nobody()"), ["tells"]);
            assert_eq!(phrases("x['told'] = tells(nobody)  # or 'it'"), none);
        }
        assert_eq!(
            phrases_of("Dockerfile", "FROM x\n# worked\n# off"),
            ["worked off"]
        );
        assert_eq!(phrases_of("a/run", "#!/bin/sh\necho it tells"), ["tells"]);
        assert_eq!(
            phrases_of("a.yml", "- name: nobody\n- is: fine"),
            ["nobody"]
        );
        assert_eq!(phrases_of("a.toml", "# whoever\na = 'b'"), ["whoever"]);
    }

    #[test]
    fn scripts_recipes_and_configurations_are_read() {
        let files = with_prose();
        for path in [
            "Dockerfile",
            "Cargo.toml",
            "compose.yaml",
            "deploy/release",
            "tests/lint",
        ] {
            assert!(files.iter().any(|of| of.path == path), "{path}");
        }
    }

    #[test]
    fn a_doc_comment_begins_with_a_sentence() {
        assert_eq!(phrases("/// Of each client.\n/// As it is."), ["Of"]);
        assert_eq!(phrases("//! As `f`, but more."), ["As"]);
        assert_eq!(
            phrases("// Of each.\n/// Often.\n///\n/// Assured."),
            Vec::<&str>::new()
        );
    }
}
