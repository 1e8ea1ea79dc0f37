//! Where load may go: the address of the target, and what the owner of the agent allows.
//!
//! A server may ask an agent to load any host. The agent only loads what its owner allows: the host
//! of its control server and the networks of `--allow-target`, but never addresses that stand for
//! many hosts or for none. A name is resolved once, and the addresses that were checked are the
//! addresses that are connected to, so a name cannot point elsewhere between check and use.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    str::FromStr,
};

use ipnet::IpNet;
use metronome_proto::{
    address::{HostPort, NotHostPort, shown},
    v1::{Failure, FailureCode},
};

/// HOST:PORT that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target(HostPort);

/// A text that is not HOST:PORT.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is no address; {not}")]
pub(crate) struct BadTarget {
    text: String,
    not: NotHostPort,
}

/// Which addresses the owner of this agent allows.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    /// The host of the control server; `None` where there is none.
    pub server_host: Option<String>,
    /// From `--allow-target`.
    pub networks: Vec<IpNet>,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The name does not resolve.
    #[error("the target {target} has no address: {error}")]
    Unknown {
        /// The target that was asked for.
        target: Target,
        /// The error of the resolver.
        error: std::io::Error,
    },
    /// An address that must not be loaded.
    #[error("the target {target} is {address}, {kind}")]
    Forbidden {
        /// The target that was asked for.
        target: Target,
        /// The address that it resolved to.
        address: IpAddr,
        /// Why it must not be loaded.
        kind: &'static str,
    },
    /// The owner of this agent has not allowed it.
    #[error("the target {target} is {address}, which the agent's owner does not allow")]
    NotAllowed {
        /// The target that was asked for.
        target: Target,
        /// The address that it resolved to.
        address: IpAddr,
    },
}

impl TargetError {
    /// The error as data.
    pub(crate) fn failure(&self) -> Failure {
        let (code, target) = match self {
            Self::Unknown { target, .. } => (FailureCode::TargetUnknown, target),
            Self::Forbidden { target, .. } | Self::NotAllowed { target, .. } => {
                (FailureCode::TargetNotAllowed, target)
            }
        };
        let failure = Failure::new(code, self.to_string()).with("target", target.to_string());
        match self {
            Self::Unknown { .. } => failure,
            Self::Forbidden { address, .. } | Self::NotAllowed { address, .. } => {
                failure.with("address", address.to_string())
            }
        }
    }
}

impl Target {
    /// Reads HOST:PORT; an empty host means `host_default`.
    pub(crate) fn parse(text: &str, host_default: &str) -> Result<Self, BadTarget> {
        let bad = |not| BadTarget {
            text: shown(text).chars().take(80).collect(),
            not,
        };
        let without_host = text.strip_prefix(':');
        let Some(port) = without_host.filter(|port| !port.contains(':')) else {
            return text.parse().map(Self).map_err(bad);
        };
        let host = host_default.to_owned();
        match port.parse() {
            Ok(port) if port > 0 && !host.is_empty() => Ok(Self(HostPort { host, port })),
            _ => Err(bad(NotHostPort { instead: None })),
        }
    }

    /// The addresses to connect to, all of them allowed. Asks the resolver, which may take seconds,
    /// and asks it once: a name may have another address the next time.
    pub(crate) fn resolve(&self, allowed: &Allowed) -> Result<Vec<SocketAddr>, TargetError> {
        self.resolve_by(allowed, addresses_of)
    }

    fn resolve_by(
        &self,
        allowed: &Allowed,
        addresses_of: impl Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>>,
    ) -> Result<Vec<SocketAddr>, TargetError> {
        let unknown = |error| TargetError::Unknown {
            target: self.clone(),
            error,
        };
        let addresses: Vec<SocketAddr> =
            addresses_of(&self.0.host, self.0.port).map_err(unknown)?;
        let server: Vec<IpAddr> = match &allowed.server_host {
            Some(host) if *host == self.0.host => addresses.iter().map(SocketAddr::ip).collect(),
            // A server that has no address now is no host to load either.
            Some(host) => addresses_of(host, self.0.port)
                .unwrap_or_default()
                .iter()
                .map(SocketAddr::ip)
                .collect(),
            None => Vec::new(),
        };
        for address in addresses.iter().map(|address| address.ip().to_canonical()) {
            self.check(address, &server, &allowed.networks)?;
        }
        if addresses.is_empty() {
            return Err(unknown(std::io::ErrorKind::NotFound.into()));
        }
        Ok(addresses)
    }

    fn check(
        &self,
        address: IpAddr,
        server: &[IpAddr],
        networks: &[IpNet],
    ) -> Result<(), TargetError> {
        if let Some(kind) = forbidden(address) {
            return Err(TargetError::Forbidden {
                target: self.clone(),
                address,
                kind,
            });
        }
        let is_server = server.iter().any(|server| server.to_canonical() == address);
        if is_server || networks.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        Err(TargetError::NotAllowed {
            target: self.clone(),
            address,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A network, or one address as a network of itself.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    IpNet::from_str(text)
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            let shown = shown(text);
            format!("{shown:?} is no network; write CIDR, for example 192.0.2.0/24, or one address")
        })
}

/// Why an address must not be loaded; `None` for an ordinary one.
fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_multicast() => Some("a multicast address"),
        _ if address.is_unspecified() => Some("no host's address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        // 169.254.169.254, where clouds keep their metadata, is one of these.
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        _ => None,
    }
}

