//! TCP_INFO: what the kernel reports of a TCP connection, as far as we need it.
//!
//! Neither std nor rustix nor socket2 reads it. Counts are since the connection was made. The one
//! reader of it; what a figure means for a run is decided elsewhere.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

// Offsets in struct tcp_info of linux/tcp.h; the kernel only ever appends to it.
const STATE_AT: usize = 0;
const PATH_MTU_AT: usize = 60;
const RTT_AT: usize = 68;
const TOTAL_RETRANSMITTED_AT: usize = 100;
const BYTES_ACKED_AT: usize = 120;
const BYTES_RECEIVED_AT: usize = 128;
const RTT_MIN_AT: usize = 148;
const DELIVERY_RATE_AT: usize = 160;
const WINDOW_LIMITED_AT: usize = 176;
const REORDERING_SEEN_AT: usize = 220;
const RECEIVED_OUT_OF_ORDER_AT: usize = 224;

/// What every kernel that we run on has: up to the byte counts.
const BYTES_NEEDED: usize = 136;
/// What we have a use for.
const BYTES_USED: usize = 228;

const NS_PER_US: u64 = 1_000;

/// One reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpInfo {
    /// From net/tcp_states.h.
    pub state: u8,
    /// Bytes that the peer's kernel has acknowledged, our SYN and FIN counted as one each.
    pub bytes_acked: u64,
    /// Bytes that have come in order, the peer's FIN counted as one.
    pub bytes_received: u64,
    /// What this end has seen of the path.
    pub path: TcpPath,
}

/// What one end of a connection has seen of the path to the other. A figure that the kernel does
/// not have, or has not measured yet, is `None`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpPath {
    /// The least round trip of late (the kernel forgets one after five minutes by default), ns.
    pub rtt_min_ns: Option<u64>,
    /// The smoothed round trip, ns.
    pub rtt_smoothed_ns: Option<u64>,
    /// Segments that were sent again, also where that was not needed.
    pub retransmitted: Option<u64>,
    /// How often acknowledgements have shown that the path had reordered segments. Linux 4.19.
    pub reordering_seen: Option<u64>,
    /// Segments that came out of order. Linux 5.4.
    pub received_out_of_order: Option<u64>,
    /// Time in which nothing could be sent since the peer's receive window was full, ns.
    /// Linux 4.10.
    pub window_limited_ns: Option<u64>,
    /// Bytes per second, as the kernel last measured it. Linux 4.9.
    pub delivery_bytes_per_s: Option<u64>,
    /// Bytes of the largest packet of the path, as far as the kernel has it.
    pub path_mtu: Option<u32>,
}

impl TcpInfo {
    /// Asks the kernel. A connection that is over has its last figures until it is closed.
    ///
    /// # Errors
    /// Whatever getsockopt(2) reports; `Unsupported` before Linux 4.1 (2015), which has no byte
    /// counts.
    pub fn read(socket: impl AsFd) -> io::Result<Self> {
        let mut info = [0_u8; BYTES_USED];
        let mut length = BYTES_USED as libc::socklen_t;
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
        let written = info.get(..length as usize).unwrap_or(&info);
        Self::parse(written).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "TCP_INFO needs Linux 4.1 or later",
            )
        })
    }

    /// Takes what the kernel has written, which may be shorter than what we have a use for.
    fn parse(info: &[u8]) -> Option<Self> {
        if info.len() < BYTES_NEEDED {
            return None;
        }
        Some(Self {
            state: *info.get(STATE_AT)?,
            bytes_acked: u64_at(info, BYTES_ACKED_AT)?,
            bytes_received: u64_at(info, BYTES_RECEIVED_AT)?,
            path: TcpPath::parse(info),
        })
    }
}

impl TcpPath {
    fn parse(info: &[u8]) -> Self {
        let count_at = |at| u32_at(info, at).map(u64::from);
        let is_measured = |figure: &u64| *figure != 0;
        Self {
            // The kernel has the greatest number there until it has measured one.
            rtt_min_ns: u32_at(info, RTT_MIN_AT)
                .filter(|us| *us != u32::MAX)
                .map(u64::from)
                .filter(is_measured)
                .map(|us| us * NS_PER_US),
            rtt_smoothed_ns: count_at(RTT_AT)
                .filter(is_measured)
                .map(|us| us * NS_PER_US),
            retransmitted: count_at(TOTAL_RETRANSMITTED_AT),
            reordering_seen: count_at(REORDERING_SEEN_AT),
            received_out_of_order: count_at(RECEIVED_OUT_OF_ORDER_AT),
            window_limited_ns: u64_at(info, WINDOW_LIMITED_AT)
                .and_then(|us| us.checked_mul(NS_PER_US)),
            delivery_bytes_per_s: u64_at(info, DELIVERY_RATE_AT).filter(is_measured),
            path_mtu: u32_at(info, PATH_MTU_AT).filter(|mtu| *mtu != 0),
        }
    }
}

