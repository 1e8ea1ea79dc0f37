//! An agent that a server controls: it dials the server, holds a stream with it, and dials again
//! whenever the stream is lost.
//!
//! ```text
//!  reconnect     one session after the other
//!  dial          reaching the server
//!  session_failure  what only an agent makes of a session that failed
//!  session       the messages of one stream
//!  resume_token  what gives the agent its place back on the next stream
//!  runs          the runs of this agent: they outlive a stream
//!  environment   where this agent runs
//!  run           the steps of one run, on a plain thread of its own
//! ```

mod dial;
mod environment;
mod reconnect;
mod resume_token;
mod run;
mod run_handle;
mod run_replies;
mod run_trace;
mod runs;
mod session;
mod session_failure;
mod watch;

use std::{io, process::ExitCode};

use metronome_os::process::raise_open_files_limit;
use metronome_telemetry::command_line;

use crate::{config::RemoteConfig, signals};

/// Carries out the runs of the server of `config` until SIGTERM or SIGINT, whatever happens to the
/// server.
pub(crate) fn run(config: &RemoteConfig) -> ExitCode {
    raise_open_files_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let code = runtime.block_on(async {
        match signals::shutdown_token() {
            Ok(shutdown) => {
                reconnect::serve(config, &shutdown).await;
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error),
        }
    });
    // A name server that does not answer must not hold up the end.
    runtime.shutdown_background();
    code
}

fn failed(error: &io::Error) -> ExitCode {
    command_line::write_error(&format_args!("the agent cannot start: {error}"));
    ExitCode::FAILURE
}
