//! What a process and its host were doing while packets were late or slow, as its points show: how
//! much time it lost, and to what. Times in ns.

use metronome_proto::{host_point::end_ns, v1::HostPoint};

use crate::model::HEARD_OF_NS_MAX;

/// Less than that is no cause of anything that is judged, ns.
pub(super) const LOST_NS_MIN: i64 = 10_000_000;

/// A thread that used so much of a core in a point had no room left, percent.
const BUSY_PERCENT_MIN: i64 = 90;

/// What took the time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::verdict) enum Cause {
    /// A CPU quota denied it to the control group.
    Throttled,
    /// The hypervisor ran others.
    Stolen,
    /// The thread was ready to run and others ran.
    Queued,
    /// The process was stopped, or its whole host did not run.
    Away,
    /// The thread used its core fully.
    Busy,
}

/// One process: the thread that lost the most, and to what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::verdict) struct Doing {
    pub(super) thread: String,
    /// `None` when it lost less than [`LOST_NS_MIN`].
    pub(super) cause: Option<Cause>,
    /// To that cause.
    pub(super) lost_ns: i64,
    /// To all causes: one has others as its effects, so that the largest is about all.
    all_ns: i64,
    /// The time in which packets were due that no point covers.
    pub(super) unseen_ns: i64,
    /// The time in which packets were due, at most.
    pub(super) load_ns: i64,
    /// How late its idle timer was at most.
    pub(super) timer_late_max_ns: i64,
}

impl Doing {
    /// What the process did in a run whose packets were due within `load_ns`, by those of its
    /// threads. `None` without a point or such a thread: then it is not known. What was over before
    /// the start made no packet late.
    pub(in crate::verdict) fn of(
        points: &[HostPoint],
        load_ns: i64,
        is_asked: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let points = &points[points.partition_point(|of| end_ns(of) <= 0)..];
        let within = |ns: i64| ns.clamp(0, load_ns);
        let seen = points
            .iter()
            .map(|of| within(end_ns(of)) - within(of.from_ns));
        let seen_ns = seen.fold(0, i64::saturating_add);
        let threads = points.iter().flat_map(|point| &point.threads);
        let mut names: Vec<_> = threads.map(|of| &of.name[..]).collect();
        names.retain(|name| is_asked(name));
        names.sort_unstable();
        names.dedup();
        let losses = names
            .into_iter()
            .map(|name| (name, Losses::of(points, name, load_ns)));
        let (thread, losses) = losses.max_by_key(|(_, of)| of.all_ns())?;
        let all_ns = losses.all_ns();
        let found = (all_ns >= LOST_NS_MIN).then(|| losses.cause());
        Some(Self {
            thread: thread.into(),
            cause: found.map(|(cause, _)| cause),
            lost_ns: found.map_or(all_ns, |(_, lost_ns)| lost_ns),
            all_ns,
            unseen_ns: load_ns.saturating_sub(seen_ns).max(0),
            load_ns,
            timer_late_max_ns: points.iter().map(|of| of.timer_late_max_ns).max()?,
        })
    }

    /// The share that it lost of the time in which packets were due, 0 and more. A run that goes on
    /// until all is read is longer than that, and none of its packets are due then.
    pub(super) fn lost_share(&self) -> f64 {
        self.all_ns as f64 / self.load_ns.max(1) as f64
    }

    /// The share of the time in which packets were due that it can have lost besides, since no
    /// point covers it, 0 to 1.
    pub(super) fn unseen_share(&self) -> f64 {
        self.unseen_ns as f64 / self.load_ns.max(1) as f64
    }
}

/// The time that a thread lost, by what took it. What a host does not count took nothing that is
/// known.
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    throttled_ns: i64,
    stolen_ns: i64,
    queued_ns: i64,
    away_ns: i64,
    busy_ns: i64,
    /// It counts its own absence, as a worker does, and uses a whole core only where it has to: a
    /// pacing thread may spin.
    is_worker: bool,
}

