//! What the sockets of a run looked like: two looks as one, of one process or of several.

use crate::v1::SocketSample;

/// Two looks of one process one after the other: the worst of both, and the sum of what happened.
#[must_use]
pub fn in_turn(one: &SocketSample, other: &SocketSample) -> SocketSample {
    SocketSample {
        sampled: one.sampled.max(other.sampled),
        connections: one.connections.max(other.connections),
        ..worst(one, other)
    }
}

/// Looks of two processes at one time.
#[must_use]
pub fn side_by_side(one: &SocketSample, other: &SocketSample) -> SocketSample {
    SocketSample {
        sampled: one.sampled.saturating_add(other.sampled),
        connections: one.connections.saturating_add(other.connections),
        ..worst(one, other)
    }
}

/// A figure that one of them lacks is unset: the worst is not known then.
fn worst(one: &SocketSample, other: &SocketSample) -> SocketSample {
    let larger = |one: Option<u64>, other: Option<u64>| Some(one?.max(other?));
    SocketSample {
        rtt_smoothed_max_ns: one
            .rtt_smoothed_max_ns
            .zip(other.rtt_smoothed_max_ns)
            .map(|(one, other)| one.max(other)),
        retransmitted: one
            .retransmitted
            .zip(other.retransmitted)
            .map(|(one, other)| one.saturating_add(other)),
        unread_bytes_max: larger(one.unread_bytes_max, other.unread_bytes_max),
        unacknowledged_bytes_max: larger(
            one.unacknowledged_bytes_max,
            other.unacknowledged_bytes_max,
        ),
        ..SocketSample::default()
    }
}

/// What is known of two stretches: one in which none was looked at adds nothing.
#[must_use]
pub fn known(one: Option<&SocketSample>, other: Option<&SocketSample>) -> Option<SocketSample> {
    match (one, other) {
        (Some(one), Some(other)) => Some(in_turn(one, other)),
        (one, other) => one.or(other).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sampled: u32, figure: Option<u64>) -> SocketSample {
        SocketSample {
            sampled,
            connections: 2 * sampled,
            rtt_smoothed_max_ns: figure.map(u64::cast_signed),
            retransmitted: figure,
            unread_bytes_max: figure,
            unacknowledged_bytes_max: figure,
        }
    }

    #[test]
    fn the_worst_is_kept_what_happened_is_added_and_what_one_lacks_is_unset() {
        let (one, other) = (sample(3, Some(7)), sample(5, Some(4)));
        let both = in_turn(&one, &other);
        assert_eq!((both.sampled, both.connections), (5, 10));
        assert_eq!(
            (both.rtt_smoothed_max_ns, both.retransmitted),
            (Some(7), Some(11))
        );
        assert_eq!(both.unread_bytes_max, Some(7));
        let both = side_by_side(&one, &other);
        assert_eq!((both.sampled, both.connections), (8, 16));
        let lacking = in_turn(&one, &sample(9, None));
        assert_eq!(lacking, sample(9, None));
        assert_eq!(known(Some(&one), None), Some(one));
        assert_eq!(known(None, None), None);
    }
}
