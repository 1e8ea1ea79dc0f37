//! A run in progress.

use serde::Serialize;

use super::{
    SCHEMA_VERSION,
    counts::Counts,
    failure::Failure,
    series::{Host, Point},
    times::Times,
    values::{self, Word},
};
use crate::{profile::hz, v1};

/// One snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot<'a> {
    schema_version: u32,
    run_id: &'a str,
    state: Option<Word>,
    elapsed_s: Option<f64>,
    clients_connected: Option<u32>,
    counts: Counts,
    received_hz: Option<f64>,
    lateness_us: Option<Times>,
    transit_us: Option<Times>,
    latency_us: Option<Times>,
    spread_us: Option<Times>,
    rtt_from_due_us: Option<Times>,
    rtt_from_write_us: Option<Times>,
    one_way_us: Option<Times>,
    queueing_us: Option<Times>,
    groups: Vec<Group<'a>>,
    waiting_for: &'a [String],
    failures: Vec<Failure<'a>>,
    obstacles: Vec<Failure<'a>>,
    latest_point: Option<Point>,
    latest_hosts: Vec<Host<'a>>,
}

impl<'a> From<&'a v1::Snapshot> for Snapshot<'a> {
    fn from(snapshot: &'a v1::Snapshot) -> Self {
        let times = snapshot.times.as_ref();
        Self {
            schema_version: SCHEMA_VERSION,
            run_id: &snapshot.run_id,
            state: values::state(snapshot.state),
            elapsed_s: values::seconds(snapshot.elapsed.as_ref()),
            clients_connected: snapshot.clients_connected,
            counts: Counts::in_progress(snapshot.generator.as_ref(), snapshot.receiver.as_ref()),
            received_hz: snapshot.received_millihertz.map(hz),
            lateness_us: times.and_then(|times| times.lateness.as_ref().map(Times::from)),
            transit_us: times.and_then(|times| times.transit.as_ref().map(Times::from)),
            latency_us: times.and_then(|times| times.latency.as_ref().map(Times::from)),
            spread_us: times.and_then(|times| times.spread.as_ref().map(Times::from)),
            rtt_from_due_us: times.and_then(|times| times.rtt_from_due.as_ref().map(Times::from)),
            rtt_from_write_us: times
                .and_then(|times| times.rtt_from_write.as_ref().map(Times::from)),
            one_way_us: times.and_then(|times| times.one_way.as_ref().map(Times::from)),
            queueing_us: times.and_then(|times| times.queueing.as_ref().map(Times::estimated)),
            groups: snapshot.groups.iter().map(Group::from).collect(),
            waiting_for: &snapshot.waiting_for,
            failures: snapshot.failures.iter().map(Failure::from).collect(),
            obstacles: snapshot.obstacles.iter().map(Failure::from).collect(),
            latest_point: snapshot.latest_point.as_ref().map(|point| {
                let so_far = v1::Report {
                    times: snapshot.times.clone(),
                    ..v1::Report::default()
                };
                Point::new(point, &so_far)
            }),
            latest_hosts: snapshot.latest_hosts.iter().map(Host::from).collect(),
        }
    }
}

/// One group, all its clients together. What agents report is not by group, so that it is not here.
#[derive(Clone, Debug, Serialize)]
struct Group<'a> {
    group: &'a str,
    counts: Option<Counts>,
    received_hz: Option<f64>,
}

impl<'a> From<&'a v1::GroupSnapshot> for Group<'a> {
    fn from(group: &'a v1::GroupSnapshot) -> Self {
        let receiver = group.receiver.as_ref();
        Self {
            group: &group.name,
            counts: receiver.map(|counts| Counts::of_list(Some(counts))),
            received_hz: group.received_millihertz.map(hz),
        }
    }
}
