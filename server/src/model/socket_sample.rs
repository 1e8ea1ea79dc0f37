//! What an agent states of its sockets: its word, without figures that cannot be. Pure.

use metronome_proto::v1::SocketSample;

/// An agent looks at no more sockets at once.
const SAMPLED_MAX: u32 = 64;

/// A kernel counts microseconds and segments in 32 bits, and the bytes of a queue in 31.
const RTT_NS_MAX: i64 = u32::MAX as i64 * 1_000;
const SEGMENTS_MAX: u64 = SAMPLED_MAX as u64 * u32::MAX as u64;
const QUEUE_BYTES_MAX: u64 = i32::MAX as u64;

/// That of an agent with so many clients. `None` where it did not look at any, or at more than it
/// has.
pub(crate) fn possible(sample: SocketSample, clients: u32) -> Option<SocketSample> {
    let sampled_max = sample.connections.min(SAMPLED_MAX);
    let is_possible = (1..=sampled_max).contains(&sample.sampled) && sample.connections <= clients;
    let bytes = |figure: Option<u64>| figure.filter(|bytes| *bytes <= QUEUE_BYTES_MAX);
    is_possible.then(|| SocketSample {
        rtt_smoothed_max_ns: sample
            .rtt_smoothed_max_ns
            .filter(|ns| (0..=RTT_NS_MAX).contains(ns)),
        retransmitted: sample
            .retransmitted
            .filter(|segments| *segments <= SEGMENTS_MAX),
        unread_bytes_max: bytes(sample.unread_bytes_max),
        unacknowledged_bytes_max: bytes(sample.unacknowledged_bytes_max),
        ..sample
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_an_agent_states_what_is_shown_is_possible(
            counts in prop::array::uniform2(prop_oneof![any::<u32>(), 0..100_u32]),
            rtt_ns in prop::option::of(any::<i64>()),
            figures in prop::array::uniform3(prop::option::of(any::<u64>())),
            clients in 0..100_u32,
        ) {
            let [sampled, connections] = counts;
            let stated = SocketSample {
                sampled,
                connections,
                rtt_smoothed_max_ns: rtt_ns,
                retransmitted: figures[0],
                unread_bytes_max: figures[1],
                unacknowledged_bytes_max: figures[2],
            };
            let Some(shown) = possible(stated, clients) else {
                let is_none = sampled == 0 || sampled > 64;
                prop_assert!(is_none || sampled > connections || connections > clients);
                return Ok(());
            };
            prop_assert!(shown.sampled <= shown.connections && shown.connections <= clients);
            prop_assert!(shown.rtt_smoothed_max_ns.is_none_or(|ns| (0..=RTT_NS_MAX).contains(&ns)));
            prop_assert!(shown.retransmitted.is_none_or(|segments| segments <= SEGMENTS_MAX));
            prop_assert!(shown.unread_bytes_max.is_none_or(|bytes| bytes <= QUEUE_BYTES_MAX));
            let as_stated = shown.retransmitted == stated.retransmitted;
            prop_assert!(shown.retransmitted.is_none() || as_stated);
        }
    }
}
