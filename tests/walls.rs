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

mod known;
mod planted;
mod sources;

use std::sync::LazyLock;

use sources::{
    CRATES, below,
    file::Keyword::{Async, Await},
    modules::House,
    production,
    rules::{WALL, Wall, contains},
};

static HOUSE: LazyLock<House> = LazyLock::new(|| House::read(CRATES, &production()));

/// Lines of production code that a file may have.
const LINES_MAX: usize = 500;

/// The parts of `control`: entered by what their own modules declare and re-export.
const PARTS: &[&str] = &[
    "metronome_server::control::api",
    "metronome_server::control::runs",
    "metronome_server::control::agents",
    "metronome_server::control::monitor",
    "metronome_server::control::lifecycle",
];

/// The executables never import each other; benchctl carries the other two in one module.
const EXECUTABLES: &[Wall] = &[
    Wall {
        of: &[
            "metronome_proto",
            "metronome_os",
            "metronome_telemetry",
            "metronome_tls",
        ],
        not: &["metronome_server", "metronome_agent", "benchctl"],
        ..WALL
    },
    Wall {
        of: &["metronome_server"],
        not: &["metronome_agent", "benchctl"],
        ..WALL
    },
    Wall {
        of: &["metronome_agent"],
        not: &["metronome_server", "benchctl"],
        ..WALL
    },
    Wall {
        of: &["benchctl"],
        but: &["benchctl::self", "benchctl::local", "benchctl::embedded"],
        not: &["metronome_server", "metronome_agent"],
        // The stored runs, which the embedded module hands on.
        except: &["metronome_server::store::history::History"],
        ..WALL
    },
];

/// What decides has no clock, no socket, no file and no async: time and data are arguments.
const PURE: Wall = Wall {
    of: &[
        "metronome_proto",
        "metronome_server::model",
        "metronome_server::run",
        "metronome_server::verdict",
        "metronome_server::metrics",
        "metronome_server::coalescing",
        "metronome_server::rx_batching",
        "metronome_server::ledger",
        "metronome_server::master::placement",
        "metronome_server::master::books",
        "metronome_server::master::run_counters",
        "metronome_agent::pacing",
        "metronome_agent::load::pacing",
        "benchctl::render",
    ],
    // Client code of the API, generated into the contract.
    but: &["metronome_proto::v1"],
    not: &[
        "std::time::Instant::now",
        "std::time::SystemTime::now",
        "std::net::TcpListener",
        "std::net::TcpStream",
        "std::net::UdpSocket",
        "std::os::unix::net",
        "std::fs",
        "std::thread",
        "std::process",
        "metronome_os::clock",
        "metronome_os::socket",
        "rustix::time",
        "rustix::net",
        "rustix::fs",
        "libc",
        "tokio",
    ],
    no_keywords: &[Async, Await],
    no_methods: &["elapsed"],
    ..WALL
};

/// The contract is for any program: no flags, no telemetry, no runtime, no clock, no sockets.
const CONTRACT: Wall = Wall {
    of: &["metronome_proto"],
    not: &[
        "clap",
        "opentelemetry",
        "opentelemetry_otlp",
        "opentelemetry_sdk",
        "tracing",
        "tokio",
        "rustix",
        "libc",
        "std::net",
        "std::time::Instant",
        "std::time::SystemTime",
        "metronome_os",
        "metronome_telemetry",
        "metronome_tls",
    ],
    ..WALL
};

/// Settings of TLS that a configuration holds: data, handed on by metronome_tls.
const TLS_SETTINGS: &[&str] = &[
    "tonic::transport::ClientTlsConfig",
    "tonic::transport::ServerTlsConfig",
];

/// Only the control plane is async, and only it uses a runtime and gRPC.
const ASYNC: &[Wall] = &[
    Wall {
        of: &["metronome_server"],
        but: &[
            "metronome_server::self",
            "metronome_server::control",
            "metronome_server::store",
        ],
        not: &["tokio", "tonic"],
        except: TLS_SETTINGS,
        no_keywords: &[Async, Await],
        ..WALL
    },
    Wall {
        of: &["metronome_server::store"],
        no_keywords: &[Async, Await],
        ..WALL
    },
    Wall {
        of: &["metronome_agent"],
        but: &[
            "metronome_agent::self",
            "metronome_agent::control",
            "metronome_agent::remote",
            "metronome_agent::signals",
            "metronome_agent::standalone",
        ],
        not: &["tokio", "tonic"],
        except: TLS_SETTINGS,
        no_keywords: &[Async, Await],
        ..WALL
    },
    Wall {
        of: &["benchctl"],
        but: &[
            "benchctl::self",
            "benchctl::commands",
            "benchctl::connect",
            "benchctl::client",
            "benchctl::doctor::remote",
            "benchctl::local",
            "benchctl::embedded",
            "benchctl::measure",
        ],
        not: &["tokio"],
        no_keywords: &[Async, Await],
        ..WALL
    },
];

