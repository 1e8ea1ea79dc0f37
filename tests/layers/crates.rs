//! What each crate may use of the others.

use crate::sources::rules::{WALL, Wall};

/// The executables never import each other; benchctl carries the other two in one module.
pub(crate) const CRATES: &[Wall] = &[
    Wall {
        of: &["metronome_proto"],
        not: &[
            "metronome_os",
            "metronome_witness",
            "metronome_telemetry",
            "metronome_tls",
            "metronome_web",
            "metronome_server",
            "metronome_agent",
            "benchctl",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_web"],
        not: &[
            "metronome_os",
            "metronome_witness",
            "metronome_telemetry",
            "metronome_tls",
            "metronome_server",
            "metronome_agent",
            "benchctl",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_os"],
        not: &[
            "metronome_proto",
            "metronome_witness",
            "metronome_telemetry",
            "metronome_tls",
            "metronome_web",
            "metronome_server",
            "metronome_agent",
            "benchctl",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_witness"],
        not: &[
            "metronome_telemetry",
            "metronome_tls",
            "metronome_web",
            "metronome_server",
            "metronome_agent",
            "benchctl",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_tls"],
        not: &[
            "metronome_proto",
            "metronome_os",
            "metronome_witness",
            "metronome_telemetry",
            "metronome_web",
            "metronome_server",
            "metronome_agent",
            "benchctl",
        ],
        // Reading a file of certificates, and who may read that of a private key.
        except: &["metronome_os::files", "metronome_os::key_file"],
        ..WALL
    },
    Wall {
        of: &["metronome_telemetry"],
        not: &[
            "metronome_proto",
            "metronome_witness",
            "metronome_tls",
            "metronome_web",
            "metronome_server",
            "metronome_agent",
            "benchctl",
        ],
        ..WALL
    },
    Wall {
        of: &["metronome_server", "metronome_server_main"],
        not: &["metronome_agent", "benchctl"],
        ..WALL
    },
    Wall {
        of: &["metronome_agent", "metronome_agent_main"],
        not: &["metronome_web", "metronome_server", "benchctl"],
        ..WALL
    },
    Wall {
        of: &["benchctl"],
        but: &["benchctl::embedded"],
        not: &["metronome_server", "metronome_agent"],
        ..WALL
    },
];
