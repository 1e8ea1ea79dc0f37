//! What agents report to a running run: each report is checked, noted, and becomes an event of the
//! run's state machine where something follows from it.

use metronome_os::clock;
use metronome_proto::v1::{self, Failure, FailureCode, RunState};

use super::{
    driver::{Driver, DriverState},
    share_bounds::{self, group_due_max, packets_due_max},
};
use crate::{
    control::agents::{self, AgentReport, FromAgent},
    model::{check_behind, check_round_trips, run::Event},
};

impl Driver {
    /// Notes an agent's report. `None` when nothing follows from it.
    pub(super) fn take(&mut self, state: &mut DriverState, from: FromAgent) -> Option<Event> {
        let FromAgent { agent, report } = from;
        let agent_records = self.agents.get_mut(agent)?;
        if report.answers_prepare() && state.machine.state() == RunState::Preparing {
            self.runs.registry.note_answer(&agent_records.name, true);
        }
        match report {
            AgentReport::Prepared(read) => Some(self.take_prepared(state, agent, read)),
            AgentReport::Progress(progress) => self.take_progress(state, agent, progress),
            AgentReport::ClockContradicted => {
                agent_records.contradict_clock();
                state.snapshot.forget_one_way();
                None
            }
            AgentReport::Probes(readings) => {
                let master = &self.runs.master_client;
                if self.paths.take(agent, &readings, master) {
                    tracing::warn!(
                        agent = agent_records.name,
                        "the clocks of agent and server were not steady to each other, so the \
                         run has no times between them"
                    );
                    state.snapshot.take_bounds(None);
                }
                None
            }
            AgentReport::Records(records) => {
                agent_records.take(records);
                None
            }
            AgentReport::Finished(finished) => Some(self.take_finished(state, agent, finished)),
            AgentReport::Failed(failure) | AgentReport::Lost(failure) => {
                // After its final report an agent may leave at any time.
                if agent_records.finished().is_none() {
                    agent_records.fail(self.runs.server.explain(failure));
                    // As it stands there: made harmless, and the first one.
                    if let Some(failure) = agent_records.failure() {
                        let (code, why) = (failure.code().name(), failure.sentence.as_str());
                        tracing::warn!(agent = agent_records.name, code, why, "agent lost");
                    }
                }
                Some(Event::AgentGone(agent))
            }
        }
    }

    fn take_prepared(
        &mut self,
        state: &mut DriverState,
        agent: usize,
        read: Vec<v1::PayloadRead>,
    ) -> Event {
        let agent_records = &mut self.agents[agent];
        if let Err(problem) = agent_records.prepared(read, &self.plan) {
            return self.breaks_protocol(agent, problem);
        }
        if state.machine.state() == RunState::Preparing {
            let round_trip_ns = self.runs.registry.round_trip_ns(&agent_records.name);
            let clients = agent_records.share.clients_of_a_thread(self.plan.threads);
            let machine = state.machine.clone();
            state.machine = machine.allow_for_agent(round_trip_ns, clients);
        }
        // Watchers see the clients that are connected now, not those of the last beat.
        self.ask_for_reading(state);
        Event::AgentPrepared(agent)
    }

    fn take_progress(
        &mut self,
        state: &mut DriverState,
        agent: usize,
        progress: v1::Progress,
    ) -> Option<Event> {
        let start_at_ns = state.machine.start_at_ns();
        self.hosts.take(agent, progress.host_points, start_at_ns);
        let agent_records = &self.agents[agent];
        let clients = agent_records.share.clients();
        self.hosts.take_sockets(agent, progress.sockets, clients);
        let obstacle = progress.obstacle.map(|it| agent_records.obstacle(it));
        state.snapshot.take_obstacle(agent, obstacle);
        let round_trips = progress.round_trips;
        if let Err(problem) = check_round_trips(&round_trips, &self.plan, &agent_records.share) {
            return Some(self.breaks_protocol(agent, problem));
        }
        if let Err(problem) = check_behind(&progress.groups, &agent_records.share) {
            return Some(self.breaks_protocol(agent, problem));
        }
        let counts = progress.counts?;
        let now = state.now();
        let most_of = |group| group_due_max(&self.plan, &agent_records.share, group, now);
        if let Some(behind) = state.snapshot.behind_of(agent) {
            behind.take(&progress.groups, &self.plan, most_of);
        }
        state.snapshot.take_round_trips(agent, round_trips);
        let most = packets_due_max(&self.plan, &agent_records.share, now);
        let (sent, skipped) = state.snapshot.take_progress(agent, &counts, most);
        let counters = &self.runs.agent_counters;
        counters.agent_sent(&agent_records.name, sent, skipped);
        None
    }

    fn take_finished(
        &mut self,
        state: &mut DriverState,
        agent: usize,
        finished: v1::Finished,
    ) -> Event {
        if !state.machine.may_finish(clock::now_ns()) {
            let sentence = "it gave its final report before the run had begun";
            return self.breaks_protocol(agent, sentence);
        }
        let agent_records = &mut self.agents[agent];
        let round_trips = &finished.round_trips;
        if let Err(problem) = check_round_trips(round_trips, &self.plan, &agent_records.share) {
            return self.breaks_protocol(agent, problem);
        }
        let bounds = share_bounds::final_report(&self.plan, agent_records, state.now());
        let mut finished = bounds.apply(finished);
        let points = std::mem::take(&mut finished.host_points);
        self.hosts.take(agent, points, state.machine.start_at_ns());
        // An agent that comes back after an upgrade reports it again.
        if agent_records.finished().is_none() {
            let counters = &self.runs.agent_counters;
            counters.agent_finished(&agent_records.name, &finished, bounds.sent);
        }
        agent_records.finish(finished);
        Event::AgentFinished(agent)
    }

    /// An agent that reports what cannot be does not go on in this run. A final report stands.
    fn breaks_protocol(&mut self, agent: usize, sentence: &'static str) -> Event {
        let agent_records = &mut self.agents[agent];
        if agent_records.finished().is_none() {
            agent_records.fail(Failure::new(FailureCode::AgentProtocol, sentence));
            self.send(agent, agents::stop(self.id));
        }
        Event::AgentGone(agent)
    }
}
