//! One task per run: brings what happens to the run's state machine and performs its actions.
//!
//! It decides nothing: events are judged by [`crate::model::run`], figures by [`crate::verdict`].

use std::{collections::VecDeque, sync::Arc, time::Duration};

use metronome_os::clock;
use metronome_proto::{
    plan::Plan,
    run_id::RunId,
    v1::{self, Failure, FailureCode, GeneratorCounts, RunState, StopCause},
};
use metronome_telemetry::TraceContext;
use tokio::{
    sync::mpsc,
    time::{self, MissedTickBehavior},
};
use tracing::Span;

use super::{
    active::{ActiveRun, DriverEnds, FreezeRequest, RunView},
    hosts::RunHosts,
    live_snapshot::SnapshotBuilder,
    manager::RunManager,
    orders::Orders,
    paths::{RunPaths, probe_every},
    report::{FinishedRun, conclude_and_store, note_start},
    run_guard::RunGuard,
    series,
    share_bounds::Now,
    trace_report,
};
use crate::{
    control::{
        agents::{self, FromAgent, Order},
        master_client::{PendingReply, reply_in},
    },
    model::{
        AgentRecords, FinalCounters, LiveCounters, MissedThreshold, PacketSeries, RunPath,
        run::{Action, Event, RunStateMachine, out_of_time},
    },
    upgrade::{Protobuf, SavedRun},
};

/// Watchers get two snapshots a second.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);

/// What a driver needs of a run, new or restored.
pub(super) struct DriverInput {
    pub(super) id: RunId,
    /// Its records only described: the shares of the agents have them.
    pub(super) plan: Plan,
    pub(super) run: v1::Run,
    /// By the agents' indices.
    pub(super) agents: Vec<AgentRecords>,
    pub(super) inbox: mpsc::Receiver<FromAgent>,
    /// The span of the whole run; its phases are its children.
    pub(super) span: Span,
}

/// The driver of one run.
pub(super) struct Driver {
    pub(super) runs: Arc<RunManager>,
    pub(super) id: RunId,
    pub(super) plan: Plan,
    run: v1::Run,
    pub(super) agents: Vec<AgentRecords>,
    orders: Orders,
    pub(super) paths: RunPaths,
    pub(super) hosts: RunHosts,
    inbox: mpsc::Receiver<FromAgent>,
    ends: DriverEnds,
    span: Span,
}

/// What changes while a run lives.
pub(super) struct DriverState {
    pub(super) machine: RunStateMachine,
    pub(super) snapshot: SnapshotBuilder,
    pub(super) packets: PacketSeries,
    pub(super) stop_cause: Option<StopCause>,
    /// The threshold that has stopped the run.
    pub(super) missed: Option<MissedThreshold>,
    /// Set while a reading of the ledger is under way.
    pub(super) reading: Option<PendingReply<Option<LiveCounters>>>,
    pub(super) readings: u64,
    /// Set while the master closes the run.
    closing: Option<PendingReply<Option<FinalCounters>>>,
    record: Option<FinalCounters>,
    /// Ends when it is replaced.
    phase: Span,
    /// Up to when the time in which this process did not run is allowed for, ns of CLOCK_MONOTONIC.
    pauses_known_ns: u64,
}

impl DriverState {
    pub(super) fn now(&self) -> Now {
        Now::of(&self.machine, self.snapshot.received(), clock::now_ns())
    }
}

