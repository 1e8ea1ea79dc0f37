//! The paths to the agents of one run that are on other clocks: what their probes read goes in,
//! the lines that follow go to the workers, and the figures to the records at the end.
//!
//! Lines and bounds are made by [`RunPath`]. Times are ns.

use std::time::Duration;

use metronome_os::clock;
use metronome_proto::{plan::Plan, profile::Profile, run_id::RunId, v1};
use tokio::sync::oneshot::error::TryRecvError;

use crate::{
    control::master_client::{MasterClient, PendingReply},
    model::{
        AgentRecords, ClientCounters, ClockHistory, FinalCounters, PathBounds, PathEvent, RunPath,
        SavedPath, StartSkew, WallClock,
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
    warm_up_ns: u64,
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
    /// The paths of a run that is prepared at `began_ns`. `history`: what was exchanged with the
    /// agent of a name before. A packet of a flood belongs to the warm-up by when it is read, so
    /// that one which has times may be as old as the run: a plan with a flood has all of its lines
    /// judged.
    pub(super) fn new(
        run: RunId,
        plan: &Plan,
        agents: &[AgentRecords],
        began_ns: u64,
        history: impl Fn(&str) -> ClockHistory,
    ) -> Self {
        let path = |agent: &AgentRecords| {
            let of_run = || RunPath::new(plan.clock_trust, began_ns, &history(&agent.name));
            let has_lines = agent.share.clock.has_lines();
            has_lines.then(|| AgentPath::of(of_run()))
        };
        let has_flood = plan.groups.iter().any(|of| of.profile == Profile::Flood);
        let warm_up_ns = u64::try_from(plan.warm_up.as_nanos()).unwrap_or(u64::MAX);
        Self {
            run,
            warm_up_ns: if has_flood { 0 } else { warm_up_ns },
            of_agents: agents.iter().map(path).collect(),
        }
    }

    /// Continues with the paths that another process has followed.
    pub(super) fn resume(&mut self, paths: Vec<Option<RunPath>>) {
        let path = |path: Option<RunPath>| path.map(AgentPath::of);
        self.of_agents = paths.into_iter().map(path).collect();
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
        of.path.start(starts_ns, self.warm_up_ns);
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
            let Some(AgentPath { mut path, .. }) = of else {
                continue;
            };
            let clients = counters.into_iter().flat_map(|of| &of.clients);
            starts(agent, clients).for_each(|began_ns| path.began(began_ns.unwrap_or(0)));
            agent.start_skew = start.and_then(|(began_ns, at_ns)| path.start_skew(began_ns, at_ns));
            let figures = path.figures(now_ns);
            // One that has probed nothing shows nothing of its path.
            agent.path = Some(figures).filter(|of| of.probes_sent > 0 || of.probes_answered > 0);
        }
    }
}

