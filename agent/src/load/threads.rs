//! Which clients each pacing thread has. Pure.
//!
//! A thread that floods writes as long as there is room and never waits, so it cannot keep another
//! client's due times: where an agent has clients of both kinds, each kind has threads of its own,
//! by the numbers of their clients and at least one. So one thread for a mixed load is two.

use std::ops::Range;

/// What one thread has of each share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ThreadPart {
    /// Whether its clients flood.
    pub is_flood: bool,
    /// Positions of shares and indices of clients of each, in the order of the shares; none empty.
    pub clients: Vec<(usize, Range<u32>)>,
}

impl ThreadPart {
    /// How many clients it has, of all shares.
    pub(super) fn client_count(&self) -> usize {
        self.clients.iter().map(|(_, clients)| clients.len()).sum()
    }
}

/// Divides the clients of `shares`, each with whether it is a flood, among so many threads: as
/// evenly as can be, in one order, no thread without a client.
pub(super) fn parts(shares: &[(Range<u32>, bool)], threads: u32) -> Vec<ThreadPart> {
    let clients_of = |is_flood: bool| {
        let of_kind = shares.iter().filter(|(_, flood)| *flood == is_flood);
        of_kind
            .map(|(clients, _)| clients.len() as u32)
            .sum::<u32>()
    };
    let (paced, floods) = (clients_of(false), clients_of(true));
    let for_floods = match (paced, floods) {
        (_, 0) => 0,
        (0, _) => threads,
        _ => {
            let threads = threads.max(2);
            let even = u64::from(threads) * u64::from(floods) / u64::from(paced + floods);
            (even as u32).clamp(1, threads - 1)
        }
    };
    let for_paced = match paced {
        0 => 0,
        _ => threads.saturating_sub(for_floods).max(1),
    };
    let mut parts = parts_of_kind(shares, false, (paced, for_paced));
    parts.extend(parts_of_kind(shares, true, (floods, for_floods)));
    parts
}

fn parts_of_kind(
    shares: &[(Range<u32>, bool)],
    is_flood: bool,
    (clients, threads): (u32, u32),
) -> Vec<ThreadPart> {
    let threads = threads.min(clients);
    // Positions among the clients of the kind.
    let cut =
        |thread: u32| (u64::from(clients) * u64::from(thread) / u64::from(threads.max(1))) as u32;
    let part = |thread: u32| ThreadPart {
        is_flood,
        clients: within(shares, is_flood, cut(thread)..cut(thread + 1)),
    };
    (0..threads).map(part).collect()
}

/// The clients at these positions among those of one kind.
fn within(
    shares: &[(Range<u32>, bool)],
    is_flood: bool,
    positions: Range<u32>,
) -> Vec<(usize, Range<u32>)> {
    let mut begins = 0;
    let mut found = Vec::new();
    for (index, (clients, flood)) in shares.iter().enumerate() {
        if *flood != is_flood {
            continue;
        }
        let ends = begins + clients.len() as u32;
        let (from, until) = (positions.start.max(begins), positions.end.min(ends));
        if from < until {
            let at = |position: u32| clients.start + (position - begins);
            found.push((index, at(from)..at(until)));
        }
        begins = ends;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares() -> impl Strategy<Value = Vec<(Range<u32>, bool)>> {
        let share = (0..50_u32, 1..500_u32, any::<bool>());
        prop::collection::vec(share, 1..16).prop_map(|shares| {
            let mut next = 0;
            let placed = shares.into_iter().map(|(gap, clients, is_flood)| {
                let first = next + gap;
                next = first + clients;
                (first..next, is_flood)
            });
            placed.collect()
        })
    }

    proptest! {
        #[test]
        fn threads_have_every_client_once_and_evenly_and_only_one_kind(
            shares in shares(), threads in 1..=64_u32,
        ) {
            let parts = parts(&shares, threads);
            let mut had = Vec::new();
            for part in &parts {
                for (share, clients) in &part.clients {
                    prop_assert_eq!(shares[*share].1, part.is_flood);
                    prop_assert!(!clients.is_empty());
                    had.extend(clients.clone());
                }
            }
            had.sort_unstable();
            let all: Vec<u32> = shares.iter().flat_map(|(clients, _)| clients.clone()).collect();
            prop_assert_eq!(&had, &all);
            let is_mixed = shares.iter().any(|share| share.1 != shares[0].1);
            let wanted = if is_mixed { threads.max(2) } else { threads };
            prop_assert!(parts.len() as u32 <= wanted);
            if !is_mixed {
                prop_assert_eq!(parts.len(), (threads as usize).min(all.len()));
            }
            for is_flood in [false, true] {
                let of_kind = parts.iter().filter(|part| part.is_flood == is_flood);
                let sizes: Vec<usize> = of_kind.map(ThreadPart::client_count).collect();
                let has_some = shares.iter().any(|share| share.1 == is_flood);
                prop_assert_eq!(!sizes.is_empty(), has_some);
                if let (Some(min), Some(max)) = (sizes.iter().min(), sizes.iter().max()) {
                    prop_assert!(max - min <= 1);
                }
            }
        }
    }

    #[test]
    fn one_thread_for_a_flood_and_paced_clients_is_two() {
        let parts = parts(&[(0..10, false), (10..12, true)], 1);
        let kinds: Vec<bool> = parts.iter().map(|part| part.is_flood).collect();
        assert_eq!(kinds, [false, true]);
    }
}
