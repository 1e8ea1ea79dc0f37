//! `benchctl doctor`: what this host can promise, whether the rest is there, and how to cure what
//! is not.

use std::{net::SocketAddr, time::Duration};

use metronome_proto::v1;
use tokio::{net::TcpStream, task, time::timeout};

use super::context::Context;
use crate::{
    client::Client,
    doctor::{Finding, Level, Load, host, judge, timing},
    exit::{Exit, Failure},
    flags,
    output::Output,
    render::{json, text},
    terminal,
};

/// A data port on the same continent takes a connection in this time.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// Look at this host, the server, its data port and its agents; tell what is wrong and the cure.
///
/// It measures for about a second: how late sleeps end and what a packet costs here, and from that
/// what this host can promise. The exit code is 0 when there is no problem (warnings are none),
/// else 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clients of the load to judge for.
    #[arg(long, default_value = "10", value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,

    /// Its packets per second of each client: 0.001 to 1000000; 10k is 10000.
    #[arg(long, default_value = "10k", value_name = "HZ", allow_negative_numbers = true, value_parser = flags::rate_hz)]
    rate: f64,
}

/// Looks at everything, prints what was found.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    if !(0.001..=1e6).contains(&args.rate) {
        return Err(Failure::usage(format!(
            "--rate: {} is not within 0.001 to 1000000",
            args.rate
        )));
    }
    let load = Load {
        clients: args.clients,
        rate_hz: args.rate,
    };
    let measured = task::spawn_blocking(timing::measure).await;
    let timing = measured
        .map_err(|error| Failure::other(format!("the measurement stopped: {error}")))?
        .map_err(|error| {
            Failure::other(format!(
                "this host cannot be measured over loopback: {error}"
            ))
        })?;
    let host = host::examine();
    let mut findings = judge::judge(&host, &timing, load);
    findings.extend(look_at_the_system(context, load).await);
    let promise = judge::promise(&host, &timing, load);
    terminal::print(&match context.output {
        Output::Json => json::doctor::findings(&findings, &promise, load),
        Output::Text => {
            text::doctor::findings(&findings, &promise, load, terminal::colour_of_stdout())
        }
    })?;
    let has_problem = findings
        .iter()
        .any(|finding| finding.level == Level::Problem);
    Ok(if has_problem {
        Exit::Other
    } else {
        Exit::Valid
    })
}

/// The server, its data port and its agents.
async fn look_at_the_system(context: &Context, load: Load) -> Vec<Finding> {
    let client = match context.connect_if_any().await {
        Ok(Some(client)) => client,
        Ok(None) => {
            return vec![Finding::fine(
                "server",
                "none at the default address; `benchctl start` brings up its own",
            )];
        }
        Err(failure) => return vec![out_of_reach("server", &failure)],
    };
    let mut findings = Vec::new();
    match client.server().await {
        Ok(server) => {
            findings.push(judge_server(&server, load));
            findings.push(look_at_the_data_port(&server.data_address, &client).await);
        }
        Err(failure) => findings.push(out_of_reach("server", &failure)),
    }
    findings.push(match client.agents().await {
        Ok(agents) => judge_agents(&agents, load),
        Err(failure) => out_of_reach("agents", &failure),
    });
    findings
}

/// The sentence of a failure ends with the way out.
fn out_of_reach(check: &'static str, failure: &Failure) -> Finding {
    let (told, cure) = failure
        .sentence
        .split_once("; ")
        .unwrap_or((&failure.sentence, "see the server's log"));
    Finding::problem(check, told, cure)
}

fn judge_server(server: &v1::GetServerResponse, load: Load) -> Finding {
    let told = format!(
        "{} at {}, {} workers",
        server.version,
        server.grpc_address,
        server.workers.len()
    );
    let own = env!("CARGO_PKG_VERSION");
    if server.draining {
        return Finding::problem("server", format!("{told}, shutting down"), "start it again");
    }
    if server.max_clients < load.clients {
        let cure = format!("start the server with --max-clients {}", load.clients);
        return Finding::problem(
            "server",
            format!("{told}, lets in {} clients", server.max_clients),
            cure,
        );
    }
    if server.version != own {
        return Finding::warning(
            "server",
            told,
            format!("this benchctl is {own}: use the same version on all hosts"),
        );
    }
    Finding::fine("server", told)
}

