//! What the ledger shows of a run while it goes on: asked for twice a second, taken into the run's
//! state.

use metronome_os::clock;
use metronome_proto::v1::{RunState, StopCause, ThresholdFailed};

use super::driver::{Driver, DriverState};
use crate::{
    model::{LiveCounters, Seen, SinceStart, run::Event},
    verdict::{SoFar, failed_threshold, missed},
};

/// Every second reading of the ledger includes the histograms: 1 Hz.
const READINGS_PER_HISTOGRAM: u64 = 2;

impl Driver {
    /// A beat: what is known is shown when the reading comes, or now if the last one still has not.
    pub(super) fn ask_for_reading(&mut self, state: &mut DriverState) {
        if state.reading.is_some() {
            self.show(state);
            return;
        }
        state.readings += 1;
        let histograms = state.readings.is_multiple_of(READINGS_PER_HISTOGRAM);
        state.reading = Some(self.runs.master_client.read_run(self.id, histograms));
    }

    /// Notes what the ledger shows. Nothing follows from a run that the master does not have.
    pub(super) fn observe(
        &mut self,
        state: &mut DriverState,
        counters: Option<LiveCounters>,
    ) -> Event {
        let Some(mut counters) = counters else {
            return Event::Tick;
        };
        let unreleased = counters.unreleased;
        let start_at_ns = state.machine.start_at_ns();
        self.hosts.watch(start_at_ns, &counters.presences);
        self.hosts.observe(&counters.presences);
        if counters.times.is_some() {
            let bounds = self.paths.bounds_so_far(&self.agents);
            state.snapshot.take_bounds(bounds);
        }
        let now_ns = clock::now_ns();
        if let Some((times, start_at_ns)) = counters.times.as_ref().zip(start_at_ns) {
            state.packets.take(SinceStart {
                at_ns: now_ns.saturating_sub(start_at_ns).cast_signed(),
                receiver: counters.counts,
                generator: state.snapshot.generator(),
                times,
                round_trips: state.snapshot.round_trips(),
                seen: Seen {
                    clients: counters.client_times.take(),
                    server_sockets: counters.sockets,
                    agent_sockets: self.hosts.sockets(),
                },
            });
        }
        state.snapshot.take_counters(counters, now_ns);
        Event::ConnectionsLeft(unreleased)
    }

    /// A stop, once a threshold cannot hold any more, where the plan ends the run then.
    pub(super) fn end_if_missed(
        &self,
        state: &mut DriverState,
        counters: Option<&LiveCounters>,
    ) -> Option<Event> {
        let is_running = state.machine.state() == RunState::Running;
        if !(self.plan.abort_on_fail && is_running) || state.stop_cause.is_some() {
            return None;
        }
        let start_at_ns = state.machine.start_at_ns()?;
        let found = missed(&SoFar {
            plan: &self.plan,
            agents: &self.agents,
            counters: counters?,
            reported: state.snapshot.reported(),
            behind: state.snapshot.behind(),
            round_trips: &state.snapshot.round_trips_of_groups(),
            has_bounds: state.snapshot.has_bounds(),
            elapsed_ns: clock::now_ns().saturating_sub(start_at_ns),
        })?;
        tracing::info!("run ends, since {} cannot hold any more", found.threshold);
        let failed = ThresholdFailed {
            run_id: self.id.to_string(),
            objective: Some(failed_threshold(&self.plan, &found)),
            ended_run: true,
        };
        self.runs.feed.threshold_failed(self.id, failed);
        state.missed = Some(found);
        state.stop_cause = Some(StopCause::Threshold);
        Some(Event::StopRequested)
    }
}
