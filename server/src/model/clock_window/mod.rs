//! What exchanges of readings prove of the offset between an agent's clock and the server's, while
//! both run at steady rates. Pure; times in ns.
//!
//! With θ(A) = the server's reading less the agent's when the agent's is A, and nothing read before
//! it was sent, every exchange proves two inequalities, whatever the path:
//!
//! ```text
//! θ(sent) ≤ server − sent        θ(answered) ≥ server − answered
//! ```
//!
//! Those of one window allow a convex region of lines θ(A) = θ(base) + drift · (A − base). Its
//! extent at an instant is the bound. Readings may be anything. Absent: a clock, and what follows
//! from the extent.

use std::{collections::VecDeque, iter};

use serde::{Deserialize, Serialize};

use super::{
    clock_history::{ClockHistory, Limit},
    clock_relation::ClockOffset,
};

/// So long the drift is taken for constant.
pub(super) const WINDOW_NS: u64 = 20_000_000_000;
/// The exchanges that are kept: 50 a second over the window, and a run's first ones.
const EXCHANGES_MAX: usize = 1_100;
/// The greatest drift that is allowed for, as a fraction.
const DRIFT_MAX: f64 = 1e-3;
/// Every inequality is taken so much wider, ns: far more than what rounding can take off.
const ROUNDING_NS: f64 = 1.0;
/// Offsets of one window that differ by more than this, 11 days, are of clocks that were stepped.
/// A number of this size is rounded to less than [`ROUNDING_NS`].
const DIFFERENCE_NS_MAX: i128 = 1_000_000_000_000_000;

/// The server's reading was taken between the two of the agent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Exchange {
    pub(crate) sent_ns: u64,
    pub(crate) server_ns: u64,
    pub(crate) answered_ns: u64,
}

/// No line passes all exchanges of the window: one of the clocks was stepped, or its rate changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Contradicted;

/// The offsets that are allowed at one instant.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Extent {
    pub(crate) least_ns: i128,
    pub(crate) most_ns: i128,
}

impl Extent {
    /// The middle of what is allowed.
    pub(crate) fn centre_ns(self) -> i128 {
        self.least_ns + (self.most_ns - self.least_ns) / 2
    }

    /// How far the true offset can be from [`Self::centre_ns`].
    pub(crate) fn bound_ns(self) -> i128 {
        self.most_ns - self.centre_ns()
    }
}

impl ClockOffset {
    /// The middle of what is allowed. `None` where it is no number of the API.
    pub(super) fn of(
        extent: Extent,
        (slowest, fastest): (f64, f64),
        is_claimed: bool,
    ) -> Option<Self> {
        Some(Self {
            offset_ns: i64::try_from(extent.centre_ns()).ok()?,
            bound_ns: u64::try_from(extent.bound_ns()).ok()?,
            drift_ppb: parts_per_billion((slowest + fastest) / 2.0),
            drift_bound_ppb: parts_per_billion((fastest - slowest) / 2.0).unsigned_abs() + 1,
            is_claimed,
        })
    }
}

/// A drift of at most a thousandth.
pub(super) fn parts_per_billion(drift: f64) -> i64 {
    (drift * 1e9).round() as i64
}

/// The exchanges of the last [`WINDOW_NS`], and the lines that they allow.
#[derive(Debug, Default)]
pub(crate) struct ClockWindow {
    /// By the time of sending.
    exchanges: VecDeque<Exchange>,
    /// What was exchanged before the first of these, until that is older than the window.
    history: Option<ClockHistory>,
    is_history_refuted: bool,
    region: Option<Region>,
}

impl ClockWindow {
    /// A window behind this history.
    pub(super) fn behind(history: ClockHistory) -> Self {
        Self {
            history: history.newest_ns().map(|_| history),
            ..Self::default()
        }
    }

    /// Whether lines have to agree with a history, too.
    pub(super) fn has_history(&self) -> bool {
        self.history.is_some()
    }

