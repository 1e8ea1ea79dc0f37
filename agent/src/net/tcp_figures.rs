//! What the kernel has seen of a connection, as the API has it.

use metronome_os::tcp_info::TcpPath;
use metronome_proto::v1;

/// The figures of the API. One above what that can hold is unset.
pub(crate) fn tcp_figures(path: TcpPath) -> v1::TcpInfo {
    let signed = |figure: Option<u64>| figure.and_then(|figure| i64::try_from(figure).ok());
    v1::TcpInfo {
        rtt_min_ns: signed(path.rtt_min_ns),
        rtt_smoothed_ns: signed(path.rtt_smoothed_ns),
        retransmitted: path.retransmitted,
        reordering_seen: path.reordering_seen,
        received_out_of_order: path.received_out_of_order,
        window_limited_ns: signed(path.window_limited_ns),
        delivery_bytes_per_s: path.delivery_bytes_per_s,
        path_mtu: path.path_mtu,
    }
}