impl Driver {
    /// A driver of a run that is listed among the active ones from here on. `shown`: the last
    /// snapshot that watchers saw of a run that another process has begun.
    pub(super) fn new(
        runs: &Arc<RunManager>,
        input: DriverInput,
        shown: Option<v1::Snapshot>,
    ) -> Self {
        let DriverInput {
            id,
            plan,
            run,
            agents,
            inbox,
            span,
        } = input;
        let snapshot = shown.unwrap_or_else(|| v1::Snapshot {
            run_id: run.run_id.clone(),
            state: run.state,
            ..v1::Snapshot::default()
        });
        let (active, ends) = ActiveRun::new(RunView {
            run: run.clone(),
            snapshot: Some(snapshot.clone()),
        });
        runs.active.add(id, active);
        runs.feed.run_changed(id, &run);
        runs.feed.snapshot(id, snapshot);
        let orders = Orders {
            id,
            plan: plan.clone(),
            secret: runs.secret,
            span: span.clone(),
            probe_every: probe_every(&agents),
        };
        let hosts = RunHosts::new(agents.len());
        let paths = RunPaths::new(id, &plan, &agents, clock::now_ns(), |agent| {
            runs.registry.history(agent)
        });
        Self {
            runs: Arc::clone(runs),
            id,
            plan,
            run,
            agents,
            orders,
            paths,
            hosts,
            inbox,
            ends,
            span,
        }
    }

    /// Drives the run to its end, which is stored when this returns.
    pub(super) async fn drive(mut self) {
        // However this ends, the run's agents and clients are free afterwards.
        let guard = self.guard();
        tracing::info!(
            clients = i64::from(self.plan.clients()),
            rate = trace_report::rates(&self.plan),
            "run begins"
        );
        let schedule_ns = u64::try_from(self.plan.duration.as_nanos()).unwrap_or(u64::MAX);
        let (machine, actions) = RunStateMachine::begin(
            self.agents.len(),
            schedule_ns,
            self.plan.on_agent_loss,
            clock::now_ns(),
        );
        let mut state = self.state(machine, self.snapshot_builder());
        let following = self.perform(&mut state, RunState::Preparing, actions);
        // Each agent has its order by now: nothing else needs the records.
        (self.agents.iter_mut()).for_each(AgentRecords::drop_records);
        self.drive_from(state, following, guard).await;
    }

    /// Drives a run that another process has begun, from its state there to its end.
    pub(super) async fn resume(
        mut self,
        machine: RunStateMachine,
        (reported, paths): (Vec<Option<GeneratorCounts>>, Vec<Option<RunPath>>),
        (snapshot, series): (v1::Snapshot, v1::Series),
    ) {
        self.paths.resume(paths);
        self.hosts.resume(series.hosts);
        let packets = PacketSeries::restored(series.points);
        let guard = self.guard();
        let mut builder = self.snapshot_builder();
        builder.resume(snapshot, reported);
        let state = DriverState {
            packets,
            ..self.state(machine, builder)
        };
        self.drive_from(state, VecDeque::new(), guard).await;
    }

    fn guard(&self) -> RunGuard {
        let names = self
            .agents
            .iter()
            .map(|agent_records| agent_records.name.clone());
        RunGuard::new(&self.runs, self.id, names.collect())
    }

    fn snapshot_builder(&self) -> SnapshotBuilder {
        let groups: Vec<_> = self.plan.groups.iter().map(|it| it.name.as_str()).collect();
        SnapshotBuilder::new(self.run.run_id.clone(), &groups, &self.agents)
    }

    fn state(&self, machine: RunStateMachine, snapshot: SnapshotBuilder) -> DriverState {
        DriverState {
            phase: trace_report::phase(&self.span, machine.state()),
            machine,
            snapshot,
            packets: PacketSeries::default(),
            stop_cause: None,
            missed: None,
            reading: None,
            readings: 0,
            closing: None,
            record: None,
            pauses_known_ns: clock::now_ns(),
        }
    }

