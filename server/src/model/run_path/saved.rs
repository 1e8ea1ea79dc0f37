//! A path in the middle of a run, as one server process hands it to the next: all that its bounds
//! rest on, so that those of lines which were in use before are as they were. What was exchanged
//! before the run is not among it: a path that is handed over in the run's first seconds rests on
//! its probes alone from then on, with the bounds that they prove. Any bytes may come back.

use metronome_proto::plan::ClockTrust;
use serde::{Deserialize, Serialize};

use super::{PathFigures, PathFloor, RunPath, UsedLine};
use crate::model::{
    clock_history::ClockHistory,
    clock_window::{ClockWindow, Exchange, Extent},
};

/// What the next process needs of a [`RunPath`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct SavedPath {
    began_ns: u64,
    pub(super) exchanges: Vec<Exchange>,
    /// `None` without a claim, and once it was dropped.
    claimed: Option<Vec<Exchange>>,
    least_round_trip_ns: Option<u64>,
    newest: Option<(u64, u64)>,
    used: Vec<UsedLine>,
    figures: PathFigures,
    exchanges_count: u32,
    starts_ns: u64,
    timed_from_ns: u64,
    at_start: Option<Extent>,
}

impl From<&RunPath> for SavedPath {
    fn from(path: &RunPath) -> Self {
        let exchanges = |of: &ClockWindow| of.exchanges().copied().collect();
        let alone = path.alone.as_ref();
        let allowed = path.allowed_alone();
        let mut figures = path.figures.clone();
        if let Some(alone) = alone {
            alone.show_in(&mut figures);
        }
        Self {
            began_ns: path.began_ns,
            exchanges: exchanges(&allowed.proved),
            claimed: allowed.claimed.as_ref().map(exchanges),
            least_round_trip_ns: path.floor.least_round_trip_ns(),
            newest: path.newest,
            used: path.used.iter().copied().collect(),
            figures,
            exchanges_count: path.exchanges,
            starts_ns: path.starts_ns,
            timed_from_ns: path.timed_from_ns,
            at_start: alone.map_or(path.at_start, |alone| alone.at_start),
        }
    }
}

impl SavedPath {
    /// The path, of a run whose plan claims this. Exchanges that contradict each other, or lines
    /// without any, which no server has saved, leave the run without times between the clocks.
    pub(crate) fn restore(self, trust: ClockTrust) -> RunPath {
        let mut path = RunPath::new(trust, self.began_ns, &ClockHistory::default());
        path.figures = self.figures;
        path.starts_ns = self.starts_ns;
        path.timed_from_ns = self.timed_from_ns;
        path.at_start = self.at_start.filter(|of| of.least_ns <= of.most_ns);
        path.newest = self.newest;
        path.exchanges = self.exchanges_count;
        path.used = self.used.into();
        path.floor = PathFloor::with_least(self.least_round_trip_ns);
        let forth = self.exchanges.iter();
        for exchange in forth.filter(|of| of.sent_ns <= of.answered_ns) {
            path.floor.add(exchange);
        }
        let proved = &mut path.allowed.proved;
        let is_limited = proved.take(&self.exchanges).is_ok()
            && (path.used.is_empty() || proved.oldest_ns().is_some());
        if !is_limited {
            // Nothing is made of the event: no line is made any more either.
            let _ = path.contradicted();
        }
        path.allowed.claimed = self.claimed.and_then(|exchanges| {
            let mut claimed = ClockWindow::default();
            claimed.take(&exchanges).is_ok().then_some(claimed)
        });
        path
    }
}
