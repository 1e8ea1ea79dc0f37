//! HOST:PORT, as users and peers write it: parsed in one place, resolved by the callers.
//!
//! Pure. A host is a name, an IPv4 address, or an IPv6 address in brackets. Absent on purpose:
//! schemes, user names, paths and an empty host, which the callers handle or refuse.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// A host and a port.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HostPort {
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// The text is not HOST:PORT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotHostPort;

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(NotHostPort)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(NotHostPort)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        if !is_host {
            return Err(NotHostPort);
        }
        Ok(Self {
            host: bracketed.unwrap_or(host).to_owned(),
            port,
        })
    }
}

/// Letters, digits, dots, hyphens and, as some networks have them, underscores.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') && !self.host.starts_with('[') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_is_a_name_an_address_or_an_ipv6_address_in_brackets() {
        for (text, host, port) in [
            ("127.0.0.1:50051", "127.0.0.1", 50051),
            ("bench-1.example:1", "bench-1.example", 1),
            ("my_host:65535", "my_host", 65535),
            ("[::1]:80", "::1", 80),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!((parsed.host.as_str(), parsed.port), (host, port));
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "host",
            ":80",
            "host:",
            "host:0",
            "host:65536",
            "host:+1x",
            "::1:80",
            "[::1]",
            "[host]:80",
            "[]:80",
            "user@host:80",
            "http://host:80",
            "host/:80",
            "a b:1",
            "ä:1",
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(NotHostPort), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_is_parsed_prints_as_itself(text in ".{0,40}") {
            if let Ok(parsed) = text.parse::<HostPort>() {
                prop_assert_eq!(parsed.to_string().parse::<HostPort>(), Ok(parsed));
            }
        }
    }
}
