//! The agents that are connected now, how to give them orders, and their assignments in runs.
//!
//! An assignment belongs to the agent, not to its stream: after an upgrade of the server, agents
//! with assignments are expected back, and orders wait for them meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metronome_os::clock;
use metronome_proto::{
    run_id::RunId,
    v1::{self, Failure, FailureCode},
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::{
    agent_info::AgentInfo,
    agents_by_name::Agents,
    assign_clients::{AssignedAgent, Wanted, choose_agents},
    assignment::{
        Assignment, ConnectedAgent, ExpectedAgent, GivenOrder, LostAssignment, Return, WhyLost,
    },
    listed::Changing,
    messages::{Addressed, AgentReport, FromAgent, Order, Orders, order, stop, welcome},
};
use crate::{
    control::{feed::Feed, status},
    model::{AgentClock, AgentPlace, ClockHistory, ClockRelation, ResumeToken},
};

/// All agents, by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    agents: Mutex<Agents>,
    /// Where it is published what becomes of them.
    pub(crate) feed: Arc<Feed>,
}

/// An agent that registers.
pub(crate) struct Arrival<'a> {
    pub(crate) info: AgentInfo,
    pub(crate) orders: Orders,
    /// The runs that it names as going on.
    pub(crate) runs: &'a [RunId],
    /// The resume token that it shows; any bytes.
    pub(crate) shown: &'a [u8],
    /// Its resume token, unless it gets its own place back with the one that it has.
    pub(crate) fresh: ResumeToken,
}

/// An agent that has its place.
#[derive(Debug)]
pub(crate) struct Joined {
    /// What does not go on, for the caller to report.
    pub(super) lost: Vec<(LostAssignment, WhyLost)>,
    /// Cancelled when it has come back on another stream.
    pub(crate) replaced: CancellationToken,
}

impl Registry {
    /// Gives an agent its place and sends its Welcome. One that shows the resume token of its name
    /// gets its place back, from a stream that is still held as well. It is listed once its clock
    /// is settled.
    ///
    /// An assignment goes on as long as the agent names its run, or may not have received the
    /// order to prepare it, and has not missed its start. The last order about each is given
    /// again. Runs in which it has no assignment here, or no more, are stopped: after a short
    /// network failure, say, their load would take the place of the next run's clients.
    pub(crate) fn join(&self, arrival: Arrival<'_>) -> Result<Joined, Failure> {
        let Arrival {
            info,
            orders,
            runs,
            shown,
            fresh,
        } = arrival;
        let mut agents = self.change();
        let held = agents.token_of(&info.name);
        let is_own = |token: Option<ResumeToken>| token.is_some_and(|token| token.is(shown));
        if held.is_some_and(|token| !is_own(token)) {
            return Err(name_taken(&info.name));
        }
        let resume_token = held.flatten().unwrap_or(fresh);
        let place = agents.give_up_place(&info.name);
        // Before the agent is listed, so that it is the first thing that the agent reads. The
        // stream is new and has room for all of this.
        let _ = orders.try_send(order(welcome(&info, resume_token)));
        let (mut assignments, mut lost) = (HashMap::new(), Vec::new());
        let now_ns = clock::now_ns();
        for (run, assignment) in place.assignments {
            match assignment.come_back(runs.contains(&run), now_ns) {
                Return::GoesOn(again) => {
                    assignments.insert(run, assignment);
                    if let Some(again) = again {
                        let _ = orders.try_send(order(*again));
                    }
                }
                Return::Lost(why) => lost.push((LostAssignment(assignment), why)),
            }
        }
        for run in runs.iter().filter(|run| !assignments.contains_key(run)) {
            // An order for which there is no room is not needed: that load ends with its lease.
            let _ = orders.try_send(order(stop(*run)));
        }
        let replaced = CancellationToken::new();
        let name = info.name.clone();
        let agent = ConnectedAgent {
            info,
            orders,
            resume_token,
            clock: None,
            round_trip_ns: 0,
            history: ClockHistory::default(),
            has_returned: held.is_some(),
            is_away: false,
            replaced: replaced.clone(),
            assignments,
        };
        agents.connected.insert(name, agent);
        Ok(Joined { lost, replaced })
    }

    /// Lists the agent of a stream, whose clock is known from now on. An assignment that it has
    /// brought back goes on only when its clock relates to the server's as it did: the run's times
    /// would mean something else from here on. Returns those that do not.
    pub(crate) fn settle_clock(
        &self,
        name: &str,
        stream: &Orders,
        clock: AgentClock,
    ) -> Vec<LostAssignment> {
        let mut agents = self.change();
        let Some(agent) = agents.on_stream(name, stream) else {
            return Vec::new();
        };
        agent.clock = Some(clock);
        let other = agent
            .assignments
            .extract_if(|_, of| of.clock != clock.relation);
        let other: Vec<_> = other.collect();
        for (run, _) in &other {
            // An order for which there is no room is not needed: that load ends with its lease.
            let _ = agent.orders.try_send(order(stop(*run)));
        }
        other
            .into_iter()
            .map(|(_, assignment)| LostAssignment(assignment))
            .collect()
    }

