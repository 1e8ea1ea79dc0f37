//! The walls of the layout: which module may know which, read from the sources themselves.
//!
//! DESIGN in one place that fails: pure modules have no clock, no socket and no async; `unsafe`
//! stays in os; the executables never import each other; every file says what it is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Code of a file without its comments and its tests.
struct Source {
    path: String,
    text: String,
    code: String,
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    assert!(!files.is_empty(), "{folder} has no sources");
    files.sort();
    files.into_iter().map(|file| read(root, &file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Source {
    let text = fs::read_to_string(file).unwrap();
    let production = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let without_comment = |line: &str| line.split("//").next().unwrap().to_owned();
    let code = production
        .lines()
        .map(without_comment)
        .collect::<Vec<_>>()
        .join("\n");
    Source {
        path: file.strip_prefix(root).unwrap().display().to_string(),
        code,
        text,
    }
}

/// Every source below `folder` that `is_bound` selects keeps clear of all of `words`.
#[track_caller]
fn keep_clear(folder: &str, is_bound: impl Fn(&str) -> bool, words: &[&str]) {
    let mut bound = 0;
    let mut breaches = Vec::new();
    for source in sources(folder)
        .iter()
        .filter(|source| is_bound(&source.path))
    {
        bound += 1;
        for word in words.iter().filter(|word| source.code.contains(**word)) {
            breaches.push(format!("{} has `{word}`", source.path));
        }
    }
    assert!(
        bound > 0,
        "nothing in {folder} is bound by this wall: it guards a place that is gone"
    );
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

fn under(folders: &'static [&'static str]) -> impl Fn(&str) -> bool {
    move |path| folders.iter().any(|folder| path.starts_with(folder))
}

fn not_under(folders: &'static [&'static str]) -> impl Fn(&str) -> bool {
    let is_under = under(folders);
    move |path| !is_under(path)
}

const CLOCKS_SOCKETS_AND_ASYNC: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "now_ns()",
    "clock_gettime",
    "std::net::Tcp",
    "std::fs",
    "File::",
    "thread::sleep",
    "async ",
    ".await",
    "tokio::",
];

#[test]
fn the_executables_never_import_each_other() {
    keep_clear(
        "proto",
        |_| true,
        &["metronome_server::", "metronome_agent::", "benchctl::"],
    );
    keep_clear("server/src", |_| true, &["metronome_agent::", "benchctl::"]);
    keep_clear(
        "agent/src",
        |path| !path.ends_with("/lib.rs"),
        &["metronome_server::", "benchctl::"],
    );
    keep_clear(
        "ctl/src",
        not_under(&["ctl/src/local", "ctl/src/main.rs"]),
        &["metronome_server::", "metronome_agent::"],
    );
}

#[test]
fn what_decides_has_no_clock_no_socket_and_no_async() {
    keep_clear("proto", |_| true, CLOCKS_SOCKETS_AND_ASYNC);
    let pure = &[
        "server/src/run",
        "server/src/verdict",
        "server/src/metrics",
        "server/src/coalescing",
        "server/src/master/placement",
        "server/src/master/books",
    ];
    keep_clear("server/src", under(pure), CLOCKS_SOCKETS_AND_ASYNC);
    keep_clear("server/src/ledger", |_| true, CLOCKS_SOCKETS_AND_ASYNC);
    keep_clear(
        "agent/src",
        under(&[
            "agent/src/load/client_counters.rs",
            "agent/src/load/kernel_acknowledged.rs",
            "agent/src/load/pacing.rs",
            "agent/src/load/ticks.rs",
        ]),
        CLOCKS_SOCKETS_AND_ASYNC,
    );
    keep_clear("ctl/src/render", |_| true, CLOCKS_SOCKETS_AND_ASYNC);
}

#[test]
fn only_the_control_plane_is_async() {
    let allowed = &[
        "server/src/control",
        "server/src/lib.rs",
        "server/src/store",
    ];
    keep_clear(
        "server/src",
        not_under(allowed),
        &["tokio::", "tonic::", "async "],
    );
    keep_clear("server/src/store", |_| true, &["async ", ".await"]);
    let allowed = &[
        "agent/src/remote",
        "agent/src/lib.rs",
        "agent/src/signals.rs",
        "agent/src/standalone",
    ];
    keep_clear(
        "agent/src",
        not_under(allowed),
        &["tokio::", "tonic::", "async "],
    );
    let allowed = &[
        "ctl/src/commands",
        "ctl/src/main.rs",
        "ctl/src/connect",
        "ctl/src/local",
    ];
    keep_clear("ctl/src", not_under(allowed), &["tokio::", "async "]);
}

#[test]
fn the_server_s_modules_know_only_what_lies_below_them() {
    let above_sys = &[
        "crate::ledger",
        "crate::master",
        "crate::worker",
        "crate::control",
        "crate::run",
        "metronome_proto",
    ];
    keep_clear("os/src", |_| true, above_sys);
    keep_clear(
        "server/src/ledger",
        |_| true,
        &[
            "crate::master",
            "crate::worker",
            "crate::control",
            "crate::run",
        ],
    );
    keep_clear(
        "server/src/worker",
        |_| true,
        &[
            "crate::master",
            "crate::control",
            "crate::run",
            "crate::store",
            "v1::",
        ],
    );
    keep_clear(
        "server/src/master",
        |_| true,
        &[
            "crate::worker",
            "crate::control",
            "crate::run",
            "crate::store",
            "v1::",
        ],
    );
    keep_clear(
        "server/src/upgrade",
        |_| true,
        &[
            "crate::master",
            "crate::worker",
            "crate::control",
            "crate::run",
            "crate::store",
            "v1::",
        ],
    );
    keep_clear(
        "server/src",
        under(&["server/src/run"]),
        &[
            "crate::control",
            "crate::store",
            "crate::sys",
            "crate::worker",
        ],
    );
}

#[test]
fn unsafe_stays_in_sys_and_each_has_its_reason() {
    for folder in [
        "proto",
        "os/src",
        "telemetry/src",
        "tls/src",
        "server/src",
        "agent/src",
        "ctl/src",
    ] {
        for source in sources(folder) {
            let uses = source.code.matches("unsafe ").count();
            if source.path.starts_with("os/src/") {
                let reasons = source.text.matches("// SAFETY: ").count();
                assert_eq!(
                    uses, reasons,
                    "{}: an unsafe without its SAFETY note, or the reverse",
                    source.path
                );
            } else {
                assert_eq!(uses, 0, "{} has unsafe code", source.path);
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_none_becomes_an_attic() {
    for folder in [
        "proto",
        "os/src",
        "telemetry/src",
        "tls/src",
        "server/src",
        "agent/src",
        "ctl/src",
        "tests",
    ] {
        for source in sources(folder) {
            assert!(
                source.text.starts_with("//! "),
                "{} does not begin with what it is",
                source.path
            );
            let lines = source.code.lines().count();
            assert!(
                lines <= 500,
                "{} has {lines} lines of production code: which subject can leave it?",
                source.path
            );
        }
    }
}