/// Who lies below whom.
const LAYERS: &[Wall] = &[
    Wall {
        of: &["metronome_os"],
        not: &[
            "metronome_proto",
            "metronome_telemetry",
            "metronome_tls",
            "metronome_server",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_server::model"],
        not: &[
            "metronome_server",
            "metronome_os",
            "metronome_telemetry",
            "metronome_tls",
        ],
        except: &["metronome_server::model", "metronome_telemetry::sanitise"],
        ..WALL
    },
    Wall {
        of: &["metronome_server::verdict"],
        not: &[
            "metronome_server",
            "metronome_os",
            "metronome_telemetry",
            "metronome_tls",
        ],
        except: &[
            "metronome_server::model",
            "metronome_server::verdict",
            "metronome_telemetry::sanitise",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_server::run"],
        not: &[
            "metronome_server::control",
            "metronome_server::store",
            "metronome_server::worker",
            "metronome_os",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_server::ledger"],
        not: &[
            "metronome_server::control",
            "metronome_server::ipc",
            "metronome_server::master",
            "metronome_server::run",
            "metronome_server::store",
            "metronome_server::upgrade",
            "metronome_server::verdict",
            "metronome_server::worker",
            "metronome_proto::v1",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_server::ipc"],
        not: &[
            "metronome_server::control",
            "metronome_server::master",
            "metronome_server::store",
            "metronome_server::upgrade",
            "metronome_server::verdict",
            "metronome_server::worker",
            "metronome_proto::v1",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_server::worker"],
        not: &[
            "metronome_server::control",
            "metronome_server::master",
            "metronome_server::run",
            "metronome_server::store",
            "metronome_server::upgrade",
            "metronome_server::verdict",
            "metronome_proto::v1",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_server::master"],
        not: &[
            "metronome_server::control",
            "metronome_server::run",
            "metronome_server::store",
            "metronome_server::verdict",
            "metronome_server::worker",
            "metronome_proto::v1",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_server::upgrade"],
        not: &[
            "metronome_server::control",
            "metronome_server::master",
            "metronome_server::run",
            "metronome_server::store",
            "metronome_server::worker",
            "metronome_proto::v1",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_server::store"],
        not: &[
            "metronome_server::control",
            "metronome_server::master",
            "metronome_server::worker",
            "metronome_server::upgrade",
        ],
        ..WALL
    },
];

/// All walls.
fn walls() -> impl Iterator<Item = &'static Wall> {
    let alone = [&PURE, &CONTRACT];
    EXECUTABLES.iter().chain(ASYNC).chain(LAYERS).chain(alone)
}

/// No breach of `walls` but the known ones.
#[track_caller]
fn keep(walls: &[Wall]) {
    let breaches = walls.iter().flat_map(|wall| HOUSE.breaches(wall));
    let is_known = |module: &str, what: &str| {
        known::BREACHES
            .iter()
            .any(|(from, to)| contains(&[from], module) && contains(&[to], what))
    };
    let new = breaches.filter(|breach| !is_known(&breach.module, &breach.what));
    let new = new.map(|breach| breach.sentence()).collect::<Vec<_>>();
    assert!(new.is_empty(), "{}", new.join("\n"));
}

#[test]
fn the_executables_never_import_each_other() {
    keep(EXECUTABLES);
}

#[test]
fn what_decides_has_no_clock_no_socket_and_no_async() {
    keep(&[PURE]);
}

#[test]
fn the_contract_knows_no_flags_no_telemetry_and_no_runtime() {
    keep(&[CONTRACT]);
}

#[test]
fn only_the_control_plane_is_async() {
    keep(ASYNC);
}

#[test]
fn modules_know_only_what_lies_below_them() {
    keep(LAYERS);
}

#[test]
fn the_parts_of_control_are_entered_by_their_public_faces() {
    let trespasses = HOUSE.trespasses(PARTS);
    assert!(trespasses.is_empty(), "{}", trespasses.join("\n"));
}

#[test]
fn every_wall_guards_a_place_that_is_there() {
    let mut faults = Vec::new();
    for wall in walls() {
        let places = [wall.of, wall.but, wall.not, wall.except].concat();
        for place in places.into_iter().chain(PARTS.iter().copied()) {
            let is_gone = HOUSE.is_ours(place) && !HOUSE.has(place);
            if is_gone && !known::TO_COME.contains(&place) {
                faults.push(format!("{place} is gone: take it out of the walls"));
            }
        }
    }
    for place in known::TO_COME.iter().filter(|place| HOUSE.has(place)) {
        faults.push(format!("{place} has come: take it out of known::TO_COME"));
    }
    let breaches = walls()
        .flat_map(|wall| HOUSE.breaches(wall))
        .collect::<Vec<_>>();
    for (from, to) in known::BREACHES {
        let is_it = |module: &str, what: &str| contains(&[from], module) && contains(&[to], what);
        if !breaches
            .iter()
            .any(|breach| is_it(&breach.module, &breach.what))
        {
            faults.push(format!(
                "{from} has no {to} any more: take it out of known::BREACHES"
            ));
        }
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_circles_among_files() {
    let circles = HOUSE.circles();
    let mut faults = Vec::new();
    for circle in &circles {
        print!("{circle}");
        if !known::CIRCLES.iter().any(|known| **known == circle.files) {
            faults.push(format!("a circle that is not known: {circle}"));
        }
    }
    for known in known::CIRCLES {
        if !circles.iter().any(|circle| circle.files == **known) {
            let files = known.join(", ");
            faults.push(format!(
                "not these files any more, take it out of known::CIRCLES: {files}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_belongs_to_a_crate() {
    assert!(
        HOUSE.strays.is_empty(),
        "no `mod` leads to {:?}",
        HOUSE.strays
    );
}

#[test]
fn unsafe_stays_in_os_and_each_has_its_reason() {
    let faults = HOUSE.unsafe_code("metronome_os");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        HOUSE
            .files
            .iter()
            .any(|file| file.text.contains("// SAFETY: "))
    );
}

#[test]
fn every_file_says_what_it_is_and_none_becomes_an_attic() {
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
        let is_known = known::TOO_LONG.contains(&path.as_str());
        if lines > LINES_MAX && !is_known {
            faults.push(format!(
                "{path} has {lines} lines: which subject can leave it?"
            ));
        }
        if lines <= LINES_MAX && is_known {
            faults.push(format!(
                "{path} is short enough: take it out of known::TOO_LONG"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
