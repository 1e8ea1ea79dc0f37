//! TCP_INFO: what the kernel reports of a TCP connection, as far as we need it.
//!
//! Neither std nor rustix nor socket2 reads it. Counts are bytes since the connection was made.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

// Offsets in struct tcp_info of linux/tcp.h; the kernel only ever appends to it.
const STATE_AT: usize = 0;
const BYTES_ACKED_AT: usize = 120;
const BYTES_RECEIVED_AT: usize = 128;
const TCP_INFO_BYTES: usize = 136;

/// One reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpInfo {
    /// From net/tcp_states.h.
    pub state: u8,
    /// Bytes that the peer's kernel has acknowledged, our SYN and FIN counted as one each.
    pub bytes_acked: u64,
    /// Bytes that have come in order, the peer's FIN counted as one.
    pub bytes_received: u64,
}

impl TcpInfo {
    /// Asks the kernel.
    ///
    /// # Errors
    /// Whatever getsockopt(2) reports; `Unsupported` before Linux 4.1 (2015), which has no byte
    /// counts.
    pub fn read(socket: impl AsFd) -> io::Result<Self> {
        let mut info = [0_u8; TCP_INFO_BYTES];
        let mut length = TCP_INFO_BYTES as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes into `info` and the real length back.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &mut length,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        if (length as usize) < TCP_INFO_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "TCP_INFO needs Linux 4.1 or later",
            ));
        }
        let u64_at = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&info[at..at + 8]);
            u64::from_ne_bytes(bytes)
        };
        Ok(Self {
            state: info[STATE_AT],
            bytes_acked: u64_at(BYTES_ACKED_AT),
            bytes_received: u64_at(BYTES_RECEIVED_AT),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn the_fields_lie_where_the_kernels_header_has_them() {
        assert_eq!(offset_of!(libc::tcp_info, tcpi_state), STATE_AT);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_bytes_acked), BYTES_ACKED_AT);
        assert_eq!(
            offset_of!(libc::tcp_info, tcpi_bytes_received),
            BYTES_RECEIVED_AT
        );
        assert!(size_of::<libc::tcp_info>() >= TCP_INFO_BYTES);
    }
}
