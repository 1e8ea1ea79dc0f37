//! Which hosts reach the server's ports, and what follows for agents on other hosts. Pure.

use std::net::{IpAddr, SocketAddr};

use metronome_proto::v1::{Failure, FailureCode, figure::Value};

/// How the two ports of a server fit together, where that may not be what its owner wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Mismatch {
    /// Agents on other hosts dial in and cannot connect their clients: a sentence with the flag.
    DataIsLocal(String),
    /// Agents on other hosts cannot dial in. Loads without a control server may come from there.
    GrpcIsLocal(String),
}

/// What agents on other hosts meet at a server with these ports. `None`: both are open to them, or
/// neither is.
pub(crate) fn mismatch(grpc: SocketAddr, data: SocketAddr) -> Option<Mismatch> {
    match (is_local(grpc), is_local(data)) {
        (false, true) => Some(Mismatch::DataIsLocal(format!(
            "agents on other hosts reach gRPC on {grpc}, but not the data port on {data}, which \
             only this host reaches: start metronome-server with --host {}",
            hosts(grpc.ip())
        ))),
        (true, false) => Some(Mismatch::GrpcIsLocal(format!(
            "other hosts reach the data port on {data}, but agents there cannot dial in to gRPC on \
             {grpc}, which only this host reaches; --grpc opens it to them"
        ))),
        _ => None,
    }
}

/// The failure of an agent with what this server adds to it: why its data port, on `data`, could
/// not be reached from there. The address that the agent tried may be that of a gateway in front of
/// this host, on which nothing here can listen: it is named only where gRPC, on `grpc`, listens on
/// it.
pub(crate) fn explained(failure: Failure, grpc: SocketAddr, data: SocketAddr) -> Failure {
    let Some(Value::Text(address)) = failure
        .figures
        .get("address")
        .and_then(|it| it.value.clone())
    else {
        return failure;
    };
    // One that was refused has a port, one that is not allowed has none.
    let tried: Option<SocketAddr> = address.parse().ok();
    let tried_ip: Option<IpAddr> = address.parse().ok();
    let why = match (failure.code(), tried, tried_ip) {
        (FailureCode::ConnectionRefused, Some(tried), _)
            if is_local(data) && !is_local(tried) && tried.port() == data.port() =>
        {
            format!(
                "the server's data port is on {}, which only its own host reaches: start \
                 metronome-server with --host {}",
                data.ip(),
                if grpc.ip() == tried.ip() {
                    hosts(tried.ip())
                } else {
                    any_of(tried.ip()).into()
                }
            )
        }
        (FailureCode::TargetNotAllowed, _, Some(tried)) if tried.is_loopback() => {
            let target = "that is the agent's own host: leave --target out";
            if is_local(data) {
                format!("{target}, and start metronome-server with --host 0.0.0.0")
            } else {
                target.into()
            }
        }
        _ => return failure,
    };
    Failure {
        sentence: format!("{}; {why}", failure.sentence.trim_end_matches('.')),
        ..failure
    }
}

fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// What `--host` may be, for agents that reach what listens on `ip` here.
fn hosts(ip: IpAddr) -> String {
    let any = any_of(ip);
    match ip.is_unspecified() {
        true => any.into(),
        false => format!("{ip} or {any}"),
    }
}

/// Every address of this host, of the kind of `ip`.
fn any_of(ip: IpAddr) -> &'static str {
    if ip.is_ipv6() { "::" } else { "0.0.0.0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn ports_that_are_open_to_different_hosts_are_a_mismatch() {
        let local = [
            "127.0.0.1:1",
            "127.0.0.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ];
        let open = ["0.0.0.0:1", "[::]:1", "10.77.0.1:1", "[2001:db8::1]:1"];
        for local in local {
            for open in open {
                let is = |found: Option<Mismatch>| match found {
                    Some(Mismatch::DataIsLocal(_)) => 1,
                    Some(Mismatch::GrpcIsLocal(_)) => 2,
                    None => 0,
                };
                assert_eq!(is(mismatch(at(open), at(local))), 1, "{open} {local}");
                assert_eq!(is(mismatch(at(local), at(open))), 2, "{open} {local}");
                assert_eq!(is(mismatch(at(local), at(local))), 0, "{local}");
                assert_eq!(is(mismatch(at(open), at(open))), 0, "{open}");
            }
        }
    }

    #[test]
    fn the_flag_that_opens_the_data_port_fits_the_address_of_grpc() {
        for (grpc, flag) in [
            ("10.77.0.1:50051", "--host 10.77.0.1 or 0.0.0.0"),
            ("0.0.0.0:50051", "--host 0.0.0.0"),
            ("[::]:50051", "--host ::"),
            ("[2001:db8::1]:50051", "--host 2001:db8::1 or ::"),
        ] {
            let Some(Mismatch::DataIsLocal(sentence)) = mismatch(at(grpc), at("127.0.0.1:8888"))
            else {
                panic!("{grpc} is open and the data port is not")
            };
            assert!(sentence.ends_with(flag), "{sentence}");
        }
    }

    /// What is added to a failure at `address`, of a server whose gRPC is on `10.77.0.1`.
    fn added(code: FailureCode, address: &str, own: &str) -> String {
        let failure = Failure::new(code, "it failed").with("address", address);
        let explained = explained(failure, at("10.77.0.1:50051"), at(own));
        explained.sentence.strip_prefix("it failed").unwrap().into()
    }

    #[test]
    fn a_refusal_is_explained_only_where_the_servers_own_port_is_the_cause() {
        use FailureCode::{ConnectionRefused, ConnectionTimedOut, TargetNotAllowed};
        assert_eq!(
            added(ConnectionRefused, "10.77.0.1:8888", "127.0.0.1:8888"),
            "; the server's data port is on 127.0.0.1, which only its own host reaches: start \
             metronome-server with --host 10.77.0.1 or 0.0.0.0"
        );
        // A gateway's addresses, on which this server cannot listen.
        for (gateway, any) in [("192.0.2.1:8888", "0.0.0.0"), ("[2001:db8::9]:8888", "::")] {
            let added = added(ConnectionRefused, gateway, "127.0.0.1:8888");
            assert!(added.ends_with(&format!(" --host {any}")), "{added}");
        }
        assert_eq!(
            added(TargetNotAllowed, "127.0.0.1", "127.0.0.1:8888"),
            "; that is the agent's own host: leave --target out, and start metronome-server with \
             --host 0.0.0.0"
        );
        assert_eq!(
            added(TargetNotAllowed, "127.0.0.1", "10.77.0.1:8888"),
            "; that is the agent's own host: leave --target out"
        );
        for (code, address, own) in [
            (ConnectionRefused, "10.77.0.1:9999", "127.0.0.1:8888"),
            (ConnectionRefused, "127.0.0.1:8888", "127.0.0.1:8888"),
            (ConnectionRefused, "10.77.0.1:8888", "10.77.0.1:8888"),
            (ConnectionRefused, "bench1", "127.0.0.1:8888"),
            (ConnectionTimedOut, "10.77.0.1:8888", "127.0.0.1:8888"),
            (TargetNotAllowed, "10.77.0.9", "127.0.0.1:8888"),
        ] {
            assert_eq!(added(code, address, own), "", "{code:?} {address} {own}");
        }
    }
}
