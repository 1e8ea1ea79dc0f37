//! What the processes of one run and their hosts did: a witness of this process and its workers,
//! and the points that the agents report.

use metronome_os::clock;
use metronome_proto::{
    socket_sample,
    v1::{EnvironmentRole, HostPoint, HostSeries, SocketSample},
};
use metronome_witness::{Companion, Witness};
use prost::Message as _;

use crate::{
    model::{AgentRecords, HostPoints, WorkerPresence, fit_host_points, possible_sockets},
    verdict::RECEIVER,
};

/// The place of this process among all.
const SERVER: usize = 0;

/// The newest points of all processes in a snapshot, at most: one of an agent may have 200 threads.
const LATEST_BYTES_MAX: usize = 256 << 10;

/// By process.
#[derive(Debug)]
pub(super) struct RunHosts {
    /// That of the server, then those of the agents by their indices.
    processes: Vec<HostPoints>,
    /// What the sockets of each agent have looked like since that was asked for last.
    sockets: Vec<Option<SocketSample>>,
    /// `None` before the start is known, and where this host gives no thread for it.
    witness: Option<Witness>,
    /// When the first packet is due, ns of CLOCK_MONOTONIC; 0 before that is known.
    start_at_ns: u64,
}

impl RunHosts {
    pub(super) fn new(agents: usize) -> Self {
        Self {
            processes: vec![HostPoints::default(); agents.saturating_add(1)],
            sockets: vec![None; agents],
            witness: None,
            start_at_ns: 0,
        }
    }

    /// Goes on with what another process has seen: the server's, then those of the agents.
    pub(super) fn resume(&mut self, seen: Vec<HostSeries>) {
        let seen = seen.into_iter().map(|of| HostPoints::restored(of.points));
        self.processes
            .iter_mut()
            .zip(seen)
            .for_each(|(own, seen)| *own = seen);
    }

    /// Watches from the moment at which the start is known.
    pub(super) fn watch(&mut self, start_at_ns: Option<u64>, workers: &[WorkerPresence]) {
        let Some(start_at_ns) = start_at_ns.filter(|_| self.start_at_ns == 0) else {
            return;
        };
        self.start_at_ns = start_at_ns.max(1);
        self.witness = Witness::begin(companions(workers))
            .inspect_err(|error| tracing::warn!(%error, "the server cannot watch its host"))
            .ok();
    }

    /// Takes how the workers stand now, and what was seen until now.
    pub(super) fn observe(&mut self, workers: &[WorkerPresence]) {
        let Some(witness) = &self.witness else {
            return;
        };
        witness.accompany(companions(workers));
        let points = witness.take(self.start_at_ns);
        self.add(SERVER, points, self.start_at_ns);
    }

    /// Takes what an agent reports of its host. Before the start is known it can have seen nothing.
    pub(super) fn take(&mut self, agent: usize, points: Vec<HostPoint>, start_at_ns: Option<u64>) {
        if let Some(start_at_ns) = start_at_ns {
            self.add(SERVER + 1 + agent, points, start_at_ns);
        }
    }

    /// Takes what the sockets of an agent with so many clients looked like just now.
    pub(super) fn take_sockets(
        &mut self,
        agent: usize,
        sample: Option<SocketSample>,
        clients: u32,
    ) {
        let sample = sample.and_then(|sample| possible_sockets(sample, clients));
        if let Some(known) = self.sockets.get_mut(agent) {
            *known = socket_sample::known(known.as_ref(), sample.as_ref());
        }
    }

    /// What those of all agents have looked like since this was asked last.
    pub(super) fn sockets(&mut self) -> Option<SocketSample> {
        let seen = self.sockets.iter_mut().filter_map(Option::take);
        seen.reduce(|all, one| socket_sample::side_by_side(&all, &one))
    }

    fn add(&mut self, process: usize, points: Vec<HostPoint>, start_at_ns: u64) {
        if let Some(known) = self.processes.get_mut(process) {
            let now_ns = clock::now_ns().cast_signed();
            known.take(points, now_ns.saturating_sub(start_at_ns.cast_signed()));
            fit_host_points(&mut self.processes);
        }
    }

    /// The newest point of each process, by name: as many as fit a snapshot.
    pub(super) fn latest(&self, agents: &[AgentRecords]) -> Vec<HostSeries> {
        let names = agents
            .iter()
            .map(|of| (EnvironmentRole::Agent, of.name.as_str()));
        let server = (EnvironmentRole::Server, RECEIVER);
        let series = std::iter::once(server).chain(names).zip(&self.processes);
        let series = series.filter_map(|((role, name), seen)| {
            Some(HostSeries {
                role: role.into(),
                name: name.to_owned(),
                points: vec![seen.as_slice().last()?.clone()],
            })
        });
        let mut bytes_left = LATEST_BYTES_MAX;
        let fits = |of: &HostSeries| {
            let left = bytes_left.checked_sub(of.encoded_len());
            bytes_left = left.unwrap_or(0);
            left.is_some()
        };
        series.take_while(fits).collect()
    }

    /// What was seen so far.
    pub(super) fn saved(&self) -> Vec<HostSeries> {
        let series = self.processes.iter().map(|of| HostSeries {
            points: of.as_slice().to_vec(),
            ..HostSeries::default()
        });
        series.collect()
    }

    /// Ends the watch, with how the workers stood when the run was closed: the series of the
    /// server, then those of the agents, each with its name.
    pub(super) fn finish(
        mut self,
        agents: &[AgentRecords],
        workers: &[WorkerPresence],
    ) -> Vec<HostSeries> {
        if !workers.is_empty() {
            self.observe(workers);
        }
        if let Some(witness) = self.witness.take() {
            let points = witness.finish(self.start_at_ns);
            self.add(SERVER, points, self.start_at_ns);
        }
        for (agent, points) in agents
            .iter()
            .zip(self.processes.iter_mut().skip(SERVER + 1))
        {
            let stated = agent
                .finished()
                .and_then(|of| of.environment.as_ref()?.cores);
            stated.into_iter().for_each(|cores| points.on_cores(cores));
        }
        let names = agents
            .iter()
            .map(|of| (EnvironmentRole::Agent, of.name.clone()));
        let server = (EnvironmentRole::Server, RECEIVER.to_owned());
        let processes = std::iter::once(server).chain(names);
        let series = processes
            .zip(self.saved())
            .map(|((role, name), seen)| HostSeries {
                role: role.into(),
                name,
                ..seen
            });
        series.filter(|of| !of.points.is_empty()).collect()
    }
}

fn companions(workers: &[WorkerPresence]) -> Vec<Companion> {
    let companion = |of: &WorkerPresence| Companion {
        name: format!("worker-{}", of.worker),
        process: of.pid.and_then(|pid| pid.try_into().ok()),
        away_ns: of.away_ns,
    };
    workers.iter().map(companion).collect()
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    #[test]
    fn an_absence_that_no_reading_has_shown_before_the_close_is_the_worker_s_all_the_same() {
        let worker = |away_ns| WorkerPresence {
            worker: 0,
            pid: Some(process::id()),
            away_ns,
        };
        let mut hosts = RunHosts::new(0);
        hosts.watch(Some(1), &[worker(5_000_000_000)]);
        let series = hosts.finish(&[], &[worker(5_300_000_000)]);
        let [server] = &series[..] else {
            panic!("{series:?}");
        };
        let threads = server.points.iter().flat_map(|of| &of.threads);
        let away_ns = threads.filter_map(|of| of.away_ns.filter(|_| of.name == "worker-0"));
        assert_eq!(away_ns.sum::<i64>(), 300_000_000, "{series:?}");
    }
}
