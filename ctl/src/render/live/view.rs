//! What is shown of a run in progress, from the snapshots so far. Every figure is one of the last
//! snapshot, or, over time, of those before it; what none of them has is `None`.

use metronome_proto::{
    json::{times::quantile_ns, values},
    v1::{self, RunState},
};

use super::{
    history::{History, Time},
    plan::Planned,
};

/// A run as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(super) planned: Planned,
    /// What Ctrl-C does.
    pub(super) hint: &'static str,
    /// The last one. `None` before there is one.
    pub(super) snapshot: Option<v1::Snapshot>,
    pub(super) history: History,
}

/// A time of the run so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownTime {
    pub(super) time: Time,
    /// p50, p99 and p99.9, ns.
    pub(super) quantiles_ns: [Option<i64>; 3],
}

/// The quantiles that are shown, in millionths, with their names.
pub(super) const QUANTILES: [(u32, &str); 3] =
    [(500_000, "p50"), (990_000, "p99"), (999_000, "p99.9")];

impl View {
    /// A run that is about to begin. `hint` is what Ctrl-C does.
    pub(crate) fn new(run: &v1::Run, hint: &'static str) -> Self {
        Self {
            planned: Planned::of(run),
            hint,
            snapshot: None,
            history: History::default(),
        }
    }

    /// Takes how the run stands now.
    pub(crate) fn take(&mut self, snapshot: &v1::Snapshot) {
        if let Some(point) = &snapshot.latest_point {
            self.history.add_point(point);
        } else if snapshot.state() == RunState::Running
            && let Some(elapsed) = &snapshot.elapsed
        {
            let rate = snapshot.received_millihertz;
            self.history.add_rate(elapsed.seconds, rate);
        }
        self.snapshot = Some(snapshot.clone());
    }

    pub(super) fn state(&self) -> RunState {
        let state = self.snapshot.as_ref().map(v1::Snapshot::state);
        state.unwrap_or_default()
    }

    /// Since the first packet was due, s.
    pub(super) fn elapsed_s(&self) -> Option<f64> {
        let snapshot = self.snapshot.as_ref()?;
        values::seconds(snapshot.elapsed.as_ref()).filter(|elapsed_s| *elapsed_s >= 0.0)
    }

    /// How much of the schedule is over, 0 to 1.
    pub(super) fn share(&self) -> Option<f64> {
        let share = self.elapsed_s()? / self.planned.duration_s?;
        Some(share.clamp(0.0, 1.0))
    }

    /// What all clients together are to send now, packets per 1000 s.
    pub(super) fn offered_millihertz(&self) -> Option<u64> {
        let newest = self.history.newest();
        let of_point = newest.and_then(|second| second.offered_millihertz);
        self.planned.offered_millihertz.or(of_point)
    }

    /// The times that are shown, those that matter most first. Between clocks they are others than
    /// on one clock; which it is shows with the first of them.
    pub(super) fn times(&self) -> Vec<ShownTime> {
        let snapshot = self.snapshot.as_ref();
        let times = snapshot.and_then(|snapshot| snapshot.times.as_ref());
        let has = |time: Time| times.is_some_and(|times| time.of(times).is_some());
        let is_between_clocks =
            (has(Time::OneWay) || has(Time::Spread)) && !has(Time::Latency) && !has(Time::Transit);
        let mut shown = match is_between_clocks {
            true => vec![Time::Spread, Time::OneWay, Time::Lateness],
            false => vec![Time::Latency, Time::Transit, Time::Lateness],
        };
        shown.extend(has(Time::Rtt).then_some(Time::Rtt));
        let figures = |time: Time| ShownTime {
            time,
            quantiles_ns: QUANTILES.map(|(ppm, _)| quantile_ns(time.of(times?)?, ppm)),
        };
        shown.into_iter().map(figures).collect()
    }

    /// The p99 of each client in the last second, or of bands of them. `None` where that is not
    /// known.
    pub(super) fn clients(&self) -> Option<&v1::ClientTimes> {
        self.snapshot
            .as_ref()?
            .latest_point
            .as_ref()?
            .clients
            .as_ref()
    }

    /// What the processes of the run and their hosts did in the last second.
    pub(super) fn hosts(&self) -> &[v1::HostSeries] {
        let snapshot = self.snapshot.as_ref();
        snapshot.map_or(&[], |snapshot| &snapshot.latest_hosts)
    }
}
