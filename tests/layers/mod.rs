//! The layers: what each crate and each module of it may use.
//!
//! | table | between |
//! |---|---|
//! | [`CRATES`] | crates |
//! | [`SERVER`], [`CONTROL`], [`AGENT`], [`CTL`] | modules of one crate |
//! | [`BARE`], [`API_TYPES`] | modules and other crates of ours |
//! | [`PURE`], [`CONTRACT`], [`ASYNC`], [`THREADS`] | modules and the outside world |

mod crates;
mod running;

pub(crate) use self::{
    crates::CRATES,
    running::{ASYNC, THREADS},
};
use crate::sources::{
    file::Keyword::{Async, Await},
    rules::{Layers, WALL, Wall},
};

/// The parts of `control`: entered by what their own modules declare and re-export.
pub(crate) const PARTS: &[&str] = &[
    "metronome_server::control::api",
    "metronome_server::control::runs",
    "metronome_server::control::agents",
    "metronome_server::control::feed",
    "metronome_server::control::monitor",
    "metronome_server::control::page",
    "metronome_server::control::lifecycle",
];

/// The messages of the API are generated: no source shows what is in their module.
pub(crate) const GENERATED: &str = "metronome_proto::v1::";

/// The modules of the server, from the lowest to the highest.
pub(crate) const SERVER: Layers = Layers {
    within: "metronome_server",
    modules: &[
        ("model", &[]),
        ("rx_batching", &[]),
        ("wall_clock", &[]),
        ("verdict", &["model"]),
        ("metrics", &["model"]),
        ("ledger", &["model"]),
        ("handler", &["ledger"]),
        ("ipc", &["ledger", "model", "rx_batching"]),
        (
            "worker",
            &["handler", "ipc", "ledger", "model", "rx_batching"],
        ),
        ("config", &["ledger", "rx_batching"]),
        ("store", &["config", "wall_clock"]),
        ("upgrade", &["ipc", "ledger", "metrics", "model"]),
        (
            "master",
            &["ipc", "ledger", "model", "rx_batching", "upgrade"],
        ),
        (
            "control",
            &[
                "config",
                "ledger",
                "master",
                "metrics",
                "model",
                "store",
                "upgrade",
                "verdict",
                "wall_clock",
            ],
        ),
        (
            "testing",
            &[
                "control", "ipc", "ledger", "master", "metrics", "model", "upgrade", "verdict",
            ],
        ),
    ],
};

/// The seven parts of `control` and what all of them use, from the lowest to the highest.
pub(crate) const CONTROL: Layers = Layers {
    within: "metronome_server::control",
    modules: &[
        ("status", &[]),
        ("server_info", &[]),
        ("master_client", &[]),
        ("own_pauses", &[]),
        ("feed", &["master_client"]),
        ("agents", &["feed", "own_pauses", "status"]),
        (
            "runs",
            &[
                "agents",
                "feed",
                "master_client",
                "own_pauses",
                "server_info",
                "status",
            ],
        ),
        (
            "monitor",
            &["agents", "feed", "master_client", "runs", "server_info"],
        ),
        (
            "shared",
            &["agents", "master_client", "monitor", "runs", "server_info"],
        ),
        (
            "api",
            &[
                "agents",
                "feed",
                "master_client",
                "monitor",
                "runs",
                "shared",
                "status",
            ],
        ),
        ("page", &["api", "monitor", "shared", "status"]),
        (
            "lifecycle",
            &[
                "api",
                "feed",
                "master_client",
                "monitor",
                "page",
                "runs",
                "server_info",
                "shared",
            ],
        ),
    ],
};

