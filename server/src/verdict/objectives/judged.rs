//! What objectives are judged on.
//!
//! A packet of a flood is due when it is written, so where a run has both floods and groups with a
//! schedule, what counts from due or from the schedule is judged over the latter alone. Round trips
//! are judged over the groups whose packets ask for replies, times between clocks over the clients
//! whose agents are not on the server's, and round trips of probes over all probes.

use metronome_proto::{
    threshold::{MetricKind, Threshold},
    v1::Metric,
};

use crate::{
    model::Times,
    verdict::{
        evidence::Evidence,
        groups::GroupLoad,
        other_clocks::on_other_clocks,
        paths::Probes,
        punctuality::{Punctualities, Punctuality},
        replies::asking_groups,
        rows::{Row, by_group},
    },
};

/// What objectives are judged on.
pub(super) struct Judged<'a> {
    pub(super) evidence: &'a Evidence<'a>,
    pub(super) rows: &'a [Row<'a>],
    /// The group that they are, where these are not all of the run.
    pub(super) group: Option<&'a GroupLoad>,
    /// The times of these clients. `None` where they are not known.
    times: Option<&'a Times>,
    /// Where some clients have a schedule and others do not, those that have one, with their times.
    paced: Option<(Vec<Row<'a>>, Option<Times>)>,
    /// The clients whose packets ask for replies; from due those of them that have a schedule,
    /// where only some have one.
    asking: Vec<Row<'a>>,
    asking_from_due: Vec<Row<'a>>,
    /// The clients whose agents are not on the server's clock.
    on_other_clocks: Vec<Row<'a>>,
    /// `None` where there are none, or those of an agent are not known.
    pub(super) probes: Option<Probes>,
    punctualities: Option<&'a Punctualities>,
    pub(super) punctuality: Option<&'a Punctuality>,
    /// Nothing of the run is missing: the verdict is valid.
    pub(super) is_whole: bool,
}

/// The clients that an objective covers, and their times.
#[derive(Clone, Copy)]
pub(super) struct Covered<'j, 'a> {
    pub(super) rows: &'j [Row<'a>],
    /// `None` where they are not known.
    pub(super) times: Option<&'j Times>,
    /// Which clients these are, as a part of a sentence; empty of all.
    pub(super) whose: &'static str,
}

