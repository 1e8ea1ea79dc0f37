//! The paths to the agents of one run that are on other clocks: what their probes read goes in, the
//! lines that follow go to the workers, and the figures to the records at the end.
//!
//! Lines and bounds are made by [`RunPath`]. Times are ns.

use std::time::Duration;

use metronome_os::clock;
use metronome_proto::{plan::ClockTrust, run_id::RunId, v1};
use tokio::sync::oneshot::error::TryRecvError;

use crate::{
    control::master_client::{MasterClient, PendingReply},
    model::{
        AgentRecords, ClientCounters, FinalCounters, PathBounds, PathEvent, RunPath, SavedPath,
        StartSkew, WallClock,
    },
};

/// The time from one probe of an agent to the next, where few agents probe …
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// … and where there are more than this many, so that all together send 500 a second.
const PROBING_AGENTS: usize = 10;
/// The longest time that agents take.
const PROBE_EVERY_MAX: Duration = Duration::from_secs(1);

/// The paths of one run, by the agents' indices.
pub(super) struct RunPaths {
    run: RunId,
    /// `None` for agents on the server's clock, and for those that do not probe.
    of_agents: Vec<Option<AgentPath>>,
}

/// The path to one agent.
struct AgentPath {
    path: RunPath,
    /// Set until the workers have the last line.
    setting: Option<PendingReply<()>>,
}

/// How long an agent waits from one probe to the next when these agents are in one run.
pub(super) fn probe_every(agents: &[AgentRecords]) -> Duration {
    let probing = agents.iter().filter(|agent| agent.share.clock.has_lines());
    let tens = u32::try_from(probing.count().div_ceil(PROBING_AGENTS)).unwrap_or(u32::MAX);
    PROBE_EVERY.saturating_mul(tens.max(1)).min(PROBE_EVERY_MAX)
}

impl RunPaths {
    /// The paths of a run that is prepared at `began_ns`, with what its plan claims.
    pub(super) fn new(
        run: RunId,
        agents: &[AgentRecords],
        trust: ClockTrust,
        began_ns: u64,
    ) -> Self {
        let path = |agent: &AgentRecords| {
            let has_lines = agent.share.clock.has_lines();
            has_lines.then(|| RunPath::new(trust, began_ns))
        };
        Self::of(run, agents.iter().map(path))
    }

    /// The paths of a run that another process has begun.
    pub(super) fn resumed(run: RunId, paths: Vec<Option<RunPath>>) -> Self {
        Self::of(run, paths.into_iter())
    }

    fn of(run: RunId, paths: impl Iterator<Item = Option<RunPath>>) -> Self {
        let of_agents = paths.map(|path| {
            path.map(|path| AgentPath {
                path,
                setting: None,
            })
        });
        Self {
            run,
            of_agents: of_agents.collect(),
        }
    }

    /// What the next process needs of them. The workers have by then what they were given: the
    /// master does what it is asked in order.
    pub(super) fn saved(&self) -> Vec<Option<SavedPath>> {
        let saved = |of: &Option<AgentPath>| of.as_ref().map(|of| SavedPath::from(&of.path));
        self.of_agents.iter().map(saved).collect()
    }

    /// Takes what an agent's probes have read. Returns whether its exchanges contradict each other
    /// by now, so that no time between the clocks is taken any more.
    pub(super) fn take(
        &mut self,
        agent: usize,
        readings: &v1::ProbeReadings,
        master: &MasterClient,
    ) -> bool {
        let Some(Some(of)) = self.of_agents.get_mut(agent) else {
            return false;
        };
        let now = (clock::now_ns(), wall_clock());
        let is_stored = of.is_stored();
        let Some(event) = of.path.take(readings, now, is_stored) else {
            return false;
        };
        let line = match event {
            PathEvent::Line(line) => Some(line),
            PathEvent::Contradicted => None,
        };
        // A plan has fewer agents than this.
        let index = u16::try_from(agent).unwrap_or(u16::MAX);
        of.setting = Some(master.set_clock(self.run, index, line));
        line.is_none()
    }