/// The modules of the agent, from the lowest to the highest.
pub(crate) const AGENT: Layers = Layers {
    within: "metronome_agent",
    modules: &[
        ("stop_signal", &[]),
        ("signals", &[]),
        ("refusal", &[]),
        ("net", &["stop_signal"]),
        ("payload", &["net", "stop_signal"]),
        ("load", &["net", "payload", "stop_signal"]),
        ("connections", &["load", "net", "stop_signal"]),
        ("probes", &["connections", "load", "net", "stop_signal"]),
        (
            "standalone",
            &[
                "connections",
                "load",
                "net",
                "refusal",
                "signals",
                "stop_signal",
            ],
        ),
        ("config", &["load", "net", "payload", "standalone"]),
        ("command_line", &["config", "refusal"]),
        (
            "remote",
            &[
                "config",
                "connections",
                "load",
                "net",
                "payload",
                "probes",
                "signals",
                "stop_signal",
            ],
        ),
        ("testing", &["load", "net", "payload", "stop_signal"]),
    ],
};

/// The modules of benchctl, from the lowest to the highest.
pub(crate) const CTL: Layers = Layers {
    within: "benchctl",
    modules: &[
        ("flags", &[]),
        ("plans", &["flags"]),
        ("exit", &["flags"]),
        ("output", &[]),
        ("settings", &[]),
        ("client", &["exit", "flags"]),
        ("embedded", &["exit", "flags"]),
        ("measure", &["client", "embedded", "exit"]),
        ("manual", &["embedded"]),
        ("doctor", &["exit"]),
        ("render", &["doctor", "settings"]),
        ("live", &["render"]),
        ("terminal", &["exit", "live", "output", "render"]),
        (
            "commands",
            &[
                "client", "doctor", "embedded", "exit", "flags", "manual", "measure", "output",
                "plans", "render", "settings", "terminal",
            ],
        ),
        (
            "cli",
            &["client", "commands", "exit", "output", "render", "terminal"],
        ),
    ],
};

/// All crates that are layered.
pub(crate) const LAYERS: &[Layers] = &[SERVER, CONTROL, AGENT, CTL];

/// What judges and records uses no crate of ours but the contract, and the pure sanitiser of
/// foreign text.
pub(crate) const BARE: Wall = Wall {
    of: &[
        "metronome_server::model",
        "metronome_server::rx_batching",
        "metronome_server::verdict",
        "metronome_server::metrics",
    ],
    not: &[
        "metronome_os",
        "metronome_witness",
        "metronome_telemetry",
        "metronome_tls",
    ],
    except: &["metronome_telemetry::sanitise"],
    ..WALL
};

/// The messages of the API stay out of what counts.
pub(crate) const API_TYPES: &[Wall] = &[
    Wall {
        of: &[
            "metronome_server::ledger",
            "metronome_server::ipc",
            "metronome_server::worker",
            "metronome_server::master",
        ],
        not: &["metronome_proto::v1"],
        // The one list of what a worker counts: a counter that is added there is in the ledger.
        except: &["metronome_proto::v1::ReceiverCounts"],
        ..WALL
    },
    Wall {
        of: &["metronome_server::upgrade"],
        but: &["metronome_server::upgrade::state"],
        not: &["metronome_proto::v1"],
        // The state of a run that cannot be handed over.
        except: &["metronome_proto::v1::RunState"],
        ..WALL
    },
];

