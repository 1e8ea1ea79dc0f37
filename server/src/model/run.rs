//! The states of a run as a pure state machine: (state, event, now) → (state, actions).
//!
//! ```text
//! PREPARING ──▶ STARTING ──▶ RUNNING ──▶ DRAINING ─ CloseRun ─▶ (closing) ──▶ ENDED or FAILED
//!     │             │            │           ▲
//!     └─────────────┴────────────┴───────────┘   a stop, or no agent is left
//! ```
//!
//! A run is ENDED when its first packet was due, that is when it was RUNNING. It is FAILED when it
//! was over before: every agent failed or was given up in PREPARING or STARTING, or a stop came
//! there. There is nothing to report of a FAILED run, but its clients were admitted, so it takes
//! the same way: agents that still work get their stop, and the master closes the run. A run of
//! which an agent is lost, or has not prepared in time, goes on with the others, unless its plan
//! stops it then.
//!
//! An event only records a fact; [`RunStateMachine::advance`] alone decides what follows from the
//! facts and the time. So it does not matter in which order facts arrive, or whether one arrives
//! twice. An agent is an index within the run; its name and its figures belong to the caller. Times
//! are nanoseconds of CLOCK_MONOTONIC. The states of the API have no order that could be compared.
//!
//! Absent on purpose: clock, I/O, async, figures. The clients of a run are admitted before its
//! state machine begins, since a refusal is StartRun's answer and no run at all.

use std::collections::BTreeMap;

use metronome_proto::{
    limits::STOP_TIME_MAX,
    v1::{AgentLoss, Failure, FailureCode, RunState},
};
use serde::{Deserialize, Serialize};

use super::start_lead;

/// Agents have this long to connect and verify all their clients.
pub(crate) const PREPARE_NS: u64 = 10 * SECOND_NS;
/// After the schedule is over agents may take this long to end by themselves.
pub(super) const GRACE_NS: u64 = 10 * SECOND_NS;
/// After a stop they may take this long.
pub(crate) const STOP_NS: u64 = STOP_TIME_MAX.as_nanos() as u64;
/// The master has this long to close the next of a run's connections …
pub(super) const CLOSE_NS: u64 = 5 * SECOND_NS;
/// … and this long to close all of them and to send the final counters.
pub(crate) const CLOSE_NS_MAX: u64 = 30 * SECOND_NS;

const SECOND_NS: u64 = 1_000_000_000;

/// What has happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// All clients of this agent are connected and verified.
    AgentPrepared(usize),
    /// This agent's final records have come.
    AgentFinished(usize),
    /// This agent cannot go on, or its stream is gone: nothing more will come from it.
    AgentGone(usize),
    StopRequested,
    /// So many of the run's connections have not been released by their workers.
    ConnectionsLeft(u32),
    /// The master has sent the run's final counters, or has ended and never will.
    RunClosed,
    /// Only time has passed.
    Tick,
}

/// What has to be done, in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Order this agent to connect its clients.
    SendPrepare(usize),
    /// Send this agent the time at which the first packet is due.
    SendStart { agent: usize, start_at_ns: u64 },
    /// Order this agent to send nothing more and to report.
    SendStop(usize),
    /// This agent did not answer in time: its share counts as missing.
    GiveUp(usize),
    /// Ask the master to end the run and to send the final counters.
    CloseRun,
    /// Make the report, or of a run that is FAILED the failure; no action follows this one.
    Conclude,
}

/// Where a run stands. After an upgrade the new server process continues with it unchanged.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct RunStateMachine {
    stage: Stage,
    agents: Vec<AgentStage>,
    /// From the first packet due to the end of the schedule.
    schedule_ns: u64,
    start_at_ns: Option<u64>,
    /// What the agent that needs the most needs from the decision to start to the first packet due.
    needed_ns: u64,
    /// The plan stops the run when an agent is lost.
    stops_on_loss: bool,
    /// It was RUNNING: its first packet was due.
    was_running: bool,
    stop_requested: bool,
    stopped: Option<EarlyStop>,
    finished_early: BTreeMap<usize, u64>,
}

/// Why a run was stopped before its schedule was over.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum EarlyStop {
    /// A stop was requested.
    Requested,
    /// This agent was lost, and the plan stops the run then.
    AgentLost(usize),
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Stage {
    Preparing { until_ns: u64 },
    Starting { start_at_ns: u64 },
    Running { until_ns: u64 },
    Draining { until_ns: u64, stop_sent: bool },
    Closing(Closing),
    Over,
}

/// The master closes the run: how long that may take depends on whether it gets on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Closing {
    /// When it counts as gone unless fewer connections are left by then.
    until_ns: u64,
    /// When it counts as gone in any case.
    latest_ns: u64,
    /// The fewest connections that were seen to be left.
    left: u32,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum AgentStage {
    Preparing,
    Prepared,
    Finished,
    Gone,
}

impl AgentStage {
    /// Its final records are still to come.
    fn is_working(self) -> bool {
        matches!(self, Self::Preparing | Self::Prepared)
    }
}

impl RunStateMachine {
    /// A run of `agents` agents whose clients may connect from now on.
    pub(crate) fn begin(
        agents: usize,
        schedule_ns: u64,
        on_agent_loss: AgentLoss,
        now_ns: u64,
    ) -> (Self, Vec<Action>) {
        let state_machine = Self {
            stage: Stage::Preparing {
                until_ns: now_ns.saturating_add(PREPARE_NS),
            },
            agents: vec![AgentStage::Preparing; agents],
            schedule_ns,
            start_at_ns: None,
            needed_ns: 0,
            stops_on_loss: on_agent_loss == AgentLoss::Stop,
            was_running: false,
            stop_requested: false,
            stopped: None,
            finished_early: BTreeMap::new(),
        };
        (
            state_machine,
            (0..agents).map(Action::SendPrepare).collect(),
        )
    }

