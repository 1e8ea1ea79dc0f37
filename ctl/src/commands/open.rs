//! The system that a command measures with: a server that is there, or one of our own.

use std::time::Duration;

use metronome_proto::{limits::CLIENTS_MAX, v1::FailureCode};
use metronome_telemetry::whole_number;

use super::{context::Context, wait_ready::wait_ready};
use crate::{
    client::{self, Address},
    embedded,
    exit::{Failure, bad_flag, host_failed},
    flags::{self, Origin},
    measure::System,
    terminal::Progress,
};

/// Clients that the embedded server admits without --max-clients.
const MAX_CLIENTS_DEFAULT: u32 = 10;

/// Flags about the server and agent to measure with.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(super) struct SystemFlags {
    /// Wait up to this long, 1 ms to 24 h, for the server to answer and an agent to be there,
    /// instead of starting an embedded server.
    #[arg(
        long,
        value_name = "TIME",
        env = "METRONOME_WAIT",
        allow_hyphen_values = true,
        value_parser = flags::duration
    )]
    wait: Option<Duration>,

    /// Measure with a server and an agent of its own on free ports, whatever listens at the default
    /// address or is named by METRONOME_SERVER.
    #[arg(long, conflicts_with_all = ["wait", "detach"])]
    embedded: bool,

    /// Workers of the embedded server: 1 to 256. Not given: one for each core
    /// that the pacing threads leave, at least one.
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = whole_number(1..=flags::WORKERS_MAX)
    )]
    workers: Option<u32>,

    /// Clients that the embedded server admits; at least those of the load, of all groups
    /// together.
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = whole_number(1..=CLIENTS_MAX)
    )]
    max_clients: Option<u32>,
}

impl SystemFlags {
    /// A flag that means nothing to a server that is there already.
    fn flag_of_the_embedded_server(&self) -> Option<&'static str> {
        self.workers
            .map(|_| "--workers")
            .or(self.max_clients.map(|_| "--max-clients"))
    }
}

/// What the system has to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) clients: u32,
    /// Pacing threads of each agent.
    pub(super) pacing_threads: u32,
    /// Where the plan was given.
    pub(super) origin: &'a Origin,
    /// Agents by name, when not any agent will do.
    pub(super) agents: &'a [String],
    /// A flag that needs a server that stays, with the reason.
    pub(super) flag_of_a_lasting_server: Option<(&'static str, &'static str)>,
}

/// Finds a server or starts one.
pub(super) async fn open(
    context: &Context,
    flags: &SystemFlags,
    load: Load<'_>,
    progress: &mut Progress,
) -> Result<System, Failure> {
    if flags.embedded && context.has_server_flag {
        let problem = "runs a server of its own, and --server names another one; leave one out";
        return Err(bad_flag("--embedded", problem));
    }
    if let (true, Some((flag, _))) = (flags.embedded, load.flag_of_a_lasting_server) {
        let problem = "is about agents of a running server, and --embedded runs an agent of its \
                       own; leave one out";
        return Err(bad_flag(flag, problem));
    }
    if let (Some(_), Some(flag)) = (flags.wait, flags.flag_of_the_embedded_server()) {
        let problem = "is for an embedded server, and --wait waits for another; leave one out";
        return Err(bad_flag(flag, problem));
    }
    if flags.embedded {
        return start_embedded(flags, load, "--embedded", progress).await;
    }
    let found = match flags.wait {
        Some(wait_max) => Some(wait_ready(context, wait_max, load.agents, progress).await?),
        None => context
            .connect_if_any()
            .await
            .map_err(|failure| with_way_out(context, failure))?,
    };
    let Some(client) = found else {
        let why = format!("no server at {}", Address::default());
        return start_embedded(flags, load, &why, progress).await;
    };
    if let Some(flag) = flags.flag_of_the_embedded_server() {
        let address = client.address();
        let problem = format!(
            "is for an embedded server, and a server is there at {address}; give it to that server"
        );
        return Err(bad_flag(flag, problem));
    }
    Ok(System::new(client.naming(load.origin.clone()), None))
}

/// Where no server was named, what is at the default address need not be in the way.
fn with_way_out(context: &Context, failure: Failure) -> Failure {
    let is_in_the_way = matches!(
        failure.code(),
        FailureCode::ServerIncompatible
            | FailureCode::ServerNotTrusted
            | FailureCode::ServerSilent
            | FailureCode::ServerLost
    );
    if context.server.is_some() || !is_in_the_way {
        return failure;
    }
    Failure {
        remedy: "measure with a server of its own by --embedded, or name a server with --server; \
                 one with TLS as https://HOST:PORT"
            .into(),
        ..failure
    }
}

async fn start_embedded(
    flags: &SystemFlags,
    load: Load<'_>,
    why: &str,
    progress: &mut Progress,
) -> Result<System, Failure> {
    let default = Address::default();
    if let Some((flag, problem)) = load.flag_of_a_lasting_server {
        let problem = format!(
            "{problem}, and none listens at {default}; start `metronome-server` and \
             `metronome-agent`, or leave the flag out"
        );
        return Err(bad_flag(flag, problem));
    }
    let max_clients = flags.max_clients.unwrap_or(MAX_CLIENTS_DEFAULT);
    let embedded = embedded::System::start(embedded::Settings {
        max_clients: max_clients.max(load.clients),
        workers: flags.workers,
        pacing_threads: load.pacing_threads,
        database: None,
    })
    .await?;
    let (server_pid, agent_pid) = embedded.pids();
    progress.note(&format!(
        "{why}: started a server (pid {server_pid}) and an agent (pid {agent_pid}) \
         for this run"
    ));
    let address = embedded
        .grpc_address()
        .parse::<Address>()
        .map_err(host_failed)?;
    // On loopback and for this run: nothing is encrypted.
    let client = client::connect(&address, None).await?;
    Ok(System::new(
        client.naming(load.origin.clone()),
        Some(embedded),
    ))
}