/// What decides has no clock, no socket, no file and no async: time and data are arguments.
pub(crate) const PURE: Wall = Wall {
    of: &[
        "metronome_proto",
        "metronome_os::end_requests",
        "metronome_os::realtime::budget",
        "metronome_witness::idle_timer",
        "metronome_witness::points",
        "metronome_telemetry::conventions",
        "metronome_telemetry::rate_limited_log",
        "metronome_telemetry::sanitise",
        "metronome_web",
        "metronome_server::model",
        "metronome_server::verdict",
        "metronome_server::metrics",
        "metronome_server::rx_batching",
        "metronome_server::worker::runs_read",
        "metronome_server::ledger",
        "metronome_server::upgrade::state",
        "metronome_server::master::connection_table",
        "metronome_server::master::run_counters",
        "metronome_server::master::run_table",
        "metronome_server::master::worker_pool::deaths",
        "metronome_server::master::worker_pool::placement",
        "metronome_server::master::worker_pool::rolling",
        "metronome_server::control::agents::assign_clients",
        "metronome_server::control::agents::unresponsive",
        "metronome_server::control::api::list_agents",
        "metronome_server::control::api::page_token",
        "metronome_server::control::feed::log",
        "metronome_server::control::feed::selection",
        "metronome_server::control::feed::worker_changes",
        "metronome_server::control::lifecycle::hang_up",
        "metronome_server::control::lifecycle::places",
        "metronome_server::control::monitor::push::otlp",
        "metronome_server::control::page::hosts",
        "metronome_server::control::page::query",
        "metronome_server::control::runs::credible",
        "metronome_server::control::runs::live_snapshot",
        "metronome_server::control::runs::live_round_trips",
        "metronome_server::control::runs::agreed",
        "metronome_server::control::runs::series",
        "metronome_server::control::runs::share_bounds",
        "metronome_server::control::runs::shares",
        "metronome_agent::connections::outlook",
        "metronome_agent::load::assignment",
        "metronome_agent::load::client_counters",
        "metronome_agent::load::due_times",
        "metronome_agent::load::echo",
        "metronome_agent::load::kernel_acknowledged",
        "metronome_agent::load::pacing",
        "metronome_agent::load::phase",
        "metronome_agent::load::replies::live_replies",
        "metronome_agent::load::replies::outcome",
        "metronome_agent::load::replies::small_histogram",
        "metronome_agent::load::replies::stream",
        "metronome_agent::load::replies::times",
        "metronome_agent::load::streams",
        "metronome_agent::load::threads",
        "metronome_agent::net::backoff",
        "metronome_agent::net::socket_error",
        "metronome_agent::probes::log",
        "metronome_agent::probes::open_probes",
        "metronome_agent::remote::resume_token",
        "metronome_agent::standalone::remedy",
        "benchctl::client::address",
        "benchctl::doctor::capacity",
        "benchctl::doctor::finding",
        "benchctl::doctor::judge",
        "benchctl::doctor::load",
        "benchctl::doctor::path",
        "benchctl::doctor::search",
        "benchctl::doctor::shares",
        "benchctl::doctor::trial",
        "benchctl::flags",
        "benchctl::plans",
        "benchctl::render",
    ],
    not: &[
        "std::env",
        "std::fs",
        "std::io::stderr",
        "std::io::stdin",
        "std::io::stdout",
        "std::net::TcpListener",
        "std::net::TcpStream",
        "std::net::ToSocketAddrs",
        "std::net::UdpSocket",
        "std::os::unix::net",
        "std::process",
        "std::thread",
        "std::time::Instant",
        "std::time::SystemTime",
        "metronome_os",
        "metronome_telemetry",
        "metronome_tls",
        "fastrand",
        "getrandom",
        "libc",
        "rusqlite",
        "rustix",
        "socket2",
        "tokio",
        "tonic",
        "tracing",
    ],
    except: &[
        // The memory that the ledger lies in.
        "metronome_os::memory",
        // What a signal came from, whether there is a terminal.
        "metronome_os::hang_ups::Origin",
        "metronome_os::hang_ups::Terminal",
        // The name of a process, the number of an error.
        "rustix::process::Pid",
        "rustix::io::Errno",
        // The client code of the API, generated into the contract.
        "tonic::include_proto",
        // The errors of gRPC: data, of which a failure is made.
        "tonic::Code",
        "tonic::ConnectError",
        "tonic::Status",
        "tonic::TimeoutExpired",
    ],
    no_keywords: &[Async, Await],
    no_methods: &["elapsed"],
    ..WALL
};

/// The contract is for any program: no flags, no telemetry, no runtime, no clock, no sockets.
pub(crate) const CONTRACT: Wall = Wall {
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
    ],
    // An address as text has to be one; no socket is involved.
    except: &["std::net::Ipv6Addr"],
    ..WALL
};

/// Every wall.
pub(crate) fn all() -> impl Iterator<Item = &'static Wall> {
    let tables = [CRATES, API_TYPES, ASYNC];
    let walls = tables.into_iter().flatten();
    walls.chain([&BARE, &PURE, &CONTRACT, &THREADS])
}