impl Losses {
    /// In the time in which packets were due: what took time before it or behind it held up none of
    /// them. An absence that a worker counts when it comes round may lie in a later point.
    fn of(points: &[HostPoint], name: &str, load_ns: i64) -> Self {
        let find = |point: &'_ HostPoint| point.threads.iter().position(|of| of.name == name);
        let threads = || points.iter().filter_map(|of| Some(&of.threads[find(of)?]));
        let mut losses = Self {
            is_worker: threads().any(|of| of.away_ns.is_some()),
            ..Self::default()
        };
        for point in points {
            let heard_of_ns = load_ns.saturating_add(HEARD_OF_NS_MAX);
            if point.from_ns >= heard_of_ns || point.from_ns >= load_ns && !losses.is_worker {
                continue;
            }
            let within = |ns: i64| ns.clamp(0, load_ns);
            let overlap_ns = within(end_ns(point)) - within(point.from_ns);
            let add = |sum: &mut i64, ns: i64| *sum = sum.saturating_add(ns.min(overlap_ns));
            let thread = find(point).map(|at| &point.threads[at]);
            add(&mut losses.throttled_ns, throttled_ns(point));
            add(
                &mut losses.stolen_ns,
                notable(stolen_of_a_core_ns(point), point),
            );
            let own_away_ns = thread.and_then(|of| of.away_ns).unwrap_or(0);
            // The idle timer stands for a pacing thread, which is in the same process, also where
            // that has ended meanwhile.
            let away_ns = if losses.is_worker {
                own_away_ns
            } else {
                point.away_ns
            };
            losses.away_ns = losses.away_ns.saturating_add(away_ns);
            let Some(thread) = thread else {
                continue;
            };
            let queued_ns = thread.run_queue_ns.unwrap_or(0);
            add(&mut losses.queued_ns, notable(queued_ns, point));
            let room_ns = i128::from(point.span_ns) * i128::from(BUSY_PERCENT_MIN);
            if i128::from(thread.cpu_ns) * 100 >= room_ns {
                add(&mut losses.busy_ns, point.span_ns);
            }
        }
        losses
    }

    /// One cause has others as its effects, so that the largest is about all.
    fn all_ns(self) -> i64 {
        let kept_from_running = [
            self.throttled_ns,
            self.stolen_ns,
            self.queued_ns,
            self.away_ns,
        ];
        let others_ns = kept_from_running.into_iter().max().unwrap_or(0);
        if self.is_worker || others_ns < LOST_NS_MIN {
            others_ns.max(self.busy_ns)
        } else {
            others_ns
        }
    }

    /// The first that explains half of it, with what it took: a quota or a hypervisor also keeps
    /// the timer from firing, and so does a queue.
    fn cause(self) -> (Cause, i64) {
        let causes = [
            (Cause::Throttled, self.throttled_ns),
            (Cause::Stolen, self.stolen_ns),
            (Cause::Queued, self.queued_ns),
            (Cause::Away, self.away_ns),
        ];
        let explains = |(_, ns): &(Cause, i64)| *ns >= self.all_ns() / 2;
        let found = causes.into_iter().find(explains);
        found.unwrap_or((Cause::Busy, self.busy_ns))
    }
}

/// Less than a hundredth of a point are the short waits of any host.
fn notable(ns: i64, point: &HostPoint) -> i64 {
    if ns >= point.span_ns / 100 { ns } else { 0 }
}

/// What a quota denied: the kernel adds up several cores, and no thread lost more than the stretch.
fn throttled_ns(point: &HostPoint) -> i64 {
    point.throttled_ns.unwrap_or(0).min(point.span_ns)
}

/// What was taken of one core, as long as the cores are taken alike.
fn stolen_of_a_core_ns(point: &HostPoint) -> i64 {
    let share = stolen_share(point).unwrap_or(0.0);
    (point.span_ns as f64 * share) as i64
}

