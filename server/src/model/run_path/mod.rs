//! What the probes of one agent show of its path and of its clock in one run: the lines by which
//! times between the clocks are taken, and how far off these can be. Pure; times in ns.
//!
//! A line is made of what was read before it. How wrong it was in the time in which it was used is
//! found out later, when exchanges from behind that time limit the offset as well; what is
//! reported is the worst of all lines that were in use. Exchanges that contradict each other leave
//! the whole run without such times, since some line of it was wrong.

mod judging;
pub(super) mod saved;
mod used_line;

use std::collections::VecDeque;

use metronome_proto::{histogram::Histogram, plan::ClockTrust, v1};
use serde::{Deserialize, Serialize};

use super::{
    clock_exchange::EXCHANGES,
    clock_line::{ClockLine, Floor},
    clock_relation::{ClockOffset, with_drift},
    clock_window::{ClockWindow, Contradicted, Exchange, Extent, parts_per_billion},
    path_floor::PathFloor,
};
use used_line::{JUDGED_AFTER_NS, UsedLine};

pub(crate) use used_line::PathBounds;

/// A claim that narrows the region by no more than this narrows nothing.
const ROUNDED_NS: i128 = 100;
/// Readings that one message may have; those behind them are not taken.
const READINGS_MAX: usize = 100;
/// Packets that were written so long before a line was made have no time by it …
const LINE_BEFORE_NS: u64 = 5_000_000_000;
/// … nor have those written so long after it.
const LINE_AFTER_NS: u64 = 5_000_000_000;

/// A wall clock, read beside CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WallClock {
    /// CLOCK_REALTIME less CLOCK_MONOTONIC.
    pub(crate) ahead_of_monotonic_ns: i64,
    /// The greatest error that the kernel claims. `None` where it claims none.
    pub(crate) error_max_ns: Option<u64>,
}

/// What follows from readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PathEvent {
    /// Times are to be taken by this line from now on.
    Line(ClockLine),
    /// No time between the clocks is to be taken any more in this run.
    Contradicted,
}

/// The figures of one agent's path in one run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct PathFigures {
    pub(crate) probes_sent: u64,
    pub(crate) probes_answered: u64,
    /// From the sending of a probe to the reading of its answer, on the agent's clock.
    pub(crate) probe_rtt: Histogram,
    /// How far off any one-way time of this agent in the run can be. `None` where it has none, and
    /// for the whole run once the exchanges contradicted each other.
    pub(crate) one_way_bound_ns: Option<u64>,
    /// The same of queueing, as far as the least that was seen of the path is the least there is.
    pub(crate) queueing_bound_ns: Option<u64>,
    /// The bounds rest on what the plan claims of the wall clocks.
    pub(crate) is_claimed: bool,
    /// How often no line of two steady clocks passed all exchanges of a window.
    pub(crate) contradictions: u32,
    /// What the plan claims did not agree with what the probes prove, and was dropped.
    pub(crate) is_claim_dropped: bool,
    /// The relation of the clocks at the end.
    pub(crate) clock: Option<ClockOffset>,
}

/// How much later an agent began to send than the run's start instant.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct StartSkew {
    /// Negative where it was earlier.
    pub(crate) ns: i64,
    /// How far off that can be.
    pub(crate) bound_ns: u64,
}

/// One agent's path in one run.
#[derive(Debug)]
pub(crate) struct RunPath {
    trust: ClockTrust,
    /// No worker can have read a probe before, on the server's clock.
    began_ns: u64,
    window: ClockWindow,
    floor: PathFloor,
    /// The same exchanges with what the plan claims among them. `None` without a claim.
    claimed: Option<ClockWindow>,
    /// The agent's clock at the newest answer, and the server's when that was reported.
    newest: Option<(u64, u64)>,
    /// The lines in use or not judged yet, oldest first.
    used: VecDeque<UsedLine>,
    figures: PathFigures,
    exchanges: u32,
    /// The agent's clock when its first packet is due. 0 where it was not known when the order to
    /// start was given.
    starts_ns: u64,
    /// The same of the first packet that has times: those of the warm-up have none.
    timed_from_ns: u64,
    /// What was allowed of the offset then, when what is known was nearest to it.
    at_start: Option<Extent>,
    /// The agent has not waited for its start: lines may have timed packets that were not judged.
    began_early: bool,
}

impl RunPath {
    /// A path of a run that is prepared at `began_ns` of the server's clock.
    pub(crate) fn new(trust: ClockTrust, began_ns: u64) -> Self {
        Self {
            trust,
            began_ns,
            window: ClockWindow::default(),
            floor: PathFloor::default(),
            claimed: (!trust.is_none()).then(ClockWindow::default),
            newest: None,
            used: VecDeque::new(),
            figures: PathFigures::default(),
            exchanges: 0,
            starts_ns: 0,
            timed_from_ns: 0,
            at_start: None,
            began_early: false,
        }
    }

