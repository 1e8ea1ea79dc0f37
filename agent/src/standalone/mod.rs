//! `metronome-agent run`: one load from flags alone, without a server that controls it.
//!
//! It replaces the Python client of the system before Metronome and has the same flags. Packets are
//! raw by default; with a key file they follow the full protocol, in the *static run* that a server
//! with the same key file keeps: run id 0, agent 0. Only the side of the generator is measured, not
//! what the target received.

mod flags;
mod json;
mod remedy;
mod summary;

use std::{convert::Infallible, process::ExitCode, sync::Arc, thread, time::Duration};

use metronome_os::{
    clock,
    process::raise_open_files_limit,
    standard_error,
    standard_output::{self, write_result},
};
use metronome_proto::v1::{ClientRecord, Failure, FailureCode};
use metronome_telemetry::sanitise::Escaped;
use tokio::sync::oneshot;

use crate::{
    connections::{
        connect::{connect_all, resolve_all},
        drain::drain,
        outlook::SharedOutlook,
    },
    load::{
        client::Client,
        generator::{NotGenerated, generate},
        live_counters,
        packets::Packets,
    },
    refusal,
    signals::Signals,
    stop_signal::{StopMode, StopSignal},
};
pub(crate) use flags::RunArgs;
use flags::{Output, RunConfig};
use remedy::with_own_flags;
use summary::Summary;

/// Time from connected to the first packet: enough to start the pacing threads, ns.
const START_IN_NS: u64 = 10_000_000;

/// How often a load that is not connected yet looks at what stands in its way.
const OBSTACLES_EVERY: Duration = Duration::from_millis(500);

/// Exit code after Ctrl-C, which a shell gives a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// How [`run`] ends, for its help.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    the load went as asked
  1    it could not be done: no connection, a client that was refused, one that broke
  2    usage: a flag, a variable or a value is not allowed
  4    the load ran to its end and was not what was asked for: less than 99 % was sent, or not all
       of it was acknowledged
  130  after Ctrl-C, SIGTERM or the end of the terminal: the summary of what was sent is still
       printed; a second one aborts at once. Ctrl-C ends the process by its signal, which a shell
       shows as 130";

/// Carries out the load of `args` and prints the result.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    let (startup_delay, output, is_json) = (args.startup_delay, args.output, args.asks_for_json());
    let config = match RunConfig::try_from(args) {
        Ok(config) => config,
        Err(error) => return refusal::refuse(&error.flag(), &error.to_string(), is_json),
    };
    raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime
            .block_on(supervise(config, startup_delay, output))
            .unwrap_or_else(|failure| report(failure, output)),
        Err(error) => report(internal(&error.to_string()), output),
    }
}

/// The result of a load: its figures, or why there are none.
type Outcome = Result<Summary, Failure>;

/// Starts the load on a thread of its own and waits for it, or for signals.
async fn supervise(
    config: RunConfig,
    startup_delay: Duration,
    output: Output,
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new().map_err(|error| internal(&error.to_string()))?;
    tokio::select! {
        () = tokio::time::sleep(startup_delay) => {}
        () = signals.next() => return Err(interrupted("stopped before anything was connected")),
    }
    let stop_signal = Arc::new(StopSignal::without_lease());
    let outlook = Arc::<SharedOutlook>::default();
    let (done, mut loaded) = oneshot::channel::<Outcome>();
    let (thread_stop, thread_outlook) = (stop_signal.clone(), outlook.clone());
    let load = move || {
        // After a second Ctrl-C the receiver is gone.
        let _ = done.send(load(&config, &thread_outlook, &thread_stop));
    };
    let thread = thread::Builder::new().name("run".into()).spawn(load);
    thread.map_err(|error| NotGenerated::NoThread(error).failure())?;
    let (outcome, is_interrupted) = tokio::select! {
        outcome = watch(&mut loaded, &mut signals, &stop_signal) => outcome,
        never = show_obstacles(&outlook) => match never {},
    };
    match outcome {
        Some(Ok(summary)) => {
            let text = match output {
                Output::Text => summary.text(standard_output::columns()),
                Output::Json => json::result(&summary),
            };
            write_result(&text)
                .map_err(|error| internal(&format!("standard output takes no more: {error}")))?;
            Ok(ExitCode::from(if is_interrupted {
                INTERRUPTED
            } else {
                summary.exit_code()
            }))
        }
        Some(Err(_)) if is_interrupted => Err(interrupted(
            "stopped before all clients were connected; no packet was sent",
        )),
        None if is_interrupted => Err(interrupted("stopped before the load had come to its end")),
        Some(Err(failure)) => Err(failure),
        None => Err(internal("the load ended without a result")),
    }
}

