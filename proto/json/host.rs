//! What a process of a run and its host did, and what the run was limited by.

use serde::Serialize;

use super::{
    failure::{Figures, figures},
    values::{self, Word, micros, seconds_of_ns},
};
use crate::v1;

/// What kept a run from being better. Its kind is null where the evidence does not show it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Limit<'a> {
    kind: Option<Word>,
    sentence: &'a str,
    figures: Figures<'a>,
}

impl<'a> From<&'a v1::Limit> for Limit<'a> {
    fn from(of: &'a v1::Limit) -> Self {
        Self {
            kind: values::limit(of.kind),
            sentence: &of.sentence,
            figures: figures(&of.figures),
        }
    }
}

/// One process in the whole run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HostUse<'a> {
    role: Option<Word>,
    name: &'a str,
    total: Option<HostPoint<'a>>,
}

impl<'a> From<&'a v1::HostUse> for HostUse<'a> {
    fn from(of: &'a v1::HostUse) -> Self {
        Self {
            role: values::role(of.role),
            name: &of.name,
            total: of.total.as_ref().map(HostPoint::from),
        }
    }
}

/// One process in one stretch of time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HostPoint<'a> {
    from_s: f64,
    span_s: f64,
    timer_late_max_us: f64,
    timer_late_from_s: f64,
    away_s: f64,
    stolen_s: Option<f64>,
    cores_s: Option<f64>,
    throttled_s: Option<f64>,
    pressure_s: Option<f64>,
    suspended_s: Option<f64>,
    clock_stepped_s: Option<f64>,
    resident_bytes: Option<u64>,
    threads: Vec<Thread<'a>>,
}

impl<'a> From<&'a v1::HostPoint> for HostPoint<'a> {
    fn from(of: &'a v1::HostPoint) -> Self {
        Self {
            from_s: seconds_of_ns(of.from_ns),
            span_s: seconds_of_ns(of.span_ns),
            timer_late_max_us: micros(of.timer_late_max_ns),
            timer_late_from_s: seconds_of_ns(of.timer_late_from_ns),
            away_s: seconds_of_ns(of.away_ns),
            stolen_s: of.stolen_ns.map(seconds_of_ns),
            cores_s: of.cores_ns.map(seconds_of_ns),
            throttled_s: of.throttled_ns.map(seconds_of_ns),
            pressure_s: of.pressure_ns.map(seconds_of_ns),
            suspended_s: of.suspended_ns.map(seconds_of_ns),
            clock_stepped_s: of.clock_stepped_ns.map(seconds_of_ns),
            resident_bytes: of.resident_bytes,
            threads: of.threads.iter().map(Thread::from).collect(),
        }
    }
}

/// The threads of one name.
#[derive(Clone, Debug, Serialize)]
struct Thread<'a> {
    name: &'a str,
    cpu_s: f64,
    run_queue_s: Option<f64>,
    waits: Option<u64>,
    preemptions: Option<u64>,
    away_s: Option<f64>,
}

impl<'a> From<&'a v1::ThreadPoint> for Thread<'a> {
    fn from(of: &'a v1::ThreadPoint) -> Self {
        Self {
            name: &of.name,
            cpu_s: seconds_of_ns(of.cpu_ns),
            run_queue_s: of.run_queue_ns.map(seconds_of_ns),
            waits: of.waits,
            preemptions: of.preemptions,
            away_s: of.away_ns.map(seconds_of_ns),
        }
    }
}