impl<'a> Judged<'a> {
    pub(super) fn new(
        evidence: &'a Evidence<'a>,
        rows: &'a [Row<'a>],
        punctualities: Option<&'a Punctualities>,
        is_whole: bool,
    ) -> Self {
        let has_schedule = rows.iter().any(Row::is_paced);
        let has_flood = rows.iter().any(|row| !row.is_paced());
        let paced = (has_schedule && has_flood).then(|| {
            let paced = rows.iter().filter(|row| row.is_paced());
            let paced: Vec<_> = paced.cloned().collect();
            let times = times_of(evidence, &paced);
            (paced, times)
        });
        let asking = rows.iter().filter(|row| row.group.echo_every.is_some());
        let asking: Vec<_> = asking.cloned().collect();
        let mut asking_from_due = asking.clone();
        if asking.iter().any(Row::is_paced) {
            asking_from_due.retain(Row::is_paced);
        }
        Self {
            evidence,
            rows,
            group: None,
            times: evidence.counters.map(|counters| &counters.times),
            paced,
            asking,
            asking_from_due,
            on_other_clocks: on_other_clocks(rows).cloned().collect(),
            probes: Probes::of(evidence.agents),
            punctualities,
            punctuality: punctualities.and_then(Punctualities::whole),
            is_whole,
        }
    }

    /// The clients of one group.
    pub(super) fn of_group(
        evidence: &'a Evidence<'a>,
        rows: &'a [Row<'a>],
        punctualities: &'a Punctualities,
        is_whole: bool,
    ) -> Self {
        let group = rows.first().map(|row| &*row.group);
        let index = group.map_or(0, |group| group.index);
        Self {
            group,
            times: evidence.times_of(index),
            punctuality: punctualities.of_group(index),
            ..Self::new(evidence, rows, Some(punctualities), is_whole)
        }
    }

    /// Whether the agents of all these clients read the server's clock.
    pub(super) fn is_one_clock(&self) -> bool {
        match self.group {
            Some(_) => self.rows.iter().all(Row::is_on_our_clock),
            None => self.evidence.is_one_clock(),
        }
    }

    /// Whether this threshold is the one that has stopped the run.
    pub(super) fn has_stopped_the_run(&self, threshold: Threshold) -> bool {
        let group = self.group.map(|group| group.index);
        let missed = self.evidence.missed;
        missed.is_some_and(|of| (of.group, of.threshold) == (group, threshold))
    }

    /// A run of which nothing is missing and no packet was late.
    #[cfg(test)]
    pub(super) fn whole(evidence: &'a Evidence<'a>, rows: &'a [Row<'a>]) -> Self {
        Self::new(evidence, rows, None, true)
    }

    /// The clients that have a schedule, or all where all are alike.
    pub(super) fn scheduled(&self) -> Covered<'_, 'a> {
        match &self.paced {
            Some((rows, times)) => Covered {
                rows,
                times: times.as_ref(),
                whose: " of the groups with a schedule",
            },
            None => self.all(),
        }
    }

    /// The clients that a time of packets is judged over.
    pub(super) fn timed(&self, metric: Metric) -> Covered<'_, 'a> {
        match metric {
            Metric::RttFromDue | Metric::RttFromWrite => self.asking(metric),
            Metric::OneWay | Metric::Queueing => self.between_clocks(),
            Metric::Transit | Metric::ProbeRtt => self.all(),
            _ => self.scheduled(),
        }
    }

    /// The names of the groups that a metric is judged over, where these are not all of them.
    pub(super) fn group_names(&self, metric: Metric) -> Option<String> {
        if matches!(metric, Metric::RttFromDue | Metric::RttFromWrite) {
            let rows = self.asking(metric).rows;
            return (rows.len() < self.rows.len()).then(|| names(rows));
        }
        if matches!(metric, Metric::OneWay | Metric::Queueing) {
            let rows = &self.on_other_clocks;
            return (by_group(rows).count() < by_group(self.rows).count()).then(|| names(rows));
        }
        let is_of_all = matches!(metric, Metric::Transit | Metric::ProbeRtt)
            || matches!(metric.kind(), Some(MetricKind::Count | MetricKind::Rate));
        let (rows, _) = self.paced.as_ref().filter(|_| !is_of_all)?;
        Some(names(rows))
    }

    /// The clients whose round trips are judged. Their times are no workers'.
    fn asking(&self, metric: Metric) -> Covered<'_, 'a> {
        Covered {
            rows: if metric == Metric::RttFromDue {
                &self.asking_from_due
            } else {
                &self.asking
            },
            times: None,
            whose: " that ask for a reply",
        }
    }

    /// The clients that have times between clocks. The distributions of those have no others.
    fn between_clocks(&self) -> Covered<'_, 'a> {
        Covered {
            rows: &self.on_other_clocks,
            whose: if self.on_other_clocks.len() < self.rows.len() {
                " of the agents on other clocks"
            } else {
                ""
            },
            ..self.all()
        }
    }

    fn all(&self) -> Covered<'_, 'a> {
        Covered {
            rows: self.rows,
            times: self.times,
            whose: "",
        }
    }

    /// The same of round trips from due: they are some packets, of some groups, so that what spoils
    /// one of these groups is enough.
    pub(super) fn delayed_round_trips(&self, ppm: u32) -> u64 {
        let of_groups = asking_groups(&self.asking_from_due)
            .filter_map(|index| self.punctualities?.of_group(index));
        let mut judging = of_groups.chain(self.punctuality);
        let is_spoilt = judging.any(|of| of.spoils(ppm));
        let all = self.punctuality.filter(|_| is_spoilt);
        all.map_or(0, |of| u64::try_from(of.delayed()).unwrap_or(u64::MAX))
    }

    /// Packets that a late generator may have delayed, where they may decide the quantile of so
    /// many millionths; else 0.
    pub(super) fn delayed(&self, ppm: u32) -> u64 {
        let spoilt = self.punctuality.filter(|of| of.spoils(ppm));
        spoilt.map_or(0, |of| u64::try_from(of.delayed()).unwrap_or(u64::MAX))
    }
}

/// The names of the groups of these clients, as one text.
fn names(rows: &[Row<'_>]) -> String {
    let names = by_group(rows).map(|rows| rows[0].group.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// The times of the groups of these clients together.
fn times_of(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Times> {
    by_group(rows).try_fold(Times::default(), |mut sum, rows| {
        sum.merge(evidence.times_of(rows[0].group.index)?);
        Some(sum)
    })
}
