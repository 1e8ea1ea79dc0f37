//! Findings about the server, its data port and its agents: whether they can take the load.

use std::net::SocketAddr;

use metronome_proto::{quantity::count, v1};

use super::super::{finding::Finding, load::Load};
use crate::exit::Failure;

/// A finding without a server. It is fine, since none has to be there.
pub(crate) fn no_server() -> Finding {
    Finding::fine(
        "server",
        "none at the default address; `benchctl start` runs its own",
    )
}

/// A finding about what cannot be reached.
pub(crate) fn out_of_reach(check: &'static str, failure: &Failure) -> Finding {
    Finding::problem(check, failure.sentence.as_str(), failure.remedy.as_str())
}

/// Judges the server.
pub(crate) fn server(server: &v1::GetServerResponse, load: Load) -> Finding {
    let observed = format!(
        "{} at {}, {} workers",
        server.version,
        server.grpc_address,
        server.workers.len()
    );
    let own = env!("CARGO_PKG_VERSION");
    if server.draining {
        return Finding::problem(
            "server",
            format!("{observed}, shutting down"),
            "start it again",
        );
    }
    let max_clients = server.limits.as_ref().map(|limits| limits.max_clients);
    if let Some(max_clients) = max_clients.filter(|max| *max < load.clients) {
        let cure = format!("start the server with --max-clients {}", load.clients);
        return Finding::problem(
            "server",
            format!("{observed}, admits {} clients", count(max_clients.into())),
            cure,
        );
    }
    if server.version != own {
        return Finding::warning(
            "server",
            observed,
            format!("this benchctl is {own}: use the same version on all hosts"),
        );
    }
    Finding::fine("server", observed)
}

/// Judges whether this host could connect to the data port as a client does: `refusal` is why not.
/// Agents elsewhere may see another network.
pub(crate) fn data_port(target: &str, refusal: Option<String>) -> Finding {
    let Some(cause) = refusal else {
        return Finding::fine("data port", format!("{target} takes connections from here"));
    };
    let cure = "agents on this host cannot reach it: start the server with --host and an address \
                that they can, and open the port in firewalls";
    Finding::problem("data port", format!("{target}: {cause}"), cure)
}

/// Where the data port is reached: an address that means "all of them", at the server's own host.
pub(crate) fn reachable(data_address: &str, server_host: &str) -> String {
    match data_address.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("{server_host}:{}", address.port()),
        _ => data_address.to_owned(),
    }
}

/// Judges the agents together.
pub(crate) fn agents(agents: &[v1::Agent], load: Load) -> Finding {
    let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
    let observed = format!("{} connected: {}", agents.len(), names.join(" "));
    let own = env!("CARGO_PKG_VERSION");
    // Unknown where one of them is.
    let max_clients: Option<u64> = agents
        .iter()
        .map(|agent| Some(u64::from(agent.capacity?.max_clients)))
        .sum();
    if agents.is_empty() {
        return Finding::problem(
            "agents",
            "none is connected",
            "start one with `metronome-agent --server ADDRESS`",
        );
    }
    if let Some(max_clients) = max_clients.filter(|max| *max < load.clients.into()) {
        return Finding::problem(
            "agents",
            format!("{observed}; they hold {} clients", count(max_clients)),
            "start more agents or raise their --max-clients",
        );
    }
    if agents.iter().any(|agent| agent.version != own) {
        return Finding::warning(
            "agents",
            observed,
            format!("not all are of version {own}: use the same on all hosts"),
        );
    }
    Finding::fine("agents", observed)
}

#[cfg(test)]
mod tests {
    use metronome_proto::limits;

    use super::*;
    use crate::doctor::finding::Level;

    const LOAD: Load = Load {
        clients: 10,
        rate_hz: 10_000.0,
    };

    fn some_server() -> v1::GetServerResponse {
        let version = env!("CARGO_PKG_VERSION").into();
        v1::GetServerResponse {
            version,
            limits: Some(limits::to_proto(10, 16)),
            ..Default::default()
        }
    }

    fn agent(max_clients: u32) -> v1::Agent {
        v1::Agent {
            version: env!("CARGO_PKG_VERSION").into(),
            capacity: Some(v1::Capacity {
                max_clients,
                cores: 2,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_server_that_cannot_take_the_load_is_a_problem() {
        assert_eq!(server(&some_server(), LOAD).level, Level::Fine);
        let full = server(
            &some_server(),
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
            server(
                &v1::GetServerResponse {
                    draining: true,
                    ..some_server()
                },
                LOAD
            )
            .level,
            Level::Problem
        );
        let old = v1::GetServerResponse {
            version: "0.0.1".into(),
            ..some_server()
        };
        assert_eq!(server(&old, LOAD).level, Level::Warning);
    }

    #[test]
    fn agents_must_be_there_and_hold_the_clients_together() {
        assert_eq!(agents(&[], LOAD).level, Level::Problem);
        assert_eq!(agents(&[agent(5)], LOAD).level, Level::Problem);
        assert_eq!(agents(&[agent(5), agent(5)], LOAD).level, Level::Fine);
        let unknown = v1::Agent {
            capacity: None,
            ..agent(5)
        };
        assert_eq!(agents(&[agent(5), unknown], LOAD).level, Level::Fine);
        assert_eq!(
            agents(
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
        let code = v1::FailureCode::ServerUnreachable;
        let finding = out_of_reach("server", &Failure::new(code, "no server answers"));
        assert_eq!(
            (finding.observed.as_str(), finding.cure.as_deref()),
            ("no server answers", Some(code.remedy()))
        );
    }
}
