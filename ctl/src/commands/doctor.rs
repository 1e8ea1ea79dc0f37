//! `benchctl doctor`: what this host can promise, whether the rest is there, and how to cure what
//! is not.

use std::time::Duration;

use metronome_proto::profile::{Profile, hz};
use metronome_telemetry::whole_number;
use tokio::{net::TcpStream, task, time::timeout};

use super::context::Context;
use crate::{
    client::Client,
    doctor::{
        finding::{Finding, Level},
        host,
        judge::{self, remote},
        promise::{self, Load},
        timing,
    },
    exit::{Exit, Failure, bad_flag, host_failed},
    flags,
    output::Output,
    render::{json, text},
    terminal,
};

/// A data port on the same continent takes a connection in this time.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// Examine this host, the server, its data port and its agents; show what is wrong and the cure.
///
/// It measures for about a second: how late sleeps end and what a packet costs here, and from that
/// what this host can promise. The exit code is 0 when there is no problem (warnings are none),
/// else 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clients of the load to judge for.
    #[arg(
        long,
        default_value = "10",
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = whole_number(1..=10_000_u32)
    )]
    clients: u32,

    /// Its packets per second of each client: 0.001 to 1000000; 10k is 10000.
    #[arg(
        long,
        default_value = "10k",
        value_name = "HZ",
        allow_negative_numbers = true,
        value_parser = flags::paced
    )]
    rate: Profile,
}

/// Examines everything and prints the findings.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let rate_millihertz = Profile::try_from(&args.rate.to_proto())
        .map_err(|error| bad_flag("--rate", error))?
        .rate_millihertz();
    let load = Load {
        clients: args.clients,
        rate_hz: rate_millihertz.map_or(0.0, hz),
    };
    let measured = task::spawn_blocking(timing::measure).await;
    let timing = measured
        .map_err(|error| host_failed(format!("the measurement stopped: {error}")))?
        .map_err(|error| {
            host_failed(format!(
                "this host cannot be measured over loopback: {error}"
            ))
        })?;
    let host = host::examine();
    let mut findings = judge::judge(&host, &timing, load);
    findings.extend(examine_system(context, load).await);
    let promise = promise::promise(&host, &timing, load);
    terminal::print(&match context.output {
        Output::Json => json::doctor::findings(&findings, &promise, load),
        Output::Text => {
            text::doctor::findings(&findings, &promise, load, terminal::colour_of_stdout())
        }
    })?;
    let has_problem = findings
        .iter()
        .any(|finding| finding.level == Level::Problem);
    Ok(if has_problem { Exit::Other } else { Exit::Done })
}

/// The server, its data port and its agents.
async fn examine_system(context: &Context, load: Load) -> Vec<Finding> {
    let client = match context.connect_if_any().await {
        Ok(Some(client)) => client,
        Ok(None) => return vec![remote::no_server()],
        Err(failure) => return vec![remote::out_of_reach("server", &failure)],
    };
    let mut findings = Vec::new();
    match client.server().await {
        Ok(server) => {
            findings.push(remote::server(&server, load));
            findings.push(examine_data_port(&server.data_address, &client).await);
        }
        Err(failure) => findings.push(remote::out_of_reach("server", &failure)),
    }
    findings.push(match client.agents().await {
        Ok(agents) => remote::agents(&agents, load),
        Err(failure) => remote::out_of_reach("agents", &failure),
    });
    findings
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