    /// The first packet is due at `start_at_ns`. Returns what the agent's clock reads then. `None`
    /// where that is not known.
    pub(super) fn start(&mut self, agent: usize, start_at_ns: u64) -> Option<u64> {
        let of = self.of_agents.get_mut(agent)?.as_mut()?;
        let starts_ns = of.path.agents_reading(start_at_ns)?;
        of.path.start(starts_ns);
        Some(starts_ns)
    }

    /// How far off any time is that the workers have taken between the server's clock and those of
    /// the agents on other ones. `None` where that is not known of one of them, or there is none.
    pub(super) fn bounds_so_far(&self, agents: &[AgentRecords]) -> Option<PathBounds> {
        let now_ns = clock::now_ns();
        let paths = agents.iter().zip(&self.of_agents);
        let others = paths.filter(|(agent, _)| !agent.is_on_our_clock());
        let bounds = others.map(|(_, of)| of.as_ref()?.path.bounds_so_far(now_ns));
        all_hold(bounds)
    }

    /// The run is over: its figures go to the records of the agents.
    pub(super) fn conclude(
        self,
        agents: &mut [AgentRecords],
        counters: Option<&FinalCounters>,
        start_at_ns: Option<u64>,
    ) {
        let now_ns = clock::now_ns();
        for (agent, of) in agents.iter_mut().zip(self.of_agents) {
            let began_ns = counters.and_then(|counters| began_ns(agent, &counters.clients));
            let start = began_ns.zip(start_at_ns);
            if agent.is_on_our_clock() {
                agent.start_skew = start.and_then(on_one_clock);
            }
            let Some(AgentPath { path, .. }) = of else {
                continue;
            };
            agent.start_skew = start.and_then(|(began_ns, at_ns)| path.start_skew(began_ns, at_ns));
            let figures = path.figures(now_ns);
            // One that has probed nothing shows nothing of its path.
            agent.path = Some(figures).filter(|of| of.probes_sent > 0 || of.probes_answered > 0);
        }
    }
}

impl AgentPath {
    /// Whether the workers take times by the line that was made last.
    fn is_stored(&mut self) -> bool {
        match self.setting.as_mut().map(PendingReply::try_recv) {
            None => true,
            Some(Ok(())) => {
                self.setting = None;
                true
            }
            // A master that is gone stores nothing any more.
            Some(Err(TryRecvError::Empty | TryRecvError::Closed)) => false,
        }
    }
}

/// The worst of all, where all are known. `None` without one.
fn all_hold(mut bounds: impl Iterator<Item = Option<PathBounds>>) -> Option<PathBounds> {
    let first = bounds.next()??;
    bounds.try_fold(first, |worst, of| Some(worst.with(of?)))
}

/// When the schedule of an agent began, on its own clock, by the word of its clients. `None` before
/// one has reported it, and where they do not agree.
fn began_ns(agent: &AgentRecords, clients: &[ClientCounters]) -> Option<u64> {
    let own = clients.iter().filter(|client| agent.owns(client.client));
    let starts = own.filter_map(|client| client.start);
    let mut starts = starts.map(|of| of.start_ns.checked_sub(of.offset_ns));
    let first = starts.next()?;
    starts.all(|of| of == first).then_some(first)?
}

/// The skew of an agent on the server's clock: what it is ordered and what it does is read there.
fn on_one_clock((began_ns, start_at_ns): (u64, u64)) -> Option<StartSkew> {
    let ns = i128::from(began_ns) - i128::from(start_at_ns);
    Some(StartSkew {
        ns: i64::try_from(ns).ok()?,
        bound_ns: 0,
    })
}

fn wall_clock() -> WallClock {
    let clock::WallClock {
        ahead_of_monotonic_ns,
        error_max_ns,
    } = clock::wall();
    WallClock {
        ahead_of_monotonic_ns,
        error_max_ns,
    }
}
