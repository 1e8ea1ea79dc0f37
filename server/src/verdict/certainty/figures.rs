//! The figures of a running run that certainty rests on: the least that was against a threshold,
//! and the most that is planned, of the groups that a threshold covers.

use std::{borrow::Cow, collections::BTreeSet, num::NonZeroU32};

use metronome_proto::{
    counters::CounterList as _,
    histogram::{Histogram, bucket},
    load::Load,
    profile::Profile,
    schedule::arrivals_within,
    v1::{Metric, ReceiverCounts},
};

use super::so_far::SoFar;
use crate::{
    model::{AgentRecords, Behind, ClockRelation, Times},
    verdict::{
        punctuality::{DELAYED_EACH, LATE_PERCENT_MAX, limit_ns},
        replies::asking,
    },
};

/// So many standard deviations above the mean no number of random arrivals is expected.
const DEVIATIONS: f64 = 6.0;

/// The groups that something covers, by their indices in the plan.
pub(super) type Scope = BTreeSet<usize>;

/// What is known, with the packets of each group that were late.
#[derive(Debug)]
pub(super) struct Figures<'a> {
    of: &'a SoFar<'a>,
    /// By the groups: the most packets that may turn out to have been late. `None` in a flood.
    late: Vec<Option<Late>>,
}

#[derive(Clone, Copy, Debug)]
struct Late {
    packets: u64,
    /// Packets that were due after the warm-up, as far as that is known.
    scheduled: u64,
}

impl<'a> Figures<'a> {
    pub(super) fn of(so_far: &'a SoFar<'a>) -> Self {
        let mut figures = Self {
            of: so_far,
            late: Vec::new(),
        };
        let groups = 0..so_far.plan.groups.len();
        figures.late = groups.map(|group| figures.late_of(group)).collect();
        let unplaced = figures.skipped_of_unknown_groups();
        for late in figures.late.iter_mut().flatten() {
            late.packets = late.packets.saturating_add(unplaced);
        }
        figures
    }

    /// Whether the run would be invalid for its lateness if it ended now.
    pub(super) fn is_another_load(&self) -> bool {
        self.late.iter().flatten().any(|of| {
            u128::from(of.packets) * 100 > u128::from(of.scheduled) * u128::from(LATE_PERCENT_MAX)
        })
    }

    /// The most packets that a late generator may turn out to have delayed.
    pub(super) fn delayed(&self, scope: &Scope) -> u64 {
        let late = scope.iter().filter_map(|group| self.late[*group]);
        let late = late.fold(0_u64, |sum, of| sum.saturating_add(of.packets));
        u64::try_from(u128::from(late) * DELAYED_EACH).unwrap_or(u64::MAX)
    }

    /// Frames that were not intact.
    pub(super) fn corrupt(&self, group: Option<usize>) -> u64 {
        self.counts(&self.all(group)).corrupt
    }

    /// Connections that have broken.
    pub(super) fn broken(&self, group: Option<usize>) -> u64 {
        let broken = &self.of.counters.broken;
        let mut groups = self.of.plan.clients_of_groups();
        let clients = match group {
            Some(group) => groups.nth(group).map_or(0..0, |(clients, _)| clients),
            None => 0..u32::MAX,
        };
        broken
            .iter()
            .filter(|client| clients.contains(client))
            .count() as u64
    }

    /// Packets that were never written: as the agents report, or as the workers have found, who do
    /// not distinguish them from those that are absent.
    pub(super) fn skipped(&self, group: Option<usize>) -> u64 {
        let scope = self.all(group);
        let counts = self.counts(&scope);
        let left_out = counts.left_out.unwrap_or(0);
        let absent = counts.corrupt.saturating_add(counts.gaps);
        let reported = self.reported(&scope, |of| of.skipped);
        left_out.saturating_sub(absent).max(reported)
    }

    /// Packets that were due after the warm-up and will never be read.
    pub(super) fn missing(&self, scope: &Scope) -> u64 {
        let reported = self.reported(scope, |of| of.skipped);
        let in_warm_up = self.open_in_warm_up(scope);
        self.left_out(scope)
            .max(reported.saturating_sub(in_warm_up))
    }

    /// The groups that have a schedule, or all where all are alike.
    pub(super) fn scheduled(&self, group: Option<usize>) -> Scope {
        let all = self.all(group);
        let paced = |group: &usize| !self.of.plan.groups[*group].profile.is_flood();
        let scheduled: Scope = all.iter().copied().filter(paced).collect();
        if scheduled.is_empty() { all } else { scheduled }
    }

    /// The groups that a time of packets is judged over.
    pub(super) fn timed(&self, metric: Metric, group: Option<usize>) -> Scope {
        let asks = |group: &usize| self.of.plan.groups[*group].echo_every.is_some();
        match metric {
            Metric::RttFromWrite => self.all(group).into_iter().filter(asks).collect(),
            Metric::RttFromDue => {
                let asking: Scope = self.all(group).into_iter().filter(asks).collect();
                let scheduled = self.scheduled(group);
                let both: Scope = asking.intersection(&scheduled).copied().collect();
                if both.is_empty() { asking } else { both }
            }
            Metric::Transit | Metric::OneWay | Metric::Queueing => self.all(group),
            _ => self.scheduled(group),
        }
    }

