//! The least that the way from an agent to a worker was seen to take, while neither clock is
//! known: the lower envelope of the forward points of probes. Pure; times in ns.
//!
//! A probe that was sent when the agent's clock was `sent` and read when the server's was `server`
//! is the point `server − sent`: the offset of the clocks and the way forth together. With a drift
//! d of the clocks the floor at w is the least of `point + d · (w − sent)`. A floor is made with
//! the middle of the drifts that the exchanges allow, from what came before it. How far off it was
//! is found out later, from the probes around it and all drifts that are allowed by then.
//!
//! To that comes luck that was not seen: how far the least of a tenth of the time is above the
//! least of all, as the median of ten parts, since a floor to which the parts come close is one
//! that will not be much lower. And what all of the window was delayed: its least round trip above
//! that of the run, which needs no relation of the clocks.
//!
//! A floor is an estimate: it is right as far as the least that was seen is the least there is.

use std::collections::VecDeque;

use super::clock_window::Exchange;

/// So long a point counts where the drift is known well …
const LONG_NS: u64 = 20_000_000_000;
/// … and where it is not.
const SHORT_NS: u64 = 10_000_000_000;
/// How well that is: the greatest drift that is allowed less the least.
const KNOWN_DRIFT: f64 = 2e-6;
/// Points that are kept: 50 a second over [`LONG_NS`], and a run's first ones.
const POINTS_MAX: usize = 1_100;
/// Parts of the time, of which each has a least point of its own.
const PARTS: usize = 10;
/// Drifts at which the envelope is taken: it is concave, so its least is at an end and its most is
/// near one of these.
const DRIFTS: usize = 5;
/// Probes so long before and after an instant limit the floor there: those further away leave it
/// open by the drift.
const NEAR_NS: u64 = 2_000_000_000;

/// A probe's way forth.
#[derive(Clone, Copy, Debug)]
struct Point {
    sent_ns: u64,
    /// The server's reading less the agent's.
    forth_ns: i128,
    round_trip_ns: u64,
}

/// The points of late.
#[derive(Clone, Debug, Default)]
pub(super) struct PathFloor {
    points: VecDeque<Point>,
    /// The least one of the whole run.
    least_round_trip_ns: Option<u64>,
}

/// Where the floor can be at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FloorRange {
    least_ns: f64,
    most_ns: f64,
    /// What may be missing of luck, or was never without delay.
    unseen_ns: f64,
    /// What these are relative to.
    base_ns: i128,
}

impl FloorRange {
    /// How far off a floor is.
    pub(super) fn bound_of(&self, floor_ns: i128) -> f64 {
        let floor_ns = (floor_ns - self.base_ns) as f64;
        let away_ns = (floor_ns - self.least_ns).max(self.most_ns - floor_ns);
        away_ns.max(0.0) + self.unseen_ns
    }
}

impl PathFloor {
    /// One without points of a run with this least round trip.
    pub(super) fn with_least(least_round_trip_ns: Option<u64>) -> Self {
        Self {
            points: VecDeque::new(),
            least_round_trip_ns,
        }
    }

    /// The least round trip of the whole run.
    pub(super) fn least_round_trip_ns(&self) -> Option<u64> {
        self.least_round_trip_ns
    }

