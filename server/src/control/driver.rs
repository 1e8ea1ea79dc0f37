//! One task per run: brings what happens to the run's state machine and performs its actions.
//!
//! It decides nothing: what follows from what is [`crate::run`]'s, what the figures mean is
//! [`crate::verdict`]'s.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use metronome_os::clock;
use metronome_proto::{
    handshake::Key,
    plan::Plan,
    rate::Rate,
    run_id::RunId,
    v1::{self, RunState, server_message::Message},
};
use metronome_telemetry as telemetry;
use tokio::{
    sync::{mpsc, watch},
    time::{self, MissedTickBehavior},
};
use tracing::Span;

use super::{
    data_plane::{Answer, answer_in},
    departure::Departure,
    estate::{Legacy, Protobuf},
    identity,
    registry::{FromAgent, News},
    runs::{Freeze, Unsaved, View},
    shared::Shared,
    snapshot::Observer,
    tally::Tally,
    telling,
};
use crate::{
    master::request::{RunReading, RunRecord},
    run::{Action, Event, Life, PREPARE_NS},
    store::timestamp,
    verdict::{AgentAccount, Conclusion, Evidence, StopCause, conclude},
};

/// Watchers get two snapshots a second.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);
/// Every second reading of the ledger includes the histograms: 1 Hz.
const READINGS_PER_HISTOGRAM: u64 = 2;
/// An agent gives up this much before the server does, so that it can still say why.
const PREPARE_MARGIN_NS: u64 = 2_000_000_000;
/// Client rows per message.
const CLIENTS_PER_PAGE: usize = 1000;

/// What a run needs to live: made by StartRun.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) id: RunId,
    pub(super) plan: Plan,
    pub(super) run: v1::Run,
    /// By the agents' indices.
    pub(super) accounts: Vec<AgentAccount>,
    pub(super) inbox: mpsc::Receiver<FromAgent>,
    pub(super) stops: mpsc::Receiver<StopCause>,
    pub(super) freezes: mpsc::Receiver<Freeze>,
    pub(super) view: watch::Sender<View>,
    /// Of the whole run; its phases are its children.
    pub(super) span: Span,
}

/// The parts of a run that change while it lives.
struct Living {
    life: Life,
    observer: Observer,
    stop_cause: Option<StopCause>,
    reading: Option<Answer<Option<RunReading>>>,
    readings: u64,
    closing: Option<Answer<Option<RunRecord>>>,
    record: Option<RunRecord>,
    /// What each agent's progress has told: packets sent and skipped.
    told: Vec<(u64, u64)>,
    /// Ends when it is replaced.
    phase: Span,
}

impl Driver {
    /// Lives the run to its end, which is stored when this returns.
    pub(super) async fn drive(mut self) {
        // However this ends, the run's agents and clients are free afterwards.
        let departure = self.departure();
        tracing::info!(
            clients = i64::from(self.plan.clients),
            rate_hz = self.plan.rate_hz(),
            "run begins"
        );
        let schedule_ns = u64::try_from(self.plan.duration.as_nanos()).unwrap_or(u64::MAX);
        let (life, actions) = Life::begin(self.accounts.len(), schedule_ns, clock::now_ns());
        let observer = Observer::new(self.plan.clone(), self.run.run_id.clone(), &self.accounts);
        let mut living = self.living(life, observer, vec![(0, 0); self.accounts.len()]);
        let following = self.perform(&mut living, actions);
        self.live(living, following, departure).await;
    }

    /// Lives a run that another server has begun, from where it stood to its end.
    pub(super) async fn go_on(self, life: Life, told: Vec<(u64, u64)>, snapshot: v1::Snapshot) {
        let departure = self.departure();
        let mut observer =
            Observer::new(self.plan.clone(), self.run.run_id.clone(), &self.accounts);
        observer.go_on(snapshot, &told, &self.accounts);
        let living = self.living(life, observer, told);
        self.live(living, VecDeque::new(), departure).await;
    }

    fn departure(&self) -> Departure {
        let agents = self
            .accounts
            .iter()
            .map(|account| account.name.clone())
            .collect();
        Departure::of(&self.shared, self.id, agents)
    }

    fn living(&self, life: Life, observer: Observer, told: Vec<(u64, u64)>) -> Living {
        Living {
            observer,
            phase: phase_span(&self.span, life.state()),
            life,
            stop_cause: None,
            reading: None,
            readings: 0,
            closing: None,
            record: None,
            told,
        }
    }

