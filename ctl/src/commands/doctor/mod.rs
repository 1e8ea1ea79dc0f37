//! `benchctl doctor`: what this host holds, shown by real runs; whether the rest is there, and how
//! to cure what is not. Or, with --agents, what the paths to agents promise.

mod agents;
mod runs;

use std::time::Duration;

use metronome_proto::profile::{Profile, hz};
use metronome_telemetry::whole_number;
use tokio::{net::TcpStream, time::timeout};

use self::runs::Wanted;
use super::{context::Context, interrupts::Interrupts};
use crate::{
    client::Client,
    doctor::{
        Examination, GoingOn,
        finding::{Finding, Level},
        host,
        judge::{self, remote},
        load::Load,
        priority,
    },
    exit::{Exit, Failure, bad_flag, interrupted},
    flags,
    output::Output,
    render::{json, text},
    terminal::{self, Progress},
};

/// A data port on the same continent takes a connection in this time.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// The load to examine for, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clients of the load to judge for.
    #[arg(
        long,
        default_value = "10",
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = whole_number(1..=10_000_u32)
    )]
    clients: u32,

    /// Its packets per second of each client: 0.001 to 1000000; 10k is 10000.
    #[arg(
        long,
        default_value = "10k",
        value_name = "HZ",
        allow_hyphen_values = true,
        value_parser = flags::steady
    )]
    rate: Profile,

    /// Measure the load alone, and not what one pacing thread holds: about 3 s. With --agents: 8 s
    /// instead of 22 s, without a p99 of the probes, and with wider bounds.
    #[arg(long)]
    quick: bool,

    /// Measure the path between the server and each agent instead, or those of NAMES (a,b): round
    /// trips, offset and drift of the clocks with their bounds, MTU, segments sent again, probes
    /// that were lost; and print how far times between them can be trusted.
    ///
    /// A run with one client of 100 packets/s on each agent, deleted afterwards. Refused while the
    /// server has another run, and ended by one that begins.
    #[arg(
        long,
        value_name = "NAMES",
        num_args = 0..=1,
        value_delimiter = ',',
        value_parser = flags::agent_name,
        conflicts_with_all = ["clients", "rate"]
    )]
    agents: Option<Vec<String>>,
}

/// Examines everything and prints the findings.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let interrupts = Interrupts::listen()?;
    let mut progress = Progress::new(context.quiet);
    if let Some(names) = &args.agents {
        let paths = agents::measure(context, names, args.quick, &interrupts, &mut progress).await?;
        let findings = judge::path::paths(&paths.agents);
        terminal::print(&match context.output {
            Output::Json => json::doctor_paths::paths(&paths, &findings),
            Output::Text => text::doctor_paths::paths(&paths, &findings, terminal::screen()),
        })?;
        return Ok(exit_of(&findings));
    }
    let examining = examine(context, &args, &mut progress);
    // What was started ends with the future.
    let examined = interrupts.first().run_until_cancelled(examining).await;
    let examination =
        examined.unwrap_or_else(|| Err(interrupted("stopped before all was examined")))?;
    terminal::print(&match context.output {
        Output::Json => json::doctor::examination(&examination),
        Output::Text => text::doctor::examination(&examination, terminal::colour_of_stdout()),
    })?;
    Ok(exit_of(&examination.findings))
}

fn exit_of(findings: &[Finding]) -> Exit {
    let has_problem = findings.iter().any(|of| of.level == Level::Problem);
    if has_problem { Exit::Other } else { Exit::Done }
}

async fn examine(
    context: &Context,
    args: &Args,
    progress: &mut Progress,
) -> Result<Examination, Failure> {
    let profile =
        Profile::try_from(&args.rate.to_proto()).map_err(|error| bad_flag("--rate", error))?;
    let load = Load {
        clients: args.clients,
        rate_hz: profile.steady_millihertz().map_or(0.0, hz),
    };
    let system = examine_system(context, load).await;
    let host = host::examine();
    let priority = priority::of_a_pacing_thread().ok();
    let wanted = Wanted {
        load,
        profile,
        search_max: (!args.quick).then(|| judge::clients_max(&host, load)),
        cores: host.cores_online.or(host.cores_allowed).unwrap_or(1),
    };
    let (measured, mut findings) = match system.going_on {
        Some(going_on) => (None, vec![judge::runs::not_disturbing(&going_on)]),
        None => match runs::measure(wanted, system.client.as_ref(), progress).await {
            Ok(measured) => {
                let findings = judge::runs::runs(&measured, load);
                (Some(measured), findings)
            }
            Err(failure) => (None, vec![judge::runs::not_started(&failure)]),
        },
    };
    findings.extend(judge::host(&host, priority, load));
    findings.extend(system.findings);
    Ok(Examination {
        load,
        priority,
        measured,
        findings,
    })
}

/// What there is besides this host.
#[derive(Default)]
struct Remote {
    findings: Vec<Finding>,
    /// The server, when it can be reached.
    client: Option<Client>,
    /// What it is measuring, when it is.
    going_on: Option<GoingOn>,
}

/// The server, its data port and its agents.
async fn examine_system(context: &Context, load: Load) -> Remote {
    let only = |finding| Remote {
        findings: vec![finding],
        ..Remote::default()
    };
    let client = match context.connect_if_any().await {
        Ok(Some(client)) => client,
        Ok(None) => return only(remote::no_server()),
        Err(failure) => return only(remote::out_of_reach("server", &failure)),
    };
    let mut system = Remote::default();
    let findings = &mut system.findings;
    match client.server().await {
        Ok(server) => {
            findings.push(remote::server(&server, load));
            findings.push(examine_data_port(&server.data_address, &client).await);
            system.going_on = runs::going_on(&client, server.runs_active);
        }
        Err(failure) => findings.push(remote::out_of_reach("server", &failure)),
    }
    findings.push(match client.agents().await {
        Ok(agents) => remote::agents(&agents, load),
        Err(failure) => remote::out_of_reach("agents", &failure),
    });
    system.client = Some(client);
    system
}

async fn examine_data_port(address: &str, client: &Client) -> Finding {
    let target = remote::reachable(address, client.address().host());
    let refusal = match timeout(CONNECT_TIME_MAX, TcpStream::connect(&target)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", CONNECT_TIME_MAX.as_secs())),
    };
    remote::data_port(&target, refusal)
}
