//! What the probes of one agent show of its path and of its clock in one run: the lines by which
//! times between the clocks are taken, and how far off these can be. Pure; times in ns.
//!
//! A line is made of what was read before it. How wrong it was in the time in which it was used is
//! found out later, when exchanges from behind that time limit the offset as well; what is
//! reported is the worst of all lines that were in use. Exchanges that contradict each other leave
//! the whole run without such times, since some line of it was wrong.

mod allowed;
mod alone;
mod figures;
mod judging;
pub(super) mod saved;
mod used_line;

use std::collections::VecDeque;

use metronome_proto::{plan::ClockTrust, v1};
use serde::{Deserialize, Serialize};

use super::{
    clock_exchange::EXCHANGES,
    clock_history::ClockHistory,
    clock_line::{ClockLine, Floor},
    clock_relation::{ClockOffset, with_drift},
    clock_window::{Contradicted, Exchange, Extent, parts_per_billion},
    path_floor::PathFloor,
};
use allowed::Allowed;
use alone::Alone;
use used_line::{JUDGED_AFTER_NS, UsedLine};

pub(crate) use figures::{PathBounds, PathFigures};

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
    allowed: Allowed,
    /// What all would be without the history. `None` where there is none any more.
    alone: Option<Alone>,
    floor: PathFloor,
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
    /// A path of a run that is prepared at `began_ns` of the server's clock, with what was
    /// exchanged with the agent before.
    pub(crate) fn new(trust: ClockTrust, began_ns: u64, history: &ClockHistory) -> Self {
        let allowed = Allowed::behind(history, !trust.is_none());
        Self {
            trust,
            began_ns,
            alone: allowed.has_history().then(|| Alone::new(!trust.is_none())),
            allowed,
            floor: PathFloor::default(),
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
        let claim =
            (readings.wall_clock).and_then(|agents| self.trust_in(agents, server_wall, newest_ns));
        if let Err(Contradicted) = self.limit(&exchanges, claim) {
            return self.contradicted();
        }
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
            None => self.allowed.extent(began_ns)?.0,
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
        let offset_ns = self.allowed.extent(newest_ns)?.0.centre_ns();
        u64::try_from(i128::from(server_ns) - offset_ns).ok()
    }

    /// What is allowed of the offset whether or not the history holds.
    fn allowed_alone(&self) -> &Allowed {
        let alone = self.alone.as_ref();
        alone.map_or(&self.allowed, |alone| &alone.allowed)
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

    /// Lets exchanges limit the offset. Where they exclude the history it is as if there had been
    /// none.
    fn limit(
        &mut self,
        exchanges: &[Exchange],
        claim: Option<Exchange>,
    ) -> Result<(), Contradicted> {
        let has_claim = self.allowed.claimed.is_some();
        self.allowed.take(exchanges, claim)?;
        if let Some(mut alone) = self.alone.take() {
            alone.allowed.take(exchanges, claim)?;
            if alone.refutes(&self.allowed) {
                self.at_start = alone.at_start;
                alone.show_in(&mut self.figures);
                self.allowed = alone.allowed;
            } else {
                // Once it is older than the window nothing can exclude it any more.
                self.alone = self.allowed.has_history().then_some(alone);
            }
        }
        if has_claim && self.allowed.claimed.is_none() {
            self.at_start = None;
            self.figures.is_claim_dropped = true;
        }
        Ok(())
    }

    /// What was read up to some time after the start limits the offset there from both sides;
    /// later on that is only known by the drift.
    fn note_start(&mut self, newest_ns: u64) {
        let is_near = newest_ns < self.starts_ns.saturating_add(JUDGED_AFTER_NS);
        let at_start = |allowed: &Allowed, known: Option<Extent>| {
            let is_better = self.starts_ns > 0 && (is_near || known.is_none());
            let extent = || Some(allowed.extent(self.starts_ns)?.0);
            if is_better { extent() } else { known }
        };
        let known = at_start(&self.allowed, self.at_start);
        if let Some(alone) = &mut self.alone {
            alone.at_start = at_start(&alone.allowed, alone.at_start);
        }
        self.at_start = known;
    }

    fn contradicted(&mut self) -> Option<PathEvent> {
        self.figures.contradictions = self.figures.contradictions.saturating_add(1);
        // For the display all begins anew.
        self.allowed.clear();
        self.alone = None;
        self.newest = None;
        self.used.clear();
        self.floor.clear();
        // Once is enough: there are no lines any more.
        (self.figures.contradictions == 1).then_some(PathEvent::Contradicted)
    }

    /// What the plan claims of the wall clocks limits the offset as an exchange does that took as
    /// long as they may be apart there and back.
    fn trust_in(
        &self,
        agents: v1::WallClock,
        servers: WallClock,
        newest_ns: u64,
    ) -> Option<Exchange> {
        let claimed_by_both = || {
            let theirs = u64::try_from(agents.error_max_ns?).ok()?;
            theirs.checked_add(servers.error_max_ns?)
        };
        let by_kernels = self.trust.ntp.then(claimed_by_both).flatten();
        let claims = [by_kernels, self.trust.bound_ns].into_iter().flatten();
        let apart_ns = with_drift(claims.min()?);
        let offset_ns =
            i128::from(agents.ahead_of_monotonic_ns) - i128::from(servers.ahead_of_monotonic_ns);
        Some(Exchange {
            sent_ns: newest_ns.checked_sub(apart_ns)?,
            server_ns: u64::try_from(i128::from(newest_ns) + offset_ns).ok()?,
            answered_ns: newest_ns.checked_add(apart_ns)?,
        })
    }

    fn make_line(&mut self, at_ns: u64, now_ns: u64) -> Option<PathEvent> {
        let offset_ns = i64::try_from(self.allowed.extent(at_ns)?.0.centre_ns()).ok()?;
        let (slowest, fastest) = self.allowed.drifts()?;
        let drift_ppb = i32::try_from(parts_per_billion(likely_drift(slowest, fastest))).ok()?;
        let level_ns = self.floor.level_ns(at_ns, (slowest, fastest));
        let floor = level_ns.and_then(|level_ns| {
            Some(Floor {
                offset_ns: i64::try_from(level_ns).ok()?,
                drift_ppb,
            })
        });
        let oldest_ns = self.allowed.proved.oldest_ns()?;
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
        let (extent, is_claimed) = self.allowed.extent(newest_ns)?;
        ClockOffset::of(extent, self.allowed.drifts()?, is_claimed)
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
