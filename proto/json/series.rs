//! The series of a run: what its packets and its hosts did, second by second.

use serde::Serialize;

use super::{
    SCHEMA_VERSION,
    counts::Counts,
    host::HostPoint,
    text,
    times::Times,
    values::{self, Word, micros, seconds_of_ns},
};
use crate::{series, v1};

/// The series of a run that has ended as a JSON object and a line feed.
#[must_use]
pub fn result(run: &v1::Run, of: &v1::Series) -> String {
    text(&Series::new(run, of))
}

/// All points of a run. Both lists are empty where none were stored.
#[derive(Clone, Debug, Serialize)]
pub struct Series<'a> {
    schema_version: u32,
    run_id: &'a str,
    points: Vec<Point>,
    hosts: Vec<Host<'a>>,
}

impl<'a> Series<'a> {
    /// The series of this run.
    #[must_use]
    pub fn new(run: &'a v1::Run, of: &'a v1::Series) -> Self {
        let report = run.report.clone().unwrap_or_default();
        Self {
            schema_version: SCHEMA_VERSION,
            run_id: &run.run_id,
            points: of
                .points
                .iter()
                .map(|point| Point::new(point, &report))
                .collect(),
            hosts: of.hosts.iter().map(Host::from).collect(),
        }
    }
}

/// What the packets did in one stretch of time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    from_s: f64,
    span_s: f64,
    counts: Counts,
    lateness_us: Option<Times>,
    transit_us: Option<Times>,
    latency_us: Option<Times>,
    spread_us: Option<Times>,
    rtt_from_due_us: Option<Times>,
    rtt_from_write_us: Option<Times>,
    one_way_us: Option<Times>,
    queueing_us: Option<Times>,
    clients: Option<Clients>,
    server_sockets: Option<SocketSample>,
    agent_sockets: Option<SocketSample>,
}

/// The p99 of each client or band of clients, by rising index.
#[derive(Clone, Debug, Serialize)]
struct Clients {
    time: Option<Word>,
    clients: u32,
    clients_per_row: u32,
    p99_us: Vec<Option<f64>>,
}

impl From<&v1::ClientTimes> for Clients {
    fn from(of: &v1::ClientTimes) -> Self {
        let rows = of.by_row().into_iter();
        Self {
            time: values::metric(of.time),
            clients: of.clients,
            clients_per_row: of.clients_per_row,
            p99_us: rows.map(|p99_ns| p99_ns.map(micros)).collect(),
        }
    }
}

/// The sockets at one end.
#[derive(Clone, Debug, Serialize)]
struct SocketSample {
    sampled: u32,
    connections: u32,
    rtt_smoothed_max_us: Option<f64>,
    retransmitted: Option<u64>,
    unread_bytes_max: Option<u64>,
    unacknowledged_bytes_max: Option<u64>,
}

impl From<&v1::SocketSample> for SocketSample {
    fn from(of: &v1::SocketSample) -> Self {
        Self {
            sampled: of.sampled,
            connections: of.connections,
            rtt_smoothed_max_us: of.rtt_smoothed_max_ns.map(micros),
            retransmitted: of.retransmitted,
            unread_bytes_max: of.unread_bytes_max,
            unacknowledged_bytes_max: of.unacknowledged_bytes_max,
        }
    }
}

impl Point {
    /// A point of a run of which this is known.
    pub(super) fn new(point: &v1::SeriesPoint, report: &v1::Report) -> Self {
        let times = series::times(point, report);
        Self {
            from_s: seconds_of_ns(point.from_ns),
            span_s: seconds_of_ns(point.span_ns),
            counts: Counts::in_progress(point.generator.as_ref(), point.receiver.as_ref()),
            lateness_us: times.lateness.as_ref().map(Times::from),
            transit_us: times.transit.as_ref().map(Times::from),
            latency_us: times.latency.as_ref().map(Times::from),
            spread_us: times.spread.as_ref().map(Times::from),
            rtt_from_due_us: times.rtt_from_due.as_ref().map(Times::from),
            rtt_from_write_us: times.rtt_from_write.as_ref().map(Times::from),
            one_way_us: times.one_way.as_ref().map(Times::from),
            queueing_us: times.queueing.as_ref().map(Times::estimated),
            clients: point.clients.as_ref().map(Clients::from),
            server_sockets: point.server_sockets.as_ref().map(SocketSample::from),
            agent_sockets: point.agent_sockets.as_ref().map(SocketSample::from),
        }
    }
}

/// The points of one process.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Host<'a> {
    role: Option<Word>,
    name: &'a str,
    points: Vec<HostPoint<'a>>,
}

impl<'a> From<&'a v1::HostSeries> for Host<'a> {
    fn from(of: &'a v1::HostSeries) -> Self {
        Self {
            role: values::role(of.role),
            name: &of.name,
            points: of.points.iter().map(HostPoint::from).collect(),
        }
    }
}
