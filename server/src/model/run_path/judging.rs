//! How wrong the lines of a path were in the time in which they were used. Pure; times in ns.
//!
//! A line is wrong by no more than what is allowed of the offset leaves open, at the first and the
//! last reading of the agent's clock at which a packet that it timed can have been written. That is
//! looked at some time later, by what was read before, meanwhile and since, and before a pause of
//! the probes makes the window forget it. A line that nothing limits leaves the run without times.
//! While a history from before the run is part of what is allowed, each line is judged without it
//! as well.

use super::{
    super::clock_line::ClockLine,
    RunPath,
    allowed::Allowed,
    figures::PathBounds,
    used_line::{JUDGED_AFTER_NS, UsedLine},
};

/// So often the reading of a clock is found by the offset at the reading that was found before.
const STEPS: u32 = 4;

/// A line is in use, and nothing limits how far off it is.
#[derive(Clone, Copy, Debug)]
struct Unlimited;

impl RunPath {
    /// How far off times can be that were taken up to `now_ns`, by what is allowed now. `None`
    /// where none were taken, or some are wrong.
    pub(crate) fn bounds_so_far(&self, now_ns: u64) -> Option<PathBounds> {
        let is_refuted = self.figures.is_claimed && self.figures.is_claim_dropped;
        if self.figures.contradictions > 0 || is_refuted {
            return None;
        }
        let latest_ns = self.latest_reading(now_ns)?;
        let judged = self.figures.one_way_bound_ns.map(|one_way_ns| PathBounds {
            one_way_ns,
            queueing_ns: self.figures.queueing_bound_ns,
            is_claimed: self.figures.is_claimed,
        });
        let all = self.used.iter().try_fold(judged, |worst, used| {
            let until_ns = used.until_ns.unwrap_or(latest_ns.min(used.line.until_ns));
            let bounds = self.bounds_of(&self.allowed, &used.line, until_ns)?;
            Ok::<_, Unlimited>(worst.into_iter().chain(bounds).reduce(PathBounds::with))
        });
        all.ok().flatten()
    }

    /// The first lines, so many of them, are out of use at `now_ns` of the server's clock.
    pub(super) fn end_use(&mut self, now_ns: u64, lines: usize) {
        let Some(until_ns) = self.latest_reading(now_ns) else {
            return;
        };
        for used in self.used.iter_mut().take(lines) {
            used.until_ns
                .get_or_insert(until_ns.min(used.line.until_ns));
        }
    }

    /// The most that the agent's clock can read at `now_ns`. `None` before the first exchange.
    pub(super) fn latest_reading(&self, now_ns: u64) -> Option<u64> {
        let (newest_ns, reported_ns) = self.newest?;
        let about_ns = newest_ns.saturating_add(now_ns.saturating_sub(reported_ns));
        // A history that turns out to be wrong leaves this right.
        let allowed = self.allowed_alone();
        // It reads no more than what the least offset at that reading leaves. From one reading to
        // another the offset changes by a thousandth at most, so that each step is nearer by as
        // much.
        let latest_ns = (0..STEPS).try_fold(about_ns, |at_ns, _| {
            let (extent, _) = allowed.extent(at_ns)?;
            let reading_ns = i128::from(now_ns) - extent.least_ns;
            Some(reading_ns.clamp(newest_ns.into(), u64::MAX.into()) as u64)
        })?;
        Some(latest_ns.saturating_add(1))
    }

    /// Judges the lines that time no packet written as late as [`JUDGED_AFTER_NS`] before
    /// `next_ns`, when the next probe was sent: also the last one, which may be in use still and
    /// reaches so far only.
    pub(super) fn judge_before(&mut self, next_ns: u64) {
        for used in &mut self.used {
            let until_ns = used.line.until_ns;
            if until_ns.saturating_add(JUDGED_AFTER_NS) <= next_ns {
                used.until_ns.get_or_insert(until_ns);
            }
        }
        self.judge(next_ns, false);
    }

    /// Judges the lines whose use has ended long enough before `now_ns` of the agent's clock, or
    /// all.
    pub(super) fn judge(&mut self, now_ns: u64, all: bool) {
        while let Some(UsedLine {
            line,
            until_ns: Some(until_ns),
        }) = self.used.front().copied()
        {
            if !all && now_ns < until_ns.saturating_add(JUDGED_AFTER_NS) {
                return;
            }
            self.used.pop_front();
            if let Err(Unlimited) = self.judge_line(&line, until_ns) {
                // No line is made any more: nothing is left of the event.
                let _ = self.contradicted();
                return;
            }
        }
    }

    /// Judges a line that timed packets written up to `until_ns`, with the history and alone.
    fn judge_line(&mut self, line: &ClockLine, until_ns: u64) -> Result<(), Unlimited> {
        let bounds = self.bounds_of(&self.allowed, line, until_ns)?;
        if let Some(mut alone) = self.alone.take() {
            alone.note(self.bounds_of(&alone.allowed, line, until_ns)?);
            self.alone = Some(alone);
        }
        self.figures.worsen(bounds);
        Ok(())
    }

    /// How far off the times of packets are by this line that were written up to `until_ns`: that
    /// is most at one of the ends. `None` where it timed none.
    fn bounds_of(
        &self,
        allowed: &Allowed,
        line: &ClockLine,
        until_ns: u64,
    ) -> Result<Option<PathBounds>, Unlimited> {
        let from_ns = line.from_ns.max(self.timed_from_ns);
        if until_ns < from_ns {
            return Ok(None);
        }
        let at = |at_ns| self.bounds_at(allowed, line, at_ns).ok_or(Unlimited);
        Ok(Some(at(from_ns)?.with(at(until_ns)?)))
    }

    /// How far off the times of a packet are that was written at this reading of the agent's
    /// clock. `None` where nothing limits that.
    fn bounds_at(&self, allowed: &Allowed, line: &ClockLine, at_ns: u64) -> Option<PathBounds> {
        let (extent, is_claimed) = allowed.extent(at_ns)?;
        let offset_ns = line.offset_at(at_ns);
        let away_ns = (offset_ns - extent.least_ns).max(extent.most_ns - offset_ns);
        let queueing_ns = match line.floor_at(at_ns) {
            None => None,
            Some(floor_ns) => {
                let range = self.floor.range(at_ns, allowed.drifts()?)?;
                let away_ns = range.bound_of(floor_ns).ceil();
                Some(away_ns.clamp(0.0, u64::MAX as f64) as u64)
            }
        };
        Some(PathBounds {
            one_way_ns: u64::try_from(away_ns).unwrap_or(u64::MAX),
            queueing_ns,
            is_claimed,
        })
    }
}
