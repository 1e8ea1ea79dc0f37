//! An agent that a server controls: dials the server, holds its stream, and dials again whenever
//! the stream is lost.
//!
//! The messages of the stream are in [`session`], the steps of one run in [`run`]. The runs
//! belong to the agent and outlive a stream ([`runs`]).

mod run;
mod run_handle;
mod run_trace;
mod runs;
mod session;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use metronome_proto::{MESSAGE_BYTES_MAX, v1::agent_service_client::AgentServiceClient};
use tonic::{Code, Status, transport::Channel};

use crate::{
    config::RemoteConfig,
    net::{backoff, open_files},
    signals::Signals,
};
use runs::Runs;
use session::{SHUTDOWN_TIME_MAX, Session};

/// To reach the server and be answered.
const DIAL_TIME_MAX: Duration = Duration::from_secs(5);
/// HTTP/2 pings on the stream, so that a dead path is noticed.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// A stream that held this long is worth a try at once when it is lost: the server was upgraded, or
/// the network blinked. One that did not is a server that would be dialled in a loop.
const HELD_LONG: Duration = Duration::from_secs(1);

/// Why a stream is over.
#[derive(Debug)]
enum Over {
    /// This agent was told to stop.
    ShutDown,
    /// The server ended it or went away: one sentence.
    Lost(String),
}

/// Serves the server of `config` until SIGTERM or SIGINT, whatever happens to the server.
pub(crate) fn run(config: &RemoteConfig) -> ExitCode {
    open_files::raise_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let code = runtime.block_on(async {
        match Signals::new() {
            Ok(mut signals) => run_sessions(config, &mut signals).await,
            Err(error) => failed(&error),
        }
    });
    // A name server that does not answer must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn run_sessions(config: &RemoteConfig, signals: &mut Signals) -> ExitCode {
    let (mut failures, mut ready, mut told) = (0, false, String::new());
    let mut runs = Runs::new();
    loop {
        let (mut welcomed, begun_at) = (false, Instant::now());
        let mut on_welcome = || {
            welcomed = true;
            if !std::mem::replace(&mut ready, true) {
                announce(config);
            }
        };
        let reason = match run_session(config, &mut runs, signals, &mut on_welcome).await {
            Over::ShutDown => break,
            Over::Lost(reason) => reason,
        };
        failures = if welcomed {
            u32::from(begun_at.elapsed() < HELD_LONG)
        } else {
            failures + 1
        };
        // A server that stays away is worth one line, not one a try.
        if welcomed || reason != told {
            tracing::warn!("{reason}; trying again until it is there");
        }
        told = reason;
        let wait = if failures == 0 {
            Duration::ZERO
        } else {
            backoff::wait_after(failures, backoff::jitter())
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = signals.next() => break,
        }
    }
    runs.abort_and_wait(SHUTDOWN_TIME_MAX).await;
    ExitCode::SUCCESS
}

/// One stream, from dialling to its end.
async fn run_session(
    config: &RemoteConfig,
    runs: &mut Runs,
    signals: &mut Signals,
    welcomed: &mut dyn FnMut(),
) -> Over {
    let opening = async {
        let channel = dial(config)
            .await
            .map_err(|error| unreachable(config, &error))?;
        let client = AgentServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Session::open(config, runs, client)
            .await
            .map_err(|status| refused(config, &status))
    };
    tokio::select! {
        opened = opening => match opened {
            Ok(session) => match session.serve(signals, welcomed).await {
                Ok(()) => Over::ShutDown,
                Err(status) => Over::Lost(refused(config, &status)),
            },
            Err(reason) => Over::Lost(reason),
        },
        () = signals.next() => Over::ShutDown,
    }
}

async fn dial(config: &RemoteConfig) -> Result<Channel, tonic::transport::Error> {
    let mut endpoint = Channel::builder(config.server.clone())
        .connect_timeout(DIAL_TIME_MAX)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER_TIME_MAX)
        .keep_alive_while_idle(true);
    if let Some(tls) = &config.tls {
        endpoint = endpoint.tls_config(tls.clone())?;
    }
    endpoint.connect().await
}

/// The one line on standard output: whoever started this agent waits for it.
fn announce(config: &RemoteConfig) {
    // Nobody may be listening, which is no reason to stop.
    let mut stdout = io::stdout();
    let _ = writeln!(
        stdout,
        "metronome-agent ready: name {} server {}",
        config.name,
        url(config)
    );
    let _ = stdout.flush();
}

fn url(config: &RemoteConfig) -> String {
    config.server.to_string().trim_end_matches('/').into()
}

fn unreachable(config: &RemoteConfig, error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("no server answers at {}: {cause}", url(config))
}

fn refused(config: &RemoteConfig, status: &Status) -> String {
    match status.code() {
        Code::AlreadyExists => {
            format!(
                "the server at {} lists another agent of the name {:?}",
                url(config),
                config.name
            )
        }
        code => format!(
            "the stream to the server at {} ended ({code:?}): {}",
            url(config),
            status.message()
        ),
    }
}

fn failed(error: &io::Error) -> ExitCode {
    eprintln!("error: the agent cannot start: {error}");
    ExitCode::FAILURE
}
