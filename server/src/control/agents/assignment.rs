//! An agent with its stream of orders and its assignments: what it does for which run.

use std::{collections::HashMap, time::Duration};

use metronome_proto::{
    run_id::RunId,
    v1::{self, Failure, FailureCode, start::At},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    agent_info::AgentInfo,
    messages::{Addressed, AgentReport, FromAgent, Order, Orders},
};
use crate::{
    model::{AgentClock, ClockHistory, ClockRelation, ResumeToken},
    wall_clock::timestamp,
};

/// An agent's assignment in one run.
#[derive(Debug)]
pub(super) struct Assignment {
    /// The agent's index within the run.
    pub(super) agent: usize,
    /// How many clients the agent brings.
    pub(super) clients: u32,
    /// How its clock relates to the server's: what the run's times were divided by.
    pub(super) clock: ClockRelation,
    pub(super) inbox: mpsc::Sender<FromAgent>,
    /// The last order about the run, but for a Prepare that was answered. It is given again when
    /// the agent comes back, which may not have received it; a repeat changes nothing.
    pub(super) last_order: Option<GivenOrder>,
}

/// What becomes of an assignment when its agent comes back.
#[derive(Debug, PartialEq)]
pub(super) enum Return {
    /// It goes on, with this order once more.
    GoesOn(Option<Box<Order>>),
    Lost(WhyLost),
}

impl Assignment {
    /// What becomes of it at `now_ns`, when its agent comes back and names the run as one that goes
    /// on, or does not.
    pub(super) fn come_back(&self, is_named: bool, now_ns: u64) -> Return {
        match (&self.last_order, is_named, self.is_not_taken_up()) {
            (_, false, false) => Return::Lost(WhyLost::WithoutRun),
            // An agent refuses to prepare a run that it has.
            (None, ..) | (_, true, true) => Return::GoesOn(None),
            (Some(last), ..) => Return::GoesOn(Some(Box::new(last.again(now_ns)))),
        }
    }

    /// Whether the agent may not have the run yet, so that it cannot name it.
    pub(super) fn is_not_taken_up(&self) -> bool {
        let last = self.last_order.as_ref();
        last.is_some_and(|given| matches!(given.order, Order::Prepare(_)))
    }
}

/// An order, and when it was given, ns of CLOCK_MONOTONIC.
#[derive(Clone, Debug)]
pub(super) struct GivenOrder {
    pub(super) order: Order,
    pub(super) given_ns: u64,
}

impl GivenOrder {
    /// The order as it is given again at `now_ns`. A start after a time that is over has no
    /// instant: an agent on another clock would begin its whole schedule late, which nothing would
    /// show. One that has begun goes on; which of the two it is, is only seen there.
    pub(super) fn again(&self, now_ns: u64) -> Order {
        let mut order = self.order.clone();
        if let Order::Start(start) = &mut order
            && let Some(At::StartIn(asked)) = start.at
        {
            let waited = Duration::from_nanos(now_ns.saturating_sub(self.given_ns));
            let left = Duration::try_from(asked).ok();
            let left = left.and_then(|asked| asked.checked_sub(waited));
            let left = left.filter(|left| !left.is_zero());
            start.at = left.and_then(|left| Some(At::StartIn(left.try_into().ok()?)));
        }
        order
    }
}

/// An assignment whose agent is gone; its run has to learn of it.
#[derive(Debug)]
#[must_use]
pub(crate) struct LostAssignment(pub(super) Assignment);

/// Why an agent that has come back has lost an assignment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WhyLost {
    /// It did not name the run as one that goes on.
    WithoutRun,
    /// Its clock relates to the server's in another way than when it got the assignment, so the
    /// run's times would mean something else from here on.
    OtherClock,
}

impl WhyLost {
    /// What the run learns.
    pub(super) fn failure(self) -> Failure {
        let (code, sentence) = match self {
            Self::WithoutRun => (FailureCode::AgentRestarted, "it came back without the run"),
            Self::OtherClock => (
                FailureCode::AgentRestarted,
                "it came back with another clock",
            ),
        };
        Failure::new(code, sentence)
    }
}

