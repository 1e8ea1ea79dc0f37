//! The paths of a run to those of its agents that are on other clocks: what their probes read goes
//! to [`RunPath`], the lines that it makes go to the workers.
//!
//! It decides nothing. A new line is asked for only when the one before is in use, so that each is
//! known to be out of use by the time of the one after the next.

use std::time::Duration;

use metronome_os::clock;
use metronome_proto::{plan::Plan, run_id::RunId, v1};
use tokio::sync::oneshot::error::TryRecvError;

use crate::{
    control::master_client::{MasterClient, PendingReply},
    model::{
        AgentRecords, ClientCounters, ClockLine, ClockRelation, PathEvent, PathFigures, RunPath,
        StartSkew, WallClock,
    },
};

/// The least time between two probes of an agent, and the most.
const PROBE_EVERY_MIN: Duration = Duration::from_millis(20);
const PROBE_EVERY_MAX: Duration = Duration::from_secs(1);
/// Probes of all agents of a run in a second.
const PROBES_PER_SECOND_MAX: u32 = 500;

/// The paths of a run, by the agents' indices. `None`: an agent on the server's clock, or one that
/// cannot probe.
#[derive(Debug)]
pub(super) struct AgentPaths {
    run: RunId,
    paths: Vec<Option<AgentPath>>,
}

#[derive(Debug)]
struct AgentPath {
    path: RunPath,
    /// The line that is on its way to the workers.
    storing: Option<PendingReply<()>>,
}

impl AgentPath {
    /// Whether the line that was made last is in use.
    fn is_stored(&mut self) -> bool {
        let Some(storing) = &mut self.storing else {
            return true;
        };
        let is_open = matches!(storing.try_recv(), Err(TryRecvError::Empty));
        if !is_open {
            self.storing = None;
        }
        !is_open
    }
}

/// The time between two probes of each agent of a run, where some are to probe.
pub(super) fn probe_every(agents: &[AgentRecords]) -> Duration {
    let probing = agents.iter().filter(|agent| is_to_probe(agent)).count();
    let all = u32::try_from(probing).unwrap_or(u32::MAX);
    let every = Duration::from_secs(1) * all / PROBES_PER_SECOND_MAX;
    every.clamp(PROBE_EVERY_MIN, PROBE_EVERY_MAX)
}

/// Whether an agent is to probe.
pub(super) fn is_to_probe(agent: &AgentRecords) -> bool {
    agent.share.clock == ClockRelation::Offset
}

impl AgentPaths {
    /// Those of a run that is prepared now, or that another server has begun: what that has shown
    /// is among the records then.
    pub(super) fn new(run: RunId, plan: &Plan, agents: &[AgentRecords]) -> Self {
        let path = |agent: &AgentRecords| {
            is_to_probe(agent).then(|| AgentPath {
                path: match &agent.path {
                    Some(figures) => RunPath::resume(plan.clock_trust, figures.clone()),
                    None => RunPath::new(plan.clock_trust, clock::now_ns()),
                },
                storing: None,
            })
        };
        Self {
            run,
            paths: agents.iter().map(path).collect(),
        }
    }

    /// Takes what an agent reports. True when its exchanges have contradicted each other: no time
    /// between the clocks is taken of it any more.
    pub(super) fn take(
        &mut self,
        agent: usize,
        readings: &v1::ProbeReadings,
        master: &MasterClient,
    ) -> bool {
        let Some(Some(of)) = self.paths.get_mut(agent) else {
            return false;
        };
        let wall = clock::wall();
        let wall = WallClock {
            ahead_of_monotonic_ns: wall.ahead_of_monotonic_ns,
            error_max_ns: wall.error_max_ns,
        };
        let is_stored = of.is_stored();
        let event = of.path.take(readings, (clock::now_ns(), wall), is_stored);
        let line: Option<ClockLine> = match event {
            None => return false,
            Some(PathEvent::Line(line)) => Some(line),
            Some(PathEvent::Contradicted) => None,
        };
        let index = u16::try_from(agent).unwrap_or(u16::MAX);
        of.storing = Some(master.set_clock(self.run, index, line));
        line.is_none()
    }

    /// What an agent's clock reads when the server's reads `start_at_ns`, where that is known: its
    /// first packet is due then.
    pub(super) fn start(
        &mut self,
        agent: usize,
        start_at_ns: u64,
        warm_up: Duration,
    ) -> Option<u64> {
        let of = self.paths.get_mut(agent)?.as_mut()?;
        let starts_ns = of.path.agents_reading(start_at_ns)?;
        let warm_up_ns = u64::try_from(warm_up.as_nanos()).unwrap_or(u64::MAX);
        of.path.start(starts_ns.saturating_add(warm_up_ns));
        Some(starts_ns)
    }

    /// The figures as they stand, for watchers and for a server that takes over.
    pub(super) fn figures(&self, agent: usize) -> Option<PathFigures> {
        Some(self.paths.get(agent)?.as_ref()?.path.so_far())
    }

    /// Gives each agent's records the figures of its path, and when it began, by the counters of
    /// its clients.
    pub(super) fn conclude(
        self,
        agents: &mut [AgentRecords],
        clients: &[ClientCounters],
        start_at_ns: Option<u64>,
    ) {
        let now_ns = clock::now_ns();
        for (agent, of) in agents.iter_mut().zip(self.paths) {
            let began_ns = first_start_ns(agent, clients);
            agent.start_skew = match &of {
                None if agent.is_on_our_clock() => began_ns.zip(start_at_ns).map(on_our_clock),
                None => None,
                Some(of) => {
                    let starts = began_ns.zip(start_at_ns);
                    starts.and_then(|(began, start)| of.path.start_skew(began, start))
                }
            };
            if let Some(of) = of {
                agent.path = Some(of.path.figures(now_ns));
            }
        }
    }
}

/// The start of the schedule that the first of an agent's clients reported, less its own offset, on
/// the agent's clock.
fn first_start_ns(agent: &AgentRecords, clients: &[ClientCounters]) -> Option<u64> {
    let of_agent = clients.iter().filter(|of| agent.owns(of.client));
    let starts = of_agent.filter_map(|of| of.start);
    starts
        .map(|start| start.start_ns.saturating_sub(start.offset_ns))
        .min()
}

fn on_our_clock((began_ns, start_at_ns): (u64, u64)) -> StartSkew {
    let ns = i128::from(began_ns) - i128::from(start_at_ns);
    StartSkew {
        ns: i64::try_from(ns).unwrap_or(i64::MAX),
        bound_ns: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AgentShare;

    #[test]
    fn an_agent_probes_50_times_a_second_and_all_of_a_run_500_times() {
        let agents = |number: usize, clock| {
            let agent = AgentRecords::new("a".into(), AgentShare::of(0..1, clock));
            vec![agent; number]
        };
        for (number, every_ms) in [(1, 20), (10, 20), (11, 22), (100, 200), (2_000, 1_000)] {
            let every = probe_every(&agents(number, ClockRelation::Offset));
            assert_eq!(every, Duration::from_millis(every_ms), "{number}");
        }
        let others = agents(100, ClockRelation::Same);
        assert_eq!(probe_every(&others), PROBE_EVERY_MIN);
        assert!(!is_to_probe(&others[0]));
    }
}