    async fn live(
        mut self,
        mut living: Living,
        mut following: VecDeque<Event>,
        departure: Departure,
    ) {
        let mut beat = time::interval(SNAPSHOT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while let Some(wake_at_ns) = living.life.wake_at_ns() {
            let event = match following.pop_front() {
                Some(event) => event,
                None => tokio::select! {
                    record = answer_in(&mut living.closing) => { living.record = record.flatten(); Event::RecordClosed }
                    Some(cause) = self.stops.recv() => { living.stop_cause.get_or_insert(cause); Event::StopRequested }
                    Some(freeze) = self.freezes.recv() => {
                        if self.stand_still(&living, freeze).await {
                            departure.after_the_hand_over();
                            // Watchers are to find the successor, so they see no end here before
                            // the process's.
                            return std::future::pending().await;
                        }
                        continue
                    }
                    Some(news) = self.inbox.recv() => match self.take(&mut living, news) { Some(event) => event, None => continue },
                    reading = answer_in(&mut living.reading) => { self.observe(&mut living, reading.flatten()); continue }
                    _ = beat.tick() => { self.ask_for_reading(&mut living); continue }
                    () = sleep_until(wake_at_ns) => Event::Tick,
                },
            };
            let (life, actions) = living.life.clone().step(event, clock::now_ns());
            living.life = life;
            following.extend(self.perform(&mut living, actions));
            self.show(&mut living);
        }
        if self.conclude(living).await {
            departure.after_the_report();
        }
    }

    /// Tells how the run stands and waits until it goes to a successor (true) or on here. A run
    /// that is not RUNNING, or is to be stopped, goes on at once.
    async fn stand_still(&self, living: &Living, freeze: Freeze) -> bool {
        let is_running = living.life.state() == RunState::Running && self.stops.is_empty();
        let legacy = is_running.then(|| self.legacy(living));
        freeze.legacy.send(legacy).is_ok() && is_running && freeze.handed_over.await.is_ok()
    }

    fn legacy(&self, living: &Living) -> Legacy {
        let snapshot = match &*self.view.borrow() {
            View::Running { snapshot, .. } => snapshot.clone(),
            View::Ended(_) => v1::Snapshot {
                run_id: self.run.run_id.clone(),
                ..v1::Snapshot::default()
            },
        };
        Legacy {
            id: self.id,
            run: Protobuf(self.run.clone()),
            life: living.life.clone(),
            agents: self.accounts.iter().map(Into::into).collect(),
            told: living.told.clone(),
            snapshot: Protobuf(snapshot),
            traceparent: telemetry::traceparent(&self.span),
        }
    }

    /// Notes what an agent says. `None` when nothing follows from it.
    fn take(&mut self, living: &mut Living, FromAgent { agent, news }: FromAgent) -> Option<Event> {
        let account = self.accounts.get_mut(agent)?;
        match news {
            News::Prepared => {
                // Watchers see the clients that are connected now, not those of the last beat.
                self.ask_for_reading(living);
                Some(Event::AgentPrepared(agent))
            }
            News::Progress(progress) => {
                living.observer.take_progress(agent, &progress, account);
                if let Some((sent, skipped)) = living.told.get_mut(agent) {
                    let more = (
                        progress.sent.saturating_sub(*sent),
                        progress.skipped.saturating_sub(*skipped),
                    );
                    (*sent, *skipped) = (*sent + more.0, *skipped + more.1);
                    self.shared.tally.agent_sent(&account.name, more.0, more.1);
                }
                None
            }
            News::Records(records) => {
                account.take(records);
                None
            }
            News::Finished(finished) => {
                // An agent that comes back after an upgrade says it again.
                if account.finished().is_none() {
                    self.shared.tally.agent_finished(&account.name, &finished);
                }
                account.finish(finished);
                Some(Event::AgentFinished(agent))
            }
            News::Failed(why) | News::Lost(why) => {
                // After its final report an agent may leave as it likes.
                if account.finished().is_none() {
                    account.fail(&why);
                    let trouble = format!(
                        "agent {}: {}",
                        account.name,
                        account.missing().unwrap_or_default()
                    );
                    tracing::warn!(agent = account.name, why = account.missing(), "agent lost");
                    living.observer.take_trouble(trouble);
                }
                Some(Event::AgentGone(agent))
            }
        }
    }

    /// Performs actions in order; the events are those that performing them causes.
    fn perform(&mut self, living: &mut Living, actions: Vec<Action>) -> VecDeque<Event> {
        let mut caused = VecDeque::new();
        for action in actions {
            let delivered = match action {
                Action::SendPrepare(agent) => {
                    self.give(agent, Message::Prepare(self.prepare(agent)))
                }
                Action::SendStart { agent, start_at_ns } => {
                    self.give(agent, Message::Start(self.start(agent, start_at_ns)))
                }
                Action::SendStop(agent) => self.give(
                    agent,
                    Message::Stop(v1::Stop {
                        run_id: self.run.run_id.clone(),
                    }),
                ),
                Action::GiveUp(agent) => {
                    self.accounts[agent].fail("it did not answer in time");
                    Ok(())
                }
                Action::CloseRun => {
                    living.closing = Some(self.shared.data_plane.close_run(self.id));
                    Ok(())
                }
                // The loop ends with the life.
                Action::Conclude => Ok(()),
            };
            if let Err(agent) = delivered {
                self.accounts[agent].fail("it takes no orders any more");
                caused.push_back(Event::AgentGone(agent));
            }
        }
        caused
    }

    /// Gives an order without waiting. `Err` with the agent's index when it cannot take it.
    fn give(&self, agent: usize, message: Message) -> Result<(), usize> {
        let is_given = self
            .shared
            .registry
            .order(&self.accounts[agent].name, self.id, message);
        if is_given { Ok(()) } else { Err(agent) }
    }

    fn prepare(&self, agent: usize) -> v1::Prepare {
        let account = &self.accounts[agent];
        v1::Prepare {
            run_id: self.run.run_id.clone(),
            target: self.target(),
            agent_index: u32::from(index(agent)),
            first_client: account.first_client,
            clients: account.clients,
            packets_per_client: self.plan.packets_per_client().unwrap_or(0),
            rate_millihertz: if let Rate::Millihertz(millihertz) = self.plan.rate {
                millihertz
            } else {
                0
            },
            flood: self.plan.rate == Rate::Max,
            batch: self.plan.batch,
            phase: self.plan.phase.into(),
            threads: self.plan.threads,
            key: self.key(agent).as_bytes().to_vec(),
            deadline: nanos(PREPARE_NS - PREPARE_MARGIN_NS),
            traceparent: telemetry::traceparent(&self.span),
            clients_total: self.plan.clients,
            duration: prost_types::Duration::try_from(self.plan.duration).ok(),
        }
    }

    fn start(&self, agent: usize, start_at_ns: u64) -> v1::Start {
        v1::Start {
            run_id: self.run.run_id.clone(),
            start_at_ns: if self.accounts[agent].shares_clock {
                start_at_ns
            } else {
                0
            },
            start_in: nanos(start_at_ns.saturating_sub(clock::now_ns())),
        }
    }

    /// Where agents connect. An empty host lets each use the one at which it reached this server.
    fn target(&self) -> String {
        let own = self.shared.about.data_address;
        if !self.plan.target.is_empty() {
            self.plan.target.clone()
        } else if own.ip().is_unspecified() || own.ip().is_loopback() {
            format!(":{}", own.port())
        } else {
            own.to_string()
        }
    }

    fn key(&self, agent: usize) -> Key {
        Key::derive(&self.shared.secret.0, self.id, index(agent))
    }

    /// A beat: what is known is shown when the answer comes, or now if the last one still has not.
    fn ask_for_reading(&mut self, living: &mut Living) {
        if living.reading.is_some() {
            self.show(living);
            return;
        }
        living.readings += 1;
        let histograms = living.readings.is_multiple_of(READINGS_PER_HISTOGRAM);
        living.reading = Some(self.shared.data_plane.read_run(self.id, histograms));
    }

    fn observe(&mut self, living: &mut Living, reading: Option<RunReading>) {
        if let Some(reading) = reading {
            living.observer.take_reading(reading);
        }
        self.show(living);
    }

    fn show(&mut self, living: &mut Living) {
        let state = living.life.state();
        if state == RunState::Ended {
            return;
        }
        if state != self.run.state() {
            tracing::info!("run is {}", in_words(state.as_str_name(), "RUN_STATE_"));
            living.phase = phase_span(&self.span, state);
            self.run.set_state(state);
        }
        let snapshot = living
            .observer
            .snapshot(&living.life, &self.accounts, clock::now_ns());
        self.view.send_replace(View::Running {
            run: self.run.clone(),
            snapshot,
        });
    }

    /// Makes the report, stores it and shows it, in this order. Whether there is one.
    async fn conclude(self, living: Living) -> bool {
        let Self {
            shared,
            id,
            plan,
            mut run,
            accounts,
            view,
            span,
            inbox,
            ..
        } = self;
        // Who still has something to say must not wait for the history.
        drop(inbox);
        let Living {
            life,
            stop_cause,
            record,
            told,
            phase,
            ..
        } = living;
        drop(phase);
        let run_span = span.clone();
        let (notes, traced_packets) = (shared.about.notes.clone(), shared.about.traced_packets);
        let work = move |store: &crate::store::Store| {
            let evidence = Evidence {
                plan: &plan,
                agents: &accounts,
                record: record.as_ref(),
                start_at_ns: life.start_at_ns(),
                stopped: life
                    .was_stopped_early()
                    .then_some(stop_cause.unwrap_or(StopCause::Operator)),
                notes: &notes,
            };
            let conclusion =
                tracing::info_span!(parent: &run_span, "merge").in_scope(|| conclude(&evidence));
            telling::end(
                &run_span,
                &conclusion.report,
                record.as_ref(),
                traced_packets,
            );
            let pages = pages(&conclusion);
            run.set_state(RunState::Ended);
            run.ended_at = Some(timestamp(identity::unix_ms()));
            run.report = Some(conclusion.report);
            let stored = tracing::info_span!(parent: &run_span, "store")
                .in_scope(|| store.finish(&run, &pages));
            (run, pages, stored)
        };
        let Ok((run, pages, stored)) = shared.with_store(work).await else {
            tracing::error!("the report could not be made");
            return false;
        };
        settle(&shared.tally, run.report.as_ref(), &told);
        if let Err(error) = stored {
            tracing::error!("the report is kept in memory only, it cannot be stored: {error}");
            shared.runs.keep_unsaved(
                id,
                Unsaved {
                    run: run.clone(),
                    pages,
                },
            );
        }
        view.send_replace(View::Ended(run));
        true
    }
}

/// Counts a run that has ended, and what its agents' last reports say beyond their progress.
fn settle(tally: &Tally, report: Option<&v1::Report>, told: &[(u64, u64)]) {
    let Some(report) = report else { return };
    let verdict = report
        .verdict
        .as_ref()
        .map(v1::Verdict::status)
        .unwrap_or_default();
    let packets = report.packets.unwrap_or_default();
    // Signed: of other whole numbers a trace would make text.
    let (received, lost) = (packets.received.cast_signed(), packets.lost.cast_signed());
    tracing::info!(
        received,
        lost,
        "run has ended: {}",
        telling::in_words(verdict)
    );
    for (agent, (sent, _)) in report.agents.iter().zip(told) {
        tally.agent_sent(&agent.agent, agent.sent.saturating_sub(*sent), 0);
    }
    let skipped = told
        .iter()
        .fold(0_u64, |sum, (_, skipped)| sum.saturating_add(*skipped));
    tally.agent_sent("", 0, packets.skipped.saturating_sub(skipped));
    tally.run_ended(telling::in_words(verdict), packets.lost);
}

async fn sleep_until(at_ns: u64) {
    time::sleep(Duration::from_nanos(at_ns.saturating_sub(clock::now_ns()))).await;
}

fn phase_span(run: &Span, state: RunState) -> Span {
    match state {
        RunState::Preparing => tracing::info_span!(parent: run, "preparing"),
        RunState::Starting => tracing::info_span!(parent: run, "starting"),
        RunState::Running => tracing::info_span!(parent: run, "running"),
        _ => tracing::info_span!(parent: run, "draining"),
    }
}

fn pages(conclusion: &Conclusion) -> Vec<v1::ListClientsResponse> {
    let page = |clients: &[v1::ClientReport]| v1::ListClientsResponse {
        clients: clients.to_vec(),
    };
    conclusion
        .clients
        .chunks(CLIENTS_PER_PAGE)
        .map(page)
        .collect()
}

/// A name of the API as a log line has it.
fn in_words(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

/// An agent's index as it goes over the wire; a plan has at most 10,000 clients, so no more agents.
fn index(agent: usize) -> u16 {
    u16::try_from(agent).unwrap_or(u16::MAX)
}

fn nanos(nanos: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_nanos(nanos)).ok()
}
