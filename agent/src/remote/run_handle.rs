//! How the stream controls a run: its thread, its lease, its start.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
};

use metronome_os::clock;
use metronome_proto::v1::{self, Failure};

use super::{
    run::{Run, RunSpec, StartOrder},
    watch::Watch,
};
use crate::{
    connections::outlook::SharedOutlook,
    load::{
        live_counters::{self, LiveCounters, progress},
        replies::live_replies::LiveReplies,
    },
    probes::log::SharedLog,
    stop_signal::{Lease, Orphaned, StopSignal},
};

/// This many Renews in a row that do not list a run end it and drop its messages.
pub(super) const UNLISTED_MAX: u32 = 2;

/// How the stream controls a run.
pub(super) struct RunHandle {
    pub stop_signal: Arc<StopSignal>,
    /// How many clients of this agent the run uses.
    pub clients: u32,
    live_counters: Arc<[LiveCounters]>,
    /// The group of each share, by its name.
    groups: Vec<String>,
    live_replies: Arc<LiveReplies>,
    outlook: Arc<SharedOutlook>,
    probes: Arc<SharedLog>,
    watch: Arc<Watch>,
    /// `None` once the start was sent.
    start: Option<Sender<StartOrder>>,
    /// Renews in a row that did not list the run.
    unlisted: u32,
}

impl RunHandle {
    /// Moves the end of the lease. A Renew that was on its way when the run was made does not list
    /// it; when the next one does not either, the server has no such run any more.
    pub(super) fn renew(&mut self, lease: Lease, is_listed: bool) {
        self.unlisted = if is_listed {
            0
        } else {
            self.unlisted.saturating_add(1)
        };
        if self.unlisted < UNLISTED_MAX {
            self.stop_signal.renew(lease);
        } else {
            self.stop_signal.orphan(Orphaned::NotListed);
        }
    }

    /// Lets the load begin at `start_ns`. Only the first call counts.
    pub(super) fn start(&mut self, start_ns: u64) {
        self.send_start(StartOrder::At(start_ns));
    }

    /// Ends a run whose start cannot be followed.
    pub(super) fn refuse_start(&mut self, failure: Failure) {
        self.send_start(StartOrder::Impossible(failure));
    }

    fn send_start(&mut self, order: StartOrder) {
        // A run that is over does not receive it.
        let _ = self.start.take().map(|start| start.send(order));
    }

    /// What its probes have read since this was asked last. `None` where there is nothing new.
    pub(super) fn probe_readings(&self, run_id: &str) -> Option<v1::ProbeReadings> {
        let (readings, probes_sent) = {
            let mut log = self.probes.lock();
            (log.take()?, log.sent())
        };
        let wall = clock::wall();
        Some(v1::ProbeReadings {
            run_id: run_id.into(),
            readings,
            probes_sent,
            wall_clock: Some(v1::WallClock {
                ahead_of_monotonic_ns: wall.ahead_of_monotonic_ns,
                error_max_ns: wall.error_max_ns.and_then(|ns| i64::try_from(ns).ok()),
            }),
        })
    }

    /// Its progress: before the start what its clients meet at the target. `None` while there is
    /// none to report.
    pub(super) fn progress(&self, run_id: &str) -> Option<v1::Progress> {
        if self.start.is_none() {
            return Some(v1::Progress {
                host_points: self.watch.take(),
                sockets: self.watch.look(),
                ..progress(
                    run_id,
                    &self.live_counters,
                    &self.groups,
                    &self.live_replies,
                )
            });
        }
        let obstacle = self.outlook.lock().report(clock::now_ns())?;
        Some(v1::Progress {
            round_trips: Vec::new(),
            groups: Vec::new(),
            run_id: run_id.into(),
            counts: None,
            obstacle,
            host_points: Vec::new(),
            sockets: None,
        })
    }
}

/// Starts the run's thread, which begins at once to connect.
pub(super) fn launch(spec: RunSpec, lease: Lease) -> io::Result<RunHandle> {
    let stop_signal = Arc::new(StopSignal::new(lease));
    let live_counters: Arc<[LiveCounters]> = live_counters::of_threads(&spec.assignment);
    let live_replies = Arc::new(LiveReplies::new(spec.assignment.echo_groups()));
    let (start, started) = channel();
    let clients = spec.assignment.client_count();
    let groups = spec.assignment.groups().map(ToOwned::to_owned).collect();
    let outlook = Arc::<SharedOutlook>::default();
    let probes = Arc::<SharedLog>::default();
    let watch = Arc::<Watch>::default();
    let run = Run {
        stop_signal: stop_signal.clone(),
        live_counters: live_counters.clone(),
        live_replies: live_replies.clone(),
        outlook: outlook.clone(),
        probes: probes.clone(),
        watch: watch.clone(),
        spec,
    };
    thread::Builder::new()
        .name("run".into())
        .spawn(move || run.execute(&started))?;
    Ok(RunHandle {
        stop_signal,
        clients,
        live_counters,
        groups,
        live_replies,
        outlook,
        probes,
        watch,
        start: Some(start),
        unlisted: 0,
    })
}