/// The share of the CPU time of the host that was stolen, 0 to 1. `None` where that is not known.
pub(in crate::verdict) fn stolen_share(point: &HostPoint) -> Option<f64> {
    let (stolen_ns, cores_ns) = (point.stolen_ns?, point.cores_ns?);
    (cores_ns > 0).then(|| (stolen_ns as f64 / cores_ns as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::ThreadPoint;
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    fn point(change: impl FnOnce(&mut HostPoint)) -> HostPoint {
        let thread = |name: &str| ThreadPoint {
            name: name.into(),
            cpu_ns: SECOND_NS / 5,
            run_queue_ns: Some(100_000),
            ..ThreadPoint::default()
        };
        let mut point = HostPoint {
            span_ns: SECOND_NS,
            timer_late_max_ns: 80_000,
            stolen_ns: Some(0),
            cores_ns: Some(2 * SECOND_NS),
            throttled_ns: Some(0),
            threads: vec![thread("pacing-0"), thread("pacing-1")],
            ..HostPoint::default()
        };
        change(&mut point);
        point
    }

    fn is_pacing(thread: &str) -> bool {
        thread.starts_with("pacing-")
    }

    fn doing(change: impl FnOnce(&mut HostPoint)) -> Doing {
        Doing::of(&[point(|_| ()), point(change)], 2 * SECOND_NS, is_pacing).unwrap()
    }

    #[test]
    fn each_cause_is_found_by_its_own_figure() {
        let idle = doing(|_| ());
        assert_eq!((idle.cause, idle.unseen_ns), (None, 0));
        let stopped = doing(|of| of.away_ns = 50_000_000);
        assert_eq!(
            (stopped.cause, stopped.lost_ns),
            (Some(Cause::Away), 50_000_000)
        );
        let queued = doing(|of| {
            of.away_ns = 500_000_000;
            of.threads[1].run_queue_ns = Some(600_000_000);
        });
        assert_eq!(
            (queued.cause, &queued.thread[..]),
            (Some(Cause::Queued), "pacing-1")
        );
        let throttled = doing(|of| {
            of.away_ns = 400_000_000;
            of.throttled_ns = Some(450_000_000);
            of.threads[0].run_queue_ns = Some(450_000_000);
        });
        assert_eq!(throttled.cause, Some(Cause::Throttled));
        let stolen = doing(|of| {
            of.away_ns = 100_000_000;
            of.stolen_ns = Some(SECOND_NS / 2);
        });
        assert_eq!(
            (stolen.cause, stolen.lost_ns),
            (Some(Cause::Stolen), 250_000_000)
        );
        let busy = doing(|of| of.threads[0].cpu_ns = 950_000_000);
        assert_eq!(busy.cause, Some(Cause::Busy));
        assert_eq!(busy.lost_share(), 0.5);
    }

    #[test]
    fn the_figure_of_a_cause_is_its_own_and_the_share_is_that_of_all() {
        let doing = doing(|of| {
            of.away_ns = 100_000_000;
            of.throttled_ns = Some(50_000_000);
        });
        assert_eq!(
            (doing.cause, doing.lost_ns),
            (Some(Cause::Throttled), 50_000_000)
        );
        assert_eq!(doing.lost_share(), 0.05);
    }

    #[test]
    fn short_waits_in_every_second_hide_no_absence() {
        let mut points = vec![
            point(|of| of
                .threads
                .iter_mut()
                .for_each(|of| of.run_queue_ns = Some(5_000_000)));
            600
        ];
        points[300].away_ns = 500_000_000;
        let doing = Doing::of(&points, 600 * SECOND_NS, is_pacing).unwrap();
        assert_eq!(
            (doing.cause, doing.lost_ns),
            (Some(Cause::Away), 500_000_000)
        );
    }

    #[test]
    fn an_absence_counts_also_where_the_thread_has_ended_and_a_thread_that_spins_hides_none() {
        let gone = doing(|of| {
            of.threads.clear();
            of.away_ns = 500_000_000;
        });
        assert_eq!((gone.cause, gone.lost_ns), (Some(Cause::Away), 500_000_000));
        let spins = doing(|of| {
            of.threads[0].cpu_ns = SECOND_NS;
            of.away_ns = 50_000_000;
        });
        assert_eq!(
            (spins.cause, spins.lost_ns),
            (Some(Cause::Away), 50_000_000)
        );
    }

    proptest! {
        #[test]
        fn whatever_a_host_states_something_follows(
            figures in prop::collection::vec(prop::array::uniform7(0..=i64::MAX), 1..4),
        ) {
            let point = |of: &[i64; 7]| point(|point| {
                point.span_ns = of[0].clamp(1, i64::MAX / 8);
                point.away_ns = of[1];
                point.throttled_ns = Some(of[2]);
                (point.stolen_ns, point.cores_ns) = (Some(of[3]), Some(of[4]));
                point.threads[0].run_queue_ns = Some(of[5]);
                point.threads[0].cpu_ns = of[6];
            });
            let points: Vec<_> = figures.iter().map(point).collect();
            let doing = Doing::of(&points, 1, is_pacing).unwrap();
            prop_assert!(doing.lost_ns <= doing.all_ns && doing.lost_share() >= 0.0);
            prop_assert!((0.0..=1.0).contains(&doing.unseen_share()));
        }
    }

    #[test]
    fn what_a_host_does_not_count_took_nothing_and_without_points_nothing_is_known() {
        let unknown = doing(|of| {
            (of.stolen_ns, of.throttled_ns) = (None, None);
            of.threads.iter_mut().for_each(|of| of.run_queue_ns = None);
            of.away_ns = 20_000_000;
        });
        assert_eq!(unknown.cause, Some(Cause::Away));
        assert_eq!(Doing::of(&[], SECOND_NS, is_pacing), None);
        assert_eq!(
            Doing::of(&[point(|_| ())], SECOND_NS, |of| of == "worker-0"),
            None
        );
    }

    #[test]
    fn what_was_over_before_the_start_is_left_out() {
        let lost = |of: &mut HostPoint, from_ns: i64| {
            (of.from_ns, of.away_ns) = (from_ns, 300_000_000);
        };
        let before = point(|of| lost(of, -2 * SECOND_NS));
        let across = point(|of| lost(of, -SECOND_NS / 2));
        let doing = Doing::of(
            &[before.clone(), across, point(|_| ())],
            3 * SECOND_NS,
            is_pacing,
        )
        .unwrap();
        assert_eq!(doing.lost_ns, 300_000_000);
        // From -0.5 to 0.5 s, and once more from 0 on.
        assert_eq!(doing.unseen_ns, 3 * SECOND_NS / 2);
        assert_eq!(Doing::of(&[before], SECOND_NS, is_pacing), None);
    }

    #[test]
    fn what_was_lost_while_the_last_packets_were_waited_for_held_up_none() {
        let mut points = vec![point(|_| ()); 10];
        for (second, point) in (0..).zip(&mut points) {
            point.from_ns = second * SECOND_NS;
            point.stolen_ns = Some(if second < 2 { 0 } else { SECOND_NS });
        }
        let doing = Doing::of(&points, 2 * SECOND_NS, is_pacing).unwrap();
        assert_eq!((doing.cause, doing.lost_share()), (None, 0.0));
        let doing = Doing::of(&points, 5 * SECOND_NS / 2, is_pacing).unwrap();
        assert_eq!(doing.lost_ns, SECOND_NS / 2, "as much as lies within");
        // A worker that was away until then states it later.
        points[3].threads[0].name = "worker-0".into();
        points[3].threads[0].away_ns = Some(SECOND_NS);
        let doing = Doing::of(&points, 2 * SECOND_NS, |of| of == "worker-0").unwrap();
        assert_eq!(doing.lost_ns, SECOND_NS);
    }

    #[test]
    fn a_worker_s_own_absence_counts_and_not_that_of_the_master() {
        let server = point(|of| {
            of.away_ns = 900_000_000;
            of.threads[0].name = "worker-0".into();
            of.threads[0].away_ns = Some(0);
        });
        assert_eq!(
            Doing::of(&[server], SECOND_NS, |of| of == "worker-0")
                .unwrap()
                .cause,
            None
        );
    }
}