fn addresses_of(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(
        target: &str,
        server: &str,
        networks: &[&str],
    ) -> Result<Vec<SocketAddr>, FailureCode> {
        let allowed = Allowed {
            server_host: Some(server.into()),
            networks: networks
                .iter()
                .map(|network| parse_network(network).unwrap())
                .collect(),
        };
        Target::parse(target, server)
            .unwrap()
            .resolve(&allowed)
            .map_err(|error| error.failure().code())
    }

    #[test]
    fn a_name_that_has_no_address_is_unknown() {
        let error = check("host.invalid:80", "127.0.0.1", &[]).unwrap_err();
        assert_eq!(error, FailureCode::TargetUnknown);
    }

    #[test]
    fn only_the_servers_host_and_allowed_networks_are_loaded() {
        assert!(check(":8888", "127.0.0.1", &[]).is_ok());
        assert!(check("127.0.0.1:8888", "127.0.0.1", &[]).is_ok());
        assert!(check("[::ffff:127.0.0.1]:8888", "127.0.0.1", &[]).is_ok());
        assert!(check("192.0.2.7:8888", "127.0.0.1", &["192.0.2.0/24"]).is_ok());
        assert!(check("[2001:db8::7]:8888", "127.0.0.1", &["2001:db8::/32"]).is_ok());
        let refused = check("192.0.3.7:8888", "127.0.0.1", &["192.0.2.0/24"]).unwrap_err();
        assert_eq!(refused, FailureCode::TargetNotAllowed);
        assert!(check("[::ffff:192.0.3.7]:8888", "127.0.0.1", &["192.0.2.0/24"]).is_err());
    }

    #[test]
    fn addresses_of_many_hosts_or_none_are_refused_whatever_is_allowed() {
        for host in [
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "169.254.169.254",
            "169.254.1.1",
        ] {
            assert!(
                check(&format!("{host}:80"), host, &["0.0.0.0/0"]).is_err(),
                "{host}"
            );
            assert!(
                check(&format!("[::ffff:{host}]:80"), host, &["::/0", "0.0.0.0/0"]).is_err(),
                "{host}"
            );
        }
        for host in ["ff02::1", "::", "fe80::1"] {
            assert!(
                check(&format!("[{host}]:80"), host, &["::/0"]).is_err(),
                "{host}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in [
            "",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "h h:80",
            "h\x1b:80",
            "::1:80",
            "user@host:80",
            "http://host:80",
        ] {
            let error = Target::parse(text, "127.0.0.1").unwrap_err().to_string();
            assert!(error.contains("HOST:PORT"), "{error}");
        }
        assert!(Target::parse(":80", "").is_err());
        let error = Target::parse("user:secret@host:80", "").unwrap_err();
        let expected = "\"…@…\" is no address; write HOST:PORT, here host:80";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_name_that_points_elsewhere_the_next_time_is_loaded_where_it_was_checked() {
        let asked = std::cell::RefCell::new(Vec::new());
        // The first answer of each name is harmless, every later one is not.
        let rebinding = |host: &str, port| {
            let times = asked.borrow().iter().filter(|known| *known == host).count();
            asked.borrow_mut().push(host.to_owned());
            let address = if times == 0 {
                [192, 0, 2, 7]
            } else {
                [198, 51, 100, 1]
            };
            Ok(vec![SocketAddr::from((address, port))])
        };
        let allowed = |networks: &[&str]| Allowed {
            server_host: Some("bench1".into()),
            networks: networks
                .iter()
                .map(|network| parse_network(network).unwrap())
                .collect(),
        };
        let checked = vec![SocketAddr::from(([192, 0, 2, 7], 80))];
        for (target, networks) in [
            ("target:80", &["192.0.2.0/24"][..]),
            ("bench1:80", &[]),
            (":80", &[]),
        ] {
            asked.borrow_mut().clear();
            let target = Target::parse(target, "bench1").unwrap();
            let resolved = target.resolve_by(&allowed(networks), rebinding).unwrap();
            assert_eq!(resolved, checked, "{target}");
            let mut names = asked.borrow().clone();
            names.sort();
            names.dedup();
            assert_eq!(
                asked.borrow().len(),
                names.len(),
                "{target} is resolved once"
            );
        }
        asked.borrow_mut().clear();
        let elsewhere = Target::parse("target:80", "bench1").unwrap();
        let allowed = Allowed {
            server_host: None,
            ..allowed(&["198.51.100.0/24"])
        };
        let refused = elsewhere.resolve_by(&allowed, rebinding);
        assert_eq!(
            refused.unwrap_err().failure().code(),
            FailureCode::TargetNotAllowed
        );
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_refused(text: String) {
            if let Ok(target) = Target::parse(&text, "h") {
                prop_assert_eq!(Target::parse(&target.to_string(), "h"), Ok(target));
            }
        }
    }
}