    /// Takes exchanges of any number, of which the last count. Those that are older than the window
    /// or took longer prove nothing here. A history that they contradict is dropped. After a
    /// contradiction among themselves the window is empty.
    pub(crate) fn take(&mut self, readings: &[Exchange]) -> Result<(), Contradicted> {
        for exchange in readings {
            self.add(*exchange);
        }
        let (Some(oldest), Some(newest)) = (self.exchanges.front(), self.exchanges.back()) else {
            return Ok(());
        };
        // The drift is taken for constant no longer than this.
        let is_near = |newest_ns| newest.sent_ns.saturating_sub(newest_ns) <= WINDOW_NS;
        let oldest_ns = oldest.sent_ns;
        self.history = (self.history.take()).filter(|of| of.newest_ns().is_some_and(is_near));
        let with_history = self.history.as_ref().and_then(|history| {
            let (most, least) = (history.most(oldest_ns), history.least(oldest_ns));
            Region::of(&self.exchanges, most, least)
        });
        if with_history.is_none() && self.history.take().is_some() {
            self.is_history_refuted = true;
        }
        self.region =
            with_history.or_else(|| Region::of(&self.exchanges, iter::empty(), iter::empty()));
        if self.region.is_none() {
            self.exchanges.clear();
            return Err(Contradicted);
        }
        Ok(())
    }

    /// Whether the exchanges have excluded the history.
    pub(super) fn has_refuted_history(&self) -> bool {
        self.is_history_refuted
    }

    /// What is proved when the agent's clock reads `at_ns`. `None` without an exchange.
    pub(crate) fn extent(&self, at_ns: u64) -> Option<Extent> {
        self.region.as_ref().map(|region| region.extent(at_ns))
    }

    /// The exchanges, by the time of sending.
    pub(super) fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter()
    }

    /// When the oldest exchange was sent. `None` without one.
    pub(crate) fn oldest_ns(&self) -> Option<u64> {
        Some(self.exchanges.front()?.sent_ns)
    }

    /// The least and the greatest drift that are allowed, as fractions: how much faster the
    /// server's clock runs. `None` without an exchange.
    pub(crate) fn drifts(&self) -> Option<(f64, f64)> {
        let region = self.region.as_ref()?;
        Some(least_and_most(region.corners.iter().map(|of| of.drift)))
    }

    fn add(&mut self, exchange: Exchange) {
        let Some(took_ns) = exchange.answered_ns.checked_sub(exchange.sent_ns) else {
            return;
        };
        if took_ns > WINDOW_NS {
            return;
        }
        let newest_ns = self.exchanges.back().map_or(0, |last| last.sent_ns);
        let from_ns = exchange.sent_ns.max(newest_ns).saturating_sub(WINDOW_NS);
        while self.exchanges.len() == EXCHANGES_MAX
            || (self.exchanges.front()).is_some_and(|oldest| oldest.sent_ns < from_ns)
        {
            self.exchanges.pop_front();
        }
        if exchange.sent_ns >= from_ns {
            let place = (self.exchanges).partition_point(|of| of.sent_ns <= exchange.sent_ns);
            self.exchanges.insert(place, exchange);
        }
    }
}

/// A line: its offset at the base of the region less that of the base, and its drift.
#[derive(Clone, Copy, Debug)]
struct Corner {
    offset_ns: f64,
    drift: f64,
}

/// The lines that are allowed: a convex polygon.
#[derive(Debug)]
struct Region {
    base_ns: u64,
    base_offset_ns: i128,
    corners: Vec<Corner>,
}