    /// Notes the longest of the last round trips of a stream, ns, how the clock of an agent that is
    /// listed relates by now, where that is not the same, and what was exchanged with it.
    pub(super) fn note_exchange(
        &self,
        name: &str,
        stream: &Orders,
        round_trip_ns: u64,
        clock: Option<AgentClock>,
        history: &ClockHistory,
    ) {
        if let Some(agent) = self.lock().on_stream(name, stream) {
            agent.round_trip_ns = round_trip_ns;
            agent.history.clone_from(history);
            agent.clock = agent.clock.map(|known| clock.unwrap_or(known));
        }
    }

    /// The longest of the last round trips to an agent, ns. 0 when none is known.
    pub(crate) fn round_trip_ns(&self, name: &str) -> u64 {
        let agents = self.lock();
        agents
            .connected
            .get(name)
            .map_or(0, |agent| agent.round_trip_ns)
    }

    /// What was exchanged with an agent on another clock, on its stream of now. Nothing with one
    /// that is not connected.
    pub(crate) fn history(&self, name: &str) -> ClockHistory {
        let agents = self.lock();
        let agent = agents.connected.get(name);
        agent.map(|agent| agent.history.clone()).unwrap_or_default()
    }

    /// The agent of a stream is not on the server's clock any more, but on this one. Returns what
    /// its runs are to learn, and where.
    pub(super) fn contradict_clock(
        &self,
        name: &str,
        stream: &Orders,
        clock: AgentClock,
    ) -> Vec<Addressed> {
        let mut agents = self.change();
        let Some(agent) = agents.on_stream(name, stream) else {
            return Vec::new();
        };
        agent.clock = Some(clock);
        let report = |assignment: &Assignment| {
            let report = FromAgent {
                agent: assignment.agent,
                report: AgentReport::ClockContradicted,
            };
            (assignment.inbox.clone(), report)
        };
        agent.assignments.values().map(report).collect()
    }

    /// Expects an agent back that had a stream with the server before this one.
    pub(crate) fn expect_agent(&self, place: AgentPlace) {
        let mut agents = self.lock();
        if place.is_unresponsive {
            agents.unresponsive.note_missed(&place.name);
        }
        let expected = agents.expected.entry(place.name).or_default();
        expected.resume_token = Some(place.resume_token);
    }

    /// Whether an agent has answered a Prepare in time.
    pub(crate) fn note_answer(&self, name: &str, has_answered: bool) {
        let agents = &mut *self.change();
        if has_answered {
            agents.unresponsive.note_answered(name);
        } else if agents.connected.contains_key(name) || agents.expected.contains_key(name) {
            agents.unresponsive.note_missed(name);
        }
    }

    /// Expects an agent back that has an assignment in a run and no stream yet.
    pub(crate) fn expect(
        &self,
        name: &str,
        run: RunId,
        agent: usize,
        (clients, clock): (u32, ClockRelation),
        inbox: &mpsc::Sender<FromAgent>,
    ) {
        let assignment = Assignment {
            agent,
            clients,
            clock,
            inbox: inbox.clone(),
            last_order: None,
        };
        self.lock()
            .expected
            .entry(name.to_owned())
            .or_default()
            .assignments
            .insert(run, assignment);
    }

    /// Expects no agent any longer. Returns those that have not come back, and what each has lost.
    pub(crate) fn give_up_expecting(&self) -> Vec<(String, Vec<LostAssignment>)> {
        let agents = &mut *self.lock();
        let expected = std::mem::take(&mut agents.expected);
        let now_ns = clock::now_ns();
        for name in expected.keys() {
            agents.unresponsive.note_left(name, now_ns);
        }
        let lost = |agent: ExpectedAgent| {
            let assignments = agent.assignments.into_values();
            assignments.map(LostAssignment).collect()
        };
        expected
            .into_iter()
            .map(|(name, agent)| (name, lost(agent)))
            .collect()
    }

    /// The places that are taken, for a server that takes over.
    pub(crate) fn places(&self) -> Vec<AgentPlace> {
        let agents = self.lock();
        let connected = agents.connected.iter();
        let connected = connected.map(|(name, agent)| (name, agent.resume_token));
        let expected = agents.expected.iter();
        let expected = expected.filter_map(|(name, agent)| Some((name, agent.resume_token?)));
        let places = connected.chain(expected);
        let place = |(name, resume_token): (&String, _)| AgentPlace {
            name: name.clone(),
            resume_token,
            is_unresponsive: agents.unresponsive.has_in_session(name),
        };
        places.map(place).collect()
    }

    /// Gives an agent an order about a run in which it has an assignment, without waiting. One
    /// that is away gets it when it is back. False when it cannot take the order.
    pub(crate) fn order(&self, name: &str, run: RunId, message: Order) -> bool {
        let agents = &mut *self.lock();
        let (assignments, stream) = if let Some(agent) = agents.connected.get_mut(name) {
            (&mut agent.assignments, Some(&agent.orders))
        } else if let Some(agent) = agents.expected.get_mut(name) {
            (&mut agent.assignments, None)
        } else {
            return false;
        };
        let Some(assignment) = assignments.get_mut(&run) else {
            return false;
        };
        assignment.last_order = Some(GivenOrder {
            order: message.clone(),
            given_ns: clock::now_ns(),
        });
        // A stream that has closed is that of an agent that may come back: its session decides.
        stream.is_none_or(|stream| match stream.try_reserve() {
            Ok(room) => {
                room.send(order(message));
                true
            }
            Err(TrySendError::Closed(())) => true,
            Err(TrySendError::Full(())) => false,
        })
    }