    /// What follows from `event` at `now_ns`. Late, repeated and unknown events change nothing.
    pub(crate) fn step(mut self, event: Event, now_ns: u64) -> (Self, Vec<Action>) {
        match event {
            Event::AgentPrepared(agent) => self.set_agent_stage(agent, AgentStage::Prepared),
            Event::AgentFinished(agent) => {
                self.note_early_finish(agent, now_ns);
                self.set_agent_stage(agent, AgentStage::Finished);
            }
            Event::AgentGone(agent) => self.set_agent_stage(agent, AgentStage::Gone),
            Event::StopRequested => self.stop_requested = true,
            Event::ConnectionsLeft(left) => self.note_left(left, now_ns),
            Event::RunClosed if matches!(self.stage, Stage::Closing(_)) => {
                self.stage = Stage::Over;
                return (self, vec![Action::Conclude]);
            }
            Event::RunClosed | Event::Tick => {}
        }
        let mut actions = Vec::new();
        // Each turn moves at least one stage down or settles, so this ends.
        while self.advance(now_ns, &mut actions) {}
        (self, actions)
    }

    /// Those who have a deadline get `more_ns` in addition. The schedule stands.
    pub(crate) fn extend(mut self, more_ns: u64) -> Self {
        if let Stage::Preparing { until_ns }
        | Stage::Draining { until_ns, .. }
        | Stage::Closing(Closing { until_ns, .. }) = &mut self.stage
        {
            *until_ns = until_ns.saturating_add(more_ns);
        }
        if let Stage::Closing(Closing { latest_ns, .. }) = &mut self.stage {
            *latest_ns = latest_ns.saturating_add(more_ns);
        }
        self
    }

    /// An agent with so many clients on a pacing thread is a round trip away, ns.
    pub(crate) fn allow_for_agent(mut self, round_trip_ns: u64, clients: u32) -> Self {
        let needed_ns = start_lead::needed_ns(round_trip_ns, clients);
        self.needed_ns = self.needed_ns.max(needed_ns);
        self
    }

    /// When to call [`RunStateMachine::step`] with [`Event::Tick`], ns; `None` once the run is
    /// over.
    pub(crate) fn wake_at_ns(&self) -> Option<u64> {
        match self.stage {
            Stage::Preparing { until_ns }
            | Stage::Starting {
                start_at_ns: until_ns,
            }
            | Stage::Running { until_ns }
            | Stage::Draining { until_ns, .. }
            | Stage::Closing(Closing { until_ns, .. }) => Some(until_ns),
            Stage::Over => None,
        }
    }

    /// The state as the API reports it.
    pub(crate) fn state(&self) -> RunState {
        match self.stage {
            Stage::Preparing { .. } => RunState::Preparing,
            Stage::Starting { .. } => RunState::Starting,
            Stage::Running { .. } => RunState::Running,
            Stage::Draining { .. } | Stage::Closing(_) => RunState::Draining,
            Stage::Over => self.final_state(),
        }
    }

    /// The state in which the run ends if nothing more happens: ENDED once its first packet was
    /// due, FAILED before.
    pub(crate) fn final_state(&self) -> RunState {
        if self.was_running {
            RunState::Ended
        } else {
            RunState::Failed
        }
    }

    /// How many agents have a share of it.
    pub(crate) fn agents(&self) -> usize {
        self.agents.len()
    }

    /// When the first packet is due, once that is agreed.
    pub(crate) fn start_at_ns(&self) -> Option<u64> {
        self.start_at_ns
    }

    /// Why the run was stopped before its schedule was over. `None` when it was not.
    pub(crate) fn stopped(&self) -> Option<EarlyStop> {
        self.stopped
    }

    /// The agents that finished before the schedule was over although nothing had stopped the run,
    /// by their indices, with how long after the first packet was due that was, ns. A clock that
    /// stands still for a while makes an agent finish later, never earlier.
    pub(crate) fn finished_early(&self) -> &BTreeMap<usize, u64> {
        &self.finished_early
    }

    /// Whether there is anything that an agent could have finished: its first packet was due, or a
    /// stop was sent.
    pub(crate) fn may_finish(&self, now_ns: u64) -> bool {
        match self.stage {
            Stage::Preparing { .. } => false,
            Stage::Starting { start_at_ns } => now_ns >= start_at_ns,
            _ => true,
        }
    }

    /// Indices of the agents that the run waits for: to connect their clients in PREPARING, to send
    /// their final records in DRAINING. None in every other state.
    pub(crate) fn waiting_for(&self) -> impl Iterator<Item = usize> {
        let state = self.state();
        let is_waited_for = move |stage: AgentStage| match state {
            RunState::Preparing => stage == AgentStage::Preparing,
            RunState::Draining => stage.is_working(),
            _ => false,
        };
        let agents = self.agents.iter().enumerate();
        agents.filter_map(move |(agent, stage)| is_waited_for(*stage).then_some(agent))
    }

    /// Why the run is to be stopped: a request goes before a loss. `None` while it may go on.
    fn why_stop(&self) -> Option<EarlyStop> {
        if self.stop_requested {
            return Some(EarlyStop::Requested);
        }
        let lost = self.indices(AgentStage::Gone).next();
        lost.filter(|_| self.stops_on_loss)
            .map(EarlyStop::AgentLost)
    }

