//! What the kernel of one end has seen of a client's connection (TCP_INFO). Times in ns.
//!
//! A figure that the kernel does not have is `None`. Those of an agent are its word: each may be
//! anything. Absent on purpose: how a kernel is asked (`os`) and what a figure means (`verdict`).

use metronome_proto::v1;
use serde::{Deserialize, Serialize};

/// One end's figures of one connection, as they were at its end.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct TcpFigures {
    /// The least round trip of late, and the smoothed one.
    pub(crate) rtt_min_ns: Option<u64>,
    pub(crate) rtt_smoothed_ns: Option<u64>,
    /// Segments that were sent again, those of the opening of the connection among them.
    pub(crate) retransmitted: Option<u64>,
    /// How often acknowledgements have shown that the path had reordered segments.
    pub(crate) reordering_seen: Option<u64>,
    /// Segments that came out of order.
    pub(crate) received_out_of_order: Option<u64>,
    /// Time in which nothing could be sent since the peer's receive window was full.
    pub(crate) window_limited_ns: Option<u64>,
    /// Bytes per second.
    pub(crate) delivery_bytes_per_s: Option<u64>,
    /// Bytes.
    pub(crate) path_mtu: Option<u32>,
}

/// What this host's kernel has counted of one connection, each `None` when it could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KernelFigures {
    /// Bytes ever taken off its socket.
    pub(crate) bytes_taken: Option<u64>,
    /// What was seen of its path.
    pub(crate) tcp: Option<TcpFigures>,
}

impl TcpFigures {
    /// Those that an agent reports. A negative time is none, and so is a count above the 32 bits
    /// that a kernel has for it.
    pub(crate) fn from_agent(reported: &v1::TcpInfo) -> Self {
        let count = |of: Option<u64>| of.filter(|count| *count <= u32::MAX.into());
        let time = |ns: Option<i64>| ns.and_then(|ns| u64::try_from(ns).ok());
        Self {
            rtt_min_ns: time(reported.rtt_min_ns),
            rtt_smoothed_ns: time(reported.rtt_smoothed_ns),
            retransmitted: count(reported.retransmitted),
            reordering_seen: count(reported.reordering_seen),
            received_out_of_order: count(reported.received_out_of_order),
            window_limited_ns: time(reported.window_limited_ns),
            delivery_bytes_per_s: reported.delivery_bytes_per_s,
            path_mtu: reported.path_mtu,
        }
    }

    /// As the API has them. A time above what that can hold is unset.
    pub(crate) fn to_proto(self) -> v1::TcpInfo {
        let signed = |ns: Option<u64>| ns.and_then(|ns| i64::try_from(ns).ok());
        v1::TcpInfo {
            rtt_min_ns: signed(self.rtt_min_ns),
            rtt_smoothed_ns: signed(self.rtt_smoothed_ns),
            retransmitted: self.retransmitted,
            reordering_seen: self.reordering_seen,
            received_out_of_order: self.received_out_of_order,
            window_limited_ns: signed(self.window_limited_ns),
            delivery_bytes_per_s: self.delivery_bytes_per_s,
            path_mtu: self.path_mtu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_reports_is_taken_as_it_is_but_for_what_no_kernel_can_have_counted() {
        let reported = v1::TcpInfo {
            rtt_min_ns: Some(-1),
            rtt_smoothed_ns: Some(0),
            retransmitted: Some(u32::MAX.into()),
            reordering_seen: None,
            received_out_of_order: Some(1 << 32),
            window_limited_ns: Some(i64::MAX),
            delivery_bytes_per_s: Some(5),
            path_mtu: Some(1_500),
        };
        let expected = v1::TcpInfo {
            rtt_min_ns: None,
            received_out_of_order: None,
            ..reported
        };
        assert_eq!(TcpFigures::from_agent(&reported).to_proto(), expected);
    }
}
