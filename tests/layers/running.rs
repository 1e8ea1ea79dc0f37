//! What runs: who is async, and how threads are started.

use crate::sources::{
    file::Keyword::{Async, Await},
    rules::{WALL, Wall},
};

/// Only the control plane is async, and only it uses a runtime and gRPC.
pub(crate) const ASYNC: &[Wall] = &[
    Wall {
        of: &["metronome_server"],
        but: &[
            "metronome_server::control",
            "metronome_server::upgrade::drive",
            "metronome_server::upgrade::restore",
            "metronome_server::upgrade::stage",
        ],
        not: &["tokio", "tonic"],
        // Settings of TLS that a configuration holds: data, handed on by metronome_tls.
        except: &["tonic::transport::ServerTlsConfig"],
        no_keywords: &[Async, Await],
        ..WALL
    },
    Wall {
        of: &["metronome_agent"],
        but: &[
            "metronome_agent::remote",
            "metronome_agent::signals",
            "metronome_agent::standalone",
        ],
        not: &["tokio", "tonic"],
        // Settings of TLS that a configuration holds: data, handed on by metronome_tls.
        except: &["tonic::transport::ClientTlsConfig"],
        no_keywords: &[Async, Await],
        ..WALL
    },
    Wall {
        of: &["benchctl"],
        but: &[
            "benchctl::self",
            "benchctl::commands",
            "benchctl::client",
            "benchctl::embedded",
            "benchctl::live",
            "benchctl::measure",
        ],
        not: &["tokio"],
        no_keywords: &[Async, Await],
        ..WALL
    },
];

/// A thread that the system refuses is an error, and no panic: `Builder` starts it.
pub(crate) const THREADS: Wall = Wall {
    of: &[
        "metronome_proto",
        "metronome_os",
        "metronome_witness",
        "metronome_tls",
        "metronome_telemetry",
        "metronome_server",
        "metronome_agent",
        "benchctl",
    ],
    not: &["std::thread::spawn"],
    ..WALL
};
