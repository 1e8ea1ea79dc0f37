//! Which names of this server a browser may have asked for. Pure.
//!
//! A page of a stranger can let its own name mean this server's address, and would read what is
//! here in the browser of any user that looks at it (DNS rebinding). The browser still names the
//! stranger's host in its request.

use std::net::{IpAddr, SocketAddr};

/// The port of `http://` without one.
const PORT_DEFAULT: u16 = 80;

/// The names under which the HTTP port may be asked.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    bound: SocketAddr,
    /// The host that --http names.
    name: String,
}

impl Hosts {
    pub(super) fn new(bound: SocketAddr, name: &str) -> Self {
        Self {
            bound,
            name: name.to_ascii_lowercase(),
        }
    }

    /// Whether a request may name this host and port. On a loopback address that is `localhost` or
    /// such an address, on another one that address or the name in --http. A server on all
    /// addresses can have any, and stand behind another port: what is no name cannot be a
    /// stranger's.
    pub(super) fn allow(&self, host: &str) -> bool {
        let Some((name, port)) = parts(host) else {
            return false;
        };
        let (ip, address) = (self.bound.ip(), name.parse::<IpAddr>().ok());
        if ip.is_unspecified() {
            return address.is_some() || name == "localhost";
        }
        let is_this = match ip.is_loopback() {
            true => name == "localhost" || address.is_some_and(|address| address.is_loopback()),
            false => address == Some(ip),
        };
        port == self.bound.port() && (is_this || name == self.name)
    }

    /// What may be asked instead.
    pub(super) fn instead(&self) -> String {
        let port = self.bound.port();
        match self.bound.ip() {
            ip if ip.is_unspecified() => format!("the address of this host, port {port}"),
            _ => self.bound.to_string(),
        }
    }
}

/// Host in lower case and port of the text of a header.
fn parts(host: &str) -> Option<(String, u16)> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        _ => (host, PORT_DEFAULT),
    };
    let bare = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        // An IPv6 address without brackets is none here.
        None if name.contains(':') => return None,
        None => name,
    };
    Some((bare.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(bound: &str, name: &str) -> Hosts {
        Hosts::new(bound.parse().unwrap(), name)
    }

    #[test]
    fn on_a_loopback_address_only_loopback_names_with_the_port_are_served() {
        let hosts = hosts("127.0.0.1:9464", "127.0.0.1");
        for host in [
            "127.0.0.1:9464",
            "localhost:9464",
            "LOCALHOST:9464",
            "[::1]:9464",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "",
            "localhost",
            "localhost:80",
            "localhost:9465",
            "127.0.0.1:",
            "127.0.0.1:9464:9464",
            "evil.example:9464",
            "localhost.evil.example:9464",
            "127.0.0.1.evil.example:9464",
            "192.168.1.1:9464",
            "::1:9464",
            "[::1:9464",
            "[::1]",
            "localhost:09464x",
            "user@localhost:9464",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn on_another_address_it_and_the_name_of_the_flag_are_served() {
        let hosts = hosts("192.168.1.5:80", "Bench1");
        for host in ["192.168.1.5:80", "192.168.1.5", "bench1", "BENCH1:80"] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "localhost:80",
            "127.0.0.1:80",
            "192.168.1.6:80",
            "bench2:80",
            "bench1:81",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn on_all_addresses_any_address_is_served_and_no_name_of_others() {
        for bound in ["0.0.0.0:9464", "[::]:9464"] {
            let hosts = hosts(bound, "0.0.0.0");
            for host in [
                "10.0.0.7:9464",
                "10.0.0.7:8080",
                "[fe80::1]:9464",
                "localhost:9464",
            ] {
                assert!(hosts.allow(host), "{host}");
            }
            assert!(!hosts.allow("evil.example:9464"));
        }
    }
}
