//! Addresses that flags name, resolved to those that can be bound.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, ensure};
use metronome_proto::{GRPC_ADDRESS_DEFAULT, HTTP_ADDRESS_DEFAULT};

/// The addresses of `address`, at least one. `flag` is named in the error.
pub(super) fn resolve(flag: &str, address: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let hint = "is no address of this host; write for example";
    let example = match flag {
        "--grpc" => GRPC_ADDRESS_DEFAULT,
        "--http" => HTTP_ADDRESS_DEFAULT,
        _ => "127.0.0.1",
    };
    let found = address
        .to_socket_addrs()
        .with_context(|| format!("{flag} {address} {hint} {example}"))?;
    let found: Vec<_> = found.collect();
    ensure!(!found.is_empty(), "{flag} {address} {hint} {example}");
    Ok(found)
}
