//! Where a server listens for gRPC: HOST:PORT, with or without a scheme. Pure: no name is resolved.

use std::{fmt, str::FromStr};

use metronome_proto::{
    GRPC_ADDRESS_DEFAULT,
    address::{HostPort, NotHostPort},
};

/// Where a server listens for gRPC.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    /// HOST:PORT.
    authority: String,
    /// `http` or `https`, if one was written.
    scheme: Option<&'static str>,
}

impl Default for Address {
    fn default() -> Self {
        Self {
            authority: GRPC_ADDRESS_DEFAULT.into(),
            scheme: None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.authority)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let behind = |scheme: &'static str| {
            Some((
                Some(scheme),
                text.strip_prefix(scheme)?.strip_prefix("://")?,
            ))
        };
        let (scheme, authority) = behind("http")
            .or_else(|| behind("https"))
            .unwrap_or((None, text));
        let authority = authority.trim_end_matches('/');
        authority
            .parse::<HostPort>()
            .map_err(|NotHostPort { instead }| match instead {
                Some(instead) => format!("write HOST:PORT, here {instead}"),
                None => "write HOST:PORT, http:// or https://HOST:PORT, for example \
                         127.0.0.1:50051"
                    .into(),
            })?;
        Ok(Self {
            authority: authority.into(),
            scheme,
        })
    }
}

impl Address {
    /// HOST:PORT.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What was written before `://`, if anything.
    pub(crate) fn scheme(&self) -> Option<&'static str> {
        self.scheme
    }

    /// The host without the port; an IPv6 address keeps its brackets.
    pub(crate) fn host(&self) -> &str {
        self.authority
            .rsplit_once(':')
            .map_or(&self.authority, |(host, _)| host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port_with_or_without_the_scheme() {
        for (text, authority) in [
            ("127.0.0.1:50051", "127.0.0.1:50051"),
            ("http://127.0.0.1:50051/", "127.0.0.1:50051"),
            ("https://bench1:50051", "bench1:50051"),
            ("bench-1.example:1", "bench-1.example:1"),
            ("[::1]:50051", "[::1]:50051"),
        ] {
            assert_eq!(
                text.parse::<Address>().map(|address| address.to_string()),
                Ok(authority.into()),
                "{text}"
            );
        }
        for text in [
            "",
            "host",
            ":1",
            "host:0",
            "host:65536",
            "ftp://h:1",
            "http://",
            "a b:1",
            "::1:5",
            "h:1/path",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