    /// The agent of a stream has answered the order to prepare a run.
    pub(super) fn note_taken_up(&self, name: &str, stream: &Orders, run: RunId) {
        let mut agents = self.lock();
        let agent = agents.on_stream(name, stream);
        let assignment = agent.and_then(|agent| agent.assignments.get_mut(&run));
        if let Some(assignment) = assignment.filter(|it| it.is_not_taken_up()) {
            assignment.last_order = None;
        }
    }

    /// Keeps the place of an agent whose stream broke, where it has an assignment; else false. It
    /// takes part in no new run until it is back.
    pub(super) fn keep_place(&self, name: &str, stream: &Orders) -> bool {
        let mut agents = self.change();
        let Some(agent) = agents.on_stream(name, stream) else {
            return false;
        };
        if agent.assignments.is_empty() {
            return false;
        }
        agent.clock = None;
        agent.has_returned = true;
        agent.is_away = true;
        true
    }

    /// Takes the agent of a stream off the list and reports the loss to its runs. True when it had
    /// an assignment. `None` when the agent has come back on another stream.
    pub(super) async fn leave(
        &self,
        name: &str,
        stream: &Orders,
        failure: &Failure,
    ) -> Option<bool> {
        let left = self.change().remove_if_on(name, stream)?;
        let had_an_assignment = !left.assignments.is_empty();
        for assignment in left.assignments.into_values() {
            LostAssignment(assignment).report(failure.clone()).await;
        }
        Some(had_an_assignment)
    }

    /// Finds agents for a run and gives each its assignment. Those without a client are left out.
    ///
    /// While agents are expected back that may take the run, too few of them are no refusal but a
    /// reason to ask again.
    pub(crate) fn assign(
        &self,
        run: RunId,
        wanted: &Wanted<'_>,
        inbox: &mpsc::Sender<FromAgent>,
    ) -> Result<Vec<AssignedAgent>, Failure> {
        let mut agents = self.change();
        let listed = agents.connected.values();
        let listed = listed.filter(|agent| agent.clock.is_some());
        let now_ns = clock::now_ns();
        let candidate = |agent| agents.candidate(agent, now_ns);
        let candidates: Vec<_> = listed.map(candidate).collect();
        let chosen = choose_agents(&candidates, wanted).map_err(|refusal| {
            if agents.may_return(&refusal) {
                on_their_way()
            } else {
                refusal.failure
            }
        })?;
        let mut assigned: Vec<AssignedAgent> = Vec::new();
        for (name, parts) in chosen {
            let agent = agents.connected.get_mut(&name);
            let Some((clock, agent)) = agent.and_then(|agent| Some((agent.clock?, agent))) else {
                continue;
            };
            let assignment = Assignment {
                agent: assigned.len(),
                clients: parts.iter().map(|part| part.clients.len() as u32).sum(),
                clock: clock.relation,
                inbox: inbox.clone(),
                last_order: None,
            };
            agent.assignments.insert(run, assignment);
            assigned.push(AssignedAgent { name, parts, clock });
        }
        Ok(assigned)
    }

    /// Ends the assignments of a run.
    pub(crate) fn release(&self, run: RunId) {
        let agents = &mut *self.change();
        for agent in agents.connected.values_mut() {
            agent.assignments.remove(&run);
            if agent.is_away && agent.assignments.is_empty() {
                agent.replaced.cancel();
            }
        }
        for agent in agents.expected.values_mut() {
            agent.assignments.remove(&run);
        }
    }

    /// Where the reports of a stream about a run go, and the agent's index there. `None` when its
    /// agent has no assignment in that run, or is on another stream.
    pub(super) fn inbox(
        &self,
        name: &str,
        stream: &Orders,
        run: RunId,
    ) -> Option<(mpsc::Sender<FromAgent>, usize)> {
        let agents = self.lock();
        let agent = agents.connected.get(name)?;
        let is_current = agent.orders.same_channel(stream);
        let assignment = agent.assignments.get(&run).filter(|_| is_current)?;
        Some((assignment.inbox.clone(), assignment.agent))
    }

    /// The runs in which an agent has an assignment.
    pub(super) fn runs_of(&self, name: &str) -> Vec<String> {
        let agents = self.lock();
        agents
            .connected
            .get(name)
            .map(|agent| agent.assignments.keys().map(RunId::to_string).collect())
            .unwrap_or_default()
    }

    /// Ends every stream, for a reason that agents get.
    pub(crate) fn dismiss(&self, failure: &Failure) {
        for agent in self.lock().connected.values() {
            let _ = agent.orders.try_send(Err(status::from_failure(failure)));
        }
    }

