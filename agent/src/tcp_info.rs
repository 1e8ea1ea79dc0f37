//! What the kernel knows of a TCP connection, as far as we need it: one number.
//!
//! Neither std nor rustix nor socket2 reads TCP_INFO. nix has no such option ready either, but its
//! macro makes one, and keeps the unsafe call on its side.

use std::os::fd::AsFd;

use nix::{getsockopt_impl, sockopt_impl, sys::socket::GetSockOpt as _};

/// How many bytes the peer's kernel has acknowledged since the connection was made, its SYN and FIN
/// counted as one each. `None` when the kernel does not tell.
pub(crate) fn acknowledged_bytes(socket: &impl AsFd) -> Option<u64> {
    TcpInfo.get(socket).ok().map(|head| head.bytes_acked)
}

/// The first 128 bytes of `struct tcp_info`, which linux/tcp.h has laid down for ever. The last of
/// them, tcpi_bytes_acked, came with Linux 4.1 in 2015; this agent needs that or a newer one.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(
    unreachable_pub,
    reason = "the macro below makes a public type that tells this one"
)]
pub struct TcpInfoHead {
    before: [u64; 15],
    bytes_acked: u64,
}

sockopt_impl!(
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    TcpInfoHead
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_lies_where_the_kernels_header_has_it() {
        assert_eq!(
            std::mem::offset_of!(TcpInfoHead, bytes_acked),
            std::mem::offset_of!(libc::tcp_info, tcpi_bytes_acked)
        );
    }
}
