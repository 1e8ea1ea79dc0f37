//! Addresses that flags name, resolved to those that can be bound.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, bail, ensure};
use metronome_proto::{
    GRPC_ADDRESS_DEFAULT, HTTP_ADDRESS_DEFAULT,
    address::{HostPort, NotHostPort, shown},
};

/// What the errors have in front of the example.
const HINT: &str = "is no address of this host; write for example";

/// The addresses of `address`, at least one. `flag` is named in the error.
pub(super) fn resolve(flag: &str, address: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let address = parse(flag, address)?;
    let example = example(flag);
    let found = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .with_context(|| format!("{flag} {address} {HINT} {example}"))?;
    let found: Vec<_> = found.collect();
    ensure!(!found.is_empty(), "{flag} {address} {HINT} {example}");
    Ok(found)
}

/// Host and port of `address`. The error names `flag`, and shows nothing that may be a password.
pub(crate) fn parse(flag: &str, address: &str) -> anyhow::Result<HostPort> {
    // The resolver would take what is ambiguous, such as ::1:80.
    let parsed = HostPort::to_bind(address);
    let text = shown(address);
    match parsed {
        Ok(parsed) => Ok(parsed),
        Err(NotHostPort {
            instead: Some(instead),
        }) if flag != "--host" => bail!("{flag} {text} is no address; write {instead}"),
        Err(_) => bail!("{flag} {text} {HINT} {}", example(flag)),
    }
}

fn example(flag: &str) -> &'static str {
    match flag {
        "--grpc" => GRPC_ADDRESS_DEFAULT,
        "--http" => HTTP_ADDRESS_DEFAULT,
        _ => "127.0.0.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_resolver_would_take_in_some_way_is_refused_with_the_way_out() {
        for (text, shown, instead) in [
            ("::1:80", "::1:80", "[::1]:80"),
            ("user:secret@127.0.0.1:80", "…@…", "127.0.0.1:80"),
            ("127.0.0.1:80/?token=secret", "…", "127.0.0.1:80"),
        ] {
            let error = resolve("--grpc", text).unwrap_err().to_string();
            let expected = format!("--grpc {shown} is no address; write {instead}");
            assert_eq!(error, expected);
        }
        assert_eq!(
            resolve("--grpc", "[::1]:0").unwrap()[0].to_string(),
            "[::1]:0"
        );
    }
}
