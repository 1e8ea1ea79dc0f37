//! Whether every process of a run was away at the same time: a freezer, a snapshot or a live
//! migration of the whole host. Times in ns since the start of the run, by each process's own
//! clock.

use std::collections::BTreeMap;

use metronome_proto::{
    host_point,
    v1::{EnvironmentRole, HostPoint, HostSeries},
};

use crate::model::HEARD_OF_NS_MAX;

/// A shorter absence of all is that of a busy host, ns.
const FROZEN_NS_MIN: i64 = 100_000_000;

/// The thread of the idle timer (`metronome_witness`).
const TIMER: &str = "witness";

/// When all were away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Frozen {
    pub(super) from_ns: i64,
    pub(super) span_ns: i64,
}

/// The longest time in which the idle timers of the server and of every agent were late at once.
/// `None` where that is not long, or one of so many agents or the server is missing: what that did
/// is not known. Workers that came round meanwhile were not frozen.
pub(super) fn longest(hosts: &[HostSeries], agents: usize) -> Option<Frozen> {
    let there = |role| hosts.iter().filter(|of| of.role() == role).count();
    let is_whole = there(EnvironmentRole::Agent) == agents && agents > 0;
    if !is_whole || there(EnvironmentRole::Server) != 1 {
        return None;
    }
    let (first, others) = hosts.split_first()?;
    let common = first.points.iter().filter_map(|point| {
        let gap = gap(point)?;
        others.iter().try_fold(gap, |common, host| {
            let overlaps = host.points.iter().filter_map(self::gap);
            overlaps
                .filter_map(|gap| overlap(common, gap))
                .max_by_key(|of| of.span_ns)
        })
    });
    let longest = common.max_by_key(|of| of.span_ns)?;
    let mut servers = hosts
        .iter()
        .filter(|of| of.role() == EnvironmentRole::Server);
    let workers_too = servers.all(|of| workers_were_away(&of.points, longest));
    (longest.span_ns >= FROZEN_NS_MIN && workers_too).then_some(longest)
}

/// Whether the worker that was away for the longest was so for half of that time. So are workers of
/// which it is not known.
fn workers_were_away(points: &[HostPoint], frozen: Frozen) -> bool {
    let heard_of_ns = end_ns(frozen).saturating_add(HEARD_OF_NS_MAX);
    let points = points
        .iter()
        .filter(|of| host_point::end_ns(of) >= frozen.from_ns && of.from_ns <= heard_of_ns);
    let mut away_ns = BTreeMap::<&str, i64>::new();
    for thread in points.flat_map(|of| &of.threads) {
        if let Some(ns) = thread.away_ns {
            let sum = away_ns.entry(&thread.name).or_default();
            *sum = sum.saturating_add(ns);
        }
    }
    let longest_ns = away_ns.into_values().max();
    longest_ns.is_none_or(|ns| ns >= frozen.span_ns / 2)
}

/// The longest absence of a point, if it was one. A timer that waited for a core, or for its quota,
/// was kept from running by others: what they took is taken off all its absences, of which a busy
/// host has many beside a long one.
fn gap(point: &HostPoint) -> Option<Frozen> {
    let mut threads = point.threads.iter();
    let timer = threads.find(|of| of.name == TIMER);
    let queued_ns = timer?.run_queue_ns?;
    let others_ns = queued_ns.max(point.throttled_ns.unwrap_or(0));
    let longest_ns = point.timer_late_max_ns;
    let unexplained_ns = point.away_ns.max(longest_ns).saturating_sub(others_ns);
    let is_frozen = longest_ns >= FROZEN_NS_MIN && unexplained_ns >= longest_ns / 2;
    is_frozen.then_some(Frozen {
        from_ns: point.timer_late_from_ns,
        span_ns: point.timer_late_max_ns,
    })
}

fn end_ns(frozen: Frozen) -> i64 {
    frozen.from_ns.saturating_add(frozen.span_ns)
}

