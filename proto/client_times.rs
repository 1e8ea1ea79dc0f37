//! The p99 of each client in a stretch of time: which client is in which row, and two stretches as
//! one. Times in ns.

use std::{collections::BTreeMap, ops::Range};

use crate::v1::{ClientTimes, Metric};

/// Rows at most: a run of more clients has several in each.
pub const ROWS_MAX: u32 = 256;

impl ClientTimes {
    /// What is known of a run with so many clients: that none of them has a packet yet.
    #[must_use]
    pub fn empty(time: Metric, clients: u32) -> Self {
        Self {
            time: time.into(),
            clients,
            clients_per_row: clients.div_ceil(ROWS_MAX).max(1),
            ..Self::default()
        }
    }

    /// The p99 of each row, `None` for one without a packet. Nothing where the lists do not fit
    /// each other: those that another program has written may be anything.
    #[must_use]
    pub fn by_row(&self) -> Vec<Option<i64>> {
        let count = self.clients.div_ceil(self.clients_per_row.max(1));
        if count > ROWS_MAX || self.rows.len() != self.p99_ns.len() {
            return Vec::new();
        }
        let mut rows = vec![None; count as usize];
        for (row, p99_ns) in self.rows.iter().zip(&self.p99_ns) {
            if let Some(known) = rows.get_mut(*row as usize) {
                *known = Some(*p99_ns);
            }
        }
        rows
    }

    /// The clients of a row.
    #[must_use]
    pub fn clients_of(&self, row: u32) -> Range<u32> {
        let first = row.saturating_mul(self.clients_per_row).min(self.clients);
        first..first.saturating_add(self.clients_per_row).min(self.clients)
    }

    /// With these values, by rising row; the slowest of each row counts.
    #[must_use]
    pub fn with(self, of_clients: impl Iterator<Item = (u32, i64)>) -> Self {
        let rows = self.rows.iter().copied().zip(self.p99_ns.iter().copied());
        let added = of_clients
            .filter(|(client, _)| *client < self.clients)
            .map(|(client, p99_ns)| (client / self.clients_per_row.max(1), p99_ns));
        let mut slowest = BTreeMap::new();
        for (row, p99_ns) in rows.chain(added) {
            let known = slowest.entry(row).or_insert(p99_ns);
            *known = p99_ns.max(*known);
        }
        let (rows, p99_ns) = slowest.into_iter().unzip();
        Self {
            rows,
            p99_ns,
            ..self
        }
    }
}

/// Two neighbouring stretches as one: of each row the worse of both. `None` where one of them is
/// not known or has another time, since what was worse is not known then.
#[must_use]
pub fn worse(one: Option<&ClientTimes>, other: Option<&ClientTimes>) -> Option<ClientTimes> {
    let (one, other) = one.zip(other)?;
    let form = |of: &ClientTimes| (of.time, of.clients, of.clients_per_row);
    if form(one) != form(other) {
        return None;
    }
    let per_row = one.clients_per_row;
    let rows = other.rows.iter().map(|row| row.saturating_mul(per_row));
    Some(one.clone().with(rows.zip(other.p99_ns.iter().copied())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Values = Vec<(u32, i64)>;

    fn times(clients: u32, values: &Values) -> ClientTimes {
        ClientTimes::empty(Metric::Latency, clients).with(values.iter().copied())
    }

    proptest! {
        #[test]
        fn every_client_is_in_one_row_and_the_slowest_of_both_stretches_counts(
            clients in 1..10_001_u32,
            values in prop::array::uniform2(
                prop::collection::vec((0..10_000_u32, 0..1_000_i64), 0..60),
            ),
        ) {
            let [one, other] = values.each_ref().map(|values| times(clients, values));
            let both = worse(Some(&one), Some(&other)).unwrap();
            let rows = both.by_row();
            prop_assert!((1..=ROWS_MAX as usize).contains(&rows.len()));
            let mut next = 0;
            for (row, p99_ns) in (0..).zip(&rows) {
                let of_row = both.clients_of(row);
                prop_assert_eq!(of_row.start, next);
                prop_assert!(!of_row.is_empty());
                next = of_row.end;
                let slowest = values.iter().flatten().filter(|(client, _)| of_row.contains(client));
                prop_assert_eq!(*p99_ns, slowest.map(|(_, p99_ns)| *p99_ns).max());
            }
            prop_assert_eq!(next, clients);
            prop_assert!(both.rows.is_sorted_by(|one, other| one < other));
        }

        #[test]
        fn no_lists_of_another_program_make_a_panic(
            clients: u32,
            clients_per_row: u32,
            rows: Vec<u32>,
            p99_ns: Vec<i64>,
        ) {
            let times = ClientTimes { time: 0, clients, clients_per_row, rows, p99_ns };
            prop_assert!(times.by_row().len() <= ROWS_MAX as usize);
            let _ = times.clients_of(u32::MAX);
            let _ = worse(Some(&times), Some(&times));
        }
    }

    #[test]
    fn a_stretch_that_is_not_known_makes_the_whole_one_not_known() {
        let known = times(3, &vec![(1, 5)]);
        let other_time = ClientTimes {
            time: Metric::Spread.into(),
            ..known.clone()
        };
        assert_eq!(worse(Some(&known), None), None);
        assert_eq!(worse(None, Some(&known)), None);
        assert_eq!(worse(Some(&known), Some(&other_time)), None);
        assert_eq!(known.by_row(), [None, Some(5), None]);
    }
}