fn u32_at(info: &[u8], at: usize) -> Option<u32> {
    let bytes = info.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn u64_at(info: &[u8], at: usize) -> Option<u64> {
    let bytes = info.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        mem::{offset_of, size_of},
        net::{TcpListener, TcpStream},
    };

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fields_lie_where_the_kernels_header_has_them() {
        assert_eq!(offset_of!(libc::tcp_info, tcpi_state), STATE_AT);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_pmtu), PATH_MTU_AT);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_rtt), RTT_AT);
        assert_eq!(
            offset_of!(libc::tcp_info, tcpi_total_retrans),
            TOTAL_RETRANSMITTED_AT
        );
        assert_eq!(offset_of!(libc::tcp_info, tcpi_bytes_acked), BYTES_ACKED_AT);
        assert_eq!(
            offset_of!(libc::tcp_info, tcpi_bytes_received),
            BYTES_RECEIVED_AT
        );
        assert_eq!(offset_of!(libc::tcp_info, tcpi_min_rtt), RTT_MIN_AT);
        assert_eq!(
            offset_of!(libc::tcp_info, tcpi_delivery_rate),
            DELIVERY_RATE_AT
        );
        assert_eq!(
            offset_of!(libc::tcp_info, tcpi_rwnd_limited),
            WINDOW_LIMITED_AT
        );
        assert_eq!(
            offset_of!(libc::tcp_info, tcpi_reord_seen),
            REORDERING_SEEN_AT
        );
        assert_eq!(
            offset_of!(libc::tcp_info, tcpi_rcv_ooopack),
            RECEIVED_OUT_OF_ORDER_AT
        );
        assert!(size_of::<libc::tcp_info>() >= BYTES_USED);
    }

    #[test]
    fn both_ends_of_a_connection_have_figures_of_its_path() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for _ in 0..3 {
            client.write_all(b"there").unwrap();
            server.read_exact(&mut [0; 5]).unwrap();
            server.write_all(b"again").unwrap();
            client.read_exact(&mut [0; 5]).unwrap();
        }
        for end in [&client, &server] {
            let path = TcpInfo::read(end).unwrap().path;
            let rtt_min_ns = path.rtt_min_ns.unwrap();
            assert!((1_000..10_000_000_000).contains(&rtt_min_ns), "{path:?}");
            assert!(path.rtt_smoothed_ns.is_some(), "{path:?}");
            assert!(path.path_mtu.unwrap() > 1_000, "{path:?}");
            assert!(path.retransmitted.is_some(), "{path:?}");
        }
    }

    #[test]
    fn what_the_kernel_has_not_measured_is_no_figure() {
        let mut info = [0; BYTES_USED];
        info[RTT_MIN_AT..RTT_MIN_AT + 4].fill(0xFF);
        let path = TcpInfo::parse(&info).unwrap().path;
        let counted_only = TcpPath {
            retransmitted: Some(0),
            reordering_seen: Some(0),
            received_out_of_order: Some(0),
            window_limited_ns: Some(0),
            ..TcpPath::default()
        };
        assert_eq!(path, counted_only);
    }

    #[test]
    fn an_older_kernel_has_fewer_figures_and_never_a_part_of_one() {
        let mut info = [1; BYTES_USED];
        info[WINDOW_LIMITED_AT..][..8].copy_from_slice(&7_u64.to_ne_bytes());
        let figures = |length| {
            let path = TcpInfo::parse(&info[..length]).unwrap().path;
            [
                path.rtt_min_ns.is_some(),
                path.delivery_bytes_per_s.is_some(),
                path.window_limited_ns.is_some(),
                path.reordering_seen.is_some(),
                path.received_out_of_order.is_some(),
            ]
        };
        let [no, yes] = [false, true];
        assert_eq!(figures(BYTES_NEEDED), [no; 5]);
        assert_eq!(figures(RTT_MIN_AT + 3), [no; 5]);
        assert_eq!(figures(RTT_MIN_AT + 4), [yes, no, no, no, no]);
        assert_eq!(figures(DELIVERY_RATE_AT + 8), [yes, yes, no, no, no]);
        assert_eq!(figures(WINDOW_LIMITED_AT + 8), [yes, yes, yes, no, no]);
        assert_eq!(figures(REORDERING_SEEN_AT + 4), [yes, yes, yes, yes, no]);
        assert_eq!(figures(BYTES_USED), [yes; 5]);
    }

    proptest! {
        #[test]
        fn any_bytes_of_any_length_are_a_reading_or_too_short(
            info in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let reading = TcpInfo::parse(&info);
            prop_assert_eq!(reading.is_some(), info.len() >= BYTES_NEEDED);
        }
    }
}
