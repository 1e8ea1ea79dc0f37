//! How long before the first packet is due the order to start goes out, ns. Pure.

/// From the decision to start to the first packet due, at least: long enough for the order to reach
/// a pacing thread of an agent that is near. Most of what is from StartRun to the first packet.
pub(crate) const START_LEAD_NS: u64 = START_MARGIN_NS;
/// The first packet is not due later than this, however far an agent is.
const START_LEAD_NS_MAX: u64 = 5_000_000_000;
/// What a client needs to send its start: one write, on a busy host.
const CLIENT_START_NS: u64 = 10_000;
/// What an order needs beside its way.
const START_MARGIN_NS: u64 = 10_000_000;

/// What an agent with so many clients on a pacing thread needs, a round trip away. The order to
/// start gets one and a half times that, since one way may take nearly all of it and the next one
/// longer; then each client sends its start.
pub(super) fn needed_ns(round_trip_ns: u64, clients: u32) -> u64 {
    let way_ns = round_trip_ns.saturating_add(round_trip_ns / 2);
    let starts_ns = u64::from(clients) * CLIENT_START_NS;
    START_MARGIN_NS
        .saturating_add(way_ns)
        .saturating_add(starts_ns)
}

/// From the decision to start to the first packet due, when the slowest agent needs so long.
pub(super) fn lead_ns(needed_ns: u64) -> u64 {
    needed_ns.clamp(START_LEAD_NS, START_LEAD_NS_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_arrives_and_every_client_has_sent_its_start_before_the_first_packet_is_due(
            (forth_ns, back_ns) in (0..1_500_000_000_u64, 0..1_500_000_000_u64),
            slower_percent in 0..50_u64,
            clients in 0..10_000_u32,
        ) {
            let round_trip_ns = forth_ns + back_ns;
            let lead_ns = lead_ns(needed_ns(round_trip_ns, clients));
            // All of the round trip may have been the way forth, and the next one takes longer.
            let arrives_ns = round_trip_ns + round_trip_ns * slower_percent / 100;
            prop_assert!(arrives_ns + u64::from(clients) * CLIENT_START_NS < lead_ns);
        }
    }
}
