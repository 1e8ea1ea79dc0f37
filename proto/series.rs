//! The series of a run, put together from its pages.

use crate::v1::{HostSeries, Series};

impl Series {
    /// Adds the page that comes next.
    pub fn append(&mut self, page: Self) {
        self.points.extend(page.points);
        for host in page.hosts {
            let is_same = |of: &&mut HostSeries| (of.role, &of.name) == (host.role, &host.name);
            match self.hosts.iter_mut().find(is_same) {
                Some(known) => known.points.extend(host.points),
                None => self.hosts.push(host),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{HostPoint, SeriesPoint};

    #[test]
    fn pages_put_together_are_one_series_with_each_process_once() {
        let host = |name: &str, from_ns| HostSeries {
            name: name.into(),
            points: vec![HostPoint {
                from_ns,
                ..HostPoint::default()
            }],
            ..HostSeries::default()
        };
        let mut series = Series::default();
        for page in [
            (vec![SeriesPoint::default()], vec![]),
            (vec![SeriesPoint::default()], vec![host("a", 1)]),
            (vec![], vec![host("a", 2), host("b", 1)]),
        ] {
            series.append(Series {
                points: page.0,
                hosts: page.1,
            });
        }
        let hosts: Vec<_> = series
            .hosts
            .iter()
            .map(|of| (&of.name[..], of.points.len()))
            .collect();
        assert_eq!((series.points.len(), hosts), (2, vec![("a", 2), ("b", 1)]));
    }
}