    async fn drive_from(
        mut self,
        mut state: DriverState,
        mut following: VecDeque<Event>,
        guard: RunGuard,
    ) {
        let mut beat = time::interval(SNAPSHOT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while let Some(wake_at_ns) = state.machine.wake_at_ns() {
            let event = match following.pop_front() {
                Some(event) => event,
                None => tokio::select! {
                    record = reply_in(&mut state.closing) => {
                        state.record = record.flatten();
                        Event::RunClosed
                    }
                    Some(cause) = self.ends.stops.recv() => {
                        state.stop_cause.get_or_insert(cause);
                        Event::StopRequested
                    }
                    Some(freeze) = self.ends.freezes.recv() => {
                        if self.freeze(&state, freeze).await {
                            guard.run_is_handed_over();
                            // Watchers are to find the new process, so they see no end here before
                            // that of this process.
                            return std::future::pending().await;
                        }
                        continue
                    }
                    Some(report) = self.inbox.recv() => match self.take(&mut state, report) {
                        Some(event) => event,
                        None => continue,
                    },
                    reading = reply_in(&mut state.reading) => {
                        let reading = reading.flatten();
                        following.extend(self.end_if_missed(&mut state, reading.as_ref()));
                        self.observe(&mut state, reading)
                    }
                    _ = beat.tick() => {
                        self.ask_for_reading(&mut state);
                        continue
                    }
                    () = sleep_until(wake_at_ns) => Event::Tick,
                },
            };
            let before = state.machine.state();
            let machine = self.allow_for_pauses(&mut state);
            let (machine, actions) = machine.step(event, clock::now_ns());
            state.machine = machine;
            following.extend(self.perform(&mut state, before, actions));
            self.show(&mut state);
        }
        self.take_last_reading(&mut state).await;
        if self.conclude(state).await {
            guard.run_has_ended();
        }
    }

    /// A reading that was under way when the run was closed, before which the master has made it.
    async fn take_last_reading(&mut self, state: &mut DriverState) {
        if state.record.is_some()
            && state.reading.is_some()
            && let Some(Some(reading)) = reply_in(&mut state.reading).await
        {
            let _ = self.observe(state, Some(reading));
        }
    }

    /// What came while this process did not run is not read yet: its deadlines move by that time.
    fn allow_for_pauses(&self, state: &mut DriverState) -> RunStateMachine {
        let (paused_ns, read_at_ns) = self.runs.pauses.since(state.pauses_known_ns);
        state.pauses_known_ns = read_at_ns;
        state.machine.clone().extend(paused_ns)
    }

    /// Sends the run's state and waits until the run goes to the new process (true) or on here. A
    /// run that is not RUNNING, or is to be stopped, goes on at once.
    async fn freeze(&self, state: &DriverState, request: FreezeRequest) -> bool {
        let is_running = state.machine.state() == RunState::Running && self.ends.stops.is_empty();
        let saved = is_running.then(|| self.save(state));
        request.saved.send(saved).is_ok() && is_running && request.handed_over.await.is_ok()
    }

    fn save(&self, state: &DriverState) -> SavedRun {
        let shown = self.ends.view.borrow().snapshot.clone();
        let snapshot = shown.unwrap_or_else(|| v1::Snapshot {
            run_id: self.run.run_id.clone(),
            ..v1::Snapshot::default()
        });
        let context = TraceContext::of(&self.span);
        let reported = state.snapshot.reported().iter();
        SavedRun {
            id: self.id,
            run: Protobuf(self.run.clone()),
            state_machine: state.machine.clone(),
            agents: self.agents.iter().map(Into::into).collect(),
            reported: reported.map(|counts| counts.map(Protobuf)).collect(),
            paths: self.paths.saved(),
            series: Protobuf(v1::Series {
                points: state.packets.points().to_vec(),
                hosts: self.hosts.saved(),
            }),
            snapshot: Protobuf(snapshot),
            traceparent: context.traceparent,
            tracestate: context.tracestate,
        }
    }

    /// Performs the actions that follow in the state `before` in order; the events are those that
    /// performing them causes.
    fn perform(
        &mut self,
        state: &mut DriverState,
        before: RunState,
        actions: Vec<Action>,
    ) -> VecDeque<Event> {
        let mut caused = VecDeque::new();
        for action in actions {
            let order = match action {
                Action::SendPrepare(agent) => {
                    Some((agent, self.orders.prepare(agent, &self.agents[agent])))
                }
                Action::SendStart { agent, start_at_ns } => {
                    let agents_ns = self.paths.start(agent, start_at_ns);
                    let (records, at) = (&self.agents[agent], (start_at_ns, agents_ns));
                    let start = self.orders.start(records, at, clock::now_ns());
                    Some((agent, start))
                }
                Action::SendStop(agent) => Some((agent, agents::stop(self.id))),
                Action::GiveUp(agent) => {
                    let records = &mut self.agents[agent];
                    records.fail(out_of_time(before));
                    if before == RunState::Preparing {
                        self.runs.registry.note_answer(&records.name, false);
                    }
                    None
                }
                Action::CloseRun => {
                    state.closing = Some(self.runs.master_client.close_run(self.id));
                    None
                }
                // The loop ends with the state machine.
                Action::Conclude => None,
            };
            if let Some((agent, message)) = order
                && !self.send(agent, message)
            {
                let records = &mut self.agents[agent];
                let failure = Failure::new(FailureCode::AgentLost, "it takes no orders any more");
                records.fail(failure);
                caused.push_back(Event::AgentGone(agent));
            }
        }
        caused
    }

    /// Sends an order without waiting. False when the agent cannot take it.
    pub(super) fn send(&self, agent: usize, message: Order) -> bool {
        let name = &self.agents[agent].name;
        self.runs.registry.order(name, self.id, message)
    }

    pub(super) fn show(&mut self, state: &mut DriverState) {
        let run_state = state.machine.state();
        if run_state.is_final() {
            return;
        }
        if run_state != self.run.state() {
            tracing::info!("run is {}", run_state.name().to_lowercase());
            note_start(&mut self.run, &state.machine);
            state.phase = trace_report::phase(&self.span, run_state);
            self.run.set_state(run_state);
            self.runs.feed.run_changed(self.id, &self.run);
        }
        let mut snapshot = state
            .snapshot
            .build(&state.machine, &self.agents, clock::now_ns());
        snapshot.latest_point = series::latest(&state.packets, &snapshot);
        snapshot.latest_hosts = self.hosts.latest(&self.agents);
        self.ends.view.send_replace(RunView {
            run: self.run.clone(),
            snapshot: Some(snapshot.clone()),
        });
        self.runs.feed.snapshot(self.id, snapshot);
    }

    /// Makes the report, or the failure of a run that has none, stores it and shows it, in this
    /// order. Returns whether the run is in its final state.
    async fn conclude(mut self, state: DriverState) -> bool {
        // Agents that still report something must not wait for the history.
        drop(self.inbox);
        drop(state.phase);
        note_start(&mut self.run, &state.machine);
        let start_at_ns = state.machine.start_at_ns();
        self.paths
            .conclude(&mut self.agents, state.record.as_ref(), start_at_ns);
        let workers = state.record.as_ref().map_or(&[][..], |of| &of.presences);
        let hosts = self.hosts.finish(&self.agents, workers);
        let finished = FinishedRun {
            hosts,
            packets: state.packets,
            round_trips: state.snapshot.round_trips(),
            id: self.id,
            plan: self.plan,
            run: self.run,
            agents: self.agents,
            record: state.record,
            worker_priority: state.snapshot.worker_priority(),
            reported: state.snapshot.reported().to_vec(),
            machine: state.machine,
            stop_cause: state.stop_cause,
            missed: state.missed,
            span: self.span,
        };
        let run = conclude_and_store(&self.runs, finished).await;
        let is_over = run.is_some();
        if let Some(run) = run {
            // A watcher that has the end finds the run as it ended.
            self.ends.view.send_replace(RunView {
                run: run.clone(),
                snapshot: None,
            });
            self.runs.publish_end(self.id, &run);
        }
        is_over
    }
}

async fn sleep_until(at_ns: u64) {
    time::sleep(Duration::from_nanos(at_ns.saturating_sub(clock::now_ns()))).await;
}