impl LostAssignment {
    /// Reports the loss to the run.
    pub(crate) async fn report(self, failure: Failure) {
        let (inbox, report) = self.into_report(failure);
        // A run that no longer listens has ended.
        let _ = inbox.send(report).await;
    }

    /// The report of the loss, and the run that it goes to.
    pub(super) fn into_report(self, failure: Failure) -> Addressed {
        let Self(Assignment { agent, inbox, .. }) = self;
        let report = AgentReport::Lost(failure);
        (inbox, FromAgent { agent, report })
    }
}

/// An agent whose stream is open.
#[derive(Debug)]
pub(super) struct ConnectedAgent {
    pub(super) info: AgentInfo,
    pub(super) orders: Orders,
    pub(super) resume_token: ResumeToken,
    /// How its clock relates to the server's. `None` while that is still measured, and since its
    /// stream broke: then it is not
    /// listed and gets no assignment, and those that it has brought back go on.
    pub(super) clock: Option<AgentClock>,
    /// The longest of its last round trips, ns; 0 before the first.
    pub(super) round_trip_ns: u64,
    /// What was exchanged on its stream, where its clock is another one.
    pub(super) history: ClockHistory,
    /// It has come back to its place.
    pub(super) has_returned: bool,
    /// Its stream broke, and its session waits for it to come back.
    pub(super) is_away: bool,
    /// Cancelled when the agent has come back on another stream, or has nothing to come back for.
    pub(super) replaced: CancellationToken,
    pub(super) assignments: HashMap<RunId, Assignment>,
}

/// An agent that had a stream, with the server before this one or a broken one.
#[derive(Debug, Default)]
pub(super) struct ExpectedAgent {
    /// `None`: no agent gets this place.
    pub(super) resume_token: Option<ResumeToken>,
    pub(super) assignments: HashMap<RunId, Assignment>,
}

impl ConnectedAgent {
    /// Whether it is expected back, or is back and its clock is still measured.
    pub(super) fn is_returning(&self) -> bool {
        self.has_returned && self.clock.is_none()
    }

    /// How many clients the agent can bring beside those of its assignments.
    pub(super) fn free(&self) -> u32 {
        let assigned = self.assignments.values();
        let busy = assigned.fold(0_u32, |sum, it| sum.saturating_add(it.clients));
        self.info.capacity.max_clients.saturating_sub(busy)
    }

    /// The agent as the API lists it. `None` while its clock is still measured.
    pub(super) fn to_proto(&self, is_unresponsive: bool) -> Option<v1::Agent> {
        let (info, clock) = (&self.info, self.clock?);
        let mut run_ids: Vec<_> = self.assignments.keys().map(RunId::to_string).collect();
        run_ids.sort_unstable();
        let state = if is_unresponsive {
            v1::AgentState::Unresponsive
        } else {
            v1::AgentState::Available
        };
        Some(v1::Agent {
            name: info.name.clone(),
            version: info.version.clone(),
            peer: info.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            connected_at: Some(timestamp(info.connected_unix_ms)),
            protocol_version: info.protocol_version,
            capabilities: info.capabilities.clone(),
            clock: Some(clock.to_proto()),
            capacity: Some(info.capacity),
            run_ids,
            state: state.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(at: At) -> GivenOrder {
        let run_id = "1".into();
        GivenOrder {
            order: Order::Start(v1::Start {
                run_id,
                at: Some(at),
            }),
            given_ns: 1_000,
        }
    }

    fn start_in(ns: u32) -> At {
        At::StartIn(prost_types::Duration {
            seconds: 0,
            nanos: ns.cast_signed(),
        })
    }

    #[test]
    fn a_start_that_waited_begins_when_it_would_have_or_at_no_instant() {
        let order = given(start_in(500));
        let again = |now_ns| order.again(now_ns);
        assert_eq!(again(1_000), order.order);
        assert_eq!(again(1_499), given(start_in(1)).order);
        for late_ns in [1_500, 1_501, u64::MAX] {
            let Order::Start(start) = again(late_ns) else {
                panic!("it is another order")
            };
            assert_eq!(start.at, None);
        }
        let instant = given(At::StartAtNs(1_500));
        assert_eq!(instant.again(u64::MAX), instant.order);
    }
}