impl AgentPath {
    fn of(path: RunPath) -> Self {
        Self {
            path,
            setting: None,
        }
    }

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

/// The worst of all, where all are known, of each of the two times. `None` without one.
fn all_hold(mut bounds: impl Iterator<Item = Option<PathBounds>>) -> Option<PathBounds> {
    let first = bounds.next()??;
    bounds.try_fold(first, |worst, of| {
        let of = of?;
        let have_queueing = worst.queueing_ns.is_some() && of.queueing_ns.is_some();
        let both = worst.with(of);
        Some(PathBounds {
            queueing_ns: both.queueing_ns.filter(|_| have_queueing),
            ..both
        })
    })
}

/// When the schedule of an agent began, on its own clock, as its clients report it. `None` before
/// one has reported it, and where they do not agree.
fn began_ns(agent: &AgentRecords, clients: &[ClientCounters]) -> Option<u64> {
    let mut starts = starts(agent, clients);
    let first = starts.next()?;
    starts.all(|of| of == first).then_some(first)?
}

/// When the schedules of an agent's clients began, as each reports it. `None`: before its clock
/// did.
fn starts<'a>(
    agent: &AgentRecords,
    clients: impl IntoIterator<Item = &'a ClientCounters>,
) -> impl Iterator<Item = Option<u64>> {
    let own = (clients.into_iter()).filter(|client| agent.owns(client.client));
    let starts = own.filter_map(|client| client.start);
    starts.map(|of| of.start_ns.checked_sub(of.offset_ns))
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

#[cfg(test)]
mod tests {
    use metronome_proto::payload::Payload;

    use super::*;
    use crate::model::{AgentShare, ClientStart, ClockRelation};

    fn agents(clocks: &[ClockRelation]) -> Vec<AgentRecords> {
        let agent = |(client, clock): (u32, &ClockRelation)| {
            AgentRecords::new("a".into(), AgentShare::of(client..client + 1, *clock))
        };
        (0..).zip(clocks).map(agent).collect()
    }

    fn no_history(_: &str) -> ClockHistory {
        ClockHistory::default()
    }

    fn plan(profile: Profile) -> Plan {
        crate::testing::plan_of(vec![metronome_proto::plan::Group {
            name: "g".into(),
            clients: 3,
            profile,
            packet_size: Default::default(),
            payload: Payload::Zeros,
            batch: 1,
            phase: v1::Phase::Staggered,
            echo_every: None,
            agents: Vec::new(),
            target: String::new(),
            thresholds: Vec::new(),
        }])
    }

    #[test]
    fn the_lines_of_a_flood_are_judged_from_its_start_on_since_an_old_packet_may_be_read_late() {
        for (profile, expected_ns) in [(Profile::Flood, 0), (Profile::constant(1_000), 7)] {
            let mut plan = plan(profile);
            plan.warm_up = Duration::from_nanos(7);
            let paths = RunPaths::new(RunId::from_bits(1), &plan, &[], 0, no_history);
            assert_eq!(paths.warm_up_ns, expected_ns);
        }
    }

    #[test]
    fn an_agent_probes_50_times_a_second_and_all_agents_of_a_run_at_most_500_times() {
        for (probing, every_ms) in [(0, 20), (1, 20), (10, 20), (11, 40), (100, 200)] {
            let mut clocks = vec![ClockRelation::Offset; probing];
            clocks.resize(200, ClockRelation::Same);
            let every = probe_every(&agents(&clocks));
            assert_eq!(every, Duration::from_millis(every_ms), "{probing}");
        }
        let many = vec![ClockRelation::Offset; 2_000];
        assert_eq!(probe_every(&agents(&many)), PROBE_EVERY_MAX);
    }

    #[test]
    fn an_agent_began_when_all_its_clients_report_it_and_those_of_others_count_for_nothing() {
        let agent = AgentRecords::new("a".into(), AgentShare::of(1..3, ClockRelation::Same));
        let client = |client, start: Option<(u64, u64)>| ClientCounters {
            client,
            start: start.map(|(start_ns, offset_ns)| ClientStart {
                start_ns,
                offset_ns,
            }),
            ..ClientCounters::default()
        };
        let of_another = || client(0, Some((5, 0)));
        for (own, began) in [
            ([Some((70, 0)), Some((77, 7))], Some(70)),
            ([None, Some((77, 7))], Some(70)),
            ([Some((70, 0)), Some((77, 0))], None),
            ([Some((3, 4)), None], None),
            ([None, None], None),
        ] {
            let [one, other] = own;
            let clients = [of_another(), client(1, one), client(2, other)];
            assert_eq!(began_ns(&agent, &clients), began, "{own:?}");
        }
        assert_eq!(
            on_one_clock((70, 77)),
            Some(StartSkew {
                ns: -7,
                bound_ns: 0
            })
        );
        assert_eq!(on_one_clock((u64::MAX, 0)), None);
    }

    #[test]
    fn a_bound_that_is_not_known_of_one_agent_is_known_of_none() {
        let bounds = |one_way_ns, queueing_ns, is_claimed| {
            Some(PathBounds {
                one_way_ns,
                queueing_ns,
                is_claimed,
            })
        };
        let of = |all: &[_]| all_hold(all.iter().copied());
        let [one, other] = [bounds(7, Some(2), false), bounds(6, Some(3), true)];
        assert_eq!(of(&[one, other]), bounds(7, Some(3), true));
        let without = bounds(9, None, false);
        for all in [[one, without], [without, one]] {
            assert_eq!(
                of(&all),
                bounds(9, None, false),
                "the verdict has none either"
            );
        }
        assert_eq!(of(&[one, None]), None);
        assert_eq!(of(&[None, one]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_an_agent_on_another_clock_has_not_probed_is_not_shown() {
        let mut agents = agents(&[
            ClockRelation::Offset,
            ClockRelation::Same,
            ClockRelation::Unknown,
        ]);
        let plan = plan(Profile::constant(1_000));
        let mut paths = RunPaths::new(RunId::from_bits(1), &plan, &agents, 0, no_history);
        let saved: Vec<_> = paths.saved().iter().map(Option::is_some).collect();
        assert_eq!(saved, [true, false, false]);
        for agent in 0..4 {
            assert_eq!(paths.start(agent, 1_000), None);
        }
        assert_eq!(paths.bounds_so_far(&agents), None);
        assert_eq!(paths.bounds_so_far(&agents[1..2]), None);
        paths.conclude(&mut agents, None, Some(1_000));
        assert!((agents.iter()).all(|of| of.path.is_none() && of.start_skew.is_none()));
    }
}