    fn note_early_finish(&mut self, agent: usize, now_ns: u64) {
        let is_working = self
            .agents
            .get(agent)
            .is_some_and(|stage| stage.is_working());
        let Some(start_at_ns) = self.start_at_ns else {
            return;
        };
        let elapsed_ns = now_ns.saturating_sub(start_at_ns);
        if is_working && self.why_stop().is_none() && elapsed_ns < self.schedule_ns {
            self.finished_early.insert(agent, elapsed_ns);
        }
    }

    /// Fewer connections than ever are left: the master gets on and has time for the next ones.
    fn note_left(&mut self, left: u32, now_ns: u64) {
        if let Stage::Closing(closing) = &mut self.stage
            && left < closing.left
        {
            closing.left = left;
            closing.until_ns = now_ns.saturating_add(CLOSE_NS).min(closing.latest_ns);
        }
    }

    /// An agent only moves forward: a late or repeated event changes nothing.
    fn set_agent_stage(&mut self, agent: usize, stage: AgentStage) {
        let Some(known) = self.agents.get_mut(agent) else {
            return;
        };
        let moves_on = match stage {
            AgentStage::Preparing => false,
            AgentStage::Prepared => *known == AgentStage::Preparing,
            AgentStage::Finished | AgentStage::Gone => known.is_working(),
        };
        if moves_on {
            *known = stage;
        }
    }

    /// Moves one stage down if the facts and the time ask for it. True when it did.
    ///
    /// The order of the arms is the order of precedence: the schedule comes first, so that a run
    /// whose first packet is due is RUNNING, and one whose schedule is over DRAINING, whatever else
    /// has happened meanwhile; one whose agents are all done closes in whatever stage it is.
    fn advance(&mut self, now_ns: u64, actions: &mut Vec<Action>) -> bool {
        let all_agents_done = !self.agents.iter().any(|agent| agent.is_working());
        match self.stage {
            // The master never answered: the report is made without its counters.
            Stage::Closing(Closing { until_ns, .. }) if now_ns >= until_ns => {
                self.stage = Stage::Over;
                actions.push(Action::Conclude);
            }
            Stage::Closing(_) | Stage::Over => return false,
            Stage::Starting { start_at_ns } if now_ns >= start_at_ns => {
                self.was_running = true;
                // From the agreed start, not from now: a late wake-up must not lengthen the run.
                self.stage = Stage::Running {
                    until_ns: start_at_ns.saturating_add(self.schedule_ns),
                };
            }
            // What comes after the end of the schedule cuts nothing short.
            Stage::Running { until_ns } if now_ns >= until_ns => {
                self.stage = Stage::Draining {
                    until_ns: until_ns.saturating_add(GRACE_NS),
                    stop_sent: false,
                };
            }
            _ if all_agents_done => {
                // In DRAINING the schedule was already over, so a stop cut nothing short.
                if !matches!(self.stage, Stage::Draining { .. }) {
                    self.stopped = self.why_stop();
                }
                self.close(now_ns, actions);
            }
            // Agents get two deadlines: first the grace to end by themselves, then the time to
            // report after a stop. Giving up the last one makes all agents done, in the next turn.
            Stage::Draining {
                stop_sent: true,
                until_ns,
            } if now_ns >= until_ns => {
                self.give_up(|stage| stage.is_working(), actions);
            }
            Stage::Draining {
                stop_sent: false,
                until_ns,
            } if self.stop_requested || now_ns >= until_ns => {
                self.stop(now_ns, actions);
            }
            Stage::Draining { .. } => return false,
            Stage::Preparing { .. } | Stage::Starting { .. } | Stage::Running { .. } => {
                let Some(why) = self.why_stop() else {
                    return self.advance_preparing(now_ns, actions);
                };
                self.stopped = Some(why);
                self.stop(now_ns, actions);
            }
        }
        true
    }

    /// PREPARING, as long as agents work and nothing stops the run.
    fn advance_preparing(&mut self, now_ns: u64, actions: &mut Vec<Action>) -> bool {
        match self.stage {
            Stage::Preparing { .. } if !self.agents.contains(&AgentStage::Preparing) => {
                self.start(now_ns, actions);
            }
            Stage::Preparing { until_ns } if now_ns >= until_ns => {
                // Those that are prepared go on without the others. The others get a stop, so that
                // they give up their clients of this run.
                actions.extend(self.indices(AgentStage::Preparing).map(Action::SendStop));
                self.give_up(|stage| stage == AgentStage::Preparing, actions);
            }
            _ => return false,
        }
        true
    }

    fn start(&mut self, now_ns: u64, actions: &mut Vec<Action>) {
        let start_at_ns = now_ns.saturating_add(start_lead::lead_ns(self.needed_ns));
        actions.extend(
            self.indices(AgentStage::Prepared)
                .map(|agent| Action::SendStart { agent, start_at_ns }),
        );
        self.start_at_ns = Some(start_at_ns);
        self.stage = Stage::Starting { start_at_ns };
    }

    fn stop(&mut self, now_ns: u64, actions: &mut Vec<Action>) {
        let working = |(agent, stage): (usize, &AgentStage)| {
            stage.is_working().then_some(Action::SendStop(agent))
        };
        actions.extend(self.agents.iter().enumerate().filter_map(working));
        self.stage = Stage::Draining {
            until_ns: now_ns.saturating_add(STOP_NS),
            stop_sent: true,
        };
    }

    fn close(&mut self, now_ns: u64, actions: &mut Vec<Action>) {
        actions.push(Action::CloseRun);
        self.stage = Stage::Closing(Closing {
            until_ns: now_ns.saturating_add(CLOSE_NS),
            latest_ns: now_ns.saturating_add(CLOSE_NS_MAX),
            left: u32::MAX,
        });
    }

    fn give_up(&mut self, on: impl Fn(AgentStage) -> bool, actions: &mut Vec<Action>) {
        for (agent, stage) in self.agents.iter_mut().enumerate() {
            if on(*stage) {
                *stage = AgentStage::Gone;
                actions.push(Action::GiveUp(agent));
            }
        }
    }

