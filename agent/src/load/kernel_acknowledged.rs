//! How many bytes of packets the kernel of the receiver has acknowledged, according to TCP_INFO.
//!
//! The kernel counts every byte of the connection since it was made, its SYN and FIN as one each.
//! What was acknowledged before the first packet and the bytes of the end are taken off. Pure.

/// The acknowledged bytes of one client.
#[derive(Debug)]
pub(crate) struct KernelAcknowledged {
    /// Before the first packet. `None` where the kernel has no such figure.
    before: Option<u64>,
    /// Bytes behind the packets: the end frame, and the FIN as one.
    closing_bytes: u64,
    packet_bytes: Option<u64>,
    /// Nothing that was sent is left to be acknowledged.
    is_all: Option<bool>,
}

impl KernelAcknowledged {
    /// `before` is what the kernel has counted before the first packet.
    pub(crate) fn new(before: Option<u64>) -> Self {
        Self {
            before,
            closing_bytes: 0,
            packet_bytes: None,
            is_all: None,
        }
    }

    /// The kernel took this many bytes before the first packet.
    pub(super) fn add_opening(&mut self, bytes: usize) {
        self.before = self.before.map(|before| before + bytes as u64);
    }

    /// The kernel took this many bytes behind the packets.
    pub(super) fn add_closing(&mut self, bytes: usize) {
        self.closing_bytes += bytes as u64;
    }

    /// `now` is what the kernel has counted, after `sent_bytes` of whole packets.
    pub(super) fn update(&mut self, now: Option<u64>, sent_bytes: u64) {
        if let Some((now, before)) = now.zip(self.before) {
            // Packets come first on the wire, so what is beyond them is of the end, but no more
            // than was sent of that: a kernel that reports more contradicts us, which must show.
            let acknowledged = now.saturating_sub(before);
            let beyond = acknowledged.saturating_sub(sent_bytes);
            self.packet_bytes = Some(acknowledged - beyond.min(self.closing_bytes));
            let all = sent_bytes + self.closing_bytes;
            self.is_all = Some(acknowledged >= all);
        }
    }

    /// Whether every packet and all of the end was acknowledged. `None` as for
    /// [`KernelAcknowledged::packet_bytes`].
    pub(super) fn is_all(&self) -> Option<bool> {
        self.is_all
    }

    /// Bytes of packets. `None` before the first update, or without figures.
    pub(super) fn packet_bytes(&self) -> Option<u64> {
        self.packet_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_beyond_the_packets_is_of_the_end_but_no_more_than_was_sent_of_it() {
        for (closing_bytes, packet_bytes) in [
            (0, 360),
            (32, 328),
            (8, 352),
            (33, 327),
            (40, 320),
            (50, 320),
        ] {
            let mut acknowledged = KernelAcknowledged::new(Some(1));
            acknowledged.add_closing(closing_bytes);
            acknowledged.update(Some(1 + 10 * 32 + 40), 10 * 32);
            assert_eq!(
                acknowledged.packet_bytes(),
                Some(packet_bytes),
                "{closing_bytes}"
            );
        }
    }

    #[test]
    fn what_was_sent_before_the_first_packet_is_none_even_while_it_is_on_its_way() {
        let mut acknowledged = KernelAcknowledged::new(Some(1));
        acknowledged.add_opening(32);
        for (now, packet_bytes, is_all) in [(1, 0, false), (33, 0, false), (33 + 64, 64, true)] {
            acknowledged.update(Some(now), 2 * 32);
            assert_eq!(acknowledged.packet_bytes(), Some(packet_bytes));
            assert_eq!(acknowledged.is_all(), Some(is_all));
        }
    }

    #[test]
    fn without_a_figure_there_is_none() {
        let mut acknowledged = KernelAcknowledged::new(None);
        acknowledged.update(Some(320), 320);
        assert_eq!(acknowledged.packet_bytes(), None);
    }
}
