//! What the sockets of a run look like, looked at once a second: at most 64, in turn. Each look is
//! three questions to the kernel, some 3 us of a core; so a second costs 0.2 ms, however many
//! connections there are.

use std::{collections::HashMap, os::fd::AsFd};

use metronome_os::{
    socket::Queues,
    tcp_info::{TcpInfo, TcpPath},
};
use metronome_proto::v1::SocketSample;

/// Sockets in one look at most.
pub const SOCKETS_MAX: usize = 64;

/// How far the looks at the sockets of one run have come.
#[derive(Debug, Default)]
pub struct SocketLooks {
    /// Where the next look begins.
    next: usize,
    /// Segments that each had sent again when it was looked at last, by its key.
    retransmitted: HashMap<u64, u64>,
}

/// One socket.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    path: TcpPath,
    queues: Queues,
}

impl SocketLooks {
    /// Looks at the next ones of so many sockets. `socket` gives one by its place, with a key that
    /// no other socket of the run has or had; `None` where it is gone.
    ///
    /// `None`: no socket was there.
    pub fn look<S: AsFd>(
        &mut self,
        connections: usize,
        socket: impl Fn(usize) -> Option<(u64, S)>,
    ) -> Option<SocketSample> {
        let places = self.turn(connections);
        let seen: Vec<_> = places
            .filter_map(|place| {
                let (key, socket) = socket(place)?;
                let path = TcpInfo::read(&socket).ok()?.path;
                let queues = Queues::of(&socket);
                Some((key, Seen { path, queues }))
            })
            .collect();
        self.put_together(connections, &seen)
    }

    /// The places of the next look.
    fn turn(&mut self, connections: usize) -> impl Iterator<Item = usize> + use<> {
        let first = if self.next < connections {
            self.next
        } else {
            0
        };
        let count = connections.min(SOCKETS_MAX);
        self.next = first + count;
        (first..first + count).map(move |place| place % connections)
    }

    fn put_together(&mut self, connections: usize, seen: &[(u64, Seen)]) -> Option<SocketSample> {
        // Those that are gone are not asked for again.
        if self.retransmitted.len() > 2 * connections.max(SOCKETS_MAX) {
            self.retransmitted.clear();
        }
        let mut retransmitted = Some(0_u64);
        for (key, of) in seen {
            let more = of.path.retransmitted.map(|now| {
                let then = self.retransmitted.insert(*key, now);
                then.map_or(0, |then| now.saturating_sub(then))
            });
            retransmitted = retransmitted
                .zip(more)
                .map(|(sum, more)| sum.saturating_add(more));
        }
        let most =
            |figure: fn(&Seen) -> Option<u64>| seen.iter().filter_map(|(_, of)| figure(of)).max();
        let rtt_ns = most(|of| of.path.rtt_smoothed_ns);
        (!seen.is_empty()).then(|| SocketSample {
            sampled: u32::try_from(seen.len()).unwrap_or(u32::MAX),
            connections: u32::try_from(connections).unwrap_or(u32::MAX),
            rtt_smoothed_max_ns: rtt_ns.and_then(|ns| i64::try_from(ns).ok()),
            retransmitted,
            unread_bytes_max: most(|of| of.queues.unread),
            unacknowledged_bytes_max: most(|of| of.queues.unacknowledged),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
    };

    use proptest::prelude::*;

    use super::*;

    fn seen(retransmitted: Option<u64>) -> Seen {
        Seen {
            path: TcpPath {
                retransmitted,
                ..TcpPath::default()
            },
            queues: Queues::default(),
        }
    }

    proptest! {
        #[test]
        fn every_socket_is_looked_at_in_its_turn_and_none_twice_in_a_look(
            connections in 0..500_usize,
        ) {
            let mut looks = SocketLooks::default();
            let mut times = vec![0; connections];
            let turns = connections.div_ceil(SOCKETS_MAX).max(1);
            for _ in 0..turns {
                let places: Vec<_> = looks.turn(connections).collect();
                prop_assert!(places.len() <= SOCKETS_MAX);
                places.iter().for_each(|place| times[*place] += 1);
            }
            prop_assert!(times.iter().all(|times| (1..=2).contains(times)), "{:?}", times);
        }

        #[test]
        fn however_many_sockets_come_and_go_few_are_kept(
            looks in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..64), 0..50),
        ) {
            let mut all = SocketLooks::default();
            for keys in looks {
                let seen: Vec<_> = keys.iter().map(|key| (*key, seen(Some(1)))).collect();
                let _ = all.put_together(10, &seen);
                prop_assert!(all.retransmitted.len() <= 3 * SOCKETS_MAX);
            }
        }
    }

    #[test]
    fn a_socket_adds_what_it_has_sent_again_since_the_look_before() {
        let mut looks = SocketLooks::default();
        let mut at = |key, count| {
            let sample = looks.put_together(2, &[(key, seen(count))]).unwrap();
            sample.retransmitted
        };
        assert_eq!(at(1, Some(7)), Some(0), "it had them before");
        assert_eq!(at(2, Some(5)), Some(0));
        assert_eq!(at(1, Some(9)), Some(2));
        assert_eq!(at(1, Some(3)), Some(0));
        assert_eq!(at(1, None), None);
    }

    #[test]
    fn what_nobody_reads_is_seen_at_the_end_that_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(&[1; 320]).unwrap();
        let mut looks = SocketLooks::default();
        let sample = loop {
            let sample = looks
                .look(2, |place| [Some((0, &server)), None][place])
                .unwrap();
            if sample.unread_bytes_max == Some(320) {
                break sample;
            }
        };
        assert_eq!((sample.sampled, sample.connections), (1, 2));
        assert!(sample.retransmitted.is_some());
        assert_eq!(
            SocketLooks::default().look(1, |_| None::<(u64, &TcpStream)>),
            None
        );
    }
}