    fn indices(&self, stage: AgentStage) -> impl Iterator<Item = usize> {
        self.agents
            .iter()
            .enumerate()
            .filter(move |(_, known)| **known == stage)
            .map(|(agent, _)| agent)
    }
}

/// Why an agent is given up that a deadline of the run has passed, which stood at `before` then.
pub(crate) fn out_of_time(before: RunState) -> Failure {
    if before == RunState::Preparing {
        let seconds = PREPARE_NS / 1_000_000_000;
        let sentence = format!("it did not connect its clients within {seconds} s");
        Failure::new(FailureCode::PrepareTimedOut, sentence).with("deadline_ns", PREPARE_NS)
    } else {
        Failure::new(
            FailureCode::NoFinalReport,
            "it gave no final report in time",
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{start_lead::START_LEAD_NS, *};

    const SCHEDULE_NS: u64 = 10 * SECOND_NS;

    /// Feeds events one after the other and collects what follows.
    struct Story {
        state_machine: Option<RunStateMachine>,
        now_ns: u64,
        actions: Vec<Action>,
    }

    impl Story {
        fn of(agents: usize) -> Self {
            Self::with(agents, AgentLoss::Continue)
        }

        fn with(agents: usize, on_agent_loss: AgentLoss) -> Self {
            let (state_machine, actions) =
                RunStateMachine::begin(agents, SCHEDULE_NS, on_agent_loss, 1_000);
            Self {
                state_machine: Some(state_machine),
                now_ns: 1_000,
                actions,
            }
        }

        fn state_machine(&self) -> &RunStateMachine {
            self.state_machine
                .as_ref()
                .expect("only absent within a step")
        }

        fn on(&mut self, event: Event) -> Vec<Action> {
            let (state_machine, actions) = self
                .state_machine
                .take()
                .expect("only absent within a step")
                .step(event, self.now_ns);
            self.state_machine = Some(state_machine);
            self.actions.extend(&actions);
            actions
        }

        /// Lets time pass until the run next wants to be woken.
        fn wait(&mut self) -> Vec<Action> {
            self.now_ns = self
                .state_machine()
                .wake_at_ns()
                .expect("a run that has ended waits for nothing");
            self.on(Event::Tick)
        }

        fn is(&self, state: RunState) -> bool {
            self.state_machine().state() == state
        }
    }

    #[test]
    fn a_pause_of_this_process_moves_the_deadlines_of_others_and_not_the_schedule() {
        let (preparing, _) = RunStateMachine::begin(1, 1_000, AgentLoss::Continue, 0);
        let deadline_ns = preparing.wake_at_ns().unwrap();
        let extended = preparing.clone().extend(7);
        assert_eq!(extended.wake_at_ns(), Some(deadline_ns + 7));
        let unchanged = (extended.clone(), Vec::new());
        assert_eq!(extended.step(Event::Tick, deadline_ns), unchanged);
        let starting = preparing.step(Event::AgentPrepared(0), 0).0;
        let running = starting.clone().step(Event::Tick, START_LEAD_NS).0;
        for scheduled in [starting, running] {
            assert_eq!(scheduled.clone().extend(7), scheduled);
        }
    }

    #[test]
    fn an_agent_can_have_finished_once_its_first_packet_is_due() {
        let (preparing, _) = RunStateMachine::begin(3, 1_000, AgentLoss::Continue, 0);
        assert_eq!(preparing.agents(), 3);
        assert_eq!(preparing.waiting_for().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!preparing.may_finish(u64::MAX));
        let (preparing, _) = RunStateMachine::begin(1, 1_000, AgentLoss::Continue, 0);
        let starting = preparing.step(Event::AgentPrepared(0), 0).0;
        let start_at_ns = starting.start_at_ns().unwrap();
        assert!(!starting.may_finish(start_at_ns - 1));
        assert!(starting.may_finish(start_at_ns));
        let running = starting.step(Event::Tick, start_at_ns).0;
        assert!(running.may_finish(start_at_ns));
        assert_eq!(running.waiting_for().count(), 0);
    }

    #[test]
    fn an_agent_that_is_out_of_time_fails_by_the_deadline_that_has_passed() {
        let preparing = out_of_time(RunState::Preparing);
        assert_eq!(preparing.code(), FailureCode::PrepareTimedOut);
        assert_eq!(
            preparing.sentence,
            "it did not connect its clients within 10 s"
        );
        let draining = out_of_time(RunState::Draining);
        assert_eq!(draining.code(), FailureCode::NoFinalReport);
    }

    #[test]
    fn an_agent_has_10_s_to_prepare_10_s_to_end_and_5_s_to_stop() {
        fn waits_s(story: &mut Story, state: RunState) -> u64 {
            assert!(story.is(state));
            let agents: Vec<_> = story.state_machine().waiting_for().collect();
            assert_eq!(agents, [0], "the run waits for its agent");
            let before_ns = story.now_ns;
            story.wait();
            (story.now_ns - before_ns) / SECOND_NS
        }
        assert_eq!(waits_s(&mut Story::of(1), RunState::Preparing), 10);
        let mut story = Story::of(1);
        story.on(Event::AgentPrepared(0));
        (0..2).for_each(|_| drop(story.wait()));
        assert_eq!(waits_s(&mut story, RunState::Draining), 10);
        let mut story = Story::of(1);
        story.on(Event::AgentPrepared(0));
        story.wait();
        story.on(Event::StopRequested);
        assert_eq!(waits_s(&mut story, RunState::Draining), 5);
        assert_eq!(story.state_machine().waiting_for().count(), 0);
    }

    #[test]
    fn a_run_in_good_order() {
        let mut story = Story::of(2);
        assert_eq!(
            story.actions,
            [Action::SendPrepare(0), Action::SendPrepare(1)]
        );
        assert_eq!(story.on(Event::AgentPrepared(1)), []);
        assert!(story.is(RunState::Preparing));
        let start_at_ns = story.now_ns + START_LEAD_NS;
        let starts = [0, 1].map(|agent| Action::SendStart { agent, start_at_ns });
        assert_eq!(story.on(Event::AgentPrepared(0)), starts);
        assert!(story.is(RunState::Starting));
        assert_eq!(story.wait(), []);
        assert!(story.is(RunState::Running));
        assert_eq!(story.wait(), []);
        assert!(story.is(RunState::Draining));
        assert_eq!(story.now_ns, start_at_ns + SCHEDULE_NS);
        assert_eq!(story.on(Event::AgentFinished(0)), []);
        assert_eq!(story.on(Event::AgentFinished(1)), [Action::CloseRun]);
        assert_eq!(story.on(Event::RunClosed), [Action::Conclude]);
        assert!(story.is(RunState::Ended) && story.state_machine().stopped().is_none());
    }

    #[test]
    fn the_last_prepared_agent_starts_the_run_within_30_ms_and_not_before_the_order_can_arrive() {
        let mut story = Story::of(2);
        story.on(Event::AgentPrepared(0));
        story.now_ns += 7 * SECOND_NS;
        let starts = story.on(Event::AgentPrepared(1));
        assert_eq!(starts.len(), 2);
        for start in starts {
            let Action::SendStart { start_at_ns, .. } = start else {
                panic!("{start:?}")
            };
            let lead_ns = start_at_ns - story.now_ns;
            assert!((5_000_000..=30_000_000).contains(&lead_ns), "{lead_ns}");
            assert_eq!(story.state_machine().start_at_ns(), Some(start_at_ns));
        }
    }

    #[test]
    fn the_lead_is_what_the_farthest_agent_needs_and_bounded() {
        const MS: u64 = 1_000_000;
        for (round_trips_ms, clients, lead_ms) in [
            ([0, 6], 100, 20),
            ([600, 6], 0, 910),
            ([6, 600], 1_000, 920),
            ([0, 0], 10_000, 110),
            ([0, u64::MAX / MS], 1, 5_000),
        ] {
            let (machine, _) = RunStateMachine::begin(1, SCHEDULE_NS, AgentLoss::Continue, 0);
            let far = round_trips_ms.iter();
            let machine = far.fold(machine, |of, ms| of.allow_for_agent(ms * MS, clients));
            let (machine, _) = machine.step(Event::AgentPrepared(0), 0);
            assert_eq!(machine.start_at_ns(), Some(lead_ms * MS));
        }
    }

    #[test]
    fn a_stop_ends_every_stage_and_is_early_only_before_the_schedule_is_over() {
        for (waits, state) in [
            (0, RunState::Starting),
            (1, RunState::Running),
            (2, RunState::Draining),
        ] {
            let mut story = Story::of(1);
            story.on(Event::AgentPrepared(0));
            (0..waits).for_each(|_| drop(story.wait()));
            assert!(story.is(state));
            assert_eq!(story.on(Event::StopRequested), [Action::SendStop(0)]);
            assert_eq!(story.on(Event::StopRequested), []);
            assert_eq!(story.on(Event::AgentFinished(0)), [Action::CloseRun]);
            assert_eq!(
                story.state_machine().stopped().is_some(),
                state != RunState::Draining
            );
        }
        let mut story = Story::of(1);
        assert_eq!(story.on(Event::StopRequested), [Action::SendStop(0)]);
        assert_eq!(story.wait(), [Action::GiveUp(0), Action::CloseRun]);
        assert!(story.state_machine().stopped().is_some());
    }

    #[test]
    fn a_run_that_is_over_before_its_first_packet_is_due_has_failed() {
        let gone = [Event::AgentGone(0), Event::AgentGone(1)];
        let stopped = [
            Event::StopRequested,
            Event::AgentGone(0),
            Event::AgentGone(1),
        ];
        for over in [&gone[..], &stopped[..]] {
            for (waits, state, final_state) in [
                (None, RunState::Preparing, RunState::Failed),
                (Some(0), RunState::Starting, RunState::Failed),
                (Some(1), RunState::Running, RunState::Ended),
                (Some(2), RunState::Draining, RunState::Ended),
            ] {
                let mut story = Story::of(2);
                if let Some(waits) = waits {
                    story.on(Event::AgentPrepared(0));
                    story.on(Event::AgentPrepared(1));
                    (0..waits).for_each(|_| drop(story.wait()));
                }
                assert!(story.is(state));
                over.iter().for_each(|event| drop(story.on(*event)));
                assert!(story.is(RunState::Draining), "the master still closes it");
                assert_eq!(story.on(Event::RunClosed), [Action::Conclude]);
                assert!(story.is(final_state), "{over:?} while {state:?}");
            }
        }
    }

    #[test]
    fn agents_that_are_all_given_up_while_they_prepare_leave_a_failed_run() {
        let mut story = Story::of(2);
        story.wait();
        story.on(Event::RunClosed);
        assert!(story.is(RunState::Failed));
        assert_eq!(story.state_machine().start_at_ns(), None);
    }

    #[test]
    fn a_run_that_some_agents_prepared_goes_on_and_ends() {
        let mut story = Story::of(2);
        story.on(Event::AgentGone(0));
        story.on(Event::AgentPrepared(1));
        story.wait();
        assert!(story.is(RunState::Running));
        story.on(Event::AgentFinished(1));
        story.on(Event::RunClosed);
        assert!(story.is(RunState::Ended));
    }

    #[test]
    fn an_event_that_comes_when_the_first_packet_is_due_finds_a_running_run() {
        for event in [Event::StopRequested, Event::AgentGone(0)] {
            for (early_ns, final_state) in [(1, RunState::Failed), (0, RunState::Ended)] {
                let mut story = Story::of(1);
                story.on(Event::AgentPrepared(0));
                story.now_ns += START_LEAD_NS - early_ns;
                story.on(event);
                assert_eq!(
                    story.state_machine().final_state(),
                    final_state,
                    "{event:?}"
                );
            }
        }
    }

    #[test]
    fn an_agent_that_does_not_prepare_in_time_is_left_behind() {
        let mut story = Story::of(2);
        story.on(Event::AgentPrepared(1));
        let start_at_ns = 1_000 + PREPARE_NS + START_LEAD_NS;
        let start = Action::SendStart {
            agent: 1,
            start_at_ns,
        };
        assert_eq!(
            story.wait(),
            [Action::SendStop(0), Action::GiveUp(0), start]
        );
        assert_eq!(story.on(Event::AgentPrepared(0)), [], "it comes too late");
    }

    #[test]
    fn a_loss_stops_a_run_of_a_plan_that_asks_for_that_unless_its_schedule_is_over() {
        for (waits, state, final_state) in [
            (None, RunState::Preparing, RunState::Failed),
            (Some(0), RunState::Starting, RunState::Failed),
            (Some(1), RunState::Running, RunState::Ended),
            (Some(2), RunState::Draining, RunState::Ended),
        ] {
            let mut story = Story::with(3, AgentLoss::Stop);
            if let Some(waits) = waits {
                (0..3).for_each(|agent| drop(story.on(Event::AgentPrepared(agent))));
                (0..waits).for_each(|_| drop(story.wait()));
            }
            assert!(story.is(state));
            let stops = [Action::SendStop(0), Action::SendStop(2)];
            let is_stopped = state != RunState::Draining;
            let expected = if is_stopped { &stops[..] } else { &[] };
            assert_eq!(story.on(Event::AgentGone(1)), expected, "{state:?}");
            assert!(story.is(RunState::Draining));
            // What comes later is no other reason.
            story.on(Event::StopRequested);
            (0..3).for_each(|agent| drop(story.on(Event::AgentFinished(agent))));
            story.on(Event::RunClosed);
            assert!(story.is(final_state), "{state:?}");
            let stopped = is_stopped.then_some(EarlyStop::AgentLost(1));
            assert_eq!(story.state_machine().stopped(), stopped);
        }
    }

    #[test]
    fn what_comes_after_the_schedule_and_before_the_tick_stops_nothing_short() {
        for event in [Event::AgentGone(0), Event::StopRequested] {
            for after_ns in [-1, 0, 1, 3_600 * SECOND_NS.cast_signed()] {
                let mut story = Story::with(2, AgentLoss::Stop);
                (0..2).for_each(|agent| drop(story.on(Event::AgentPrepared(agent))));
                story.wait();
                assert!(story.is(RunState::Running));
                let until_ns = story.state_machine().wake_at_ns().unwrap();
                story.now_ns = until_ns.saturating_add_signed(after_ns);
                story.on(event);
                assert!(story.is(RunState::Draining));
                let stopped = story.state_machine().stopped();
                assert_eq!(stopped.is_none(), after_ns >= 0, "{event:?} {after_ns}");
            }
        }
    }

    #[test]
    fn an_agent_that_does_not_prepare_in_time_stops_a_run_of_a_plan_that_asks_for_that() {
        let mut story = Story::with(3, AgentLoss::Stop);
        story.on(Event::AgentPrepared(0));
        let expected = [
            Action::SendStop(1),
            Action::SendStop(2),
            Action::GiveUp(1),
            Action::GiveUp(2),
            Action::SendStop(0),
        ];
        assert_eq!(story.wait(), expected);
        assert_eq!(story.now_ns, 1_000 + PREPARE_NS);
        assert_eq!(story.on(Event::AgentFinished(0)), [Action::CloseRun]);
        story.on(Event::RunClosed);
        assert!(story.is(RunState::Failed));
        let stopped = story.state_machine().stopped();
        assert_eq!(stopped, Some(EarlyStop::AgentLost(1)));
    }

    #[test]
    fn the_loss_of_the_only_agent_is_what_stopped_the_run_and_a_request_goes_before_it() {
        for (is_requested, stopped) in [
            (false, EarlyStop::AgentLost(0)),
            (true, EarlyStop::Requested),
        ] {
            let mut story = Story::with(1, AgentLoss::Stop);
            if is_requested {
                story.on(Event::StopRequested);
            }
            story.on(Event::AgentGone(0));
            assert_eq!(story.state_machine().stopped(), Some(stopped));
        }
    }

    #[test]
    fn the_run_goes_on_while_one_agent_is_left_and_ends_with_the_last() {
        let mut story = Story::of(3);
        (0..3).for_each(|agent| drop(story.on(Event::AgentPrepared(agent))));
        story.wait();
        assert_eq!(story.on(Event::AgentGone(0)), []);
        assert_eq!(story.on(Event::AgentGone(2)), []);
        assert!(story.is(RunState::Running));
        assert_eq!(story.on(Event::AgentGone(1)), [Action::CloseRun]);
        assert!(story.state_machine().stopped().is_none());
    }

    #[test]
    fn an_agent_that_never_reports_is_stopped_after_the_grace_and_then_given_up() {
        let mut story = Story::of(1);
        story.on(Event::AgentPrepared(0));
        story.wait();
        story.wait();
        assert_eq!(story.wait(), [Action::SendStop(0)]);
        assert_eq!(story.wait(), [Action::GiveUp(0), Action::CloseRun]);
        assert_eq!(
            story.wait(),
            [Action::Conclude],
            "even when the master never answers"
        );
    }

    #[test]
    fn when_time_has_run_far_ahead_all_that_is_due_follows_at_once() {
        let mut story = Story::of(1);
        story.on(Event::AgentPrepared(0));
        story.now_ns += 3600 * SECOND_NS;
        assert_eq!(story.on(Event::Tick), [Action::SendStop(0)]);
        assert!(story.is(RunState::Draining));
    }

    #[test]
    fn an_agent_that_is_stopped_by_the_loss_of_another_has_not_finished_early() {
        for (on_agent_loss, is_early) in [(AgentLoss::Continue, true), (AgentLoss::Stop, false)] {
            let mut story = Story::with(3, on_agent_loss);
            (0..3).for_each(|agent| drop(story.on(Event::AgentPrepared(agent))));
            story.wait();
            story.on(Event::AgentGone(0));
            story.on(Event::AgentFinished(1));
            let early = story.state_machine().finished_early().contains_key(&1);
            assert_eq!(early, is_early, "{on_agent_loss:?}");
        }
    }

    #[test]
    fn an_agent_that_finishes_before_the_schedule_is_over_is_early_unless_a_stop_was_requested() {
        for (elapsed_ns, is_stopped, is_early) in [
            (0, false, true),
            (SCHEDULE_NS - 1, false, true),
            (SCHEDULE_NS, false, false),
            (SCHEDULE_NS - 1, true, false),
        ] {
            let mut story = Story::of(2);
            (0..2).for_each(|agent| drop(story.on(Event::AgentPrepared(agent))));
            story.wait();
            story.now_ns += elapsed_ns;
            if is_stopped {
                story.on(Event::StopRequested);
            }
            story.on(Event::AgentGone(0));
            story.on(Event::AgentFinished(1));
            let early = is_early.then_some((1, elapsed_ns));
            let expected: BTreeMap<_, _> = early.into_iter().collect();
            assert_eq!(story.state_machine().finished_early(), &expected);
            // What comes late or again changes nothing.
            story.now_ns += 1;
            (0..3).for_each(|agent| drop(story.on(Event::AgentFinished(agent))));
            assert_eq!(story.state_machine().finished_early(), &expected);
        }
    }

    /// A run whose agents have finished, and that the master closes.
    fn closing() -> (Story, u64) {
        let mut story = Story::of(1);
        story.on(Event::AgentPrepared(0));
        story.wait();
        assert_eq!(story.on(Event::AgentFinished(0)), [Action::CloseRun]);
        let begun_ns = story.now_ns;
        (story, begun_ns)
    }

    #[test]
    fn a_master_that_gets_on_is_waited_for_and_one_that_does_not_is_not() {
        let (mut story, begun_ns) = closing();
        for left in [10_000, 9_999, 3] {
            story.now_ns += 4 * SECOND_NS;
            assert_eq!(story.on(Event::ConnectionsLeft(left)), []);
            assert!(story.is(RunState::Draining), "{left}");
        }
        assert_eq!(story.now_ns, begun_ns + 12 * SECOND_NS);
        story.now_ns += SECOND_NS;
        for left in [3, 7] {
            assert_eq!(story.on(Event::ConnectionsLeft(left)), [], "no progress");
        }
        assert_eq!(story.wait(), [Action::Conclude]);
        assert_eq!(story.now_ns, begun_ns + 17 * SECOND_NS);
        assert_eq!(story.on(Event::ConnectionsLeft(0)), [], "it is over");
    }

    #[test]
    fn no_progress_makes_a_run_wait_for_the_master_longer_than_half_a_minute() {
        let (mut story, begun_ns) = closing();
        for left in (0..1_000).rev() {
            story.now_ns = (story.now_ns + SECOND_NS).min(begun_ns + 30 * SECOND_NS);
            if !story.on(Event::ConnectionsLeft(left)).is_empty() {
                break;
            }
        }
        assert!(story.is(RunState::Ended));
        assert_eq!(story.now_ns, begun_ns + 30 * SECOND_NS);
    }

    fn events() -> impl Strategy<Value = Event> {
        // Agent 3 does not exist.
        let agents = 0..4_usize;
        prop_oneof![
            4 => agents.clone().prop_map(Event::AgentPrepared),
            2 => agents.clone().prop_map(Event::AgentFinished),
            2 => agents.prop_map(Event::AgentGone),
            1 => Just(Event::StopRequested),
            2 => any::<u32>().prop_map(Event::ConnectionsLeft),
            1 => Just(Event::RunClosed),
            3 => Just(Event::Tick),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_a_run_ends_in_time_and_orders_never_contradict(
            agents in 0..=3_usize,
            on_agent_loss in prop_oneof![Just(AgentLoss::Continue), Just(AgentLoss::Stop)],
            happenings in prop::collection::vec((events(), 0..4 * SECOND_NS), 0..60),
        ) {
            let mut story = Story::with(agents, on_agent_loss);
            let mut states = vec![story.state_machine().state()];
            for (event, pause_ns) in happenings {
                story.now_ns += pause_ns;
                story.on(event);
                states.push(story.state_machine().state());
            }
            let silence_since_ns = story.now_ns;
            while story.state_machine().wake_at_ns().is_some() {
                story.wait();
                states.push(story.state_machine().state());
            }
            check_states(&states, story.state_machine())?;
            let limit_ns = PREPARE_NS + START_LEAD_NS + SCHEDULE_NS + GRACE_NS + STOP_NS + CLOSE_NS;
            prop_assert!(story.now_ns <= silence_since_ns + limit_ns);
            check_orders(&story.actions, agents)?;
            check_stop(&story, on_agent_loss)?;
        }

        #[test]
        fn facts_that_come_at_one_moment_lead_to_the_same_end_in_any_order(
            on_agent_loss in prop_oneof![Just(AgentLoss::Continue), Just(AgentLoss::Stop)],
            state in prop_oneof![
                Just(RunState::Preparing),
                Just(RunState::Starting),
                Just(RunState::Running),
                Just(RunState::Draining),
            ],
            // Before, at and after the moment at which the run changes its state by itself.
            moment in 0..3_u64,
            facts in facts_of_one_moment(),
        ) {
            let ends = [false, true].map(|is_reversed| {
                // One agent more than facts are about: with none left there is nothing to stop.
                let mut story = Story::with(4, on_agent_loss);
                if state != RunState::Preparing {
                    (0..4).for_each(|agent| drop(story.on(Event::AgentPrepared(agent))));
                    while !story.is(state) {
                        story.wait();
                    }
                    // What comes after a deadline of the agents is late, so there order matters.
                    if state != RunState::Draining {
                        story.now_ns = story.state_machine().wake_at_ns().unwrap() - 1 + moment;
                    }
                }
                let mut facts = facts.clone();
                if is_reversed {
                    facts.reverse();
                }
                facts.into_iter().for_each(|fact| drop(story.on(fact)));
                while story.state_machine().wake_at_ns().is_some() {
                    story.wait();
                }
                let stopped = story.state_machine().stopped();
                (story.state_machine().state(), stopped.is_some(), story.now_ns)
            });
            prop_assert_eq!(ends[0], ends[1]);
        }
    }

    /// At most one fact about each of three agents, since the last one of several decides, a
    /// request to stop and a tick.
    fn facts_of_one_moment() -> impl Strategy<Value = Vec<Event>> {
        let about_agents = prop::array::uniform3(0..3_u8);
        let facts = (about_agents, any::<bool>(), any::<bool>());
        let facts = facts.prop_map(|(about_agents, has_stop, has_tick)| {
            let about_agents = about_agents.into_iter().enumerate();
            let mut facts: Vec<_> = about_agents
                .filter_map(|(agent, what)| match what {
                    0 => Some(Event::AgentPrepared(agent)),
                    1 => Some(Event::AgentGone(agent)),
                    _ => None,
                })
                .collect();
            facts.extend(has_stop.then_some(Event::StopRequested));
            facts.extend(has_tick.then_some(Event::Tick));
            facts
        });
        facts.prop_shuffle()
    }

    /// States only move down, and a run is ENDED when it was RUNNING, else FAILED.
    fn check_states(
        states: &[RunState],
        state_machine: &RunStateMachine,
    ) -> Result<(), TestCaseError> {
        let place = |state: &RunState| match state {
            RunState::Preparing => 0,
            RunState::Starting => 1,
            RunState::Running => 2,
            RunState::Draining => 3,
            _ => 4,
        };
        prop_assert!(states.is_sorted_by_key(place), "{:?}", states);
        let last = states.last().expect("the state at the beginning");
        prop_assert!(last.is_final() && *last == state_machine.final_state());
        prop_assert!(*last == RunState::Ended || !states.contains(&RunState::Running));
        prop_assert!(*last == RunState::Failed || state_machine.start_at_ns().is_some());
        Ok(())
    }

    /// A loss stops a run only when its plan asks for that, and then no run starts after it.
    fn check_stop(story: &Story, on_agent_loss: AgentLoss) -> Result<(), TestCaseError> {
        let is_loss = matches!(
            story.state_machine().stopped(),
            Some(EarlyStop::AgentLost(_))
        );
        prop_assert!(!is_loss || on_agent_loss == AgentLoss::Stop);
        let given_up = |action: &Action| matches!(action, Action::GiveUp(_));
        let started = |action: &Action| matches!(action, Action::SendStart { .. });
        if on_agent_loss == AgentLoss::Stop
            && let Some(at) = story.actions.iter().position(given_up)
        {
            prop_assert!(
                !story.actions[at..].iter().any(started),
                "{:?}",
                story.actions
            );
        }
        Ok(())
    }

    fn check_orders(actions: &[Action], agents: usize) -> Result<(), TestCaseError> {
        let count = |wanted: Action| actions.iter().filter(|action| **action == wanted).count();
        prop_assert_eq!(
            (count(Action::CloseRun), count(Action::Conclude)),
            (1, 1),
            "{:?}",
            actions
        );
        prop_assert_eq!(
            &actions[actions.len() - 2..],
            [Action::CloseRun, Action::Conclude]
        );
        for index in 0..agents {
            let position = |wanted: &dyn Fn(&Action) -> bool| {
                let found: Vec<_> = (0..actions.len())
                    .filter(|at| wanted(&actions[*at]))
                    .collect();
                found
            };
            let start = position(
                &|action| matches!(action, Action::SendStart { agent, .. } if *agent == index),
            );
            let stop = position(&|action| *action == Action::SendStop(index));
            let given_up = position(&|action| *action == Action::GiveUp(index));
            prop_assert!(
                start.len() <= 1 && stop.len() <= 1 && given_up.len() <= 1,
                "{:?}",
                actions
            );
            prop_assert_eq!(
                position(&|action| *action == Action::SendPrepare(index)).len(),
                1
            );
            prop_assert!(
                start
                    .iter()
                    .all(|start| stop.iter().all(|stop| start < stop)),
                "{:?}",
                actions
            );
            prop_assert!(
                given_up.iter().all(|at| stop.iter().all(|stop| stop < at)),
                "{:?}",
                actions
            );
        }
        Ok(())
    }
}
