//! Who brings which clients: an even division among agents, as a pure function.

/// Divides `clients` evenly among agents that take at most `capacities[i]` each; the first ones get
/// the rest, and what one cannot take the others do. `None` when all together cannot take them.
pub(crate) fn divide(clients: u32, capacities: &[u32]) -> Option<Vec<u32>> {
    // As water fills vessels of different heights: everyone up to one level, or to its brim.
    let filled = |level: u32| {
        capacities
            .iter()
            .map(|capacity| u64::from(*capacity.min(&level)))
            .sum::<u64>()
    };
    let wanted = u64::from(clients);
    if filled(clients) < wanted {
        return None;
    }
    let (mut level, mut too_high) = (0, clients.saturating_add(1));
    while too_high - level > 1 {
        let middle = level + (too_high - level) / 2;
        if filled(middle) <= wanted {
            level = middle
        } else {
            too_high = middle
        }
    }
    let mut rest = wanted - filled(level);
    let share = |capacity: &u32| {
        let one_more = rest > 0 && *capacity > level;
        rest -= u64::from(one_more);
        capacity.min(&level) + u32::from(one_more)
    };
    Some(capacities.iter().map(share).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_ones_get_the_rest_and_the_strong_carry_for_the_weak() {
        assert_eq!(divide(10, &[100]), Some(vec![10]));
        assert_eq!(divide(10, &[100; 3]), Some(vec![4, 3, 3]));
        assert_eq!(divide(10, &[2, 100, 100]), Some(vec![2, 4, 4]));
        assert_eq!(divide(2, &[100; 3]), Some(vec![1, 1, 0]));
        assert_eq!(divide(10, &[4, 5]), None);
        assert_eq!(divide(10, &[]), None);
        assert_eq!(divide(10, &[0, 10]), Some(vec![0, 10]));
    }

    proptest! {
        #[test]
        fn every_client_is_given_once_and_nobody_gets_more_than_it_takes(
            clients in 1..=10_000_u32, capacities in prop::collection::vec(0..=10_000_u32, 0..20),
        ) {
            let enough = capacities.iter().sum::<u32>() >= clients;
            let shares = divide(clients, &capacities);
            prop_assert_eq!(shares.is_some(), enough);
            if let Some(shares) = shares {
                prop_assert_eq!(shares.iter().sum::<u32>(), clients);
                prop_assert!(shares.iter().zip(&capacities).all(|(share, capacity)| share <= capacity));
                let most = shares.iter().max().copied().unwrap_or(0);
                let could_take_more = shares.iter().zip(&capacities).filter(|(share, capacity)| share < capacity);
                prop_assert!(could_take_more.map(|(share, _)| share + 1).all(|more| more >= most), "{:?}", shares);
            }
        }
    }
}