/// The load's outcome, and whether a signal came before it. The first signal stops the load in good
/// order; a second one does not wait for that.
async fn watch(
    loaded: &mut oneshot::Receiver<Outcome>,
    signals: &mut Signals,
    stop_signal: &StopSignal,
) -> (Option<Outcome>, bool) {
    tokio::select! {
        outcome = &mut *loaded => return (outcome.ok(), false),
        () = signals.next() => stop_signal.request(StopMode::Abort),
    }
    tokio::select! {
        outcome = loaded => (outcome.ok(), true),
        () = signals.next() => (None, true),
    }
}

/// Writes what stands between the clients and the target, once for each kind, for a user who would
/// else wait before an empty line.
async fn show_obstacles(outlook: &SharedOutlook) -> Infallible {
    let mut shown = Vec::new();
    loop {
        tokio::time::sleep(OBSTACLES_EVERY).await;
        let obstacle = outlook.lock().report(clock::now_ns()).flatten();
        let Some(obstacle) = obstacle.filter(|it| !shown.contains(&it.code())) else {
            continue;
        };
        shown.push(obstacle.code());
        standard_error::write_line(&format!("waiting: {}", Escaped(&obstacle.sentence)));
    }
}

/// Connect, generate, drain.
fn load(config: &RunConfig, outlook: &SharedOutlook, stop_signal: &StopSignal) -> Outcome {
    let assignment = &config.assignment;
    let addresses =
        resolve_all(assignment, &config.allowed, outlook).map_err(|error| error.failure())?;
    let packets = assignment
        .shares
        .iter()
        .map(|of| Packets::of_share(&of.share, None));
    let clients = connect_all(
        assignment,
        &packets.collect::<Vec<_>>(),
        &addresses,
        assignment.connected_by_ns(clock::now_ns()),
        outlook,
        stop_signal,
    )
    .map_err(|not_connected| not_connected.failure)?;
    let live_counters = live_counters::of_threads(assignment);
    let start_ns = clock::now_ns() + START_IN_NS;
    let generated = generate(
        clients,
        assignment,
        start_ns,
        config.pacing,
        stop_signal,
        &live_counters,
    );
    let (mut clients, measured) = generated.map_err(|error| error.failure())?;
    let end_ns = clock::now_ns();
    let is_stopped = stop_signal.requested(end_ns).is_some();
    drain(&mut clients, stop_signal, None);
    let records = clients.iter().map(record).collect();
    let taken_ns = end_ns.saturating_sub(start_ns);
    Ok(Summary::new(
        config, records, &measured, taken_ns, is_stopped,
    ))
}

/// The figures of one client.
fn record(client: &Client) -> ClientRecord {
    let record = client.record();
    let failure = record.failure.map(with_own_flags);
    ClientRecord { failure, ..record }
}

/// Prints why there are no figures, and the way out; in JSON on standard output too.
fn report(failure: Failure, output: Output) -> ExitCode {
    let failure = with_own_flags(failure);
    let Failure {
        sentence, remedy, ..
    } = &failure;
    let text = format!("error: {}\n  {}", Escaped(sentence), Escaped(remedy));
    standard_error::write_line(text.trim_end());
    if let Output::Json = output {
        refusal::print(&failure);
    }
    match failure.code() {
        FailureCode::Interrupted => ExitCode::from(INTERRUPTED),
        _ => ExitCode::FAILURE,
    }
}

fn interrupted(sentence: &str) -> Failure {
    Failure::new(FailureCode::Interrupted, sentence)
}

fn internal(sentence: &str) -> Failure {
    Failure::new(FailureCode::Internal, sentence)
}