impl Region {
    /// `None` where no line is allowed.
    fn of(
        exchanges: &VecDeque<Exchange>,
        most_before: impl Iterator<Item = Limit>,
        least_before: impl Iterator<Item = Limit>,
    ) -> Option<Self> {
        let first = exchanges.front()?;
        let base_ns = first.sent_ns;
        let base_offset_ns = i128::from(first.server_ns) - i128::from(first.sent_ns);
        let place = |at_ns: u64, server_ns: u64| {
            let offset_ns = i128::from(server_ns) - i128::from(at_ns) - base_offset_ns;
            let is_near = offset_ns.abs() <= DIFFERENCE_NS_MAX;
            let away_ns = i128::from(at_ns) - i128::from(base_ns);
            is_near.then_some((away_ns as f64, offset_ns as f64))
        };
        let mut most = Vec::with_capacity(exchanges.len());
        let mut least = Vec::with_capacity(exchanges.len());
        for exchange in exchanges {
            most.push(place(exchange.sent_ns, exchange.server_ns)?);
            let (away_ns, offset_ns) = place(exchange.answered_ns, exchange.server_ns)?;
            least.push((away_ns, -offset_ns));
        }
        // The first exchange alone leaves the lines within this box.
        let (away_ns, below_ns) = *least.first()?;
        let low_ns = -below_ns - DRIFT_MAX * away_ns - 2.0 * ROUNDING_NS;
        for limit in most_before {
            let (away_ns, offset_ns) = place(limit.at_ns, limit.server_ns)?;
            most.push((away_ns, offset_ns + limit.wider_ns));
        }
        for limit in least_before {
            let (away_ns, offset_ns) = place(limit.at_ns, limit.server_ns)?;
            least.push((away_ns, limit.wider_ns - offset_ns));
        }
        let corner = |offset_ns, drift| Corner { offset_ns, drift };
        let mut corners = vec![
            corner(low_ns, -DRIFT_MAX),
            corner(2.0 * ROUNDING_NS, -DRIFT_MAX),
            corner(2.0 * ROUNDING_NS, DRIFT_MAX),
            corner(low_ns, DRIFT_MAX),
        ];
        for (side, points) in [(1.0, most), (-1.0, least)] {
            for (away_ns, limit_ns) in hull(points) {
                corners = clip(&corners, |of: Corner| {
                    limit_ns + ROUNDING_NS - side * (of.offset_ns + of.drift * away_ns)
                });
            }
        }
        (!corners.is_empty()).then_some(Self {
            base_ns,
            base_offset_ns,
            corners,
        })
    }

    fn extent(&self, at_ns: u64) -> Extent {
        let away_ns = (i128::from(at_ns) - i128::from(self.base_ns)) as f64;
        let offsets = self.corners.iter();
        let (least, most) = least_and_most(offsets.map(|of| of.offset_ns + of.drift * away_ns));
        Extent {
            least_ns: self.base_offset_ns + least.floor() as i128,
            most_ns: self.base_offset_ns + most.ceil() as i128,
        }
    }
}

fn least_and_most(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), of| {
        (least.min(of), most.max(of))
    })
}

/// The points that limit a line from above: their lower convex hull. A line that is below these is
/// below all.
fn hull(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for point in points {
        while let [.., before, last] = kept[..] {
            let turn = (last.0 - before.0) * (point.1 - before.1)
                - (last.1 - before.1) * (point.0 - before.0);
            if turn > 0.0 {
                break;
            }
            kept.pop();
        }
        kept.push(point);
    }
    kept
}

/// The part of a convex polygon where `room` is not negative.
fn clip(corners: &[Corner], room: impl Fn(Corner) -> f64) -> Vec<Corner> {
    let mut inside = Vec::with_capacity(corners.len() + 1);
    let Some(mut from) = corners.last().copied() else {
        return inside;
    };
    for to in corners.iter().copied() {
        let (room_from, room_to) = (room(from), room(to));
        if (room_from < 0.0) != (room_to < 0.0) {
            let part = room_from / (room_from - room_to);
            inside.push(Corner {
                offset_ns: from.offset_ns + part * (to.offset_ns - from.offset_ns),
                drift: from.drift + part * (to.drift - from.drift),
            });
        }
        if room_to >= 0.0 {
            inside.push(to);
        }
        from = to;
    }
    inside
}

#[cfg(test)]
mod tests;
