//! Where the time of all cores went between two readings: to other machines, to the runs of this
//! examination, to other work. Pure.

/// Shares of the time between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    /// Wanted by this machine and given to another one: 0 to 1, of all cores.
    pub(crate) stolen: f64,
    /// Cores that were in use for something else than the runs; what the runs take besides their
    /// pacing thread and workers is in it. `None`: the CPU of one of the runs is not known.
    pub(crate) other_cores: Option<f64>,
}

/// From two readings of the ticks of `cores` cores, and the CPU that pacing threads and workers
/// took in `elapsed_ns` between them. `None` where nothing was counted.
pub(crate) fn shares(
    before: &[u64],
    after: &[u64],
    cores: u32,
    (own_ns, elapsed_ns): (Option<i64>, u64),
) -> Option<Shares> {
    // Guest time, from the ninth on, is in user time already.
    let spent: Vec<u64> = before
        .iter()
        .zip(after)
        .take(8)
        .map(|(before, after)| after.saturating_sub(*before))
        .collect();
    let &[_, _, _, idle, waiting, _, _, stolen] = &spent[..] else {
        return None;
    };
    let all: u64 = spent.iter().sum();
    let share = |ticks: u64| ticks as f64 / all as f64;
    (all > 0 && elapsed_ns > 0).then(|| {
        let busy_cores = share(all - idle - waiting - stolen) * f64::from(cores);
        let other_cores = |own_ns: i64| (busy_cores - own_ns as f64 / elapsed_ns as f64).max(0.0);
        Shares {
            stolen: share(stolen),
            other_cores: own_ns.map(other_cores),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_from_what_was_spent_between_two_readings() {
        let before = [100, 0, 100, 1_000, 0, 0, 0, 10, 5, 0];
        let after = [130, 0, 110, 1_050, 0, 0, 0, 20, 9, 0];
        let second = 1_000_000_000;
        let found = |own_ns, elapsed_ns| shares(&before, &after, 2, (own_ns, elapsed_ns));
        let of_two_cores = |other_cores| {
            Some(Shares {
                stolen: 0.1,
                other_cores,
            })
        };
        assert_eq!(found(Some(0), second), of_two_cores(Some(0.8)));
        assert_eq!(found(Some(2_000_000_000), second), of_two_cores(Some(0.0)));
        assert_eq!(found(None, second), of_two_cores(None));
        assert_eq!(found(None, 0), None);
        assert_eq!(shares(&before, &before, 2, (None, second)), None);
        assert_eq!(shares(&[1], &[2], 2, (None, second)), None);
    }
}
