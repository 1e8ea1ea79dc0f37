//! The load generator: an agent that a server controls, and `metronome-agent run`, which needs no
//! server.
//!
//! For programs around an agent:
//!
//! | item | subject |
//! |---|---|
//! | [`Agent`] | a whole agent as the `main` of a program of yours |
//! | [`payload`] | code of yours that gives the packets their payload |
//! | [`run`], [`Args`], [`args_of`] | an agent without such code inside another executable |
//!
//! How it is built:
//!
//! ```text
//!  remote       one gRPC stream to the server; one plain thread per run              (async)
//!  standalone   `metronome-agent run`: the same load from flags alone      (async: its signals)
//!      │ an Assignment, then a start instant; a StopSignal that may be set at any time
//!      ▼
//!  connections  opened before the first packet is due, ended after the last one
//!      ▼
//!  load         pacing threads: wait, stamp, write
//!      ▼
//!  payload      what the bytes behind a packet's header are
//!      ▼
//!  net          targets that may be loaded, sockets
//! ```
//!
//! Invariants: no packet leaves before the target has proved that it takes part in the run; none
//! leaves early; every packet of the schedule is either sent or counted as skipped; no pacing
//! thread waits for the control side, or for anything but its schedule.
//!
//! Absent on purpose: latency (the receiver measures it) and verdicts (the server judges).

mod command_line;
mod config;
mod connections;
mod load;
mod net;
pub mod payload;
mod probes;
mod refusal;
mod remote;
mod signals;
mod standalone;
mod stop_signal;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

use std::{env, process::ExitCode};

use metronome_os::signals::die_of_interrupt;
use metronome_telemetry::{Logs, Telemetry};

pub use command_line::args_of;
pub use config::Args;
use config::{Command, RemoteConfig};
use payload::PayloadSources;

/// For gRPC, and for the resolver of names.
const THREADS: usize = 2;

/// The threads of an agent besides its first one and those of its runs.
#[doc(hidden)]
#[must_use]
pub fn threads() -> usize {
    THREADS + metronome_telemetry::threads()
}

/// Runs an agent until it is asked to stop, or one load to its end. Blocks, with an async runtime
/// of its own.
///
/// Exit codes: 0 stopped in good order or a load that went as asked, 1 anything that failed, 2 bad
/// flags, 4 a load that was not what was asked for, 130 after Ctrl-C on `run`.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    Agent::new().run(args)
}

/// An agent as a program of yours: `metronome-agent`, and payload sources if you give some.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use metronome_agent::{
///     Agent,
///     payload::{PacketId, PayloadSource, PayloadSources},
/// };
///
/// /// What each packet has is its own sequence.
/// struct Sequences;
///
/// impl PayloadSource for Sequences {
///     fn fill(&self, packet: PacketId<'_>, payload: &mut [u8]) {
///         let sequence = packet.sequence.to_le_bytes();
///         payload.iter_mut().zip(sequence).for_each(|(byte, of)| *byte = of);
///     }
/// }
///
/// fn main() -> ExitCode {
///     let mut sources = PayloadSources::default();
///     sources.register("sequences", Sequences).expect("the only source");
///     Agent::new().payload_sources(sources).main()
/// }
/// ```
///
/// Plans ask for a source by its name, as for a file of the agent. `metronome-agent run` has no
/// plan and asks for none.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    sources: PayloadSources,
}

impl Agent {
    /// An agent that calls no code of yours.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has plans ask for these sources.
    #[must_use]
    pub fn payload_sources(mut self, sources: PayloadSources) -> Self {
        self.sources = sources;
        self
    }

    /// The whole `main` of an agent: it does what the flags of the command line ask for. Call it
    /// with no other thread running.
    #[must_use]
    pub fn main(self) -> ExitCode {
        if let Err(code) = metronome_os::start::prepare(threads) {
            return code;
        }
        self.run(args_of(env::args_os()))
    }

    /// Runs it until it is asked to stop, or one load to its end, as [`run`] does and with the same
    /// exit codes.
    #[must_use]
    pub fn run(self, args: Args) -> ExitCode {
        run_with(args, self.sources)
    }
}

fn run_with(args: Args, sources: PayloadSources) -> ExitCode {
    let is_json = args.asks_for_json();
    match args.command {
        Some(Command::Run(flags)) => {
            let logs = Logs {
                filter: "warn",
                ..Logs::default()
            };
            let code = observed(&logs, is_json, || standalone::run(*flags));
            if signals::by_ctrl_c() {
                // A shell goes on with its loop after a command that caught Ctrl-C and exited.
                die_of_interrupt();
            }
            code
        }
        None => match RemoteConfig::try_from(args.remote) {
            Ok(mut config) => {
                config.payloads.sources = sources;
                observed(&config.logs, is_json, || remote::run(&config))
            }
            Err(error) => refusal::refuse(error.flag(), &error.to_string(), is_json),
        },
    }
}

/// Does `work` with logs and traces on.
fn observed(logs: &Logs, is_json: bool, work: impl FnOnce() -> ExitCode) -> ExitCode {
    match Telemetry::start("metronome-agent", logs) {
        Ok(telemetry) => {
            let code = work();
            telemetry.finish();
            code
        }
        // Only a file can fail.
        Err(error) => refusal::refuse("--log-file", &error, is_json),
    }
}
