//! Addresses that flags name, resolved to those that can be bound.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, bail, ensure};
use metronome_proto::{
    GRPC_ADDRESS_DEFAULT, HTTP_ADDRESS_DEFAULT,
    address::{HostPort, NotHostPort, shown},
};

/// The addresses of `address`, at least one. `flag` is named in the error.
pub(super) fn resolve(flag: &str, address: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let hint = "is no address of this host; write for example";
    let example = match flag {
        "--grpc" => GRPC_ADDRESS_DEFAULT,
        "--http" => HTTP_ADDRESS_DEFAULT,
        _ => "127.0.0.1",
    };
    // The resolver would take what is ambiguous, such as ::1:80.
    let parsed = HostPort::to_bind(address);
    let text = shown(address);
    let address = match parsed {
        Ok(parsed) => parsed,
        Err(NotHostPort {
            instead: Some(instead),
        }) if flag != "--host" => bail!("{flag} {text} is no address; write {instead}"),
        Err(_) => bail!("{flag} {text} {hint} {example}"),
    };
    let found = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .with_context(|| format!("{flag} {address} {hint} {example}"))?;
    let found: Vec<_> = found.collect();
    ensure!(!found.is_empty(), "{flag} {address} {hint} {example}");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_resolver_would_take_in_some_way_is_refused_with_the_way_out() {
        for (text, shown, instead) in [
            ("::1:80", "::1:80", "[::1]:80"),
            ("user:secret@127.0.0.1:80", "…@…", "127.0.0.1:80"),
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