    /// The first packet is due when the agent's clock reads this, and the first one that has times
    /// so long after it.
    pub(crate) fn start(&mut self, starts_ns: u64, warm_up_ns: u64) {
        self.starts_ns = starts_ns;
        self.timed_from_ns = starts_ns.saturating_add(warm_up_ns);
    }

    /// A client of the agent began its schedule when the agent's clock read this.
    pub(crate) fn began(&mut self, began_ns: u64) {
        self.began_early |= began_ns < self.starts_ns;
    }

    /// Takes what the agent reports at `now_ns`. `is_stored`: the line that was made last is in
    /// use by now; until then no other one is made.
    pub(crate) fn take(
        &mut self,
        readings: &v1::ProbeReadings,
        (now_ns, server_wall): (u64, WallClock),
        is_stored: bool,
    ) -> Option<PathEvent> {
        let sent = readings.probes_sent;
        self.figures.probes_sent = self.figures.probes_sent.max(sent);
        let Ok(exchanges) = self.credible(readings, now_ns) else {
            return self.contradicted();
        };
        // By what is known around its time: behind a pause the window has forgotten that.
        self.judge_before(exchanges.first()?.sent_ns);
        for exchange in &exchanges {
            self.count(exchange);
        }
        let newest_ns = exchanges.last()?.answered_ns;
        self.newest = Some((newest_ns, now_ns));
        if let Err(Contradicted) = self.window.take(&exchanges) {
            return self.contradicted();
        }
        self.claim(exchanges, readings.wall_clock, server_wall);
        self.note_start(newest_ns);
        self.judge(newest_ns, false);
        let is_usable = self.exchanges >= EXCHANGES && self.figures.contradictions == 0;
        if !is_usable || !is_stored {
            return None;
        }
        self.make_line(newest_ns, now_ns)
    }

    /// Its figures when the run has ended at `now_ns`.
    pub(crate) fn figures(mut self, now_ns: u64) -> PathFigures {
        self.end_use(now_ns, self.used.len());
        self.judge(u64::MAX, true);
        if self.figures.contradictions > 0 || self.began_early {
            self.figures.one_way_bound_ns = None;
            self.figures.queueing_bound_ns = None;
        }
        self.figures.clock = self.clock();
        self.figures
    }

    /// How much later than the server's `start_ns` it was when the agent's clock read `began_ns`.
    pub(crate) fn start_skew(&self, began_ns: u64, start_ns: u64) -> Option<StartSkew> {
        if self.exchanges < EXCHANGES || self.figures.contradictions > 0 {
            return None;
        }
        let at_start = self.at_start.filter(|_| began_ns == self.starts_ns);
        let extent = match at_start {
            Some(extent) => extent,
            None => self.extent(began_ns)?.0,
        };
        let ours_ns = i128::from(began_ns) + extent.centre_ns();
        Some(StartSkew {
            ns: i64::try_from(ours_ns - i128::from(start_ns)).ok()?,
            bound_ns: u64::try_from(extent.bound_ns()).ok()?,
        })
    }

    /// What the agent's clock reads when the server's reads `server_ns`, by the centre. `None`
    /// before there is a relation.
    pub(crate) fn agents_reading(&self, server_ns: u64) -> Option<u64> {
        if self.exchanges < EXCHANGES || self.figures.contradictions > 0 {
            return None;
        }
        let (newest_ns, _) = self.newest?;
        let offset_ns = self.extent(newest_ns)?.0.centre_ns();
        u64::try_from(i128::from(server_ns) - offset_ns).ok()
    }

    /// The readings that can be true: not of the future, nor from before the run. An agent reports
    /// each once, in their order: where they are not, its clock has gone back.
    fn credible(
        &self,
        readings: &v1::ProbeReadings,
        now_ns: u64,
    ) -> Result<Vec<Exchange>, Contradicted> {
        let mut last_ns = self.newest.map_or(0, |(newest_ns, _)| newest_ns);
        let mut taken = Vec::new();
        for reading in readings.readings.iter().take(READINGS_MAX) {
            let v1::ProbeReading {
                sent_ns,
                answered_ns,
                server_ns,
            } = *reading;
            if answered_ns < last_ns || answered_ns < sent_ns {
                return Err(Contradicted);
            }
            let is_new = answered_ns > last_ns;
            if is_new && (self.began_ns..=now_ns).contains(&server_ns) {
                last_ns = answered_ns;
                taken.push(Exchange {
                    sent_ns,
                    server_ns,
                    answered_ns,
                });
            }
        }
        Ok(taken)
    }

    fn count(&mut self, exchange: &Exchange) {
        self.exchanges = self.exchanges.saturating_add(1);
        self.figures.probes_answered = self.figures.probes_answered.saturating_add(1);
        let round_trip_ns = exchange.answered_ns - exchange.sent_ns;
        self.figures.probe_rtt.record(round_trip_ns);
        self.floor.add(exchange);
    }

    /// What was read up to some time after the start limits the offset there from both sides;
    /// later on that is only known by the drift.
    fn note_start(&mut self, newest_ns: u64) {
        let is_near = newest_ns < self.starts_ns.saturating_add(JUDGED_AFTER_NS);
        if self.starts_ns > 0 && (is_near || self.at_start.is_none()) {
            self.at_start = self.extent(self.starts_ns).map(|(extent, _)| extent);
        }
    }

