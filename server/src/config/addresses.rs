//! Addresses that flags name, resolved to those that can be bound.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, bail, ensure};
use metronome_proto::{GRPC_ADDRESS_DEFAULT, HTTP_ADDRESS_DEFAULT, address::HostPort};

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
    let address = match (parsed, flag) {
        (Ok(parsed), _) => parsed,
        (Err(_), "--host") => bail!("{flag} {address} {hint} {example}"),
        (Err(not), _) => bail!("{flag} {address} is no address; {not}"),
    };
    let found = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .with_context(|| format!("{flag} {address} {hint} {example}"))?;
    let found: Vec<_> = found.collect();
    ensure!(!found.is_empty(), "{flag} {address} {hint} {example}");
    Ok(found)
}