fn overlap(one: Frozen, other: Frozen) -> Option<Frozen> {
    let from_ns = one.from_ns.max(other.from_ns);
    let span_ns = end_ns(one).min(end_ns(other)).saturating_sub(from_ns);
    (span_ns > 0).then_some(Frozen { from_ns, span_ns })
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::ThreadPoint;

    use super::*;

    const MS: i64 = 1_000_000;

    fn host(role: EnvironmentRole, gaps: &[(i64, i64)]) -> HostSeries {
        let point = |&(from_ms, span_ms): &(i64, i64)| HostPoint {
            timer_late_from_ns: from_ms * MS,
            timer_late_max_ns: span_ms * MS,
            threads: vec![ThreadPoint {
                name: TIMER.into(),
                run_queue_ns: Some(0),
                ..ThreadPoint::default()
            }],
            ..HostPoint::default()
        };
        HostSeries {
            role: role.into(),
            points: gaps.iter().map(point).collect(),
            ..HostSeries::default()
        }
    }

    #[test]
    fn a_core_that_others_have_or_a_quota_is_no_freezer() {
        use EnvironmentRole::{Agent, Server};
        let server = host(Server, &[(2_000, 300)]);
        let waited = |queued_ms: i64, throttled_ms: i64| {
            let mut agent = host(Agent, &[(2_000, 300)]);
            agent.points[0].throttled_ns = Some(throttled_ms * MS);
            agent.points[0].threads = vec![ThreadPoint {
                name: TIMER.into(),
                run_queue_ns: Some(queued_ms * MS),
                ..ThreadPoint::default()
            }];
            longest(&[server.clone(), agent], 1).is_some()
        };
        assert!(
            waited(0, 0) && waited(150, 150),
            "it is shown for less than half"
        );
        assert!(!waited(151, 0) && !waited(0, 151));
        // A busy host, on which the timer waited 500 ms in all, and is frozen besides.
        let mut busy = host(Agent, &[(2_000, 300)]);
        busy.points[0].away_ns = 750 * MS;
        busy.points[0].threads = vec![ThreadPoint {
            name: TIMER.into(),
            run_queue_ns: Some(500 * MS),
            ..ThreadPoint::default()
        }];
        assert!(longest(&[server.clone(), busy], 1).is_some());
    }

    #[test]
    fn workers_that_came_round_meanwhile_were_not_frozen() {
        use EnvironmentRole::{Agent, Server};
        let workers_away = |away_ms: Option<i64>, later_ms: i64| {
            let mut server = host(Server, &[(2_000, 300), (2_300 + later_ms, 0)]);
            for point in &mut server.points {
                point.from_ns = point.timer_late_from_ns;
                point.span_ns = 300 * MS;
            }
            server.points[1].threads.push(ThreadPoint {
                name: "worker-0".into(),
                away_ns: away_ms.map(|ms| ms * MS),
                ..ThreadPoint::default()
            });
            longest(&[server, host(Agent, &[(2_000, 300)])], 1).is_some()
        };
        assert!(workers_away(Some(150), 500), "it is heard of later");
        assert!(workers_away(None, 500), "not known");
        assert!(!workers_away(Some(149), 500));
        assert!(!workers_away(Some(0), 0), "the master alone was away");
    }

    #[test]
    fn only_what_all_have_in_common_is_frozen() {
        use EnvironmentRole::{Agent, Server};
        let server = host(Server, &[(100, 1), (2_000, 300)]);
        let same = host(Agent, &[(2_005, 290)]);
        let frozen = longest(&[server.clone(), same.clone()], 1).unwrap();
        assert_eq!((frozen.from_ns, frozen.span_ns), (2_005 * MS, 290 * MS));
        for others in [
            vec![host(Agent, &[(2_005, 99)])],
            vec![host(Agent, &[(5_000, 300)])],
            vec![same.clone(), host(Agent, &[(0, 1)])],
            vec![],
        ] {
            let all: Vec<_> = std::iter::once(server.clone()).chain(others).collect();
            let agents = all.len() - 1;
            assert_eq!(longest(&all, agents), None, "{all:?}");
        }
        let both = [server, same.clone()];
        assert_eq!(
            longest(&both, 2),
            None,
            "what the other agent did is not known"
        );
        assert_eq!(longest(&[same], 1), None, "nor what the server did");
        let mut without_schedstat = both;
        without_schedstat[1].points[0].threads[0].run_queue_ns = None;
        assert_eq!(
            longest(&without_schedstat, 1),
            None,
            "nor whether it waited"
        );
    }
}