    fn contradicted(&mut self) -> Option<PathEvent> {
        self.figures.contradictions = self.figures.contradictions.saturating_add(1);
        // For the display all begins anew.
        self.window = ClockWindow::default();
        self.claimed = self.claimed.take().map(|_| ClockWindow::default());
        self.newest = None;
        self.used.clear();
        self.floor.clear();
        // Once is enough: there are no lines any more.
        (self.figures.contradictions == 1).then_some(PathEvent::Contradicted)
    }

    /// What the plan claims of the wall clocks limits the offset as an exchange does that took as
    /// long as they may be apart there and back. Probes that exclude it drop it, for the whole
    /// run.
    fn claim(
        &mut self,
        mut exchanges: Vec<Exchange>,
        agent: Option<v1::WallClock>,
        server: WallClock,
    ) {
        let (Some(claimed), Some((newest_ns, _))) = (&mut self.claimed, self.newest) else {
            return;
        };
        exchanges.extend(agent.and_then(|agent| {
            let claimed_by_both = || {
                let theirs = u64::try_from(agent.error_max_ns?).ok()?;
                theirs.checked_add(server.error_max_ns?)
            };
            let by_kernels = self.trust.ntp.then(claimed_by_both).flatten();
            let claims = [by_kernels, self.trust.bound_ns].into_iter().flatten();
            let apart_ns = with_drift(claims.min()?);
            let offset_ns =
                i128::from(agent.ahead_of_monotonic_ns) - i128::from(server.ahead_of_monotonic_ns);
            Some(Exchange {
                sent_ns: newest_ns.checked_sub(apart_ns)?,
                server_ns: u64::try_from(i128::from(newest_ns) + offset_ns).ok()?,
                answered_ns: newest_ns.checked_add(apart_ns)?,
            })
        }));
        if claimed.take(&exchanges).is_err() {
            self.claimed = None;
            self.at_start = None;
            self.figures.is_claim_dropped = true;
        }
    }

    /// What is allowed of the offset at a reading of the agent's clock, and whether a claim has
    /// narrowed it.
    fn extent(&self, at_ns: u64) -> Option<(Extent, bool)> {
        let proved = self.window.extent(at_ns)?;
        let claimed = self.claimed.as_ref().and_then(|of| of.extent(at_ns));
        let extent = claimed.unwrap_or(proved);
        // Two regions of the same exchanges differ by what rounding does.
        let narrowed_ns = (proved.most_ns - proved.least_ns) - (extent.most_ns - extent.least_ns);
        Some((extent, narrowed_ns > ROUNDED_NS))
    }

    /// The drifts that are allowed.
    fn drifts(&self) -> Option<(f64, f64)> {
        let claimed = self.claimed.as_ref().and_then(ClockWindow::drifts);
        claimed.or_else(|| self.window.drifts())
    }

    fn make_line(&mut self, at_ns: u64, now_ns: u64) -> Option<PathEvent> {
        let offset_ns = i64::try_from(self.extent(at_ns)?.0.centre_ns()).ok()?;
        let (slowest, fastest) = self.drifts()?;
        let drift_ppb = i32::try_from(parts_per_billion(likely_drift(slowest, fastest))).ok()?;
        let level_ns = self.floor.level_ns(at_ns, (slowest, fastest));
        let floor = level_ns.and_then(|level_ns| {
            Some(Floor {
                offset_ns: i64::try_from(level_ns).ok()?,
                drift_ppb,
            })
        });
        let oldest_ns = self.window.oldest_ns()?;
        let line = ClockLine {
            from_ns: oldest_ns.max(at_ns.saturating_sub(LINE_BEFORE_NS)),
            until_ns: at_ns.saturating_add(LINE_AFTER_NS),
            at_ns,
            offset_ns,
            drift_ppb,
            floor,
        };
        // All but the last one were replaced by it, which is in use by now.
        self.end_use(now_ns, self.used.len().saturating_sub(1));
        self.used.push_back(UsedLine {
            line,
            until_ns: None,
        });
        Some(PathEvent::Line(line))
    }

    fn clock(&self) -> Option<ClockOffset> {
        if self.exchanges < EXCHANGES {
            return None;
        }
        let (newest_ns, _) = self.newest?;
        let (extent, is_claimed) = self.extent(newest_ns)?;
        ClockOffset::of(extent, self.drifts()?, is_claimed)
    }
}

/// The drift of a line: the middle of those that are allowed, and the nearer to none the less is
/// known, as in a run's first second. Clocks seldom run apart by more than some 10 ppm, and the
/// middle is wrong by much less than it could be.
fn likely_drift(slowest: f64, fastest: f64) -> f64 {
    const UNLIKELY: f64 = 120e-6;
    let (middle, half) = ((slowest + fastest) / 2.0, (fastest - slowest) / 2.0);
    middle / (1.0 + (half / UNLIKELY).powi(2))
}

#[cfg(test)]
mod tests;