    /// The times of a metric. `None` where they are not known of all that it covers.
    pub(super) fn times(&self, metric: Metric, scope: &Scope) -> Option<Cow<'a, Histogram>> {
        let is_paced = || {
            let mut groups = scope.iter().map(|group| &self.of.plan.groups[*group]);
            groups.all(|group| !group.profile.is_flood())
        };
        let is_one_clock = || self.agents_of(scope).all(AgentRecords::is_on_our_clock);
        let is_between = |agent: &AgentRecords| agent.clock().relation == ClockRelation::Offset;
        let is_known = match metric {
            Metric::Lateness | Metric::Spread => is_paced(),
            Metric::Transit | Metric::Latency => is_one_clock(),
            // Beside clients on the server's clock, it is not known how many are planned of these.
            Metric::OneWay | Metric::Queueing => {
                self.of.has_bounds && self.agents_of(scope).all(is_between)
            }
            Metric::RttFromDue | Metric::RttFromWrite => true,
            _ => false,
        };
        if !is_known {
            return None;
        }
        match metric {
            Metric::RttFromDue | Metric::RttFromWrite => {
                let mut sum = Histogram::default();
                for group in scope {
                    let of_group = self.of.round_trips.get(*group)?;
                    sum.merge(match metric {
                        Metric::RttFromDue => &of_group.from_due,
                        _ => &of_group.from_write,
                    });
                }
                Some(Cow::Owned(sum))
            }
            _ => self.merged(scope, |times| match metric {
                Metric::Lateness => &times.lateness,
                Metric::Spread => &times.spread,
                Metric::Transit => &times.transit,
                Metric::OneWay => &times.one_way,
                Metric::Queueing => &times.queueing,
                _ => &times.latency,
            }),
        }
    }

    /// The most packets that these groups can schedule, those of the warm-up among them. `None` of
    /// a flood.
    pub(super) fn planned_of_all(&self, scope: &Scope) -> Option<u64> {
        self.planned_in(scope, |packets, _| packets)
    }

    /// The most packets that the distributions of these groups can have in the end. `None` of a
    /// flood.
    pub(super) fn planned(&self, scope: &Scope) -> Option<u64> {
        let counts = self.counts(scope);
        let in_warm_up = counts.warm_up.unwrap_or(0);
        let planned = self.planned_of_all(scope)?;
        Some(
            planned
                .saturating_sub(in_warm_up)
                .saturating_sub(counts.warm_up_left_out.unwrap_or(0)),
        )
    }

    /// The most of them that can ask for a reply.
    pub(super) fn planned_to_ask(&self, scope: &Scope) -> Option<u64> {
        self.planned_in(scope, asking)
    }

    /// Sum over the clients of a figure of the number of packets of one, which rises with it.
    fn planned_in(
        &self,
        scope: &Scope,
        figure: impl Fn(u64, Option<NonZeroU32>) -> u64,
    ) -> Option<u64> {
        let mut sum = 0_u64;
        let mut mean = 0.0;
        for group in scope {
            let group = &self.of.plan.groups[*group];
            let clients = u64::from(group.clients);
            let load = self.of.plan.load(group);
            let each = match (load.profile, group.echo_every) {
                // Together they are far closer to their mean than each client is.
                (Profile::Poisson { rate_millihertz }, None) => {
                    let seconds = load.duration.as_secs_f64();
                    mean += rate_millihertz as f64 / 1e3 * seconds * f64::from(group.clients);
                    0
                }
                (Profile::Poisson { rate_millihertz }, every) => figure(
                    *arrivals_within(rate_millihertz, load.duration).end(),
                    every,
                ),
                (_, every) => figure(load.packets()?, every),
            };
            sum = sum.saturating_add(clients.saturating_mul(each));
        }
        let random = (mean + DEVIATIONS * f64::sqrt(mean)).ceil();
        Some(sum.saturating_add(random as u64))
    }

    /// How long the load of every group takes at least, ns.
    pub(super) fn duration_ns(&self) -> u128 {
        self.of.plan.duration.as_nanos()
    }

    /// The groups that counts are judged over.
    pub(super) fn all(&self, group: Option<usize>) -> Scope {
        match group {
            Some(group) => [group].into(),
            None => (0..self.of.plan.groups.len()).collect(),
        }
    }

    fn counts(&self, scope: &Scope) -> ReceiverCounts {
        let groups = &self.of.counters.counts_of_groups;
        let of = scope.iter().filter_map(|group| groups.get(*group));
        of.fold(ReceiverCounts::zero(), |sum, counts| sum.plus(counts))
    }

    /// Places behind the warm-up for which no packet came, as the workers have found.
    fn left_out(&self, scope: &Scope) -> u64 {
        let counts = self.counts(scope);
        let of_warm_up = counts.warm_up_left_out.unwrap_or(0);
        counts.left_out.unwrap_or(0).saturating_sub(of_warm_up)
    }

    /// The most packets of the warm-up that may be among those that the agents have skipped.
    fn open_in_warm_up(&self, scope: &Scope) -> u64 {
        let plan = self.of.plan;
        if plan.warm_up.is_zero() {
            return 0;
        }
        let due = scope.iter().map(|group| {
            let group = &plan.groups[*group];
            due_by_most(&plan.load(group), plan.warm_up).saturating_mul(group.clients.into())
        });
        let due = due.fold(0, u64::saturating_add);
        due.saturating_sub(self.counts(scope).warm_up.unwrap_or(0))
    }

    /// The agents that have clients of these groups, and whether they have no others.
    fn agents_with(&self, scope: &Scope) -> impl Iterator<Item = (usize, &'a AgentRecords, bool)> {
        let groups = &self.of.plan.groups;
        let is_covered = move |name: &str| scope.iter().any(|group| groups[*group].name == name);
        let agents = self.of.agents.iter().enumerate();
        agents.filter_map(move |(index, agent)| {
            let mut shares = agent
                .share
                .shares
                .iter()
                .map(|share| is_covered(&share.group));
            let has_some = shares.clone().any(|of| of);
            has_some.then(|| (index, agent, shares.all(|of| of)))
        })
    }

    fn agents_of(&self, scope: &Scope) -> impl Iterator<Item = &'a AgentRecords> {
        self.agents_with(scope).map(|(_, agent, _)| agent)
    }

    /// A figure that the agents report of the clients of these groups: the least that it can be.
    fn reported(&self, scope: &Scope, figure: impl Fn(Behind) -> u64) -> u64 {
        let of_agent = |(index, _, is_whole): (usize, &AgentRecords, bool)| {
            if is_whole {
                let counts = self.of.reported.get(index)?.as_ref()?;
                return Some(figure(Behind {
                    skipped: counts.skipped,
                    blocked: counts.blocked,
                }));
            }
            let behind = self.of.behind.get(index)?;
            let of_groups = scope.iter().map(|group| figure(behind.of(*group)));
            Some(of_groups.fold(0, u64::saturating_add))
        };
        let reported = self.agents_with(scope).filter_map(of_agent);
        reported.fold(0, u64::saturating_add)
    }

    fn merged(
        &self,
        scope: &Scope,
        of: impl Fn(&Times) -> &Histogram,
    ) -> Option<Cow<'a, Histogram>> {
        let counters = self.of.counters;
        if scope.len() == self.of.plan.groups.len() {
            return Some(Cow::Borrowed(of(counters.times.as_ref()?)));
        }
        let mut sum = Histogram::default();
        for group in scope {
            sum.merge(of(counters.times_of_groups.get(*group)?));
        }
        Some(Cow::Owned(sum))
    }

    /// Packets that agents have skipped and that are not known to be of any group yet, since they
    /// have reported the sum alone: they may be of any, and late. Where a connection has broken,
    /// they are taken as those of its client, which are not late.
    fn skipped_of_unknown_groups(&self) -> u64 {
        if self.broken(None) > 0 {
            return 0;
        }
        let groups = 0..self.of.plan.groups.len();
        let known = groups.map(|group| self.missing(&[group].into()));
        let known = known.fold(0, u64::saturating_add);
        self.missing(&self.all(None)).saturating_sub(known)
    }

    /// The most packets of a group that may turn out to have been late.
    fn late_of(&self, group: usize) -> Option<Late> {
        let plan = self.of.plan;
        let load = plan.load(&plan.groups[group]);
        let limit_ns = limit_ns(load.schedule(0, 0)?.period_ns());
        let scope: Scope = [group].into();
        let written_late = self
            .merged(&scope, |times| &times.lateness)
            .map_or(0, |times| times.count_from(bucket(limit_ns) + 1));
        // What a client with a broken connection does not send is not late.
        let skipped = if self.broken(Some(group)) > 0 {
            self.left_out(&scope)
        } else {
            self.missing(&scope)
        };
        let counts = self.counts(&scope);
        let received = counts.received.saturating_sub(counts.warm_up.unwrap_or(0));
        Some(Late {
            packets: written_late
                .saturating_add(skipped)
                .saturating_sub(self.reported(&scope, |of| of.blocked)),
            scheduled: received.saturating_add(skipped),
        })
    }
}

/// Most packets of a client that are due before a time after its start.
fn due_by_most(load: &Load, time: std::time::Duration) -> u64 {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    match load.profile {
        Profile::Flood => 0,
        Profile::Poisson { rate_millihertz } => *arrivals_within(rate_millihertz, time).end(),
        _ => (load.schedule(0, 0))
            .and_then(|schedule| schedule.due_by(ns))
            .unwrap_or(u64::MAX),
    }
}