    /// Takes a probe. One that was sent before another that has come is not taken.
    pub(super) fn add(&mut self, exchange: &Exchange) {
        let Exchange {
            sent_ns,
            server_ns,
            answered_ns,
        } = *exchange;
        if self
            .points
            .back()
            .is_some_and(|last| sent_ns < last.sent_ns)
        {
            return;
        }
        let round_trip_ns = answered_ns.saturating_sub(sent_ns);
        let least_ns = self.least_round_trip_ns.get_or_insert(round_trip_ns);
        *least_ns = round_trip_ns.min(*least_ns);
        let from_ns = sent_ns.saturating_sub(LONG_NS);
        while self.points.len() == POINTS_MAX
            || (self.points.front()).is_some_and(|oldest| oldest.sent_ns < from_ns)
        {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            sent_ns,
            forth_ns: i128::from(server_ns) - i128::from(sent_ns),
            round_trip_ns,
        });
    }

    /// Forgets the points: one of the clocks was stepped.
    pub(super) fn clear(&mut self) {
        self.points.clear();
    }

    /// The floor when the agent's clock reads `at_ns`, from the points of late, with these drifts
    /// allowed. `None` without a point.
    pub(super) fn level_ns(&self, at_ns: u64, (slowest, fastest): (f64, f64)) -> Option<i128> {
        let newest = self.points.back()?;
        let window_ns = if fastest - slowest <= KNOWN_DRIFT {
            LONG_NS
        } else {
            SHORT_NS
        };
        let from_ns = newest.sent_ns.saturating_sub(window_ns);
        let points = self.points.iter().filter(|point| point.sent_ns >= from_ns);
        let level_ns = envelope(points, at_ns, newest.forth_ns, (slowest + fastest) / 2.0);
        Some(newest.forth_ns + level_ns as i128)
    }

    /// Where the floor can be when the agent's clock reads `at_ns`, with any of these drifts, as
    /// far as the points around it show. `None` without a point.
    pub(super) fn range(&self, at_ns: u64, (slowest, fastest): (f64, f64)) -> Option<FloorRange> {
        let near = |point: &&Point| point.sent_ns.abs_diff(at_ns) <= NEAR_NS;
        let are_near = self.points.iter().any(|point| near(&point));
        let points = || self.points.iter().filter(|point| !are_near || near(point));
        let base_ns = points().next()?.forth_ns;
        let step = (fastest - slowest) / (DRIFTS - 1) as f64;
        let drifts = (0..DRIFTS).map(|n| slowest + step * n as f64);
        let envelopes = drifts.map(|drift| envelope(points(), at_ns, base_ns, drift));
        let (least_ns, most_ns) = envelopes.fold(
            (f64::INFINITY, f64::NEG_INFINITY),
            |(least, most): (f64, f64), of| (least.min(of), most.max(of)),
        );
        let least_of_window = points().map(|point| point.round_trip_ns).min()?;
        let delayed_ns = least_of_window.saturating_sub(self.least_round_trip_ns?);
        let middle = (slowest + fastest) / 2.0;
        Some(FloorRange {
            least_ns,
            most_ns,
            unseen_ns: residual_ns(points(), middle) + delayed_ns as f64,
            base_ns,
        })
    }
}

/// The least of the points at an instant, with this drift, relative to `base_ns`.
fn envelope<'a>(
    points: impl Iterator<Item = &'a Point>,
    at_ns: u64,
    base_ns: i128,
    drift: f64,
) -> f64 {
    let at = |point: &Point| {
        let away_ns = i128::from(at_ns) - i128::from(point.sent_ns);
        (point.forth_ns - base_ns) as f64 + drift * away_ns as f64
    };
    points.map(at).fold(f64::INFINITY, f64::min)
}

/// The median of the least points of each part of the time above the least of all.
fn residual_ns<'a>(points: impl Iterator<Item = &'a Point> + Clone, drift: f64) -> f64 {
    let Some(first) = points.clone().next() else {
        return 0.0;
    };
    let last_ns = points.clone().map(|point| point.sent_ns).max();
    let long_ns = (last_ns.unwrap_or(first.sent_ns) - first.sent_ns).max(1);
    let mut parts = [f64::INFINITY; PARTS];
    for point in points {
        let away_ns = point.sent_ns - first.sent_ns;
        let part = (u128::from(away_ns) * PARTS as u128 / u128::from(long_ns)) as usize;
        let level = (point.forth_ns - first.forth_ns) as f64 - drift * away_ns as f64;
        let least = &mut parts[part.min(PARTS - 1)];
        *least = level.min(*least);
    }
    let mut parts: Vec<f64> = parts.into_iter().filter(|of| of.is_finite()).collect();
    parts.sort_by(f64::total_cmp);
    let least = parts.first().copied().unwrap_or(0.0);
    parts
        .get(parts.len() / 2)
        .map_or(0.0, |median| median - least)
}
