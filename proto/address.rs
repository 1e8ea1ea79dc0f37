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
    /// 1 to 65535; of a listener also 0.
    pub port: u16,
}

/// The text is not HOST:PORT. Displayed as the way out, behind the text and a semicolon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotHostPort {
    /// What was probably meant: the text without a scheme, a user name or a path, or an IPv6
    /// address in brackets. `None` where that is no HOST:PORT either.
    pub instead: Option<HostPort>,
}

/// A text that is refused, as an error may show it: of one that may have a password or a key in it
/// nothing is shown but what was probably meant.
#[must_use]
pub fn shown(text: &str) -> &str {
    if !may_hold_secret(text) {
        text
    } else if text.contains('@') {
        "…@…"
    } else {
        "…"
    }
}

/// Whether a text that may be an address has a user, also an escaped one, or a query.
fn may_hold_secret(text: &str) -> bool {
    text.contains(['@', '?']) || text.contains("%40")
}

impl fmt::Display for NotHostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instead {
            Some(instead) => write!(formatter, "write HOST:PORT, here {instead}"),
            None => formatter
                .write_str("write HOST:PORT, for example 192.0.2.7:8888 or [2001:db8::7]:8888"),
        }
    }
}

impl std::error::Error for NotHostPort {}

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        Self::read(text)
            .filter(|address| address.port > 0)
            .ok_or_else(|| NotHostPort {
                instead: meant(text).filter(|address| address.port > 0),
            })
    }
}

impl HostPort {
    /// Reads the address of a listener, whose port may be 0: any free one.
    ///
    /// # Errors
    /// The text is not HOST:PORT.
    pub fn to_bind(text: &str) -> Result<Self, NotHostPort> {
        Self::read(text).ok_or_else(|| NotHostPort {
            instead: meant(text),
        })
    }

    /// Reads HOST:PORT with a port from 0 on.
    fn read(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        is_host.then(|| Self {
            host: bracketed.unwrap_or(host).to_owned(),
            port,
        })
    }
}

/// What was probably meant by a text that is not HOST:PORT.
fn meant(text: &str) -> Option<HostPort> {
    let (_, rest) = text.split_once("://").unwrap_or(("", text));
    // First: a password may have anything in it.
    let (_, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (address, _) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
    HostPort::read(address).or_else(|| {
        let (host, port) = address.rsplit_once(':')?;
        HostPort::read(&format!("[{host}]:{port}"))
    })
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
            assert!(text.parse::<HostPort>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_refused_is_refused_with_the_way_out() {
        for (text, instead) in [
            ("::1:80", "[::1]:80"),
            ("2001:db8::7:8888", "[2001:db8::7]:8888"),
            ("user@host:80", "host:80"),
            ("user:secret@host:80", "host:80"),
            ("user:80/@secret@host:80", "host:80"),
            ("http://host:80", "host:80"),
            ("http://user@[::1]:80/path", "[::1]:80"),
            ("host:80/", "host:80"),
            ("tcp://::1:80", "[::1]:80"),
        ] {
            let error = text.parse::<HostPort>().unwrap_err();
            let expected = format!("write HOST:PORT, here {instead}");
            assert_eq!(error.to_string(), expected, "{text}");
        }
        for text in [
            "",
            "host",
            "user@host",
            "http://host",
            "host:0",
            "a@host:0",
            "[::1]",
        ] {
            let error = text.parse::<HostPort>().unwrap_err();
            assert_eq!(error.instead, None, "{text}");
            assert!(error.to_string().contains("for example"), "{text}");
        }
    }

    #[test]
    fn a_text_that_may_have_a_password_or_a_key_in_it_is_not_shown() {
        for text in [
            "user:secret@host:80",
            "http://u:a@b@host:80/p",
            "@",
            "secret@",
        ] {
            assert_eq!(shown(text), "…@…");
        }
        for text in ["host:1/?token=secret", "host:1?secret", "u:secret%40host:1"] {
            assert_eq!(shown(text), "…");
            let way_out = text.parse::<HostPort>().unwrap_err().to_string();
            assert!(!way_out.contains("secret"), "{way_out}");
        }
        assert_eq!(shown("host:80/"), "host:80/");
    }

    #[test]
    fn only_a_listener_has_a_port_of_0() {
        assert_eq!(
            HostPort::to_bind("[::1]:0").map(|address| address.port),
            Ok(0)
        );
        assert!("[::1]:0".parse::<HostPort>().is_err());
        assert!(HostPort::to_bind("::1:0").is_err());
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
