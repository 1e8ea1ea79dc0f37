//! The walls of the house: which module may know which, read from the sources themselves.
//!
//! `syn` reads every file; tests/sources resolves every import, re-export and path in it to the
//! file of the item that is meant. Invisible to it: the type that a method belongs to, and what a
//! macro of another crate adds. The planted houses in tests/planted show that each wall fails where
//! it should.
//!
//! ```text
//! cargo test --test walls                            all walls
//! cargo test --test walls -- --nocapture circles     every circle, with the names that tie it
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod layers;
mod planted;
mod sources;

use std::sync::LazyLock;

use sources::{CRATES, below, dependencies, modules::House, production, rules::Wall};

static HOUSE: LazyLock<House> = LazyLock::new(|| House::read(CRATES, &production()));

/// Lines of production code that a file may have.
const FILE_LINES_MAX: usize = 500;

/// Lines that a function may have, from its signature to its last brace.
const FUNCTION_LINES_MAX: usize = 70;

/// No breach of `walls`.
#[track_caller]
fn keep(walls: &[Wall]) {
    let breaches = walls.iter().flat_map(|wall| HOUSE.breaches(wall));
    none(breaches.map(|breach| breach.sentence()));
}

/// No fault.
#[track_caller]
fn none(faults: impl IntoIterator<Item = String>) {
    let faults = Vec::from_iter(faults);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn crates_use_only_what_lies_below_them() {
    keep(layers::CRATES);
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let layers = layers::LAYERS.iter();
    none(layers.flat_map(|layers| HOUSE.faults_of(layers)));
}

#[test]
fn what_judges_and_records_uses_no_crate_but_the_contract() {
    keep(&[layers::BARE]);
}

#[test]
fn the_parts_of_control_are_entered_by_their_public_faces() {
    none(HOUSE.trespasses(layers::PARTS));
}

#[test]
fn what_counts_has_no_messages_of_the_api() {
    keep(layers::API_TYPES);
}

#[test]
fn what_decides_has_no_clock_no_socket_and_no_async() {
    keep(&[layers::PURE]);
}

#[test]
fn the_contract_has_no_flags_no_telemetry_and_no_runtime() {
    keep(&[layers::CONTRACT]);
}

#[test]
fn no_thread_is_started_by_the_call_that_panics() {
    keep(&[layers::THREADS]);
}

#[test]
fn only_the_control_plane_is_async() {
    keep(layers::ASYNC);
}

#[test]
fn what_claims_to_be_pure_is_bound_to_be() {
    let bound = [layers::PURE, layers::CONTRACT];
    let is_bound = |path: &str| bound.iter().any(|wall| wall.binds(path));
    let claims = HOUSE.claimed_pure().into_iter();
    let unbound = claims.filter(|(path, _)| !is_bound(path));
    none(unbound.map(|(path, file)| format!("{file}: no wall keeps {path} pure")));
}

#[test]
fn every_wall_guards_a_place_that_is_there() {
    let places = layers::all().flat_map(|wall| [wall.of, wall.but, wall.not, wall.except].concat());
    let mut places = places
        .chain(layers::PARTS.iter().copied())
        .collect::<Vec<_>>();
    places.sort_unstable();
    places.dedup();
    let dependencies = dependencies();
    let is_gone = |place: &&str| !HOUSE.is_there(place.trim_end_matches("::self"), &dependencies);
    let seen = places
        .into_iter()
        .filter(|place| !place.starts_with(layers::GENERATED));
    let gone = seen.filter(is_gone);
    none(gone.map(|place| format!("{place} is gone: take it out of the walls")));
}

#[test]
fn what_the_walls_allow_is_used() {
    let walls = layers::all().flat_map(|wall| HOUSE.unused(wall));
    let layers = layers::LAYERS.iter();
    none(walls.chain(layers.flat_map(|layers| HOUSE.unused_layers(layers))));
}

#[test]
fn no_code_hides_its_names_from_the_walls() {
    none(HOUSE.hidden());
}

#[test]
fn no_circles_among_files() {
    none(HOUSE.circles().iter().map(ToString::to_string));
}

#[test]
fn no_circles_among_folders() {
    none(HOUSE.folder_circles().iter().map(ToString::to_string));
}

#[test]
fn every_file_belongs_to_a_crate() {
    let strays = HOUSE.strays.iter();
    none(strays.map(|path| format!("no `mod` leads to {path}")));
}

#[test]
fn a_module_with_children_is_the_mod_rs_of_their_folder() {
    let has_folder = |path: &str| {
        let folder = path.trim_end_matches(".rs").to_owned() + "/";
        HOUSE
            .files
            .iter()
            .any(|file| file.path.starts_with(&folder))
    };
    let beside = HOUSE.files.iter().filter(|file| has_folder(&file.path));
    none(beside.map(|file| format!("{} stands beside its folder", file.path)));
}

#[test]
fn unsafe_stays_in_os_and_each_has_its_reason() {
    none(HOUSE.unsafe_code("metronome_os"));
    let mut files = HOUSE.files.iter();
    assert!(files.any(|file| file.text.contains("// SAFETY: ")));
}

#[test]
fn every_file_begins_with_what_it_is_and_has_one_subject() {
    let mut faults = Vec::new();
    let tests = below(&["tests"], "rs").into_iter().map(|source| {
        let lines = source.text.lines().count();
        (source.path, source.text, lines)
    });
    let production = HOUSE.files.iter().map(|file| {
        let lines = file.production_lines();
        (file.path.clone(), file.text.clone(), lines)
    });
    for (path, text, lines) in production.chain(tests) {
        if !text.starts_with("//! ") {
            faults.push(format!("{path} does not begin with what it is"));
        }
        if lines > FILE_LINES_MAX {
            faults.push(format!(
                "{path} has {lines} lines: which subject can leave it?"
            ));
        }
    }
    none(faults);
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let functions = HOUSE.files.iter().flat_map(|file| {
        let functions = file.functions.iter();
        functions.map(|function| (&file.path, function))
    });
    let long = functions.filter(|(_, function)| function.lines > FUNCTION_LINES_MAX);
    none(long.map(|(path, function)| {
        let (line, name, lines) = (function.line, &function.name, function.lines);
        format!("{path}:{line}: {name} has {lines} lines")
    }));
}