/// Whether this host could connect as a client does; agents elsewhere may see another network.
async fn look_at_the_data_port(address: &str, client: &Client) -> Finding {
    let target = reachable(address, client.address().host());
    let attempt = timeout(CONNECT_TIME_MAX, TcpStream::connect(&target)).await;
    let cause = match attempt {
        Ok(Ok(_)) => {
            return Finding::fine("data port", format!("{target} takes connections from here"));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT_TIME_MAX.as_secs()),
    };
    let cure = "agents on this host cannot reach it: start the server with --host and an address that they can, and open the port in firewalls";
    Finding::problem("data port", format!("{target}: {cause}"), cure)
}

/// An address that means "all of them" is reached at the server's own.
fn reachable(data_address: &str, server_host: &str) -> String {
    match data_address.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("{server_host}:{}", address.port()),
        _ => data_address.to_owned(),
    }
}

fn judge_agents(agents: &[v1::Agent], load: Load) -> Finding {
    let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
    let told = format!("{} connected: {}", agents.len(), names.join(" "));
    let own = env!("CARGO_PKG_VERSION");
    let clients_max: u64 = agents
        .iter()
        .map(|agent| u64::from(agent.clients_max))
        .sum();
    if agents.is_empty() {
        return Finding::problem(
            "agents",
            "none is connected",
            "start one with `metronome-agent --server ADDRESS`",
        );
    }
    if clients_max < u64::from(load.clients) {
        return Finding::problem(
            "agents",
            format!("{told}; they hold {clients_max} clients"),
            "start more agents or raise their --clients-max",
        );
    }
    if agents.iter().any(|agent| agent.version != own) {
        return Finding::warning(
            "agents",
            told,
            format!("not all are of version {own}: use the same on all hosts"),
        );
    }
    Finding::fine("agents", told)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        clients: 10,
        rate_hz: 10_000.0,
    };

    fn server() -> v1::GetServerResponse {
        let version = env!("CARGO_PKG_VERSION").into();
        v1::GetServerResponse {
            version,
            max_clients: 10,
            ..Default::default()
        }
    }

    fn agent(clients_max: u32) -> v1::Agent {
        v1::Agent {
            version: env!("CARGO_PKG_VERSION").into(),
            clients_max,
            ..Default::default()
        }
    }

    #[test]
    fn a_server_that_cannot_take_the_load_is_a_problem() {
        assert_eq!(judge_server(&server(), LOAD).level, Level::Fine);
        let full = judge_server(
            &server(),
            Load {
                clients: 11,
                ..LOAD
            },
        );
        assert_eq!(
            (full.level, full.cure.as_deref()),
            (
                Level::Problem,
                Some("start the server with --max-clients 11")
            )
        );
        assert_eq!(
            judge_server(
                &v1::GetServerResponse {
                    draining: true,
                    ..server()
                },
                LOAD
            )
            .level,
            Level::Problem
        );
        let old = v1::GetServerResponse {
            version: "0.0.1".into(),
            ..server()
        };
        assert_eq!(judge_server(&old, LOAD).level, Level::Warning);
    }

    #[test]
    fn agents_must_be_there_and_hold_the_clients_together() {
        assert_eq!(judge_agents(&[], LOAD).level, Level::Problem);
        assert_eq!(judge_agents(&[agent(5)], LOAD).level, Level::Problem);
        assert_eq!(judge_agents(&[agent(5), agent(5)], LOAD).level, Level::Fine);
        assert_eq!(
            judge_agents(
                &[v1::Agent {
                    version: "9".into(),
                    ..agent(10)
                }],
                LOAD
            )
            .level,
            Level::Warning
        );
    }

    #[test]
    fn an_address_that_means_all_is_reached_at_the_server_s_own() {
        assert_eq!(reachable("0.0.0.0:8888", "bench1"), "bench1:8888");
        assert_eq!(reachable("[::]:8888", "[fd00::1]"), "[fd00::1]:8888");
        assert_eq!(reachable("192.0.2.1:8888", "bench1"), "192.0.2.1:8888");
    }

    #[test]
    fn a_failure_s_way_out_is_its_cure() {
        let finding = out_of_reach("server", &Failure::other("no server answers; start one"));
        assert_eq!(
            (finding.told.as_str(), finding.cure.as_deref()),
            ("no server answers", Some("start one"))
        );
    }
}