    /// The agents that are listed, by name.
    pub(crate) fn list(&self) -> Vec<v1::Agent> {
        self.lock().list(clock::now_ns())
    }

    /// The agents, to be changed: what changes is published.
    fn change(&self) -> Changing<'_> {
        Changing::new(self.lock(), &self.feed)
    }

    fn lock(&self) -> MutexGuard<'_, Agents> {
        // No code between lock and unlock can leave it half changed.
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn on_their_way() -> Failure {
    let sentence = "agents that the run needs are not back yet, after an upgrade of the server or \
                    a broken connection";
    Failure::new(FailureCode::Upgrading, sentence)
}

fn name_taken(name: &str) -> Failure {
    let sentence = format!("another agent named {name} is connected");
    Failure::new(FailureCode::AgentNameTaken, sentence).with("agent", name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            assign_clients::WantedGroup,
            messages::{AgentReport, stop},
        },
        *,
    };
    use crate::model::{ClockExchanges, ClockOffset};
    use metronome_proto::limits::{LEASE, RESUME_TOKEN_BYTES};

    fn info(name: &str, max_clients: u32) -> AgentInfo {
        AgentInfo {
            name: name.into(),
            version: String::new(),
            protocol_version: 1,
            capabilities: Vec::new(),
            peer: None,
            connected_unix_ms: 0,
            capacity: v1::Capacity {
                max_clients,
                cores: 1,
            },
        }
    }

    /// An agent that names `runs` and shows a token; its own, if its place is free, is made of 7s.
    fn arrive(
        registry: &Registry,
        name: &str,
        orders: Orders,
        runs: &[RunId],
        shown: &[u8],
    ) -> Result<Joined, FailureCode> {
        let arrival = Arrival {
            info: info(name, 10),
            orders: orders.clone(),
            runs,
            shown,
            fresh: ResumeToken::new([7; 16]),
        };
        let joined = registry.join(arrival).map_err(|failure| failure.code())?;
        let lost = registry.settle_clock(name, &orders, AgentClock::same(0));
        assert!(lost.is_empty());
        Ok(joined)
    }

    fn place(name: &str, byte: u8) -> AgentPlace {
        AgentPlace {
            name: name.into(),
            resume_token: ResumeToken::new([byte; 16]),
            is_unresponsive: false,
        }
    }

    fn join(registry: &Registry, name: &str) -> bool {
        arrive(registry, name, mpsc::channel(1).0, &[], &[]).is_ok()
    }

    fn wanted(agents: &[String], clients: u32) -> Wanted<'_> {
        let group = WantedGroup {
            name: "default",
            agents,
            clients,
        };
        Wanted {
            groups: vec![group],
            features: Vec::new(),
        }
    }

    fn assign(
        registry: &Registry,
        run: u64,
        names: &[&str],
        clients: u32,
    ) -> Result<Vec<(String, u32, u32)>, FailureCode> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let wanted = wanted(&names, clients);
        let assigned = registry
            .assign(RunId::from_bits(run), &wanted, &mpsc::channel(8).0)
            .map_err(|failure| failure.code())?;
        Ok(assigned
            .into_iter()
            .map(|agent| {
                let [part] = &agent.parts[..] else {
                    panic!("one group, one part")
                };
                (agent.name, part.clients.start, part.clients.len() as u32)
            })
            .collect())
    }

    /// The orders that wait in a stream, behind the Welcome, which comes first.
    fn orders(
        stream: &mut mpsc::Receiver<Result<v1::AgentServiceSessionResponse, tonic::Status>>,
    ) -> Vec<Order> {
        let next = || stream.try_recv().ok()?.unwrap().message;
        let mut orders: Vec<_> = std::iter::from_fn(next).collect();
        let Order::Welcome(welcome) = orders.remove(0) else {
            panic!("the Welcome comes first")
        };
        let lease = welcome.lease.unwrap();
        assert_eq!(lease.seconds, LEASE.as_secs().cast_signed());
        assert_eq!(welcome.resume_token.len(), RESUME_TOKEN_BYTES);
        orders
    }

    #[test]
    fn clients_are_divided_among_those_asked_for_or_all() {
        let registry = Registry::default();
        assert_eq!(assign(&registry, 1, &[], 1), Err(FailureCode::NoAgent));
        assert!(join(&registry, "b") && join(&registry, "a") && join(&registry, "c"));
        let assignment = |name: &str, first, clients| (name.to_owned(), first, clients);
        assert_eq!(
            assign(&registry, 1, &[], 5),
            Ok(vec![
                assignment("a", 0, 2),
                assignment("b", 2, 2),
                assignment("c", 4, 1)
            ])
        );
        assert_eq!(
            assign(&registry, 2, &["c", "a"], 3),
            Ok(vec![assignment("a", 0, 2), assignment("c", 2, 1)])
        );
        let names = ["b", "x", "y"].map(String::from);
        let refused = registry.assign(RunId::from_bits(3), &wanted(&names, 1), &mpsc::channel(8).0);
        let failure = refused.unwrap_err();
        assert_eq!(failure.code(), FailureCode::AgentNotConnected);
        let missing = ["x", "y"].map(String::from).to_vec();
        assert_eq!(failure.figures["agent_names"], missing.into());
        assert_eq!(assign(&registry, 3, &[], 30), Err(FailureCode::AgentsFull));
        registry.release(RunId::from_bits(1));
        registry.release(RunId::from_bits(2));
        assert_eq!(
            assign(&registry, 3, &[], 30).map(|assignments| assignments.len()),
            Ok(3)
        );
    }

    #[tokio::test]
    async fn an_agent_that_leaves_is_lost_to_its_runs_and_its_name_is_free() {
        let registry = Registry::default();
        let stream = mpsc::channel(8).0;
        arrive(&registry, "a", stream.clone(), &[], &[]).unwrap();
        let (sender, mut inbox) = mpsc::channel(8);
        let run = RunId::from_bits(1);
        registry.assign(run, &wanted(&[], 2), &sender).unwrap();
        assert_eq!(registry.list()[0].run_ids, [run.to_string()]);
        let gone = Failure::new(FailureCode::AgentSilent, "gone");
        assert_eq!(registry.leave("a", &stream, &gone).await, Some(true));
        let FromAgent {
            agent: 0,
            report: AgentReport::Lost(why),
        } = inbox.recv().await.unwrap()
        else {
            panic!("not lost")
        };
        assert_eq!(why, gone);
        assert!(registry.inbox("a", &stream, run).is_none());
        assert!(join(&registry, "a"));
    }

    #[tokio::test]
    async fn an_unresponsive_agent_is_no_other_when_it_registers_anew_until_it_answers() {
        let registry = Registry::default();
        let state = || registry.list()[0].state();
        let gone = Failure::new(FailureCode::AgentLost, "gone");
        registry.note_answer("a", false);
        // With its token while its stream is held, and without once that is gone.
        let held = mpsc::channel(8).0;
        arrive(&registry, "a", held, &[], &[]).unwrap();
        assert_eq!(state(), v1::AgentState::Available, "it was not there");
        registry.note_answer("a", false);
        let mut stream = mpsc::channel(8).0;
        arrive(&registry, "a", stream.clone(), &[], &[7; 16]).unwrap();
        assert_eq!(state(), v1::AgentState::Unresponsive);
        for shown in [&[][..], &[7; 16], &[]] {
            assert_eq!(registry.leave("a", &stream, &gone).await, Some(false));
            stream = mpsc::channel(8).0;
            arrive(&registry, "a", stream.clone(), &[], shown).unwrap();
            assert_eq!(state(), v1::AgentState::Unresponsive);
            let all = assign(&registry, 1, &[], 1);
            assert_eq!(all, Err(FailureCode::AgentsUnresponsive));
        }
        assert!(assign(&registry, 1, &["a"], 1).is_ok());
        registry.note_answer("a", true);
        assert_eq!(state(), v1::AgentState::Available);
        assert_eq!(registry.leave("a", &stream, &gone).await, Some(true));
        assert!(join(&registry, "a"));
        assert_eq!(state(), v1::AgentState::Available);
    }

    #[tokio::test]
    async fn an_agent_gets_its_place_back_with_its_token_alone_though_its_stream_is_held() {
        let registry = Registry::default();
        let old = mpsc::channel(8).0;
        let joined = arrive(&registry, "a", old.clone(), &[], &[]).unwrap();
        let (sender, mut inbox) = mpsc::channel(8);
        let [kept, lost] = [1, 2].map(RunId::from_bits);
        for run in [kept, lost] {
            registry.assign(run, &wanted(&[], 2), &sender).unwrap();
        }
        for shown in [&[][..], &[6; 16], &[7; 15], &[7; 17]] {
            let refused = arrive(&registry, "a", mpsc::channel(8).0, &[kept], shown);
            assert_eq!(refused.unwrap_err(), FailureCode::AgentNameTaken);
        }
        assert!(!joined.replaced.is_cancelled());

        let (new, mut stream) = mpsc::channel(8);
        let again = arrive(&registry, "a", new.clone(), &[kept], &[7; 16]).unwrap();
        assert!(joined.replaced.is_cancelled() && !again.replaced.is_cancelled());
        assert_eq!(orders(&mut stream), []);
        assert_eq!(
            again.lost.len(),
            1,
            "it has come back without one of its runs"
        );
        assert_eq!(registry.runs_of("a"), [kept.to_string()]);
        assert!(registry.inbox("a", &new, kept).is_some());
        // What the old stream still brings, and its end, change nothing.
        assert!(registry.inbox("a", &old, kept).is_none());
        let gone = Failure::new(FailureCode::AgentLost, "gone");
        assert_eq!(registry.leave("a", &old, &gone).await, None);
        assert!(inbox.try_recv().is_err());
        assert_eq!(registry.list().len(), 1);
    }

    #[test]
    fn an_agent_that_comes_back_with_another_clock_has_lost_its_assignments() {
        let registry = Registry::default();
        let run = RunId::from_bits(1);
        arrive(&registry, "a", mpsc::channel(8).0, &[], &[]).unwrap();
        registry
            .assign(run, &wanted(&[], 2), &mpsc::channel(8).0)
            .unwrap();
        let again = |clock| {
            let (stream, mut heard) = mpsc::channel(8);
            let arrival = Arrival {
                info: info("a", 10),
                orders: stream.clone(),
                runs: &[run],
                shown: &[7; 16],
                fresh: ResumeToken::new([8; 16]),
            };
            let joined = registry.join(arrival).unwrap();
            assert!(joined.lost.is_empty());
            assert_eq!(registry.runs_of("a"), [run.to_string()]);
            assert!(registry.list().is_empty(), "its clock is still measured");
            assert_eq!(assign(&registry, 2, &[], 1), Err(FailureCode::Upgrading));
            assert_eq!(assign(&registry, 2, &["a"], 1), Err(FailureCode::Upgrading));
            let lost = registry.settle_clock("a", &stream, clock).len();
            assert_eq!(registry.list().len(), 1);
            (lost, orders(&mut heard))
        };
        assert_eq!(again(AgentClock::same(9)), (0, Vec::new()), "another bound");
        assert_eq!(again(AgentClock::default()), (1, vec![stop(run)]));
        assert!(registry.runs_of("a").is_empty());
    }

    #[test]
    fn an_agent_takes_part_once_its_clock_is_settled_and_a_new_one_is_not_waited_for() {
        let registry = Registry::default();
        let stream = mpsc::channel(8).0;
        let arrival = Arrival {
            info: info("a", 10),
            orders: stream.clone(),
            runs: &[],
            shown: &[],
            fresh: ResumeToken::new([7; 16]),
        };
        registry.join(arrival).unwrap();
        assert!(registry.list().is_empty());
        assert_eq!(assign(&registry, 1, &[], 1), Err(FailureCode::NoAgent));
        let unknown = Err(FailureCode::AgentNotConnected);
        assert_eq!(assign(&registry, 1, &["a"], 1), unknown);
        registry.settle_clock("a", &mpsc::channel(8).0, AgentClock::same(0));
        assert!(registry.list().is_empty(), "that was another stream");
        registry.settle_clock("a", &stream, AgentClock::same(0));
        assert_eq!(registry.list().len(), 1);
        assert!(assign(&registry, 1, &[], 1).is_ok());
    }

    #[test]
    fn a_clock_that_is_contradicted_is_reported_to_every_run_and_another_one_to_the_next() {
        let registry = Registry::default();
        let stream = mpsc::channel(8).0;
        arrive(&registry, "a", stream.clone(), &[], &[]).unwrap();
        let inbox = mpsc::channel(8).0;
        for run in [1, 2].map(RunId::from_bits) {
            let assigned = registry.assign(run, &wanted(&[], 1), &inbox).unwrap();
            assert_eq!(assigned[0].clock, AgentClock::same(0));
        }
        let other = AgentClock {
            relation: ClockRelation::Offset,
            ..AgentClock::default()
        };
        let contradict = |stream: &Orders| registry.contradict_clock("a", stream, other).len();
        assert_eq!(contradict(&mpsc::channel(8).0), 0);
        assert_eq!(contradict(&stream), 2);
        let run = RunId::from_bits(3);
        let assigned = registry.assign(run, &wanted(&[], 1), &inbox).unwrap();
        assert_eq!(assigned[0].clock, other);
    }

    #[test]
    fn how_far_another_clock_is_off_is_listed_as_of_the_last_exchange() {
        let registry = Registry::default();
        let (stream, mut heard) = mpsc::channel(8);
        arrive(&registry, "a", stream.clone(), &[], &[]).unwrap();
        let offset = |bound_ns| {
            let offset = ClockOffset {
                bound_ns,
                ..ClockOffset::default()
            };
            AgentClock {
                relation: ClockRelation::Offset,
                bound_ns: None,
                offset: Some(offset),
            }
        };
        let listed = || registry.list()[0].clock.unwrap();
        registry.settle_clock("a", &stream, offset(9));
        for bound_ns in [8, 10] {
            registry.note_exchange(
                "a",
                &stream,
                77,
                Some(offset(bound_ns)),
                &ClockHistory::default(),
            );
            assert_eq!(listed(), offset(bound_ns).to_proto());
        }
        registry.note_exchange(
            "a",
            &mpsc::channel(8).0,
            7,
            Some(offset(1)),
            &ClockHistory::default(),
        );
        registry.note_exchange("a", &stream, 78, None, &ClockHistory::default());
        assert_eq!(listed(), offset(10).to_proto());
        assert_eq!(registry.round_trip_ns("a"), 78);
        // What was exchanged is of the stream of now.
        let mut exchanges = ClockExchanges::new(ClockRelation::Unknown, true);
        let probe = exchanges.probe(5);
        let reading = v1::ClockReading {
            server_ns: probe.server_ns,
            received_ns: 70,
            sent_ns: 71,
        };
        exchanges.take(&reading, 9);
        let history = exchanges.history();
        let note = |stream| registry.note_exchange("a", stream, 78, None, history);
        let old = mpsc::channel(8).0;
        note(&old);
        assert_eq!(registry.history("a"), ClockHistory::default());
        note(&stream);
        assert_eq!(&registry.history("a"), history);
        assert_ne!(history, &ClockHistory::default());
        assert_eq!(registry.history("b"), ClockHistory::default());
        // One that is not listed is not listed by that.
        let inbox = mpsc::channel(8).0;
        let run = RunId::from_bits(1);
        registry.assign(run, &wanted(&[], 1), &inbox).unwrap();
        assert!(registry.keep_place("a", &stream));
        registry.note_exchange("a", &stream, 79, Some(offset(1)), &ClockHistory::default());
        assert!(registry.list().is_empty());
        assert_eq!(orders(&mut heard), []);
    }

    #[tokio::test]
    async fn an_agent_that_is_expected_back_finds_its_parts_and_the_orders_that_waited() {
        let registry = Registry::default();
        let (sender, mut inbox) = mpsc::channel(8);
        let [first, second] = [1, 2].map(RunId::from_bits);
        registry.expect_agent(place("a", 9));
        registry.expect("a", first, 0, (2, ClockRelation::Same), &sender);
        registry.expect("a", second, 1, (3, ClockRelation::Same), &sender);
        registry.expect("b", first, 4, (5, ClockRelation::Same), &sender);
        assert!(registry.order("a", first, stop(first)));
        assert!(
            !registry.order("a", RunId::from_bits(9), stop(first))
                && !registry.order("c", first, stop(first))
        );
        registry.note_answer("a", false);
        let places = registry.places();
        let unresponsive = AgentPlace {
            is_unresponsive: true,
            ..place("a", 9)
        };
        assert_eq!(places, [unresponsive]);

        let (stream, mut heard) = mpsc::channel(8);
        let refused = arrive(&registry, "a", stream.clone(), &[first], &[7; 16]);
        assert_eq!(refused.unwrap_err(), FailureCode::AgentNameTaken);
        let joined = arrive(&registry, "a", stream.clone(), &[first], &[9; 16]).unwrap();
        assert_eq!(orders(&mut heard), [stop(first)]);
        assert_eq!(registry.places(), places, "it keeps its token");
        registry.note_answer("a", true);
        assert_eq!(registry.places(), [place("a", 9)]);
        assert_eq!(registry.runs_of("a"), [first.to_string()]);
        assert!(registry.inbox("a", &stream, first).is_some());
        assert!(registry.inbox("a", &stream, second).is_none());
        assert_eq!(
            joined.lost.len(),
            1,
            "it has come back without its second run"
        );
        for (lost, _) in joined.lost {
            lost.report(Failure::new(FailureCode::AgentRestarted, "gone"))
                .await;
        }
        assert!(matches!(
            inbox.recv().await,
            Some(FromAgent {
                agent: 1,
                report: AgentReport::Lost(_)
            })
        ));

        let refused = arrive(&registry, "b", mpsc::channel(8).0, &[first], &[0; 16]);
        assert_eq!(
            refused.unwrap_err(),
            FailureCode::AgentNameTaken,
            "it has no token"
        );
        let missing = registry.give_up_expecting();
        assert_eq!(
            missing
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>(),
            ["b"]
        );
        assert!(registry.give_up_expecting().is_empty());
        let joined = arrive(&registry, "b", mpsc::channel(8).0, &[first], &[]).unwrap();
        assert!(joined.lost.is_empty() && registry.runs_of("b").is_empty());
    }

    #[test]
    fn a_run_that_agents_who_are_expected_back_may_take_is_asked_for_again() {
        let registry = Registry::default();
        registry.expect_agent(place("a", 9));
        registry.expect_agent(place("b", 9));
        let again = Err(FailureCode::Upgrading);
        assert_eq!(assign(&registry, 1, &[], 1), again);
        assert_eq!(assign(&registry, 1, &["a"], 1), again);
        let unknown = Err(FailureCode::AgentNotConnected);
        assert_eq!(assign(&registry, 1, &["a", "x"], 1), unknown);
        let stream = mpsc::channel(8).0;
        assert!(arrive(&registry, "a", stream, &[], &[9; 16]).is_ok());
        assert_eq!(
            assign(&registry, 1, &["a"], 11),
            Err(FailureCode::AgentsFull)
        );
        assert_eq!(
            assign(&registry, 1, &[], 11),
            again,
            "b may bring the others"
        );
        assert!(assign(&registry, 1, &[], 5).is_ok(), "enough are connected");
        registry.give_up_expecting();
        assert_eq!(assign(&registry, 2, &[], 11), Err(FailureCode::AgentsFull));
        assert_eq!(assign(&registry, 2, &["b"], 1), unknown);
    }

    #[test]
    fn an_agent_is_ordered_to_stop_the_runs_that_it_brings_and_has_no_assignment_in() {
        let registry = Registry::default();
        let [known, stale] = [1, 2].map(RunId::from_bits);
        registry.expect_agent(place("a", 9));
        registry.expect("a", known, 0, (2, ClockRelation::Same), &mpsc::channel(8).0);
        let (stream, mut heard) = mpsc::channel(8);
        let joined = arrive(&registry, "a", stream, &[known, stale], &[9; 16]).unwrap();
        assert!(joined.lost.is_empty());
        assert_eq!(orders(&mut heard), [stop(stale)], "the other one goes on");
    }

    fn prepare(run: RunId) -> Order {
        Order::Prepare(v1::Prepare {
            run_id: run.to_string(),
            ..v1::Prepare::default()
        })
    }

    /// Its stream, its orders, and the run in which it has an assignment.
    fn assigned_agent(
        registry: &Registry,
    ) -> (
        Orders,
        mpsc::Receiver<Result<v1::AgentServiceSessionResponse, tonic::Status>>,
        RunId,
    ) {
        let (stream, mut heard) = mpsc::channel(8);
        arrive(registry, "a", stream.clone(), &[], &[]).unwrap();
        let run = RunId::from_bits(1);
        registry
            .assign(run, &wanted(&[], 2), &mpsc::channel(8).0)
            .unwrap();
        assert_eq!(orders(&mut heard), []);
        (stream, heard, run)
    }

    /// What an agent is ordered that comes back, and whether it has kept its assignment.
    fn back(registry: &Registry, runs: &[RunId]) -> (Vec<Order>, bool) {
        let (stream, mut heard) = mpsc::channel(8);
        let joined = arrive(registry, "a", stream, runs, &[7; 16]).unwrap();
        (orders(&mut heard), joined.lost.is_empty())
    }

    #[test]
    fn an_order_to_prepare_comes_again_until_the_agent_has_answered_it() {
        let registry = Registry::default();
        let (stream, heard, run) = assigned_agent(&registry);
        drop(heard);
        assert!(registry.order("a", run, prepare(run)), "it may come back");
        assert_eq!(back(&registry, &[]), (vec![prepare(run)], true));
        assert_eq!(back(&registry, &[]), (vec![prepare(run)], true));
        assert_eq!(back(&registry, &[run]), (vec![], true), "it has the run");
        registry.note_taken_up("a", &stream, run);
        let expected = (vec![prepare(run)], true);
        assert_eq!(back(&registry, &[]), expected, "another stream's answer");

        let (stream, mut heard) = mpsc::channel(8);
        arrive(&registry, "a", stream.clone(), &[run], &[7; 16]).unwrap();
        orders(&mut heard);
        registry.note_taken_up("a", &stream, run);
        assert_eq!(back(&registry, &[run]), (vec![], true));
        assert_eq!(back(&registry, &[]), (vec![], false), "it has lost it");
    }

    #[test]
    fn the_last_order_comes_again_when_the_agent_is_back() {
        let registry = Registry::default();
        let (stream, mut heard, run) = assigned_agent(&registry);
        assert!(registry.order("a", run, prepare(run)));
        assert!(heard.try_recv().is_ok());
        registry.note_taken_up("a", &stream, run);
        let start_in = |left: Duration| {
            Order::Start(v1::Start {
                run_id: run.to_string(),
                at: Some(v1::start::At::StartIn(left.try_into().unwrap())),
            })
        };
        let hour = start_in(Duration::from_secs(3_600));
        assert!(registry.keep_place("a", &stream));
        assert!(registry.order("a", run, hour.clone()));
        let (again, kept) = back(&registry, &[run]);
        let [Order::Start(again)] = &again[..] else {
            panic!("{again:?}")
        };
        assert!(kept && Order::Start(again.clone()) != hour, "it has waited");
        assert!(registry.order("a", run, start_in(Duration::from_nanos(1))));
        assert!(registry.order("a", run, stop(run)));
        assert_eq!(back(&registry, &[run]), (vec![stop(run)], true));
    }

    /// Whether it has begun is only seen at the agent.
    #[test]
    fn an_agent_that_comes_back_after_the_start_keeps_its_run_and_is_given_no_instant() {
        let registry = Registry::default();
        let (stream, _heard, run) = assigned_agent(&registry);
        let start = |at| {
            let run_id = run.to_string();
            Order::Start(v1::Start { run_id, at })
        };
        let at = v1::start::At::StartIn(Duration::from_nanos(1).try_into().unwrap());
        assert!(registry.keep_place("a", &stream));
        assert!(registry.order("a", run, start(Some(at))));
        std::thread::sleep(Duration::from_nanos(1));
        assert_eq!(back(&registry, &[run]), (vec![start(None)], true));
        assert_eq!(registry.runs_of("a"), [run.to_string()]);
    }

    #[test]
    fn an_agent_that_is_away_is_not_waited_for_once_its_runs_are_over() {
        let registry = Registry::default();
        let (stream, mut heard) = mpsc::channel(8);
        let joined = arrive(&registry, "a", stream.clone(), &[], &[]).unwrap();
        let runs = [1, 2].map(RunId::from_bits);
        for run in runs {
            let inbox = mpsc::channel(8).0;
            registry.assign(run, &wanted(&[], 2), &inbox).unwrap();
        }
        registry.release(runs[0]);
        assert!(registry.keep_place("a", &stream));
        assert!(!joined.replaced.is_cancelled());
        registry.release(runs[1]);
        assert!(joined.replaced.is_cancelled());
        assert_eq!(orders(&mut heard), []);
    }
}
